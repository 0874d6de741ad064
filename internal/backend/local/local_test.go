package local_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/backendtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/local"
)

func open(t *testing.T, dir string) *local.Backend {
	t.Helper()
	be, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return be
}

func TestKeepsTheContract(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, filepath.Join(t.TempDir(), "repo")) },
		backendtest.Features{IgnoresHash: true})
}

func TestLayoutAndModesAreResticsAndPrivate(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	be := open(t, dir)
	if err := be.Put(t.Context(), backend.Handle{Kind: backend.KindConfig}, []byte("c"), backend.PutOptions{CreateOnly: true}); err != nil {
		t.Fatal(err)
	}
	dirs, files := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
			dirs++
		} else {
			files++
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// The repository, its five folders and the 256 of data.
	if dirs != 1+5+256 || files != 1 {
		t.Errorf("%d directories and %d files", dirs, files)
	}
}

func TestLeftoversAreHiddenAndRemovedWhenOld(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	be := open(t, dir)
	name := strings.Repeat("ab", 32)
	h := backend.Handle{Kind: backend.KindData, Name: name}
	if err := be.Put(t.Context(), h, []byte("pack"), backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(dir, "data", "ab", name+"-tmp-1")
	young := filepath.Join(dir, "data", "ab", name+"-tmp-2")
	foreign := filepath.Join(dir, "data", "ab", "notes-tmp-of-somebody")
	for _, path := range []string{old, young, foreign} {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-48 * time.Hour)
	for _, path := range []string{old, foreign} {
		if err := os.Chtimes(path, past, past); err != nil {
			t.Fatal(err)
		}
	}
	if err := be.RemoveLeftovers(t.Context(), time.Now().Add(-24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{old: false, young: true, foreign: true} {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) == want {
			t.Errorf("%s: stat says %v, want it there: %v", filepath.Base(path), err, want)
		}
	}
	count := 0
	err := be.List(t.Context(), backend.KindData, func(got string, _ int64, _ time.Time) error {
		count++
		if got != name {
			t.Errorf("listed %s", got)
		}
		return nil
	})
	if err != nil || count != 1 {
		t.Errorf("%d objects, %v", count, err)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	if _, err := local.Open("relative/path"); err == nil {
		t.Error("a relative directory was accepted")
	}
	missing := open(t, filepath.Join(t.TempDir(), "mount", "repo"))
	err := missing.Probe(t.Context())
	if backend.KindOf(err) != backend.NoBucket || !strings.Contains(err.Error(), "mounted") {
		t.Errorf("probe below a missing mount point: %v", err)
	}
	err = missing.Put(t.Context(), backend.Handle{Kind: backend.KindConfig}, nil, backend.PutOptions{})
	if backend.KindOf(err) != backend.NoBucket {
		t.Errorf("put below a missing mount point: %v", err)
	}
}
