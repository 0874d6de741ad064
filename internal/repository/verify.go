package repository

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// VerifySnapshot reads a snapshot back from the store right after it was
// saved, with the trees that this Repository wrote since the index was loaded
// anew, and makes sure that all they refer to is in the index. Trees that were
// there before are taken to be sound; Check looks at those.
func (r *Repository) VerifySnapshot(ctx context.Context, id restic.ID) error {
	s, err := r.LoadSnapshot(ctx, id)
	if err != nil {
		return fmt.Errorf("verify snapshot %s: %w", id.Short(), err)
	}
	idx := r.index()
	seen := make(map[restic.ID]bool)
	err = r.walkTrees(ctx, []restic.ID{*s.Tree},
		func(tree restic.ID) bool {
			if seen[tree] {
				return false
			}
			seen[tree] = true
			places := idx.Lookup(restic.BlobHandle{ID: tree, Type: restic.TreeBlob}, nil)
			// One that is not known is entered, so that loading it fails.
			return len(places) == 0 || r.wrote(places)
		},
		func(tree restic.ID, t *restic.Tree, err error) error {
			if err != nil {
				return err
			}
			for _, n := range t.Nodes {
				for _, c := range n.Content {
					if h := (restic.BlobHandle{ID: c, Type: restic.DataBlob}); !idx.Has(h) {
						return fmt.Errorf("tree %s, file %q: %s: %w", tree.Short(), n.Name, h, ErrUnknownBlob)
					}
				}
			}
			return nil
		})
	if err != nil {
		return fmt.Errorf("verify snapshot %s: %w", id.Short(), err)
	}
	r.idxMu.Lock()
	clear(r.fresh)
	r.idxMu.Unlock()
	return nil
}

// wrote reports whether one of the places is in a pack that was written since
// the last verification.
func (r *Repository) wrote(places []PackedBlob) bool {
	r.idxMu.RLock()
	defer r.idxMu.RUnlock()
	for _, p := range places {
		if _, ok := r.fresh[p.Pack]; ok {
			return true
		}
	}
	return false
}
