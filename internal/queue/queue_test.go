package queue

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/pgtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// fake executes what a test tells it to, and tells the test when.
type fake struct {
	run     func(ctx context.Context, r envbackup.Run, progress func(envbackup.Progress)) (envbackup.Outcome, error)
	restore func(ctx context.Context, r envbackup.Restore, progress func(envbackup.Progress)) (envbackup.Outcome, error)
	verify  func(ctx context.Context, v envbackup.Verification, progress func(envbackup.Progress)) (envbackup.Outcome, error)
}

func (f *fake) ExecuteRun(ctx context.Context, r envbackup.Run, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	if f.run == nil {
		return done(), nil
	}
	return f.run(ctx, r, progress)
}

func (f *fake) ExecuteRestore(ctx context.Context, r envbackup.Restore, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	if f.restore == nil {
		return done(), nil
	}
	return f.restore(ctx, r, progress)
}

func (f *fake) ExecuteVerification(ctx context.Context, v envbackup.Verification, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	if f.verify == nil {
		return done(), nil
	}
	return f.verify(ctx, v, progress)
}

func done() envbackup.Outcome { return envbackup.Outcome{State: envbackup.RunSucceeded} }

func unreachable() error {
	return &envbackup.Error{Code: envbackup.CodeUnreachable, Message: "the bucket does not answer"}
}

// fixture is a store with environments, a destination and a schedule in each.
type fixture struct {
	t     *testing.T
	store *store.Store
	dsn   string
}

func newFixture(t *testing.T, dsn string) fixture {
	t.Helper()
	st, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return fixture{t: t, store: st, dsn: dsn}
}

func sqliteFixture(t *testing.T) fixture {
	t.Helper()
	return newFixture(t, filepath.Join(t.TempDir(), "state.db"))
}

// schedule makes an environment and a schedule in it that has just begun.
func (f fixture) schedule(environment string, change func(*envbackup.ScheduleSpec)) envbackup.Schedule {
	f.t.Helper()
	ctx := f.t.Context()
	e := envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{Name: environment}}
	if err := f.store.CreateEnvironment(ctx, &e); err != nil {
		f.t.Fatal(err)
	}
	d := envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{Name: environment + "-store", Local: &envbackup.LocalPlace{Path: "/tmp"}}}
	if err := f.store.CreateDestination(ctx, &d); err != nil {
		f.t.Fatal(err)
	}
	last := int64(1)
	s := envbackup.Schedule{ScheduleSpec: envbackup.ScheduleSpec{
		Name: "daily", Environment: environment, Destinations: []string{d.Name}, Cron: "0 0 * * *", Retention: retention.Spec{KeepLast: &last},
	}}
	if change != nil {
		change(&s.ScheduleSpec)
	}
	err := f.store.Tx(ctx, func(tx *store.Tx) error { return tx.InsertSchedule(ctx, &s, time.Now()) })
	if err != nil {
		f.t.Fatal(err)
	}
	return s
}

// enqueue makes a run of s with a slot, due now unless change says otherwise.
func (f fixture) enqueue(q *Queue, s envbackup.Schedule, change func(*envbackup.Run)) envbackup.Run {
	f.t.Helper()
	ctx := f.t.Context()
	now := stamp(time.Now())
	r := envbackup.Run{
		ID: store.NewRunID(), ScheduleID: s.ID, Schedule: s.Name, EnvironmentID: s.EnvironmentID, Environment: s.Environment,
		Trigger: envbackup.TriggerSchedule, Nominal: now, DueAt: now, StartBy: now.Add(2 * time.Hour),
	}
	if change != nil {
		change(&r)
	}
	err := f.store.Tx(ctx, func(tx *store.Tx) error {
		if r.Trigger.OfSlot() {
			slot := envbackup.Slot{ScheduleID: s.ID, Nominal: r.Nominal, Until: r.Nominal, Count: 1, RunID: r.ID, DecidedAt: now}
			if ok, err := tx.InsertSlot(ctx, slot); err != nil || !ok {
				return errors.Join(errors.New("slot not inserted"), err)
			}
		}
		return q.EnqueueRunTx(ctx, tx, &r)
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

func (f fixture) queue(x Executor, change func(*Config)) *Queue {
	f.t.Helper()
	cfg := Config{Worker: "db1.example", Backoff: func(int64) time.Duration { return 0 }, Drain: time.Minute}
	if change != nil {
		change(&cfg)
	}
	q, err := New(f.store, x, cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return q
}

// start runs q until the test ends or the returned function is called, which
// waits for it.
func (f fixture) start(q *Queue) (stop func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := q.Run(ctx); err != nil {
			f.t.Errorf("Run() = %v", err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); running.Wait() })
	f.t.Cleanup(stop)
	return stop
}

// ended waits until the run has ended, and returns it.
func (f fixture) ended(q *Queue, id string) envbackup.Run {
	f.t.Helper()
	return f.until(q, id, func(r envbackup.Run) bool { return r.State.Final() })
}

// until watches the run until ok, and returns it.
func (f fixture) until(q *Queue, id string, ok func(envbackup.Run) bool) envbackup.Run {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	states, err := q.Watch(ctx, id)
	if err != nil {
		f.t.Fatal(err)
	}
	var last envbackup.Run
	for last = range states {
		if ok(last) {
			return last
		}
	}
	f.t.Fatalf("run %s ended as %s (%+v) before it was as expected", id, last.State, last.Failure)
	return last
}

func (f fixture) slot(s envbackup.Schedule) envbackup.Slot {
	f.t.Helper()
	slots, _, err := f.store.Slots(f.t.Context(), s.ID, envbackup.Page{})
	if err != nil || len(slots) == 0 {
		f.t.Fatalf("Slots() = %v, %v; want one", slots, err)
	}
	return slots[0]
}

// each runs a test on both databases.
func each(t *testing.T, test func(t *testing.T, f fixture)) {
	t.Run("sqlite", func(t *testing.T) { test(t, sqliteFixture(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, newFixture(t, pgtest.Database(t))) })
}

func TestRunFromEnqueueToReport(t *testing.T) { // S1, S14
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		q := f.queue(&fake{run: func(_ context.Context, r envbackup.Run, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
			if r.State != envbackup.RunRunning || r.Attempt != 1 || r.ExecutedBy != "db1.example" {
				t.Errorf("executed %+v", r)
			}
			progress(envbackup.Progress{Phase: envbackup.PhaseBackup, FilesDone: 1})
			return envbackup.Outcome{
				State: envbackup.RunPartial, Warnings: []string{"one unreadable"}, FilesDone: 2, BytesDone: 3,
				Destinations: []envbackup.RunDestination{{Destination: "shop-store", State: envbackup.RunPartial, BackupID: "bkp_1"}},
			}, nil
		}}, nil)
		r := f.enqueue(q, s, nil)
		if got := f.slot(s); got.Outcome != "" || got.RunID != r.ID {
			t.Errorf("slot before the start = %+v, want no outcome", got)
		}
		f.start(q)
		got := f.ended(q, r.ID)
		if got.State != envbackup.RunPartial || got.Warnings[0] != "one unreadable" || got.Destinations[0].BackupID != "bkp_1" ||
			got.Progress.BytesDone != 3 || got.StartedAt.IsZero() || got.FinishedAt.IsZero() {
			t.Errorf("run = %+v", got)
		}
		if got := f.slot(s); got.Outcome != envbackup.SlotRan {
			t.Errorf("slot = %+v, want ran", got)
		}
	})
}

func TestOneWriterInAnEnvironmentOldestDueFirst(t *testing.T) { // S3
	each(t, func(t *testing.T, f fixture) {
		s, other := f.schedule("shop", nil), f.schedule("mail", nil)
		var mu sync.Mutex
		var order []string
		inside := 0
		release := make(chan struct{})
		started := make(chan string, 10)
		enter := func(ctx context.Context, name string) (envbackup.Outcome, error) {
			mu.Lock()
			order = append(order, name)
			inside++
			if inside > 1 {
				t.Errorf("%s began while another wrote", name)
			}
			mu.Unlock()
			started <- name
			<-release
			mu.Lock()
			inside--
			mu.Unlock()
			return done(), ctx.Err()
		}
		q := f.queue(&fake{
			run: func(ctx context.Context, r envbackup.Run, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
				if r.Environment == "mail" {
					return done(), nil
				}
				return enter(ctx, string(r.Trigger))
			},
			restore: func(ctx context.Context, _ envbackup.Restore, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
				return enter(ctx, "restore")
			},
		}, func(c *Config) { c.MaxConcurrent = 4 })
		f.start(q)
		manual := func(at time.Time) func(*envbackup.Run) {
			return func(r *envbackup.Run) { r.Trigger, r.DueAt = envbackup.TriggerManual, at }
		}
		first := f.enqueue(q, s, manual(time.Now()))
		if got := <-started; got != "manual" {
			t.Fatalf("first = %s", got)
		}
		restore := envbackup.Restore{BackupID: "bkp_x", Environment: "shop", Target: "/tmp/x"}
		if err := q.EnqueueRestore(t.Context(), &restore); err != nil {
			t.Fatal(err)
		}
		young := f.enqueue(q, s, func(r *envbackup.Run) {
			r.Trigger, r.Nominal, r.DueAt = envbackup.TriggerCatchUp, stamp(time.Now().Add(time.Hour)), stamp(time.Now().Add(time.Hour))
		})
		old := f.enqueue(q, s, func(r *envbackup.Run) { r.DueAt = stamp(time.Now().Add(-time.Hour)) })
		// Another environment is not held up.
		if got := f.ended(q, f.enqueue(q, other, nil).ID); got.State != envbackup.RunSucceeded {
			t.Errorf("run elsewhere = %s", got.State)
		}
		// All three have met the busy environment: they have no job any more.
		for _, id := range []string{young.ID, old.ID} {
			f.until(q, id, func(r envbackup.Run) bool { return r.JobID == 0 })
		}
		close(release)
		for _, r := range []envbackup.Run{first, old, young} {
			if got := f.ended(q, r.ID); got.State != envbackup.RunSucceeded {
				t.Errorf("run = %s %+v", got.State, got.Failure)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		want := []string{"manual", "schedule", "restore", "catch_up"}
		for i := range want {
			if i >= len(order) || order[i] != want[i] {
				t.Fatalf("order = %v, want %v", order, want)
			}
		}
	})
}

func TestRetriesOnlyWhatARetryCanMend(t *testing.T) { // S6
	f := sqliteFixture(t)
	s := f.schedule("shop", nil)
	fail := map[string]error{}
	var mu sync.Mutex
	attempts := map[string]int64{}
	q := f.queue(&fake{run: func(_ context.Context, r envbackup.Run, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
		mu.Lock()
		defer mu.Unlock()
		attempts[r.ID]++
		if err := fail[r.ID]; err != nil && attempts[r.ID] < 3 {
			return envbackup.Outcome{}, err
		}
		return done(), nil
	}}, func(c *Config) { c.MaxConcurrent = 1 })
	mended := f.enqueue(q, s, nil)
	broken := f.enqueue(q, s, func(r *envbackup.Run) { r.Nominal = r.Nominal.Add(time.Second) })
	fail[mended.ID] = unreachable()
	fail[broken.ID] = &envbackup.Error{Code: envbackup.CodeCredentials, Message: "the key is wrong", Hint: "mend it"}
	f.start(q)

	if got := f.ended(q, broken.ID); got.State != envbackup.RunFailed || got.Attempt != 1 || got.Failure.Code != envbackup.CodeCredentials || got.Failure.Hint == "" {
		t.Errorf("credentials: %s after %d attempts, %+v; want failed after 1", got.State, got.Attempt, got.Failure)
	}
	sweepUntil(f, q, mended.ID)
	if got := f.ended(q, mended.ID); got.State != envbackup.RunSucceeded || got.Attempt != 3 || got.Failure != nil {
		t.Errorf("unreachable: %s after %d attempts, %+v; want succeeded after 3", got.State, got.Attempt, got.Failure)
	}
	tries, err := f.store.Attempts(t.Context(), mended.ID)
	if err != nil || len(tries) != 3 || tries[0].Failure == nil || tries[0].FinishedAt.IsZero() || tries[2].Failure != nil {
		t.Errorf("Attempts() = %+v, %v", tries, err)
	}
}

// sweepUntil sweeps at each change of the run, as the heartbeat would, until
// it has ended.
func sweepUntil(f fixture, q *Queue, id string) {
	f.t.Helper()
	f.until(q, id, func(r envbackup.Run) bool {
		if r.State == envbackup.RunQueued && r.JobID == 0 {
			if err := q.Sweep(f.t.Context(), time.Now().Add(time.Second)); err != nil {
				f.t.Error(err)
			}
		}
		return r.State.Final()
	})
}

func TestTimeoutCancelAndPanicEndAnAttempt(t *testing.T) { // S5
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", func(s *envbackup.ScheduleSpec) { s.Timeout = "1m"; s.Timezone = "UTC" })
		slow := f.schedule("mail", nil)
		block := func(ctx context.Context) (envbackup.Outcome, error) {
			<-ctx.Done()
			return envbackup.Outcome{}, ctx.Err()
		}
		began := make(chan struct{}, 1)
		q := f.queue(&fake{run: func(ctx context.Context, r envbackup.Run, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
			if r.Environment == "mail" {
				began <- struct{}{}
				return block(ctx)
			}
			panic("index out of range")
		}}, nil)
		// The timeout's own path, without waiting a minute for it.
		_, err := q.execute(t.Context(), store.Work{Kind: store.WorkRun, ID: "run_x"}, time.Millisecond, nilSave, nilControl,
			func(ctx context.Context, _ func(envbackup.Progress)) (envbackup.Outcome, error) { return block(ctx) })
		if envbackup.CodeOf(err) != envbackup.CodeTimedOut {
			t.Errorf("timeout: %v, want timed_out", err)
		}
		if got := q.timeout(t.Context(), envbackup.Run{ScheduleID: s.ID}); got != time.Minute {
			t.Errorf("timeout of the schedule = %s", got)
		}
		f.start(q)
		if got := f.ended(q, f.enqueue(q, s, nil).ID); got.State != envbackup.RunFailed || got.Failure.Code != envbackup.CodeInternal {
			t.Errorf("panic: %s %+v, want failed", got.State, got.Failure)
		}
		r := f.enqueue(q, slow, nil)
		<-began
		if err := q.CancelRun(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		if got := f.ended(q, r.ID); got.State != envbackup.RunCancelled || got.Failure.Code != envbackup.CodeCancelled {
			t.Errorf("cancel: %s %+v, want cancelled", got.State, got.Failure)
		}
		if err := q.CancelRun(t.Context(), r.ID); envbackup.CodeOf(err) != envbackup.CodeConflict {
			t.Errorf("second cancel = %v, want conflict", err)
		}
	})
}

func nilSave(envbackup.Progress) (bool, bool, error) { return true, false, nil }
func nilControl() (bool, bool, error)                { return true, false, nil }

func TestCancelReachesAnotherProcess(t *testing.T) { // S14: by the mark alone
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		began := make(chan struct{})
		worker := f.queue(&fake{run: func(ctx context.Context, _ envbackup.Run, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
			progress(envbackup.Progress{Phase: envbackup.PhaseBackup, FilesDone: 7})
			close(began)
			<-ctx.Done()
			return envbackup.Outcome{}, ctx.Err()
		}}, nil)
		f.start(worker)
		elsewhere := f.queue(&fake{}, nil) // only takes requests
		r := f.enqueue(elsewhere, s, nil)
		<-began
		got := f.until(elsewhere, r.ID, func(r envbackup.Run) bool { return r.Progress.FilesDone == 7 })
		if got.State != envbackup.RunRunning {
			t.Errorf("state with progress = %s", got.State)
		}
		if err := elsewhere.CancelRun(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		if got := f.ended(elsewhere, r.ID); got.State != envbackup.RunCancelled {
			t.Errorf("run = %s %+v, want cancelled", got.State, got.Failure)
		}
	})
}

func TestWaitingRunIsCancelledOrMissedWithItsSlot(t *testing.T) { // S4
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		q := f.queue(&fake{run: func(context.Context, envbackup.Run, func(envbackup.Progress)) (envbackup.Outcome, error) {
			t.Error("executed")
			return done(), nil
		}}, nil)
		late := f.enqueue(q, s, func(r *envbackup.Run) { r.StartBy = stamp(time.Now().Add(-time.Second)) })
		f.start(q)
		got := f.ended(q, late.ID)
		if got.State != envbackup.RunCancelled || got.Failure == nil {
			t.Errorf("run = %s %+v, want cancelled with the reason", got.State, got.Failure)
		}
		if slot := f.slot(s); slot.Outcome != envbackup.SlotMissed || slot.Reason == "" {
			t.Errorf("slot = %+v, want missed with the reason", slot)
		}

		other := f.schedule("mail", nil)
		idle := f.queue(&fake{}, func(c *Config) { c.Worker = "elsewhere" })
		pinned := f.enqueue(idle, other, func(r *envbackup.Run) { r.Worker = "nobody" })
		if err := idle.CancelRun(t.Context(), pinned.ID); err != nil {
			t.Fatal(err)
		}
		if got := f.ended(idle, pinned.ID); got.State != envbackup.RunCancelled {
			t.Errorf("cancelled while it waited: %s", got.State)
		}
		if slot := f.slot(other); slot.Outcome != envbackup.SlotMissed {
			t.Errorf("slot = %+v, want missed", slot)
		}
	})
}

func TestPinnedWorkGoesToItsWorkerOnly(t *testing.T) { // DESIGN 5: an environment may be pinned
	f := sqliteFixture(t)
	s, other := f.schedule("shop", nil), f.schedule("mail", nil)
	q := f.queue(&fake{}, nil)
	theirs := f.enqueue(q, s, func(r *envbackup.Run) { r.Worker = "db2.example" })
	ours := f.enqueue(q, other, func(r *envbackup.Run) { r.Worker = "db1.example" })
	f.start(q)
	if got := f.ended(q, ours.ID); got.State != envbackup.RunSucceeded {
		t.Errorf("ours = %s", got.State)
	}
	got, err := f.store.Run(t.Context(), theirs.ID)
	if err != nil || got.State != envbackup.RunQueued {
		t.Errorf("theirs = %s, %v; want queued", got.State, err)
	}
	for _, worker := range []string{"a--b", "UPPER.case_9", "ünïcode", "", "-", string(make([]byte, 300))} {
		if _, err := New(f.store, &fake{}, Config{Worker: worker}); err != nil {
			t.Errorf("worker %q: %v", worker, err)
		}
	}
}

func TestShutdownDrainsThenCancelsAndRetries(t *testing.T) { // S13
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		began := make(chan struct{}, 2)
		stubborn := f.queue(&fake{run: func(ctx context.Context, _ envbackup.Run, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
			began <- struct{}{}
			<-ctx.Done()
			return envbackup.Outcome{}, ctx.Err()
		}}, func(c *Config) { c.Drain = time.Millisecond })
		stop := f.start(stubborn)
		r := f.enqueue(stubborn, s, nil)
		<-began
		stop()
		got, err := f.store.Run(t.Context(), r.ID)
		if err != nil || got.State != envbackup.RunQueued || got.Failure.Code != envbackup.CodeShutDown {
			t.Fatalf("after the shutdown: %s %+v, %v; want queued with shut_down", got.State, got.Failure, err)
		}
		// The next start takes it, and work that ends within drain ends well.
		release := make(chan struct{})
		patient := f.queue(&fake{run: func(ctx context.Context, _ envbackup.Run, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
			began <- struct{}{}
			<-release
			return done(), ctx.Err()
		}}, nil)
		stop = f.start(patient)
		<-began
		go close(release)
		stop()
		got, err = f.store.Run(t.Context(), r.ID)
		if err != nil || got.State != envbackup.RunSucceeded || got.Attempt != 2 {
			t.Errorf("after the next start: %s in attempt %d, %v; want succeeded in 2", got.State, got.Attempt, err)
		}
	})
}

func TestSweepGivesLostWorkANewJob(t *testing.T) { // the library lost or spent the job
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		q := f.queue(&fake{}, nil)
		r := f.enqueue(q, s, nil)
		if _, err := q.client.JobCancel(t.Context(), r.JobID); err != nil {
			t.Fatal(err)
		}
		f.start(q) // sweeps at its start
		if got := f.ended(q, r.ID); got.State != envbackup.RunSucceeded || got.JobID == r.JobID {
			t.Errorf("run = %s with job %d, want succeeded with another than %d", got.State, got.JobID, r.JobID)
		}
	})
}

func TestRollbackLeavesNeitherRunNorJob(t *testing.T) { // S1: one transaction
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		q := f.queue(&fake{}, nil)
		r := envbackup.Run{ScheduleID: s.ID, Environment: "shop", Trigger: envbackup.TriggerManual}
		stop := errors.New("stop")
		err := f.store.Tx(t.Context(), func(tx *store.Tx) error {
			return errors.Join(q.EnqueueRunTx(t.Context(), tx, &r), stop)
		})
		if !errors.Is(err, stop) || r.JobID == 0 {
			t.Fatal(err)
		}
		if _, err := f.store.Run(t.Context(), r.ID); envbackup.CodeOf(err) != envbackup.CodeNotFound {
			t.Errorf("run after rollback: %v", err)
		}
		if _, err := q.client.JobGet(t.Context(), r.JobID); err == nil {
			t.Error("job after rollback exists")
		}
	})
}
