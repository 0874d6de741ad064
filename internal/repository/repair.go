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
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// RepairOptions says what a repair looks at.
type RepairOptions struct {
	// Packs are read anew and set aside if they are bad.
	Packs []restic.ID
	// Only looks at Packs and at nothing else: no tree is walked. It is what
	// the start of a backup can afford.
	Only bool
	// ReadData reads every pack; without it, damage inside packs that no tree
	// shows is not seen.
	ReadData bool
	// Donors are repositories that may hold the same content, with their index
	// loaded and under a lock of the caller's. They are only read.
	Donors []*Repository
	// DryRun says what would be done and writes nothing but a lock.
	DryRun   bool
	Progress func(CheckProgress)
}

// RepairReport says what a repair found and did, or would do.
type RepairReport struct {
	// Before is the check that the repair began with; it is empty with Only.
	Before CheckReport
	// SetAside are packs that were listed and are not any more, because they
	// are gone or not what they should be. What is left of them in the store
	// stays there until a prune finds every snapshot whole.
	SetAside []restic.ID
	// Listed are sound packs that no index listed, and now one does.
	Listed []restic.ID
	// Saved counts the blobs that were copied out of bad packs, Fetched those
	// that came from donors.
	Saved, Fetched int
	// BadIndex are index files that could not be read and were replaced.
	BadIndex []restic.ID
	// Lost are the blobs of which no copy was found. The next backup stores
	// those again that the source still has.
	Lost []restic.BlobHandle
}

// Changes reports whether there was anything to do.
func (r *RepairReport) Changes() bool {
	return len(r.SetAside)+len(r.Listed)+r.Saved+r.Fetched+len(r.BadIndex) > 0
}

// Repair makes the index list what can be read, and only that. Blobs that are
// whole in a bad pack are copied out of it, blobs that donors have are fetched,
// sound packs that no index lists are listed, and bad packs are listed no more:
// so the next backup, of whichever program, stores what is missing again.
//
// It removes index files only, and those only after others have taken their
// place. Snapshots that cannot be read, and what is left of bad packs, stay.
// What reads wrong once and right at the second look is left alone.
//
// It takes its own locks, as Prune does: a shared one while it looks and
// copies, an exclusive one for the switch. If others work on the repository
// then, the error matches ErrLocked; copies that were made are not lost.
func (r *Repository) Repair(ctx context.Context, opt RepairOptions) (RepairReport, error) {
	m := &mender{r: r, opt: opt, bad: make(map[restic.ID][]pack.Blob)}
	if r.w.active() {
		return m.report, fmt.Errorf("repair: %w", ErrBusy)
	}
	lock, err := r.LockAhead(ctx)
	if err != nil {
		return m.report, fmt.Errorf("repair: %w", err)
	}
	err = m.look(lock.Context())
	if err == nil && !opt.DryRun && m.report.Changes() {
		err = m.mend(ctx, lock)
		if err != nil {
			r.Abort()
		}
		// The table is that of the look, with what was found bad still in it.
		r.markStale()
	}
	err = lock.blame(err)
	if err = errors.Join(err, lock.Unlock()); err != nil {
		return m.report, fmt.Errorf("repair: %w", err)
	}
	return m.report, nil
}

func compareIDs(a, b restic.ID) int { return bytes.Compare(a[:], b[:]) }

// mender is the state of one repair.
type mender struct {
	r   *Repository
	opt RepairOptions
	c   *checker

	mu     sync.Mutex
	bad    map[restic.ID][]pack.Blob // listed packs to set aside, with what is whole in them
	strays map[restic.ID][]pack.Blob // packs that no index lists, with what is whole in them
	found  []index.Pack              // sound packs that no index lists
	donors []*donor
	fetch  []restic.BlobHandle // what donors have
	report RepairReport
}

// look finds out what is to be done.
func (m *mender) look(ctx context.Context) error {
	// A disk that is not mounted lacks every pack: nothing is to be set aside.
	if _, err := m.r.be.Stat(ctx, configHandle); errors.Is(err, backend.ErrNotExist) {
		return fmt.Errorf("%s: %w", m.r.be.Location(), ErrNoRepository)
	} else if err != nil {
		return err
	}
	m.c = newChecker(m.r.view(), CheckOptions{ReadData: m.opt.ReadData, Packs: m.opt.Packs, Progress: m.opt.Progress})
	suspects := m.opt.Packs
	unlisted := false
	if m.opt.Only {
		for _, step := range []func(context.Context) error{m.c.loadIndex, m.c.checkPacks} {
			if err := step(ctx); err != nil {
				return err
			}
		}
		if len(m.c.badIndex) > 0 {
			return damaged("index "+m.c.badIndex[0].Short(), errors.New("run a repair"))
		}
	} else {
		var err error
		if m.report.Before, err = m.c.check(ctx); err != nil {
			return err
		}
		suspects = append(slices.Clone(suspects), m.report.Before.DamagedPacks()...)
		unlisted = m.opt.ReadData || len(m.c.badIndex) > 0 ||
			slices.ContainsFunc(m.report.Before.Problems, func(p Problem) bool { return p.Kind == ProblemMissingBlob })
	}
	m.report.BadIndex = m.c.badIndex
	if err := m.examine(ctx, suspects); err != nil {
		return err
	}
	if unlisted {
		if err := m.examineUnlisted(ctx); err != nil {
			return err
		}
	}
	return m.plan(ctx)
}

// examine reads the suspects a second time: what is set aside must be bad
// itself, not the way there.
func (m *mender) examine(ctx context.Context, suspects []restic.ID) error {
	wanted := make(map[restic.ID]bool, len(suspects))
	for _, id := range suspects {
		wanted[id] = true
	}
	listed := make(map[restic.ID][]pack.Blob)
	m.c.r.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		if wanted[id] {
			listed[id] = slices.Clone(blobs)
		}
		return true
	})
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(checkReaders)
	for id, blobs := range listed {
		g.Go(func() error {
			sound, whole, err := m.readPack(gctx, id, blobs)
			if err != nil || whole {
				return err
			}
			m.mu.Lock()
			defer m.mu.Unlock()
			m.bad[id] = sound
			return nil
		})
	}
	return g.Wait()
}

// examineUnlisted reads the packs that no index lists: after an index file is
// lost, they are where its blobs are.
func (m *mender) examineUnlisted(ctx context.Context) error {
	m.strays = make(map[restic.ID][]pack.Blob)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(checkReaders)
	for id := range m.c.packs {
		if m.c.r.idx.HasPack(id) {
			continue
		}
		g.Go(func() error {
			sound, whole, err := m.readPack(gctx, id, nil)
			m.mu.Lock()
			defer m.mu.Unlock()
			switch {
			case err != nil:
				return err
			case whole && len(sound) > 0:
				m.found = append(m.found, index.Pack{ID: id, Blobs: sound})
			case len(sound) > 0:
				m.strays[id] = sound
			}
			return nil
		})
	}
	return g.Wait()
}

// readPack returns the blobs of a pack that are whole, in their order; listed
// are those that the index has, nil to take the pack's own header. whole says
// that the pack is what its name and the index say. The error is about reaching
// the store.
func (m *mender) readPack(ctx context.Context, id restic.ID, listed []pack.Blob) (sound []pack.Blob, whole bool, err error) {
	size, there := m.c.packs[id]
	if !there {
		// A listing can be a part of what is there; the object itself is asked.
		size, err = m.r.be.Stat(ctx, backend.Handle{Kind: backend.KindData, Name: id.String()})
		if errors.Is(err, backend.ErrNotExist) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("look for pack %s: %w", id.Short(), err)
		}
	}
	if size == 0 || size > maxCheckedPack {
		return nil, false, nil
	}
	scratch := m.r.scratch.get(int(size))
	defer m.r.scratch.put(scratch)
	buf, err := m.r.LoadPackRange(ctx, id, 0, size, *scratch)
	if err != nil {
		if isDamage(err) {
			return nil, false, nil
		}
		return nil, false, err
	}
	*scratch = buf
	own, headerErr := m.r.packHeader(buf)
	whole = headerErr == nil && restic.Hash(buf) == id
	if listed == nil {
		listed = own
	} else {
		whole = whole && slices.Equal(own, listed)
	}
	var plain []byte
	for _, b := range listed {
		end := int64(b.Offset) + int64(b.Length)
		if end > size {
			whole = false
			continue
		}
		opened, err := m.r.decodeSealed(b.Handle, b.UncompressedLength, buf[b.Offset:end], plain[:0])
		if err != nil {
			whole = false
			continue
		}
		plain = opened
		sound = append(sound, b)
	}
	return sound, whole, nil
}

// plan sums up what is to be done, from what was found.
func (m *mender) plan(ctx context.Context) error {
	m.report.SetAside = slices.SortedFunc(maps.Keys(m.bad), compareIDs)
	// A pack that brings nothing new was unlisted on purpose, or is what an
	// interrupted backup left.
	m.found = slices.DeleteFunc(m.found, func(p index.Pack) bool {
		return len(m.c.badIndex) == 0 && !slices.ContainsFunc(p.Blobs, func(b pack.Blob) bool { return !m.elsewhere(b.Handle) })
	})
	have := make(map[restic.BlobHandle]bool)
	for _, p := range m.found {
		m.report.Listed = append(m.report.Listed, p.ID)
		for _, b := range p.Blobs {
			have[b.Handle] = true
		}
	}
	slices.SortFunc(m.report.Listed, compareIDs)
	for _, packs := range []map[restic.ID][]pack.Blob{m.bad, m.strays} {
		for id, blobs := range packs {
			packs[id] = slices.DeleteFunc(blobs, func(b pack.Blob) bool {
				known := have[b.Handle] || m.elsewhere(b.Handle)
				have[b.Handle] = true
				return known
			})
			m.report.Saved += len(packs[id])
		}
	}
	return m.planFetches(ctx, have)
}

// planFetches finds out which of the missing blobs donors have. What comes is
// not kept, but read again when it is stored.
func (m *mender) planFetches(ctx context.Context, have map[restic.BlobHandle]bool) error {
	for _, r := range m.opt.Donors {
		snapshots, err := r.Snapshots(ctx, nil)
		if err != nil && !isDamage(err) {
			return fmt.Errorf("list snapshots of %s: %w", r.Location(), err)
		}
		m.donors = append(m.donors, &donor{r, snapshots})
	}
	missing := slices.SortedFunc(maps.Keys(m.c.missing), func(a, b restic.BlobHandle) int {
		return cmp.Or(compareIDs(a.ID, b.ID), cmp.Compare(a.Type, b.Type))
	})
	for _, h := range missing {
		if have[h] || m.elsewhere(h) {
			continue
		}
		plain, err := m.fromDonors(ctx, h)
		if err != nil {
			return fmt.Errorf("look for %s at another destination: %w", h, err)
		}
		if plain == nil {
			m.report.Lost = append(m.report.Lost, h)
			continue
		}
		m.fetch = append(m.fetch, h)
	}
	m.report.Fetched = len(m.fetch)
	return nil
}

// elsewhere reports whether a listed pack that is not set aside has the blob.
func (m *mender) elsewhere(h restic.BlobHandle) bool {
	return slices.ContainsFunc(m.c.r.idx.Lookup(h, nil), func(p PackedBlob) bool {
		_, bad := m.bad[p.Pack]
		return !bad
	})
}

// mend does what was planned: first what is added, then the switch.
func (m *mender) mend(ctx context.Context, shared *Lock) error {
	idx := m.c.r.idx
	m.r.idxMu.Lock()
	m.r.idx = idx
	m.r.idxMu.Unlock()
	m.r.trees.clear()
	if err := m.add(shared.Context()); err != nil {
		return err
	}
	exclusive, err := m.r.lockAhead(ctx, shared)
	if err != nil {
		return err
	}
	ectx := exclusive.Context()
	if err = exclusive.stand(ectx); err == nil {
		err = shared.stand(ectx)
	}
	if err == nil {
		err = m.switchIndex(ectx, idx)
	}
	err = exclusive.blame(err)
	shared.Release() // nothing is done any more
	return errors.Join(err, exclusive.Unlock())
}

// add stores what is whole in bad packs, and what donors have.
func (m *mender) add(ctx context.Context) error {
	for _, packs := range []map[restic.ID][]pack.Blob{m.bad, m.strays} {
		for id, blobs := range packs {
			for _, b := range blobs {
				if err := m.copyBlob(ctx, id, b); err != nil {
					return err
				}
			}
		}
	}
	for _, h := range m.fetch {
		plain, err := m.fromDonors(ctx, h)
		if err != nil {
			return fmt.Errorf("fetch %s from another destination: %w", h, err)
		}
		if plain == nil {
			m.report.Fetched--
			m.report.Lost = append(m.report.Lost, h)
			continue
		}
		// Not SaveBlob: the table still has the bad copy.
		if _, err := m.r.w.begin(ctx); err != nil {
			return err
		}
		if _, err := m.r.w.save(ctx, h, plain); err != nil {
			return fmt.Errorf("save %s: %w", h, err)
		}
	}
	return m.r.Flush(ctx)
}

func (m *mender) copyBlob(ctx context.Context, id restic.ID, b pack.Blob) error {
	scratch := m.r.scratch.get(int(b.Length))
	defer m.r.scratch.put(scratch)
	sealed, err := m.r.LoadPackRange(ctx, id, int64(b.Offset), int64(b.Length), *scratch)
	if err != nil {
		return err
	}
	*scratch = sealed
	if err := m.r.key.Verify(sealed); err != nil {
		return damaged(fmt.Sprintf("%s in pack %s", b.Handle, id.Short()), err)
	}
	return m.r.w.addSealed(ctx, b, sealed)
}

// switchIndex lists what was found and lists what is bad no more, under an
// exclusive lock.
func (m *mender) switchIndex(ctx context.Context, idx *index.Index) error {
	ids, err := listIDs(ctx, m.r.be, backend.KindIndex)
	if err != nil {
		return fmt.Errorf("list index files: %w", err)
	}
	var news []restic.ID
	there := make(map[restic.ID]bool, len(ids))
	for _, id := range ids {
		there[id] = true
		if !idx.HasFile(id) && !slices.Contains(m.c.badIndex, id) {
			news = append(news, id)
		}
	}
	for id := range idx.Files() {
		if !there[id] {
			return errors.New("the index was rewritten by somebody else meanwhile, try again")
		}
	}
	if err := m.r.loadIndexFiles(ctx, idx, news); err != nil {
		return err
	}
	for _, p := range m.found {
		if err := idx.AddPack(p); err != nil {
			return err
		}
	}
	remove := make(map[restic.ID]bool, len(m.bad))
	for id := range m.bad {
		remove[id] = true
	}
	p := &pruner{r: m.r, idx: idx}
	p.plan.blobs = make(map[restic.ID]int)
	idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		p.plan.blobs[id] = len(blobs)
		return true
	})
	kept, old := p.indexFiles(remove)
	for _, f := range m.found {
		kept[f.ID] = true
	}
	if _, err := p.writeIndex(ctx, kept); err != nil {
		return err
	}
	var handles []backend.Handle
	for _, id := range append(old, m.c.badIndex...) {
		handles = append(handles, backend.Handle{Kind: backend.KindIndex, Name: id.String()})
	}
	if err := m.r.be.Delete(ctx, handles...); err != nil {
		return fmt.Errorf("remove old index files: %w", err)
	}
	return nil
}
