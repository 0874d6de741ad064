package scheduler

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/pgtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/queue"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// idle executes nothing: these tests never start a queue, they say themselves
// how runs go.
type idle struct{}

func (idle) ExecuteRun(context.Context, envbackup.Run, func(envbackup.Progress)) (envbackup.Outcome, error) {
	panic("not started")
}

func (idle) ExecuteRestore(context.Context, envbackup.Restore, func(envbackup.Progress)) (envbackup.Outcome, error) {
	panic("not started")
}

func (idle) ExecuteVerification(context.Context, envbackup.Verification, func(envbackup.Progress)) (envbackup.Outcome, error) {
	panic("not started")
}

type fixture struct {
	t       *testing.T
	store   *store.Store
	service *Service
}

func newFixture(t *testing.T, dsn string) fixture {
	t.Helper()
	st, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	f := fixture{t: t, store: st}
	f.service = f.restart()
	ctx := t.Context()
	if err := st.CreateEnvironment(ctx, &envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{Name: "shop", Worker: "db1"}}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s3", "nas"} {
		d := envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{Name: name, Local: &envbackup.LocalPlace{Path: "/tmp"}}}
		if err := st.CreateDestination(ctx, &d); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func sqliteFixture(t *testing.T) fixture {
	t.Helper()
	return newFixture(t, filepath.Join(t.TempDir(), "state.db"))
}

func each(t *testing.T, test func(t *testing.T, f fixture)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqliteFixture(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, newFixture(t, pgtest.Database(t))) })
}

// restart makes another service over the same store, as a start of the daemon
// does.
func (f fixture) restart() *Service {
	f.t.Helper()
	q, err := queue.New(f.store, idle{}, queue.Config{Worker: "db1"})
	if err != nil {
		f.t.Fatal(err)
	}
	return New(f.store, q, Config{Worker: "db1"})
}

func spec(change func(*envbackup.ScheduleSpec)) envbackup.ScheduleSpec {
	last, no := int64(3), false
	s := envbackup.ScheduleSpec{
		Name: "hourly", Environment: "shop", Destinations: []string{"s3"}, Cron: "0 * * * *", RunOnCreate: &no,
		Retention: retention.Spec{KeepLast: &last},
	}
	if change != nil {
		change(&s)
	}
	return s
}

func (f fixture) create(now time.Time, change func(*envbackup.ScheduleSpec)) envbackup.Schedule {
	f.t.Helper()
	s := envbackup.Schedule{ScheduleSpec: spec(change)}
	if err := f.service.Create(f.t.Context(), &s, now); err != nil {
		f.t.Fatal(err)
	}
	return s
}

func (f fixture) tick(now time.Time) {
	f.t.Helper()
	if err := f.service.Tick(f.t.Context(), now); err != nil {
		f.t.Fatal(err)
	}
}

func (f fixture) read(s envbackup.Schedule) envbackup.Schedule {
	f.t.Helper()
	got, err := f.store.Schedule(f.t.Context(), s.ID)
	if err != nil {
		f.t.Fatal(err)
	}
	return got
}

// ledger lists all slots of a schedule, oldest first.
func (f fixture) ledger(s envbackup.Schedule) []envbackup.Slot {
	f.t.Helper()
	var all []envbackup.Slot
	for page := (envbackup.Page{Limit: 1000}); ; {
		slots, next, err := f.store.Slots(f.t.Context(), s.ID, page)
		if err != nil {
			f.t.Fatal(err)
		}
		all = append(slots[:len(slots):len(slots)], all...)
		if page.Cursor = next; next == "" {
			break
		}
	}
	// Pages come newest first; a page's own order too.
	for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
		all[i], all[j] = all[j], all[i]
	}
	return all
}

// told renders the ledger with each run's trigger and state.
func (f fixture) told(s envbackup.Schedule) []string {
	f.t.Helper()
	var lines []string
	for _, slot := range f.ledger(s) {
		line := slot.Nominal.Format("02 15:04")
		if slot.Count > 1 {
			line += fmt.Sprintf("..%s x%d", slot.Until.Format("02 15:04"), slot.Count)
		}
		line += " " + string(slot.Outcome)
		if slot.RunID != "" {
			r, err := f.store.Run(f.t.Context(), slot.RunID)
			if err != nil {
				f.t.Fatal(err)
			}
			line += fmt.Sprintf(" %s:%s", r.Trigger, r.State)
		}
		lines = append(lines, line)
	}
	return lines
}

func (f fixture) expect(s envbackup.Schedule, want ...string) {
	f.t.Helper()
	if diff := cmp.Diff(want, f.told(s)); diff != "" {
		f.t.Errorf("ledger (-want +got):\n%s", diff)
	}
}

// newestRun returns the run that was made last.
func (f fixture) newestRun() envbackup.Run {
	f.t.Helper()
	runs, _, err := f.store.Runs(f.t.Context(), envbackup.RunFilter{}, envbackup.Page{})
	if err != nil || len(runs) == 0 {
		f.t.Fatalf("Runs() = %v, %v; want one", runs, err)
	}
	newest := runs[0]
	for _, r := range runs {
		if r.CreatedAt.After(newest.CreatedAt) {
			newest = r
		}
	}
	return newest
}

// move puts a run into a state as the queue would.
func (f fixture) move(id string, state envbackup.RunState) {
	f.t.Helper()
	ctx := f.t.Context()
	err := f.store.Tx(ctx, func(tx *store.Tx) error {
		r, err := tx.Run(ctx, id)
		if err != nil {
			return err
		}
		if state == envbackup.RunRunning {
			r.Attempt++
		}
		r.State = state
		if _, err := tx.SaveRun(ctx, r, r.JobID); err != nil {
			return err
		}
		return tx.EndSlot(ctx, id, envbackup.SlotRan, "")
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func day(hour, minute int) time.Time { return time.Date(2026, 3, 2, hour, minute, 0, 0, time.UTC) }

func TestCreateRunsAtOnceAndThenByTheClock(t *testing.T) { // S1, S11
	each(t, func(t *testing.T, f fixture) {
		s := f.create(day(8, 30).Add(12*time.Second), func(s *envbackup.ScheduleSpec) { s.RunOnCreate = nil; s.StartDeadline = "1h" })
		f.expect(s, "02 08:30  create:queued")
		r := f.newestRun()
		if r.Worker != "db1" || r.ScheduleID != s.ID || !r.StartBy.Equal(day(9, 30).Add(12*time.Second)) || r.JobID == 0 {
			t.Errorf("run = %+v", r)
		}
		f.move(r.ID, envbackup.RunSucceeded)
		if got := f.read(s); !got.NextAt.Equal(day(9, 0)) || got.Version != 1 {
			t.Errorf("schedule = %+v", got)
		}
		f.tick(day(8, 59))
		f.tick(day(9, 0))
		f.tick(day(9, 0))
		f.restart().Tick(t.Context(), day(9, 0).Add(30*time.Second))
		f.expect(s, "02 08:30 ran create:succeeded", "02 09:00  schedule:queued")
		if r := f.newestRun(); !r.Nominal.Equal(day(9, 0)) || !r.StartBy.Equal(day(10, 0)) {
			t.Errorf("run = %+v", r)
		}
	})
}

func TestCreateNamesWhatDoesNotExist(t *testing.T) {
	f := sqliteFixture(t)
	s := envbackup.Schedule{ScheduleSpec: spec(func(s *envbackup.ScheduleSpec) { s.Environment = "nope"; s.Destinations = []string{"s3", "gone"} })}
	err := f.service.Create(t.Context(), &s, day(8, 0))
	if envbackup.CodeOf(err) != envbackup.CodeInvalid || !strings.Contains(fmt.Sprint(err), "nope") {
		t.Errorf("Create() = %v", err)
	}
	f.create(day(8, 0), nil)
	again := envbackup.Schedule{ScheduleSpec: spec(nil)}
	if err := f.service.Create(t.Context(), &again, day(8, 0)); envbackup.CodeOf(err) != envbackup.CodeConflict {
		t.Errorf("second Create() = %v, want conflict", err)
	}
}

func TestRecreatedScheduleTakesItsIDOver(t *testing.T) { // S16
	f := sqliteFixture(t)
	s := f.create(day(8, 0), nil)
	f.tick(day(9, 0))
	if err := f.service.Delete(t.Context(), s.ID, 7); envbackup.CodeOf(err) != envbackup.CodeStale {
		t.Errorf("Delete() of version 7 = %v, want stale", err)
	}
	if err := f.service.Delete(t.Context(), s.ID, 1); err != nil {
		t.Fatal(err)
	}
	f.expect(s, "02 09:00 missed schedule:cancelled") // R11: the ledger stays
	if again := f.create(day(9, 30), nil); again.ID != s.ID {
		t.Errorf("id = %s, want %s", again.ID, s.ID)
	}
}

func TestOverlapSkipAndQueue(t *testing.T) { // S3
	each(t, func(t *testing.T, f fixture) {
		skip := f.create(day(8, 30), nil)
		queued := f.create(day(8, 30), func(s *envbackup.ScheduleSpec) { s.Name, s.Overlap, s.Cron = "queue", "queue", "5 * * * *" })
		f.tick(day(9, 0))
		f.move(f.newestRun().ID, envbackup.RunRunning)
		f.tick(day(10, 0))
		f.expect(skip, "02 09:00 ran schedule:running", "02 10:00 skipped_overlap")
		f.move(runOf(f, skip, 0), envbackup.RunSucceeded)

		f2 := f.read(queued)
		if !f2.NextAt.Equal(day(10, 5)) { // 09:05 was decided by the tick at 10:00
			t.Errorf("next = %s", f2.NextAt)
		}
		f.move(runOf(f, queued, 0), envbackup.RunRunning)
		f.tick(day(10, 5))
		f.tick(day(11, 5))
		f.expect(queued, "02 09:05 ran catch_up:running", "02 10:05 coalesced schedule:cancelled", "02 11:05  schedule:queued")
	})
}

// runOf returns the run of the n-th slot.
func runOf(f fixture, s envbackup.Schedule, n int) string {
	f.t.Helper()
	return f.ledger(s)[n].RunID
}

func TestRetriesStopAtTheNextSlot(t *testing.T) { // S6
	f := sqliteFixture(t)
	s := f.create(day(8, 30), nil)
	f.tick(day(9, 0))
	ctx := t.Context()
	id := runOf(f, s, 0)
	f.move(id, envbackup.RunRunning)
	err := f.store.Tx(ctx, func(tx *store.Tx) error {
		r, err := tx.Run(ctx, id)
		if err != nil {
			return err
		}
		r.State, r.NextAttemptAt, r.Failure = envbackup.RunQueued, day(10, 10), &envbackup.Failure{Code: envbackup.CodeThrottled}
		_, err = tx.SaveRun(ctx, r, r.JobID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f.tick(day(10, 0))
	f.expect(s, "02 09:00 ran schedule:failed", "02 10:00  schedule:queued")
	if r, err := f.store.Run(ctx, id); err != nil || r.Failure.Code != envbackup.CodeThrottled {
		t.Errorf("run = %+v, %v; want its own failure", r, err)
	}
}

func TestPauseAndResume(t *testing.T) { // S9
	each(t, func(t *testing.T, f fixture) {
		s := f.create(day(8, 30), nil)
		ctx := t.Context()
		f.tick(day(9, 0))
		if err := f.service.Pause(ctx, s.ID, day(9, 1)); err != nil {
			t.Fatal(err)
		}
		if got := f.read(s); !got.Paused || !got.NextAt.IsZero() || got.Version != 2 {
			t.Errorf("schedule = %+v", got)
		}
		for hour := 10; hour < 15; hour++ {
			f.tick(day(hour, 0))
		}
		if err := f.service.Resume(ctx, "shop/hourly", day(16, 30)); err != nil {
			t.Fatal(err)
		}
		f.tick(day(16, 59))
		f.tick(day(17, 0))
		f.expect(s, "02 09:00 paused schedule:cancelled", "02 10:00..02 16:00 x7 paused", "02 17:00  schedule:queued")
	})
}

func TestEditDecidesTheOldAndCountsFromNow(t *testing.T) { // S11, R4
	f := sqliteFixture(t)
	s := f.create(day(8, 30), nil)
	ctx := t.Context()
	next := envbackup.Schedule{Meta: s.Meta, ScheduleSpec: spec(func(s *envbackup.ScheduleSpec) { s.Cron = "15 * * * *" })}
	if err := f.service.Update(ctx, &next, 9, day(9, 20)); envbackup.CodeOf(err) != envbackup.CodeStale {
		t.Errorf("Update() of version 9 = %v, want stale", err)
	}
	if err := f.service.Update(ctx, &next, 1, day(9, 20)); err != nil {
		t.Fatal(err)
	}
	f.expect(s, "02 09:00  catch_up:queued")
	if !next.NextAt.Equal(day(10, 15)) || next.Version != 2 || !next.PolicyEditedAt.IsZero() {
		t.Errorf("schedule = %+v", next)
	}
	two := int64(2)
	next.Retention.KeepLast = &two
	if err := f.service.Update(ctx, &next, 2, day(9, 21)); err != nil {
		t.Fatal(err)
	}
	if got := f.read(s); !got.PolicyEditedAt.Equal(day(9, 21)) {
		t.Errorf("policy edited at %s", got.PolicyEditedAt)
	}
	renamed := next
	renamed.Name = "other"
	if err := f.service.Update(ctx, &renamed, 0, day(9, 22)); err != nil {
		t.Errorf("renaming = %v", err)
	}
	if got, err := f.store.Schedule(ctx, "shop/other"); err != nil || got.ID != s.ID {
		t.Errorf("Schedule(shop/other) = %+v, %v; want the renamed one", got, err)
	}
	moved := renamed
	moved.Environment = "mail"
	if err := f.service.Update(ctx, &moved, 0, day(9, 23)); envbackup.CodeOf(err) != envbackup.CodeInvalid {
		t.Errorf("moving to another environment = %v, want invalid", err)
	}
}

func TestEditThatOpensAGapRunsAtOnce(t *testing.T) { // S11
	f := sqliteFixture(t)
	s := f.create(day(0, 30), func(s *envbackup.ScheduleSpec) { s.Cron = "0 1 * * *" })
	ctx := t.Context()
	f.tick(day(1, 0))
	f.move(runOf(f, s, 0), envbackup.RunSucceeded)
	b := envbackup.Backup{SnapshotID: "aa", ScheduleID: s.ID, DestinationID: s.DestinationIDs[0], Status: envbackup.BackupComplete, Nominal: day(1, 0)}
	if err := f.store.AddBackup(ctx, &b); err != nil {
		t.Fatal(err)
	}
	near := envbackup.Schedule{Meta: s.Meta, ScheduleSpec: spec(func(s *envbackup.ScheduleSpec) { s.Cron = "0 0 * * *" })}
	if err := f.service.Update(ctx, &near, 0, day(2, 0)); err != nil {
		t.Fatal(err)
	}
	if got := f.told(s); len(got) != 1 {
		t.Errorf("an edit without a gap made a run: %v", got)
	}
	far := envbackup.Schedule{Meta: s.Meta, ScheduleSpec: spec(func(s *envbackup.ScheduleSpec) { s.Cron = "30 1 * * *" })}
	if err := f.service.Update(ctx, &far, 0, day(2, 30)); err != nil {
		t.Fatal(err)
	}
	f.expect(s, "02 01:00 ran schedule:succeeded", "02 02:30  catch_up:queued")
}

func TestEditKnowsThatBlackoutWindowsWidenTheGap(t *testing.T) { // S8, S11
	f := sqliteFixture(t)
	weekend := map[string]envbackup.Blackout{"weekend": {Days: "SAT,SUN", From: "00:00", To: "24:00", Action: "skip"}}
	friday := day(1, 0).AddDate(0, 0, 4)
	s := f.create(friday.Add(-time.Hour), func(s *envbackup.ScheduleSpec) { s.Cron, s.Blackout = "0 1 * * *", weekend })
	ctx := t.Context()
	f.tick(friday)
	f.move(runOf(f, s, 0), envbackup.RunSucceeded)
	b := envbackup.Backup{SnapshotID: "aa", ScheduleID: s.ID, DestinationID: s.DestinationIDs[0], Status: envbackup.BackupComplete, Nominal: friday, StartedAt: friday.Add(time.Minute)}
	if err := f.store.AddBackup(ctx, &b); err != nil {
		t.Fatal(err)
	}
	runs := func() (n int) {
		for _, line := range f.told(s) {
			if strings.Contains(line, "queued") {
				n++
			}
		}
		return n
	}
	sunday := friday.AddDate(0, 0, 2)
	same := envbackup.Schedule{Meta: s.Meta, ScheduleSpec: spec(func(s *envbackup.ScheduleSpec) { s.Cron, s.Blackout, s.Description = "0 1 * * *", weekend, "x" })}
	if err := f.service.Update(ctx, &same, 0, sunday); err != nil {
		t.Fatal(err)
	}
	if n := runs(); n != 0 {
		t.Errorf("Monday's run is as far as the windows make it, and the edit made a run: %v", f.told(s))
	}
	open := envbackup.Schedule{Meta: s.Meta, ScheduleSpec: spec(func(s *envbackup.ScheduleSpec) { s.Cron = "0 1 * * *" })}
	if err := f.service.Update(ctx, &open, 0, sunday.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := runs(); n != 1 {
		t.Errorf("without the windows Monday is too far, and the edit made no run: %v", f.told(s))
	}
}

// An edit starts nothing where the gap is one that the schedule has anyway,
// with its blackout windows and its jitter, and nothing within a window.
func TestEditCountsWindowsAsPartOfTheGap(t *testing.T) { // S8, S11
	office := func(action string) func(*envbackup.ScheduleSpec) {
		return func(s *envbackup.ScheduleSpec) {
			s.Blackout = map[string]envbackup.Blackout{"office": {From: "09:00", To: "17:00", Action: action}}
		}
	}
	tests := map[string]struct {
		change        func(*envbackup.ScheduleSpec)
		nominal, last time.Time
		edited        time.Time
		runs          bool
	}{
		"before a window that skips":                {office("skip"), day(8, 0), day(8, 0), day(8, 30), false},
		"within a window that skips":                {office("skip"), day(0, 0), day(0, 0), day(12, 30), false},
		"within a window that defers":               {office("defer"), day(0, 0), day(0, 0), day(12, 30), false},
		"after a window, the backup was deferred":   {office("defer"), day(9, 0), day(17, 0), day(17, 30), false},
		"after a window that left a gap open":       {office("skip"), day(7, 0), day(7, 0), day(17, 30), true},
		"without windows, within a gap with jitter": {func(s *envbackup.ScheduleSpec) { s.Jitter = "20m" }, day(8, 0), day(8, 0), day(8, 30), false},
		"without windows, with a gap":               {nil, day(8, 0), day(8, 0), day(9, 30), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := sqliteFixture(t)
			s := f.create(day(0, 0), func(s *envbackup.ScheduleSpec) { s.Cron = "0 0 1 1 *" })
			b := envbackup.Backup{
				SnapshotID: "aa", ScheduleID: s.ID, DestinationID: s.DestinationIDs[0], Status: envbackup.BackupComplete,
				Nominal: tt.nominal, StartedAt: tt.last,
			}
			if err := f.store.AddBackup(t.Context(), &b); err != nil {
				t.Fatal(err)
			}
			next := envbackup.Schedule{Meta: s.Meta, ScheduleSpec: spec(tt.change)}
			if err := f.service.Update(t.Context(), &next, 0, tt.edited); err != nil {
				t.Fatal(err)
			}
			if got := f.told(s); (len(got) == 1) != tt.runs {
				t.Errorf("the edit made the slots %v, want one: %t", got, tt.runs)
			}
		})
	}
}

func TestRunNowTakesNoSlot(t *testing.T) { // S10
	each(t, func(t *testing.T, f fixture) {
		s := f.create(day(8, 30), nil)
		ctx := t.Context()
		r, err := f.service.RunNow(ctx, s.ID, false, "ann", day(8, 40))
		if err != nil || r.Trigger != envbackup.TriggerManual || r.State != envbackup.RunQueued {
			t.Fatalf("RunNow() = %+v, %v", r, err)
		}
		if _, err := f.service.RunNow(ctx, s.ID, false, "ann", day(8, 41)); envbackup.CodeOf(err) != envbackup.CodeBusy {
			t.Errorf("RunNow() beside a waiting run = %v, want busy", err)
		}
		f.move(r.ID, envbackup.RunRunning)
		if _, err := f.service.RunNow(ctx, s.ID, false, "ann", day(8, 42)); envbackup.CodeOf(err) != envbackup.CodeBusy {
			t.Errorf("RunNow() beside a running run = %v, want busy", err)
		}
		if _, err := f.service.RunNow(ctx, s.ID, true, "ann", day(8, 43)); err != nil {
			t.Errorf("RunNow() that waits = %v", err)
		}
		f.tick(day(9, 0)) // the manual runs are other runs: the slot waits, it is not skipped
		f.expect(s, "02 09:00  schedule:queued")
	})
}

func TestClockThatGoesBack(t *testing.T) { // S12
	each(t, func(t *testing.T, f fixture) {
		s := f.create(day(8, 30), nil)
		other := f.create(day(8, 30), func(s *envbackup.ScheduleSpec) { s.Name, s.Paused = "paused", true })
		ctx := t.Context()
		for _, hour := range []int{9, 10, 11} {
			f.tick(day(hour, 0))
			f.move(f.newestRun().ID, envbackup.RunSucceeded)
		}
		b := envbackup.Backup{SnapshotID: "aa", RunID: f.ledger(s)[2].RunID, ScheduleID: s.ID, DestinationID: s.DestinationIDs[0], Trigger: envbackup.TriggerSchedule, Nominal: day(11, 0)}
		if err := f.store.AddBackup(ctx, &b); err != nil {
			t.Fatal(err)
		}
		f.tick(day(10, 57)) // a few minutes are nothing
		f.tick(day(11, 0))
		if got := f.told(s); len(got) != 3 {
			t.Fatalf("ledger after a small step = %v", got)
		}
		f.service = f.restart() // the step is noticed over a restart too
		f.tick(day(9, 30))
		f.expect(s, "02 09:00 ran schedule:succeeded", "02 10:00 clock manual:succeeded", "02 11:00 clock manual:succeeded")
		f.expect(other, "02 09:00 paused")
		if got, err := f.store.Backup(ctx, b.ID); err != nil || got.Trigger != envbackup.TriggerManual {
			t.Errorf("backup = %s, %v; want manual", got.Trigger, err)
		}
		f.tick(day(10, 0))
		f.expect(s, "02 09:00 ran schedule:succeeded", "02 10:00  schedule:queued", "02 10:00 clock manual:succeeded", "02 11:00 clock manual:succeeded")
		f.expect(other, "02 09:00..02 10:00 x2 paused")
	})
}

func TestABrokenScheduleHoldsNobodyUp(t *testing.T) {
	f := sqliteFixture(t)
	good := f.create(day(8, 30), nil)
	bad := f.create(day(8, 30), func(s *envbackup.ScheduleSpec) { s.Name = "bad" })
	ctx := t.Context()
	// As an upgrade that reads expressions differently would leave it.
	err := f.store.Tx(ctx, func(tx *store.Tx) error {
		b, err := tx.Schedule(ctx, bad.ID)
		if err != nil {
			return err
		}
		b.Cron = "61 * * * *"
		return tx.UpdateSchedule(ctx, &b, 0, day(8, 31))
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.service.Tick(ctx, day(9, 0)); err == nil || !strings.Contains(err.Error(), "shop/bad") {
		t.Errorf("Tick() = %v, want the broken schedule's name", err)
	}
	f.expect(good, "02 09:00  schedule:queued")
	if err := f.service.Tick(ctx, day(9, 0).Add(time.Second)); err != nil {
		t.Errorf("next Tick() = %v, want the broken schedule to rest", err)
	}
	mended := f.read(bad)
	mended.Cron = "0 * * * *"
	if err := f.service.Update(ctx, &mended, 0, day(9, 30)); err != nil {
		t.Errorf("mending = %v", err)
	}
}

func TestTwoDaemonsClaimEachSlotOnce(t *testing.T) { // S1
	f := newFixture(t, pgtest.Database(t))
	var schedules []envbackup.Schedule
	for i := range 30 {
		schedules = append(schedules, f.create(day(8, 30), func(s *envbackup.ScheduleSpec) { s.Name = fmt.Sprintf("s%d", i) }))
	}
	services := []*Service{f.service, f.restart(), f.restart()}
	errs := make(chan error)
	for _, s := range services {
		go func() { errs <- s.Tick(t.Context(), day(9, 0)) }()
	}
	for range services {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for _, s := range schedules {
		f.expect(s, "02 09:00  schedule:queued")
	}
	runs, _, err := f.store.Runs(t.Context(), envbackup.RunFilter{}, envbackup.Page{Limit: 1000})
	if err != nil || len(runs) != len(schedules) {
		t.Errorf("%d runs, %v; want %d", len(runs), err, len(schedules))
	}
}

// segment is a time in which a schedule's slots count under one expression.
type segment struct {
	cron        string
	from, until time.Time
}

func TestEverySlotHasOneOutcomeWhateverHappens(t *testing.T) { // S1, S2, S9, S11, S12
	seeds, steps := 8, 120
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		seeds, steps = 200, 400
	}
	base := uint64(time.Now().UnixNano())
	t.Logf("seed %d", base)
	for i := range seeds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			history(t, rand.New(rand.NewPCG(base, uint64(i))), steps)
		})
	}
}

// history lets a schedule live through random ticks, downtimes, steps of the
// clock, edits, pauses and restarts, then compares its ledger with the slots
// that its expressions have.
func history(t *testing.T, random *rand.Rand, steps int) {
	f := sqliteFixture(t)
	ctx := t.Context()
	crons := []string{"* * * * *", "*/15 * * * *", "0 * * * *", "30 2,14 * * *", "0 0 * * 1"}
	overlap := []string{"skip", "queue"}[random.IntN(2)]
	now := day(0, 0).Add(time.Duration(random.IntN(3600)) * time.Second)
	s := f.create(now, func(s *envbackup.ScheduleSpec) {
		s.Cron, s.Overlap = crons[random.IntN(len(crons))], overlap
		s.Timezone = []string{"UTC", "Europe/Berlin"}[random.IntN(2)]
	})
	segments := []segment{{s.Cron, now, time.Time{}}}
	cut := func(at time.Time) { // an edit or resume at an instant
		last := &segments[len(segments)-1]
		decided := f.read(s).DecidedUntil
		if last.until = at; decided.After(at) {
			last.until = decided // decided before a small step back
		}
		segments = append(segments, segment{f.read(s).Cron, last.until, time.Time{}})
	}
	seen := now // the newest instant that the service has seen
	for range steps {
		looked := true
		switch random.IntN(12) {
		case 0: // downtime
			looked = false
			now = now.Add(time.Duration(random.IntN(72*60)) * time.Minute)
			f.service = f.restart()
		case 1: // the clock steps back, a little or much
			now = seen.Add(-time.Duration(random.IntN(4*60)) * time.Second)
			if random.IntN(3) == 0 {
				// The newest instant is recorded once a minute.
				now = seen.Add(-stepBack - 2*recordEvery - time.Duration(random.IntN(2*3600))*time.Second)
			}
			f.tick(now)
			if seen.Sub(now) > stepBack {
				for len(segments) > 1 && segments[len(segments)-1].from.After(now) {
					segments = segments[:len(segments)-1]
				}
				seen = now
				last := &segments[len(segments)-1]
				last.until = now
				if last.from.After(now) {
					last.from = now
				}
				segments = append(segments, segment{f.read(s).Cron, now, time.Time{}})
			}
		case 2: // an edit
			next := f.read(s)
			next.Cron = crons[random.IntN(len(crons))]
			if err := f.service.Update(ctx, &next, 0, now); err != nil {
				t.Fatal(err)
			}
			cut(now)
		case 3:
			if paused := f.read(s).Paused; paused {
				if err := f.service.Resume(ctx, s.ID, now); err != nil {
					t.Fatal(err)
				}
			} else if err := f.service.Pause(ctx, s.ID, now); err != nil {
				t.Fatal(err)
			}
			cut(now)
		case 4, 5, 6: // a run goes on or ends
			looked = false
			open, _, err := f.store.Runs(ctx, envbackup.RunFilter{States: []envbackup.RunState{envbackup.RunQueued, envbackup.RunRunning}}, envbackup.Page{})
			if err != nil {
				t.Fatal(err)
			}
			running := false
			for _, r := range open {
				running = running || r.State == envbackup.RunRunning
			}
			for _, r := range open {
				if r.State == envbackup.RunRunning {
					f.move(r.ID, envbackup.RunSucceeded)
				} else if !running {
					f.move(r.ID, envbackup.RunRunning)
				}
				break
			}
		default:
			now = now.Add(time.Duration(random.IntN(40*60)) * time.Second)
			f.tick(now)
		}
		if looked && now.After(seen) {
			seen = now
		}
	}
	f.tick(now)
	segments[len(segments)-1].until = f.read(s).DecidedUntil
	f.checkLedger(s, segments)
}

func (f fixture) checkLedger(s envbackup.Schedule, segments []segment) {
	f.t.Helper()
	want := map[time.Time]bool{}
	for _, seg := range segments {
		probe := s
		probe.Cron, probe.Paused = seg.cron, false
		for _, at := range instants(f.t, probe, seg.from, seg.until) {
			want[at] = true
		}
	}
	counted, last := int64(0), time.Time{}
	runs := map[string]bool{}
	for _, slot := range f.ledger(s) {
		if slot.RunID != "" && runs[slot.RunID] {
			f.t.Errorf("run %s has two slots", slot.RunID)
		}
		runs[slot.RunID] = true
		if slot.Outcome == envbackup.SlotClock {
			continue
		}
		if !slot.Nominal.After(last) || slot.Until.Before(slot.Nominal) {
			f.t.Errorf("slot %s..%s overlaps the one that ends at %s", slot.Nominal, slot.Until, last)
		}
		last = slot.Until
		if slot.Nominal.Second() != 0 || slot.Nominal.Nanosecond() != 0 {
			continue // made by an edit that opened a gap
		}
		if !want[slot.Nominal] || !want[slot.Until] {
			f.t.Errorf("slot %s..%s is none of the schedule's", slot.Nominal, slot.Until)
		}
		counted += slot.Count
	}
	if counted != int64(len(want)) {
		f.t.Errorf("%d slots in the ledger, want %d: %v\n%s", counted, len(want), segments, strings.Join(f.told(s), "\n"))
	}
}
