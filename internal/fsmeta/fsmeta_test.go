//go:build linux

package fsmeta

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// everyWay runs a test with openat2 and with the walk element by element that
// replaces it where a kernel or a sandbox refuses it.
func everyWay(t *testing.T, test func(t *testing.T)) {
	t.Run("openat2", test)
	t.Run("element by element", func(t *testing.T) {
		before := noOpenat2.Swap(true)
		defer noOpenat2.Store(before)
		test(t)
	})
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoPathLeadsThroughALinkOrOutside(t *testing.T) {
	everyWay(t, func(t *testing.T) {
		root := t.TempDir()
		must(t, os.MkdirAll(root+"/in/a/b", 0o755))
		must(t, os.WriteFile(root+"/secret", []byte("s"), 0o644))
		must(t, os.WriteFile(root+"/in/a/b/file", []byte("f"), 0o644))
		must(t, os.Symlink("..", root+"/in/up"))
		must(t, os.Symlink("a", root+"/in/same"))
		must(t, os.Symlink(root+"/secret", root+"/in/leak"))
		d := open(t, root+"/in")

		for _, rel := range []string{"../secret", "..", "a/../../secret", "up/secret", "leak", "same/b/file", root + "/secret", "/etc/passwd"} {
			if f, err := d.OpenFile(rel); err == nil {
				_ = f.Close()
				t.Errorf("OpenFile(%q) went out of the directory", rel)
			}
			if f, err := d.CreateFile(rel + "/new"); err == nil {
				_ = f.Close()
				t.Errorf("CreateFile(%q) went out of the directory", rel+"/new")
			}
			if s, err := d.Sub(rel); err == nil {
				_ = s.Close()
				t.Errorf("Sub(%q) went out of the directory", rel)
			}
		}
		f, err := d.OpenFile("a/b/file")
		must(t, err)
		must(t, f.Close())
		if _, err := d.CreateFile("a/b/file"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("CreateFile() of an existing file = %v, want ErrExist", err)
		}
	})
}

func TestPathsLongerThanASystemCallTakes(t *testing.T) {
	everyWay(t, func(t *testing.T) {
		d := open(t, t.TempDir())
		rel := ""
		for range 60 {
			parent, err := d.Sub(rel)
			must(t, err)
			name := strings.Repeat("n", 100)
			must(t, parent.Mkdir(name))
			must(t, parent.Close())
			rel = strings.TrimPrefix(rel+"/"+name, "/")
		}
		if len(rel) < 6000 {
			t.Fatalf("the path has %d bytes only", len(rel))
		}
		f, err := d.CreateFile(rel + "/file")
		must(t, err)
		_, err = f.WriteAt([]byte("deep"), 0)
		must(t, errors.Join(err, f.Close()))
		f, err = d.OpenFile(rel + "/file")
		must(t, err)
		buf := make([]byte, 4)
		_, err = f.ReadAt(buf, 0)
		if must(t, errors.Join(err, f.Close())); string(buf) != "deep" {
			t.Errorf("read %q", buf)
		}
	})
}

func TestNamesAreAllSortedBytes(t *testing.T) {
	t.Parallel()

	root := t.TempDir()
	want := []string{"\x01", " ", "B", "a", "a\xff", "ä", "\xf0"}
	for _, n := range want {
		must(t, os.WriteFile(filepath.Join(root, n), nil, 0o644))
	}
	for i := range 3000 { // more than one read of the directory holds
		must(t, os.WriteFile(filepath.Join(root, strings.Repeat("x", 50)+string(rune('a'+i%26))+strings.Repeat("y", i/26)), nil, 0o644))
	}
	names, err := open(t, root).Names()
	must(t, err)
	if len(names) != 3000+len(want) {
		t.Errorf("%d names, want %d", len(names), 3000+len(want))
	}
	for i := range names[1:] {
		if names[i] >= names[i+1] {
			t.Errorf("%q before %q", names[i], names[i+1])
		}
	}
}

// A file and an entry get exactly the metadata that is asked for, and lose
// attributes that they should not have.
func TestApply(t *testing.T) {
	t.Parallel()

	root := t.TempDir()
	d := open(t, root)
	must(t, os.WriteFile(root+"/file", nil, 0o600))
	must(t, os.Mkdir(root+"/dir", 0o700))
	must(t, os.Symlink("gone", root+"/link"))
	must(t, unix.Mkfifo(root+"/fifo", 0o600))
	must(t, unix.Setxattr(root+"/file", "user.old", []byte("x"), 0))
	at := time.Unix(1e9, 123456789).UTC()
	m := Metadata{Mode: 0o4751 &^ 0o4000, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Mtime: at, Atime: at} //nolint:gosec // ids are not negative
	m.Mode |= fs.ModeSetuid

	f, err := d.EditFile("file")
	must(t, err)
	withAttrs := m
	withAttrs.Xattrs = []Xattr{{"user.a", []byte{0, 1}}, {"user.empty", []byte{}}}
	must(t, f.Apply(withAttrs))
	attrs, err := f.Xattrs()
	must(t, errors.Join(err, f.Close()))
	if len(attrs) != 2 || attrs[0].Name == "user.old" || attrs[1].Name == "user.old" {
		t.Errorf("attributes are %q, want user.a and user.empty", attrs)
	}
	for _, name := range []string{"dir", "fifo", "link"} {
		one := m
		if name == "link" {
			one.Mode = fs.ModeSymlink | 0o777
		}
		must(t, d.Apply(name, one))
	}
	for _, name := range []string{"file", "dir", "fifo", "link"} {
		st, err := d.Lstat(name)
		must(t, err)
		if !st.Mtime.Equal(at) || (name != "link" && st.Mode&^fs.ModeType != fs.ModeSetuid|0o751) {
			t.Errorf("%s has mode %v and time %v, want %v and %v", name, st.Mode, st.Mtime, m.Mode, at)
		}
	}
	if IsGone(nil) || !IsGone(unix.ENOENT) || !IsFull(unix.ENOSPC) || IsFull(unix.EIO) {
		t.Error("errors are told apart wrongly")
	}
}

func TestOwnersAreNamedOnce(t *testing.T) {
	t.Parallel()

	var o Owners
	if o.User(0) != "root" || o.Group(0) != "root" || o.User(0) != "root" {
		t.Errorf("0 is %q and %q, want root", o.User(0), o.Group(0))
	}
	if name := o.User(4294967); name != "" {
		t.Errorf("an unknown user is called %q", name)
	}
}
