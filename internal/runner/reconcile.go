package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// stock is what a retention judges: the schedule's backups that are both in
// the store and in the repository.
type stock struct {
	backups []envbackup.Backup
	// held is set when the two disagree, or the clock is doubtful: then
	// nothing may be removed (R7).
	held bool
	// pending is set when data wait to be reclaimed from an earlier removal.
	pending bool
}

// reconcile compares the store's rows with the repository's snapshots.
//
// A row that is marked for removal and whose snapshot is gone was interrupted
// in the middle of R5 and is dropped; a marked one whose snapshot is still
// there is judged anew. A snapshot of a run that the store knows, without a
// row, was left by a crash and is entered. Any other difference is a doubtful
// listing, or somebody's work with another program, and holds all removals.
func (r *Runner) reconcile(ctx context.Context, repo *repository.Repository, sched envbackup.Schedule, env envbackup.Environment, dest envbackup.Destination, dryRun bool, v *verdict) (stock, error) {
	var out stock
	row, err := r.store.Repository(ctx, dest.ID, env.ID)
	if err != nil {
		return out, err
	}
	out.pending = !row.ReclaimSince.IsZero() && !row.ReclaimSince.After(v.at)
	rows, err := r.ownRows(ctx, sched, row)
	if err != nil {
		return out, err
	}
	snapshots, err := repo.Snapshots(ctx, nil)
	if err != nil {
		return out, explain(ctx, err, vault.Address(dest, env))
	}
	// R6: only snapshots that carry this schedule's id are its own.
	present := map[string]*restic.Snapshot{}
	for _, s := range snapshots {
		if id, _ := s.Tags.Value(tagScheduleID); id == sched.ID {
			present[s.ID.String()] = s
		}
	}

	var gone, back []string
	missing := 0
	for _, b := range rows {
		_, there := present[b.SnapshotID]
		delete(present, b.SnapshotID)
		switch {
		case there && b.RemovalMarkedAt.IsZero():
			out.backups = append(out.backups, b)
		case there:
			back = append(back, b.ID)
			b.RemovalMarkedAt = time.Time{}
			out.backups = append(out.backups, b)
		case !b.RemovalMarkedAt.IsZero():
			gone = append(gone, b.ID)
		default:
			missing++
			out.backups = append(out.backups, b)
		}
	}
	if missing > 0 {
		out.held = true
		v.hold("%s", sayMissing(missing, len(rows), dest.Name, sched.Reference()))
	}
	if dryRun {
		return out, nil
	}
	// An empty listing is the worst of doubtful ones: not even R5's last step
	// believes it.
	if len(gone) > 0 && len(snapshots) > 0 {
		if err := r.store.DropBackups(ctx, gone); err != nil {
			return out, err
		}
	}
	if len(back) > 0 {
		if err := r.store.UnmarkRemoval(ctx, back); err != nil {
			return out, err
		}
	}
	return out, r.enterLeftovers(ctx, present, env, dest, &out, v)
}

// ownRows returns the schedule's rows at the destination's present place.
func (r *Runner) ownRows(ctx context.Context, sched envbackup.Schedule, repository envbackup.Repository) ([]envbackup.Backup, error) {
	rows, err := r.store.AllBackups(ctx, sched.ID, repository.DestinationID)
	if err != nil {
		return nil, err
	}
	var own []envbackup.Backup
	for _, b := range rows {
		// What is older than the repository lies where the destination was
		// before: it is neither judged nor missed.
		if !b.CompletedAt.Before(repository.CreatedAt) {
			own = append(own, b)
		}
	}
	return own, nil
}

// enterLeftovers gives rows to snapshots whose run died between snapshot and
// row. Those of runs that this state never had were made with another state:
// what that one knew of them (holds above all) is lost, so removals wait.
func (r *Runner) enterLeftovers(ctx context.Context, leftovers map[string]*restic.Snapshot, env envbackup.Environment, dest envbackup.Destination, out *stock, v *verdict) error {
	foreign := 0
	for _, s := range leftovers {
		b, err := rowOf(s, env, dest)
		if err != nil {
			foreign++
			continue
		}
		_, err = r.store.Run(ctx, b.RunID)
		switch envbackup.CodeOf(err) {
		case "":
		case envbackup.CodeNotFound:
			foreign++
			continue
		default:
			return err
		}
		if err := r.store.AddBackup(ctx, &b); err != nil {
			return fmt.Errorf("enter backup of snapshot %s: %w", s.ID.Short(), err)
		}
		out.backups = append(out.backups, b)
	}
	if foreign > 0 {
		v.note("%d snapshots at %s carry this schedule's id and are not known to this daemon; they are left alone", foreign, dest.Name)
	}
	return nil
}

// sayMissing explains to people why removals are held, and the way out.
func sayMissing(missing, all int, destination, schedule string) string {
	are, they := "are", "they are"
	if missing == 1 {
		are, they = "is", "it is"
	}
	return fmt.Sprintf("nothing is removed at %s because %d of %s %s missing from the repository there. Once %s back, it goes on by itself; if %s gone for good, say so with: envbackup backups forget-missing %s",
		destination, missing, plural(all, "backup"), are, they, they, schedule)
}

// plural writes a number of things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
