package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// errWorkerLost is why an attempt of a dead process failed (S5).
var errWorkerLost = &envbackup.Error{
	Code: envbackup.CodeWorkerLost, Message: "worker lost: the process that executed it is gone",
	Hint: "see the log of that daemon; it was stopped hard, ran out of memory or lost the database",
}

// Sweep takes over what dead processes left, ends runs that did not start in
// time, and gives waiting work its job. Every process does it at each
// heartbeat; several at once do no harm.
func (q *Queue) Sweep(ctx context.Context, now time.Time) error {
	defer q.announce()
	return errors.Join(q.reap(ctx, now), q.expire(ctx, now), q.recover(ctx), q.wakeAll(ctx, now), q.wakeVerifications(ctx))
}

// reap fails the attempts of dead processes.
func (q *Queue) reap(ctx context.Context, now time.Time) error {
	var dead []string
	err := q.store.Tx(ctx, func(tx *store.Tx) (err error) {
		dead, err = tx.DeadNodes(ctx, q.cfg.TTL)
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, node := range dead {
		if err := q.store.Tx(ctx, func(tx *store.Tx) error { return q.reapNode(ctx, tx, node, now) }); err != nil {
			errs = append(errs, fmt.Errorf("take over from %s: %w", node, err))
		}
	}
	return errors.Join(errs...)
}

func (q *Queue) reapNode(ctx context.Context, tx *store.Tx, node string, now time.Time) error {
	left, err := tx.ExecutedOn(ctx, node)
	if err != nil {
		return err
	}
	for _, w := range left {
		q.cfg.Log.WarnContext(ctx, "worker lost", "node", node, "kind", w.Kind, "id", w.ID)
		if err := q.reapWork(ctx, tx, w, node, result{err: errWorkerLost, at: now}); err != nil {
			return err
		}
	}
	return tx.ForgetNode(ctx, node)
}

// reapWork ends work under a new fence: whatever its old process still writes
// finds the row no longer its own.
func (q *Queue) reapWork(ctx context.Context, tx *store.Tx, w store.Work, node string, res result) error {
	if w.Kind == store.WorkVerify {
		v, err := tx.Verification(ctx, w.ID)
		if err != nil || v.State != envbackup.RunRunning || v.Node != node {
			return err
		}
		return q.endVerification(ctx, tx, &v, res)
	}
	if w.Kind == store.WorkRestore {
		r, err := tx.Restore(ctx, w.ID)
		if err != nil || r.State != envbackup.RunRunning || r.Node != node {
			return err
		}
		return q.endRestore(ctx, tx, &r, res)
	}
	r, err := tx.Run(ctx, w.ID)
	if err != nil || r.State != envbackup.RunRunning || r.Node != node {
		return err
	}
	return q.endAttempt(ctx, tx, &r, res)
}

// expire ends the runs whose start deadline has passed (S4).
func (q *Queue) expire(ctx context.Context, now time.Time) error {
	return q.store.Tx(ctx, func(tx *store.Tx) error {
		overdue, err := tx.OverdueRuns(ctx, now)
		if err != nil {
			return err
		}
		for _, id := range overdue {
			r, err := tx.Run(ctx, id)
			if err != nil {
				return err
			}
			if r.State != envbackup.RunQueued || r.Attempt != 0 {
				continue // started meanwhile
			}
			if err := q.missRun(ctx, tx, r, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// recover takes the dead jobs off work that waits.
func (q *Queue) recover(ctx context.Context) error {
	var lost []store.Work
	err := q.store.Tx(ctx, func(tx *store.Tx) (err error) {
		lost, err = tx.LostWork(ctx)
		return err
	})
	errs := []error{err}
	for _, w := range lost {
		errs = append(errs, q.store.Tx(ctx, func(tx *store.Tx) error { return q.giveJob(ctx, tx, w, nil) }))
	}
	return errors.Join(errs...)
}

// wakeAll gives each idle environment's longest waiting work its job.
func (q *Queue) wakeAll(ctx context.Context, now time.Time) error {
	return q.store.Tx(ctx, func(tx *store.Tx) error {
		environments, err := tx.WaitingEnvironments(ctx, now)
		if err != nil {
			return err
		}
		for _, e := range environments {
			if err := tx.LockEnvironment(ctx, e); err != nil {
				return err
			}
			if err := q.wake(ctx, tx, e, now); err != nil {
				return err
			}
		}
		return nil
	})
}
