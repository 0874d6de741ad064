package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
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

// ExtendLocks locks anew what snapshots need and whose lock has less than half
// of the time left for which the store is told to lock: a backup stands on data
// that older backups brought, and is protected as long as they are. It returns
// how many objects it locked. Hold a shared lock meanwhile.
func (r *Repository) ExtendLocks(ctx context.Context) (int, error) {
	k, ok := r.be.(backend.Keeper)
	if !ok || k.Locks() == 0 {
		return 0, nil
	}
	handles, err := r.needed(ctx)
	if err != nil {
		return 0, fmt.Errorf("extend locks: %w", err)
	}
	now := time.Now()
	least, until := now.Add(k.Locks()/2), now.Add(k.Locks())
	var extended atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readConcurrency)
	for _, h := range handles {
		id, err := restic.ParseID(h.Name)
		if err == nil && r.seenLocks.end(id).After(least) {
			continue
		}
		g.Go(func() error {
			info, err := k.Info(gctx, h)
			if err == nil && info.LockedUntil.Before(least) {
				if err = k.ExtendLock(gctx, h, until); err == nil {
					extended.Add(1)
					info.LockedUntil = until
				}
			}
			if errors.Is(err, backend.ErrNotExist) {
				return nil // a check says what that hurts
			}
			if err == nil {
				r.seenLocks.note(id, info.LockedUntil)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return int(extended.Load()), fmt.Errorf("extend locks: %w", err)
	}
	return int(extended.Load()), nil
}

// needed lists every object that a restore of some snapshot reads.
func (r *Repository) needed(ctx context.Context) ([]backend.Handle, error) {
	listing, err := r.Refresh(ctx)
	if err == nil {
		err = listing.Damaged
	}
	if err != nil {
		return nil, err
	}
	p := &pruner{r: r, idx: r.index(), roots: make(map[restic.ID]bool)}
	p.marks = p.idx.NewMarks()
	if err := p.mark(ctx, listing.Snapshots); err != nil {
		return nil, err
	}
	handles := []backend.Handle{{Kind: backend.KindConfig}}
	add := func(kind backend.Kind, id restic.ID) {
		handles = append(handles, backend.Handle{Kind: kind, Name: id.String()})
	}
	keys, err := listIDs(ctx, r.be, backend.KindKey)
	if err != nil {
		return nil, err
	}
	for _, id := range keys {
		add(backend.KindKey, id)
	}
	for id := range p.roots {
		add(backend.KindSnapshot, id)
	}
	for id := range p.idx.Files() {
		add(backend.KindIndex, id)
	}
	p.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		if slices.ContainsFunc(blobs, func(b pack.Blob) bool { return p.marks.Has(b.Handle) }) {
			add(backend.KindData, id)
		}
		return true
	})
	return handles, nil
}
