package runner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// unreadable gives the environment a source that exists and cannot be read,
// not even by root, or takes it away.
func (b *bench) unreadable(is bool) {
	b.t.Helper()
	delete(b.env.Files, "memory")
	if is {
		b.env.Files["memory"] = envbackup.FilesSource{Path: "/proc/self/mem"}
	}
	if err := b.store.UpdateEnvironment(b.t.Context(), &b.env, 0); err != nil {
		b.t.Fatal(err)
	}
}

// partial takes a partial backup of the slot at b.now.
func (b *bench) partial(s envbackup.Schedule) envbackup.Outcome {
	b.t.Helper()
	b.unreadable(true)
	defer b.unreadable(false)
	return b.run(s, envbackup.TriggerSchedule, envbackup.RunPartial)
}

// R3: a partial run prunes the second list and no candidate, also when the
// policy would let candidates go; an explicit command prunes both.
func TestAPartialRunPrunesTheSecondListOnly(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	keep := last(2)
	keep.PruneGrace = "0m"
	s := b.schedule("hourly", keep, d)
	b.hours(2, s)
	for range 3 { // hours 3 to 5
		b.now = b.now.Add(time.Hour)
		b.partial(s)
	}
	b.wantNominals(s, d, 5, 4, 2, 1)

	one := last(1)
	one.PruneGrace = "0m"
	b.edit(&s, one)
	b.now = b.now.Add(time.Hour)
	b.partial(s)
	b.wantNominals(s, d, 6, 2, 1)
	if report := b.prune(s, false); report.Removed != 1 {
		t.Errorf("an explicit prune removed %d, want the older candidate", report.Removed)
	}
	b.wantNominals(s, d, 6, 2)
	b.restic(d).Check()
}

// R4: the first prune after an edit sets aside all that the new policy would
// remove, whatever ran first: a partial run, or the hourly look for aged
// backups, must not use the edit up.
func TestAnEditIsNotUsedUpByALesserPrune(t *testing.T) {
	t.Parallel()
	for name, lesser := range map[string]func(*bench, envbackup.Schedule){
		"a partial run": func(b *bench, s envbackup.Schedule) { b.partial(s) },
		"the look for aged backups": func(b *bench, _ envbackup.Schedule) {
			if err := b.runner.RemoveAged(b.t.Context()); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := b.local("disk")
			s := b.schedule("hourly", last(3), d)
			b.hours(3, s)
			b.now = b.now.Add(time.Minute)
			keep := last(1)
			keep.MaxAge = "30d"
			b.edit(&s, keep)
			b.now = b.now.Truncate(time.Hour).Add(time.Hour)
			lesser(b, s)
			b.hours(1, s)
			rows := b.rows(s, d)
			good := 0
			for _, row := range rows {
				if row.Status == envbackup.BackupComplete {
					good++
				}
			}
			// The two that the edit removes wait; the one that the next run
			// pushes out goes, as it always would.
			if good != 3 {
				t.Errorf("%d good backups are left, want 3: two wait for a person", good)
			}
			if report := b.prune(s, true); report.SetAside != 2 {
				t.Errorf("%d are set aside, want 2", report.SetAside)
			}
		})
	}
}

// R4: an edit of the time zone is an edit.
func TestAnEditOfTheTimeZoneWaits(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	keep := last(1)
	s := b.schedule("hourly", keep, d)
	b.hours(2, s)
	b.now = b.now.Add(time.Minute)
	s.Timezone = "Pacific/Kiritimati"
	b.edit(&s, keep)
	b.now = b.now.Truncate(time.Hour)
	b.hours(1, s)
	b.wantNominals(s, d, 3, 2)
	if report := b.prune(s, true); report.SetAside != 1 || !strings.Contains(report.Lists[0].Reason, "time zone") {
		t.Errorf("set aside %+v, want one because of the edit", report.Lists)
	}
}

// R4: removals that join a list begin its grace anew, so nothing goes sooner
// than a whole grace after it was shown; and those that join after a cancel
// wait for their own decision, and what was cancelled stays.
func TestWhatJoinsAListWaitsAWholeGrace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(20), d)
	b.hours(12, s)
	more := func(listed int64) { // than half of the rest, so that it needs the grace as well
		t.Helper()
		if report := b.prune(s, true); report.SetAside != listed {
			t.Fatalf("%d are set aside, want %d: %+v", report.SetAside, listed, report.Lists)
		}
	}
	b.now = b.now.Add(time.Minute)
	b.edit(&s, last(8))
	b.prune(s, false)
	more(4)
	b.wait(23 * time.Hour)

	// The rest, 8 backups, loses 5 in one prune: manual backups in between
	// cannot do that, so the policy's floor is lowered without an edit.
	b.policy(s, last(3))
	b.prune(s, false)
	more(9)
	b.wait(2 * time.Hour)
	if report := b.prune(s, false); report.Removed != 0 {
		t.Errorf("%d went 2 hours after they were shown", report.Removed)
	}
	if _, err := b.runner.Decide(t.Context(), s.ID, envbackup.DecisionCancelled, "test"); err != nil {
		t.Fatal(err)
	}
	b.wait(25 * time.Hour)
	if report := b.prune(s, false); report.Removed != 0 {
		t.Errorf("%d of the cancelled list went", report.Removed)
	}

	b.now = b.now.Truncate(time.Hour)
	b.hours(4, s) // 3 good ones and the new ones: one goes at each
	if got := len(b.rows(s, d)); got != 12 {
		t.Fatalf("%d backups are left, want the cancelled 9 and 3", got)
	}
	// While the clock is doubtful nothing goes, and then six at once would.
	b.now = b.now.Add(2 * time.Hour)
	if err := b.runner.Tick(t.Context(), b.now, time.Minute); err != nil {
		t.Fatal(err)
	}
	b.hours(6, s)
	if err := b.runner.ConfirmClock(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.prune(s, false)
	more(9 + 6)
	b.wait(25 * time.Hour)
	if report := b.prune(s, false); report.Removed != 6 {
		t.Errorf("%d went after their own grace, want 6", report.Removed)
	}
	if got := len(b.rows(s, d)); got != 12 {
		t.Errorf("%d backups are left, want the cancelled 9 and 3", got)
	}
}

// policy changes a retention without an edit, as if the daemon had always had
// it: what a prune would remove grows for a reason of its own.
func (b *bench) policy(s envbackup.Schedule, keep retention.Spec) {
	b.t.Helper()
	current, err := b.store.Schedule(b.t.Context(), s.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	current.Retention = keep
	err = b.store.Tx(b.t.Context(), func(tx *store.Tx) error { return tx.UpdateSchedule(b.t.Context(), &current, 0, b.now) })
	if err != nil {
		b.t.Fatal(err)
	}
}

// R4: what is set aside stands in the schedule's status until it is decided.
func TestWhatWaitsStandsInTheStatus(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(3), d)
	b.hours(3, s)
	b.edit(&s, last(1))
	b.hours(1, s)
	state := b.state(s, d)
	if len(state.SetAside) != 3 || !strings.Contains(state.Reason, "edit") || state.Hold != "" {
		t.Errorf("the state is %+v, want three that wait because of an edit", state)
	}
	if _, err := b.runner.Decide(t.Context(), s.ID, envbackup.DecisionConfirmed, "test"); err != nil {
		t.Fatal(err)
	}
	b.prune(s, false)
	if state := b.state(s, d); len(state.SetAside) != 0 {
		t.Errorf("the state after the prune is %+v", state)
	}
}

// state is what is in the way of removals, as the API reads it.
func (b *bench) state(s envbackup.Schedule, d envbackup.Destination) envbackup.RetentionState {
	b.t.Helper()
	states, err := b.store.Retentions(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, state := range states {
		if state.ScheduleID == s.ID && state.DestinationID == d.ID {
			return state
		}
	}
	return envbackup.RetentionState{}
}
