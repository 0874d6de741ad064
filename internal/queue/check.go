package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// A check or repair of a whole repository is a verification without a backup:
// it makes way, goes on, is cancelled and shown like one.

// EnqueueCheck adds v, queued, with its job. v.Environment is a name and
// v.DestinationID an id; they, Level and Trigger are the caller's. If the same
// is going on already, or about to, v becomes that. CodeNotFound: the
// environment has no repository at the destination.
func (q *Queue) EnqueueCheck(ctx context.Context, v *envbackup.Verification) error {
	env, err := q.store.Environment(ctx, v.Environment)
	if err != nil {
		return err
	}
	dest, err := q.store.Destination(ctx, v.DestinationID)
	if err != nil {
		return err
	}
	if _, err := q.store.Repository(ctx, dest.ID, env.ID); err != nil {
		if envbackup.CodeOf(err) == envbackup.CodeNotFound {
			return &envbackup.Error{
				Code: envbackup.CodeNotFound, Message: fmt.Sprintf("environment %q has no repository at %q", env.Name, dest.Name),
				Hint: "its first backup there makes one; list what there is with: envbackup backups list --environment " + env.Name,
			}
		}
		return err
	}
	v.Environment, v.Destination, v.Worker = env.Name, dest.Name, env.Worker
	v.State, v.Progress.Phase, v.JobID = envbackup.RunQueued, envbackup.PhaseWaiting, 0
	defer q.announce()
	return q.store.Tx(ctx, func(tx *store.Tx) error {
		if err := tx.LockEnvironment(ctx, v.Environment); err != nil {
			return err
		}
		open, err := tx.OpenChecks(ctx, v.Environment, v.DestinationID)
		if err != nil {
			return err
		}
		for _, o := range open {
			if o.Level == v.Level && !o.CancelRequested {
				*v = o
				return nil
			}
		}
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

// orderShare adds, after a run has left a backup at a destination, the check
// of the next share of the repository there, when CheckEvery has passed since
// the one before. It waits like any verification: no run is delayed by it.
func (q *Queue) orderShare(ctx context.Context, tx *store.Tx, r envbackup.Run, d envbackup.RunDestination, now time.Time) error {
	if q.cfg.CheckEvery <= 0 || q.cfg.CheckShares <= 0 {
		return nil
	}
	open, err := tx.OpenChecks(ctx, r.Environment, d.DestinationID)
	if err != nil || len(open) > 0 {
		return err
	}
	last, ok, err := tx.LastShare(ctx, r.Environment, d.DestinationID)
	if err != nil {
		return err
	}
	since := last.CreatedAt
	if !ok {
		if since, err = tx.RepositoryMade(ctx, d.DestinationID, r.EnvironmentID); err != nil {
			return ignoreMissing(err)
		}
	}
	if now.Sub(since) < q.cfg.CheckEvery-min(time.Hour, q.cfg.CheckEvery/24) {
		return nil
	}
	v := envbackup.Verification{
		Environment: r.Environment, DestinationID: d.DestinationID, Destination: d.Destination, Worker: r.Worker,
		Level: nextShare(last, ok, q.cfg.CheckShares), Trigger: envbackup.TriggerSchedule,
		State: envbackup.RunQueued, Progress: envbackup.Progress{Phase: envbackup.PhaseWaiting},
	}
	if err := tx.InsertVerification(ctx, &v); err != nil {
		return err
	}
	q.cfg.Log.InfoContext(ctx, "check ordered", "verification", v.ID, "environment", v.Environment, "destination", v.Destination, "level", v.Level)
	return nil
}

// nextShare is the share after the last one, or that one again if it was not
// read to its end.
func nextShare(last envbackup.Verification, ok bool, shares int) envbackup.VerifyLevel {
	part, of, isShare := last.Level.Share()
	if !ok || !isShare || of != shares {
		return envbackup.CheckShare(1, shares)
	}
	read := last.State == envbackup.RunSucceeded || last.Failure != nil && last.Failure.Code == envbackup.CodeDamaged
	if read {
		part = part%of + 1
	}
	return envbackup.CheckShare(part, of)
}
