package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// Prune applies a schedule's retention now, at each of its destinations, or
// with dryRun only says what it would do. Removals that R4 sets aside wait
// here too. actor is for the log.
func (r *Runner) Prune(ctx context.Context, scheduleID string, dryRun bool, actor string) (envbackup.PruneReport, error) {
	return r.prune(ctx, scheduleID, scope{dryRun: dryRun}, actor)
}

func (r *Runner) prune(ctx context.Context, scheduleID string, in scope, actor string) (envbackup.PruneReport, error) {
	report := envbackup.PruneReport{DryRun: in.dryRun}
	sched, err := r.store.Schedule(ctx, scheduleID)
	if err != nil {
		return report, err
	}
	env, err := r.store.Environment(ctx, sched.EnvironmentID)
	if err != nil {
		return report, err
	}
	if err := r.mine(env); err != nil {
		return report, err
	}
	var notes []string
	var errs []error
	for _, id := range sched.DestinationIDs {
		dest, err := r.store.Destination(ctx, id)
		if err != nil {
			return report, err
		}
		v, err := r.applyRetention(ctx, sched.ID, env, dest, in)
		if err == nil && v.reclaimable {
			var reclaimed int64
			reclaimed, err = r.reclaim(ctx, env, dest, time.Time{})
			report.Reclaimed += reclaimed
		}
		if err != nil {
			errs = append(errs, err)
			notes = append(notes, fmt.Sprintf("%s: %v", dest.Name, err))
		}
		for _, it := range v.decision.Items {
			report.Verdicts = append(report.Verdicts, envbackup.Verdict{
				Backup: v.backups[it.Point.ID], Keep: it.Keep, Reasons: it.Reasons,
			})
		}
		report.Removed += int64(len(v.removed))
		if v.setAside != nil {
			report.SetAside += int64(len(v.setAside.BackupIDs))
			report.Lists = append(report.Lists, *v.setAside)
		}
		notes = append(notes, v.notes...)
	}
	report.Note = strings.Join(notes, "; ")
	if report.Removed > 0 && !in.dryRun {
		r.cfg.Log.InfoContext(ctx, "pruned", "schedule", sched.Reference(), "removed", report.Removed, "reclaimed", report.Reclaimed, "actor", actor)
	}
	if len(errs) == len(sched.DestinationIDs) {
		return report, errors.Join(errs...)
	}
	return report, nil
}

// mine refuses an environment that is pinned to another worker: a local
// destination is a directory of that worker's host.
func (r *Runner) mine(env envbackup.Environment) error {
	if env.Worker == "" || env.Worker == r.cfg.Worker {
		return nil
	}
	return &envbackup.Error{
		Code:    envbackup.CodeInvalid,
		Message: fmt.Sprintf("environment %q belongs to the worker %q, and this is %q", env.Name, env.Worker, r.cfg.Worker),
		Hint:    "ask that worker's daemon",
	}
}

// RemoveAged removes what is older than the max_age of its schedule, at every
// schedule that has one: a duty of privacy waits for no successful run. A
// failure at one schedule does not stop the others.
func (r *Runner) RemoveAged(ctx context.Context) error {
	var errs []error
	page := envbackup.Page{Limit: 1000}
	for {
		schedules, next, err := r.store.Schedules(ctx, envbackup.ScheduleFilter{}, page)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, s := range schedules {
			if s.Retention.MaxAge == "" {
				continue
			}
			env, err := r.store.Environment(ctx, s.EnvironmentID)
			if err == nil && r.mine(env) == nil {
				_, err = r.prune(ctx, s.ID, scope{maxAgeOnly: true}, "max_age")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("remove aged backups of %s: %w", s.Reference(), err))
			}
		}
		if next == "" {
			return errors.Join(errs...)
		}
		page.Cursor = next
	}
}

// Remove deletes backups because a person asked for exactly that (R1). A held
// one, or one that is being restored or verified, is refused with CodeConflict, and then
// nothing is removed. actor is for the log.
func (r *Runner) Remove(ctx context.Context, backupIDs []string, actor string) error {
	byPlace := map[pair][]envbackup.Backup{}
	var ids []string
	used, err := r.usedNow(ctx)
	if err != nil {
		return err
	}
	for _, id := range backupIDs {
		b, err := r.store.Backup(ctx, id)
		if err != nil {
			return err
		}
		env, err := r.store.Environment(ctx, b.EnvironmentID)
		if err == nil {
			err = r.mine(env)
		}
		if err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound { // a deleted one is nobody's
			return err
		}
		if used[b.ID] {
			return &envbackup.Error{
				Code: envbackup.CodeConflict, Message: fmt.Sprintf("backup %q is being restored or verified", b.ID),
				Hint: "wait until that has ended, or cancel it",
			}
		}
		k := pair{b.EnvironmentID, b.DestinationID}
		byPlace[k] = append(byPlace[k], b)
		ids = append(ids, b.ID)
	}
	at := r.now()
	if err := r.store.MarkRemoval(ctx, ids, at); err != nil {
		return err
	}
	for _, id := range ids {
		if err := r.store.BeginRemoval(ctx, id, at); err != nil {
			return err
		}
	}
	for k, backups := range byPlace {
		if err := r.removeAt(ctx, k.b, backups); err != nil {
			return err
		}
	}
	r.cfg.Log.InfoContext(ctx, "removed backups on request", "backups", ids, "actor", actor)
	return nil
}

// removeAt removes backups of one environment at one destination.
func (r *Runner) removeAt(ctx context.Context, destinationID string, backups []envbackup.Backup) error {
	env := environmentOf(backups[0])
	dest, err := r.store.Destination(ctx, destinationID)
	if err != nil {
		return err
	}
	repo, err := r.vault.Repository(ctx, env.ID, dest.ID)
	if err != nil {
		return err
	}
	byID := map[string]envbackup.Backup{}
	for _, b := range backups {
		byID[b.ID] = b
	}
	ids := slices.Sorted(maps.Keys(byID))
	snapshots, err := snapshotIDs(byID, ids)
	if err != nil {
		return err
	}
	if err := repo.ForgetSnapshots(ctx, snapshots...); err != nil {
		return explain(ctx, err, vault.Address(dest, env))
	}
	return r.store.DropBackups(ctx, ids)
}

// reclamation is when the data of a repository was last pruned.
type reclamation struct {
	at   time.Time
	took time.Duration
}

const (
	// reclaimShare bounds what pruning data costs: after one that took a
	// minute, the next comes twenty minutes later at the earliest.
	reclaimShare = 20
	// reclaimMost bounds one prune's rewriting, so that a backup that is due
	// does not wait long for it.
	reclaimMost = 1 << 30
	// unreferencedGrace keeps packs that no index lists: another program may
	// be about to list them.
	unreferencedGrace = 24 * time.Hour
)

// reclaim removes data that no snapshot needs and returns the bytes. A lock in
// the way, or a prune that took long a short while ago, leave it for later; it
// also ends, with what it has done, at the instant until (R12), if that is not
// zero.
func (r *Runner) reclaim(ctx context.Context, env envbackup.Environment, dest envbackup.Destination, until time.Time) (int64, error) {
	k := pair{env.ID, dest.ID}
	r.mu.Lock()
	last := r.reclaimed[k]
	r.mu.Unlock()
	started := time.Now()
	if started.Sub(last.at) < reclaimShare*last.took {
		return 0, nil
	}
	repo, err := r.vault.Repository(ctx, env.ID, dest.ID)
	if err != nil {
		return 0, err
	}
	bounded := ctx
	if !until.IsZero() {
		var cancel context.CancelFunc
		bounded, cancel = context.WithDeadline(ctx, until)
		defer cancel()
	}
	stats, err := repo.Prune(bounded, repository.PruneOptions{MaxRepackBytes: reclaimMost, UnreferencedGrace: unreferencedGrace})
	r.mu.Lock()
	r.reclaimed[k] = reclamation{at: time.Now(), took: time.Since(started)}
	r.mu.Unlock()
	switch {
	case errors.Is(err, repository.ErrLocked), errors.Is(err, repository.ErrBusy):
		return 0, nil
	case err != nil && bounded.Err() != nil && ctx.Err() == nil:
		r.cfg.Log.InfoContext(ctx, "a prune made way for the next run", "environment", env.Name, "destination", dest.Name, "after", time.Since(started))
		return 0, nil
	case err != nil:
		return 0, explain(ctx, err, vault.Address(dest, env))
	}
	return stats.FreedBytes, nil
}
