package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// findNeeded finds the packs that the snapshots of the options need. A tree
// that cannot be read was named before.
func (c *checker) findNeeded(ctx context.Context) error {
	var roots []restic.ID
	for _, s := range c.snapshots {
		if slices.Contains(c.opt.Snapshots, s.ID) {
			roots = append(roots, *s.Tree)
		}
	}
	if len(roots) == 0 {
		return nil
	}
	c.needed = make(map[restic.ID]bool)
	add := func(h restic.BlobHandle) {
		for _, p := range c.r.idx.Lookup(h, nil) {
			c.needed[p.Pack] = true
		}
	}
	seen := make(map[restic.ID]bool)
	return c.r.walkTrees(ctx, roots,
		func(id restic.ID) bool {
			first := !seen[id]
			seen[id] = true
			return first
		},
		func(id restic.ID, t *restic.Tree, err error) error {
			if err != nil {
				if isDamage(err) {
					return nil
				}
				return err
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			add(restic.BlobHandle{ID: id, Type: restic.TreeBlob})
			for _, n := range t.Nodes {
				for _, b := range n.Content {
					add(restic.BlobHandle{ID: b, Type: restic.DataBlob})
				}
			}
			return nil
		})
}

// readPacks reads the packs that the options select.
func (c *checker) readPacks(ctx context.Context) error {
	type job struct {
		id    restic.ID
		blobs []pack.Blob
	}
	var jobs []job
	c.r.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		if _, there := c.packs[id]; there && c.reads(id) {
			jobs = append(jobs, job{id, slices.Clone(blobs)})
		}
		return true
	})
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(checkReaders)
	done := 0
	for _, j := range jobs {
		g.Go(func() error {
			n, err := c.readPack(gctx, j.id, j.blobs)
			c.mu.Lock()
			defer c.mu.Unlock()
			done++
			c.report.PacksRead = done
			c.report.BytesRead += n
			c.progress("packs", done, len(jobs))
			return err
		})
	}
	return g.Wait()
}

// reads reports whether a listed pack is to be read.
func (c *checker) reads(id restic.ID) bool {
	return c.opt.ReadData || c.opt.ReadShare.has(id) || c.badSize[id] || c.needed[id] || slices.Contains(c.opt.Packs, id)
}

func (s Share) has(id restic.ID) bool {
	return s.Of > 0 && (int(id[0])<<8|int(id[1]))%s.Of == s.Part%s.Of
}

// readPack reads a whole pack, compares its hash with its name and its header
// with the index, and opens every blob.
func (c *checker) readPack(ctx context.Context, id restic.ID, blobs []pack.Blob) (int64, error) {
	size := c.packs[id]
	bad := func(b restic.BlobHandle, format string, args ...any) {
		kind := ProblemPack
		if b.Type != 0 {
			kind = ProblemBlob
		}
		c.problem(Problem{Kind: kind, Pack: id, Blob: b, Text: "pack " + id.Short() + ": " + fmt.Sprintf(format, args...)})
	}
	if size == 0 || size > maxCheckedPack {
		bad(restic.BlobHandle{}, "a size of %d bytes is not possible", size)
		c.loseCopies(blobs...)
		return 0, nil
	}
	scratch := c.r.scratch.get(int(size))
	defer c.r.scratch.put(scratch)
	buf, err := c.r.LoadPackRange(ctx, id, 0, size, *scratch)
	if err != nil {
		if isDamage(err) {
			bad(restic.BlobHandle{}, "%v", err)
			c.loseCopies(blobs...)
			return 0, nil
		}
		return 0, err
	}
	*scratch = buf
	if got := restic.Hash(buf); got != id {
		bad(restic.BlobHandle{}, "its content is %s", got.Short())
	}
	if err := c.compareHeader(buf, blobs); err != nil {
		bad(restic.BlobHandle{}, "%v", err)
	}
	var plain []byte
	for _, b := range blobs {
		end := int64(b.Offset) + int64(b.Length)
		err := errors.New("it lies behind the end")
		if end <= size {
			plain, err = c.r.decodeSealed(b.Handle, b.UncompressedLength, buf[b.Offset:end], plain[:0])
		}
		if err != nil {
			bad(b.Handle, "%s: %v", b.Handle, err)
			c.loseCopies(b)
		}
	}
	return size, nil
}

// maxCheckedPack bounds the memory for one pack; offsets in packs are 32 bits.
const maxCheckedPack = 1 << 30

func (c *checker) compareHeader(buf []byte, want []pack.Blob) error {
	got, err := c.r.packHeader(buf)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("its header lists %d blobs, the index lists others (%d)", len(got), len(want))
	}
	return nil
}

// packHeader decodes the header of a whole pack.
func (r *Repository) packHeader(buf []byte) ([]pack.Blob, error) {
	if len(buf) < 4 {
		return nil, pack.ErrHeader
	}
	n, err := pack.HeaderLength(buf[len(buf)-4:], int64(len(buf)))
	if err != nil {
		return nil, err
	}
	return pack.DecodeHeader(r.key, buf[int64(len(buf))-n:], int64(len(buf)))
}
