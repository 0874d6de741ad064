package repository

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	// repackReaders is how many packs are copied at once. Most are the small
	// ones of single backups, which cost a round trip and no more.
	repackReaders = 16
	// repackBytes bounds what they hold in memory.
	repackBytes = 4 * maxRange
	// maxGap is up to how many unneeded bytes between two blobs are read
	// rather than skipped by a second request.
	maxGap = 512 << 10
	// maxRange bounds one read.
	maxRange = 8 << 20
)

// repack copies the needed blobs of the packs to rewrite, as they are sealed.
// The index that lists the copies is saved at the end. It only adds, so a
// shared lock is enough.
func (p *pruner) repack(ctx context.Context) error {
	if len(p.plan.rewrite) == 0 {
		return nil
	}
	before := make(map[restic.ID][]pack.Blob, len(p.plan.rewrite))
	p.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		if p.plan.rewrite[id] {
			var need []pack.Blob
			for _, b := range blobs {
				if p.marks.Has(b.Handle) && p.plan.live(b.Handle, id) {
					need = append(need, b)
				}
			}
			before[id] = need
		}
		return true
	})
	packsBefore, _, _ := p.idx.Counts()

	var (
		mu     sync.Mutex
		copied int64
	)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(repackReaders)
	room := semaphore.NewWeighted(repackBytes)
	for _, id := range p.plan.order {
		g.Go(func() error {
			n, intact, err := p.copyPack(gctx, id, before[id], room)
			mu.Lock()
			defer mu.Unlock()
			copied += n
			if !intact {
				p.stats.Damaged = append(p.stats.Damaged, id)
			}
			p.progress("repack", copied, p.stats.RepackedBytes)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := p.r.Flush(ctx); err != nil {
		return err
	}
	p.stats.RepackedBytes = copied
	packsAfter, _, _ := p.idx.Counts()
	p.stats.PacksWritten = packsAfter - packsBefore
	stored, _ := p.idx.Sizes()
	for _, u := range p.plan.uses {
		stored -= u.size
	}
	p.plan.writtenBytes = stored
	return nil
}

// copyPack copies blobs, which are in the order of their offsets. A blob that
// is not authentic is not copied, and intact is false then; the last check
// before removals spares its pack unless another copy exists.
func (p *pruner) copyPack(ctx context.Context, id restic.ID, blobs []pack.Blob, room *semaphore.Weighted) (copied int64, intact bool, err error) {
	intact = true
	for len(blobs) > 0 && err == nil {
		n, to := mergeRange(blobs)
		var some int64
		var sound bool
		some, sound, err = p.copyRange(ctx, id, blobs[:n], to, room)
		copied += some
		intact = intact && sound
		blobs = blobs[n:]
	}
	return copied, intact, err
}

// copyRange copies blobs that are read at once and end at to.
func (p *pruner) copyRange(ctx context.Context, id restic.ID, blobs []pack.Blob, to int64, room *semaphore.Weighted) (copied int64, intact bool, err error) {
	from := int64(blobs[0].Offset)
	need := min(to-from, repackBytes) // a single blob may be longer
	if err := room.Acquire(ctx, need); err != nil {
		return 0, true, context.Cause(ctx)
	}
	defer room.Release(need)
	scratch := p.r.scratch.get(0)
	defer p.r.scratch.put(scratch)
	buf, err := p.r.LoadPackRange(ctx, id, from, to-from, *scratch)
	if err != nil {
		return 0, true, err
	}
	*scratch, intact = buf, true
	for _, b := range blobs {
		sealed := buf[int64(b.Offset)-from:][:b.Length]
		if p.r.key.Verify(sealed) != nil {
			intact = false
			continue
		}
		if err := p.r.w.addSealed(ctx, b, sealed); err != nil {
			return copied, intact, err
		}
		copied += int64(b.Length)
	}
	return copied, intact, nil
}

// mergeRange returns how many of the blobs to read at once, at least one, and
// where the last of them ends. A hostile index can make blobs overlap.
func mergeRange(blobs []pack.Blob) (n int, end int64) {
	start := int64(blobs[0].Offset)
	end = start + int64(blobs[0].Length)
	n = 1
	for ; n < len(blobs); n++ {
		b := blobs[n]
		next := int64(b.Offset) + int64(b.Length)
		if int64(b.Offset)-end > maxGap || next-start > maxRange {
			break
		}
		end = max(end, next)
	}
	return n, end
}
