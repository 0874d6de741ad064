package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// backup enters a complete backup of s, n hours after now; change may say
// otherwise.
func (f fixture) backup(s envbackup.Schedule, n int, change func(*envbackup.Backup)) envbackup.Backup {
	f.t.Helper()
	b := envbackup.Backup{
		SnapshotID: fmt.Sprintf("%s%064x", s.ID, n), ScheduleID: s.ID, Schedule: s.Name, EnvironmentID: s.EnvironmentID, Environment: s.Environment,
		DestinationID: s.DestinationIDs[0], Destination: s.Destinations[0], Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete,
		Nominal: stamp(time.Now().Add(time.Duration(n) * time.Hour)),
	}
	if change != nil {
		change(&b)
	}
	if err := f.store.AddBackup(f.t.Context(), &b); err != nil {
		f.t.Fatal(err)
	}
	return b
}

// verify asks for a verification.
func (f fixture) verify(q *Queue, b envbackup.Backup, level envbackup.VerifyLevel) envbackup.Verification {
	f.t.Helper()
	v := envbackup.Verification{BackupID: b.ID, Level: level, Trigger: envbackup.TriggerManual}
	if err := q.EnqueueVerification(f.t.Context(), &v); err != nil {
		f.t.Fatal(err)
	}
	return v
}

// verified watches a verification until ok, and returns it.
func (f fixture) verified(q *Queue, id string, ok func(envbackup.Verification) bool) envbackup.Verification {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	states, err := q.WatchVerification(ctx, id)
	if err != nil {
		f.t.Fatal(err)
	}
	var last envbackup.Verification
	for last = range states {
		if ok(last) {
			return last
		}
	}
	f.t.Fatalf("verification %s ended as %s (%+v) before it was as expected", id, last.State, last.Failure)
	return last
}

func isOver(v envbackup.Verification) bool { return v.State.Final() }

// orders returns the verifications of a schedule, newest first.
func (f fixture) orders(s envbackup.Schedule) []envbackup.Verification {
	f.t.Helper()
	list, _, err := f.store.Verifications(f.t.Context(), envbackup.VerificationFilter{ScheduleID: s.ID}, envbackup.Page{})
	if err != nil {
		f.t.Fatal(err)
	}
	return list
}

func TestVerificationFromRequestToReport(t *testing.T) { // S14
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		b := f.backup(s, 0, nil)
		q := f.queue(&fake{verify: func(_ context.Context, v envbackup.Verification, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
			if v.State != envbackup.RunRunning || v.Attempt != 1 || v.BackupID != b.ID || v.Environment != "shop" || v.ScheduleID != s.ID {
				t.Errorf("executed %+v", v)
			}
			progress(envbackup.Progress{Phase: envbackup.PhaseVerify, FilesDone: 1})
			if v.Level == envbackup.VerifyRestore {
				return envbackup.Outcome{State: envbackup.RunFailed, Warnings: []string{"/x"}},
					&envbackup.Error{Code: envbackup.CodeDamaged, Message: "bit rot", Hint: "another"}
			}
			return envbackup.Outcome{State: envbackup.RunSucceeded, FilesDone: 2, BytesDone: 3}, nil
		}}, nil)
		v := f.verify(q, b, envbackup.VerifyRead)
		if again := f.verify(q, b, envbackup.VerifyRead); again.ID != v.ID {
			t.Errorf("asked again: %s, want the one that waits", again.ID)
		}
		f.start(q)
		got := f.verified(q, v.ID, isOver)
		if got.State != envbackup.RunSucceeded || got.FilesDone != 2 || got.BytesDone != 3 || got.Failure != nil || got.StartedAt.IsZero() || got.FinishedAt.IsZero() {
			t.Errorf("verification = %+v", got)
		}
		if next := f.verify(q, b, envbackup.VerifyRead); next.ID == v.ID {
			t.Error("one that is over is not asked for again")
		}
		got = f.verified(q, f.verify(q, b, envbackup.VerifyRestore).ID, isOver)
		if got.State != envbackup.RunFailed || got.Failure.Code != envbackup.CodeDamaged || got.Failure.Hint == "" || len(got.Problems) != 1 {
			t.Errorf("damaged = %+v", got)
		}
		gone := f.backup(s, 1, nil)
		if err := f.store.MarkRemoval(t.Context(), []string{gone.ID}, time.Now()); err != nil {
			t.Fatal(err)
		}
		err := q.EnqueueVerification(t.Context(), &envbackup.Verification{BackupID: gone.ID, Level: envbackup.VerifyRead, Trigger: envbackup.TriggerManual})
		if envbackup.CodeOf(err) != envbackup.CodeConflict {
			t.Errorf("of what is being removed: %v, want a conflict", err)
		}
	})
}

// A verification never delays a backup: it makes way for a run and a restore
// of its environment, in this process and in another, goes on after them, and
// holds up no environment.
func TestVerificationMakesWay(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		s, other := f.schedule("shop", nil), f.schedule("mail", nil)
		b := f.backup(s, 0, nil)
		began := make(chan int64, 10)
		release := make(chan struct{})
		inRun := make(chan struct{})
		endRun := make(chan struct{})
		hold := func(ctx context.Context) (envbackup.Outcome, error) {
			inRun <- struct{}{}
			select {
			case <-endRun:
			case <-ctx.Done():
			}
			return done(), ctx.Err()
		}
		x := &fake{
			verify: func(ctx context.Context, v envbackup.Verification, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
				progress(envbackup.Progress{Phase: envbackup.PhaseVerify, BytesDone: v.Attempt})
				began <- v.Attempt
				select {
				case <-release:
					return envbackup.Outcome{State: envbackup.RunSucceeded, BytesDone: 9}, nil
				case <-ctx.Done():
					return envbackup.Outcome{}, ctx.Err()
				}
			},
			run: func(ctx context.Context, r envbackup.Run, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
				if r.Environment == "mail" {
					return done(), nil
				}
				return hold(ctx)
			},
			restore: func(ctx context.Context, _ envbackup.Restore, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
				return hold(ctx)
			},
		}
		q := f.queue(x, func(c *Config) { c.MaxConcurrent = 1; fast(c) })
		f.start(q)
		v := f.verify(q, b, envbackup.VerifyRead)
		if n := <-began; n != 1 {
			t.Fatalf("attempt %d", n)
		}
		// Its seat is its own.
		if got := f.ended(q, f.enqueue(q, other, nil).ID); got.State != envbackup.RunSucceeded {
			t.Errorf("run elsewhere = %s", got.State)
		}
		r := f.enqueue(q, s, nil)
		<-inRun
		waits := f.verified(q, v.ID, func(v envbackup.Verification) bool { return v.State == envbackup.RunQueued })
		if waits.JobID != 0 || !strings.Contains(waits.Progress.Current, "made way") || waits.Failure != nil || waits.Spent <= 0 {
			t.Errorf("made way: %+v", waits)
		}
		endRun <- struct{}{}
		if got := f.ended(q, r.ID); got.State != envbackup.RunSucceeded {
			t.Errorf("run = %s", got.State)
		}
		if n := <-began; n != 2 {
			t.Errorf("goes on with attempt %d", n)
		}
		restore := envbackup.Restore{BackupID: b.ID, Environment: "shop", Target: "/tmp/x"}
		if err := q.EnqueueRestore(t.Context(), &restore); err != nil {
			t.Fatal(err)
		}
		<-inRun
		f.verified(q, v.ID, func(v envbackup.Verification) bool { return v.State == envbackup.RunQueued })
		// What a restore holds, a new verification waits for.
		young := f.verify(q, b, envbackup.VerifyRestore)
		endRun <- struct{}{}
		<-began // one of the two
		close(release)
		if got := f.verified(q, v.ID, isOver); got.State != envbackup.RunSucceeded || got.Attempt != 3 || got.BytesDone != 9 {
			t.Errorf("in the end: %+v", got)
		}
		if got := f.verified(q, young.ID, isOver); got.State != envbackup.RunSucceeded {
			t.Errorf("the one that waited: %s %+v", got.State, got.Failure)
		}
	})
}

// The mark alone makes one yield that another process executes.
func TestVerificationMakesWayForAnotherProcess(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		b := f.backup(s, 0, nil)
		began := make(chan struct{}, 10)
		worker := f.queue(&fake{verify: func(ctx context.Context, _ envbackup.Verification, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
			began <- struct{}{}
			<-ctx.Done()
			return envbackup.Outcome{}, ctx.Err()
		}}, nil)
		f.start(worker)
		v := f.verify(worker, b, envbackup.VerifyRead)
		<-began
		if err := f.store.Tx(t.Context(), func(tx *store.Tx) error { _, err := tx.AskToYield(t.Context(), "shop"); return err }); err != nil {
			t.Fatal(err)
		}
		<-began // it made way, found nobody, and went on
		got := f.verified(worker, v.ID, func(v envbackup.Verification) bool { return v.Attempt == 2 && v.State == envbackup.RunRunning })
		if got.Yield {
			t.Error("it is asked to make way for ever")
		}
		elsewhere := f.queue(&fake{}, nil)
		if err := elsewhere.CancelVerification(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
		if got := f.verified(elsewhere, v.ID, isOver); got.State != envbackup.RunCancelled || got.Failure.Code != envbackup.CodeCancelled {
			t.Errorf("cancelled = %s %+v", got.State, got.Failure)
		}
		if err := elsewhere.CancelVerification(t.Context(), v.ID); envbackup.CodeOf(err) != envbackup.CodeConflict {
			t.Errorf("second cancel = %v, want a conflict", err)
		}
		waiting := f.verify(elsewhere, f.backup(s, 1, nil), envbackup.VerifyRead)
		if err := elsewhere.CancelVerification(t.Context(), waiting.ID); err != nil {
			t.Fatal(err)
		}
		if got, err := f.store.Verification(t.Context(), waiting.ID); err != nil || !got.State.Final() && got.State != envbackup.RunRunning {
			t.Errorf("cancelled while it waited: %+v, %v", got, err)
		}
	})
}

// A stop of the daemon interrupts a verification at once, and the next start
// takes it up. One that used up its time ends, and says what to raise.
func TestVerificationStopsAndRunsOut(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		s := f.schedule("shop", nil)
		b := f.backup(s, 0, nil)
		began := make(chan struct{}, 10)
		block := func(ctx context.Context, _ envbackup.Verification, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
			began <- struct{}{}
			<-ctx.Done()
			return envbackup.Outcome{}, ctx.Err()
		}
		first := f.queue(&fake{verify: block}, func(c *Config) { c.Drain = time.Hour })
		stop := f.start(first)
		v := f.verify(first, b, envbackup.VerifyRead)
		<-began
		stop() // returns at once, in spite of the hour
		got, err := f.store.Verification(t.Context(), v.ID)
		if err != nil || got.State != envbackup.RunQueued || got.Lost != 0 {
			t.Fatalf("after the stop: %+v, %v", got, err)
		}
		second := f.queue(&fake{}, nil)
		stop = f.start(second)
		if got := f.verified(second, v.ID, isOver); got.State != envbackup.RunSucceeded || got.Attempt != 2 {
			t.Errorf("after the next start: %s, attempt %d", got.State, got.Attempt)
		}

		stop()
		late := envbackup.Verification{BackupID: b.ID, Level: envbackup.VerifyRestore, Trigger: envbackup.TriggerManual, MaxDuration: time.Hour, Spent: time.Hour}
		third := f.queue(&fake{verify: block}, nil)
		f.start(third)
		if err := third.EnqueueVerification(t.Context(), &late); err != nil {
			t.Fatal(err)
		}
		over := f.verified(third, late.ID, isOver)
		if over.State != envbackup.RunFailed || over.Failure.Code != envbackup.CodeTimedOut || !strings.Contains(over.Failure.Message, "1h0m0s") ||
			!strings.Contains(over.Failure.Hint, "verify.max_duration") {
			t.Errorf("out of time: %s %+v", over.State, over.Failure)
		}
	})
}

// After a run, the newest complete backup is verified where the newest
// verified one is older than verify.every, once, for each destination by
// itself; else nothing is.
func TestScheduleOrdersVerifications(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		const every = 7 * 24
		for name, test := range map[string]struct {
			verified []int // hours before the newest backup
			newest   envbackup.BackupStatus
			verify   *envbackup.VerifySpec
			want     int
		}{
			"none is verified":                    {nil, envbackup.BackupComplete, &envbackup.VerifySpec{}, 1},
			"the verified one is old":             {[]int{every, every + 1}, envbackup.BackupComplete, &envbackup.VerifySpec{}, 1},
			"an hour of daylight saving time":     {[]int{every - 1}, envbackup.BackupComplete, &envbackup.VerifySpec{}, 1},
			"the verified one is young":           {[]int{every - 2}, envbackup.BackupComplete, &envbackup.VerifySpec{}, 0},
			"the newest one is verified":          {[]int{0}, envbackup.BackupComplete, &envbackup.VerifySpec{}, 0},
			"of a schedule that does not ask":     {nil, envbackup.BackupComplete, nil, 0},
			"every day":                           {[]int{24}, envbackup.BackupComplete, &envbackup.VerifySpec{Every: "1d", Level: "restore", MaxDuration: "5m"}, 1},
			"a partial one is not worth it":       {nil, envbackup.BackupPartial, &envbackup.VerifySpec{}, 0},
			"what no release can read is skipped": {nil, envbackup.BackupComplete, &envbackup.VerifySpec{Every: "sometimes"}, 0},
		} {
			t.Run(name, func(t *testing.T) {
				f := f
				f.t = t
				s := f.schedule("shop-"+strings.ReplaceAll(strings.ToLower(name), " ", "-"), func(s *envbackup.ScheduleSpec) { s.Verify = test.verify })
				newest := f.backup(s, 0, func(b *envbackup.Backup) { b.Status = test.newest })
				for _, hours := range test.verified {
					old := newest
					if hours > 0 {
						old = f.backup(s, -hours, func(b *envbackup.Backup) { b.Nominal = newest.Nominal.Add(-time.Duration(hours) * time.Hour) })
					}
					if err := f.store.MarkVerified(t.Context(), old.ID, time.Now()); err != nil {
						t.Fatal(err)
					}
				}
				q := f.queue(&fake{}, nil)
				end := func(later time.Duration) {
					t.Helper()
					run := envbackup.Run{State: envbackup.RunSucceeded, ScheduleID: s.ID, Destinations: []envbackup.RunDestination{
						{DestinationID: s.DestinationIDs[0], Destination: s.Destinations[0], BackupID: newest.ID},
						{DestinationID: "dst_failed", State: envbackup.RunFailed},
					}}
					if err := f.store.Tx(t.Context(), func(tx *store.Tx) error { return q.orderVerifications(t.Context(), tx, run, time.Now().Add(later)) }); err != nil {
						t.Fatal(err)
					}
				}
				end(0)
				got := f.orders(s)
				if len(got) != test.want {
					t.Fatalf("%d verifications, want %d", len(got), test.want)
				}
				if test.want == 0 {
					return
				}
				spec := test.verify.WithDefaults()
				if v := got[0]; v.BackupID != newest.ID || string(v.Level) != spec.Level || v.Trigger != envbackup.TriggerSchedule || v.State != envbackup.RunQueued ||
					v.MaxDuration != map[string]time.Duration{"2h": 2 * time.Hour, "5m": 5 * time.Minute}[spec.MaxDuration] || v.DestinationID != s.DestinationIDs[0] {
					t.Errorf("ordered %+v", v)
				}
				end(0)
				if again := f.orders(s); len(again) != 1 {
					t.Errorf("ordered %d times", len(again))
				}
				// Failed because the network did: with the next run; for a
				// reason that stays: a day later.
				v := got[0]
				for i, failed := range []struct {
					code  envbackup.Code
					later time.Duration
					want  int
				}{{envbackup.CodeUnreachable, 0, 2}, {envbackup.CodeTimedOut, 22 * time.Hour, 2}, {envbackup.CodeTimedOut, 24 * time.Hour, 3}} {
					v = f.orders(s)[0]
					v.State, v.FinishedAt, v.Failure = envbackup.RunFailed, stamp(time.Now()), &envbackup.Failure{Code: failed.code}
					if err := f.store.Tx(t.Context(), func(tx *store.Tx) error { _, err := tx.SaveVerification(t.Context(), v, v.JobID); return err }); err != nil {
						t.Fatal(err)
					}
					end(failed.later)
					if again := f.orders(s); len(again) != failed.want {
						t.Errorf("failure %d, %s, %s later: %d verifications, want %d", i, failed.code, failed.later, len(again), failed.want)
					}
				}
			})
		}
	})
}

// End to end through the queue: a run orders its verification and it is
// executed in the background, one at a time; what was ordered turns to the
// newest backup when it begins, and ends without a trace of failure when that
// one is verified already or gone.
func TestOrderedVerificationTakesTheNewest(t *testing.T) {
	each(t, func(t *testing.T, f fixture) {
		ask := func(s *envbackup.ScheduleSpec) { s.Verify = &envbackup.VerifySpec{} }
		s, other := f.schedule("shop", ask), f.schedule("mail", ask)
		var mu sync.Mutex
		var order []string
		inside := 0
		began, release := make(chan string, 10), make(chan struct{})
		x := &fake{
			run: func(_ context.Context, r envbackup.Run, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
				of := s
				if r.Environment == "mail" {
					of = other
				}
				b := f.backup(of, 0, func(b *envbackup.Backup) { b.SnapshotID, b.Nominal = r.ID, r.Nominal })
				out := done()
				out.Destinations = []envbackup.RunDestination{{DestinationID: of.DestinationIDs[0], State: envbackup.RunSucceeded, BackupID: b.ID}}
				return out, nil
			},
			verify: func(ctx context.Context, v envbackup.Verification, _ func(envbackup.Progress)) (envbackup.Outcome, error) {
				mu.Lock()
				inside++
				if inside > 1 {
					t.Error("two that schedules ask for at once")
				}
				order = append(order, v.BackupID)
				mu.Unlock()
				began <- v.Environment
				<-release
				mu.Lock()
				inside--
				mu.Unlock()
				return done(), errors.Join(ctx.Err(), f.store.MarkVerified(context.WithoutCancel(ctx), v.BackupID, time.Now()))
			},
		}
		q := f.queue(x, fast)
		f.start(q)
		f.ended(q, f.enqueue(q, s, nil).ID)
		if e := <-began; e != "shop" {
			t.Fatalf("verifies %s", e)
		}
		f.ended(q, f.enqueue(q, other, nil).ID) // ordered, and waits for its seat
		newest := f.backup(other, 1, nil)
		close(release)
		<-began
		for _, s := range []envbackup.Schedule{s, other} {
			if got := f.verified(q, f.orders(s)[0].ID, isOver); got.State != envbackup.RunSucceeded {
				t.Errorf("%s: %s %+v", s.Environment, got.State, got.Failure)
			}
		}
		mu.Lock()
		if len(order) != 2 || order[1] != newest.ID {
			t.Errorf("verified %v, want %s last", order, newest.ID)
		}
		mu.Unlock()

		for what, end := range map[string]func(b envbackup.Backup) error{
			"verified meanwhile": func(b envbackup.Backup) error { return f.store.MarkVerified(t.Context(), b.ID, time.Now()) },
			"removed before":     func(b envbackup.Backup) error { return f.store.DropBackups(t.Context(), []string{b.ID}) },
		} {
			idle := f.schedule("idle-"+what[:7], nil)
			b := f.backup(idle, 0, nil)
			if err := end(b); err != nil {
				t.Fatal(err)
			}
			v := envbackup.Verification{
				BackupID: b.ID, ScheduleID: idle.ID, Environment: idle.Environment, DestinationID: b.DestinationID,
				Level: envbackup.VerifyRead, Trigger: envbackup.TriggerSchedule, State: envbackup.RunQueued,
			}
			if err := f.store.Tx(t.Context(), func(tx *store.Tx) error { return tx.InsertVerification(t.Context(), &v) }); err != nil {
				t.Fatal(err)
			}
			if got := f.verified(q, v.ID, isOver); got.State != envbackup.RunCancelled || !strings.Contains(got.Failure.Message, what) {
				t.Errorf("%s: %s %+v", what, got.State, got.Failure)
			}
		}
	})
}
