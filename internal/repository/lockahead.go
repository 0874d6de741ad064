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
	began := time.Now()
	if err := r.lockConflict(ctx, false); err != nil {
		return nil, fmt.Errorf("lock repository: %w", err)
	}
	info, err := r.writeLock(ctx, false)
	if err != nil {
		return nil, fmt.Errorf("lock repository: %w", err)
	}
	if err := r.written(ctx, began, info.ID); err != nil {
		return nil, fmt.Errorf("lock repository: %w", errors.Join(err, r.removeLock(ctx, info.ID)))
	}
	l := r.newLock(ctx, info)
	l.standing = make(chan struct{})
	r.gate.add(l)
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
func (r *Repository) written(ctx context.Context, began time.Time, own restic.ID) error {
	if time.Since(began) < lockSettle/2 {
		return nil
	}
	return r.lockConflict(ctx, false, own)
}

// settle waits until the lock stands, or fails.
func (l *Lock) settle() {
	defer close(l.standing)
	err := sleep(l.ctx, l.r.set.settle)
	if err == nil {
		err = l.r.lockConflict(l.ctx, false, l.ID())
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
		select {
		case <-l.standing:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if l.unsettled != nil {
			return l.unsettled
		}
		g.remove(l)
	}
	return nil
}
