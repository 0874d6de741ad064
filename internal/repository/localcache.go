package repository

import (
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/localcache"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
)

// DefaultCacheSize bounds the cache file of a repository: the index of four
// million blobs, or the directories of three million files.
const DefaultCacheSize = 256 << 20

// WithCache keeps index, snapshots and directories in a file on this host, of
// at most limit bytes, so that a Repository which is opened anew need not read
// them again. All are named by hashes, so none can be out of date; and each is
// used only where the store's listing or the index names it. A file that
// cannot be used costs time and nothing else; CacheError says why.
func WithCache(path string, limit int64) Option {
	return func(s *settings) { s.cachePath, s.cacheLimit = path, limit }
}

// CacheError says why the file of WithCache is not in use, or nil.
func (r *Repository) CacheError() error { return r.localErr }

// openLocal opens the cache file, if there is to be one.
func (r *Repository) openLocal() {
	if r.set.cachePath != "" {
		r.local, r.localErr = localcache.Open(r.set.cachePath, r.key, r.set.cacheLimit)
	}
}

func (r *Repository) closeLocal() {
	if r.local != nil {
		// What was not written is read from the repository next time.
		_ = r.local.Close()
	}
}

// localIndex returns the packs of an index file that the store lists.
func (r *Repository) localIndex(id restic.ID) (packs []index.Pack, ok bool) {
	if r.local == nil {
		return nil, false
	}
	data, ok := r.local.Get(localcache.Index, id)
	if !ok {
		return nil, false
	}
	packs, err := index.DecodeBinary(data)
	return packs, err == nil
}

func (r *Repository) keepLocalIndex(id restic.ID, packs []index.Pack) {
	if r.local != nil && !r.local.Has(localcache.Index, id) {
		r.local.Put(localcache.Index, id, index.AppendBinary(nil, packs))
	}
}

// localSnapshot returns a snapshot that the store lists.
func (r *Repository) localSnapshot(id restic.ID) (s *restic.Snapshot, ok bool) {
	if r.local == nil {
		return nil, false
	}
	data, ok := r.local.Get(localcache.Snapshot, id)
	if !ok {
		return nil, false
	}
	s, err := restic.DecodeSnapshot(data)
	if err != nil {
		return nil, false
	}
	s.ID = id
	return s, true
}

func (r *Repository) keepLocalSnapshot(s *restic.Snapshot) {
	if r.local == nil || r.local.Has(localcache.Snapshot, s.ID) {
		return
	}
	if data, err := s.Encode(); err == nil {
		r.local.Put(localcache.Snapshot, s.ID, data)
	}
}

// localTree returns a directory that the index lists.
func (r *Repository) localTree(id restic.ID) (t compact.Tree, ok bool) {
	if r.local == nil {
		return t, false
	}
	data, ok := r.local.Get(localcache.Tree, id)
	return compact.FromData(data), ok
}

func (r *Repository) keepLocalTree(id restic.ID, t compact.Tree) {
	if r.local != nil && !r.local.Has(localcache.Tree, id) {
		r.local.Put(localcache.Tree, id, t.Data())
	}
}

// keptTree returns a directory from memory or from the cache file, if the
// index lists it. Who checks the store must not ask here.
func (r *Repository) keptTree(id restic.ID) (t compact.Tree, ok bool) {
	if !r.Has(restic.BlobHandle{ID: id, Type: restic.TreeBlob}) {
		return t, false
	}
	if kept, _ := r.kept.get(id); kept != nil {
		return kept.tree, true
	}
	return r.localTree(id)
}
