package repository

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// readBack reads a pack of trees that was just stored. A directory that is
// damaged takes all below it with it, and trees are a hundredth of the bytes,
// so all of them are read again, while other packs are on their way. Every
// tree must decode, and all that it refers to must be stored or about to be.
// Of copied trees only the bytes are checked: what they say was checked when
// they were written.
func (r *Repository) readBack(ctx context.Context, id restic.ID, p *openPack) error {
	scratch := r.scratch.get(0)
	defer r.scratch.put(scratch)
	plain := r.scratch.get(0)
	defer r.scratch.put(plain)
	for blobs := p.blobs; len(blobs) > 0; {
		n, to := mergeRange(blobs)
		from := int64(blobs[0].Offset)
		buf, err := r.LoadPackRange(ctx, id, from, to-from, *scratch)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		*scratch = buf
		for _, b := range blobs[:n] {
			sealed := buf[int64(b.Offset)-from:][:b.Length]
			if *plain, err = r.decodeSealed(b.Handle, b.UncompressedLength, sealed, (*plain)[:0]); err == nil && !p.copied {
				err = r.checkTree(*plain)
			}
			if err != nil {
				return damaged(fmt.Sprintf("read back pack %s: %s", id.Short(), b.Handle), err)
			}
		}
		blobs = blobs[n:]
	}
	return nil
}

// checkTree makes sure that the document is one of a directory, and that the
// repository has, or is being given, all that it refers to.
func (r *Repository) checkTree(document []byte) error {
	tree, err := restic.DecodeTree(document)
	if err != nil {
		return err
	}
	idx := r.index()
	for _, n := range tree.Nodes {
		if n.Subtree != nil {
			if h := (restic.BlobHandle{ID: *n.Subtree, Type: restic.TreeBlob}); !idx.Knows(h) {
				return fmt.Errorf("directory %q: %s: %w", n.Name, h, ErrUnknownBlob)
			}
		}
		for _, c := range n.Content {
			if h := (restic.BlobHandle{ID: c, Type: restic.DataBlob}); !idx.Knows(h) {
				return fmt.Errorf("file %q: %s: %w", n.Name, h, ErrUnknownBlob)
			}
		}
	}
	return nil
}

// isTrees reports whether a pack holds trees; types do not mix.
func (p *openPack) isTrees() bool {
	return len(p.blobs) > 0 && p.blobs[0].Handle.Type == restic.TreeBlob
}
