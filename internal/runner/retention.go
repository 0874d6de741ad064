package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// scope says what a retention may remove (R3).
type scope struct {
	// newest is the backup that the run before it left; nil for an explicit
	// command.
	newest *envbackup.Backup
	dryRun bool
	// only limits it to what max_age asks for, which waits for no success.
	maxAgeOnly bool
	// reclaim is set for an operator's window (R12).
	reclaim bool
}

// verdict is what a retention decided and did at one destination.
type verdict struct {
	at       time.Time // of the judgement
	decision retention.Decision
	backups  map[string]envbackup.Backup // by id, as judged
	removed  []string                    // ids; with dryRun those that would go
	setAside []envbackup.SetAside        // what waits for the grace, or was cancelled (R4)
	notes    []string                    // for people
	holds    []string                    // those of the notes that say what is in the way of removals
	waits    []string                    // for people: what is set aside (R4)
	// reclaimable says that data may lie in the repository that no snapshot
	// needs.
	reclaimable bool
	// held says that nothing may be removed, data included (R7).
	held bool
	// nextAt is the schedule's next slot; zero while it is paused.
	nextAt time.Time
}

func (v *verdict) note(format string, args ...any) {
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

// hold notes what holds removals, for the schedule's status as well.
func (v *verdict) hold(format string, args ...any) {
	v.note(format, args...)
	v.holds = append(v.holds, v.notes[len(v.notes)-1])
}

// applyRetention judges the schedule's backups at a destination and removes
// what its policy does not keep. The verdict is filled beside an error.
func (r *Runner) applyRetention(ctx context.Context, scheduleID string, env envbackup.Environment, dest envbackup.Destination, in scope) (verdict, error) {
	defer r.retain(scheduleID, dest.ID)()
	v, err := r.judgeAndRemove(ctx, scheduleID, env, dest, in)
	if in.dryRun || ctx.Err() != nil {
		return v, err
	}
	if err != nil {
		v.holds = append(v.holds, fmt.Sprintf("removals at %s failed: %v", dest.Name, err))
	}
	return v, errors.Join(err, r.noteHolds(ctx, scheduleID, dest.ID, strings.Join(v.holds, "; ")))
}

// noteHolds records what holds removals, where it has changed.
func (r *Runner) noteHolds(ctx context.Context, scheduleID, destinationID, note string) error {
	known, err := r.store.SetAside(ctx, scheduleID, destinationID)
	if err != nil || known.Note == note {
		return err
	}
	return r.store.NoteRetention(ctx, scheduleID, destinationID, note)
}

func (r *Runner) judgeAndRemove(ctx context.Context, scheduleID string, env envbackup.Environment, dest envbackup.Destination, in scope) (verdict, error) {
	// The policy as it stands now: a run that took hours must not remove by
	// one that was edited meanwhile.
	v := verdict{at: r.now()}
	sched, err := r.store.Schedule(ctx, scheduleID)
	if err != nil {
		return v, err
	}
	v.nextAt = sched.NextAt
	policy, err := sched.Retention.Policy()
	if err != nil {
		return v, fmt.Errorf("read retention policy: %w", err)
	}
	zone, err := cron.LoadZone(sched.Zone())
	if err != nil {
		return v, err
	}
	repo, err := r.vault.Repository(ctx, env.ID, dest.ID)
	if err != nil {
		return v, err
	}
	known, err := r.reconcile(ctx, repo, sched, env, dest, in.dryRun, &v)
	if err != nil {
		return v, err
	}
	v.reclaimable = known.pending
	doubt, err := r.doubt(ctx, repo, dest, in)
	if err != nil {
		return v, err
	}
	if doubt != "" {
		known.held = true
		v.hold("nothing is removed at %s because %s", dest.Name, doubt)
	}

	used, err := r.usedNow(ctx)
	if err != nil {
		return v, err
	}
	points := make([]retention.Point, 0, len(known.backups))
	v.backups = make(map[string]envbackup.Backup, len(known.backups))
	for _, b := range known.backups {
		p := b.Point()
		p.InUse = used[b.ID]
		points = append(points, p)
		v.backups[b.ID] = b
	}
	v.decision = retention.Plan(points, policy, zone, v.at)

	if known.held {
		// R7: what is doubtful is not even judged, or a short listing would
		// set aside what it does not show.
		v.held, v.reclaimable = true, false
		return v, nil
	}
	locked, err := r.askLocks(ctx, repo, &v)
	if err != nil {
		return v, explain(ctx, err, vault.Address(dest, env))
	}
	if len(locked) > 0 {
		for i := range points {
			if until, ok := locked[points[i].ID]; ok {
				points[i].LockedUntil = until
			}
		}
		v.decision = retention.Plan(points, policy, zone, v.at)
	}
	err = r.judge(ctx, sched, dest, policy, zone, in, &v)
	if err != nil || in.dryRun || len(v.removed) == 0 {
		return v, err
	}
	return v, r.remove(ctx, repo, vault.Address(dest, env), &v)
}

// remove takes the verdict's backups out of the repository and then out of
// the store (R5). What could not be removed keeps its row and its mark; the
// next retention judges it anew.
func (r *Runner) remove(ctx context.Context, repo *repository.Repository, place string, v *verdict) error {
	wanted := v.removed
	v.removed = nil
	var marked []string
	for _, id := range wanted {
		// One by one: a hold that was set a moment ago refuses its own backup
		// and no other.
		err := r.store.MarkRemoval(ctx, []string{id}, v.at)
		if err == nil {
			err = r.store.BeginRemoval(ctx, id, v.at)
		}
		switch envbackup.CodeOf(err) {
		case "":
			marked = append(marked, id)
		case envbackup.CodeConflict, envbackup.CodeNotFound:
		default:
			return err
		}
	}
	if len(marked) == 0 {
		return nil
	}
	snapshots, err := snapshotIDs(v.backups, marked)
	if err != nil {
		return err
	}
	v.reclaimable = true
	if err := repo.ForgetSnapshots(ctx, snapshots...); err != nil {
		return explain(ctx, err, place)
	}
	if err := r.store.DropBackups(ctx, marked); err != nil {
		return err
	}
	v.removed = marked
	r.cfg.Log.InfoContext(ctx, "removed backups", "repository", place, "count", len(marked))
	return nil
}

// askLocks asks the store about the locks of what the policy would let go, and
// returns their ends by backup (R8). Those that are not due need no question:
// a lock keeps nothing else.
func (r *Runner) askLocks(ctx context.Context, repo *repository.Repository, v *verdict) (map[string]time.Time, error) {
	var ids []string
	for _, it := range v.decision.Removed() {
		ids = append(ids, it.Point.ID)
	}
	return r.locksOf(ctx, repo, v.backups, ids, v.at)
}

// locksOf returns until when the store retains those of the backups that it
// does beyond now, and records it.
func (r *Runner) locksOf(ctx context.Context, repo *repository.Repository, backups map[string]envbackup.Backup, ids []string, now time.Time) (map[string]time.Time, error) {
	snapshots, err := snapshotIDs(backups, ids)
	if err != nil {
		return nil, err
	}
	locked, err := repo.LockedSnapshots(ctx, now, snapshots...)
	if err != nil || len(locked) == 0 {
		return nil, err
	}
	out := make(map[string]time.Time, len(locked))
	for i, id := range ids {
		if until, ok := locked[snapshots[i]]; ok {
			out[id] = until
			b := backups[id]
			b.LockedUntil = until
			backups[id] = b
		}
	}
	return out, r.store.SetLocks(ctx, out)
}

// doubt says why no pruning may happen now, or "" (R7, S12). Asking the store
// about the new backup it also learns of its lock.
func (r *Runner) doubt(ctx context.Context, repo *repository.Repository, dest envbackup.Destination, in scope) (string, error) {
	if in.newest != nil {
		id, err := restic.ParseID(in.newest.SnapshotID)
		if err != nil {
			return "", fmt.Errorf("backup %s: %w", in.newest.ID, err)
		}
		info, err := repo.SnapshotInfo(ctx, id)
		if err != nil {
			return "", fmt.Errorf("ask %s about the new backup: %w", dest.Name, err)
		}
		if !info.LockedUntil.IsZero() {
			if err := r.store.SetLocks(ctx, map[string]time.Time{in.newest.ID: info.LockedUntil}); err != nil {
				return "", err
			}
		}
		if stored := info.Modified; !stored.IsZero() {
			if skew := in.newest.CompletedAt.Sub(stored); skew.Abs() > skewLimit {
				return fmt.Sprintf("the clock of this host differs from the store's by %s; set the clock right", skew.Abs().Round(time.Second)), nil
			}
			return "", nil // the store confirms the clock
		}
	}
	state, err := r.clock(ctx)
	if err != nil || state.Doubt == "" {
		return "", err
	}
	return state.Doubt + "; restart the daemon with --confirm-clock when it is right", nil
}

// snapshotIDs returns the snapshots of backups.
func snapshotIDs(backups map[string]envbackup.Backup, ids []string) ([]restic.ID, error) {
	out := make([]restic.ID, 0, len(ids))
	for _, id := range ids {
		snapshot, err := restic.ParseID(backups[id].SnapshotID)
		if err != nil {
			return nil, fmt.Errorf("backup %s: %w", id, err)
		}
		out = append(out, snapshot)
	}
	return out, nil
}
