package repository

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// openPack is a pack that is being filled. It belongs to one goroutine.
type openPack struct {
	buf    []byte
	blobs  []pack.Blob
	header int  // size of the sealed header for blobs, with its length field
	pooled bool // buf is from the pool
	copied bool // its blobs come from other packs of the repository
}

// fits reports whether the blob and the header have room in the buffer.
func (p *openPack) fits(b pack.Blob) bool {
	return p.pooled && len(p.blobs) < pack.MaxBlobs &&
		len(p.buf)+int(b.Length)+max(p.header, pack.SealedHeaderSize(0))+b.EntrySize() <= cap(p.buf)
}

// push records a blob whose sealed bytes are the last in the buffer.
func (p *openPack) push(b pack.Blob) {
	b.Offset = uint32(len(p.buf)) - b.Length
	p.blobs = append(p.blobs, b)
	if p.header == 0 {
		p.header = pack.SealedHeaderSize(0)
	}
	p.header += b.EntrySize()
}

// complete appends the header and returns the pack's name.
func (p *openPack) complete(key *crypto.Key) (restic.ID, error) {
	buf, err := pack.AppendHeader(p.buf, key, p.blobs)
	if err != nil {
		return restic.ID{}, err
	}
	p.buf = buf
	return restic.Hash(p.buf), nil
}

// upload stores the pack and records where its blobs are. Every BlobsPerFile
// blobs it also saves an index file.
func (w *writeState) upload(ctx context.Context, id restic.ID, p *openPack) error {
	if err := w.r.gate.wait(ctx); err != nil {
		return err
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := put(ctx, w.r.be, backend.KindData, id, p.buf); err != nil {
		return fmt.Errorf("put pack %s: %w", id.Short(), err)
	}
	stored := index.Pack{ID: id, Blobs: p.blobs}
	if err := w.r.index().AddPack(stored); err != nil {
		return err
	}
	if p.isTrees() && !w.r.set.noReadBack {
		// Before any index file lists it: what does not read back must not be
		// taken for stored by the next run.
		if err := w.r.readBack(ctx, id, p); err != nil {
			w.mu.Lock()
			w.unlisted = true
			w.mu.Unlock()
			return err
		}
	}
	w.mu.Lock()
	w.stored = append(w.stored, stored)
	w.blobs += len(stored.Blobs)
	full := w.blobs >= index.BlobsPerFile
	w.mu.Unlock()
	if full {
		return w.r.saveIndex(ctx)
	}
	return nil
}

// finishAll completes the open packs. Data packs of several writers that fit
// into one become one: sealed blobs do not mind where they lie.
func (w *writeState) finishAll(writers []*writer) {
	var open []*openPack
	for _, wr := range writers {
		if wr.data != nil {
			open = append(open, wr.data)
			wr.data = nil
		}
	}
	slices.SortFunc(open, func(a, b *openPack) int { return cmp.Compare(len(b.buf), len(a.buf)) })
	for len(open) > 0 {
		p := open[0]
		open = open[1:]
		open = slices.DeleteFunc(open, func(q *openPack) bool {
			if !p.absorb(q, w.r.set.packSize) {
				return false
			}
			w.release(q)
			return true
		})
		// finish keeps its error for Flush to report.
		_ = w.finish(p)
	}
	if p := <-w.trees; p != nil {
		_ = w.finish(p)
	}
	w.trees <- nil
}

// absorb appends all blobs of q if the pack does not get larger than limit.
func (p *openPack) absorb(q *openPack, limit int) bool {
	if len(p.buf)+p.header+len(q.buf)+q.header > limit || len(p.blobs)+len(q.blobs) > pack.MaxBlobs {
		return false
	}
	for _, b := range q.blobs {
		p.buf = append(p.buf, q.buf[b.Offset:b.Offset+b.Length]...)
		p.push(b)
	}
	return true
}

func (w *writeState) dropAll(writers []*writer) {
	for _, wr := range writers {
		if wr.data != nil {
			w.release(wr.data)
			wr.data = nil
		}
	}
	if p := <-w.trees; p != nil {
		w.release(p)
	}
	w.trees <- nil
}
