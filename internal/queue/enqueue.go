package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// jobArgs is all that a job carries; the rest is read from the rows.
type jobArgs struct {
	Work store.WorkKind `json:"work"`
	ID   string         `json:"id"`
}

// Kind implements river.JobArgs.
func (jobArgs) Kind() string { return "envbackup_work" }

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

// queueName is the library's queue for a worker. Its names are narrower than
// host names, so a hash keeps different workers apart.
func queueName(worker string) string {
	if worker == "" {
		return river.QueueDefault
	}
	sum := sha256.Sum256([]byte(worker))
	slug := strings.Trim(notSlug.ReplaceAllString(strings.ToLower(worker), "-"), "-")
	if len(slug) > 40 {
		slug = strings.TrimRight(slug[:40], "-")
	}
	return strings.Trim("host-"+slug, "-") + "-" + hex.EncodeToString(sum[:4])
}

// verificationQueueName is that of a worker's verifications.
func verificationQueueName(worker string) string { return queueName(worker) + "-verify" }

// insertJob makes a job for w and returns its id.
func (q *Queue) insertJob(ctx context.Context, tx *store.Tx, w store.Work, worker string) (int64, error) {
	name := queueName(worker)
	if w.Kind == store.WorkVerify {
		name = verificationQueueName(worker)
	}
	result, err := q.client.InsertTx(ctx, tx.Raw(), jobArgs{Work: w.Kind, ID: w.ID}, &river.InsertOpts{Queue: name})
	if err != nil {
		return 0, fmt.Errorf("insert job of %s %s: %w", w.Kind, w.ID, err)
	}
	return result.Job.ID, nil
}

// EnqueueRunTx adds r, queued, with its job, in the caller's transaction. It
// fills the ID, State and JobID.
func (q *Queue) EnqueueRunTx(ctx context.Context, tx *store.Tx, r *envbackup.Run) error {
	if r.ID == "" {
		r.ID = store.NewRunID()
	}
	r.State = envbackup.RunQueued
	r.Progress.Phase = envbackup.PhaseWaiting
	var err error
	if r.JobID, err = q.insertJob(ctx, tx, store.Work{Kind: store.WorkRun, ID: r.ID}, r.Worker); err != nil {
		return err
	}
	return tx.InsertRun(ctx, r)
}

// EnqueueRestore adds r, queued, with its job. It fills the ID, State and
// JobID, and from the backup an empty Environment, from the environment an
// empty Worker.
func (q *Queue) EnqueueRestore(ctx context.Context, r *envbackup.Restore) error {
	if r.Environment == "" {
		b, err := q.store.Backup(ctx, r.BackupID)
		if err != nil {
			return err
		}
		r.Environment = b.Environment
	}
	if r.Worker == "" {
		e, err := q.store.Environment(ctx, r.Environment)
		// A deleted environment's backups restore anywhere.
		if err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
			return err
		}
		r.Worker = e.Worker
	}
	r.State = envbackup.RunQueued
	r.Progress.Phase = envbackup.PhaseWaiting
	return q.store.Tx(ctx, func(tx *store.Tx) error {
		if err := tx.InsertRestore(ctx, r); err != nil {
			return err
		}
		return q.giveJob(ctx, tx, store.Work{Kind: store.WorkRestore, ID: r.ID}, r)
	})
}

// giveJob makes a new job for w, if it is still queued; the job's id is the
// fence from then on.
// restore, if not nil, is kept in step.
func (q *Queue) giveJob(ctx context.Context, tx *store.Tx, w store.Work, restore *envbackup.Restore) error {
	if w.Kind == store.WorkVerify {
		return q.giveVerificationJob(ctx, tx, w)
	}
	if w.Kind == store.WorkRestore {
		r, err := tx.Restore(ctx, w.ID)
		if err != nil || r.State != envbackup.RunQueued {
			return err
		}
		fence := r.JobID
		if r.JobID, err = q.insertJob(ctx, tx, w, r.Worker); err != nil {
			return err
		}
		if restore != nil {
			restore.JobID = r.JobID
		}
		_, err = tx.SaveRestore(ctx, r, fence)
		return err
	}
	r, err := tx.Run(ctx, w.ID)
	if err != nil || r.State != envbackup.RunQueued {
		return err
	}
	fence := r.JobID
	if r.JobID, err = q.insertJob(ctx, tx, w, r.Worker); err != nil {
		return err
	}
	_, err = tx.SaveRun(ctx, r, fence)
	return err
}

// wake gives the work that has waited longest in an environment its job, if
// nothing executes there.
func (q *Queue) wake(ctx context.Context, tx *store.Tx, environment string, now time.Time) error {
	_, busy, err := tx.Writer(ctx, environment)
	if err != nil || busy {
		return err
	}
	next, ok, err := tx.NextWithoutJob(ctx, environment, now)
	if err != nil || !ok {
		return err
	}
	return q.giveJob(ctx, tx, next, nil)
}

// errCancelled is the cause of work that a person cancelled.
var errCancelled = &envbackup.Error{Code: envbackup.CodeCancelled, Message: "cancelled by request"}

func alreadyEnded(kind, id string, state envbackup.RunState) error {
	return &envbackup.Error{Code: envbackup.CodeConflict, Message: fmt.Sprintf("%s %q has ended already: %s", kind, id, state)}
}

// CancelRun ends a run: at once where it waits, within about a second where it
// executes, on whichever worker. CodeConflict: it has ended.
func (q *Queue) CancelRun(ctx context.Context, id string) error {
	defer q.announce()
	err := q.store.Tx(ctx, func(tx *store.Tx) error {
		r, err := tx.Run(ctx, id)
		switch {
		case err != nil:
			return err
		case r.State.Final():
			return alreadyEnded("run", id, r.State)
		case r.State == envbackup.RunRunning:
			return tx.RequestCancelRun(ctx, id)
		}
		r.CancelRequested = true
		return q.closeRun(ctx, tx, r, envbackup.RunCancelled, envbackup.FailureOf(errCancelled), time.Now())
	})
	if err == nil {
		q.cancelLocal(store.Work{Kind: store.WorkRun, ID: id}, errCancelled)
	}
	return err
}

// CancelRestore is CancelRun for a restore. What was restored stays.
func (q *Queue) CancelRestore(ctx context.Context, id string) error {
	defer q.announce()
	err := q.store.Tx(ctx, func(tx *store.Tx) error {
		r, err := tx.Restore(ctx, id)
		switch {
		case err != nil:
			return err
		case r.State.Final():
			return alreadyEnded("restore", id, r.State)
		case r.State == envbackup.RunRunning:
			return tx.RequestCancelRestore(ctx, id)
		}
		r.CancelRequested = true
		r.State, r.FinishedAt, r.Failure = envbackup.RunCancelled, stamp(time.Now()), envbackup.FailureOf(errCancelled)
		if _, err := tx.SaveRestore(ctx, r, r.JobID); err != nil {
			return err
		}
		return q.wake(ctx, tx, r.Environment, time.Now())
	})
	if err == nil {
		q.cancelLocal(store.Work{Kind: store.WorkRestore, ID: id}, errCancelled)
	}
	return err
}

// stamp is t as the store keeps it.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
