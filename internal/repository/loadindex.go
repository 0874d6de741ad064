package repository

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// readConcurrency is how many small objects are fetched at once: a repository
// of a year of daily backups has hundreds, and with a far store each costs a
// round trip. The store keeps as many connections open between requests.
const readConcurrency = 32

// LoadIndex brings the index up to date with the repository. Call it under a
// lock before each use of a Repository that was idle: it costs a look at the
// config, one listing and the index files that are new. If files that it had
// read are gone, because somebody pruned, everything is read again.
//
// It must not run while blobs are being saved, unless nothing was removed from
// the repository; otherwise it is ErrBusy.
func (r *Repository) LoadIndex(ctx context.Context) error {
	var ids []restic.ID
	// Side by side: neither answer is needed to ask the other question.
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		// An unmounted disk or an emptied bucket must not pass for a
		// repository in which nothing is stored.
		_, err := r.be.Stat(gctx, configHandle)
		if errors.Is(err, backend.ErrNotExist) {
			return fmt.Errorf("load index from %s: %w", r.be.Location(), ErrNoRepository)
		}
		if err != nil {
			return fmt.Errorf("load index: %w", err)
		}
		return nil
	})
	g.Go(func() (err error) {
		if ids, err = listIDs(gctx, r.be, backend.KindIndex); err != nil {
			return fmt.Errorf("list index files: %w", err)
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	r.idxMu.RLock()
	idx, startOver := r.idx, r.stale
	r.idxMu.RUnlock()

	listed := make(map[restic.ID]bool, len(ids))
	var missing []restic.ID
	for _, id := range ids {
		listed[id] = true
		if !idx.HasFile(id) {
			missing = append(missing, id)
		}
	}
	for id := range idx.Files() {
		startOver = startOver || !listed[id]
	}
	if startOver {
		if r.w.active() {
			return fmt.Errorf("load index: %w", ErrBusy)
		}
		idx, missing = index.New(), ids
	}
	if err := r.loadIndexFiles(ctx, idx, missing); err != nil {
		return err
	}
	if startOver {
		r.idxMu.Lock()
		r.idx, r.stale = idx, false
		r.idxMu.Unlock()
		r.trees.clear()
	}
	return nil
}

func (r *Repository) loadIndexFiles(ctx context.Context, idx *index.Index, ids []restic.ID) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readConcurrency)
	for _, id := range ids {
		g.Go(func() error {
			packs, ok := r.localIndex(id)
			if !ok {
				var err error
				if packs, err = r.readIndexFile(ctx, id); err != nil {
					return err
				}
				r.keepLocalIndex(id, packs)
			}
			return idx.AddFile(id, packs)
		})
	}
	return g.Wait()
}

func (r *Repository) readIndexFile(ctx context.Context, id restic.ID) ([]index.Pack, error) {
	plain, err := r.loadDocument(ctx, backend.KindIndex, id, index.MaxFileSize)
	if err != nil {
		return nil, fmt.Errorf("load index %s: %w", id.Short(), err)
	}
	packs, err := index.DecodeFile(plain)
	if err != nil {
		return nil, damaged("index "+id.Short(), err)
	}
	return packs, nil
}

// saveIndex writes the packs that no index file lists yet into one. On an
// error they stay unlisted.
func (r *Repository) saveIndex(ctx context.Context) error {
	w := r.w
	w.mu.Lock()
	packs := w.stored
	w.stored, w.blobs = nil, 0
	w.mu.Unlock()
	if len(packs) == 0 {
		return nil
	}
	var id restic.ID
	err := r.gate.wait(ctx)
	if err == nil {
		id, err = r.saveDocument(ctx, backend.KindIndex, index.EncodeFile(packs))
	}
	if err != nil {
		w.mu.Lock()
		w.stored = append(w.stored, packs...)
		for _, p := range packs {
			w.blobs += len(p.Blobs)
		}
		w.mu.Unlock()
		return fmt.Errorf("save index: %w", err)
	}
	r.index().RegisterFile(id, packs)
	r.keepLocalIndex(id, packs)
	return nil
}

// Has reports whether the index lists the blob.
func (r *Repository) Has(h restic.BlobHandle) bool { return r.index().Has(h) }

// PackedBlob is one place where a blob is stored.
type PackedBlob = restic.PackedBlob

// LookupBlob returns every place where the blob is stored, none if it is
// unknown.
func (r *Repository) LookupBlob(h restic.BlobHandle) []PackedBlob { return r.index().Lookup(h, nil) }

// Stats describes what the loaded index lists. Sizes are in bytes.
type Stats struct {
	Packs      int
	Blobs      int // locations; a blob stored twice counts twice
	IndexFiles int
	// StoredBytes is the size of all packs. PlainBytes is what the blobs are
	// when decompressed.
	StoredBytes, PlainBytes int64
	IndexMemory             int64
}

// Stats counts what the index lists; it reads nothing.
func (r *Repository) Stats() Stats {
	idx := r.index()
	var s Stats
	s.Packs, s.Blobs, s.IndexFiles = idx.Counts()
	s.IndexMemory = idx.MemoryUse()
	s.StoredBytes, s.PlainBytes = idx.Sizes()
	return s
}
