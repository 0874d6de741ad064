package runner

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// Store is the part of the daemon's state that runs and restores touch.
type Store interface {
	Schedule(ctx context.Context, idOrReference string) (envbackup.Schedule, error)
	Schedules(ctx context.Context, filter envbackup.ScheduleFilter, page envbackup.Page) ([]envbackup.Schedule, string, error)
	Environment(ctx context.Context, idOrName string) (envbackup.Environment, error)
	Destination(ctx context.Context, idOrName string) (envbackup.Destination, error)
	Repository(ctx context.Context, destinationID, environmentID string) (envbackup.Repository, error)
	Run(ctx context.Context, id string) (envbackup.Run, error)

	// AddBackup is idempotent by snapshot and destination; it fills b.ID.
	AddBackup(ctx context.Context, b *envbackup.Backup) error
	Backup(ctx context.Context, idOrSnapshot string) (envbackup.Backup, error)
	AllBackups(ctx context.Context, scheduleID, destinationID string) ([]envbackup.Backup, error)
	Backups(ctx context.Context, filter envbackup.BackupFilter, page envbackup.Page) (items []envbackup.Backup, next string, total int64, err error)
	// SnapshotIDs returns what a repository must list: the snapshots of every
	// backup there, whatever its schedule, whose removal has not begun.
	SnapshotIDs(ctx context.Context, environmentID, destinationID string, since time.Time) ([]string, error)
	// MarkRemoval refuses with CodeConflict when one of them is held.
	MarkRemoval(ctx context.Context, ids []string, at time.Time) error
	// BeginRemoval refuses with CodeConflict when a hold came after the mark.
	BeginRemoval(ctx context.Context, id string, at time.Time) error
	UnmarkRemoval(ctx context.Context, ids []string) error
	DropBackups(ctx context.Context, ids []string) error
	// RecentSizes returns the restored sizes of the schedule's newest n
	// candidates from the run ledger, pruned ones included and exceptRun not.
	RecentSizes(ctx context.Context, scheduleID, exceptRun string, n int) ([]int64, error)
	// SetLocks records until when the object store retains backups.
	SetLocks(ctx context.Context, until map[string]time.Time) error

	SetAside(ctx context.Context, scheduleID, destinationID string) (store.SetAside, error)
	SaveSetAside(ctx context.Context, a store.SetAside) error
	// NoteRetention says what holds removals; empty is nothing.
	NoteRetention(ctx context.Context, scheduleID, destinationID, note string) error
	// AddWaited lets d pass for every list that waits.
	AddWaited(ctx context.Context, d time.Duration) error

	// MarkVerified and SetStatus record what a verification found; damaged is
	// never verified.
	MarkVerified(ctx context.Context, id string, at time.Time) error
	SetStatus(ctx context.Context, id string, status envbackup.BackupStatus) error
	Verification(ctx context.Context, id string) (envbackup.Verification, error)
	// BackupsInUse returns the backups that are being restored or verified, on
	// whichever worker.
	BackupsInUse(ctx context.Context) (map[string]bool, error)
	// NoteReclaim records since when data wait to be reclaimed, and why.
	NoteReclaim(ctx context.Context, destinationID, environmentID string, since time.Time, why string) error
	// WorkWaits reports whether work of an environment is due or under way,
	// besides exceptRun.
	WorkWaits(ctx context.Context, environment, exceptRun string, now time.Time) (bool, error)

	Setting(ctx context.Context, key string) (value string, ok bool, err error)
	SetSetting(ctx context.Context, key, value string) error
}

// Vault opens repositories.
type Vault interface {
	Repository(ctx context.Context, environmentID, destinationID string) (*repository.Repository, error)
}

// Config is how the runner works.
type Config struct {
	// AllowRead and AllowRestore refuse a path that the operator does not
	// allow, with CodeNotAllowed.
	AllowRead    func(path string) error
	AllowRestore func(path string) error
	// Worker is this daemon's name; environments pinned to another are left
	// to that one. Empty matches unpinned environments only.
	Worker string
	// Hostname stands in every snapshot.
	Hostname string
	// Version stands in every snapshot as the program's.
	Version string
	Log     *slog.Logger
	// Scratch is the directory into which verifications restore; it holds
	// nothing else. Empty refuses those.
	Scratch string
	// LockWait is how long a run waits for a repository that is locked, as by
	// the last step of a prune, before its attempt fails; 0 does not wait.
	LockWait time.Duration
	// Recheck asks for a check at envbackup.CheckDamaged, after a backup that
	// may have made damaged ones whole; nil asks nobody.
	Recheck func(ctx context.Context, env envbackup.Environment, dest envbackup.Destination) error
	// Now is the wall clock; nil means time.Now. Tests of retention set it.
	Now func() time.Time
}

// Runner executes runs, restores and verifications. All methods may be called concurrently;
// that one environment has one writer at a time is the queue's part.
type Runner struct {
	store Store
	vault Vault
	cfg   Config

	mu sync.Mutex
	// retaining holds a lock for each schedule at a destination: retention
	// after a run and an explicit one must not judge the same list at once.
	retaining map[pair]*sync.Mutex
	// reclaimed remembers when the data of a repository was last pruned, and
	// how long that took.
	reclaimed map[pair]reclamation
	// extended remembers when the locks of a repository were extended.
	extended map[pair]extension
	// reclaiming are the reclamations that go on and make way for a run.
	reclaiming map[*way]struct{}
	// inUse counts restores and verifications that read a backup.
	inUse map[string]int
	// proofs is what verifications have proven that have not ended, by id.
	proofs map[string]*begun
	// unscratched asks KeepTime to clear the scratch directory.
	unscratched chan struct{}
}

// pair names two things that meet, such as a schedule and a destination.
type pair struct{ a, b string }

// New returns a runner.
func New(state Store, vault Vault, cfg Config) *Runner {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Runner{
		store: state, vault: vault, cfg: cfg,
		retaining: map[pair]*sync.Mutex{}, reclaimed: map[pair]reclamation{}, extended: map[pair]extension{}, reclaiming: map[*way]struct{}{}, inUse: map[string]int{},
		proofs: map[string]*begun{}, unscratched: make(chan struct{}, 1),
	}
}

func (r *Runner) now() time.Time { return r.cfg.Now().UTC() }

// use marks a backup as being read until the returned function is called, so
// that no retention removes it meanwhile.
func (r *Runner) use(backupID string) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inUse[backupID]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.inUse[backupID]--; r.inUse[backupID] == 0 {
			delete(r.inUse, backupID)
		}
	}
}

// usedNow returns the backups that are being read, here or by another worker.
func (r *Runner) usedNow(ctx context.Context) (map[string]bool, error) {
	used, err := r.store.BackupsInUse(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.inUse {
		used[id] = true
	}
	return used, nil
}

// retain locks a schedule's backups at a destination against another
// retention in this process.
func (r *Runner) retain(scheduleID, destinationID string) (unlock func()) {
	r.mu.Lock()
	k := pair{scheduleID, destinationID}
	m, ok := r.retaining[k]
	if !ok {
		m = new(sync.Mutex)
		r.retaining[k] = m
	}
	r.mu.Unlock()
	m.Lock()
	return m.Unlock
}

// lockPoll is the time between two looks at a repository that is locked.
const lockPoll = 2 * time.Second

// lock takes a shared lock, waiting for one that is in the way.
func (r *Runner) lock(ctx context.Context, repo *repository.Repository) (*repository.Lock, error) {
	return r.awaitLock(ctx, func() (*repository.Lock, error) { return repo.Lock(ctx, false) })
}

// lockAhead is lock for a backup, which scans while its lock settles.
func (r *Runner) lockAhead(ctx context.Context, repo *repository.Repository) (*repository.Lock, error) {
	return r.awaitLock(ctx, func() (*repository.Lock, error) { return repo.LockAhead(ctx) })
}

func (r *Runner) awaitLock(ctx context.Context, take func() (*repository.Lock, error)) (*repository.Lock, error) {
	for until := time.Now().Add(r.cfg.LockWait); ; {
		lock, err := take()
		if !errors.Is(err, repository.ErrLocked) || time.Now().After(until) {
			return lock, err
		}
		timer := time.NewTimer(lockPoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}

// unlock gives a repository's lock back; one that cannot be given back goes
// stale by itself.
func (r *Runner) unlock(ctx context.Context, lock *repository.Lock, place string) {
	if err := lock.Unlock(); err != nil {
		r.cfg.Log.WarnContext(ctx, "cannot remove a lock", "repository", place, "error", err)
	}
}
