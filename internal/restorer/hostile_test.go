package restorer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta/fsmetatest"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/trees"
)

// The target may hold links that somebody put there: nothing behind them is
// touched.
func TestNothingOutsideTheTargetIsTouched(t *testing.T) {
	t.Parallel()

	root := fill(t, map[string]string{"dir/file": "new", "hard": "new", "soft": "new"})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	outside := fill(t, map[string]string{"file": "old", "hard": "old", "soft": "old"})
	target := t.TempDir()
	got := filepath.Join(target, root)
	for _, err := range []error{
		os.MkdirAll(got, 0o755), os.Symlink(outside, got+"/dir"), os.Link(outside+"/hard", got+"/hard"), os.Symlink(outside+"/soft", got+"/soft"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	restore(t, repo, sn, restorer.Options{Target: target, Overwrite: true})
	for _, name := range []string{"file", "hard", "soft"} {
		if b := mustRead(t, filepath.Join(outside, name)); string(b) != "old" {
			t.Errorf("outside, %s is %q now", name, b)
		}
	}
	referee.CompareTrees(t, root, got)
}

// saveTree stores a document as it is.
func saveTree(t testing.TB, repo *repository.Repository, nodes ...string) restic.ID {
	t.Helper()
	id, _, _, err := repo.SaveBlob(t.Context(), restic.TreeBlob, []byte(`{"nodes":[`+strings.Join(nodes, ",")+"]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestNamesFromTheRepositoryAreNotTrusted(t *testing.T) {
	t.Parallel()

	store := mem.New()
	repo := newRepoIn(t, store)
	// A directory that is listed and not there.
	gone := saveTree(t, repo)
	if err := repo.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	pack := repo.LookupBlob(restic.BlobHandle{ID: gone, Type: restic.TreeBlob})[0].Pack
	if err := store.Delete(t.Context(), backend.Handle{Kind: backend.KindData, Name: pack.String()}); err != nil {
		t.Fatal(err)
	}
	blob, _, _, err := repo.SaveBlob(t.Context(), restic.DataBlob, []byte("evil"))
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string) string {
		return fmt.Sprintf(`{"name":"%s","type":"file","mode":420,"mtime":"2026-01-01T00:00:00Z","atime":"2026-01-01T00:00:00Z","ctime":"2026-01-01T00:00:00Z","uid":0,"gid":0,"size":4,"content":["%s"]}`, name, blob)
	}
	inner := saveTree(t, repo, file("evil"))
	dir := func(name, tree string) string {
		return fmt.Sprintf(`{"name":"%s","type":"dir","mode":2147484141,"mtime":"2026-01-01T00:00:00Z","atime":"2026-01-01T00:00:00Z","ctime":"2026-01-01T00:00:00Z","uid":0,"gid":0,"content":null,"subtree":"%s"}`, name, tree)
	}
	tree := saveTree(t, repo, file(""), file("."), dir("..", inner.String()), file("../evil"), file("/evil"),
		file(`a\\x00b`), dir("gone", gone.String()), file("good"), `{"name":"sock","type":"socket","content":null}`)
	if err := repo.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	base := t.TempDir()
	target := filepath.Join(base, "target")
	report, err := restorer.Restore(t.Context(), repo, &restic.Snapshot{Tree: &tree}, restorer.Options{Target: target})
	if !errors.Is(err, restorer.ErrIncomplete) || report.FailedCount != 7 {
		t.Errorf("Restore() = %v with %d failures (%v), want ErrIncomplete with 7", err, report.FailedCount, report.Failed)
	}
	if got := files(t, base); !slices.Equal(got, []string{"target/good"}) {
		t.Errorf("restored %q, want the good file alone", got)
	}
	if report.WarningCount == 0 {
		t.Error("no warning about the socket")
	}
}

// faulty is a real repository that damages what it reads, or acts meanwhile.
type faulty struct {
	*repository.Repository
	onRange  func(pack restic.ID) error
	onDecode func()
	mu       sync.Mutex
}

func (f *faulty) LoadPackRange(ctx context.Context, pack restic.ID, off, n int64, buf []byte) ([]byte, error) {
	if f.onRange != nil {
		f.mu.Lock()
		err := f.onRange(pack)
		f.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	return f.Repository.LoadPackRange(ctx, pack, off, n, buf)
}

func (f *faulty) DecodeBlob(b restic.PackedBlob, h restic.BlobHandle, sealed, dst []byte) ([]byte, error) {
	if f.onDecode != nil {
		f.onDecode()
	}
	return f.Repository.DecodeBlob(b, h, sealed, dst)
}

func (f *faulty) LoadBlob(ctx context.Context, h restic.BlobHandle, buf []byte) ([]byte, error) {
	if f.onRange != nil {
		return nil, errors.New("this copy is damaged too")
	}
	return f.Repository.LoadBlob(ctx, h, buf)
}

func TestDamagedPackIsNamedWithItsFiles(t *testing.T) {
	t.Parallel()

	root := fill(t, map[string]string{"a": random(1, 100), "b": random(2, 20<<20), "c": random(3, 100)})
	if err := os.Link(root+"/a", root+"/a2"); err != nil {
		t.Fatal(err)
	}
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	node, err := trees.Find(t.Context(), repo, *sn.Tree, root+"/a")
	if err != nil {
		t.Fatal(err)
	}
	bad := repo.LookupBlob(restic.BlobHandle{ID: node.Content[0], Type: restic.DataBlob})[0].Pack
	wrapped := &faulty{Repository: repo, onRange: func(pack restic.ID) error {
		if pack == bad {
			return errors.New("bit rot")
		}
		return nil
	}}
	target := t.TempDir()
	report, err := restorer.Restore(t.Context(), wrapped, sn, restorer.Options{Target: target})
	if !errors.Is(err, restorer.ErrIncomplete) {
		t.Fatalf("Restore() = %v, want ErrIncomplete", err)
	}
	failed := map[string]string{}
	for _, p := range report.Failed {
		failed["/"+p.Path] = p.Err.Error()
	}
	if !strings.Contains(failed[root+"/a"], bad.Short()) || failed[root+"/a2"] == "" {
		t.Errorf("failures are %v, want %s/a with pack %s, and its other name", failed, root, bad.Short())
	}
	// Files without content in that pack are there.
	for _, name := range []string{"b", "c"} {
		if failed[root+"/"+name] != "" {
			continue
		}
		if !bytes.Equal(mustRead(t, filepath.Join(root, name)), mustRead(t, filepath.Join(target, root, name))) {
			t.Errorf("%s differs", name)
		}
	}
	// Continuing with a sound repository mends it.
	restore(t, repo, sn, restorer.Options{Target: target, Overwrite: true})
	referee.CompareTrees(t, root, filepath.Join(target, root))
}

// Lost packs cost the files that need them and no others; a store that fails
// at everything ends the restore.
func TestLostPacksAndBrokenStoresDiffer(t *testing.T) {
	t.Parallel()

	content := map[string]string{}
	for i := range 40 {
		content[fmt.Sprintf("f%02d", i)] = random(byte(i), 3<<20)
	}
	root := fill(t, content)
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	// One file is whole, wherever its pieces lie.
	whole, err := trees.Find(t.Context(), repo, *sn.Tree, root+"/f00")
	if err != nil {
		t.Fatal(err)
	}
	lost, kept := map[restic.ID]bool{}, map[restic.ID]bool{}
	for _, id := range whole.Content {
		kept[repo.LookupBlob(restic.BlobHandle{ID: id, Type: restic.DataBlob})[0].Pack] = true
	}
	broken := &faulty{Repository: repo, onRange: func(pack restic.ID) error {
		if kept[pack] {
			return nil
		}
		lost[pack] = true
		return &backend.Error{Op: "get", Kind: backend.NotFound}
	}}
	report, err := restorer.Restore(t.Context(), broken, sn, restorer.Options{Target: t.TempDir()})
	if !errors.Is(err, restorer.ErrIncomplete) || report.FailedCount == 0 || report.Files == 0 || len(lost) < 3 {
		t.Errorf("Restore() = %v with %d failures and %d files of %d lost packs, want some of both", err, report.FailedCount, report.Files, len(lost))
	}

	down := errors.New("connection refused")
	broken.onRange = func(restic.ID) error { return down }
	if _, err := restorer.Restore(t.Context(), broken, sn, restorer.Options{Target: t.TempDir()}); !errors.Is(err, down) {
		t.Errorf("Restore() from a dead store = %v, want its error", err)
	}
}

func TestVerifySeesAFileThatChanged(t *testing.T) {
	t.Parallel()

	root := fill(t, map[string]string{"a": "first", "b": "second"})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	target := t.TempDir()
	// With one worker, the first file is complete when the second one's
	// content is decoded.
	n := 0
	wrapped := &faulty{Repository: repo, onDecode: func() {
		if n++; n == 2 {
			for _, f := range files(t, target) {
				if st, err := os.Stat(filepath.Join(target, f)); err == nil && st.Size() > 0 {
					if err := os.WriteFile(filepath.Join(target, f), []byte("XXXXX"), 0o600); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}}
	report, err := restorer.Restore(t.Context(), wrapped, sn, restorer.Options{Target: target, Verify: true, Workers: 1})
	if !errors.Is(err, restorer.ErrIncomplete) || report.FailedCount != 1 || report.Checked != 1 {
		t.Errorf("Restore() = %v with report %+v, want one failure found by reading back", err, report)
	}
}

func TestFullDiskIsSaidPlainly(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a small file system")
	}

	root := fill(t, map[string]string{"big": random(1, 8<<20)})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	target := t.TempDir()
	if err := unix.Mount("none", target, "tmpfs", 0, "size=2m"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	_, err := restorer.Restore(t.Context(), repo, sn, restorer.Options{Target: target})
	if !errors.Is(err, restorer.ErrDiskFull) || !strings.Contains(err.Error(), target) || restorer.Hint(err) == "" {
		t.Errorf("Restore() = %v, want ErrDiskFull naming the target, with a hint", err)
	}
}

// Whoever is not root restores what he may: the content, but not foreign
// owners, and no set-user bits, which would lend his own rights.
func TestRestoreWithoutRootWarnsAboutOwners(t *testing.T) {
	t.Parallel()
	if fsmetatest.RanAsNobody(t) {
		return
	}

	repo := newRepo(t)
	blob, _, _, err := repo.SaveBlob(t.Context(), restic.DataBlob, []byte("tool"))
	if err != nil {
		t.Fatal(err)
	}
	const times = `"mtime":"2020-01-01T00:00:00Z","atime":"2020-01-01T00:00:00Z","ctime":"2020-01-01T00:00:00Z"`
	tree := saveTree(t, repo,
		`{"name":"dev","type":"chardev","mode":69206400,`+times+`,"uid":0,"gid":0,"device":259,"content":null}`,
		fmt.Sprintf(`{"name":"tool","type":"file","mode":%d,%s,"uid":0,"gid":0,"size":4,"content":["%s"]}`, os.ModeSetuid|0o755, times, blob))
	if err := repo.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	report, err := restorer.Restore(t.Context(), repo, &restic.Snapshot{Tree: &tree}, restorer.Options{Target: target})
	if err != nil || report.WarningCount != 2 {
		t.Errorf("Restore() = %v with warnings %v, want two warnings only", err, report.Warnings)
	}
	st, err := os.Stat(target + "/tool")
	if err != nil || st.Mode() != 0o755 || !st.ModTime().Equal(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) || string(mustRead(t, target+"/tool")) != "tool" {
		t.Errorf("the file is %v, %v; want its content, mode without set-uid and time", st, err)
	}
}
