package repository

import (
	"context"
	"fmt"
	"maps"
	"sync"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
)

const (
	// DefaultTreeMemory is how much memory kept directories may take: those of
	// about 600,000 files.
	DefaultTreeMemory = 64 << 20
	// keptTreeOverhead is what a kept directory takes beside its nodes.
	keptTreeOverhead = 160
)

// WithTreeMemory bounds the directories that stay in memory between backups,
// in bytes. 0 keeps none.
func WithTreeMemory(n int) Option { return func(s *settings) { s.treeMemory = max(n, 0) } }

// keptTrees holds the directories of the last backup, so that the next one
// need not fetch and decode them. A directory is named by the hash of its
// document, so it cannot be out of date; whether the repository still has it
// is asked at each use. It is safe for concurrent use.
type keptTrees struct {
	limit int

	mu    sync.Mutex
	known map[restic.ID]*keptTree
	size  int
	// round counts the backups. What was used neither in this one nor in the
	// one before makes room.
	round uint64
}

// keptTree is a directory.
type keptTree struct {
	tree  compact.Tree
	round uint64
	// intact is the index that has every blob of the directory's files. An
	// index only grows; one that lost something is another one.
	intact *index.Index
}

func (k *keptTrees) get(id restic.ID) (t *keptTree, intact *index.Index) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t = k.known[id]; t == nil {
		return nil, nil
	}
	t.round = k.round
	return t, t.intact
}

func (k *keptTrees) setIntact(t *keptTree, idx *index.Index) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t.intact = idx
}

// keep adds a directory unless there is no room for it.
func (k *keptTrees) keep(id restic.ID, tree compact.Tree, intact *index.Index) {
	need := tree.Size() + keptTreeOverhead
	k.mu.Lock()
	defer k.mu.Unlock()
	if t := k.known[id]; t != nil {
		t.round = k.round
		return
	}
	if k.size+need > k.limit {
		k.forget(func(t *keptTree) bool { return t.round+1 < k.round })
	}
	if k.size+need > k.limit {
		return
	}
	if k.known == nil {
		k.known = make(map[restic.ID]*keptTree)
	}
	k.known[id] = &keptTree{tree: tree, round: k.round, intact: intact}
	k.size += need
}

// forget drops directories. k is locked.
func (k *keptTrees) forget(drop func(*keptTree) bool) {
	maps.DeleteFunc(k.known, func(_ restic.ID, t *keptTree) bool {
		if !drop(t) {
			return false
		}
		k.size -= t.tree.Size() + keptTreeOverhead
		return true
	})
}

// endRound drops what the backup that has just ended did not use.
func (k *keptTrees) endRound() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(func(t *keptTree) bool { return t.round < k.round })
	k.round++
}

// ParentTree returns a directory of an earlier snapshot, from memory if it was
// used by the last backup. intact says that the index lists every blob of the
// directory's files; without it, that is to be asked for each.
func (r *Repository) ParentTree(ctx context.Context, id restic.ID) (tree compact.Tree, intact bool, err error) {
	idx := r.index()
	if !idx.Has(restic.BlobHandle{ID: id, Type: restic.TreeBlob}) {
		return compact.Tree{}, false, fmt.Errorf("load tree %s: %w", id.Short(), ErrUnknownBlob)
	}
	if kept, in := r.kept.get(id); kept != nil {
		if in != idx && listsAll(idx, kept.tree) {
			r.kept.setIntact(kept, idx)
			in = idx
		}
		return kept.tree, in == idx, nil
	}
	if tree, ok := r.localTree(id); ok {
		r.kept.keep(id, tree, nil)
		return tree, false, nil
	}
	decoded, err := r.LoadTree(ctx, id)
	if err != nil {
		return compact.Tree{}, false, err
	}
	tree, ok := compact.Encode(decoded.Nodes)
	if !ok {
		return compact.Tree{}, false, fmt.Errorf("load tree %s: it holds attributes that are no JSON", id.Short())
	}
	r.KeepTree(id, tree)
	return tree, false, nil
}

// KeepTree keeps the directory with this id in memory for the next backup, if
// there is room, and in the cache file, if there is one. The caller has just
// saved it or loaded it.
func (r *Repository) KeepTree(id restic.ID, tree compact.Tree) {
	r.kept.keep(id, tree, nil)
	r.keepLocalTree(id, tree)
}

// listsAll reports whether the index has all data blobs of a directory.
func listsAll(idx *index.Index, tree compact.Tree) bool {
	nodes := tree.Reader()
	for nodes.Next() {
		for i := range nodes.Blobs() {
			if !idx.Has(restic.BlobHandle{ID: nodes.Blob(i), Type: restic.DataBlob}) {
				return false
			}
		}
	}
	return nodes.Err() == nil
}
