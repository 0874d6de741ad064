package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// claimRun makes the run of a job ours: false means that the job is spent,
// because the run is not its any more, has to wait, or may not start.
func (q *Queue) claimRun(ctx context.Context, id string, job int64, now time.Time) (envbackup.Run, bool, error) {
	seen, err := q.store.Run(ctx, id)
	if err != nil {
		return envbackup.Run{}, false, ignoreMissing(err)
	}
	var claimed envbackup.Run
	var ok bool
	var yielding []string
	err = q.store.Tx(ctx, func(tx *store.Tx) error {
		ok, yielding = false, nil
		if err := tx.LockEnvironment(ctx, seen.Environment); err != nil {
			return err
		}
		r, err := tx.Run(ctx, id)
		if err != nil {
			return err
		}
		if r.JobID != job || r.State != envbackup.RunQueued {
			return nil
		}
		if ended, err := q.refuseStart(ctx, tx, r, now); ended || err != nil {
			return err
		}
		if wait, err := q.mustWait(ctx, tx, store.Work{Kind: store.WorkRun, ID: id}, r.Environment, now); err != nil {
			return err
		} else if wait {
			r.JobID = 0
			_, err := tx.SaveRun(ctx, r, job)
			return err
		}
		claimed, ok = r, true
		if yielding, err = tx.AskToYield(ctx, r.Environment); err != nil {
			return err
		}
		return q.startRun(ctx, tx, &claimed, now)
	})
	if err == nil {
		q.yieldLocal(yielding)
	}
	return claimed, ok, err
}

func ignoreMissing(err error) error {
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return nil
	}
	return err
}

// refuseStart ends a run that may not start any more (S4), or not again (S6,
// S13).
func (q *Queue) refuseStart(ctx context.Context, tx *store.Tx, r envbackup.Run, now time.Time) (bool, error) {
	if r.Attempt == 0 {
		if r.StartBy.IsZero() || !now.After(r.StartBy) {
			return false, nil
		}
		return true, q.missRun(ctx, tx, r, now)
	}
	if !r.Trigger.OfSlot() {
		return false, nil
	}
	// A retry that waited out a downtime: the next slot may have come.
	timing, err := timingOf(ctx, tx, r)
	if err != nil {
		return false, err
	}
	if timing != nil {
		if _, due, err := timing.Next(r.Nominal); err == nil && now.Before(due) {
			return false, nil
		}
		if timing.CatchesUp(r.Nominal, r.DueAt, now) {
			return false, nil
		}
	}
	return true, q.closeRun(ctx, tx, r, envbackup.RunFailed, r.Failure, now)
}

// missRun ends a run that did not start in time.
func (q *Queue) missRun(ctx context.Context, tx *store.Tx, r envbackup.Run, now time.Time) error {
	reason := fmt.Sprintf("not started by %s", r.StartBy.UTC().Format(time.RFC3339))
	if busy, ok, err := tx.Writer(ctx, r.Environment); err != nil {
		return err
	} else if ok {
		reason += fmt.Sprintf(": %s %s held the environment", busy.Kind, busy.ID)
	}
	failure := &envbackup.Failure{Code: envbackup.CodeCancelled, Message: reason, Hint: "raise start_deadline, or look at what ran so long"}
	if err := tx.EndSlot(ctx, r.ID, envbackup.SlotMissed, reason); err != nil {
		return err
	}
	return q.closeRun(ctx, tx, r, envbackup.RunCancelled, failure, now)
}

// closeRun ends a run that does not execute, and lets the next one come.
func (q *Queue) closeRun(ctx context.Context, tx *store.Tx, r envbackup.Run, state envbackup.RunState, failure *envbackup.Failure, now time.Time) error {
	r.State, r.Failure, r.FinishedAt, r.NextAttemptAt = state, failure, stamp(now), time.Time{}
	r.Progress.Phase = envbackup.PhaseFinished
	if _, err := tx.SaveRun(ctx, r, r.JobID); err != nil {
		return err
	}
	// A slot whose run never started was missed; one that started keeps "ran".
	if err := tx.EndSlot(ctx, r.ID, envbackup.SlotMissed, "cancelled before it started"); err != nil {
		return err
	}
	return q.wake(ctx, tx, r.Environment, now)
}

// mustWait reports whether work has to wait for its environment: something
// executes there, or something else is due longer. The latter gets a job if it
// has none, so that the two never wait for each other.
func (q *Queue) mustWait(ctx context.Context, tx *store.Tx, w store.Work, environment string, now time.Time) (bool, error) {
	if _, busy, err := tx.Writer(ctx, environment); err != nil || busy {
		return busy, err
	}
	next, ok, err := tx.NextWaiting(ctx, environment, q.cfg.Worker, now)
	if err != nil || !ok || next == w {
		return false, err
	}
	var hasJob bool
	if next.Kind == store.WorkRestore {
		r, err := tx.Restore(ctx, next.ID)
		if err != nil {
			return false, err
		}
		hasJob = r.JobID != 0
	} else {
		r, err := tx.Run(ctx, next.ID)
		if err != nil {
			return false, err
		}
		hasJob = r.JobID != 0
	}
	if hasJob {
		return true, nil
	}
	return true, q.giveJob(ctx, tx, next, nil)
}

// startRun begins the next attempt of a run.
func (q *Queue) startRun(ctx context.Context, tx *store.Tx, r *envbackup.Run, now time.Time) error {
	now = stamp(now)
	r.State, r.Attempt, r.NextAttemptAt = envbackup.RunRunning, r.Attempt+1, time.Time{}
	r.Node, r.ExecutedBy, r.Failure = q.node, q.cfg.Worker, nil
	r.Progress = envbackup.Progress{Phase: envbackup.PhaseWaiting}
	if r.StartedAt.IsZero() {
		r.StartedAt = now
	}
	if _, err := tx.SaveRun(ctx, *r, r.JobID); err != nil {
		return err
	}
	if err := tx.SaveAttempt(ctx, envbackup.Attempt{RunID: r.ID, Number: r.Attempt, Worker: q.cfg.Worker, StartedAt: now}); err != nil {
		return err
	}
	return tx.EndSlot(ctx, r.ID, envbackup.SlotRan, "")
}

// claimRestore is claimRun for a restore.
func (q *Queue) claimRestore(ctx context.Context, id string, job int64, now time.Time) (envbackup.Restore, bool, error) {
	seen, err := q.store.Restore(ctx, id)
	if err != nil {
		return envbackup.Restore{}, false, ignoreMissing(err)
	}
	var claimed envbackup.Restore
	var ok bool
	var yielding []string
	err = q.store.Tx(ctx, func(tx *store.Tx) error {
		ok, yielding = false, nil
		if err := tx.LockEnvironment(ctx, seen.Environment); err != nil {
			return err
		}
		r, err := tx.Restore(ctx, id)
		if err != nil {
			return err
		}
		if r.JobID != job || r.State != envbackup.RunQueued {
			return nil
		}
		if wait, err := q.mustWait(ctx, tx, store.Work{Kind: store.WorkRestore, ID: id}, r.Environment, now); err != nil {
			return err
		} else if wait {
			r.JobID = 0
			_, err := tx.SaveRestore(ctx, r, job)
			return err
		}
		r.State, r.Node, r.StartedAt = envbackup.RunRunning, q.node, stamp(now)
		claimed, ok = r, true
		if yielding, err = tx.AskToYield(ctx, r.Environment); err != nil {
			return err
		}
		_, err = tx.SaveRestore(ctx, r, job)
		return err
	})
	if err == nil {
		q.yieldLocal(yielding)
	}
	return claimed, ok, err
}

// park gives a job back that was not claimed, so that another process may
// take the work.
func (q *Queue) park(ctx context.Context, w store.Work, job int64) error {
	return q.store.Tx(ctx, func(tx *store.Tx) error {
		if w.Kind == store.WorkVerify {
			return q.parkVerification(ctx, tx, w.ID, job)
		}
		if w.Kind == store.WorkRestore {
			r, err := tx.Restore(ctx, w.ID)
			if err != nil || r.JobID != job || r.State != envbackup.RunQueued {
				return ignoreMissing(err)
			}
			r.JobID = 0
			_, err = tx.SaveRestore(ctx, r, job)
			return err
		}
		r, err := tx.Run(ctx, w.ID)
		if err != nil || r.JobID != job || r.State != envbackup.RunQueued {
			return ignoreMissing(err)
		}
		r.JobID = 0
		_, err = tx.SaveRun(ctx, r, job)
		return err
	})
}

// timingOf returns the timing of a run's schedule, nil where the schedule is
// gone.
func timingOf(ctx context.Context, tx *store.Tx, r envbackup.Run) (*slots.Timing, error) {
	if r.ScheduleID == "" {
		return nil, nil //nolint:nilnil // no schedule has no timing
	}
	s, err := tx.Schedule(ctx, r.ScheduleID)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, err
	}
	timing, err := slots.Of(s)
	if err != nil {
		return nil, fmt.Errorf("schedule %s: %w", s.Reference(), err)
	}
	return timing, nil
}
