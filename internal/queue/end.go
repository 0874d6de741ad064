package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// result is how an attempt ended.
type result struct {
	outcome  envbackup.Outcome
	err      error
	at       time.Time
	progress envbackup.Progress
}

// lastRetryEvery is the wait between attempts once the retries are used up,
// while the slot can still be caught up (S6).
const lastRetryEvery = 6 * time.Hour

// endAttempt records how the running attempt of r ended, decides whether
// another follows, and lets the next work of the environment come.
func (q *Queue) endAttempt(ctx context.Context, tx *store.Tx, r *envbackup.Run, res result) error {
	at, fence := stamp(res.at), r.JobID
	state, failure := res.outcome.State, failureOf(res)
	if res.err != nil {
		state = envbackup.RunFailed
		if failure.Code == envbackup.CodeCancelled {
			state = envbackup.RunCancelled
		}
	} else if !state.Final() {
		state, failure = envbackup.RunFailed, &envbackup.Failure{
			Code: envbackup.CodeInternal, Message: fmt.Sprintf("the attempt ended in the state %q", state)}
	}
	err := tx.SaveAttempt(ctx, envbackup.Attempt{
		RunID: r.ID, Number: r.Attempt, Worker: r.ExecutedBy, StartedAt: r.StartedAt, FinishedAt: at, Failure: failure,
	})
	if err != nil {
		return err
	}
	if res.outcome.Destinations != nil {
		r.Destinations = res.outcome.Destinations
	}
	if res.outcome.Warnings != nil {
		r.Warnings = res.outcome.Warnings
	}
	if res.outcome.FilesDone != 0 || res.outcome.BytesDone != 0 {
		r.Progress.FilesDone, r.Progress.BytesDone = res.outcome.FilesDone, res.outcome.BytesDone
	}
	r.State, r.Failure, r.FinishedAt = state, failure, at
	r.Progress.Phase, r.Progress.Current = envbackup.PhaseFinished, ""
	if res.err != nil && state == envbackup.RunFailed {
		next, again, err := q.retryAt(ctx, tx, *r, failure.Code, at)
		if err != nil {
			return err
		}
		switch {
		case !again && res.outcome.State == envbackup.RunPartial:
			r.State = envbackup.RunPartial // what was reached elsewhere stays (S14)
		case again:
			r.State, r.NextAttemptAt, r.FinishedAt, r.JobID = envbackup.RunQueued, next, time.Time{}, 0
			r.Progress = envbackup.Progress{Phase: envbackup.PhaseWaiting}
		}
	}
	if _, err := tx.SaveRun(ctx, *r, fence); err != nil {
		return err
	}
	return q.wake(ctx, tx, r.Environment, at)
}

// failureOf says why an attempt failed; nil for one that did not.
func failureOf(res result) *envbackup.Failure {
	if res.err != nil {
		return envbackup.FailureOf(res.err)
	}
	if res.outcome.State == envbackup.RunSucceeded {
		return nil
	}
	for _, d := range res.outcome.Destinations {
		if d.Failure != nil {
			return d.Failure
		}
	}
	return nil
}

// retryAt decides about the attempt after one that failed with code (S6,
// S13). What was shut down does not count: nobody failed.
func (q *Queue) retryAt(ctx context.Context, tx *store.Tx, r envbackup.Run, code envbackup.Code, now time.Time) (time.Time, bool, error) {
	if !code.Retryable() || r.CancelRequested {
		return time.Time{}, false, nil
	}
	timing, err := timingOf(ctx, tx, r)
	if err != nil || timing == nil {
		return time.Time{}, false, err
	}
	attempts, err := tx.Attempts(ctx, r.ID)
	if err != nil {
		return time.Time{}, false, err
	}
	failed := int64(0)
	for _, a := range attempts {
		if a.Failure != nil && a.Failure.Code != envbackup.CodeShutDown {
			failed++
		}
	}
	next, again := q.planRetry(timing, r, code, failed, now)
	return stamp(next), again, nil
}

// planRetry is retryAt's rule, given the failures so far, this one included.
func (q *Queue) planRetry(timing *slots.Timing, r envbackup.Run, code envbackup.Code, failed int64, now time.Time) (time.Time, bool) {
	ofSlot := r.Trigger.OfSlot()
	if ofSlot && timing.Paused {
		return time.Time{}, false
	}
	next, needsCatchUp := now, false
	switch {
	case code == envbackup.CodeShutDown:
		needsCatchUp = true
	case failed <= timing.Retries && code == envbackup.CodeWorkerLost:
		// at once: the wait for its lease was wait enough
	case failed <= timing.Retries:
		next = now.Add(q.cfg.Backoff(failed))
	case !ofSlot:
		return time.Time{}, false
	default:
		next, needsCatchUp = now.Add(lastRetryEvery), true
	}
	if !ofSlot {
		return next, true
	}
	if _, due, err := timing.Next(r.Nominal); err != nil || !next.Before(due) {
		return time.Time{}, false // the next slot takes over
	}
	if needsCatchUp && !timing.CatchesUp(r.Nominal, r.DueAt, next) {
		return time.Time{}, false
	}
	return next, true
}

// endRestore records how a restore ended.
func (q *Queue) endRestore(ctx context.Context, tx *store.Tx, r *envbackup.Restore, res result) error {
	r.State, r.Failure, r.FinishedAt = res.outcome.State, failureOf(res), stamp(res.at)
	if res.err != nil {
		r.State = envbackup.RunFailed
		if r.Failure.Code == envbackup.CodeCancelled {
			r.State = envbackup.RunCancelled
		}
	} else if !r.State.Final() {
		r.Failure = &envbackup.Failure{Code: envbackup.CodeInternal, Message: fmt.Sprintf("the restore ended in the state %q", r.State)}
		r.State = envbackup.RunFailed
	}
	if res.progress != (envbackup.Progress{}) {
		r.Progress = res.progress
	}
	r.FilesDone, r.BytesDone = res.outcome.FilesDone, res.outcome.BytesDone
	r.Progress.Phase, r.Progress.Current = envbackup.PhaseFinished, ""
	if _, err := tx.SaveRestore(ctx, *r, r.JobID); err != nil {
		return err
	}
	return q.wake(ctx, tx, r.Environment, res.at)
}
