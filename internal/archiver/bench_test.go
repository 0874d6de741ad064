package archiver_test

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// BenchmarkUnchanged measures a run without changes over 100,000 files in a
// process that stays, lock and listing included. It reports CPU time, because
// wall time contains the lock's wait.
func BenchmarkUnchanged(b *testing.B) {
	root := newSource(b)
	for i := range 1000 {
		dir := fmt.Sprintf("%s/directory-%04d", root, i)
		if err := os.Mkdir(dir, 0o755); err != nil {
			b.Fatal(err)
		}
		for j := range 100 {
			name := fmt.Sprintf("%s/document-%06d.json", dir, j)
			if err := os.WriteFile(name, strconv.AppendInt(nil, int64(i*100+j), 10), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	repo, err := repository.Init(b.Context(), mem.New(), secret.New("password"), repository.InitOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = repo.Close() }()
	first, _ := mustBackup(b, repo, archiver.Request{Sources: one(root)})
	parent := age(b, first)
	warm := func() {
		lock, err := repo.LockAhead(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if err := repo.LoadIndex(lock.Context()); err != nil {
			b.Fatal(err)
		}
		sn, report := mustBackup(b, repo, archiver.Request{Sources: one(root), Parent: parent})
		// What lies above the root may change at any time.
		if report.Summary.FilesUnmodified != 100_000 || report.Summary.DirsUnmodified < 1000 {
			b.Fatalf("not without changes: %+v", report.Summary)
		}
		if err := repo.VerifySnapshot(b.Context(), sn.ID); err != nil {
			b.Fatal(err)
		}
		if err := lock.Unlock(); err != nil {
			b.Fatal(err)
		}
	}
	warm()
	b.ReportAllocs()
	before := cpuTime(b)
	b.ResetTimer()
	for b.Loop() {
		warm()
	}
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(b.N), "cpu-ms/op")
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
