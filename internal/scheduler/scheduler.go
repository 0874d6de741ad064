// Package scheduler keeps the standing orders: it creates, edits, pauses and
// deletes schedules, decides their due slots and enters them in the ledger,
// and makes the runs that follow (SEMANTICS S1 to S4, S7 to S12). What becomes
// of an instant is computed by slots; executing a run, its retries and its
// deadline are queue's.
//
// Each slot is claimed by inserting its row in the transaction that moves its
// schedule's decided_until and makes its run, so any number of daemons may
// tick and a crash between two statements leaves nothing.
package scheduler

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// Enqueuer takes runs.
type Enqueuer interface {
	// EnqueueRunTx adds a run in the transaction.
	EnqueueRunTx(ctx context.Context, tx *store.Tx, r *envbackup.Run) error
}

// Config is how a Service works; the zero value is usable.
type Config struct {
	Poll time.Duration // between ticks, default 1 s
	// Worker is this daemon's name: its clock is watched apart from others'.
	Worker string
	Log    *slog.Logger // default: nothing is logged
}

// Service is the scheduler. All methods may be called concurrently.
type Service struct {
	store *store.Store
	queue Enqueuer
	cfg   Config
	clock clockWatch
}

// New makes a scheduler over st that hands its runs to q.
func New(st *store.Store, q Enqueuer, cfg Config) *Service {
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{store: st, queue: q, cfg: cfg, clock: clockWatch{key: "clock/" + cfg.Worker}}
}

// batch is how many schedules one transaction decides. More would keep the
// one writer of SQLite from workers and requests for too long.
const batch = 500

// Run ticks until ctx is done, which it reports as success. A tick that fails
// is logged and repeated.
func (s *Service) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.Poll)
	defer ticker.Stop()
	for {
		if err := s.Tick(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.cfg.Log.ErrorContext(ctx, "scheduler tick failed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Tick decides every slot that is due at now. One broken schedule does not
// hold up the others; all errors are returned together.
func (s *Service) Tick(ctx context.Context, now time.Time) error {
	now = now.UTC()
	if err := s.watchClock(ctx, now); err != nil {
		return err
	}
	for {
		n, err := s.tickBatch(ctx, now)
		if err != nil {
			return s.tickEach(ctx, now, err)
		}
		if n < batch {
			return nil
		}
	}
}

func (s *Service) tickBatch(ctx context.Context, now time.Time) (n int, err error) {
	err = s.store.Tx(ctx, func(tx *store.Tx) error {
		due, err := tx.DueSchedules(ctx, now, batch)
		if err != nil {
			return err
		}
		n = len(due)
		for _, sched := range due {
			if _, err := s.decide(ctx, tx, sched, now); err != nil {
				return err
			}
		}
		return nil
	})
	return n, err
}

// tickEach decides the due schedules one transaction each, after a batch
// failed with cause, and puts off those that fail so that they do not come
// first for ever.
func (s *Service) tickEach(ctx context.Context, now time.Time, cause error) error {
	var due []envbackup.Schedule
	err := s.store.Tx(ctx, func(tx *store.Tx) (err error) {
		due, err = tx.DueSchedules(ctx, now, batch)
		return err
	})
	if err != nil {
		return errors.Join(cause, err)
	}
	var errs []error
	for _, seen := range due {
		err := s.store.Tx(ctx, func(tx *store.Tx) error {
			sched, err := tx.Schedule(ctx, seen.ID)
			if err != nil {
				return err
			}
			_, err = s.decide(ctx, tx, sched, now)
			return err
		})
		if err == nil || envbackup.CodeOf(err) == envbackup.CodeNotFound {
			continue
		}
		errs = append(errs, fmt.Errorf("schedule %s: %w", seen.Reference(), err))
		errs = append(errs, s.store.Tx(ctx, func(tx *store.Tx) error {
			return tx.DecideUntil(ctx, seen.ID, seen.DecidedUntil, seen.NextAt, now.Add(putOff))
		}))
	}
	return errors.Join(errs...)
}

// putOff is how long a schedule rests that cannot be decided.
const putOff = time.Minute

// decide enters the due slots of a schedule in the ledger, makes the run of
// the one that runs, and moves the schedule on. It returns the schedule as it
// is then.
func (s *Service) decide(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, now time.Time) (envbackup.Schedule, error) {
	timing, err := slots.Of(sched)
	if err != nil {
		return sched, err
	}
	d, err := timing.Decide(sched.DecidedUntil, now)
	if err != nil {
		return sched, err
	}
	if err := s.enter(ctx, tx, sched, timing, d, now); err != nil {
		return sched, err
	}
	sched.DecidedUntil, sched.NextAt, sched.DueAt = d.DecidedUntil, d.NextAt, d.DueAt
	if timing.Paused {
		sched.NextAt = time.Time{}
	}
	return sched, tx.DecideUntil(ctx, sched.ID, sched.DecidedUntil, sched.NextAt, sched.DueAt)
}

// enter writes a decision into the ledger. Rows without a run that are newer
// than the run come after it.
func (s *Service) enter(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, timing *slots.Timing, d slots.Decision, now time.Time) error {
	rows := d.Rows
	for len(rows) > 0 && (d.Run == nil || rows[0].Nominal.Before(d.Run.Nominal)) {
		if err := appendRow(ctx, tx, sched, rows[0], now); err != nil {
			return err
		}
		rows = rows[1:]
	}
	if d.Run != nil {
		if err := s.runSlot(ctx, tx, sched, timing, *d.Run, now); err != nil {
			return err
		}
	}
	for _, row := range rows {
		if err := appendRow(ctx, tx, sched, row, now); err != nil {
			return err
		}
	}
	return nil
}

func appendRow(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, row envbackup.Slot, now time.Time) error {
	row.ScheduleID, row.DecidedAt = sched.ID, now
	_, err := tx.AppendSlots(ctx, row, eraOf(sched))
	return err
}

// runSlot claims a slot and makes its run, unless overlap forbids it (S3).
func (s *Service) runSlot(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, timing *slots.Timing, due slots.Due, now time.Time) error {
	slot := envbackup.Slot{ScheduleID: sched.ID, Nominal: due.Nominal, Until: due.Nominal, Count: 1, DecidedAt: now}
	blocker, err := s.makeRoom(ctx, tx, sched, timing, due.Nominal, now)
	if err != nil {
		return err
	}
	if blocker != "" {
		slot.Outcome, slot.Reason = envbackup.SlotSkippedOverlap, "run "+blocker+" had not ended"
		_, err := tx.InsertSlot(ctx, slot)
		return err
	}
	trigger := envbackup.TriggerSchedule
	if due.CatchUp {
		trigger = envbackup.TriggerCatchUp
	}
	return s.insert(ctx, tx, sched, timing, slot, trigger, due.At)
}

// insert claims a slot and makes its run; a slot that was claimed before is
// left alone (S1).
func (s *Service) insert(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, timing *slots.Timing, slot envbackup.Slot, trigger envbackup.Trigger, dueAt time.Time) error {
	slot.RunID = store.NewRunID()
	claimed, err := tx.InsertSlot(ctx, slot)
	if err != nil || !claimed {
		return err
	}
	_, err = s.makeRun(ctx, tx, sched, timing, envbackup.Run{ID: slot.RunID, Trigger: trigger, Nominal: slot.Nominal, DueAt: dueAt})
	return err
}

// makeRun completes r from its schedule and hands it to the queue.
func (s *Service) makeRun(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, timing *slots.Timing, r envbackup.Run) (envbackup.Run, error) {
	e, err := tx.Environment(ctx, sched.EnvironmentID)
	if err != nil {
		return r, err
	}
	r.ScheduleID, r.Schedule = sched.ID, sched.Name
	r.EnvironmentID, r.Environment, r.Worker = e.ID, e.Name, e.Worker
	r.StartBy = r.DueAt.Add(timing.StartDeadline)
	if err := s.queue.EnqueueRunTx(ctx, tx, &r); err != nil {
		return r, fmt.Errorf("enqueue run of schedule %s: %w", sched.Reference(), err)
	}
	return r, nil
}

// makeRoom looks at the schedule's own runs before a new slot (S3, S6): one
// that waits for its next attempt gives up; under "queue" one that has not
// started gives way to the newer slot; otherwise the first that goes on is
// returned and the new slot is skipped.
func (s *Service) makeRoom(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, timing *slots.Timing, nominal, now time.Time) (blocker string, err error) {
	open, err := tx.OpenRuns(ctx, sched.ID)
	if err != nil {
		return "", err
	}
	for _, r := range open {
		switch {
		case !r.Trigger.OfSlot():
		case r.State == envbackup.RunQueued && r.Attempt > 0:
			if err := endWaiting(ctx, tx, r, envbackup.RunFailed, r.Failure, now); err != nil {
				return "", err
			}
		case !timing.QueueOverlap:
			blocker = r.ID
		case r.State == envbackup.RunQueued:
			reason := "covered by the slot of " + nominal.Format(time.RFC3339)
			if err := tx.EndSlot(ctx, r.ID, envbackup.SlotCoalesced, reason); err != nil {
				return "", err
			}
			failure := &envbackup.Failure{Code: envbackup.CodeCancelled, Message: reason}
			if err := endWaiting(ctx, tx, r, envbackup.RunCancelled, failure, now); err != nil {
				return "", err
			}
		}
	}
	return blocker, nil
}

// endWaiting ends a run that waits. Its job, if it has one, finds it ended.
func endWaiting(ctx context.Context, tx *store.Tx, r envbackup.Run, state envbackup.RunState, failure *envbackup.Failure, now time.Time) error {
	fence := r.JobID
	r.State, r.Failure, r.FinishedAt, r.NextAttemptAt = state, failure, now.UTC(), time.Time{}
	r.Progress.Phase = envbackup.PhaseFinished
	_, err := tx.SaveRun(ctx, r, fence)
	return err
}
