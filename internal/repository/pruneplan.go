package repository

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// minSmallPacks is from how many small packs of a type on they are merged.
// Each run leaves two; merging them at once would copy each byte too often.
const minSmallPacks = 6

// packUse is what of a pack is needed. Bytes are those of sealed blobs.
type packUse struct {
	id                     restic.ID
	size                   int64 // of the whole pack
	used, unused           int64
	usedBlobs, unusedBlobs int
	duplicates             int // needed, but kept elsewhere; counted as unused
	tree                   bool
}

// prunePlan says what happens to each pack.
type prunePlan struct {
	uses         map[restic.ID]*packUse
	blobs        map[restic.ID]int // how many blobs each pack has
	unused       map[restic.ID]bool
	rewrite      map[restic.ID]bool
	unreferenced map[restic.ID]bool
	sizes        map[restic.ID]int64 // of unreferenced packs
	unlisted     int64               // their sum
	copies       int64               // bytes to copy from the packs to rewrite
	writtenBytes int64               // by repacking
	// chosen is the pack that keeps a needed blob which lies in several.
	chosen map[restic.BlobHandle]restic.ID
	order  []restic.ID // of rewrite
}

func (pl *prunePlan) worthwhile() bool {
	return len(pl.unused)+len(pl.rewrite)+len(pl.unreferenced) > 0
}

// live reports whether the pack is to keep the blob, which is marked.
func (pl *prunePlan) live(h restic.BlobHandle, in restic.ID) bool {
	keeper, several := pl.chosen[h]
	return !several || keeper == in
}

// removals returns the indexed packs that are to go.
func (pl *prunePlan) removals() map[restic.ID]bool {
	out := make(map[restic.ID]bool, len(pl.unused)+len(pl.rewrite))
	for id := range pl.unused {
		out[id] = true
	}
	for id := range pl.rewrite {
		out[id] = true
	}
	return out
}

// keepLocked takes a pack out of the plan and returns its bytes that would
// have been freed.
func (pl *prunePlan) keepLocked(id restic.ID) int64 {
	if pl.unreferenced[id] {
		delete(pl.unreferenced, id)
		pl.unlisted -= pl.sizes[id]
		return pl.sizes[id]
	}
	u := pl.uses[id]
	waste := u.size
	if pl.rewrite[id] {
		waste = u.unused
		pl.order = slices.DeleteFunc(pl.order, func(other restic.ID) bool { return other == id })
	}
	pl.spare(id)
	return waste
}

// spare keeps a pack after all.
func (pl *prunePlan) spare(id restic.ID) {
	delete(pl.unused, id)
	delete(pl.rewrite, id)
}

func (pl *prunePlan) counts(remove map[restic.ID]bool) (unused, rewritten int) {
	for id := range remove {
		if pl.rewrite[id] {
			rewritten++
		} else {
			unused++
		}
	}
	return unused, rewritten
}

func (pl *prunePlan) freed(remove map[restic.ID]bool) int64 {
	n := pl.unlisted
	for id := range remove {
		n += pl.uses[id].size
	}
	return n
}

// makePlan decides from the marks and from what the store lists.
func (p *pruner) makePlan(objects map[restic.ID]object) error {
	pl := &p.plan
	pl.unused, pl.rewrite, pl.unreferenced = make(map[restic.ID]bool), make(map[restic.ID]bool), make(map[restic.ID]bool)
	pl.sizes = make(map[restic.ID]int64)
	p.chooseCopies()
	if err := p.countUse(objects); err != nil {
		return err
	}
	now := time.Now()
	for id, o := range objects {
		switch {
		case p.idx.HasPack(id):
		case p.opt.UnreferencedGrace > 0 && now.Sub(o.modified) < p.opt.UnreferencedGrace:
			p.stats.PacksInGrace++
		default:
			pl.unreferenced[id] = true
			pl.sizes[id] = o.size
			pl.unlisted += o.size
		}
	}
	p.chooseRewrites()
	return nil
}

// chooseCopies finds needed blobs that lie in several packs and lets each stay
// in the pack that has the most other needed bytes: so a pack whose blobs were
// all copied before is wholly unused.
func (p *pruner) chooseCopies() {
	seen := p.idx.NewMarks()
	used := make(map[restic.ID]int64)
	var several []restic.BlobHandle
	p.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		for _, b := range blobs {
			if !p.marks.Has(b.Handle) {
				continue
			}
			used[id] += int64(b.Length)
			if first, _ := seen.Mark(b.Handle); !first {
				several = append(several, b.Handle)
			}
		}
		return true
	})
	p.plan.chosen = make(map[restic.BlobHandle]restic.ID, len(several))
	var places []PackedBlob
	for _, h := range several {
		places = p.idx.Lookup(h, places[:0])
		best := slices.MaxFunc(places, func(a, b PackedBlob) int {
			return cmp.Or(cmp.Compare(used[a.Pack], used[b.Pack]), bytes.Compare(a.Pack[:], b.Pack[:]))
		})
		p.plan.chosen[h] = best.Pack
	}
}

func (p *pruner) countUse(objects map[restic.ID]object) (err error) {
	p.plan.uses = make(map[restic.ID]*packUse)
	p.plan.blobs = make(map[restic.ID]int)
	p.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		u := &packUse{id: id, size: p.idx.PackSize(id)}
		for _, b := range blobs {
			marked := p.marks.Has(b.Handle)
			if marked && p.plan.live(b.Handle, id) {
				u.used += int64(b.Length)
				u.usedBlobs++
				u.tree = u.tree || b.Handle.Type == restic.TreeBlob
				continue
			}
			u.unused += int64(b.Length)
			u.unusedBlobs++
			if marked {
				u.duplicates++
			}
		}
		p.plan.uses[id] = u
		p.plan.blobs[id] = len(blobs)
		o, there := objects[id]
		switch {
		case u.usedBlobs == 0:
			p.plan.unused[id] = true
		case !there:
			err = damaged("pack "+id.Short(), errors.New("a snapshot needs it and the store does not have it; run a check"))
		case o.size != u.size:
			err = damaged("pack "+id.Short(), fmt.Errorf("it has %d bytes where the index says %d; run a check", o.size, u.size))
		}
		return err == nil
	})
	return err
}

// chooseRewrites picks the packs to rewrite: those with waste, the cheapest
// first (most bytes freed for each byte copied), until the rest of the waste is
// within the limit; tree packs always, because every reader walks them; and
// small packs, if there are many.
func (p *pruner) chooseRewrites() {
	if p.opt.MaxRepackBytes < 0 {
		return
	}
	var wasteful []*packUse
	small := make(map[bool][]*packUse) // by tree
	var used, waste int64
	for _, u := range p.plan.uses {
		used += u.used
		switch {
		case u.usedBlobs == 0:
		case u.unused > 0:
			wasteful = append(wasteful, u)
			waste += u.unused
		case u.size < int64(p.r.set.packSize)/4:
			small[u.tree] = append(small[u.tree], u)
		}
	}
	slices.SortFunc(wasteful, func(a, b *packUse) int {
		return cmp.Or(
			-cmp.Compare(float64(a.unused)/float64(a.used), float64(b.unused)/float64(b.used)),
			bytes.Compare(a.id[:], b.id[:]))
	})
	percent := p.opt.MaxUnusedPercent
	if percent == 0 {
		percent = DefaultMaxUnusedPercent
	}
	limit := int64(max(percent, 0) / 100 * float64(used))
	var cost int64
	choose := func(u *packUse) {
		if p.opt.MaxRepackBytes > 0 && cost+u.used > p.opt.MaxRepackBytes {
			return
		}
		cost += u.used
		p.plan.copies = cost
		p.plan.rewrite[u.id] = true
		p.plan.order = append(p.plan.order, u.id)
	}
	for _, u := range wasteful {
		if waste > limit || u.tree {
			choose(u)
			if p.plan.rewrite[u.id] {
				waste -= u.unused
			}
		}
	}
	for _, list := range small {
		if len(list) < minSmallPacks {
			continue
		}
		slices.SortFunc(list, func(a, b *packUse) int {
			return cmp.Or(cmp.Compare(a.size, b.size), bytes.Compare(a.id[:], b.id[:]))
		})
		for _, u := range list {
			choose(u)
		}
	}
}

func (p *pruner) sumUp() {
	s := &p.stats
	for id, u := range p.plan.uses {
		s.UsedBlobs += u.usedBlobs
		s.UnusedBlobs += u.unusedBlobs - u.duplicates
		s.DuplicateBlobs += u.duplicates
		s.UsedBytes += u.used
		s.UnusedBytes += u.unused
		switch {
		case p.plan.unused[id]:
			s.PacksRemoved++
			s.FreedBytes += u.size
		case p.plan.rewrite[id]:
			s.PacksRepacked++
			s.RepackedBytes += u.used
			s.FreedBytes += u.size - u.used
		default:
			s.PacksKept++
			s.UnusedLeft += u.unused
		}
	}
	s.PacksUnreferenced = len(p.plan.unreferenced)
	s.FreedBytes += p.plan.unlisted
}
