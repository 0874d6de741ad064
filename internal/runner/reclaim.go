package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// reclamation is when the data of a repository was last pruned.
type reclamation struct {
	at   time.Time
	took time.Duration
}

const (
	// reclaimShare bounds what pruning data costs runs: after one that took a
	// minute, the next comes twenty minutes later at the earliest, unless a
	// person asks for it.
	reclaimShare = 20
	// reclaimMost bounds one prune's rewriting, so that it comes to an end
	// between two backups.
	reclaimMost = 1 << 30
	// unreferencedGrace keeps packs that no index lists: another program may
	// be about to list them.
	unreferencedGrace = 24 * time.Hour
	// wayEvery is how often a reclamation looks whether other work waits for
	// it: what this process starts itself need not wait for the look.
	wayEvery = time.Second
)

// lockShare says how often locks are extended: this many times within the time
// for which the destination locks.
const lockShare = 8

// extension is when the locks of a repository were extended last, and for how
// long the destination locked then.
type extension struct {
	at   time.Time
	days int64
}

// extendLocks locks anew what the repository's backups need, when it is time
// to look (R8). It makes way like a reclamation.
func (r *Runner) extendLocks(ctx context.Context, env envbackup.Environment, dest envbackup.Destination, in reclaimScope) error {
	if dest.S3 == nil || dest.S3.ObjectLockDays == 0 {
		return nil
	}
	every := time.Duration(dest.S3.ObjectLockDays) * 24 * time.Hour / lockShare
	k := pair{env.ID, dest.ID}
	r.mu.Lock()
	last := r.extended[k]
	r.mu.Unlock()
	if last.days == dest.S3.ObjectLockDays && time.Since(last.at) < every {
		return nil
	}
	repo, err := r.vault.Repository(ctx, env.ID, dest.ID)
	if err != nil {
		return err
	}
	w := r.openWay(ctx, env, in)
	defer w.close()
	lock, err := r.lock(w.ctx, repo)
	if err != nil {
		return explain(ctx, err, vault.Address(dest, env))
	}
	defer r.unlock(ctx, lock, dest.Name)
	n, err := repo.ExtendLocks(lock.Context())
	switch {
	case err == nil:
		r.mu.Lock()
		r.extended[k] = extension{at: time.Now(), days: dest.S3.ObjectLockDays}
		r.mu.Unlock()
		if n > 0 {
			r.cfg.Log.InfoContext(ctx, "extended object locks", "environment", env.Name, "destination", dest.Name, "objects", n)
		}
		return nil
	case errors.Is(context.Cause(w.ctx), errMakeWay):
		return nil // the next run goes on with it
	default:
		return explain(ctx, err, vault.Address(dest, env))
	}
}

// errMakeWay is the cause of a reclamation that ends for a backup or restore.
var errMakeWay = errors.New("a backup or a restore is due")

// whyThrift is why data wait that are left for later by reclaimShare.
const whyThrift = "the last prune took long a short while ago"

// whyDamage is why data wait while bad packs are still listed.
const whyDamage = "packs that are damaged are to be set aside first; the next backup does it, or: envbackup repair"

// reclaimScope says how far a reclamation goes.
type reclaimScope struct {
	// until ends it, when it is not zero.
	until time.Time
	// run is the run that it belongs to; empty for an explicit command.
	run string
	// window is an operator's word that it need make way for nothing.
	window bool
}

// reclaimed is what a reclamation came to.
type reclaimed struct {
	bytes int64
	notes []string // for people
}

func (d *reclaimed) note(format string, args ...any) {
	d.notes = append(d.notes, fmt.Sprintf(format, args...))
}

// reclaim removes data that no snapshot needs. A lock in the way, a prune that
// took long a short while ago, or a run that comes due leave it, with what it
// has done, for later (R12); how long it has been waiting is recorded.
func (r *Runner) reclaim(ctx context.Context, env envbackup.Environment, dest envbackup.Destination, in reclaimScope) (reclaimed, error) {
	var done reclaimed
	k := pair{env.ID, dest.ID}
	r.mu.Lock()
	last := r.reclaimed[k]
	r.mu.Unlock()
	started := time.Now()
	if in.run != "" && started.Sub(last.at) < reclaimShare*last.took {
		return done, r.reclaimLater(ctx, env, dest, r.now(), whyThrift)
	}
	// Of two copies a prune might keep the bad one.
	if note, err := r.damage(ctx, env.ID, dest.ID); err != nil || len(note.Packs) > 0 {
		return done, errors.Join(err, r.reclaimLater(ctx, env, dest, r.now(), whyDamage))
	}
	repo, err := r.vault.Repository(ctx, env.ID, dest.ID)
	if err != nil {
		return done, err
	}
	w := r.openWay(ctx, env, in)
	stats, err := r.pruneData(w.ctx, repo, env, dest, in)
	made := w.close()
	r.mu.Lock()
	r.reclaimed[k] = reclamation{at: time.Now(), took: time.Since(started)}
	r.mu.Unlock()

	var locked *repository.LockedError
	var missing *repository.MissingError
	switch {
	case err == nil:
		done.bytes = stats.FreedBytes
		return done, r.reclaimDone(ctx, env, dest, stats, &done)
	case ctx.Err() != nil:
		return done, context.Cause(ctx)
	case made:
		r.cfg.Log.InfoContext(ctx, "a prune made way for other work", "environment", env.Name, "destination", dest.Name, "after", time.Since(started))
		return done, r.reclaimLater(ctx, env, dest, r.now(), "backups and restores came in between")
	case errors.As(err, &missing):
		done.note("no space is reclaimed at %s: %v; see envbackup backups forget-missing --help", dest.Name, missing)
		return done, r.reclaimLater(ctx, env, dest, r.now(), missing.Error())
	case errors.As(err, &locked):
		return done, r.reclaimLater(ctx, env, dest, r.now(), "the repository was "+locked.Error())
	case errors.Is(err, repository.ErrLocked), errors.Is(err, repository.ErrBusy):
		return done, r.reclaimLater(ctx, env, dest, r.now(), "the repository was in use")
	default:
		return done, explain(ctx, err, vault.Address(dest, env))
	}
}

// pruneData removes and rewrites; in a window it waits for locks that are in
// the way until ctx ends.
func (r *Runner) pruneData(ctx context.Context, repo *repository.Repository, env envbackup.Environment, dest envbackup.Destination, in reclaimScope) (repository.PruneStats, error) {
	opt := repository.PruneOptions{MaxRepackBytes: reclaimMost, UnreferencedGrace: unreferencedGrace}
	if in.window {
		opt.MaxRepackBytes = 0
	}
	for {
		// R7: a listing that lacks a backup, be it another schedule's, would
		// make its data look unneeded.
		var err error
		if opt.Expected, err = r.expected(ctx, env, dest); err != nil {
			return repository.PruneStats{}, err
		}
		stats, err := repo.Prune(ctx, opt)
		if !in.window || !errors.Is(err, repository.ErrLocked) && !errors.Is(err, repository.ErrBusy) {
			return stats, err
		}
		timer := time.NewTimer(lockPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return stats, context.Cause(ctx)
		}
	}
}

// expected returns the snapshots that the repository must list.
func (r *Runner) expected(ctx context.Context, env envbackup.Environment, dest envbackup.Destination) ([]restic.ID, error) {
	row, err := r.store.Repository(ctx, dest.ID, env.ID)
	if err != nil {
		return nil, err
	}
	names, err := r.store.SnapshotIDs(ctx, env.ID, dest.ID, row.CreatedAt)
	if err != nil {
		return nil, err
	}
	ids := make([]restic.ID, 0, len(names))
	for _, name := range names {
		id, err := restic.ParseID(name)
		if err != nil {
			return nil, fmt.Errorf("snapshot %q: %w", name, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// reclaimDone records that nothing waits any more, but for what the store
// retains, and says what the store keeps.
func (r *Runner) reclaimDone(ctx context.Context, env envbackup.Environment, dest envbackup.Destination, stats repository.PruneStats, done *reclaimed) error {
	if stats.HiddenBytes > 0 {
		done.note("%s at %s are no longer needed, but the bucket keeps them as old versions: a lifecycle rule that expires noncurrent versions frees them",
			humanize.IBytes(uint64(stats.HiddenBytes)), dest.Name)
	}
	if stats.PacksLocked > 0 {
		done.note("%s at %s are no longer needed and retained by lock, the first until %s; a later prune removes them",
			humanize.IBytes(uint64(max(stats.LockedBytes, 0))), dest.Name, stats.LockedUntil.UTC().Format(time.RFC3339))
		// The wait begins when the first lock ends: until then nobody could
		// do anything about it.
		return r.noteReclaim(ctx, env, dest, stats.LockedUntil, "a lock of the store retains it")
	}
	return r.noteReclaim(ctx, env, dest, time.Time{}, "")
}

// reclaimLater records that data wait since at, or since an earlier instant
// that is known.
func (r *Runner) reclaimLater(ctx context.Context, env envbackup.Environment, dest envbackup.Destination, at time.Time, why string) error {
	return r.noteReclaim(ctx, env, dest, at, why)
}

func (r *Runner) noteReclaim(ctx context.Context, env envbackup.Environment, dest envbackup.Destination, since time.Time, why string) error {
	ctx = context.WithoutCancel(ctx) // of what was done
	row, err := r.store.Repository(ctx, dest.ID, env.ID)
	if err != nil {
		return err
	}
	if known := row.ReclaimSince; !since.IsZero() && !known.IsZero() && known.Before(since) && !since.After(r.now()) {
		since = known
	}
	if why == whyThrift && !row.ReclaimSince.IsZero() {
		return nil // what was in the way before says more
	}
	if row.ReclaimSince.Equal(since) && row.ReclaimWhy == why {
		return nil
	}
	return r.store.NoteReclaim(ctx, dest.ID, env.ID, since, why)
}

// way is a reclamation that goes on, and how it is stopped.
type way struct {
	r      *Runner
	env    string
	run    string
	ctx    context.Context //nolint:containedctx // of the one reclamation
	cancel context.CancelCauseFunc
	watch  sync.WaitGroup
	closed chan struct{}
}

// openWay begins a reclamation: its context ends when work of the environment
// is due that it belongs not to. Close it.
func (r *Runner) openWay(ctx context.Context, env envbackup.Environment, in reclaimScope) *way {
	w := &way{r: r, env: env.ID, run: in.run, closed: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	if in.window {
		return w
	}
	r.mu.Lock()
	r.reclaiming[w] = struct{}{}
	r.mu.Unlock()
	w.watch.Go(func() { w.look(env.Name, in) })
	return w
}

// look asks now and then whether other work waits. What it is told late, or
// not at all, the run's own wait for the lock makes up for.
func (w *way) look(environment string, in reclaimScope) {
	ticker := time.NewTicker(wayEvery)
	defer ticker.Stop()
	for {
		waits, err := w.r.store.WorkWaits(w.ctx, environment, in.run, w.r.now())
		if err != nil && w.ctx.Err() == nil {
			w.r.cfg.Log.WarnContext(w.ctx, "cannot see whether work waits for a prune", "environment", environment, "error", err)
		}
		if waits || !in.until.IsZero() && !time.Now().Before(in.until) {
			w.cancel(errMakeWay)
			return
		}
		select {
		case <-w.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// close ends it and reports whether it made way.
func (w *way) close() bool {
	w.r.mu.Lock()
	delete(w.r.reclaiming, w)
	w.r.mu.Unlock()
	made := errors.Is(context.Cause(w.ctx), errMakeWay)
	w.cancel(nil)
	w.watch.Wait()
	close(w.closed)
	return made
}

// makeWay stops the reclamations of an environment that this process executes,
// and waits until their locks are gone: a run does not wait for them.
func (r *Runner) makeWay(environmentID string) {
	r.mu.Lock()
	var ways []*way
	for w := range r.reclaiming {
		if w.env == environmentID {
			ways = append(ways, w)
		}
	}
	r.mu.Unlock()
	for _, w := range ways {
		w.cancel(errMakeWay)
		<-w.closed
	}
}
