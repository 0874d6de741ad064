package archiver_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta/fsmetatest"
)

func TestUnreadablePartsMakeAPartialBackup(t *testing.T) {
	t.Parallel()
	if fsmetatest.RanAsNobody(t) {
		return
	}

	root := newSource(t)
	write(t, root, map[string]string{"open": "1", "secret": "2", "dir/inside": "3", "fine/x": "4"})
	for p, mode := range map[string]os.FileMode{"secret": 0, "dir": 0} {
		if err := os.Chmod(filepath.Join(root, p), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(root, "dir"), 0o700) })
	repo := newSpy(t)
	sn, report := mustBackup(t, repo, archiver.Request{Sources: one(root)})
	var paths []string
	for _, p := range report.Unreadable {
		paths = append(paths, p.Path)
		if !errors.Is(p.Err, fs.ErrPermission) {
			t.Errorf("%s: %v, want the permission error", p.Path, p.Err)
		}
	}
	slices.Sort(paths)
	if want := []string{root + "/dir/", root + "/secret"}; !slices.Equal(paths, want) || !report.Partial() || report.UnreadableCount != 2 {
		t.Errorf("unreadable are %q (%d), want %q", paths, report.UnreadableCount, want)
	}
	if got := list(t, repo, sn, root); !slices.Equal(got, []string{"fine/", "fine/x", "open"}) {
		t.Errorf("snapshot has %q, want what can be read", got)
	}

	// A directory that may be passed but not listed leads to a source.
	way := filepath.Join(root, "fine")
	if err := os.Chmod(way, 0o100); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(way, 0o700) })
	if sn, report = mustBackup(t, repo, archiver.Request{Sources: one(way + "/x")}); content(t, repo.Repository, sn, way+"/x") != "4" || report.Partial() {
		t.Errorf("report says %+v, want the source below a closed directory", report)
	}

	// A source of which nothing can be read is no backup.
	if sn, _, err := archiver.Backup(t.Context(), repo, archiver.Request{Sources: one(root + "/dir")}); !errors.Is(err, fs.ErrPermission) || sn != nil {
		t.Errorf("Backup() of an unreadable root = %v, %v, want the permission error", sn, err)
	}
}
