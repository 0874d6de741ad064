package restorer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
)

// fill makes files with the given content below a new directory.
func fill(t testing.TB, files map[string]string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// random returns n bytes that do not compress.
func random(seed byte, n int) string {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data)
	return string(data)
}

// files returns the regular files below root.
func files(t testing.TB, root string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out = append(out, strings.TrimPrefix(p, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOnlyWhatIsIncludedIsFetched(t *testing.T) {
	t.Parallel()

	root := fill(t, map[string]string{
		"etc/app.conf": random(1, 2000), "etc/sub/b.conf": random(2, 2000), "data/big": random(3, 6<<20),
		"data/small.conf": random(4, 1000), "other/x": "x",
	})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	tests := map[string]struct {
		opts    restorer.Options
		want    []string
		atMost  uint64
		missing []string // directories that must not be made
	}{
		"a path":             {restorer.Options{Include: []string{root + "/etc"}}, []string{"etc/app.conf", "etc/sub/b.conf"}, 1 << 20, []string{"data", "other"}},
		"a file":             {restorer.Options{Include: []string{root + "/etc/sub/b.conf"}}, []string{"etc/sub/b.conf"}, 1 << 20, []string{"data"}},
		"a pattern":          {restorer.Options{Include: []string{"*.conf"}}, []string{"data/small.conf", "etc/app.conf", "etc/sub/b.conf"}, 1 << 20, []string{"other"}},
		"a pattern less one": {restorer.Options{Include: []string{"*.conf"}, Exclude: []string{"sub"}}, []string{"data/small.conf", "etc/app.conf"}, 1 << 20, []string{"etc/sub"}},
		"all less one":       {restorer.Options{Exclude: []string{"/**/data"}}, []string{"etc/app.conf", "etc/sub/b.conf", "other/x"}, 1 << 20, []string{"data"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.opts.Target = t.TempDir()
			report := restore(t, repo, sn, test.opts)
			got := filepath.Join(test.opts.Target, root)
			if f := files(t, got); !slices.Equal(f, test.want) {
				t.Errorf("restored %q, want %q", f, test.want)
			}
			if report.Fetched > test.atMost || report.Files != uint64(len(test.want)) {
				t.Errorf("report says %+v, want %d files and at most %d bytes fetched", report, len(test.want), test.atMost)
			}
			for _, d := range test.missing {
				if _, err := os.Lstat(filepath.Join(got, d)); err == nil {
					t.Errorf("directory %q was made", d)
				}
			}
			for _, f := range test.want {
				a, b := mustRead(t, filepath.Join(root, f)), mustRead(t, filepath.Join(got, f))
				if !bytes.Equal(a, b) {
					t.Errorf("%s differs", f)
				}
			}
		})
	}

	_, err := restorer.Restore(t.Context(), repo, sn, restorer.Options{Target: t.TempDir(), Include: []string{"nowhere"}})
	if !errors.Is(err, restorer.ErrNothingFound) || restorer.Hint(err) == "" {
		t.Errorf("Restore() of nothing = %v, want ErrNothingFound with a hint", err)
	}
	if _, err := restorer.Restore(t.Context(), repo, sn, restorer.Options{Target: t.TempDir(), Include: []string{"["}}); err == nil {
		t.Error("Restore() with a bad pattern = nil, want an error")
	}
}

func mustRead(t testing.TB, p string) []byte {
	t.Helper()
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTargetThatIsNotEmptyIsRefused(t *testing.T) {
	t.Parallel()

	root := fill(t, map[string]string{"a": "1"})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	target := fill(t, map[string]string{"mine": "x"})
	_, err := restorer.Restore(t.Context(), repo, sn, restorer.Options{Target: target})
	if !errors.Is(err, restorer.ErrTargetNotEmpty) || !strings.Contains(err.Error(), target) || !strings.Contains(restorer.Hint(err), "--overwrite") {
		t.Errorf("Restore() = %v, want ErrTargetNotEmpty naming the target, with a hint", err)
	}
	if got := files(t, target); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("the target has %q, want it untouched", got)
	}
	restore(t, repo, sn, restorer.Options{Target: filepath.Join(target, "new", "place")})
}

// What is right on disk is not fetched again; what differs is put right.
func TestRestoreContinues(t *testing.T) {
	t.Parallel()

	content := map[string]string{"big": random(5, 12<<20), "empty": "", "sub/long": random(7, 5000), "sub/short": random(8, 5000), "type": "file", "both": "linked"}
	for i := range 20 {
		content[fmt.Sprintf("f%d", i)] = random(byte(10+i), 3000)
	}
	root := fill(t, content)
	if err := os.Link(root+"/both", root+"/both2"); err != nil {
		t.Fatal(err)
	}
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	target := t.TempDir()
	first := restore(t, repo, sn, restorer.Options{Target: target})
	got := filepath.Join(target, root)

	again := restore(t, repo, sn, restorer.Options{Target: target, Overwrite: true})
	if again.Fetched > 64 || again.Kept != first.Bytes-uint64(len(content["both"])) {
		t.Errorf("a second restore fetched %d bytes and kept %d, want all but the file with two names, which may have more of them elsewhere, of %d", again.Fetched, again.Kept, first.Bytes)
	}

	damage := func(p string, f func(*os.File) error) {
		t.Helper()
		file, err := os.OpenFile(filepath.Join(got, p), os.O_RDWR, 0)
		if err == nil {
			err = errors.Join(f(file), file.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	damage("big", func(f *os.File) error { _, err := f.WriteAt([]byte("damage"), 6<<20); return err })
	damage("sub/long", func(f *os.File) error { _, err := f.WriteAt([]byte("and more"), 5000); return err })
	damage("sub/short", func(f *os.File) error { return f.Truncate(100) })
	damage("f0", func(f *os.File) error { return f.Chmod(0o600) })
	for _, err := range []error{os.Remove(got + "/type"), os.Mkdir(got+"/type", 0o755), os.Remove(got + "/f1"), os.Symlink("/etc/passwd", got+"/f1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	third := restore(t, repo, sn, restorer.Options{Target: target, Overwrite: true, Verify: true})
	referee.CompareTrees(t, root, got)
	if third.Fetched > 5<<20 || third.Kept < 7<<20 {
		t.Errorf("a repair fetched %d bytes and kept %d, want one piece of the large file and the small ones", third.Fetched, third.Kept)
	}
	if b, err := os.ReadFile("/etc/passwd"); err != nil || bytes.Contains(b, []byte(content["f1"])) {
		t.Errorf("the file behind a link was written to, %v", err)
	}
}

func TestSparseLeavesHoles(t *testing.T) {
	t.Parallel()

	const size = 24 << 20
	root := fill(t, map[string]string{"holes": strings.Repeat("\x00", size/2) + random(1, 100) + strings.Repeat("\x00", size/2-100)})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	for _, sparse := range []bool{false, true} {
		target := t.TempDir()
		restore(t, repo, sn, restorer.Options{Target: target, Sparse: sparse})
		referee.CompareTrees(t, root, filepath.Join(target, root))
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(target, root, "holes"), &st); err != nil {
			t.Fatal(err)
		}
		if onDisk := st.Blocks * 512; sparse && onDisk > 1<<20 || !sparse && onDisk < size/2 {
			t.Errorf("sparse %t: %d bytes on disk of %d", sparse, onDisk, size)
		}
	}
}

func TestDryRunTouchesNothing(t *testing.T) {
	t.Parallel()

	root := fill(t, map[string]string{"a": "12345", "d/b": "678"})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	target := filepath.Join(t.TempDir(), "target")
	report := restore(t, repo, sn, restorer.Options{Target: target, DryRun: true})
	if report.Files != 2 || report.Bytes != 8 {
		t.Errorf("report says %+v, want 2 files of 8 bytes", report)
	}
	if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target was made: %v", err)
	}
}

func TestCancelledRestoreEnds(t *testing.T) {
	t.Parallel()

	root := fill(t, map[string]string{"big": random(1, 30<<20), "small": "x"})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	stop := errors.New("shut down")
	ctx, cancel := context.WithCancelCause(t.Context())
	wrapped := &faulty{Repository: repo, onDecode: func() { cancel(stop) }}
	if _, err := restorer.Restore(ctx, wrapped, sn, restorer.Options{Target: t.TempDir()}); !errors.Is(err, stop) {
		t.Errorf("Restore() = %v, want the cause of the cancellation", err)
	}
}

func TestProgressEndsAtTheTotals(t *testing.T) {
	t.Parallel()

	root := fill(t, map[string]string{"a": random(1, 20<<20), "b": "x", "c": ""})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	var calls []restorer.Progress
	restore(t, repo, sn, restorer.Options{Target: t.TempDir(), Progress: func(p restorer.Progress) { calls = append(calls, p) }})
	want := restorer.Progress{Files: 3, Bytes: 20<<20 + 1, TotalFiles: 3, TotalBytes: 20<<20 + 1}
	if len(calls) < 2 || calls[len(calls)-1] != want {
		t.Errorf("progress is %+v, want it to end at %+v", calls, want)
	}
}
