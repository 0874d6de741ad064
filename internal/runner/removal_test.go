package runner_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// restart makes another daemon on the same state: what the one before had in
// memory is gone.
func (b *bench) restart() {
	b.t.Helper()
	var err error
	if err := b.vault.Close(); err != nil {
		b.t.Fatal(err)
	}
	if b.vault, err = vault.Open(b.keyFile, b.store, b.vaultConfig); err != nil {
		b.t.Fatal(err)
	}
	everything := func(string) error { return nil }
	b.runner = runner.New(b.store, b.vault, runner.Config{
		AllowRead: everything, AllowRestore: everything, Hostname: "db1", Version: "test",
		Now: func() time.Time { return b.now },
	})
}

// R5: wherever a removal is cut off, before or after the store has done what it
// was asked, the newest backup stays, and the next run of a new daemon brings
// list and repository to one.
func TestARemovalThatIsCutOffHeals(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, fault := range map[string]s3test.Fault{"before the store acts": s3test.Reset(), "after the store acts": s3test.LoseAnswer()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			faults := server.Faults(t)
			d := b.s3("bucket", faults.Server, faults.Bucket(t))
			s := b.schedule("hourly", last(9), d)
			b.today()
			tick := func() {
				b.now = b.now.Add(time.Second)
				b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
			}
			seen := map[string]bool{}
			for n := int64(1); ; n++ {
				if n > 30 {
					t.Fatal("the removal never gets through")
				}
				b.policy(s, last(9))
				for len(b.rows(s, d)) < 3 {
					tick()
				}
				b.policy(s, last(1))
				newest := b.rows(s, d)[0]

				ctx, kill := context.WithCancel(t.Context())
				var count atomic.Int64
				reclaims := false
				remove := faults.Inject(func(r *http.Request) bool {
					if count.Add(1) < n {
						return false
					}
					if count.Load() == n {
						reclaims = strings.Contains(r.URL.Path+r.URL.RawQuery, "locks")
						seen[r.Method+" "+kindOf(r)] = true
					}
					kill()
					return true
				}, fault)
				_, err := b.runner.Prune(ctx, s.ID, false, "test")
				remove()
				kill()
				if count.Load() < n || reclaims {
					break // the removal is done; the reclamation has tests of its own
				}
				if err == nil {
					t.Errorf("cut off at request %d, the prune reports no failure", n)
				}
				b.restart()
				if row, err := b.store.Backup(t.Context(), newest.ID); err != nil || row.SnapshotID != newest.SnapshotID {
					t.Fatalf("cut off at request %d, the newest backup is gone: %v", n, err)
				}
				tick()
				rows := b.rows(s, d)
				b.nominals(s, d) // fails where list and repository differ
				if len(rows) != 1 {
					t.Errorf("cut off at request %d, %d backups are left after the next run, want its own", n, len(rows))
				}
			}
			if !seen["POST delete"] || !seen["GET snapshots"] {
				t.Errorf("the removal was cut off at %v only", seen)
			}
			b.restic(d, server.Environ()...).Check()
		})
	}
}

// kindOf says what a request is about.
func kindOf(r *http.Request) string {
	for _, kind := range []string{"snapshots", "locks", "index", "data", "keys", "config"} {
		if strings.Contains(r.URL.Path, kind) || strings.Contains(r.URL.Query().Get("prefix"), kind) {
			return kind
		}
	}
	if r.URL.Query().Has("delete") {
		return "delete"
	}
	return "bucket"
}

// R5: a hold that comes before the deletion begins takes the mark away and
// keeps the backup; one that comes after is refused.
func TestAHoldAndARemovalMeet(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	faults := s3test.Start(t).Faults(t)
	d := b.s3("bucket", faults.Server, faults.Bucket(t))
	s := b.schedule("hourly", last(9), d)
	b.today()
	for range 3 {
		b.now = b.now.Add(time.Second)
		b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	}
	rows := b.rows(s, d)
	if err := b.store.MarkRemoval(t.Context(), []string{rows[2].ID}, b.now); err != nil {
		t.Fatal(err)
	}
	if err := b.store.Hold(t.Context(), rows[2].ID, "evidence"); err != nil {
		t.Fatal(err)
	}
	b.policy(s, last(1))
	var refused error
	remove := faults.Inject(func(r *http.Request) bool {
		if deletesSnapshot(r) && refused == nil {
			refused = b.store.Hold(context.WithoutCancel(t.Context()), rows[1].ID, "too late")
		}
		return false
	}, s3test.Reset())
	report := b.prune(s, false)
	remove()
	wantCode(t, refused, envbackup.CodeConflict)
	if report.Removed != 1 {
		t.Errorf("%d went, want the one that is not held", report.Removed)
	}
	for _, v := range b.prune(s, true).Verdicts {
		if v.Backup.ID == rows[2].ID && !strings.Contains(join(v.Reasons), "held") {
			t.Errorf("the held one is kept because of %q", v.Reasons)
		}
	}
	if got := len(b.rows(s, d)); got != 2 {
		t.Errorf("%d backups are left, want the newest and the held one", got)
	}
}

// A dry run says what is in use: a restore reads it.
func TestABackupInUseIsKeptAndSaidSo(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(9), d)
	b.hours(2, s)
	b.policy(s, last(1))
	older := b.rows(s, d)[1]
	reading, ended := make(chan struct{}), make(chan error, 1)
	proceed := make(chan struct{})
	first := true
	go func() {
		_, err := b.runner.ExecuteRestore(context.WithoutCancel(t.Context()),
			envbackup.Restore{BackupID: older.ID, Environment: "shop", Target: b.t.TempDir(), Overwrite: true},
			func(envbackup.Progress) {
				if first {
					first = false
					close(reading)
					<-proceed
				}
			})
		ended <- err
	}()
	<-reading
	report := b.prune(s, false)
	wantCode(t, b.runner.Remove(t.Context(), []string{older.ID}, "test"), envbackup.CodeConflict)
	close(proceed)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if report.Removed != 0 || !strings.Contains(join(report.Verdicts[1].Reasons), "in use") {
		t.Errorf("removed %d, the older is kept because of %q; want 0 and that it is in use", report.Removed, report.Verdicts[1].Reasons)
	}
	if report := b.prune(s, false); report.Removed != 1 {
		t.Errorf("after the restore %d went, want 1", report.Removed)
	}
}
