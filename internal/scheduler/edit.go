package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// Create adds a schedule, whose specification passed preflight, and takes the
// first backup at once unless it says otherwise (S11). It fills Meta, ids and
// the times of decision. CodeInvalid names an environment or destination that
// does not exist, CodeConflict a name that is taken.
func (s *Service) Create(ctx context.Context, sched *envbackup.Schedule, now time.Time) error {
	now = stamp(now)
	if err := s.watchClock(ctx, now); err != nil {
		return err
	}
	return s.store.Tx(ctx, func(tx *store.Tx) error {
		sched.DecidedUntil = now
		if err := tx.InsertSchedule(ctx, sched, now); err != nil {
			return err
		}
		// The jitter hangs on the id, which is known only now.
		timing, err := slots.Of(*sched)
		if err != nil {
			return invalid(err)
		}
		if err := s.moveOn(ctx, tx, sched, timing); err != nil {
			return err
		}
		if !sched.RunsOnCreate() {
			return nil
		}
		return s.insert(ctx, tx, *sched, timing, slotNow(sched.ID, now), envbackup.TriggerCreate, now)
	})
}

// slotNow is the slot of a run that is made outside the cron expression.
func slotNow(scheduleID string, now time.Time) envbackup.Slot {
	return envbackup.Slot{ScheduleID: scheduleID, Nominal: now, Until: now, Count: 1, DecidedAt: now}
}

// invalid wraps what slots.Of found; a caller that ran preflight never sees it.
func invalid(err error) error {
	return &envbackup.Error{Code: envbackup.CodeInvalid, Message: err.Error(), Err: err}
}

// stamp is t as the store keeps it.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

// moveOn sets the next slot from DecidedUntil.
func (s *Service) moveOn(ctx context.Context, tx *store.Tx, sched *envbackup.Schedule, timing *slots.Timing) error {
	next, due, err := timing.Next(sched.DecidedUntil)
	if err != nil {
		return err
	}
	sched.NextAt, sched.DueAt = next, due
	if sched.Paused {
		sched.NextAt = time.Time{}
	}
	return tx.DecideUntil(ctx, sched.ID, sched.DecidedUntil, sched.NextAt, sched.DueAt)
}

// Update replaces the specification and owner of sched.ID. Slots that were due
// under the old one are decided first; new ones count from now on. It starts
// a run only when the next slot would lie too far from the last good backup
// (S11).
func (s *Service) Update(ctx context.Context, sched *envbackup.Schedule, ifVersion int64, now time.Time) error {
	return s.edit(ctx, sched.ID, ifVersion, now, func(old envbackup.Schedule) envbackup.Schedule {
		next := old
		next.ScheduleSpec, next.Owner = sched.ScheduleSpec, sched.Owner
		return next
	}, sched)
}

// Pause stops a schedule: its slots are recorded as paused, and a run of it
// that waits does not start (S9). Pausing twice is no error.
func (s *Service) Pause(ctx context.Context, id string, now time.Time) error {
	return s.setPaused(ctx, id, true, now)
}

// Resume starts a schedule again. Nothing is caught up (S9).
func (s *Service) Resume(ctx context.Context, id string, now time.Time) error {
	return s.setPaused(ctx, id, false, now)
}

func (s *Service) setPaused(ctx context.Context, id string, paused bool, now time.Time) error {
	sched, err := s.store.Schedule(ctx, id)
	if err != nil {
		return err
	}
	if sched.Paused == paused {
		return nil
	}
	return s.edit(ctx, sched.ID, 0, now, func(old envbackup.Schedule) envbackup.Schedule {
		old.Paused = paused
		return old
	}, &envbackup.Schedule{})
}

// edit changes a schedule in one transaction and stores the result in out.
func (s *Service) edit(ctx context.Context, id string, ifVersion int64, now time.Time, change func(envbackup.Schedule) envbackup.Schedule, out *envbackup.Schedule) error {
	now = stamp(now)
	if err := s.watchClock(ctx, now); err != nil {
		return err
	}
	return s.store.Tx(ctx, func(tx *store.Tx) error {
		old, err := tx.Schedule(ctx, id)
		if err != nil {
			return err
		}
		if old, err = s.decide(ctx, tx, old, now); err != nil {
			// A schedule that cannot be decided must be editable, or it could
			// never be mended.
			s.cfg.Log.WarnContext(ctx, "slots not decided before an edit", "schedule", old.Reference(), "error", err)
		}
		next := change(old)
		if !next.Retention.Equal(old.Retention) || next.Zone() != old.Zone() {
			next.PolicyEditedAt = now
		}
		if now.After(next.DecidedUntil) {
			next.DecidedUntil = now
		}
		timing, err := slots.Of(next)
		if err != nil {
			return invalid(err)
		}
		if err := tx.UpdateSchedule(ctx, &next, ifVersion, now); err != nil {
			return err
		}
		if err := s.moveOn(ctx, tx, &next, timing); err != nil {
			return err
		}
		*out = next
		switch {
		case next.Paused && !old.Paused:
			return s.endWaitingRuns(ctx, tx, next.ID, envbackup.SlotPaused, "the schedule was paused", now)
		case next.Paused:
			return nil
		default:
			return s.closeGap(ctx, tx, next, timing, now)
		}
	})
}

// endWaitingRuns ends the slots' runs of a schedule that wait.
func (s *Service) endWaitingRuns(ctx context.Context, tx *store.Tx, scheduleID string, outcome envbackup.SlotOutcome, reason string, now time.Time) error {
	open, err := tx.OpenRuns(ctx, scheduleID)
	if err != nil {
		return err
	}
	for _, r := range open {
		if r.State != envbackup.RunQueued || !r.Trigger.OfSlot() {
			continue
		}
		state, failure := envbackup.RunCancelled, &envbackup.Failure{Code: envbackup.CodeCancelled, Message: reason}
		if r.Attempt > 0 {
			state, failure = envbackup.RunFailed, r.Failure
		}
		if err := tx.EndSlot(ctx, r.ID, outcome, reason); err != nil {
			return err
		}
		if err := endWaiting(ctx, tx, r, state, failure, now); err != nil {
			return err
		}
	}
	return nil
}

// closeGap runs an edited schedule at once when its next run lies further from
// the last good backup than the worst-case gap that its plan shows (S11). In a
// blackout window nothing starts, so there the next run has to do (S8).
func (s *Service) closeGap(ctx context.Context, tx *store.Tx, sched envbackup.Schedule, timing *slots.Timing, now time.Time) error {
	last, err := tx.LastGood(ctx, sched.ID)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	worst := timing.WorstGap()
	if worst.Few() || !timing.Allows(now) {
		return nil
	}
	next, err := timing.Rhythm().NextN(sched.DecidedUntil, timing.Loc, 1)
	if err != nil {
		return err
	}
	// A backup is as old as what it read: one that was deferred, or had to wait,
	// is younger than its slot.
	taken := last.Nominal
	if last.StartedAt.After(taken) {
		taken = last.StartedAt
	}
	if len(next) > 0 && next[0].Start.Sub(taken) <= worst.Longest {
		return nil
	}
	blocker, err := s.makeRoom(ctx, tx, sched, timing, now, now)
	if err != nil || blocker != "" {
		return err
	}
	return s.insert(ctx, tx, sched, timing, slotNow(sched.ID, now), envbackup.TriggerCatchUp, now)
}

// Delete removes a schedule. Its backups, runs and slots stay (R11); a run
// that waits is cancelled, one that executes goes on.
func (s *Service) Delete(ctx context.Context, id string, ifVersion int64) error {
	now := stamp(time.Now())
	return s.store.Tx(ctx, func(tx *store.Tx) error {
		sched, err := tx.Schedule(ctx, id)
		if err != nil {
			return err
		}
		if err := tx.DeleteSchedule(ctx, sched.ID, ifVersion); err != nil {
			return err
		}
		return s.endWaitingRuns(ctx, tx, sched.ID, envbackup.SlotMissed, "the schedule was deleted", now)
	})
}

// RunNow makes a manual run, which is no slot's (S10). CodeBusy: something
// executes or waits in the environment, and wait is false.
func (s *Service) RunNow(ctx context.Context, id string, wait bool, actor string, now time.Time) (envbackup.Run, error) {
	now = stamp(now)
	var run envbackup.Run
	err := s.store.Tx(ctx, func(tx *store.Tx) error {
		sched, err := tx.Schedule(ctx, id)
		if err != nil {
			return err
		}
		if !wait {
			if err := checkFree(ctx, tx, sched.Environment, now); err != nil {
				return err
			}
		}
		timing, err := slots.Of(sched)
		if err != nil {
			return invalid(err)
		}
		run, err = s.makeRun(ctx, tx, sched, timing, envbackup.Run{Trigger: envbackup.TriggerManual, Nominal: now, DueAt: now})
		return err
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "manual run", "run", run.ID, "schedule", run.Environment+"/"+run.Schedule, "actor", actor)
	}
	return run, err
}

func checkFree(ctx context.Context, tx *store.Tx, environment string, now time.Time) error {
	if err := tx.LockEnvironment(ctx, environment); err != nil {
		return err
	}
	work, busy, err := tx.Writer(ctx, environment)
	if err == nil && !busy {
		work, busy, err = tx.NextWaiting(ctx, environment, "*", now)
	}
	if err != nil || !busy {
		return err
	}
	return &envbackup.Error{
		Code:    envbackup.CodeBusy,
		Message: fmt.Sprintf("%s %s holds the environment %q", work.Kind, work.ID, environment),
		Hint:    "wait for it to end, or ask for the run to wait",
	}
}
