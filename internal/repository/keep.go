package repository

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// A store can keep objects although they are to go: by an object lock until
// some instant, or as old versions. What follows never tries to remove what is
// locked, and never counts as freed what the store keeps.

// SnapshotInfo returns what the store says about a snapshot. Modified is zero
// where the store's clock is this host's, LockedUntil where nothing is locked.
func (r *Repository) SnapshotInfo(ctx context.Context, id restic.ID) (backend.Info, error) {
	return r.info(ctx, backend.Handle{Kind: backend.KindSnapshot, Name: id.String()})
}

func (r *Repository) info(ctx context.Context, h backend.Handle) (backend.Info, error) {
	if k, ok := r.be.(backend.Keeper); ok {
		return k.Info(ctx, h)
	}
	size, err := r.be.Stat(ctx, h)
	return backend.Info{Size: size}, err
}

// LockedSnapshots returns those of the snapshots that the store's lock keeps
// beyond now, with its end. Those that are gone are not locked.
func (r *Repository) LockedSnapshots(ctx context.Context, now time.Time, ids ...restic.ID) (map[restic.ID]time.Time, error) {
	return r.locked(ctx, backend.KindSnapshot, now, ids)
}

func (r *Repository) locked(ctx context.Context, kind backend.Kind, now time.Time, ids []restic.ID) (map[restic.ID]time.Time, error) {
	k, ok := r.be.(backend.Keeper)
	if !ok || len(ids) == 0 {
		return nil, nil
	}
	if may, err := k.MayLock(ctx); err != nil || !may {
		return nil, err
	}
	var mu sync.Mutex
	out := make(map[restic.ID]time.Time)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readConcurrency)
	for _, id := range ids {
		if until := r.seenLocks.end(id); until.After(now) {
			mu.Lock()
			out[id] = until
			mu.Unlock()
			continue
		}
		g.Go(func() error {
			info, err := k.Info(gctx, backend.Handle{Kind: kind, Name: id.String()})
			if errors.Is(err, backend.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			r.seenLocks.note(id, info.LockedUntil)
			if info.LockedUntil.After(now) {
				mu.Lock()
				out[id] = info.LockedUntil
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out, nil
}

// seenLocks remembers ends of locks, which only ever move away: an object that
// is known to be locked need not be asked about again. It is safe for
// concurrent use.
type seenLocks struct {
	mu    sync.Mutex
	until map[restic.ID]time.Time
}

func (s *seenLocks) end(id restic.ID) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until[id]
}

func (s *seenLocks) note(id restic.ID, until time.Time) {
	if until.IsZero() || until.Equal(backend.NoEnd) {
		return // a legal hold can end at any time
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = make(map[restic.ID]time.Time)
	}
	s.until[id] = until
}

// spareLocked takes packs that the store locks out of a prune's plan: they
// stay listed, so that every restic program still finds what they hold.
func (p *pruner) spareLocked(ctx context.Context) error {
	var ids []restic.ID
	for _, set := range []map[restic.ID]bool{p.plan.unused, p.plan.rewrite, p.plan.unreferenced} {
		for id := range set {
			ids = append(ids, id)
		}
	}
	locked, err := p.r.locked(ctx, backend.KindData, time.Now(), ids)
	if err != nil {
		return err
	}
	for id, until := range locked {
		p.stats.PacksLocked++
		p.stats.LockedBytes += p.plan.keepLocked(id)
		if p.stats.LockedUntil.IsZero() || until.Before(p.stats.LockedUntil) {
			p.stats.LockedUntil = until
		}
	}
	return nil
}

// keepsVersions reports whether what is deleted stays as old versions.
func (r *Repository) keepsVersions() bool {
	k, ok := r.be.(backend.Keeper)
	return ok && k.KeepsVersions()
}
