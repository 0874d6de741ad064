package restorer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// batchWeight bounds the files and blobs of a batch, and with them the memory
// of a restore: a batch of it takes about 30 MB.
const batchWeight = 40_000

// batch is files that are restored together.
type batch struct {
	files  []*file
	weight int
}

func newBatch() *batch { return &batch{} }

// file is a regular file on its way to disk.
type file struct {
	path string
	node *restic.Node
	size int64
	// pending counts the places that are still to be written.
	pending atomic.Int64
	failed  atomic.Bool

	mu      sync.Mutex // held while the file is made
	made    bool
	existed bool // it may hold anything where nothing was written
}

// place is where a blob goes.
type place struct {
	file   *file
	offset int64
}

// addFile puts a file into a batch. The error says that its content is not in
// the repository.
func (r *run) addFile(b *batch, p string, node *restic.Node) error {
	if r.proven != nil {
		if err := checkFile(node); err != nil {
			return err
		}
	}
	f := &file{path: p, node: node}
	for _, id := range node.Content {
		n, err := r.plainLength(id)
		if err != nil {
			return err
		}
		f.size += n
	}
	b.files = append(b.files, f)
	b.weight += 1 + len(node.Content)
	return nil
}

// plainLength returns the length of a piece of content.
func (r *run) plainLength(id restic.ID) (int64, error) {
	places := r.repo.LookupBlob(restic.BlobHandle{ID: id, Type: restic.DataBlob})
	if len(places) == 0 {
		return 0, fmt.Errorf("content %s is not in the repository", id.Short())
	}
	return int64(places[0].PlaintextLength()), nil
}

// restoreBatch restores the files of a batch.
func (r *run) restoreBatch(ctx context.Context, b *batch) error {
	if r.proven != nil {
		return r.proveBatch(ctx, b)
	}
	if r.opts.DryRun {
		for _, f := range b.files {
			r.stats.file(f)
		}
		return nil
	}
	needs, err := r.needs(ctx, b.files)
	if err != nil {
		return err
	}
	if err := r.fetch(ctx, needs); err != nil {
		return err
	}
	if r.opts.Verify {
		return r.verify(ctx, b.files)
	}
	return nil
}

// needs returns where each missing blob goes. Files that need nothing are
// completed.
func (r *run) needs(ctx context.Context, files []*file) (map[restic.ID][]place, error) {
	missing := make([][]bool, len(files)) // nil: everything
	if r.opts.Overwrite {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(r.workers())
		for i, f := range files {
			g.Go(func() error {
				var err error
				missing[i], err = r.compareExisting(gctx, f)
				return err
			})
		}
		if err := g.Wait(); err != nil {
			return nil, err
		}
	}
	needs := make(map[restic.ID][]place, len(files))
	for i, f := range files {
		if f.failed.Load() {
			continue
		}
		offset := int64(0)
		wanted := int64(0)
		for j, id := range f.node.Content {
			n, err := r.plainLength(id)
			if err != nil {
				return nil, err // it was there a moment ago
			}
			if missing[i] == nil || missing[i][j] {
				needs[id] = append(needs[id], place{f, offset})
				wanted++
			} else {
				r.stats.kept.Add(uint64(n)) //nolint:gosec // not negative
			}
			offset += n
		}
		f.pending.Store(wanted)
	}
	for _, f := range files {
		if f.failed.Load() || f.pending.Load() > 0 {
			continue
		}
		if err := r.complete(f, nil); err != nil {
			return nil, err
		}
	}
	return needs, nil
}

// compareExisting returns which pieces of a file on disk are not right, or nil
// if there is no file that can be kept.
func (r *run) compareExisting(ctx context.Context, f *file) ([]bool, error) {
	have, err := r.target.EditFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		// A link, a device, or a file that may not be written: it makes way.
		r.makeWay(f)
		return nil, nil
	}
	st, err := have.Stat()
	if err != nil || !st.Mode.IsRegular() || st.Nlink > 1 {
		// A file with other names may have them outside the target.
		_ = have.Close() // nothing was written
		r.makeWay(f)
		return nil, nil
	}
	defer func() { _ = have.Close() }() // nothing was written
	f.made, f.existed = true, true
	return r.differing(ctx, f, have)
}

// makeWay removes what stands at the file's place.
func (r *run) makeWay(f *file) {
	dir, name := path.Split(f.path)
	d, err := r.target.Sub(strings.TrimSuffix(dir, "/"))
	if err == nil {
		err = removeEntry(d, name)
		_ = d.Close() // nothing was written through it
	}
	if err != nil {
		r.fail(f, err)
	}
}

// differing compares each piece of the content with its hash.
func (r *run) differing(ctx context.Context, f *file, have *fsmeta.File) ([]bool, error) {
	out := make([]bool, len(f.node.Content))
	var buf []byte
	offset := int64(0)
	for i, id := range f.node.Content {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.plainLength(id)
		if err != nil {
			return nil, err
		}
		if int64(cap(buf)) < n {
			buf = make([]byte, n)
		}
		buf = buf[:n]
		_, err = have.ReadAt(buf, offset)
		out[i] = err != nil || restic.Hash(buf) != id
		offset += n
	}
	return out, nil
}

// write puts a blob into its place. A file is opened for each of its pieces:
// that costs little beside the piece, and no limit on open files is met. The
// error is one that ends the restore.
func (r *run) write(p place, data []byte) error {
	f := p.file
	if f.failed.Load() {
		return nil
	}
	if r.proven != nil {
		r.count(p, len(data))
		return nil
	}
	out, err := r.openForWrite(f)
	if err == nil {
		err = r.writeData(out, f, p.offset, data)
		if err == nil {
			r.stats.wrote(len(data), f)
			if f.pending.Add(-1) == 0 {
				return r.complete(f, out)
			}
		}
		err = errors.Join(err, out.Close())
	}
	if fsmeta.IsFull(err) {
		return err
	}
	if err != nil {
		r.fail(f, err)
	}
	return nil
}

// openForWrite opens the file, making it the first time.
func (r *run) openForWrite(f *file) (*fsmeta.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.made {
		return r.target.EditFile(f.path)
	}
	out, err := r.target.CreateFile(f.path)
	if err == nil {
		f.made = true
	}
	return out, err
}

// holeSize is the block that Sparse leaves out when it is all zeros.
const holeSize = 4 << 10

var zeros [holeSize]byte

// writeData writes a piece, or with Sparse the blocks of it that are not zero.
func (r *run) writeData(out *fsmeta.File, f *file, offset int64, data []byte) error {
	if !r.opts.Sparse || f.existed {
		_, err := out.WriteAt(data, offset)
		return err
	}
	for len(data) > 0 {
		// A stretch is as long as blocks stay zero, or stay not zero.
		n, hole := 0, isZero(data)
		for n < len(data) && isZero(data[n:]) == hole {
			n += min(holeSize, len(data)-n)
		}
		if !hole {
			if _, err := out.WriteAt(data[:n], offset); err != nil {
				return err
			}
		}
		data, offset = data[n:], offset+int64(n)
	}
	return nil
}

// isZero reports whether the block at the beginning of data is all zeros.
func isZero(data []byte) bool {
	n := min(holeSize, len(data))
	return bytes.Equal(data[:n], zeros[:n])
}

// complete gives a file its size and metadata and closes it; out is the open
// file, or nil.
func (r *run) complete(f *file, out *fsmeta.File) error {
	if out == nil {
		var err error
		if out, err = r.openForWrite(f); err != nil {
			if fsmeta.IsFull(err) {
				return err
			}
			r.fail(f, err)
			return nil
		}
	}
	var err error
	if f.existed || r.opts.Sparse {
		err = out.Truncate(f.size)
	}
	meta := out.Apply(metadata(f.node))
	if err := errors.Join(err, out.Close()); err != nil {
		if fsmeta.IsFull(err) {
			return err
		}
		r.fail(f, err)
		return nil
	}
	if meta != nil {
		r.stats.warn(f.path, meta)
	}
	r.stats.file(f)
	return nil
}

// fail marks a file as not restored, once.
func (r *run) fail(f *file, err error) {
	if !f.failed.Swap(true) {
		r.stats.failed(f.path, err)
	}
}

// verify reads the files of a batch back.
func (r *run) verify(ctx context.Context, files []*file) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(r.workers())
	for _, f := range files {
		if f.failed.Load() {
			continue
		}
		g.Go(func() error { return r.verifyFile(ctx, f) })
	}
	return g.Wait()
}

func (r *run) verifyFile(ctx context.Context, f *file) error {
	in, err := r.target.OpenFile(f.path)
	if isPermission(err) {
		r.stats.warn(f.path, fmt.Errorf("verify: %w", err)) // its mode forbids its owner
		return nil
	}
	if err != nil {
		r.fail(f, fmt.Errorf("verify: %w", err))
		return nil
	}
	defer func() { _ = in.Close() }() // read only
	differing, err := r.differing(ctx, f, in)
	if err != nil {
		return err
	}
	st, err := in.Stat()
	bad := err != nil || st.Size != f.size
	for _, d := range differing {
		bad = bad || d
	}
	if bad {
		r.fail(f, errors.New("verify: the file on disk is not what was written"))
		return nil
	}
	r.stats.checked.Add(1)
	return nil
}
