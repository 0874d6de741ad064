package repository

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// Issue 2, item 4: stock restic checks and restores what we write.
func TestStockResticReadsWhatWeWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	stock := referee.New(t, dir, testPassword)
	r := newRepo(t, openLocal(t, dir))
	for i := range 3 {
		must(t, r.LoadIndex(t.Context()))
		mustBackup(t, r, day(i), sample(i))
	}
	stock.Check()
	snapshots := stock.Snapshots()
	if len(snapshots) != 3 {
		t.Fatalf("restic lists %d snapshots, want 3", len(snapshots))
	}
	for i, s := range snapshots {
		target := t.TempDir()
		stock.Restore(s.ID, target)
		for d, fs := range sample(i) {
			for name, chunks := range fs {
				got, err := os.ReadFile(filepath.Join(target, d, name))
				must(t, err)
				var want []byte
				for _, c := range chunks {
					want = append(want, c...)
				}
				if string(got) != string(want) {
					t.Errorf("snapshot %d: %s/%s differs", i, d, name)
				}
			}
		}
	}
	// Stock prune leaves what we still read, and our Repository notices that
	// its index is out of date.
	stock.Run("forget", "--keep-last", "1", "--prune", "--group-by", "")
	must(t, r.LoadIndex(t.Context()))
	left, err := r.Snapshots(t.Context(), nil)
	must(t, err)
	if len(left) != 1 {
		t.Fatalf("%d snapshots are left", len(left))
	}
	must(t, compareSnapshot(t.Context(), r, left[0], sample(2)))
	mustBackup(t, r, day(3), sample(3))
	stock.Check()
}

func TestWeReadWhatStockResticWrote(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	stock := referee.New(t, dir, testPassword)
	stock.Init()
	source := t.TempDir()
	odd := filepath.Join(source, "dir with <odd> & \"names\"")
	must(t, os.Mkdir(odd, 0o755))
	for name, n := range map[string]int{"a": 0, "b": 1, "c": 3 << 20, "invalid-\xff\xfe": 10, "new\nline": 10, "ünïcode": 10, "back\\slash": 5} {
		must(t, os.WriteFile(filepath.Join(odd, name), content(uint64(n), n), 0o600))
	}
	must(t, os.Symlink("target-\xff", filepath.Join(source, "link")))
	for i := range 3 {
		must(t, os.WriteFile(filepath.Join(source, fmt.Sprint("generation", i)), content(uint64(i), 100_000), 0o600))
		stock.Backup(source)
	}

	r := reopen(t, openLocal(t, dir))
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	must(t, err)
	if len(report.Problems) != 0 || report.Snapshots != 3 || report.PacksRead == 0 {
		t.Fatalf("report: %+v", report)
	}
	// Byte-identical: each tree encodes to its own id again.
	snapshots, err := r.Snapshots(t.Context(), nil)
	must(t, err)
	trees := 0
	for _, s := range snapshots {
		must(t, r.walkTrees(t.Context(), []restic.ID{*s.Tree}, func(restic.ID) bool { return true },
			func(id restic.ID, tree *restic.Tree, err error) error {
				if err != nil {
					return err
				}
				trees++
				doc, err := tree.Encode()
				if err != nil {
					return err
				}
				if got := restic.Hash(doc); got != id {
					raw, _ := r.LoadBlob(t.Context(), restic.BlobHandle{ID: id, Type: restic.TreeBlob}, nil)
					t.Errorf("tree %s encodes to another one:\n%s\n%s", id.Short(), raw, doc)
				}
				return nil
			}))
	}
	if trees < 6 {
		t.Errorf("only %d trees", trees)
	}
	// Our prune of a repository of stock's.
	must(t, r.ForgetSnapshots(t.Context(), snapshots[0].ID, snapshots[1].ID))
	_, err = r.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1})
	must(t, err)
	stock.Check()
	target := t.TempDir()
	stock.Restore("latest", target)
	referee.CompareTrees(t, source, filepath.Join(target, source))
}

// Issue 2, item 4, on a real S3 server.
func TestStockResticReadsWhatWeWriteToS3(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	be, err := s3.Open(t.Context(), s3.Options{Endpoint: server.Endpoint, Region: server.Region, Bucket: bucket, Prefix: "repo",
		AccessKeyID: server.AccessKey, SecretAccessKey: secret.New(server.SecretKey)})
	must(t, err)
	stock := referee.New(t, server.ResticURL(bucket, "repo"), testPassword, server.Environ()...)
	r := newRepo(t, be)
	l, err := r.Lock(t.Context(), false)
	must(t, err)
	s := mustBackup(t, r, day(0), sample(0))
	must(t, r.VerifySnapshot(t.Context(), s.ID))
	must(t, l.Unlock())
	stock.Check()
	mustBackup(t, r, day(1), sample(1))
	must(t, r.ForgetSnapshots(t.Context(), s.ID))
	_, err = r.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1})
	must(t, err)
	stock.Check()
	if got := stock.Snapshots(); len(got) != 1 {
		t.Errorf("%d snapshots", len(got))
	}
}

func TestTheSecondPasswordOpensForStockRestic(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	r, err := Init(t.Context(), openLocal(t, dir), secret.New(testPassword), InitOptions{RecoveryPassword: secret.New("recovery")})
	must(t, err)
	defer func() { must(t, r.Close()) }()
	mustBackup(t, r, day(0), sample(0))
	for _, password := range []string{testPassword, "recovery"} {
		if got := referee.New(t, dir, password).Snapshots(); len(got) != 1 {
			t.Errorf("%q: %d snapshots", password, len(got))
		}
	}
}
