package runner_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// R12: removing snapshots takes no exclusive lock: it happens while another
// program holds a shared one. The data wait, the schedule's status says so
// after a week, and an operator's window reclaims them.
func TestSnapshotsGoWhileAnotherReads(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	b.fresh(4 << 20)
	b.hours(1, s)
	repo, err := b.vault.Repository(t.Context(), b.env.ID, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := repo.Lock(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b.fresh(4 << 20)
		b.now = b.now.Add(time.Hour)
		out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		if part := out.Destinations[0]; part.Removed != 1 || part.Reclaimed != 0 || len(out.Warnings) != 0 {
			t.Errorf("removed %d and reclaimed %d bytes with %q, want 1, 0 and no warning", part.Removed, part.Reclaimed, out.Warnings)
		}
	}
	b.wantNominals(s, d, 3)
	since := start.Add(2 * time.Hour)
	if row := b.repository(d); !row.ReclaimSince.Equal(since) || !strings.Contains(row.ReclaimWhy, "locked") {
		t.Errorf("the data wait since %s because %q, want since the first removal, %s", row.ReclaimSince, row.ReclaimWhy, since)
	}
	if waiting, err := b.store.Unreclaimed(t.Context(), since.Add(7*24*time.Hour)); err != nil || len(waiting) != 1 {
		t.Errorf("a week later %d repositories wait (%v), want 1", len(waiting), err)
	}

	// The window waits for the reader.
	window := make(chan envbackup.PruneReport, 1)
	go func() {
		report, err := b.runner.Reclaim(context.WithoutCancel(t.Context()), s.ID, "test")
		if err != nil {
			t.Errorf("reclaim: %v", err)
		}
		window <- report
	}()
	if err := reader.Unlock(); err != nil {
		t.Error(err)
	}
	if report := <-window; report.Reclaimed < 7<<20 {
		t.Errorf("the window reclaimed %d bytes, want those of two backups, about 8 MiB", report.Reclaimed)
	}
	if row := b.repository(d); !row.ReclaimSince.IsZero() {
		t.Errorf("the data still wait since %s because %q", row.ReclaimSince, row.ReclaimWhy)
	}
	b.restic(d).Check()
}

// stuck blocks every request to a pack that a prune makes while it rewrites or
// removes, and tells when the first one is there.
func stuck(f *s3test.Faults, match s3test.Match) (reached <-chan struct{}, release func()) {
	c := make(chan struct{}, 100)
	remove := f.Inject(func(r *http.Request) bool {
		if !match(r) {
			return false
		}
		select {
		case c <- struct{}{}:
		default:
		}
		return true
	}, s3test.Stall())
	return c, remove
}

// deletesPacks matches the removal of packs, one by one or in batches, after
// the index was switched: then the prune holds its exclusive lock.
func deletesPacks(r *http.Request) bool {
	return r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/data/") ||
		r.Method == http.MethodPost && r.URL.Query().Has("delete")
}

// R12: a run of the environment that comes due stops a prune that goes on,
// within the object at which it is, even while it holds the exclusive lock; the
// run does not wait, and what was not removed goes later.
func TestADueRunStopsAPrune(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, start := range map[string]func(b *bench, s envbackup.Schedule){
		// Another schedule's run begins in this process.
		"a run begins": func(b *bench, s envbackup.Schedule) {
			b.now = b.now.Add(time.Second)
			b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		},
		// A run waits in the queue: its worker may be another process.
		"a run waits": func(b *bench, s envbackup.Schedule) { b.newRun(s, envbackup.TriggerSchedule) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			faults := server.Faults(t)
			d := b.s3("bucket", faults.Server, faults.Bucket(t))
			s := b.schedule("hourly", last(9), d)
			other := b.schedule("other", last(9), d)
			b.today()
			b.fresh(4 << 20)
			b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
			b.fresh(4 << 20)
			b.now = b.now.Add(time.Second)
			b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
			b.policy(s, last(1))

			reached, release := stuck(faults, deletesPacks)
			pruned := make(chan envbackup.PruneReport, 1)
			go func() {
				report, err := b.runner.Prune(context.WithoutCancel(t.Context()), s.ID, false, "test")
				if err != nil {
					t.Errorf("prune: %v", err)
				}
				pruned <- report
			}()
			<-reached
			start(b, other)
			report := <-pruned
			if report.Removed != 1 || report.Reclaimed != 0 {
				t.Errorf("removed %d and reclaimed %d bytes, want 1 and 0", report.Removed, report.Reclaimed)
			}
			n := 0
			for _, r := range faults.Requests() {
				if r.Fault == "stall" {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%d packs were to be deleted before it made way, want 1", n)
			}
			if row := b.repository(d); row.ReclaimSince.IsZero() || !strings.Contains(row.ReclaimWhy, "came in between") {
				t.Errorf("the data wait since %s because %q", row.ReclaimSince, row.ReclaimWhy)
			}
			release()
			b.restic(d, server.Environ()...).Check()
		})
	}
}

// R12: a prune within a run makes way for another run of the environment, too.
func TestARunsOwnPruneMakesWay(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	b := newBench(t)
	faults := server.Faults(t)
	d := b.s3("bucket", faults.Server, faults.Bucket(t))
	s := b.schedule("hourly", last(1), d)
	b.today()
	b.fresh(4 << 20)
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	reached, release := stuck(faults, deletesPacks)
	b.fresh(4 << 20)
	b.now = b.now.Add(time.Second)
	ended := make(chan envbackup.Outcome, 1)
	run := b.newRun(s, envbackup.TriggerSchedule)
	go func() {
		out, err := b.runner.ExecuteRun(context.WithoutCancel(t.Context()), run, func(envbackup.Progress) {})
		if err != nil {
			t.Errorf("run: %v", err)
		}
		ended <- out
	}()
	<-reached
	b.newRun(s, envbackup.TriggerManual)
	out := <-ended
	if out.State != envbackup.RunSucceeded || out.Destinations[0].Removed != 1 || out.Destinations[0].Reclaimed != 0 {
		t.Errorf("the run ended %+v, want a success with one removal and nothing reclaimed", out)
	}
	release()
	b.restic(d, server.Environ()...).Check()
}

// R12: a window ends when the operator's request does.
func TestAWindowEndsWithItsRequest(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	b.hours(2, s)
	repo, err := b.vault.Repository(t.Context(), b.env.ID, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := repo.Lock(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Unlock() }()
	b.fresh(1 << 20)
	b.hours(1, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.runner.Reclaim(ctx, s.ID, "test"); !errors.Is(err, context.Canceled) {
		t.Errorf("reclaim: %v, want that it was cancelled", err)
	}
	if _, err := repo.Prune(t.Context(), repository.PruneOptions{DryRun: true}); err != nil {
		t.Errorf("a lock is left: %v", err)
	}
}
