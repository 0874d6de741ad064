package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// DefaultMaxUnusedPercent is how much of the used bytes may be waste before
// packs are rewritten.
const DefaultMaxUnusedPercent = 5

// deleteBatch is how many packs are removed between two looks at the context.
const deleteBatch = 1000

// PruneOptions says how far a prune goes.
type PruneOptions struct {
	// DryRun plans and removes nothing.
	DryRun bool
	// MaxUnusedPercent is the share of unused bytes, in percent of the used
	// ones, that may stay in packs which are partly used. 0 means
	// DefaultMaxUnusedPercent, a negative value means none.
	MaxUnusedPercent float64
	// MaxRepackBytes bounds what is read and written again, in bytes. 0 means
	// no bound, a negative value means that nothing is rewritten.
	MaxRepackBytes int64
	// UnreferencedGrace keeps packs that no index lists until they are this
	// old by the store's time. They are what interrupted backups leave, or
	// what a program that ignores locks is about to list. 0 removes them.
	UnreferencedGrace time.Duration
	// Expected are snapshots that must be listed. Where one is missing the
	// listing may be a part, and nothing is removed: the error is a
	// *MissingError.
	Expected []restic.ID
	// Progress is called now and then, from one goroutine at a time.
	Progress func(PruneProgress)
}

// MissingError reports snapshots that are expected and not listed.
type MissingError struct{ IDs []restic.ID }

// Error names the first of them.
func (e *MissingError) Error() string {
	if len(e.IDs) == 1 {
		return fmt.Sprintf("snapshot %s should be there and is not listed", e.IDs[0].Short())
	}
	return fmt.Sprintf("%d snapshots should be there and are not listed, such as %s", len(e.IDs), e.IDs[0].Short())
}

// PruneProgress says where a prune is.
type PruneProgress struct {
	Phase       string // "mark", "repack", "remove"
	Done, Total int64  // snapshots, bytes or packs; Total 0 if it is not known
}

// PruneStats says what a prune found and did, or would do. Sizes are in bytes.
type PruneStats struct {
	Snapshots int

	UsedBlobs, UnusedBlobs, DuplicateBlobs int
	UsedBytes, UnusedBytes                 int64 // as stored, duplicates count as unused

	PacksKept         int
	PacksRemoved      int // wholly unused
	PacksRepacked     int // removed after their used blobs were copied
	PacksWritten      int // by repacking
	PacksUnreferenced int // removed, listed by no index
	PacksInGrace      int // listed by no index, kept for now

	RepackedBytes int64 // copied
	FreedBytes    int64 // removed, less what was written for it; 0 if the store keeps versions
	HiddenBytes   int64 // the same, if the store keeps what was removed as old versions
	UnusedLeft    int64 // unused bytes that stay in kept packs

	// PacksLocked is how many packs would have been removed or rewritten, if
	// the store did not lock them; LockedUntil is when the first lock ends.
	PacksLocked int
	LockedBytes int64
	LockedUntil time.Time

	IndexFilesWritten, IndexFilesRemoved int

	// Damaged lists packs that were to be rewritten and hold a used blob that
	// is not authentic. They stay; a check says what they hurt.
	Damaged []restic.ID
}

// Prune removes what no snapshot needs: packs that are wholly unused, and by
// rewriting them the waste of others, so far as the options allow. Small packs
// and index files are merged on the way.
//
// It takes its own locks, and the caller holds none through this Repository:
// a shared one while it plans and copies, an exclusive one for the switch to
// the new index and the removals. If others work on the repository then, the
// error matches ErrLocked and nothing has been removed; what was copied is not
// lost. It is ErrBusy while blobs are being saved.
//
// Packs that the store locks stay, and are counted. Where the store keeps old
// versions, what is removed is hidden and not freed.
//
// A repository in which a snapshot needs something that is not there is left
// alone: the error matches ErrDamaged.
func (r *Repository) Prune(ctx context.Context, opt PruneOptions) (PruneStats, error) {
	if r.w.active() {
		return PruneStats{}, fmt.Errorf("prune: %w", ErrBusy)
	}
	lock, err := r.LockAhead(ctx)
	if err != nil {
		return PruneStats{}, fmt.Errorf("prune: %w", err)
	}
	p := &pruner{r: r, opt: opt, roots: make(map[restic.ID]bool)}
	if err = p.prepare(lock.Context()); err == nil && !opt.DryRun && p.plan.worthwhile() {
		err = p.carryOut(ctx, lock)
	}
	err = lock.blame(err)
	if err = errors.Join(err, lock.Unlock()); err != nil {
		return p.stats, fmt.Errorf("prune: %w", err)
	}
	return p.stats, nil
}

// quickRepack is up to how many bytes are copied under the exclusive lock.
// Copying needs a shared one only, and others need not wait for it; but where
// it takes no longer than an exclusive lock takes to stand, the two go on side
// by side.
const quickRepack = 16 << 20

// carryOut does what was planned. shared need not stand yet.
func (p *pruner) carryOut(ctx context.Context, shared *Lock) error {
	if p.plan.copies > quickRepack {
		if err := p.repack(shared.Context()); err != nil {
			p.r.Abort()
			return err
		}
	}
	exclusive, err := p.r.lockAhead(ctx, shared)
	if err != nil {
		return err
	}
	ectx := exclusive.Context()
	if p.plan.copies <= quickRepack {
		err = p.repack(ectx)
	}
	if err == nil {
		err = exclusive.stand(ectx)
	}
	// Whoever planned while others were removing would see that lock fail.
	if err == nil {
		err = shared.stand(ectx)
	}
	if err == nil {
		err = p.switchIndex(ectx)
	} else {
		p.r.Abort()
	}
	err = exclusive.blame(err)
	shared.Release() // both at once; nothing is done any more
	return errors.Join(err, exclusive.Unlock())
}

// pruner is the state of one prune.
type pruner struct {
	r     *Repository
	opt   PruneOptions
	idx   *index.Index
	marks *index.Marks
	roots map[restic.ID]bool // snapshots whose blobs are marked
	plan  prunePlan
	stats PruneStats
}

func (p *pruner) progress(phase string, done, total int64) {
	if p.opt.Progress != nil {
		p.opt.Progress(PruneProgress{Phase: phase, Done: done, Total: total})
	}
}

// prepare marks what is needed and plans what to do.
func (p *pruner) prepare(ctx context.Context) error {
	listing, err := p.r.Refresh(ctx)
	if err == nil {
		err = listing.Damaged
	}
	if err != nil {
		return err
	}
	p.idx = p.r.index()
	p.marks = p.idx.NewMarks()
	var objects map[restic.ID]object
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.mark(gctx, listing.Snapshots) })
	// After the index: a pack that it lists is there by then.
	g.Go(func() (err error) {
		objects, err = p.listPacks(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.makePlan(objects); err != nil {
		return err
	}
	if err := p.spareLocked(ctx); err != nil {
		return err
	}
	p.sumUp()
	return nil
}

// mark marks every blob of the snapshots that are not marked yet.
func (p *pruner) mark(ctx context.Context, snapshots []*restic.Snapshot) error {
	var trees []restic.ID
	listed := make(map[restic.ID]bool, len(snapshots))
	for _, s := range snapshots {
		listed[s.ID] = true
		if !p.roots[s.ID] {
			p.roots[s.ID] = true
			trees = append(trees, *s.Tree)
		}
	}
	var missing []restic.ID
	for _, id := range p.opt.Expected {
		if !listed[id] {
			missing = append(missing, id)
		}
	}
	if len(missing) > 0 {
		return &MissingError{IDs: missing}
	}
	p.stats.Snapshots = len(p.roots)
	p.progress("mark", 0, int64(len(trees)))
	err := p.r.walkKeptTrees(ctx, trees,
		func(id restic.ID) bool {
			// An unknown tree is entered, so that loading it fails loudly.
			first, known := p.marks.Mark(restic.BlobHandle{ID: id, Type: restic.TreeBlob})
			return first || !known
		},
		func(id restic.ID, t *restic.Tree, err error) error {
			if err != nil {
				return damaged("a snapshot needs tree "+id.Short(), err)
			}
			for _, n := range t.Nodes {
				for _, c := range n.Content {
					if _, known := p.marks.Mark(restic.BlobHandle{ID: c, Type: restic.DataBlob}); !known {
						return damaged(fmt.Sprintf("a snapshot needs data blob %s of file %q", c.Short(), n.Name), ErrUnknownBlob)
					}
				}
			}
			return nil
		})
	if err != nil {
		return err
	}
	p.progress("mark", int64(len(trees)), int64(len(trees)))
	return nil
}

// object is a pack as the store lists it.
type object struct {
	size     int64
	modified time.Time
}

func (p *pruner) listPacks(ctx context.Context) (map[restic.ID]object, error) {
	objects := make(map[restic.ID]object)
	err := p.r.be.List(ctx, backend.KindData, func(name string, size int64, modified time.Time) error {
		if id, err := restic.ParseID(name); err == nil {
			objects[id] = object{size, modified}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list packs: %w", err)
	}
	return objects, nil
}

// switchIndex removes what the plan says, under an exclusive lock. Between the
// plan and this lock others may have added snapshots that use what was unused,
// so everything is looked at again.
func (p *pruner) switchIndex(ctx context.Context) error {
	listing, err := p.r.Refresh(ctx)
	if err == nil {
		err = listing.Damaged
	}
	if err != nil {
		return err
	}
	if p.r.index() != p.idx {
		return errors.New("the index was rewritten by somebody else meanwhile, try again")
	}
	if err := p.mark(ctx, listing.Snapshots); err != nil {
		return err
	}
	for id := range p.plan.unreferenced {
		// A backup that was under way when the plan was made has listed it.
		if p.idx.HasPack(id) {
			delete(p.plan.unreferenced, id)
		}
	}
	remove := p.plan.removals()
	p.spareNeeded(remove)

	kept, old := p.indexFiles(remove)
	written, err := p.writeIndex(ctx, kept)
	if err != nil {
		return err
	}
	p.stats.IndexFilesWritten, p.stats.IndexFilesRemoved = len(written), len(old)
	handles := make([]backend.Handle, len(old))
	for i, id := range old {
		handles[i] = backend.Handle{Kind: backend.KindIndex, Name: id.String()}
	}
	// From here on the packs must not be used any more, whatever happens: what
	// is left of the old index files is anybody's guess.
	p.r.markStale()
	if err := p.r.be.Delete(ctx, handles...); err != nil {
		return fmt.Errorf("remove old index files: %w", err)
	}
	if err := p.r.dropPacks(p.idx, remove, written, old); err != nil {
		return err
	}
	return p.removePacks(ctx, remove)
}

// spareNeeded takes packs out of remove as long as a marked blob would have no
// place left.
func (p *pruner) spareNeeded(remove map[restic.ID]bool) {
	var places []PackedBlob
	p.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		if !remove[id] {
			return true
		}
		for _, b := range blobs {
			if !p.marks.Has(b.Handle) {
				continue
			}
			places = p.idx.Lookup(b.Handle, places[:0])
			elsewhere := false
			for _, place := range places {
				elsewhere = elsewhere || !remove[place.Pack]
			}
			if !elsewhere {
				delete(remove, id)
				p.plan.spare(id)
				return true
			}
		}
		return true
	})
}

// indexFiles returns the index files that have to go, because they list a pack
// that is removed, or one that another file lists too, or because there are
// many small ones; and the packs that new files must list in their place.
func (p *pruner) indexFiles(remove map[restic.ID]bool) (kept map[restic.ID]bool, old []restic.ID) {
	files := p.idx.Files()
	count := make(map[restic.ID]int)
	var small []restic.ID
	for id, packs := range files {
		blobs := 0
		for _, pk := range packs {
			count[pk]++
			blobs += p.plan.blobs[pk]
		}
		if blobs < index.BlobsPerFile/4 {
			small = append(small, id)
		}
	}
	merge := make(map[restic.ID]bool)
	if len(small) > maxSmallIndexFiles {
		for _, id := range small {
			merge[id] = true
		}
	}
	kept = make(map[restic.ID]bool)
	for id, packs := range files {
		affected := merge[id]
		for _, pk := range packs {
			affected = affected || remove[pk] || count[pk] > 1
		}
		if !affected {
			continue
		}
		old = append(old, id)
		for _, pk := range packs {
			if !remove[pk] {
				kept[pk] = true
			}
		}
	}
	return kept, old
}

// maxSmallIndexFiles is how many small index files a prune leaves as they are.
const maxSmallIndexFiles = 8

// writeIndex writes index files that list the packs.
func (p *pruner) writeIndex(ctx context.Context, packs map[restic.ID]bool) (map[restic.ID][]index.Pack, error) {
	written := make(map[restic.ID][]index.Pack)
	var (
		batch []index.Pack
		count int
		err   error
	)
	save := func() {
		var id restic.ID
		if id, err = p.r.saveDocument(ctx, backend.KindIndex, index.EncodeFile(batch)); err == nil {
			written[id] = batch
			batch, count = nil, 0
		}
	}
	p.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		if packs[id] {
			batch = append(batch, index.Pack{ID: id, Blobs: append([]pack.Blob(nil), blobs...)})
			if count += len(blobs); count >= index.BlobsPerFile {
				save()
			}
		}
		return err == nil
	})
	if err == nil && len(batch) > 0 {
		save()
	}
	if err != nil {
		return nil, fmt.Errorf("save index: %w", err)
	}
	return written, nil
}

// removePacks removes the packs, and those that no index lists.
func (p *pruner) removePacks(ctx context.Context, remove map[restic.ID]bool) error {
	var handles []backend.Handle
	for _, ids := range []map[restic.ID]bool{remove, p.plan.unreferenced} {
		for id := range ids {
			handles = append(handles, backend.Handle{Kind: backend.KindData, Name: id.String()})
		}
	}
	total := int64(len(handles))
	for len(handles) > 0 {
		n := min(deleteBatch, len(handles))
		if err := p.r.be.Delete(ctx, handles[:n]...); err != nil {
			return fmt.Errorf("remove packs: %w", err)
		}
		handles = handles[n:]
		p.progress("remove", total-int64(len(handles)), total)
	}
	p.stats.PacksRemoved, p.stats.PacksRepacked = p.plan.counts(remove)
	p.stats.PacksUnreferenced = len(p.plan.unreferenced)
	p.stats.FreedBytes = p.plan.freed(remove) - p.plan.writtenBytes
	if p.r.keepsVersions() {
		p.stats.FreedBytes, p.stats.HiddenBytes = 0, p.stats.FreedBytes
	}
	if lr, ok := p.r.be.(backend.LeftoverRemover); ok {
		if err := lr.RemoveLeftovers(ctx, time.Now().Add(-24*time.Hour)); err != nil {
			return fmt.Errorf("remove leftovers of interrupted writes: %w", err)
		}
	}
	return nil
}

func (r *Repository) markStale() {
	r.idxMu.Lock()
	defer r.idxMu.Unlock()
	r.stale = true
}

// dropPacks replaces the index by one without the packs and with the new files
// in place of the old.
func (r *Repository) dropPacks(idx *index.Index, remove map[restic.ID]bool, written map[restic.ID][]index.Pack, old []restic.ID) error {
	next, err := idx.Without(func(id restic.ID) bool { return remove[id] })
	if err != nil {
		return err
	}
	for id, packs := range written {
		next.RegisterFile(id, packs)
		r.keepLocalIndex(id, packs)
	}
	for _, id := range old {
		if _, rewritten := written[id]; !rewritten {
			next.DropFile(id)
		}
	}
	r.idxMu.Lock()
	r.idx, r.stale = next, false
	r.idxMu.Unlock()
	r.trees.clear()
	return nil
}
