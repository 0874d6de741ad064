package index

import (
	"cmp"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// Marks is a set of blobs of an index: one bit for each. Blobs that are added
// to the index later can be marked too. It is safe for concurrent use.
type Marks struct {
	x    *Index
	bits [shardCount][]uint64 // guarded by the mutex of the shard
}

// NewMarks returns an empty set over x.
func (x *Index) NewMarks() *Marks { return &Marks{x: x} }

// Mark adds the blob. known is false if the index does not have it; first is
// true if it was not marked before.
func (m *Marks) Mark(h restic.BlobHandle) (first, known bool) {
	s := m.x.shard(&h.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	bits := &m.bits[h.ID[0]&(shardCount-1)]
	m.x.find(s, &h, func(n uint32) bool {
		known = true
		for len(*bits) <= int(n/64) {
			*bits = append(*bits, make([]uint64, s.n/64+1-len(*bits))...)
		}
		word, bit := &(*bits)[n/64], uint64(1)<<(n%64)
		first = *word&bit == 0
		*word |= bit
		return false
	})
	return first, known
}

// Has reports whether the blob is marked.
func (m *Marks) Has(h restic.BlobHandle) (marked bool) {
	s := m.x.shard(&h.ID)
	s.mu.RLock()
	defer s.mu.RUnlock()
	bits := m.bits[h.ID[0]&(shardCount-1)]
	m.x.find(s, &h, func(n uint32) bool {
		marked = int(n/64) < len(bits) && bits[n/64]&(1<<(n%64)) != 0
		return false
	})
	return marked
}

// EachPack calls fn for every pack with its blobs in the order in which they
// lie, until fn returns false. The slice is reused between calls. Packs added
// meanwhile may be missing.
func (x *Index) EachPack(fn func(id restic.ID, blobs []pack.Blob) bool) {
	x.mu.RLock()
	packs := x.packs[:len(x.packs):len(x.packs)]
	x.mu.RUnlock()

	// A counting sort of the locations by pack costs four bytes for each.
	starts := make([]uint32, len(packs)+1)
	x.eachEntry(func(_ uint32, e *entry) {
		if n := int(e.pack &^ treeBit); n < len(packs) {
			starts[n+1]++
		}
	})
	for i := range packs {
		starts[i+1] += starts[i]
	}
	refs := make([]uint32, starts[len(packs)])
	next := slices.Clone(starts[:len(packs)])
	x.eachEntry(func(ref uint32, e *entry) {
		// A concurrent AddPack may have added locations since the count.
		if n := int(e.pack &^ treeBit); n < len(packs) && next[n] < starts[n+1] {
			refs[next[n]] = ref
			next[n]++
		}
	})

	var blobs []pack.Blob
	for n := range packs {
		blobs = blobs[:0]
		for _, ref := range refs[starts[n]:next[n]] {
			s := &x.shards[ref%shardCount]
			s.mu.RLock()
			e := *s.at(ref / shardCount)
			s.mu.RUnlock()
			blobs = append(blobs, pack.Blob{Handle: e.handle(), Offset: e.offset, Length: e.length, UncompressedLength: e.plain})
		}
		slices.SortFunc(blobs, func(a, b pack.Blob) int { return cmp.Compare(a.Offset, b.Offset) })
		if !fn(packs[n].id, blobs) {
			return
		}
	}
}

// eachEntry visits all locations; ref is the entry's number within its shard
// times shardCount plus the shard.
func (x *Index) eachEntry(fn func(ref uint32, e *entry)) {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		for n := range uint32(s.n) {
			fn(n*shardCount+uint32(i), s.at(n))
		}
		s.mu.RUnlock()
	}
}

// Without returns a new index that lacks the packs for which drop is true.
// Index files are carried over with the packs that are left of them. Claims
// are not carried over.
func (x *Index) Without(drop func(restic.ID) bool) (*Index, error) {
	out := New()
	var err error
	x.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		if !drop(id) {
			err = out.AddPack(Pack{ID: id, Blobs: blobs})
		}
		return err == nil
	})
	if err != nil {
		return nil, err
	}
	for id, packs := range x.Files() {
		f := &file{id: id}
		for _, p := range packs {
			if n, ok := out.byID[p]; ok {
				f.packs = append(f.packs, n)
			}
		}
		out.files[id] = f
	}
	return out, nil
}

// Sizes returns the size of all packs and of all blobs when decompressed, in
// bytes.
func (x *Index) Sizes() (stored, plain int64) {
	x.mu.RLock()
	for i := range x.packs {
		stored += x.packs[i].size
	}
	x.mu.RUnlock()
	x.eachEntry(func(_ uint32, e *entry) {
		b := restic.PackedBlob{Length: e.length, UncompressedLength: e.plain}
		plain += int64(b.PlaintextLength())
	})
	return stored, plain
}
