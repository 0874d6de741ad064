package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	maxLockSize = 1 << 20
	// lockSettle is how long a new lock lies in the store before its owner
	// looks again for others: of two that wrote at once, both see both.
	lockSettle = 200 * time.Millisecond
	// lockRefresh is how often a lock is renewed.
	lockRefresh = 5 * time.Minute
	// lockRetry is how soon a renewal that failed is tried again.
	lockRetry = 10 * time.Second
	// lockStale is the age at which others may remove a lock.
	lockStale = 30 * time.Minute
	// lockLost is the age at which the owner stops: early enough that whatever
	// is under way has ended before others may take the lock for dead.
	lockLost = lockStale - lockStale/4
	// unlockGrace bounds the removal of a lock when its owner is cancelled.
	unlockGrace = 10 * time.Second
)

// processStart tells a lock of this process from one that an earlier process
// with the same number left, as happens in containers.
var processStart = time.Now()

// LockInfo is the document of a lock.
type LockInfo struct {
	Time      time.Time `json:"time"`
	Exclusive bool      `json:"exclusive"`
	Hostname  string    `json:"hostname"`
	Username  string    `json:"username"`
	PID       int       `json:"pid"`
	UID       uint32    `json:"uid,omitempty"`
	GID       uint32    `json:"gid,omitempty"`

	ID restic.ID `json:"-"`
}

// Lock is a lock that this process holds on a repository.
type Lock struct {
	r      *Repository
	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // of the removal; read after done is closed

	// standing is closed once a lock of LockAhead stands, or unsettled says
	// why it does not. It is nil for other locks.
	standing  chan struct{}
	unsettled error

	mu   sync.Mutex
	info LockInfo
	// kin are locks of the same piece of work, which are no conflict.
	kin []restic.ID
}

// Lock locks the repository by restic's protocol: several shared locks go
// together, an exclusive one stands alone. A conflict is a *LockedError, which
// matches ErrLocked. The lock is renewed in the background until Unlock.
//
// Hold a shared lock from before the first blob is saved until after the
// snapshot is saved. Work under Context, not under ctx: it ends with
// ErrLockLost when the lock cannot be kept.
func (r *Repository) Lock(ctx context.Context, exclusive bool) (*Lock, error) {
	// A lock that others must wait for is not written for nothing.
	if err := r.lockConflict(ctx, exclusive, nobodys); err != nil {
		return nil, fmt.Errorf("lock repository: %w", err)
	}
	info, err := r.writeLock(ctx, exclusive, nil)
	if err == nil {
		if err = sleep(ctx, r.set.settle); err == nil {
			err = r.lockConflict(ctx, exclusive, func(id restic.ID) bool { return id == info.ID })
		}
		if err != nil {
			err = errors.Join(err, r.removeLock(ctx, info.ID))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("lock repository: %w", err)
	}
	l := r.newLock(ctx, info)
	go l.keep()
	return l, nil
}

// nobodys is the ownership of locks where none is one's own.
func nobodys(restic.ID) bool { return false }

// owns reports whether a lock is l itself or belongs to the same work. It is
// asked for each lock that a listing shows, after it was listed: kin is entered
// before it is written.
func (l *Lock) owns(id restic.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return id == l.info.ID || slices.Contains(l.kin, id)
}

func (l *Lock) addKin(id restic.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kin = append(l.kin, id)
}

func (r *Repository) newLock(ctx context.Context, info LockInfo) *Lock {
	l := &Lock{r: r, info: info, done: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	return l
}

// Context ends when the lock is lost (its cause is then ErrLockLost, or
// ErrLocked for a lock of LockAhead that met another), when it is released, and with the context that Lock was called with.
func (l *Lock) Context() context.Context { return l.ctx }

// ID returns the name of the lock as it was first written, or was renewed to.
func (l *Lock) ID() restic.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.info.ID
}

// Release ends the lock's context and begins to remove the lock. It is for
// who still has something to do that needs no lock; Unlock waits for the end.
func (l *Lock) Release() { l.cancel(context.Canceled) }

// blame returns why the lock does not stand or was lost, if that is what ended
// the work that failed with err, and err otherwise.
func (l *Lock) blame(err error) error {
	if cause := context.Cause(l.ctx); err != nil && (errors.Is(cause, ErrLocked) || errors.Is(cause, ErrLockLost)) {
		return cause
	}
	return err
}

// Unlock ends the lock's context and removes the lock. Further calls return
// the same result.
func (l *Lock) Unlock() error {
	defer l.r.gate.remove(l)
	select {
	case <-l.done:
		return l.err
	default:
	}
	l.cancel(context.Canceled)
	<-l.done
	return l.err
}

// keep renews the lock until its context ends, and removes it then.
func (l *Lock) keep() {
	defer close(l.done)
	renewed := l.info.Time // with a monotonic reading, so clock steps do not matter
	wait := lockRefresh
	for {
		if err := sleep(l.ctx, wait); err != nil {
			break
		}
		ctx, cancel := context.WithTimeout(l.ctx, lockLost-time.Since(renewed))
		info, err := l.renew(ctx)
		cancel()
		switch {
		case err == nil:
			l.mu.Lock()
			l.info = info
			l.mu.Unlock()
			renewed, wait = info.Time, lockRefresh
			continue
		case errors.Is(err, ErrLockLost):
			l.lose(err)
		case time.Since(renewed) >= lockLost:
			l.lose(fmt.Errorf("%w: it could not be renewed for %s: %w", ErrLockLost, lockLost, err))
		default:
			wait = max(min(lockRetry, lockLost-time.Since(renewed)), 0)
			continue
		}
		break
	}
	// The caller may be cancelled; the lock must go all the same, or it keeps
	// others out for half an hour.
	l.err = l.r.removeLock(l.ctx, l.info.ID)
}

func (l *Lock) lose(err error) {
	l.cancel(err)
	// Uploads do not run under the lock's context.
	if l.r.w.active() {
		l.r.w.fail(err)
	}
}

// renew writes a lock with the present time and removes the old one. An old
// one that is gone was removed by somebody who may have pruned since.
func (l *Lock) renew(ctx context.Context) (LockInfo, error) {
	_, err := l.r.be.Stat(ctx, backend.Handle{Kind: backend.KindLock, Name: l.info.ID.String()})
	if errors.Is(err, backend.ErrNotExist) {
		return LockInfo{}, fmt.Errorf("%w: somebody removed it", ErrLockLost)
	}
	if err != nil {
		return LockInfo{}, err
	}
	info, err := l.r.writeLock(ctx, l.info.Exclusive, nil)
	if err != nil {
		return LockInfo{}, err
	}
	// Two locks of one owner do no harm; the old one goes stale by itself.
	_ = l.r.removeLock(ctx, l.info.ID)
	return info, nil
}

// writeLock stores a lock. announce, if not nil, learns its name before.
func (r *Repository) writeLock(ctx context.Context, exclusive bool, announce func(restic.ID)) (LockInfo, error) {
	info := LockInfo{
		Time: time.Now(), Exclusive: exclusive, Hostname: r.who.hostname, Username: r.who.username,
		PID: r.who.pid, UID: r.who.uid, GID: r.who.gid,
	}
	doc := info
	doc.Time = info.Time.UTC()
	plain, err := json.Marshal(doc)
	if err != nil {
		return LockInfo{}, fmt.Errorf("encode lock: %w", err)
	}
	sealed := r.sealDocument(plain)
	info.ID = restic.Hash(sealed)
	if announce != nil {
		announce(info.ID)
	}
	if err := put(ctx, r.be, backend.KindLock, info.ID, sealed); err != nil {
		// It may have arrived all the same, and nobody would renew it.
		return LockInfo{}, errors.Join(fmt.Errorf("write lock: %w", err), r.removeLock(ctx, info.ID))
	}
	return info, nil
}

// removeLock removes a lock also when ctx has ended.
func (r *Repository) removeLock(ctx context.Context, id restic.ID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unlockGrace)
	defer cancel()
	if err := r.be.Delete(ctx, backend.Handle{Kind: backend.KindLock, Name: id.String()}); err != nil {
		return fmt.Errorf("remove lock %s: %w", id.Short(), err)
	}
	return nil
}

// lockConflict returns a *LockedError for a lock, other than own ones, that
// does not go together with a new one.
func (r *Repository) lockConflict(ctx context.Context, exclusive bool, own func(restic.ID) bool) error {
	locks, err := r.readLocks(ctx, own)
	if err != nil {
		return err
	}
	for _, l := range locks {
		if exclusive || l.Exclusive {
			return &LockedError{Lock: l}
		}
	}
	return nil
}

// Locks lists all locks on the repository, also those of this process.
func (r *Repository) Locks(ctx context.Context) ([]LockInfo, error) { return r.readLocks(ctx, nobodys) }

func (r *Repository) readLocks(ctx context.Context, skip func(restic.ID) bool) ([]LockInfo, error) {
	var ids []restic.ID
	err := r.be.List(ctx, backend.KindLock, func(name string, size int64, _ time.Time) error {
		// An empty lock is what a full disk leaves; nobody holds it.
		if id, err := restic.ParseID(name); err == nil && size > 0 && !skip(id) {
			ids = append(ids, id)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list locks: %w", err)
	}
	var locks []LockInfo
	for _, id := range ids {
		plain, err := r.loadDocument(ctx, backend.KindLock, id, maxLockSize)
		if errors.Is(err, backend.ErrNotExist) {
			continue // released since the listing
		}
		if err != nil {
			return nil, fmt.Errorf("read lock %s: %w", id.Short(), err)
		}
		l, err := decodeLock(plain)
		if err != nil {
			return nil, fmt.Errorf("read lock %s: %w", id.Short(), err)
		}
		l.ID = id
		locks = append(locks, l)
	}
	return locks, nil
}

func decodeLock(plain []byte) (LockInfo, error) {
	var l LockInfo
	if err := json.Unmarshal(plain, &l); err != nil {
		return LockInfo{}, damaged("decode lock", err)
	}
	return l, nil
}

// ClearStaleLocks removes the locks that nobody holds: those of processes of
// this host that are gone, and those that were not renewed for half an hour.
// It returns what it removed. Call it at start-up, before this process takes
// locks of its own.
func (r *Repository) ClearStaleLocks(ctx context.Context) ([]LockInfo, error) {
	locks, err := r.readLocks(ctx, nobodys)
	if err != nil {
		return nil, fmt.Errorf("clear stale locks: %w", err)
	}
	var cleared []LockInfo
	now := time.Now()
	for _, l := range locks {
		if !r.isStale(l, now) {
			continue
		}
		if err := r.removeLock(ctx, l.ID); err != nil {
			return cleared, fmt.Errorf("clear stale locks: %w", err)
		}
		cleared = append(cleared, l)
	}
	return cleared, nil
}

func (r *Repository) isStale(l LockInfo, now time.Time) bool {
	switch {
	case now.Sub(l.Time) > lockStale:
		return true
	case l.Hostname != r.who.hostname:
		return false
	case l.PID == r.who.pid:
		// Written before this process began, so by another with its number.
		return l.Time.Before(processStart.Add(-time.Second))
	default:
		return !processExists(l.PID)
	}
}

// sleep waits or returns the context's cause.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
