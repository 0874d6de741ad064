package repository

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// LockAhead takes a shared lock as Lock does, and returns as soon as the lock
// is written: the wait for others who lock at the same moment goes on beside
// the caller's work. Until it is over, this Repository writes nothing: packs,
// index files and snapshots wait for it. If it ends in a conflict, they fail
// and the lock's context ends, both with a *LockedError.
//
// The index is to be loaded after LockAhead. Whoever removes things found no
// lock of others before, or finds this one: see written.
func (r *Repository) LockAhead(ctx context.Context) (*Lock, error) {
	return r.lockAhead(ctx, nil)
}

// lockAhead is LockAhead, or with the shared lock of the same work takes an
// exclusive one beside it. What is written waits for shared locks only; who
// removes something has to call stand.
func (r *Repository) lockAhead(ctx context.Context, shared *Lock) (*Lock, error) {
	began := time.Now()
	exclusive := shared != nil
	own, announce := nobodys, func(restic.ID) {}
	if exclusive {
		// The shared lock may not stand yet: neither is in the other's way.
		own, announce = shared.owns, shared.addKin
	}
	if err := r.lockConflict(ctx, exclusive, own); err != nil {
		return nil, fmt.Errorf("lock repository: %w", err)
	}
	info, err := r.writeLock(ctx, exclusive, announce)
	if err != nil {
		return nil, fmt.Errorf("lock repository: %w", err)
	}
	l := r.newLock(ctx, info)
	l.standing = make(chan struct{})
	if exclusive {
		l.addKin(shared.ID())
	}
	if err := l.written(began); err != nil {
		l.cancel(nil)
		return nil, fmt.Errorf("lock repository: %w", errors.Join(err, r.removeLock(ctx, info.ID)))
	}
	if !exclusive {
		r.gate.add(l)
	}
	go func() {
		l.settle()
		l.keep()
	}()
	return l, nil
}

// written makes sure that what is read from now on stays there. One who takes
// an exclusive lock waits lockSettle before he looks for the last time and
// begins to remove. Where our lock took less time to write, he sees it then.
// Where it took longer, he may have missed it and be at work, but not without
// his lock being there to see.
func (l *Lock) written(began time.Time) error {
	if time.Since(began) < lockSettle/2 {
		return nil
	}
	return l.r.lockConflict(l.ctx, l.info.Exclusive, l.owns)
}

// settle waits until the lock stands, or fails.
func (l *Lock) settle() {
	defer close(l.standing)
	err := sleep(l.ctx, l.r.set.settle)
	if err == nil {
		err = l.r.lockConflict(l.ctx, l.info.Exclusive, l.owns)
	}
	if err == nil {
		return
	}
	if cause := context.Cause(l.ctx); cause != nil {
		err = cause
	}
	l.unsettled = fmt.Errorf("lock repository: %w", err)
	l.lose(l.unsettled)
}

// stand waits until a lock of lockAhead stands, or returns why it does not.
func (l *Lock) stand(ctx context.Context) error {
	select {
	case <-l.standing:
		return l.unsettled
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// gate holds back what is written until the locks stand that it is written
// under. It is safe for concurrent use.
type gate struct {
	mu    sync.Mutex
	locks map[*Lock]struct{} // not yet standing, or lost before, and not released
}

func (g *gate) add(l *Lock) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.locks == nil {
		g.locks = make(map[*Lock]struct{})
	}
	g.locks[l] = struct{}{}
}

func (g *gate) remove(l *Lock) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.locks, l)
}

// one returns a lock to wait for, or nil.
func (g *gate) one() *Lock {
	g.mu.Lock()
	defer g.mu.Unlock()
	for l := range g.locks {
		return l
	}
	return nil
}

// wait returns once every lock stands, or with the error of one that does not.
func (g *gate) wait(ctx context.Context) error {
	for l := g.one(); l != nil; l = g.one() {
		if err := l.stand(ctx); err != nil {
			return err
		}
		g.remove(l)
	}
	return nil
}
