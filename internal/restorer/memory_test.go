package restorer_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend/local"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

const (
	memoryEnv   = "ENVBACKUP_TEST_MEMORY"
	memoryLimit = 512 << 10 // KiB
	wideEntries = 200_000
)

// A directory of 200,000 entries and a file far larger than memory's share
// pass in less than 512 MiB, both ways. Each step runs in a process of its own
// and reads its own peak.
func TestMemoryIsBounded(t *testing.T) {
	if step := os.Getenv(memoryEnv); step != "" {
		memoryStep(t, step)
		return
	}
	large := int64(1 << 30)
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		large = 10 << 30
	}
	for name, fill := range map[string]func(dir string) error{
		"wide directory": func(dir string) error {
			for i := range wideEntries {
				if err := os.WriteFile(fmt.Sprintf("%s/entry number %06d", dir, i), strconv.AppendInt(nil, int64(i), 10), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
		"large file": func(dir string) error {
			f, err := os.Create(dir + "/large")
			if err != nil {
				return err
			}
			// Sparse, but with some content in each stretch.
			for off := int64(0); off < large; off += 16 << 20 {
				if _, err := f.WriteAt([]byte(random(byte(off>>24), 1<<20)), off); err != nil {
					return errors.Join(err, f.Close())
				}
			}
			return errors.Join(f.Truncate(large), f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			base := memoryDir(t)
			source := filepath.Join(base, "source")
			if err := errors.Join(os.Mkdir(source, 0o755), fill(source)); err != nil {
				t.Fatal(err)
			}
			for _, step := range []string{"backup", "unchanged", "restore"} {
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMemoryIsBounded$", "-test.v")
				cmd.Env = append(os.Environ(), memoryEnv+"="+step+" "+base)
				started := time.Now()
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", step, err, out)
				}
				_, after, _ := strings.Cut(string(out), "peak=")
				peak, err := strconv.Atoi(strings.Fields(after + " none")[0])
				if err != nil {
					t.Fatalf("%s prints no peak: %s", step, out)
				}
				t.Logf("%s: %d MiB at most, %.1f s", step, peak>>10, time.Since(started).Seconds())
				if peak >= memoryLimit {
					t.Errorf("%s: resident memory reached %d MiB, want less than %d", step, peak>>10, memoryLimit>>10)
				}
			}
		})
	}
}

// memoryDir returns a directory in memory where there is one with room: what is
// measured is the process, and making 200,000 files on a disk takes a minute.
func memoryDir(t *testing.T) string {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs("/dev/shm", &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < 4<<30 { //nolint:gosec // not negative
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "envbackup-memory-") //nolint:usetesting // not where TempDir is
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// memoryStep does one step in the child process.
func memoryStep(t *testing.T, arg string) {
	step, base, _ := strings.Cut(arg, " ")
	be, err := local.Open(base + "/repository")
	if err != nil {
		t.Fatal(err)
	}
	pw := secret.New("password")
	var repo *repository.Repository
	if step == "backup" {
		repo, err = repository.Init(t.Context(), be, pw, repository.InitOptions{})
	} else {
		repo, err = repository.Open(t.Context(), be, pw)
	}
	if err == nil {
		err = repo.LoadIndex(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = repo.Close() }()
	var parent *restic.Snapshot
	if step != "backup" {
		list, err := repo.Snapshots(t.Context(), nil)
		if err != nil || len(list) == 0 {
			t.Fatalf("%d snapshots, %v", len(list), err)
		}
		parent = list[0]
	}
	if step == "restore" {
		report := restore(t, repo, parent, restorer.Options{Target: base + "/target", Sparse: true, Verify: true})
		if report.Checked != report.Files || report.Files == 0 {
			t.Errorf("report says %+v, want all files verified", report)
		}
	} else {
		sn := backup(t, repo, parent, base+"/source")
		if step == "unchanged" && sn.Summary.FilesChanged+sn.Summary.FilesNew > 0 {
			t.Errorf("summary says %+v, want nothing changed", sn.Summary)
		}
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Printf("peak=%s kB\n", strings.Fields(line)[0])
}
