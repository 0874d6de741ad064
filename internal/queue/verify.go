package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// A verification delays nothing: it is no writer (S3), sits on seats of its
// own, makes way within a second when a run or restore of its environment
// starts, and goes on when the environment is idle again.

const (
	// manualVerifications is how many verifications that people asked for
	// execute at once here.
	manualVerifications = 2
	// maxLost is after how many processes died while executing it a
	// verification is given up: it may be what they died of.
	maxLost = 3
)

// errYield is the cause of a verification that makes way.
var errYield = &envbackup.Error{Code: envbackup.CodeBusy, Message: "it made way for a run or restore of the environment"}

// EnqueueVerification adds v, queued, with its job. It fills the ID and what
// the backup says; v.BackupID, Level, Trigger and MaxDuration are the
// caller's. If the backup is being verified at that level already, or is about
// to be, v becomes that verification. CodeConflict: the backup is being
// removed.
func (q *Queue) EnqueueVerification(ctx context.Context, v *envbackup.Verification) error {
	b, err := q.store.Backup(ctx, v.BackupID)
	if err != nil {
		return err
	}
	if !b.RemovalMarkedAt.IsZero() {
		return &envbackup.Error{
			Code: envbackup.CodeConflict, Message: "the backup is being removed",
			Hint: "list the ones that stay with: envbackup backups list --environment " + b.Environment,
		}
	}
	if err := q.describe(ctx, v, b); err != nil {
		return err
	}
	defer q.announce()
	return q.store.Tx(ctx, func(tx *store.Tx) error {
		if err := tx.LockEnvironment(ctx, v.Environment); err != nil {
			return err
		}
		open, err := tx.OpenVerifications(ctx, b.ID)
		if err != nil {
			return err
		}
		for _, o := range open {
			if o.Level != v.Level || o.CancelRequested {
				continue
			}
			*v = o
			return nil
		}
		v.JobID = 0
		if err := tx.InsertVerification(ctx, v); err != nil {
			return err
		}
		if err := q.giveVerificationJob(ctx, tx, store.Work{Kind: store.WorkVerify, ID: v.ID}); err != nil {
			return err
		}
		*v, err = tx.Verification(ctx, v.ID)
		return err
	})
}

// describe fills in what the backup and its environment say.
func (q *Queue) describe(ctx context.Context, v *envbackup.Verification, b envbackup.Backup) error {
	v.BackupID, v.ScheduleID, v.Schedule, v.Environment = b.ID, b.ScheduleID, b.Schedule, b.Environment
	v.DestinationID, v.Destination = b.DestinationID, b.Destination
	v.State, v.Progress.Phase = envbackup.RunQueued, envbackup.PhaseWaiting
	// A local destination is a directory of the environment's worker. A
	// deleted environment's backups are verified anywhere.
	e, err := q.store.Environment(ctx, b.Environment)
	if err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
		return err
	}
	v.Worker = e.Worker
	return nil
}

// giveVerificationJob is giveJob for a verification.
func (q *Queue) giveVerificationJob(ctx context.Context, tx *store.Tx, w store.Work) error {
	v, err := tx.Verification(ctx, w.ID)
	if err != nil || v.State != envbackup.RunQueued {
		return err
	}
	fence := v.JobID
	if v.JobID, err = q.insertJob(ctx, tx, w, v.Worker); err != nil {
		return err
	}
	_, err = tx.SaveVerification(ctx, v, fence)
	return err
}

// wakeVerifications gives waiting verifications their jobs: all that people
// asked for, and one that a schedule asks for if its seat here is free.
func (q *Queue) wakeVerifications(ctx context.Context) error {
	free := len(q.ordered) == 0
	return q.store.Tx(ctx, func(tx *store.Tx) error {
		waiting, err := tx.WaitingVerifications(ctx, q.cfg.Worker)
		if err != nil {
			return err
		}
		free := free
		for _, v := range waiting {
			if v.Trigger != envbackup.TriggerManual {
				if !free {
					continue
				}
				free = false
			}
			if err := q.giveVerificationJob(ctx, tx, store.Work{Kind: store.WorkVerify, ID: v.ID}); err != nil {
				return err
			}
		}
		return nil
	})
}

// yieldLocal cancels verifications that were asked to make way, if this
// process executes them; others see the mark.
func (q *Queue) yieldLocal(ids []string) {
	for _, id := range ids {
		q.cancelLocal(store.Work{Kind: store.WorkVerify, ID: id}, errYield)
	}
}

// workVerification is work for a verification.
func (q *Queue) workVerification(ctx context.Context, w store.Work, job *river.Job[jobArgs]) error {
	v, err := q.store.Verification(ctx, w.ID)
	if err != nil {
		return ignoreMissing(err)
	}
	seat := q.asked
	if v.Trigger != envbackup.TriggerManual {
		seat = q.ordered
		select {
		case seat <- struct{}{}:
		default:
			// Somebody may ask for one meanwhile: this one waits without a job.
			return q.park(ctx, w, job.ID)
		}
	} else {
		select {
		case seat <- struct{}{}:
		case <-q.stopping:
			return q.park(ctx, w, job.ID)
		}
	}
	err = q.claimAndVerify(ctx, w, job)
	<-seat
	if err != nil {
		return err
	}
	return q.wakeVerifications(ctx)
}

func (q *Queue) claimAndVerify(ctx context.Context, w store.Work, job *river.Job[jobArgs]) error {
	select {
	case <-q.stopping:
		return q.park(ctx, w, job.ID)
	default:
	}
	defer q.announce()
	v, ok, err := q.claimVerification(ctx, w.ID, job.ID, time.Now())
	if err != nil || !ok {
		return err
	}
	return q.executeVerification(ctx, v, job)
}

func (q *Queue) parkVerification(ctx context.Context, tx *store.Tx, id string, job int64) error {
	v, err := tx.Verification(ctx, id)
	if err != nil || v.JobID != job || v.State != envbackup.RunQueued {
		return ignoreMissing(err)
	}
	v.JobID = 0
	_, err = tx.SaveVerification(ctx, v, job)
	return err
}

// claimVerification is claimRun for a verification: anything else that
// executes or waits in the environment comes first.
func (q *Queue) claimVerification(ctx context.Context, id string, job int64, now time.Time) (envbackup.Verification, bool, error) {
	seen, err := q.store.Verification(ctx, id)
	if err != nil {
		return envbackup.Verification{}, false, ignoreMissing(err)
	}
	var claimed envbackup.Verification
	var ok bool
	err = q.store.Tx(ctx, func(tx *store.Tx) error {
		ok = false
		if err := tx.LockEnvironment(ctx, seen.Environment); err != nil {
			return err
		}
		v, err := tx.Verification(ctx, id)
		if err != nil {
			return err
		}
		if v.JobID != job || v.State != envbackup.RunQueued {
			return nil
		}
		if wait, err := q.verificationMustWait(ctx, tx, v.Environment, now); err != nil {
			return err
		} else if wait {
			return q.parkVerification(ctx, tx, id, job)
		}
		if over, err := q.refuseVerification(ctx, tx, &v, now); err != nil || over {
			return err
		}
		v.State, v.Node, v.Yield, v.Attempt, v.Failure = envbackup.RunRunning, q.node, false, v.Attempt+1, nil
		if v.StartedAt.IsZero() {
			v.StartedAt = stamp(now)
		}
		claimed, ok = v, true
		_, err = tx.SaveVerification(ctx, v, job)
		return err
	})
	return claimed, ok, err
}

// refuseVerification ends a verification that has nothing left to verify. One
// that a schedule asks for and that has not begun turns to the newest backup.
func (q *Queue) refuseVerification(ctx context.Context, tx *store.Tx, v *envbackup.Verification, now time.Time) (over bool, err error) {
	if v.Level.OfRepository() {
		return false, nil
	}
	if v.Trigger == envbackup.TriggerSchedule && v.Attempt == 0 {
		newest, ok, err := tx.NewestComplete(ctx, v.ScheduleID, v.DestinationID, false)
		if err != nil {
			return false, err
		}
		if ok && !newest.VerifiedAt.IsZero() {
			return true, q.endVerification(ctx, tx, v, result{at: now, err: &envbackup.Error{
				Code: envbackup.CodeCancelled, Message: fmt.Sprintf("not needed any more: backup %s was verified meanwhile", newest.ID),
			}})
		}
		if ok {
			v.BackupID = newest.ID
			return false, nil
		}
	}
	gone, err := tx.IsGone(ctx, v.BackupID)
	if err != nil || !gone {
		return false, err
	}
	return true, q.endVerification(ctx, tx, v, result{at: now, err: &envbackup.Error{
		Code: envbackup.CodeCancelled, Message: fmt.Sprintf("backup %s was removed before it could be verified", v.BackupID),
	}})
}

func (q *Queue) verificationMustWait(ctx context.Context, tx *store.Tx, environment string, now time.Time) (bool, error) {
	if _, busy, err := tx.Writer(ctx, environment); err != nil || busy {
		return busy, err
	}
	if _, due, err := tx.NextWaiting(ctx, environment, "*", now); err != nil || due {
		return due, err
	}
	_, busy, err := tx.Verifying(ctx, environment)
	return busy, err
}

// executeVerification does a claimed verification and records how it ended.
func (q *Queue) executeVerification(ctx context.Context, v envbackup.Verification, job *river.Job[jobArgs]) error {
	log := q.cfg.Log.With("verification", v.ID, "backup", v.BackupID, "environment", v.Environment, "destination", v.Destination, "level", v.Level)
	log.InfoContext(ctx, "verification started", "attempt", v.Attempt)
	w := store.Work{Kind: store.WorkVerify, ID: v.ID}
	control := func() (mine, cancel bool, err error) {
		mine, cancel, yield, err := q.store.VerificationControl(ctx, v.ID, v.JobID)
		if yield {
			q.cancelLocal(w, errYield)
		}
		return mine, cancel, err
	}
	bound := lastResort
	if v.MaxDuration > 0 {
		bound = max(v.MaxDuration-v.Spent, 0)
	}
	began := time.Now()
	var last envbackup.Progress
	outcome, err := q.execute(ctx, w, bound,
		func(p envbackup.Progress) (mine, cancel bool, err error) {
			last = p
			if mine, cancel, err = q.store.SaveVerificationProgress(ctx, v.ID, v.JobID, p); err != nil || !mine || cancel {
				return mine, cancel, err
			}
			return control()
		}, control,
		func(ctx context.Context, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
			select {
			case <-q.stopping: // before it was registered
				return envbackup.Outcome{}, errStopped
			default:
			}
			return q.executor.ExecuteVerification(ctx, v, progress)
		})
	if envbackup.CodeOf(err) == envbackup.CodeTimedOut {
		err = ranOut(v)
	}
	res := result{outcome: outcome, err: err, at: time.Now(), progress: last}

	var ended envbackup.Verification
	err = q.persist(ctx, func(tx *store.Tx) error {
		ended = envbackup.Verification{}
		if err := tx.LockEnvironment(ctx, v.Environment); err != nil {
			return err
		}
		current, err := tx.Verification(ctx, v.ID)
		if err != nil {
			return err
		}
		if current.JobID != v.JobID || current.State != envbackup.RunRunning {
			return nil
		}
		current.Spent += time.Since(began)
		if err := q.endVerification(ctx, tx, &current, res); err != nil {
			return err
		}
		ended = current
		return q.completeJob(ctx, tx, job)
	})
	switch {
	case err != nil:
		return fmt.Errorf("record end of verification %s: %w", v.ID, err)
	case ended.ID == "":
		log.WarnContext(ctx, "verification was taken over; its result is dropped")
	case ended.State == envbackup.RunQueued:
		log.InfoContext(ctx, "verification waits, and goes on later", "took", time.Since(began), "because", ended.Progress.Current)
	case ended.Failure != nil:
		log.WarnContext(ctx, "verification ended", "state", ended.State, "code", ended.Failure.Code, "failure", ended.Failure.Message, "took", time.Since(began))
	default:
		log.InfoContext(ctx, "verification ended", "state", ended.State, "bytes", ended.BytesDone, "took", time.Since(began))
	}
	return nil
}

// ranOut is why a verification that used up its time failed.
func ranOut(v envbackup.Verification) error {
	e := &envbackup.Error{
		Code:    envbackup.CodeTimedOut,
		Message: fmt.Sprintf("not finished within %s; the backup is neither proven nor refuted", v.MaxDuration),
		Hint:    "raise verify.max_duration of the schedule",
	}
	if v.Level == envbackup.VerifyRestore {
		e.Hint += `, or verify at level "read", which is quicker`
	}
	return e
}

// endVerification records how an attempt ended. One that made way, was shut
// down or lost its process waits for its next turn.
func (q *Queue) endVerification(ctx context.Context, tx *store.Tx, v *envbackup.Verification, res result) error {
	fence := v.JobID
	failure := failureOf(res)
	if res.progress != (envbackup.Progress{}) {
		v.Progress = res.progress
	}
	v.Yield = false
	if res.err != nil && goesOn(v, res.err) {
		v.State, v.JobID = envbackup.RunQueued, 0
		v.Progress.Phase, v.Progress.Current = envbackup.PhaseWaiting, failure.Message
		_, err := tx.SaveVerification(ctx, *v, fence)
		return err
	}
	v.State, v.Failure, v.FinishedAt = res.outcome.State, failure, stamp(res.at)
	switch {
	case res.err != nil && failure.Code == envbackup.CodeCancelled:
		v.State = envbackup.RunCancelled
	case res.err != nil:
		v.State = envbackup.RunFailed
	case !v.State.Final():
		v.Failure = &envbackup.Failure{Code: envbackup.CodeInternal, Message: fmt.Sprintf("the verification ended in the state %q", v.State)}
		v.State = envbackup.RunFailed
	}
	v.Problems = res.outcome.Warnings
	v.FilesDone, v.BytesDone = res.outcome.FilesDone, res.outcome.BytesDone
	v.Progress.Phase, v.Progress.Current = envbackup.PhaseFinished, ""
	_, err := tx.SaveVerification(ctx, *v, fence)
	return err
}

// goesOn reports whether a verification that ended with err has another turn,
// and counts the lost ones.
func goesOn(v *envbackup.Verification, err error) bool {
	code := envbackup.CodeOf(err)
	if code == envbackup.CodeWorkerLost {
		v.Lost++
	}
	switch {
	case v.CancelRequested:
		return false
	case errors.Is(err, errYield), code == envbackup.CodeShutDown:
		return true
	default:
		return code == envbackup.CodeWorkerLost && v.Lost < maxLost
	}
}

// CancelVerification is CancelRun for a verification.
func (q *Queue) CancelVerification(ctx context.Context, id string) error {
	defer q.announce()
	err := q.store.Tx(ctx, func(tx *store.Tx) error {
		v, err := tx.Verification(ctx, id)
		switch {
		case err != nil:
			return err
		case v.State.Final():
			return alreadyEnded("verification", id, v.State)
		case v.State == envbackup.RunRunning:
			return tx.RequestCancelVerification(ctx, id)
		}
		v.CancelRequested = true
		return q.endVerification(ctx, tx, &v, result{err: errCancelled, at: time.Now()})
	})
	if err == nil {
		q.cancelLocal(store.Work{Kind: store.WorkVerify, ID: id}, errCancelled)
	}
	return err
}
