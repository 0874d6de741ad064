package runner_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

func (b *bench) wantNominals(s envbackup.Schedule, d envbackup.Destination, want ...int) {
	b.t.Helper()
	if got := b.nominals(s, d); !slices.Equal(got, want) {
		b.t.Errorf("backups of the hours %v are left, want %v", got, want)
	}
}

// R1, R3: a run prunes what the policy does not keep; one that fails prunes
// nothing and leaves every earlier backup.
func TestRetentionFollowsASuccessOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(2), d)
	b.hours(5, s)
	b.wantNominals(s, d, 5, 4)

	if err := os.Rename(b.source, b.source+"-gone"); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	b.edit(&s, last(1))
	out, err := b.runner.ExecuteRun(t.Context(), b.newRun(s, envbackup.TriggerSchedule), func(envbackup.Progress) {})
	wantCode(t, err, envbackup.CodeSourceMissing)
	if out.State != envbackup.RunFailed || !strings.Contains(err.Error(), b.source) {
		t.Errorf("got %s with %v, want a failure that names %s", out.State, err, b.source)
	}
	b.wantNominals(s, d, 5, 4)
	b.restic(d).Check()
}

// R2: manual, partial and suspect backups never displace a good one.
func TestOtherBackupsDisplaceNoCandidate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(2), d)
	b.hours(3, s)
	for range 3 {
		b.now = b.now.Add(time.Hour)
		b.run(s, envbackup.TriggerManual, envbackup.RunSucceeded)
	}
	b.wantNominals(s, d, 6, 5, 4, 3, 2)
	b.hours(1, s)
	b.wantNominals(s, d, 7, 6, 5, 4, 3)

	// R9: far too small for what came before; kept, and not counted.
	if err := os.RemoveAll(filepath.Join(b.source, "data")); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	b.wantNominals(s, d, 8, 7, 6, 5, 4, 3)
	backup, err := b.store.Backup(t.Context(), out.Destinations[0].BackupID)
	if err != nil {
		t.Fatal(err)
	}
	if backup.Status != envbackup.BackupSuspect || !strings.Contains(join(out.Warnings), "suspect") {
		t.Errorf("got a %s backup and warnings %q, want a suspect one that is said", backup.Status, out.Warnings)
	}
	if got := b.restic(d).Snapshots("--tag", "status=suspect"); len(got) != 1 {
		t.Errorf("%d snapshots are tagged as suspect, want 1", len(got))
	}
}

// R4: when most would go, the list is set aside for the grace of running time,
// and then goes.
func TestRemovalsThatAPersonMayNotHaveMeantWait(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(8), d)
	b.hours(8, s)

	b.now = b.now.Add(time.Minute)
	b.edit(&s, last(2))
	b.now = b.now.Truncate(time.Hour)
	b.now = b.now.Add(time.Hour)
	out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	b.wantNominals(s, d, 9, 8, 7, 6, 5, 4, 3, 2, 1)
	if !strings.Contains(join(out.Warnings), "7 removals at disk wait for another 24h") {
		t.Errorf("warnings are %q", out.Warnings)
	}

	// The rest is judged without the list: what the policy lets go later goes.
	b.hours(1, s)
	b.wantNominals(s, d, 10, 9, 7, 6, 5, 4, 3, 2, 1)

	// An explicit command obeys, too, and a dry run says what it would do.
	report, err := b.runner.Prune(t.Context(), s.ID, false, "test")
	if err != nil {
		t.Fatal(err)
	}
	if report.Removed != 0 || report.SetAside != 7 {
		t.Errorf("an explicit prune removed %d and set %d aside, want 0 and 7", report.Removed, report.SetAside)
	}

	// Time in which no daemon runs does not count.
	b.now = b.now.Add(36 * time.Hour)
	b.hours(1, s)
	b.wantNominals(s, d, 47, 10, 7, 6, 5, 4, 3, 2, 1)

	b.wait(24*time.Hour + 2*time.Minute)
	dry, err := b.runner.Prune(t.Context(), s.ID, true, "test")
	if err != nil {
		t.Fatal(err)
	}
	if dry.Removed != 7 || dry.SetAside != 0 {
		t.Errorf("a dry run after the grace would remove %d and set %d aside, want 7 and 0", dry.Removed, dry.SetAside)
	}
	b.wantNominals(s, d, 47, 10, 7, 6, 5, 4, 3, 2, 1)
	b.now = b.now.Truncate(time.Hour)
	b.hours(1, s)
	b.wantNominals(s, d, 72, 47)
	b.restic(d).Check()
}

// R4: a person who confirms does not wait for the grace, and one who cancels
// keeps the list until the policy changes.
func TestAPersonDecidesWhatIsSetAside(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(6), d)
	b.hours(6, s)
	decide := func(decision envbackup.Decision) []envbackup.SetAside {
		t.Helper()
		lists, err := b.runner.Decide(t.Context(), s.ID, decision, "test")
		if err != nil {
			t.Fatal(err)
		}
		return lists
	}
	prune := func() envbackup.PruneReport {
		t.Helper()
		report, err := b.runner.Prune(t.Context(), s.ID, false, "test")
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if _, err := b.runner.Decide(t.Context(), s.ID, envbackup.DecisionConfirmed, "test"); envbackup.CodeOf(err) != envbackup.CodeNotFound {
		t.Errorf("with nothing set aside: %v, want not found", err)
	}

	b.now = b.now.Add(time.Minute)
	b.edit(&s, last(2))
	if _, err := b.runner.Decide(t.Context(), s.ID, envbackup.DecisionConfirmed, "test"); envbackup.CodeOf(err) != envbackup.CodeNotFound {
		t.Errorf("before the edited policy was judged: %v, want not found", err)
	}
	b.now = b.now.Add(time.Minute)
	report := prune()
	if len(report.Lists) != 1 || report.Lists[0].Destination != "disk" || len(report.Lists[0].BackupIDs) != 4 ||
		!report.Lists[0].Until.Equal(b.now.Add(24*time.Hour)) || report.Lists[0].Decision != "" {
		t.Fatalf("set aside %+v, want the four at disk until a day from now", report.Lists)
	}

	decide(envbackup.DecisionCancelled)
	b.wait(25 * time.Hour)
	if report := prune(); report.Removed != 0 || report.Lists[0].Decision != envbackup.DecisionCancelled || !report.Lists[0].Until.IsZero() {
		t.Errorf("after a cancel and the grace: %+v, want nothing removed", report)
	}
	b.wantNominals(s, d, 6, 5, 4, 3, 2, 1)

	if lists := decide(envbackup.DecisionConfirmed); len(lists) != 1 || len(lists[0].BackupIDs) != 4 {
		t.Errorf("confirmed %+v, want the four", lists)
	}
	if report := prune(); report.Removed != 4 || report.SetAside != 0 {
		t.Errorf("after the confirmation: %+v, want four removed", report)
	}
	b.wantNominals(s, d, 6, 5)
}

// R4: what an edit takes back leaves the list.
func TestAnEditBackTakesTheListBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(6), d)
	b.hours(6, s)
	b.now = b.now.Add(time.Hour)
	b.edit(&s, last(1))
	b.hours(1, s)
	b.edit(&s, last(6))
	b.wait(25 * time.Hour)
	report, err := b.runner.Prune(t.Context(), s.ID, false, "test")
	if err != nil {
		t.Fatal(err)
	}
	// The edit back is an edit: the one removal that remains waits as well.
	if report.Removed != 0 || report.SetAside != 1 {
		t.Errorf("removed %d and set %d aside, want 0 and 1: %s", report.Removed, report.SetAside, report.Note)
	}
}

// R5: a row goes after its snapshot, never before; a failure in between is
// mended by the next run.
func TestAStorageErrorKeepsTheRow(t *testing.T) {
	t.Parallel()
	faults := s3test.Start(t).Faults(t)
	b := newBench(t)
	d := b.s3("bucket", faults.Server, faults.Bucket(t))
	s := b.schedule("hourly", last(1), d)
	b.hours(1, s)

	removeFault := faults.Inject(deletesSnapshot, s3test.Status(http.StatusForbidden, "AccessDenied"))
	b.now = b.now.Add(time.Hour)
	out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	b.wantNominals(s, d, 2, 1)
	if !strings.Contains(join(out.Warnings), "do not allow") {
		t.Errorf("warnings are %q, want the refusal", out.Warnings)
	}
	removeFault()
	b.hours(1, s)
	b.wantNominals(s, d, 3)
}

// deletesSnapshot matches both ways to delete an object of the snapshots.
func deletesSnapshot(r *http.Request) bool {
	return r.Method == http.MethodDelete && strings.Contains(r.URL.Path, "/snapshots/") ||
		r.Method == http.MethodPost && r.URL.Query().Has("delete")
}

// R5: a snapshot that went before the row did takes the row with it.
func TestAnInterruptedRemovalIsFinished(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(10), d)
	b.hours(2, s)
	rows, err := b.store.AllBackups(t.Context(), s.ID, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	oldest := rows[len(rows)-1]
	if err := b.store.MarkRemoval(t.Context(), []string{oldest.ID}, b.now); err != nil {
		t.Fatal(err)
	}
	b.forget(d, oldest.SnapshotID)
	b.hours(1, s)
	b.wantNominals(s, d, 3, 2)
}

// forget removes a snapshot behind the daemon's back.
func (b *bench) forget(d envbackup.Destination, snapshot string) {
	b.t.Helper()
	repo, err := b.vault.Repository(b.t.Context(), b.env.ID, d.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	id, err := restic.ParseID(snapshot)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := repo.ForgetSnapshots(b.t.Context(), id); err != nil {
		b.t.Fatal(err)
	}
}

// A hold keeps what the policy would remove, and Remove refuses it.
func TestAHeldBackupStays(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	b.hours(1, s)
	rows, err := b.store.AllBackups(t.Context(), s.ID, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Hold(t.Context(), rows[0].ID, "evidence"); err != nil {
		t.Fatal(err)
	}
	b.hours(3, s)
	b.wantNominals(s, d, 4, 1)
	wantCode(t, b.runner.Remove(t.Context(), []string{rows[0].ID}, "test"), envbackup.CodeConflict)
	b.wantNominals(s, d, 4, 1)
	if err := b.store.Release(t.Context(), rows[0].ID); err != nil {
		t.Fatal(err)
	}
	// Only a person who asks for exactly that deletes even the last one (R1).
	left, err := b.store.AllBackups(t.Context(), s.ID, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.runner.Remove(t.Context(), []string{left[0].ID, left[1].ID}, "test"); err != nil {
		t.Fatal(err)
	}
	b.wantNominals(s, d)
}

// R6: pruning touches only what carries this schedule's id.
func TestPruningLeavesOtherSnapshotsAlone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	hourly, keeper := b.schedule("hourly", last(1), d), b.schedule("keeper", last(9), d)
	b.hours(2, keeper)
	b.hours(1, hourly)
	byHand := b.restic(d).Backup(b.source)
	b.hours(3, hourly)
	b.wantNominals(hourly, d, 6)
	b.wantNominals(keeper, d, 2, 1)
	var ids []string
	for _, sn := range b.restic(d).Snapshots() {
		ids = append(ids, sn.ID)
	}
	if !slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, byHand) || strings.HasPrefix(byHand, id) }) {
		t.Errorf("the snapshot %s that stock restic made is gone; left are %v", byHand, ids)
	}
}

// R7: when the repository lacks what the store lists, or shows nothing, or the
// clock is doubtful, nothing is removed, and the run says why.
func TestADoubtHoldsPruning(t *testing.T) {
	t.Parallel()
	t.Run("a backup is missing from the listing", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		d := b.local("disk")
		s := b.schedule("hourly", last(3), d)
		b.hours(3, s)
		rows, err := b.store.AllBackups(t.Context(), s.ID, d.ID)
		if err != nil {
			t.Fatal(err)
		}
		hidden := filepath.Join(d.Local.Path, "shop", "snapshots", rows[1].SnapshotID)
		if err := os.Rename(hidden, filepath.Join(b.t.TempDir(), "hidden")); err != nil {
			t.Fatal(err)
		}
		b.now = b.now.Add(time.Hour)
		out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		if rows, err := b.store.AllBackups(t.Context(), s.ID, d.ID); err != nil || len(rows) != 4 {
			t.Errorf("%d backups are listed (%v), want all 4", len(rows), err)
		}
		if !strings.Contains(join(out.Warnings), "1 of 4 backups is missing from the repository there") {
			t.Errorf("warnings are %q", out.Warnings)
		}
	})
	t.Run("the daemon was away for more than 7 days", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		d := b.local("disk")
		s := b.schedule("hourly", last(2), d)
		b.wait(time.Minute)
		b.hours(2, s)
		b.now = b.now.Add(8 * 24 * time.Hour).Truncate(time.Hour)
		if err := b.runner.Tick(t.Context(), b.now, 0); err != nil {
			t.Fatal(err)
		}
		out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		if got := len(b.nominals(s, d)); got != 3 {
			t.Errorf("%d backups are left, want all 3", got)
		}
		if !strings.Contains(join(out.Warnings), "--confirm-clock") {
			t.Errorf("warnings are %q", out.Warnings)
		}
		if err := b.runner.ConfirmClock(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.hours(1, s)
		if got := len(b.nominals(s, d)); got != 2 {
			t.Errorf("%d backups are left after the clock was confirmed, want 2", got)
		}
	})
	t.Run("the clock jumped", func(t *testing.T) {
		t.Parallel()
		b := newBench(t)
		d := b.local("disk")
		s := b.schedule("hourly", last(1), d)
		b.wait(2 * time.Minute)
		b.hours(1, s)
		b.now = b.now.Add(2 * time.Hour)
		if err := b.runner.Tick(t.Context(), b.now, time.Minute); err != nil {
			t.Fatal(err)
		}
		b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		if got := len(b.nominals(s, d)); got != 2 {
			t.Errorf("%d backups are left, want both", got)
		}
	})
}

// R7: the object store confirms the clock, whatever the daemon's state says.
func TestTheStoreConfirmsTheClock(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	b := newBench(t)
	d := b.s3("bucket", server, server.Bucket(t))
	s := b.schedule("hourly", last(1), d)
	b.wait(time.Minute)
	b.hours(1, s)
	b.now = b.now.Add(8 * 24 * time.Hour)
	if err := b.runner.Tick(t.Context(), b.now, 0); err != nil {
		t.Fatal(err)
	}
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	if got := len(b.nominals(s, d)); got != 1 {
		t.Errorf("%d backups are left, want 1: the store's clock agrees", got)
	}
}

// max_age waits for no success (R3's exception), and stops at the floor.
func TestMaxAgeRemovesWithoutASuccess(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	keep := last(3)
	keep.MaxAge, keep.PruneGrace = "10d", "0m"
	s := b.schedule("hourly", keep, d)
	b.hours(3, s)
	b.now = b.now.Add(11 * 24 * time.Hour)
	if err := b.runner.RemoveAged(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantNominals(s, d, 3)
}

// A dry run removes nothing and gives every backup a verdict with a reason.
func TestADryRunSaysEverythingAndDoesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(3), d)
	b.hours(3, s)
	s.Retention = last(2)
	b.edit(&s, last(2))
	report, err := b.runner.Prune(t.Context(), s.ID, true, "test")
	if err != nil {
		t.Fatal(err)
	}
	got := map[int]bool{}
	for _, v := range report.Verdicts {
		got[int(v.Backup.Nominal.Sub(start)/time.Hour)] = v.Keep
		if len(v.Reasons) == 0 {
			t.Errorf("backup %s has no reason", v.Backup.ID)
		}
	}
	if diff := cmp.Diff(map[int]bool{1: false, 2: true, 3: true}, got); diff != "" {
		t.Errorf("verdicts (-want +got):\n%s", diff)
	}
	if !report.DryRun || report.SetAside != 1 {
		t.Errorf("got %+v, want a dry run with one removal set aside (R4)", report)
	}
	b.wantNominals(s, d, 3, 2, 1)
	// A dry run counts as no judgement: the next real one is still the first
	// after the edit.
	b.hours(1, s)
	b.wantNominals(s, d, 4, 3, 2, 1)
}

// A crash between snapshot and row is mended by the next run's retention even
// when nobody tries the crashed one again.
func TestASnapshotWithoutARowIsEntered(t *testing.T) {
	t.Parallel()
	crash := false
	b := newBench(t, func(_ *bench, state *runner.Store, _ *runner.Config) {
		*state = storeWith{Store: *state, addBackup: func(context.Context, *envbackup.Backup) error {
			if crash {
				return errCrash
			}
			return nil
		}}
	})
	d := b.local("disk")
	s := b.schedule("hourly", last(9), d)
	b.hours(1, s)
	crash = true
	b.now = b.now.Add(time.Hour)
	b.run(s, envbackup.TriggerSchedule, envbackup.RunFailed)
	crash = false
	b.hours(1, s)
	b.wantNominals(s, d, 3, 2, 1)
}

// A local destination is a directory of the worker's host: another daemon must
// not look for it on its own.
func TestAPinnedEnvironmentIsPrunedByItsWorkerOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	keep := last(1)
	keep.MaxAge, keep.PruneGrace = "10d", "0m"
	s := b.schedule("hourly", keep, d)
	b.env.Worker = "elsewhere"
	if err := b.store.UpdateEnvironment(t.Context(), &b.env, 0); err != nil {
		t.Fatal(err)
	}
	_, err := b.runner.Prune(t.Context(), s.ID, false, "test")
	wantCode(t, err, envbackup.CodeInvalid)
	if err := b.runner.RemoveAged(t.Context()); err != nil {
		t.Errorf("aged backups of another worker: %v", err)
	}
	if _, err := os.Stat(d.Local.Path); !os.IsNotExist(err) {
		t.Errorf("the other worker's destination was made here: %v", err)
	}
}
