package archiver_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/exclude"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/trees"
)

// spy is a real repository that tells what is asked of it, and lets a test act
// at that moment.
type spy struct {
	*repository.Repository
	onSave func(t restic.BlobType, plain []byte) error
	onTree func(id restic.ID)
	lost   restic.ID // a blob that the repository claims not to have

	mu    sync.Mutex
	saved map[restic.BlobType]int
}

func (s *spy) SaveBlob(ctx context.Context, t restic.BlobType, plain []byte) (restic.ID, bool, int, error) {
	s.mu.Lock()
	s.saved[t]++
	s.mu.Unlock()
	if s.onSave != nil {
		if err := s.onSave(t, plain); err != nil {
			return restic.ID{}, false, 0, err
		}
	}
	return s.Repository.SaveBlob(ctx, t, plain)
}

func (s *spy) ParentTree(ctx context.Context, id restic.ID) (compact.Tree, bool, error) {
	if s.onTree != nil {
		s.onTree(id)
	}
	tree, intact, err := s.Repository.ParentTree(ctx, id)
	return tree, intact && s.lost.IsNull(), err
}

func (s *spy) Has(h restic.BlobHandle) bool { return h.ID != s.lost && s.Repository.Has(h) }

// saves returns how many blobs of a type were saved since the last call.
func (s *spy) saves(t restic.BlobType) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.saved[t]
	s.saved[t] = 0
	return n
}

func newSpy(t testing.TB) *spy {
	t.Helper()
	repo, err := repository.Init(t.Context(), mem.New(), secret.New("password"), repository.InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repo.Close() })
	return &spy{Repository: repo, saved: map[restic.BlobType]int{}}
}

// newSource returns an empty directory whose path holds no symbolic link.
func newSource(t testing.TB) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// write makes files from paths to contents; a path that ends in a slash is a
// directory.
func write(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// age makes all entries below root old enough to be trusted: a file that is as
// young as the backup is read again by the next one.
func age(t testing.TB, sn *restic.Snapshot) *restic.Snapshot {
	t.Helper()
	aged := *sn
	summary := *sn.Summary
	summary.BackupStart = time.Now().Add(time.Minute)
	aged.Summary = &summary
	return &aged
}

func mustBackup(t testing.TB, repo archiver.Repository, req archiver.Request) (*restic.Snapshot, *archiver.Report) {
	t.Helper()
	sn, report, err := archiver.Backup(t.Context(), repo, req)
	if err != nil {
		t.Fatal(err)
	}
	return sn, report
}

// list returns the paths in a snapshot below root, without directories that
// only lead to it.
func list(t testing.TB, repo trees.Source, sn *restic.Snapshot, root string) []string {
	t.Helper()
	var out []string
	err := trees.Walk(t.Context(), repo, *sn.Tree, func(p string, n *restic.Node, err error) error {
		if rel, below := strings.CutPrefix("/"+p, strings.TrimSuffix(root, "/")+"/"); err == nil && below {
			if n.Type == restic.TypeDir {
				rel += "/"
			}
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// content returns a file of a snapshot.
func content(t testing.TB, repo *repository.Repository, sn *restic.Snapshot, p string) string {
	t.Helper()
	n, err := trees.Find(t.Context(), repo, *sn.Tree, p)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, id := range n.Content {
		b, err := repo.LoadBlob(t.Context(), restic.BlobHandle{ID: id, Type: restic.DataBlob}, nil)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(b)
	}
	if uint64(out.Len()) != n.Size {
		t.Errorf("%s has size %d and %d bytes of content", p, n.Size, out.Len())
	}
	return out.String()
}

func one(root string, excludes ...string) []archiver.Source {
	return []archiver.Source{{Root: root, Exclude: excludes}}
}

func TestExcludedPathsAreLeftOut(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{
		"a.tmp": "1", "keep/b": "2", "keep/b.tmp": "3", "cache/x": "4", "cache/y/z": "5", "build/out": "6", "keep/build/in": "7",
	})
	repo := newSpy(t)
	sn, report := mustBackup(t, repo, archiver.Request{Sources: one(root, "*.tmp", "cache/**", "/build")})
	want := []string{"cache/", "keep/", "keep/b", "keep/build/", "keep/build/in"}
	if got := list(t, repo, sn, root); !slices.Equal(got, want) {
		t.Errorf("snapshot has %q, want %q", got, want)
	}
	if report.Summary.TotalFilesProcessed != 2 || report.Summary.TotalBytesProcessed != 2 {
		t.Errorf("summary counts %+v, want 2 files of 2 bytes", report.Summary)
	}
	if !slices.Equal(sn.Excludes, []string{"*.tmp", "cache/**", "/build"}) || !slices.Equal(sn.Paths, []string{root}) {
		t.Errorf("snapshot says excludes %q, paths %q", sn.Excludes, sn.Paths)
	}

	_, _, err := archiver.Backup(t.Context(), repo, archiver.Request{Sources: one(root, "[a")})
	var bad *exclude.PatternError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), root) {
		t.Errorf("Backup() with a bad pattern = %v, want the pattern and the source named", err)
	}
}

func TestSourcesMayLieWithinEachOther(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1", "skip/x": "2", "skip/app/y": "3", "skip/app/z.tmp": "4", "skip/app/skip/q": "5"})
	repo := newSpy(t)
	sn, _ := mustBackup(t, repo, archiver.Request{Sources: []archiver.Source{
		{Root: root, Exclude: []string{"skip"}}, {Root: root + "/skip/app", Exclude: []string{"*.tmp"}},
	}})
	want := []string{"a", "skip/", "skip/app/", "skip/app/skip/", "skip/app/skip/q", "skip/app/y"}
	if got := list(t, repo, sn, root); !slices.Equal(got, want) {
		t.Errorf("snapshot has %q, want %q", got, want)
	}
}

func TestRootsMayBeLinksAndFiles(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"releases/v3/app": "binary", "other": "x", "one": "file"})
	for from, to := range map[string]string{"current": "releases/v3", "indirect": root + "/current"} {
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			t.Fatal(err)
		}
	}
	repo := newSpy(t)
	sn, _ := mustBackup(t, repo, archiver.Request{Sources: []archiver.Source{{Root: root + "/indirect"}, {Root: root + "/one"}}})
	want := []string{"current", "indirect", "one", "releases/", "releases/v3/", "releases/v3/app"}
	if got := list(t, repo, sn, root); !slices.Equal(got, want) {
		t.Errorf("snapshot has %q, want %q", got, want)
	}
	if !slices.Equal(sn.Paths, []string{root + "/indirect", root + "/one"}) {
		t.Errorf("snapshot paths are %q, want those that were asked for", sn.Paths)
	}
	loop := filepath.Join(root, "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	if _, _, err := archiver.Backup(t.Context(), repo, archiver.Request{Sources: one(loop)}); err == nil {
		t.Error("a link to itself was backed up")
	}
}

func TestMissingSourceFailsTheBackup(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1"})
	repo := newSpy(t)
	sources := []archiver.Source{{Root: root}, {Root: root + "/gone/away"}}
	sn, _, err := archiver.Backup(t.Context(), repo, archiver.Request{Sources: sources})
	if !errors.Is(err, archiver.ErrSourceMissing) || !strings.Contains(err.Error(), "/gone/away") || sn != nil {
		t.Errorf("Backup() = %v, %v, want ErrSourceMissing naming the root", sn, err)
	}
	for _, root := range []string{"relative", "", "/x\x00y"} {
		if _, _, err := archiver.Backup(t.Context(), repo, archiver.Request{Sources: one(root)}); err == nil {
			t.Errorf("Backup() of %q = nil, want an error", root)
		}
	}
	if _, _, err := archiver.Backup(t.Context(), repo, archiver.Request{}); err == nil {
		t.Error("Backup() of nothing = nil, want an error")
	}
	if found, err := repo.Snapshots(t.Context(), nil); err != nil || len(found) > 0 {
		t.Errorf("failed backups left snapshots %v, %v", found, err)
	}
}

// A run without changes costs a scan and one snapshot: nothing is read, and no
// directory below the root is encoded.
func TestUnchangedTreeIsNotRead(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1", "d/b": strings.Repeat("2", 3<<20), "d/e/": "", "f/g": "3"})
	repo := newSpy(t)
	first, _ := mustBackup(t, repo, archiver.Request{Sources: one(root)})
	repo.saves(restic.DataBlob)
	repo.saves(restic.TreeBlob)

	second, report := mustBackup(t, repo, archiver.Request{Sources: one(root), Parent: age(t, first)})
	if n := repo.saves(restic.DataBlob); n > 0 {
		t.Errorf("%d pieces of unchanged files were read", n)
	}
	// The directories above the root may have changed, those below did not.
	if n := repo.saves(restic.TreeBlob); n > strings.Count(root, "/") {
		t.Errorf("%d trees were encoded, want none below the root", n)
	}
	if s := report.Summary; s.FilesUnmodified != 3 || s.FilesNew+s.FilesChanged > 0 || s.DataBlobs > 0 || s.TotalFilesProcessed != 3 {
		t.Errorf("summary says %+v, want 3 unmodified files", s)
	}
	if second.Parent == nil || *second.Parent != first.ID {
		t.Errorf("the parent is %v, want %s", second.Parent, first.ID)
	}

	write(t, root, map[string]string{"f/g": "4"})
	third, report := mustBackup(t, repo, archiver.Request{Sources: one(root), Parent: age(t, second)})
	if s := report.Summary; s.FilesUnmodified != 2 || s.FilesChanged != 1 || repo.saves(restic.DataBlob) != 1 {
		t.Errorf("summary says %+v, want 1 of 3 files changed, and it alone read", s)
	}
	if got := content(t, repo.Repository, third, root+"/f/g"); got != "4" {
		t.Errorf("the changed file is %q, want its new content", got)
	}
}

// A write that leaves all times as they are, within the tick of the clock in
// which the backup began, must not be missed by the next backup.
func TestFileAsYoungAsTheParentIsReadAgain(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1"})
	repo := newSpy(t)
	sn, _ := mustBackup(t, repo, archiver.Request{Sources: one(root)})
	early := *age(t, sn)
	early.Summary.BackupStart = time.Now().Add(-time.Hour)
	repo.saves(restic.DataBlob)
	_, report := mustBackup(t, repo, archiver.Request{Sources: one(root), Parent: &early})
	if n := repo.saves(restic.DataBlob); n != 1 {
		t.Errorf("the file was read %d times, want once", n)
	}
	if report.Summary.FilesUnmodified != 1 {
		t.Errorf("summary says %+v, want the file unmodified", report.Summary)
	}
}

func TestContentThatTheRepositoryLostIsReadAgain(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "precious", "b": "other"})
	repo := newSpy(t)
	sn, _ := mustBackup(t, repo, archiver.Request{Sources: one(root)})
	repo.saves(restic.DataBlob)
	repo.lost = restic.Hash([]byte("precious"))
	mustBackup(t, repo, archiver.Request{Sources: one(root), Parent: age(t, sn)})
	if n := repo.saves(restic.DataBlob); n != 1 {
		t.Errorf("%d files were read, want the one whose content is lost", n)
	}
}

func TestVanishedFilesAreCountedOnly(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1", "b": "2", "c/d": "3", "e": "4"})
	repo := newSpy(t)
	// Small files of a directory are read in order: when the first is saved,
	// the others were listed and not opened.
	repo.onSave = func(typ restic.BlobType, plain []byte) error {
		if string(plain) == "1" {
			return errors.Join(os.Remove(root+"/b"), os.Rename(root+"/e", root+"/c/e"), os.Mkdir(root+"/e", 0o700))
		}
		return nil
	}
	sn, report := mustBackup(t, repo, archiver.Request{Sources: one(root), Workers: 1})
	if report.Vanished != 2 || report.Partial() {
		t.Errorf("report says %+v, want two vanished files and no partial backup", report)
	}
	got := list(t, repo, sn, root)
	if slices.Contains(got, "b") || slices.Contains(got, "e") || !slices.Contains(got, "a") || !slices.Contains(got, "c/d") {
		t.Errorf("snapshot has %q, want a and c/d, not b and e", got)
	}

	// An entry that goes away between the listing and the look at it.
	repo.onSave = nil
	node, err := trees.Find(t.Context(), repo, *sn.Tree, root)
	if err != nil {
		t.Fatal(err)
	}
	repo.onTree = func(id restic.ID) {
		if id == *node.Subtree {
			if err := os.Remove(root + "/a"); err != nil {
				t.Error(err)
			}
		}
	}
	if _, report = mustBackup(t, repo, archiver.Request{Sources: one(root), Parent: sn}); report.Vanished != 1 || report.Partial() {
		t.Errorf("report says %+v, want one vanished file and no partial backup", report)
	}
}

func TestFileThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	// Longer than all buffers together: when the first piece is saved, the last
	// is not read.
	big := strings.Repeat("0123456789abcdef", 32<<16)
	write(t, root, map[string]string{"a": "first", "big": big, "grows": "short"})
	repo := newSpy(t)
	longer := strings.Repeat("fedcba9876543210", 2<<16)
	var once sync.Once
	repo.onSave = func(_ restic.BlobType, plain []byte) error {
		var err error
		switch {
		case string(plain) == "first": // the small file behind it becomes large
			err = os.WriteFile(root+"/grows", []byte(longer), 0o644)
		case len(plain) > 1<<19 && bytes.HasPrefix(plain, []byte("0123")):
			once.Do(func() { err = appendTo(root+"/big", "tail") })
		}
		return err
	}
	sn, report := mustBackup(t, repo, archiver.Request{Sources: one(root), Workers: 1})
	if report.ChangedInRead == 0 || report.Partial() {
		t.Errorf("report says %+v, want a file that changed while it was read", report)
	}
	if got := content(t, repo.Repository, sn, root+"/grows"); got != longer {
		t.Errorf("the file that grew has %d bytes, want %d", len(got), len(longer))
	}
	if got := content(t, repo.Repository, sn, root+"/big"); !strings.HasPrefix(got, big) {
		t.Errorf("the changing file has %d bytes that are not its beginning", len(got))
	}

	repo.onSave = nil
	sn, report = mustBackup(t, repo, archiver.Request{Sources: one(root), Parent: age(t, sn)})
	if report.Summary.FilesChanged != 1 || report.ChangedInRead != 0 {
		t.Errorf("the next backup says %+v, want it to see the change", report)
	}
	if got := content(t, repo.Repository, sn, root+"/big"); got != big+"tail" {
		t.Errorf("the file has %d bytes after the next backup, want %d", len(got), len(big)+4)
	}
}

func appendTo(p, text string) error {
	f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func TestCancelledBackupEndsAndLeavesNothing(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	data := make([]byte, 40<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	write(t, root, map[string]string{"big": string(data), "b/small": "1", "c/small": "2"})
	repo := newSpy(t)
	stop := errors.New("shut down")
	ctx, cancel := context.WithCancelCause(t.Context())
	repo.onSave = func(restic.BlobType, []byte) error {
		cancel(stop)
		return nil
	}
	sn, _, err := archiver.Backup(ctx, repo, archiver.Request{Sources: one(root)})
	if !errors.Is(err, stop) || sn != nil {
		t.Errorf("Backup() = %v, %v, want the cause of the cancellation", sn, err)
	}
	// The repository is as good as new.
	repo.onSave = nil
	if sn, _ := mustBackup(t, repo, archiver.Request{Sources: one(root)}); content(t, repo.Repository, sn, root+"/big") != string(data) {
		t.Error("the next backup has other content")
	}
}

func TestFailureOfTheRepositoryIsReturned(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1", "b/c": "2", "big": strings.Repeat("x", 9<<20)})
	for _, typ := range []restic.BlobType{restic.DataBlob, restic.TreeBlob} {
		repo, broken := newSpy(t), errors.New("bucket on fire")
		repo.onSave = func(t restic.BlobType, _ []byte) error {
			if t == typ {
				return broken
			}
			return nil
		}
		if _, _, err := archiver.Backup(t.Context(), repo, archiver.Request{Sources: one(root)}); !errors.Is(err, broken) {
			t.Errorf("Backup() with a failing %s blob = %v, want the failure", typ, err)
		}
	}
}
