package repository

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// lagging answers each listing and each write after a while, and tells when a
// kind was written first.
type lagging struct {
	backend.Backend
	put, list time.Duration
	onPut     func()

	mu    sync.Mutex // uploads run side by side
	first [backend.KindData + 1]time.Time
}

func (l *lagging) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if err := sleep(ctx, l.put); err != nil {
		return err
	}
	if l.onPut != nil {
		l.onPut()
	}
	l.mu.Lock()
	if l.first[h.Kind].IsZero() {
		l.first[h.Kind] = time.Now()
	}
	l.mu.Unlock()
	return l.Backend.Put(ctx, h, data, opt)
}

func (l *lagging) List(ctx context.Context, kind backend.Kind, fn func(string, int64, time.Time) error) error {
	if err := sleep(ctx, l.list); err != nil {
		return err
	}
	return l.Backend.List(ctx, kind, fn)
}

// Issue 4, item 6: a shared lock stands from before the first pack to after the
// snapshot, also when the work begins before it stands.
func TestNothingIsWrittenBeforeALockAheadStands(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := &lagging{Backend: mem.New()}
		r := newRepo(t, be, withSmallPacks(64<<10))
		began := time.Now()
		lock, err := r.LockAhead(t.Context())
		must(t, err)
		if waited := time.Since(began); waited != 0 {
			t.Errorf("it returned after %s, want at once", waited)
		}
		mustBackup(t, r, day(0), sample(0))
		for _, kind := range []backend.Kind{backend.KindData, backend.KindIndex, backend.KindSnapshot} {
			if after := be.first[kind].Sub(began); after < lockSettle {
				t.Errorf("the first %s was written after %s, want %s at least", kind, after, lockSettle)
			}
		}
		if err := lock.Context().Err(); err != nil {
			t.Errorf("the lock is held and its context says %v", err)
		}
		must(t, lock.Unlock())

		// A snapshot of what is stored waits as well.
		began, be.first = time.Now(), [backend.KindData + 1]time.Time{}
		lock, err = r.LockAhead(t.Context())
		must(t, err)
		mustBackup(t, r, day(0), sample(0))
		if after := be.first[backend.KindSnapshot].Sub(began); after < lockSettle || !be.first[backend.KindData].IsZero() {
			t.Errorf("the snapshot was written after %s, want %s at least", after, lockSettle)
		}
		must(t, lock.Unlock())
		if locks, err := r.Locks(t.Context()); err != nil || len(locks) != 0 {
			t.Errorf("left: %v, %v", locks, err)
		}
	})
}

// One who locked at the same moment and is seen late: nothing is written, the
// caller is told, and the next attempt works.
func TestALockAheadThatMeetsAnotherWritesNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := mem.New()
		r, other := newRepo(t, be, withSmallPacks(64<<10)), reopen(t, be)
		lock, err := r.LockAhead(t.Context())
		must(t, err)
		theirs, err := other.writeLock(t.Context(), true, nil)
		must(t, err)
		if _, err := backup(t.Context(), r, day(0), sample(0)); !errors.Is(err, ErrLocked) {
			t.Errorf("backup: %v", err)
		}
		<-lock.Context().Done()
		if cause := context.Cause(lock.Context()); !errors.Is(cause, ErrLocked) {
			t.Errorf("the lock's context ended with %v", cause)
		}
		r.Abort()
		// Until it is released, work that does not know its context fails, too.
		if _, err := backup(t.Context(), r, day(0), sample(0)); !errors.Is(err, ErrLocked) {
			t.Errorf("backup under a lock that failed: %v", err)
		}
		r.Abort()
		must(t, lock.Unlock())
		for _, kind := range []backend.Kind{backend.KindData, backend.KindIndex, backend.KindSnapshot} {
			if n := objects(t, be, kind); n != 0 {
				t.Errorf("%d objects of kind %s were written", n, kind)
			}
		}
		if locks, err := r.Locks(t.Context()); err != nil || len(locks) != 1 || locks[0].ID != theirs.ID {
			t.Errorf("locks: %v, %v, want the other's alone", locks, err)
		}
		must(t, other.removeLock(t.Context(), theirs.ID))
		lock, err = r.LockAhead(t.Context())
		must(t, err)
		mustBackup(t, r, day(0), sample(0))
		must(t, lock.Unlock())
	})
}

// A lock that took long to write may be missed by one who removes things: that
// one is looked for before the index is loaded.
func TestALockAheadThatCameLateLooksAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := mem.New()
		r := newRepo(t, store)
		other := reopen(t, store)
		be := &lagging{Backend: store, put: lockSettle}
		r.be = be
		be.onPut = func() {
			be.onPut = nil
			_, err := other.writeLock(t.Context(), true, nil)
			must(t, err)
		}
		if _, err := r.LockAhead(t.Context()); !errors.Is(err, ErrLocked) {
			t.Errorf("lock: %v", err)
		}
		if locks, err := r.Locks(t.Context()); err != nil || len(locks) != 1 || !locks[0].Exclusive {
			t.Errorf("locks: %v, %v, want the other's alone", locks, err)
		}
	})
}

// exclusively locks as a prune does: a shared lock to plan under, and an
// exclusive one beside it.
func exclusively(r *Repository) (*Lock, error) {
	ctx := context.Background()
	shared, err := r.LockAhead(ctx)
	if err != nil {
		return nil, err
	}
	exclusive, err := r.lockAhead(ctx, shared)
	if err == nil {
		if err = errors.Join(exclusive.stand(ctx), shared.stand(ctx)); err == nil {
			return exclusive, shared.Unlock()
		}
		err = errors.Join(err, exclusive.Unlock())
	}
	return nil, errors.Join(err, shared.Unlock())
}

// A prune waits once, not for each of its two locks: they settle side by side,
// and neither takes the other for somebody else's.
func TestTheTwoLocksOfAPruneSettleSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := mem.New()
		r := newRepo(t, be)
		old := mustBackup(t, r, day(0), sample(0))
		kept := mustBackup(t, r, day(1), sample(1))
		must(t, r.ForgetSnapshots(t.Context(), old.ID))
		began := time.Now()
		stats, err := r.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1})
		must(t, err)
		if took := time.Since(began); took != lockSettle || stats.PacksRemoved+stats.PacksRepacked == 0 {
			t.Errorf("it took %s, want %s; %+v", took, lockSettle, stats)
		}
		if locks, err := r.Locks(t.Context()); err != nil || len(locks) != 0 {
			t.Errorf("left: %v, %v", locks, err)
		}
		verifyAll(t, be, map[restic.ID]map[string]files{kept.ID: sample(1)})
	})
}

// Of a backup that locks ahead and a prune that begins at about the same
// moment, on stores of any speed, at most one gets to work; what the backup
// reads after LockAhead is what the prune left.
func TestALockAheadAndAPruneNeverWorkTogether(t *testing.T) {
	t.Parallel()
	const step = 30 * time.Millisecond
	base := mem.New()
	newRepo(t, base)
	both, ahead, exclusive := 0, 0, 0
	for _, lag := range []time.Duration{0, step, 3 * step, 8 * step} {
		for offset := -15 * step; offset <= 15*step; offset += step {
			synctest.Test(t, func(t *testing.T) {
				store := base.Clone()
				backing := reopen(t, store)
				backing.be = &lagging{Backend: store, put: lag, list: lag}
				pruning := reopen(t, store)
				pruning.be = &lagging{Backend: store, put: lag / 2, list: lag}

				var from, to time.Time // the exclusive work
				done := make(chan struct{})
				go func() {
					defer close(done)
					must(t, sleep(context.Background(), max(0, -offset)))
					l, err := exclusively(pruning)
					if errors.Is(err, ErrLocked) {
						return
					}
					must(t, err)
					from = time.Now()
					must(t, sleep(context.Background(), 5*step))
					to = time.Now()
					must(t, l.Unlock())
				}()
				must(t, sleep(t.Context(), max(0, offset)))
				l, err := backing.LockAhead(t.Context())
				locked := time.Now() // the index is loaded now
				stood := false
				if !errors.Is(err, ErrLocked) {
					must(t, err)
					stood = backing.gate.wait(t.Context()) == nil
				}
				<-done
				switch {
				case stood && !from.IsZero():
					both++
					if to.After(locked) {
						t.Errorf("lag %s, offset %s: the backup loaded its index at %s, the prune worked from %s to %s",
							lag, offset, locked.Format("05.000"), from.Format("05.000"), to.Format("05.000"))
					}
				case stood:
					ahead++
				case !from.IsZero():
					exclusive++
				}
				if l != nil {
					must(t, l.Unlock())
				}
			})
		}
	}
	if both == 0 || ahead == 0 || exclusive == 0 {
		t.Errorf("one after the other %d times, only the backup %d times, only the prune %d times: want some of each", both, ahead, exclusive)
	}
	t.Logf("one after the other %d times, only the backup %d times, only the prune %d times", both, ahead, exclusive)
}
