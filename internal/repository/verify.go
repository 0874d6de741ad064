package repository

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// VerifySnapshot reads a snapshot back from the store right after it was
// saved, and makes sure that the index has its tree. The trees below that the
// backup wrote were read back before an index listed them, see readBack;
// trees that were there before are taken to be sound, Check looks at those.
//
// It needs no lock: what a listed snapshot refers to is not removed.
func (r *Repository) VerifySnapshot(ctx context.Context, id restic.ID) error {
	s, err := r.LoadSnapshot(ctx, id)
	if err == nil && !r.Has(restic.BlobHandle{ID: *s.Tree, Type: restic.TreeBlob}) {
		err = fmt.Errorf("its tree %s: %w", s.Tree.Short(), ErrUnknownBlob)
	}
	if err != nil {
		return fmt.Errorf("verify snapshot %s: %w", id.Short(), err)
	}
	// The next listing need not read it once more.
	r.snapshots.add(s)
	r.keepLocalSnapshot(s)
	if r.local != nil {
		r.local.Flush()
	}
	return nil
}
