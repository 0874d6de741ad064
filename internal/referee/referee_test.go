package referee_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// must fails the test at once on an error; the calls are fixture, not subject.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// makeTree writes a tree with one of everything that CompareTrees looks at.
func makeTree(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "tree")
	must(t, os.MkdirAll(filepath.Join(root, "dir", "empty"), 0o755))
	must(t, os.WriteFile(filepath.Join(root, "dir", "file"), []byte("content"), 0o640))
	must(t, os.Link(filepath.Join(root, "dir", "file"), filepath.Join(root, "dir", "second name")))
	must(t, os.WriteFile(filepath.Join(root, "not \xff utf-8"), nil, 0o600))
	must(t, os.Symlink("dir/file", filepath.Join(root, "link")))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o600))
	if os.Geteuid() == 0 {
		must(t, unix.Mknod(filepath.Join(root, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
		must(t, os.Chown(filepath.Join(root, "dir", "file"), 12345, 54321))
	}
	must(t, unix.Setxattr(filepath.Join(root, "dir"), "user.note", []byte("hello"), 0))
	old := time.Date(2020, 2, 29, 12, 0, 0, 123456789, time.UTC)
	for _, path := range []string{"dir/file", "dir", "."} {
		must(t, os.Chtimes(filepath.Join(root, path), old, old))
	}
	return root
}

func TestStockResticSavesChecksAndRestoresOnBothKindsOfStore(t *testing.T) {
	t.Parallel()
	source := makeTree(t)
	server := s3test.Start(t)
	for name, open := range map[string]func(t *testing.T) *referee.Restic{
		"local directory": func(t *testing.T) *referee.Restic { return referee.New(t, t.TempDir(), "password") },
		"s3": func(t *testing.T) *referee.Restic {
			return referee.New(t, server.ResticURL(server.Bucket(t), "some/prefix"), "password", server.Environ()...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			restic := open(t)
			restic.Init()
			id := restic.Backup(source)
			restic.Check()
			snapshots := restic.Snapshots()
			if len(snapshots) != 1 || snapshots[0].ID != id || snapshots[0].Paths[0] != source {
				t.Errorf("snapshots = %+v, want the one of %s", snapshots, source)
			}
			if packs := restic.List("packs"); len(packs) == 0 {
				t.Error("no packs are listed")
			}
			target := t.TempDir()
			restic.Restore(id, target)
			referee.CompareTrees(t, source, filepath.Join(target, source))
		})
	}
}

func TestResticsErrorsKeepTheirExitCode(t *testing.T) {
	t.Parallel()
	location := t.TempDir()
	referee.New(t, location, "right").Init()
	_, err := referee.New(t, location, "wrong").Try("snapshots")
	if failure := new(referee.Error); !errors.As(err, &failure) || failure.ExitCode != 12 {
		t.Errorf("wrong password: %v, want exit code 12", err)
	}
}

func TestEachDifferenceIsFound(t *testing.T) {
	t.Parallel()
	original := makeTree(t)
	if differences, err := referee.DiffTrees(original, original); err != nil || len(differences) != 0 {
		t.Fatalf("a tree differs from itself: %q, %v", differences, err)
	}
	cases := map[string]struct {
		change func(t *testing.T, root string)
		want   string
	}{
		"missing": {func(t *testing.T, root string) { must(t, os.Remove(filepath.Join(root, "fifo"))) }, `"fifo": missing`},
		"extra":   {func(t *testing.T, root string) { must(t, os.WriteFile(filepath.Join(root, "new"), nil, 0o600)) }, `"new": not in the original`},
		"content of the same size": {func(t *testing.T, root string) {
			must(t, os.WriteFile(filepath.Join(root, "dir", "file"), []byte("CONTENT"), 0o640))
		}, `"dir/file": sha256 is`},
		"mode": {func(t *testing.T, root string) { must(t, os.Chmod(filepath.Join(root, "dir/empty"), 0o700)) }, `"dir/empty": mode is "0700", want "0755"`},
		"nanosecond of a time": {func(t *testing.T, root string) {
			other := time.Date(2020, 2, 29, 12, 0, 0, 123456788, time.UTC)
			must(t, os.Chtimes(filepath.Join(root, "dir"), other, other))
		}, `"dir": modified is "2020-02-29T12:00:00.123456788Z"`},
		"attribute": {func(t *testing.T, root string) {
			must(t, unix.Setxattr(filepath.Join(root, "dir"), "user.note", []byte("bye"), 0))
		}, `"dir": xattr user.note is "bye", want "hello"`},
		"link target": {func(t *testing.T, root string) {
			must(t, os.Remove(filepath.Join(root, "link")))
			must(t, os.Symlink("elsewhere", filepath.Join(root, "link")))
		}, `"link": target is "elsewhere"`},
		"hard link made two files": {func(t *testing.T, root string) {
			must(t, os.Remove(filepath.Join(root, "dir/second name")))
			must(t, os.WriteFile(filepath.Join(root, "dir/second name"), []byte("content"), 0o640))
		}, `"dir/second name": first name is "", want "dir/file"`},
		"type": {func(t *testing.T, root string) {
			must(t, os.Remove(filepath.Join(root, "fifo")))
			must(t, os.WriteFile(filepath.Join(root, "fifo"), nil, 0o600))
		}, `"fifo": type is "file", want "fifo"`},
		"owner": {func(t *testing.T, root string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			must(t, os.Chown(filepath.Join(root, "dir/file"), 7, 7))
		}, `"dir/file": owner is`},
		"device": {func(t *testing.T, root string) {
			if os.Geteuid() != 0 {
				t.Skip("only root can make a device")
			}
			must(t, os.Remove(filepath.Join(root, "null")))
			must(t, unix.Mknod(filepath.Join(root, "null"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
		}, `"null": device is "1:5", want "1:3"`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changed := makeTree(t)
			c.change(t, changed)
			differences, err := referee.DiffTrees(original, changed)
			must(t, err)
			if text := strings.Join(differences, "\n"); !strings.Contains(text, c.want) {
				t.Errorf("differences:\n%s\nwant one with %s", text, c.want)
			}
		})
	}
}
