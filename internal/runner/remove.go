package runner

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// Remove deletes backups because a person asked for exactly that (R1). A held
// one, one that is being restored or verified, or one that the object store
// retains is refused with CodeConflict, and then nothing is removed. actor is for the log.
func (r *Runner) Remove(ctx context.Context, backupIDs []string, actor string) error {
	byPlace, err := r.removable(ctx, backupIDs)
	if err != nil {
		return err
	}
	for _, backups := range byPlace {
		locked, err := r.lockedAt(ctx, backups)
		if err != nil {
			return err
		}
		for id, until := range locked {
			return &envbackup.Error{
				Code:    envbackup.CodeConflict,
				Message: fmt.Sprintf("backup %q is retained by lock until %s", id, until.UTC().Format(time.RFC3339)),
				Hint:    "the object store lets nobody remove it before; nothing was removed",
			}
		}
	}
	return r.removeEach(ctx, byPlace, actor)
}

// RemoveUnlocked is Remove for all backups that the object store lets go; it
// returns those that it retains, with the end of the lock filled in.
func (r *Runner) RemoveUnlocked(ctx context.Context, backupIDs []string, actor string) ([]envbackup.Backup, error) {
	byPlace, err := r.removable(ctx, backupIDs)
	if err != nil {
		return nil, err
	}
	var retained []envbackup.Backup
	for k, backups := range byPlace {
		locked, err := r.lockedAt(ctx, backups)
		if err != nil {
			return nil, err
		}
		byPlace[k] = slices.DeleteFunc(backups, func(b envbackup.Backup) bool {
			until, is := locked[b.ID]
			if is {
				b.LockedUntil = until
				retained = append(retained, b)
			}
			return is
		})
	}
	return retained, r.removeEach(ctx, byPlace, actor)
}

// removable sorts backups by repository, and refuses what may not be removed.
func (r *Runner) removable(ctx context.Context, backupIDs []string) (map[pair][]envbackup.Backup, error) {
	byPlace := map[pair][]envbackup.Backup{}
	used, err := r.usedNow(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range backupIDs {
		b, err := r.store.Backup(ctx, id)
		if err != nil {
			return nil, err
		}
		env, err := r.store.Environment(ctx, b.EnvironmentID)
		if err == nil {
			err = r.mine(env)
		}
		if err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound { // a deleted one is nobody's
			return nil, err
		}
		if used[b.ID] {
			return nil, &envbackup.Error{
				Code: envbackup.CodeConflict, Message: fmt.Sprintf("backup %q is being restored or verified", b.ID),
				Hint: "wait until that has ended, or cancel it; envbackup verifications list shows what is being verified",
			}
		}
		k := pair{b.EnvironmentID, b.DestinationID}
		byPlace[k] = append(byPlace[k], b)
	}
	return byPlace, nil
}

// lockedAt returns until when the store retains which of the backups, all of
// one repository.
func (r *Runner) lockedAt(ctx context.Context, backups []envbackup.Backup) (map[string]time.Time, error) {
	repo, err := r.vault.Repository(ctx, backups[0].EnvironmentID, backups[0].DestinationID)
	if err != nil {
		return nil, err
	}
	byID := map[string]envbackup.Backup{}
	for _, b := range backups {
		byID[b.ID] = b
	}
	locked, err := r.locksOf(ctx, repo, byID, slices.Sorted(maps.Keys(byID)), r.now())
	return locked, explain(ctx, err, backups[0].Destination)
}

// removeEach takes the two steps of R5 for what was found removable.
func (r *Runner) removeEach(ctx context.Context, byPlace map[pair][]envbackup.Backup, actor string) error {
	var ids []string
	for _, backups := range byPlace {
		for _, b := range backups {
			ids = append(ids, b.ID)
		}
	}
	if len(ids) == 0 {
		return nil
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
		if len(backups) == 0 {
			continue
		}
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
	if err := r.store.DropBackups(ctx, ids); err != nil {
		return err
	}
	return r.reclaimLater(ctx, env, dest, r.now(), "the next run does it")
}
