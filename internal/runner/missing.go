package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// ForgetMissing takes backups off the list whose snapshots somebody removed
// behind the daemon's back, because a person says that they are gone for good:
// until then they hold all removals of the schedule there (R7). With dryRun it
// only returns them.
//
// A listing alone is not believed: the store is asked for each missing
// snapshot by its name, and a repository that shows no snapshot at all is
// refused with CodeConflict. A snapshot that turns up later is listed again,
// though its data may have been reclaimed by then.
func (r *Runner) ForgetMissing(ctx context.Context, scheduleID string, dryRun bool, actor string) ([]envbackup.Backup, error) {
	sched, err := r.store.Schedule(ctx, scheduleID)
	if err != nil {
		return nil, err
	}
	env, err := r.store.Environment(ctx, sched.EnvironmentID)
	if err != nil {
		return nil, err
	}
	if err := r.mine(env); err != nil {
		return nil, err
	}
	var gone []envbackup.Backup
	for _, id := range sched.DestinationIDs {
		dest, err := r.store.Destination(ctx, id)
		if err != nil {
			return gone, err
		}
		at, err := r.forgetMissingAt(ctx, sched, env, dest, dryRun)
		gone = append(gone, at...)
		if err != nil {
			return gone, err
		}
	}
	if !dryRun && len(gone) > 0 {
		r.cfg.Log.InfoContext(ctx, "backups whose snapshots are gone are forgotten", "schedule", sched.Reference(), "count", len(gone), "actor", actor)
	}
	return gone, nil
}

func (r *Runner) forgetMissingAt(ctx context.Context, sched envbackup.Schedule, env envbackup.Environment, dest envbackup.Destination, dryRun bool) ([]envbackup.Backup, error) {
	defer r.retain(sched.ID, dest.ID)()
	row, err := r.store.Repository(ctx, dest.ID, env.ID)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return nil, nil // they have never met
	}
	if err != nil {
		return nil, err
	}
	rows, err := r.ownRows(ctx, sched, row)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	place := vault.Address(dest, env)
	repo, err := r.vault.Repository(ctx, env.ID, dest.ID)
	if err != nil {
		return nil, err
	}
	snapshots, err := repo.Snapshots(ctx, nil)
	if err != nil {
		return nil, explain(ctx, err, place)
	}
	if len(snapshots) == 0 {
		return nil, &envbackup.Error{
			Code:    envbackup.CodeConflict,
			Message: fmt.Sprintf("the repository at %s shows no snapshot at all, and %s should be there; nothing was forgotten", place, plural(len(rows), "backup")),
			Hint:    "mount or restore what was there; if all of it is gone for good, take a new backup first, and then repeat this",
		}
	}
	present := map[string]bool{}
	for _, s := range snapshots {
		present[s.ID.String()] = true
	}
	var gone []envbackup.Backup
	var ids []string
	for _, b := range rows {
		if present[b.SnapshotID] || !b.RemovalMarkedAt.IsZero() { // what R5 removes, it also finishes
			continue
		}
		id, err := restic.ParseID(b.SnapshotID)
		if err != nil {
			return nil, fmt.Errorf("backup %s: %w", b.ID, err)
		}
		_, err = repo.SnapshotInfo(ctx, id)
		switch {
		case errors.Is(err, backend.ErrNotExist):
			gone = append(gone, b)
			ids = append(ids, b.ID)
		case err != nil:
			return nil, explain(ctx, err, place)
		}
	}
	if dryRun || len(ids) == 0 {
		return gone, nil
	}
	if err := r.store.DropBackups(ctx, ids); err != nil {
		return nil, err
	}
	return gone, r.noteHolds(ctx, sched.ID, dest.ID, "")
}
