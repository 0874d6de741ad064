// Package index knows where each blob lies: a compact table in memory, and the
// index files that it is read from and written to. It follows the chapter
// "Indexing" of restic's design document. It reads and writes no storage and
// decides nothing about what is needed; it counts locations, all of them.
//
// The table holds 48 bytes for each location plus 5 to 8 bytes of hash slots,
// in blocks that never move, so that growing copies only the slots.
package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	shardCount = 16
	blockSize  = 1024 // entries in a block: 48 KiB
	treeBit    = 1 << 31
	maxPacks   = treeBit - 1
	// maxCopies bounds the locations of one blob. Honest repositories have a
	// handful; a hostile index could make every insertion walk them all.
	maxCopies = 4096
)

// Pack is one pack and its blobs.
type Pack struct {
	ID    restic.ID
	Blobs []pack.Blob
}

// entry is one location of one blob.
type entry struct {
	id     restic.ID
	pack   uint32 // number of the pack; treeBit set for tree blobs
	offset uint32
	length uint32
	plain  uint32
}

func (e *entry) handle() restic.BlobHandle {
	if e.pack&treeBit != 0 {
		return restic.BlobHandle{ID: e.id, Type: restic.TreeBlob}
	}
	return restic.BlobHandle{ID: e.id, Type: restic.DataBlob}
}

// shard is the part of the table for one sixteenth of the ids.
type shard struct {
	mu      sync.RWMutex
	blocks  [][]entry
	n       int
	slots   []uint32 // number of the entry plus one; 0 is free
	pending map[restic.BlobHandle]struct{}
}

type file struct {
	id    restic.ID
	packs []uint32
}

type packInfo struct {
	id   restic.ID
	size int64 // of the pack's object, as far as its blobs are known
}

// Index is the table. It is safe for concurrent use.
type Index struct {
	seed   uint64 // so that no repository can be made to collide
	shards [shardCount]shard

	mu    sync.RWMutex
	packs []packInfo
	byID  map[restic.ID]uint32
	files map[restic.ID]*file
}

// New returns an empty index.
func New() *Index {
	return &Index{
		seed:  rand.Uint64() | 1,
		byID:  make(map[restic.ID]uint32),
		files: make(map[restic.ID]*file),
	}
}

func (x *Index) shard(id *restic.ID) *shard { return &x.shards[id[0]&(shardCount-1)] }

func (x *Index) hash(id *restic.ID) uint64 {
	h := (binary.LittleEndian.Uint64(id[8:]) ^ x.seed) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

func (s *shard) at(i uint32) *entry { return &s.blocks[i/blockSize][i%blockSize] }

// find calls fn with the number of each entry of h until fn returns false.
func (x *Index) find(s *shard, h *restic.BlobHandle, fn func(uint32) bool) {
	if len(s.slots) == 0 {
		return
	}
	mask := uint64(len(s.slots) - 1)
	tree := h.Type == restic.TreeBlob
	for i := x.hash(&h.ID) & mask; s.slots[i] != 0; i = (i + 1) & mask {
		n := s.slots[i] - 1
		if e := s.at(n); e.id == h.ID && (e.pack&treeBit != 0) == tree && !fn(n) {
			return
		}
	}
}

var errCopies = errors.New("a blob is listed at too many places")

// insert adds an entry unless the same location is there. The shard is locked.
func (x *Index) insert(s *shard, e entry) (added bool, err error) {
	if 8*(s.n+1) > 7*len(s.slots) {
		x.rehash(s)
	}
	mask := uint64(len(s.slots) - 1)
	i := x.hash(&e.id) & mask
	copies := 0
	for ; s.slots[i] != 0; i = (i + 1) & mask {
		o := s.at(s.slots[i] - 1)
		if o.id != e.id {
			continue
		}
		if o.pack == e.pack && o.offset == e.offset {
			return false, nil
		}
		if copies++; copies > maxCopies {
			return false, fmt.Errorf("blob %s: %w", e.id.Short(), errCopies)
		}
	}
	if s.n%blockSize == 0 {
		s.blocks = append(s.blocks, make([]entry, blockSize))
	}
	*s.at(uint32(s.n)) = e
	s.n++
	s.slots[i] = uint32(s.n)
	return true, nil
}

// rehash makes room for a quarter to a half more entries. Entries go in by
// number, so the first location of a blob stays the first.
func (x *Index) rehash(s *shard) {
	size := 64
	for 4*(s.n+1) > 3*size {
		size *= 2
	}
	if size <= len(s.slots) {
		size = 2 * len(s.slots)
	}
	s.slots = make([]uint32, size)
	mask := uint64(size - 1)
	for n := range uint32(s.n) {
		i := x.hash(&s.at(n).id) & mask
		for s.slots[i] != 0 {
			i = (i + 1) & mask
		}
		s.slots[i] = n + 1
	}
}

// packNumber returns the number of the pack, giving it one if it is new.
func (x *Index) packNumber(id restic.ID) (uint32, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n, ok := x.byID[id]; ok {
		return n, nil
	}
	if len(x.packs) >= maxPacks {
		return 0, errors.New("more packs than the index can hold")
	}
	n := uint32(len(x.packs))
	x.packs = append(x.packs, packInfo{id: id, size: pack.Size(nil)})
	x.byID[id] = n
	return n, nil
}

// AddPack adds the blobs of a pack and ends their claims. Adding a pack twice
// changes nothing; a pack that is listed in parts is the union of them.
func (x *Index) AddPack(p Pack) error {
	_, err := x.addPack(p)
	return err
}

func (x *Index) addPack(p Pack) (uint32, error) {
	n, err := x.packNumber(p.ID)
	if err != nil {
		return 0, err
	}
	var grown int64
	for i := range p.Blobs {
		b := &p.Blobs[i]
		e := entry{id: b.Handle.ID, pack: n, offset: b.Offset, length: b.Length, plain: b.UncompressedLength}
		if b.Handle.Type == restic.TreeBlob {
			e.pack |= treeBit
		}
		s := x.shard(&e.id)
		s.mu.Lock()
		added, err := x.insert(s, e)
		delete(s.pending, b.Handle)
		s.mu.Unlock()
		if added {
			grown += int64(b.Length) + int64(b.EntrySize())
		}
		if err != nil {
			return 0, fmt.Errorf("add pack %s: %w", p.ID.Short(), err)
		}
	}
	x.mu.Lock()
	x.packs[n].size += grown
	x.mu.Unlock()
	return n, nil
}

// PackSize returns the size in bytes that the pack's object must have by the
// blobs that are known of it, and 0 for a pack that is not known.
func (x *Index) PackSize(id restic.ID) int64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if n, ok := x.byID[id]; ok {
		return x.packs[n].size
	}
	return 0
}

// AddFile adds the packs that the index file lists and remembers the file.
func (x *Index) AddFile(id restic.ID, packs []Pack) error {
	f := &file{id: id, packs: make([]uint32, 0, len(packs))}
	for _, p := range packs {
		n, err := x.addPack(p)
		if err != nil {
			return fmt.Errorf("add index %s: %w", id.Short(), err)
		}
		f.packs = append(f.packs, n)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.files[id] = f
	return nil
}

// RegisterFile remembers an index file whose packs were added before. Packs
// that are not known are left out.
func (x *Index) RegisterFile(id restic.ID, packs []Pack) {
	x.mu.Lock()
	defer x.mu.Unlock()
	f := &file{id: id, packs: make([]uint32, 0, len(packs))}
	for _, p := range packs {
		if n, ok := x.byID[p.ID]; ok {
			f.packs = append(f.packs, n)
		}
	}
	x.files[id] = f
}

// DropFile forgets an index file, not the packs that it lists: those are in
// another file now.
func (x *Index) DropFile(id restic.ID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.files, id)
}

// Knows reports whether the blob is stored, or claimed by somebody who is
// about to store it.
func (x *Index) Knows(h restic.BlobHandle) (known bool) {
	s := x.shard(&h.ID)
	s.mu.RLock()
	defer s.mu.RUnlock()
	x.find(s, &h, func(uint32) bool {
		known = true
		return false
	})
	if !known {
		_, known = s.pending[h]
	}
	return known
}

// Has reports whether the blob is stored.
func (x *Index) Has(h restic.BlobHandle) bool {
	s := x.shard(&h.ID)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return x.has(s, &h)
}

func (x *Index) has(s *shard, h *restic.BlobHandle) (found bool) {
	x.find(s, h, func(uint32) bool { found = true; return false })
	return found
}

// Lookup appends every location of the blob to dst.
func (x *Index) Lookup(h restic.BlobHandle, dst []restic.PackedBlob) []restic.PackedBlob {
	s := x.shard(&h.ID)
	s.mu.RLock()
	defer s.mu.RUnlock()
	x.find(s, &h, func(n uint32) bool {
		e := s.at(n)
		dst = append(dst, restic.PackedBlob{
			Pack: x.packID(e.pack &^ treeBit), Offset: e.offset, Length: e.length, UncompressedLength: e.plain,
		})
		return true
	})
	return dst
}

func (x *Index) packID(n uint32) restic.ID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.packs[n].id
}

// Claim reports whether the caller has to store the blob: it is neither stored
// nor claimed. The claim ends when AddPack brings the blob, or with
// ReleaseClaims.
func (x *Index) Claim(h restic.BlobHandle) bool {
	s := x.shard(&h.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, claimed := s.pending[h]; claimed || x.has(s, &h) {
		return false
	}
	if s.pending == nil {
		s.pending = make(map[restic.BlobHandle]struct{})
	}
	s.pending[h] = struct{}{}
	return true
}

// ReleaseClaims ends every claim whose blob was not stored.
func (x *Index) ReleaseClaims() {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		s.pending = nil
		s.mu.Unlock()
	}
}

// Release ends the claim on one blob.
func (x *Index) Release(h restic.BlobHandle) {
	s := x.shard(&h.ID)
	s.mu.Lock()
	delete(s.pending, h)
	s.mu.Unlock()
}

// HasFile reports whether the index file was added.
func (x *Index) HasFile(id restic.ID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.files[id]
	return ok
}

// Files returns the index files with the ids of the packs that each lists.
func (x *Index) Files() map[restic.ID][]restic.ID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	out := make(map[restic.ID][]restic.ID, len(x.files))
	for id, f := range x.files {
		ids := make([]restic.ID, len(f.packs))
		for i, n := range f.packs {
			ids[i] = x.packs[n].id
		}
		out[id] = ids
	}
	return out
}

// HasPack reports whether the pack is known.
func (x *Index) HasPack(id restic.ID) bool {
	x.mu.RLock()
	defer x.mu.RUnlock()
	_, ok := x.byID[id]
	return ok
}

// Counts returns the number of packs, of locations and of index files.
func (x *Index) Counts() (packs, blobs, files int) {
	x.mu.RLock()
	packs, files = len(x.packs), len(x.files)
	x.mu.RUnlock()
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		blobs += s.n
		s.mu.RUnlock()
	}
	return packs, blobs, files
}

// MemoryUse returns the bytes that the table takes, without the list of packs.
func (x *Index) MemoryUse() int64 {
	var n int64
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.RLock()
		n += int64(len(s.blocks))*blockSize*48 + int64(len(s.slots))*4
		s.mu.RUnlock()
	}
	return n
}
