package repository

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// hurtFiles is a backup of which one blob can be damaged.
func hurtFiles() map[string]files {
	return map[string]files{
		"a": {"hurt": {content(1, 5000), content(3, 5000)}, "whole": {content(5, 5000)}},
		"b": {"also-hurt": {content(3, 5000)}},
	}
}

// rot changes a byte of a data blob of a repository in dir, and returns its
// pack.
func rot(t *testing.T, r *Repository, dir string, plain []byte) restic.ID {
	t.Helper()
	b := r.LookupBlob(restic.BlobHandle{ID: restic.Hash(plain), Type: restic.DataBlob})[0]
	name := packFile(dir, b.Pack)
	data, err := os.ReadFile(name)
	must(t, err)
	data[b.Offset+99] ^= 1
	must(t, os.Chmod(name, 0o600))
	must(t, os.WriteFile(name, data, 0o600))
	return b.Pack
}

func packFile(dir string, id restic.ID) string {
	return filepath.Join(dir, "data", id.String()[:2], id.String())
}

func needing(t *testing.T, r *Repository) int {
	t.Helper()
	must(t, r.LoadIndex(t.Context()))
	all, err := r.Snapshots(t.Context(), nil)
	must(t, err)
	hurt, err := r.Uncached().SnapshotsNeeding(t.Context(), all, nil)
	must(t, err)
	return len(hurt)
}

// Issue 4, item 5: what is damaged is listed no more, what is whole beside it
// still is, and so the next backup stores what is missing.
func TestTheBackupAfterARepairStoresWhatWasDamaged(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	stock := referee.New(t, dir, testPassword)
	r := newRepo(t, openLocal(t, dir))
	mustBackup(t, r, day(0), hurtFiles())
	bad := rot(t, r, dir, content(3, 5000))
	h := restic.BlobHandle{ID: restic.Hash(content(3, 5000)), Type: restic.DataBlob}

	dry, err := r.Repair(t.Context(), RepairOptions{ReadData: true, DryRun: true})
	must(t, err)
	if !slices.Equal(dry.SetAside, []restic.ID{bad}) || dry.Saved != 2 || len(dry.Lost) != 1 || !r.Has(h) {
		t.Fatalf("the dry run says %+v", dry)
	}
	must(t, r.LoadIndex(t.Context()))
	if !r.Has(h) {
		t.Fatal("the dry run changed the index")
	}
	done, err := r.Repair(t.Context(), RepairOptions{Packs: dry.SetAside, Only: true})
	must(t, err)
	if !slices.Equal(done.SetAside, dry.SetAside) || done.Saved != 2 {
		t.Fatalf("the repair says %+v", done)
	}
	must(t, r.LoadIndex(t.Context()))
	if r.Has(h) || !r.Has(restic.BlobHandle{ID: restic.Hash(content(5, 5000)), Type: restic.DataBlob}) {
		t.Error("the index must list what is whole, and only that")
	}
	if n := needing(t, r); n != 1 {
		t.Errorf("%d snapshots are hurt before the next backup, want 1", n)
	}
	if _, err := os.Stat(packFile(dir, bad)); err != nil {
		t.Errorf("what is left of the pack is gone: %v", err)
	}
	// A prune touches nothing while something is missing.
	if _, err := r.Prune(t.Context(), PruneOptions{}); err == nil {
		t.Error("a prune went on although a snapshot lacks something")
	}

	mustBackup(t, r, day(1), hurtFiles())
	if n := needing(t, r); n != 0 {
		t.Errorf("%d snapshots are hurt after the next backup", n)
	}
	stock.Check()
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	must(t, err)
	if len(report.Problems) > 0 || len(report.Hurt) > 0 {
		t.Errorf("after the next backup: %+v", report.Problems)
	}
	if again, err := r.Repair(t.Context(), RepairOptions{ReadData: true}); err != nil || again.Changes() {
		t.Errorf("a second repair finds %+v, %v", again, err)
	}
	_, err = r.Prune(t.Context(), PruneOptions{})
	must(t, err)
	if _, err := os.Stat(packFile(dir, bad)); err == nil {
		t.Error("the prune left the bad pack, which nobody needs any more")
	}
	stock.Check()
}

// An index file that is damaged is written anew from the headers of the packs,
// one that is lost too; and nothing else is lost for it.
func TestARepairWritesALostIndexAnew(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, file string){
		"damaged": func(t *testing.T, file string) { must(t, os.Truncate(file, 40)) },
		"lost":    func(t *testing.T, file string) { must(t, os.Remove(file)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "repo")
			stock := referee.New(t, dir, testPassword)
			r := newRepo(t, openLocal(t, dir))
			for i := range 3 {
				mustBackup(t, r, day(i), sample(i))
			}
			ids, err := filepath.Glob(filepath.Join(dir, "index", "*"))
			must(t, err)
			must(t, os.Chmod(ids[1], 0o600))
			damage(t, ids[1])
			fresh, err := Open(t.Context(), openLocal(t, dir), secret.New(testPassword), withQuickLocks())
			must(t, err)
			t.Cleanup(func() { must(t, fresh.Close()) })
			report, err := fresh.Repair(t.Context(), RepairOptions{})
			must(t, err)
			if len(report.Listed) == 0 || len(report.Lost) != 0 || len(report.SetAside) != 0 {
				t.Errorf("the repair says %+v", report)
			}
			stock.Check()
			if n := needing(t, fresh); n != 0 {
				t.Errorf("%d snapshots are hurt", n)
			}
		})
	}
}

// What another destination of the environment still has is fetched from there.
func TestARepairFetchesFromAnotherRepository(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	stock := referee.New(t, dir, testPassword)
	r := newRepo(t, openLocal(t, dir))
	mustBackup(t, r, day(0), hurtFiles())
	rot(t, r, dir, content(3, 5000))
	donor := newRepo(t, mem.New())
	mustBackup(t, donor, day(0), hurtFiles())
	report, err := r.Repair(t.Context(), RepairOptions{ReadData: true, Donors: []*Repository{donor}})
	must(t, err)
	if report.Fetched != 1 || len(report.Lost) != 0 {
		t.Errorf("the repair says %+v", report)
	}
	stock.Check()
	if n := needing(t, r); n != 0 {
		t.Errorf("%d snapshots are hurt", n)
	}
}

// A large file is cut at other places in every repository: the stretch that is
// lost comes from the same file of another one, and only if it is the same.
func TestARepairFetchesAStretchOfALargeFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	stock := referee.New(t, dir, testPassword)
	whole := slices.Concat(content(1, 5000), content(3, 5000), content(7, 5000))
	large := func(chunks ...[]byte) map[string]files { return map[string]files{"a": {"large": chunks}} }
	r := newRepo(t, openLocal(t, dir))
	mustBackup(t, r, day(0), large(content(1, 5000), content(3, 5000), content(7, 5000)))
	rot(t, r, dir, content(3, 5000))

	other := newRepo(t, mem.New())
	changed := slices.Clone(whole)
	changed[5100] ^= 1
	mustBackup(t, other, day(0), large(changed[:4000], changed[4000:8000], changed[8000:]))
	report, err := r.Repair(t.Context(), RepairOptions{ReadData: true, DryRun: true, Donors: []*Repository{other}})
	must(t, err)
	if report.Fetched != 0 || len(report.Lost) != 1 {
		t.Errorf("from a file that has changed: %+v", report)
	}
	mustBackup(t, other, day(1), large(whole[:4000], whole[4000:8000], whole[8000:]))
	report, err = r.Repair(t.Context(), RepairOptions{ReadData: true, Donors: []*Repository{other}})
	must(t, err)
	if report.Fetched != 1 || len(report.Lost) != 0 {
		t.Errorf("the repair says %+v", report)
	}
	stock.Check()
	if n := needing(t, r); n != 0 {
		t.Errorf("%d snapshots are hurt", n)
	}
}

// A pack that is gone, of trees or of data, is named with the backups that it
// hurts, and mended by the next backup; a snapshot that cannot be read is named
// and stays.
func TestLostPacksAndSnapshotsAreNamed(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	first := mustBackup(t, r, day(0), hurtFiles())
	second := mustBackup(t, r, day(1), map[string]files{"c": {"x": {content(9, 5000)}}})
	for _, h := range []restic.BlobHandle{{ID: *first.Tree, Type: restic.TreeBlob}, {ID: restic.Hash(content(1, 5000)), Type: restic.DataBlob}} {
		must(t, be.Delete(t.Context(), backend.Handle{Kind: backend.KindData, Name: r.LookupBlob(h)[0].Pack.String()}))
	}
	flip(t, be, backend.Handle{Kind: backend.KindSnapshot, Name: second.ID.String()}, 40)

	report, err := r.Check(t.Context(), CheckOptions{})
	must(t, err)
	if len(report.DamagedPacks()) != 2 || len(report.Hurt) != 2 {
		t.Errorf("the check names packs %v and snapshots %v", report.DamagedPacks(), report.Hurt)
	}
	repaired, err := r.Repair(t.Context(), RepairOptions{})
	must(t, err)
	if len(repaired.SetAside) != 2 {
		t.Errorf("the repair says %+v", repaired)
	}
	must(t, r.LoadIndex(t.Context()))
	mustBackup(t, r, day(0), hurtFiles()) // its root is the same
	after, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	must(t, err)
	if len(after.Problems) != 1 || after.Problems[0].Snapshot != second.ID || !slices.Equal(after.Hurt, []restic.ID{second.ID}) {
		t.Errorf("after the next backup: %+v", after.Problems)
	}
}

// An unmounted disk has no pack either: that is no damage.
func TestARepairWithoutAConfigChangesNothing(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	mustBackup(t, r, day(0), hurtFiles())
	must(t, be.Delete(t.Context(), configHandle))
	before, err := listIDs(t.Context(), be, backend.KindIndex)
	must(t, err)
	if _, err := r.Repair(t.Context(), RepairOptions{}); err == nil {
		t.Error("a repair without a config went on")
	}
	after, err := listIDs(t.Context(), be, backend.KindIndex)
	must(t, err)
	if !slices.Equal(before, after) {
		t.Error("it changed the index")
	}
}

// A repair that dies at any change leaves everything to be had that was to be
// had before, and the next one finishes it.
func TestARepairThatDiesIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	base := mem.New()
	r := newRepo(t, base)
	mustBackup(t, r, day(0), hurtFiles())
	mustBackup(t, r, day(1), map[string]files{"c": {"x": {content(9, 5000)}}})
	lost := restic.BlobHandle{ID: restic.Hash(content(3, 5000)), Type: restic.DataBlob}
	b := r.LookupBlob(lost)[0]
	flip(t, base, backend.Handle{Kind: backend.KindData, Name: b.Pack.String()}, int(b.Offset)+99)
	for k := 1; ; k++ {
		if k > 30 {
			t.Fatal("the repair does not end")
		}
		store := base.Clone()
		c := &counting{Backend: store, failAt: k, half: k%2 == 0}
		_, err := reopen(t, c, withQuickLocks()).Repair(t.Context(), RepairOptions{ReadData: true})
		next := reopen(t, store, withQuickLocks())
		for _, seed := range []uint64{1, 5, 9} {
			if _, err := next.LoadBlob(t.Context(), restic.BlobHandle{ID: restic.Hash(content(seed, 5000)), Type: restic.DataBlob}, nil); err != nil {
				t.Errorf("died at change %d: %v", k, err)
			}
		}
		locks, lockErr := next.Locks(t.Context())
		must(t, lockErr)
		for _, l := range locks {
			must(t, next.removeLock(t.Context(), l.ID))
		}
		_, again := next.Repair(t.Context(), RepairOptions{ReadData: true})
		must(t, again)
		must(t, next.LoadIndex(t.Context()))
		mustBackup(t, next, day(0), hurtFiles())
		report, checkErr := next.Check(t.Context(), CheckOptions{ReadData: true})
		must(t, checkErr)
		if len(report.Problems) > 0 {
			t.Errorf("died at change %d, after the next repair and backup: %+v", k, report.Problems)
		}
		if err == nil {
			if k < 5 {
				t.Errorf("the repair made only %d changes", k-1)
			}
			return
		}
	}
}
