package repository

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// SaveSnapshot stores a snapshot, sets its ID and returns it. It is the last
// step of a backup: everything that it refers to must be durable (Flush). A
// tree that the index does not know is refused.
func (r *Repository) SaveSnapshot(ctx context.Context, s *restic.Snapshot) (restic.ID, error) {
	if s.Tree == nil || !r.Has(restic.BlobHandle{ID: *s.Tree, Type: restic.TreeBlob}) {
		return restic.ID{}, fmt.Errorf("save snapshot: its tree: %w", ErrUnknownBlob)
	}
	if r.w.active() {
		return restic.ID{}, fmt.Errorf("save snapshot: %w and not flushed", ErrBusy)
	}
	plain, err := s.Encode()
	if err != nil {
		return restic.ID{}, err
	}
	if err := r.gate.wait(ctx); err != nil {
		return restic.ID{}, fmt.Errorf("save snapshot: %w", err)
	}
	id, err := r.saveDocument(ctx, backend.KindSnapshot, plain)
	if err != nil {
		return restic.ID{}, fmt.Errorf("save snapshot: %w", err)
	}
	s.ID = id
	r.kept.endRound()
	return id, nil
}

// LoadSnapshot reads one snapshot. A missing one is backend.ErrNotExist.
func (r *Repository) LoadSnapshot(ctx context.Context, id restic.ID) (*restic.Snapshot, error) {
	plain, err := r.loadDocument(ctx, backend.KindSnapshot, id, restic.MaxSnapshotSize)
	if err != nil {
		return nil, fmt.Errorf("load snapshot %s: %w", id.Short(), err)
	}
	s, err := restic.DecodeSnapshot(plain)
	if err != nil {
		return nil, damaged("snapshot "+id.Short(), err)
	}
	s.ID = id
	return s, nil
}

// Snapshots lists the snapshots for which filter is true, or all if it is nil,
// oldest first (by time, then id). Snapshots that are removed meanwhile are
// left out. If some cannot be read it returns the others together with an
// error: whoever prunes must not take a part for the whole.
//
// A snapshot never changes, so those of the listing before are not read again.
// They are shared between callers and must not be changed.
func (r *Repository) Snapshots(ctx context.Context, filter func(*restic.Snapshot) bool) ([]*restic.Snapshot, error) {
	ids, err := r.snapshotIDs(ctx)
	if err != nil {
		return nil, err
	}
	return r.readSnapshots(ctx, ids, filter)
}

func (r *Repository) snapshotIDs(ctx context.Context) ([]restic.ID, error) {
	ids, err := listIDs(ctx, r.be, backend.KindSnapshot)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return ids, nil
}

// Listing is what a repository holds at one moment.
type Listing struct {
	Snapshots []*restic.Snapshot // as Snapshots returns them
	// Damaged says which snapshots are listed and cannot be read, or is nil.
	Damaged error
}

// Refresh brings the index up to date as LoadIndex does, and lists the
// snapshots on the way. The index covers all of them, because it is listed
// after them.
func (r *Repository) Refresh(ctx context.Context) (Listing, error) {
	ids, err := r.snapshotIDs(ctx)
	if err != nil {
		return Listing{}, err
	}
	var l Listing
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.LoadIndex(gctx) })
	g.Go(func() (err error) {
		l.Snapshots, err = r.readSnapshots(gctx, ids, nil)
		if errors.Is(err, ErrDamaged) {
			l.Damaged, err = err, nil
		}
		return err
	})
	if err := g.Wait(); err != nil {
		return Listing{}, err
	}
	return l, nil
}

// readSnapshots is Snapshots of those that a listing named.
func (r *Repository) readSnapshots(ctx context.Context, ids []restic.ID, filter func(*restic.Snapshot) bool) ([]*restic.Snapshot, error) {
	var (
		mu   sync.Mutex
		out  []*restic.Snapshot
		errs []error
	)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readConcurrency)
	for _, id := range ids {
		g.Go(func() error {
			s, err := r.snapshots.get(gctx, r, id)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, backend.ErrNotExist):
			case err != nil && !errors.Is(err, ErrDamaged):
				return err
			case err != nil:
				errs = append(errs, err)
			case filter == nil || filter(s):
				out = append(out, s)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	r.snapshots.keep(ids)
	slices.SortFunc(out, func(a, b *restic.Snapshot) int {
		return cmp.Or(a.Time.Compare(b.Time), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return out, errors.Join(errs...)
}

// snapshotCache holds the snapshots of the last listing. It is safe for
// concurrent use.
type snapshotCache struct {
	mu    sync.Mutex
	known map[restic.ID]*restic.Snapshot
}

// get returns the snapshot, reading it where it is not known.
func (c *snapshotCache) get(ctx context.Context, r *Repository, id restic.ID) (*restic.Snapshot, error) {
	c.mu.Lock()
	s, ok := c.known[id]
	c.mu.Unlock()
	if ok {
		return s, nil
	}
	s, ok = r.localSnapshot(id)
	if !ok {
		var err error
		if s, err = r.LoadSnapshot(ctx, id); err != nil {
			return nil, err
		}
		r.keepLocalSnapshot(s)
	}
	c.add(s)
	return s, nil
}

// add remembers a snapshot as it was read from the store.
func (c *snapshotCache) add(s *restic.Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[restic.ID]*restic.Snapshot)
	}
	c.known[s.ID] = s
}

// keep forgets all snapshots but these.
func (c *snapshotCache) keep(ids []restic.ID) {
	listed := make(map[restic.ID]bool, len(ids))
	for _, id := range ids {
		listed[id] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.known, func(id restic.ID, _ *restic.Snapshot) bool { return !listed[id] })
}

// FindSnapshot returns the snapshot whose id begins with prefix, in lower-case
// hexadecimal digits. None is backend.ErrNotExist; several are an error that
// says so.
func (r *Repository) FindSnapshot(ctx context.Context, prefix string) (*restic.Snapshot, error) {
	ids, err := r.snapshotIDs(ctx)
	if err != nil {
		return nil, err
	}
	var found []restic.ID
	for _, id := range ids {
		if len(prefix) > 0 && len(prefix) <= 2*restic.IDSize && id.String()[:len(prefix)] == prefix {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("find snapshot %.64q: %w", prefix, backend.ErrNotExist)
	case 1:
		return r.LoadSnapshot(ctx, found[0])
	default:
		return nil, fmt.Errorf("find snapshot %.64q: %d snapshots begin like this, write more digits", prefix, len(found))
	}
}

// ForgetSnapshots removes snapshots and then makes sure that they are gone. On
// an error some may be; ask Snapshots. The data stay until Prune.
func (r *Repository) ForgetSnapshots(ctx context.Context, ids ...restic.ID) error {
	if len(ids) == 0 {
		return nil
	}
	handles := make([]backend.Handle, len(ids))
	for i, id := range ids {
		handles[i] = backend.Handle{Kind: backend.KindSnapshot, Name: id.String()}
	}
	if err := r.be.Delete(ctx, handles...); err != nil {
		return fmt.Errorf("forget snapshots: %w", err)
	}
	left, err := listIDs(ctx, r.be, backend.KindSnapshot)
	if err != nil {
		return fmt.Errorf("forget snapshots: list what is left: %w", err)
	}
	for _, id := range ids {
		if slices.Contains(left, id) {
			return fmt.Errorf("forget snapshot %s: the store accepted the removal but still lists it", id.Short())
		}
	}
	return nil
}
