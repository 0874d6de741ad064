package archiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver/chunker"
	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// fileJob is a file that must be read.
type fileJob struct {
	slot   int
	name   string
	before *restic.Node // in the parent snapshot, or nil
}

// batch is small files of one directory.
type batch struct {
	dir   *dir
	files []fileJob
	bytes int64
}

// largeFile is a file or stream that is cut into chunks.
type largeFile struct {
	fileJob

	dir    *dir
	stream *Stream
	node   *restic.Node
	size   uint64

	// pending counts the chunks on their way, and the reader.
	pending atomic.Int64
	mu      sync.Mutex
	content []restic.ID
}

// chunk is a part of a large file in a buffer of the pool.
type chunk struct {
	file  *largeFile
	index int
	data  []byte
}

// work stores small files and chunks until the run is done.
func (r *run) work(ctx context.Context) error {
	// One byte more than a small file may have, to see that it grew.
	buf := make([]byte, maxSmall+1)
	for {
		select {
		case b := <-r.small:
			for _, job := range b.files {
				if err := r.readSmall(ctx, b.dir, job, buf); err != nil {
					return err
				}
			}
		case c := <-r.chunks:
			if err := r.storeChunk(ctx, c); err != nil {
				return err
			}
		case <-r.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// open opens a file that the walker saw, and returns the node with what is
// true before its content is read: a change after that must be seen by the
// next backup. Without a file the entry is settled already.
func (r *run) open(ctx context.Context, d *dir, job fileJob) (f *fsmeta.File, node *restic.Node, err error) {
	f, err = d.handle.OpenFile(job.name)
	r.dropHandle(d)
	if err != nil {
		return nil, nil, r.leaveOut(ctx, d, job, err)
	}
	st, err := f.Stat()
	if err == nil && !st.Mode.IsRegular() {
		// It became something else since it was listed: as good as gone.
		_ = f.Close()
		r.stats.vanished()
		return nil, nil, r.settle(ctx, d, job.slot, nil, false)
	}
	if err != nil {
		_ = f.Close() // read only
		return nil, nil, r.leaveOut(ctx, d, job, err)
	}
	node = r.newNode(job.name, st)
	attrs, err := f.Xattrs()
	if err != nil {
		r.stats.unreadable(d.display(job.name), err)
	}
	setXattrs(node, attrs)
	return f, node, nil
}

// leaveOut settles a file that cannot be read.
func (r *run) leaveOut(ctx context.Context, d *dir, job fileJob, err error) error {
	r.unreadable(d.display(job.name), err)
	return r.settle(ctx, d, job.slot, nil, false)
}

func (r *run) readSmall(ctx context.Context, d *dir, job fileJob, buf []byte) error {
	f, node, err := r.open(ctx, d, job)
	if f == nil {
		return err
	}
	defer func() { _ = f.Close() }() // read only

	n, err := io.ReadFull(f, buf[:min(uint64(len(buf)), node.Size+1)])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
	case err != nil:
		return r.leaveOut(ctx, d, job, err)
	default:
		// It grew. What there is now decides, however long it is.
		if n, err = r.readGrown(ctx, f, buf, n, node); err != nil {
			var read *readError
			if errors.As(err, &read) {
				return r.leaveOut(ctx, d, job, read.err)
			}
			return err
		}
	}
	if n > 0 {
		id, err := r.saveData(ctx, d, job.name, buf[:n])
		if err != nil {
			return err
		}
		node.Content = append(node.Content, id)
		node.Size = uint64(n)
	} else if len(node.Content) == 0 {
		node.Size = 0
	}
	r.sawChange(f, node)
	return r.settleFile(ctx, d, job, node, false)
}

// readError is a failure of a file, in contrast to one of the repository.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// readGrown reads the rest of a file that is longer than it was when it was
// opened. It returns how much of buf is filled, or 0 if it stored everything
// in chunks and completed the node.
func (r *run) readGrown(ctx context.Context, f *fsmeta.File, buf []byte, have int, node *restic.Node) (int, error) {
	n, err := io.ReadFull(f, buf[have:])
	have += n
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return have, nil
	}
	if err != nil {
		return 0, &readError{err}
	}
	// Rare enough for a buffer of its own: the pool's are for those who can
	// wait for one.
	cut := chunker.NewReader(r.table, io.MultiReader(bytes.NewReader(slices.Clone(buf[:have])), f))
	own := make([]byte, chunker.MaxSize)
	node.Size = 0
	for {
		data, err := cut.Next(own)
		if errors.Is(err, io.EOF) {
			return 0, nil
		}
		if err != nil {
			return 0, &readError{err}
		}
		id, err := r.saveData(ctx, nil, node.Name, data)
		if err != nil {
			return 0, err
		}
		node.Content = append(node.Content, id)
		node.Size += uint64(len(data))
	}
}

// sawChange counts a file that is not what it was when its node was made.
func (r *run) sawChange(f *fsmeta.File, node *restic.Node) {
	st, err := f.Stat()
	if err != nil || uint64(st.Size) != node.Size || !st.Mtime.Equal(node.ModTime) || !st.Ctime.Equal(node.ChangeTime) { //nolint:gosec // not negative
		r.stats.changedInRead()
	}
}

// settleFile completes a file that was read; counted says that its bytes were
// counted chunk by chunk.
func (r *run) settleFile(ctx context.Context, d *dir, job fileJob, node *restic.Node, counted bool) error {
	state := fileNew
	if before := job.before; before != nil && before.Type == restic.TypeFile {
		state = fileChanged
		if slices.Equal(before.Content, node.Content) && sameMeta(node, before) {
			state = fileUnmodified // read again to be sure
		}
	}
	r.stats.file(state, node.Size, counted, d, job.name)
	return r.settleFresh(ctx, d, job.slot, node, job.before)
}

// saveData stores a piece of a file.
func (r *run) saveData(ctx context.Context, d *dir, name string, data []byte) (restic.ID, error) {
	id, known, stored, err := r.repo.SaveBlob(ctx, restic.DataBlob, data)
	if err != nil {
		if d != nil {
			name = d.display(name)
		}
		return id, fmt.Errorf("save content of %q: %w", name, err)
	}
	if !known {
		r.stats.added(restic.DataBlob, len(data), stored)
	}
	return id, nil
}

// readLarge cuts large files and streams until the run is done.
func (r *run) readLarge(ctx context.Context) error {
	cut := chunker.NewReader(r.table, nil)
	for {
		select {
		case f := <-r.large:
			if err := r.cutLarge(ctx, f, cut); err != nil {
				return err
			}
		case <-r.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (r *run) cutLarge(ctx context.Context, f *largeFile, cut *chunker.Reader) error {
	if f.stream != nil {
		return r.cutStream(ctx, f, cut)
	}
	file, node, err := r.open(ctx, f.dir, f.fileJob)
	if file == nil {
		return err
	}
	defer func() { _ = file.Close() }() // read only
	f.node = node
	if err := r.cut(ctx, f, file, cut); err != nil {
		var read *readError
		if errors.As(err, &read) {
			// Chunks that are on their way are stored and then unreferenced.
			r.unreadable(f.dir.display(f.name), read.err)
			f.node = nil
			return r.chunkDone(ctx, f)
		}
		return err
	}
	node.Size = f.size
	r.sawChange(file, node)
	return r.chunkDone(ctx, f)
}

func (r *run) cutStream(ctx context.Context, f *largeFile, cut *chunker.Reader) error {
	src, err := f.stream.Open(ctx)
	if err != nil {
		return &StreamError{Path: f.stream.Path, Err: err}
	}
	// A stream that hangs is interrupted by closing it; once is enough.
	closed := sync.OnceValue(src.Close)
	interrupt := context.AfterFunc(ctx, func() { _ = closed() }) // the run's error says why
	defer interrupt()
	defer func() { _ = closed() }() // reported below when it matters

	f.node = r.virtualNode(f.name, 0o600)
	if err := r.cut(ctx, f, src, cut); err != nil {
		var read *readError
		if errors.As(err, &read) && ctx.Err() == nil {
			return &StreamError{Path: f.stream.Path, Err: read.err}
		}
		return err
	}
	if err := closed(); err != nil {
		return &StreamError{Path: f.stream.Path, Err: err}
	}
	if f.size == 0 {
		return &StreamError{Path: f.stream.Path, Err: ErrStreamEmpty}
	}
	f.node.Size = f.size
	return r.chunkDone(ctx, f)
}

// cut sends the chunks of a source to the workers. The error is a *readError
// when the source is to blame.
func (r *run) cut(ctx context.Context, f *largeFile, src io.Reader, cut *chunker.Reader) error {
	f.pending.Store(1)
	cut.Reset(src)
	for index := 0; ; index++ {
		buf, err := r.buffers.Get(ctx)
		if err != nil {
			return err
		}
		data, err := cut.Next(buf)
		if err != nil {
			r.buffers.Put(buf)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return &readError{err}
		}
		f.size += uint64(len(data))
		f.pending.Add(1)
		f.mu.Lock()
		f.content = append(f.content, restic.ID{})
		f.mu.Unlock()
		select {
		case r.chunks <- chunk{file: f, index: index, data: data}:
		case <-ctx.Done():
			return ctx.Err()
		}
		r.stats.progress(f.dir, f.name)
	}
}

// storeChunk stores one chunk and gives its buffer back.
func (r *run) storeChunk(ctx context.Context, c chunk) error {
	id, err := r.saveData(ctx, c.file.dir, c.file.name, c.data)
	if err != nil {
		return err
	}
	r.stats.bytes(len(c.data))
	r.buffers.Put(c.data)
	c.file.mu.Lock()
	c.file.content[c.index] = id
	c.file.mu.Unlock()
	return r.chunkDone(ctx, c.file)
}

// chunkDone counts a chunk, or the reader, as done, and completes the file
// after the last one.
func (r *run) chunkDone(ctx context.Context, f *largeFile) error {
	if f.pending.Add(-1) > 0 {
		return nil
	}
	if f.node == nil {
		return r.settle(ctx, f.dir, f.slot, nil, false)
	}
	f.node.Content = f.content
	if f.content == nil {
		f.node.Content = []restic.ID{} // it was cut to nothing meanwhile
	}
	return r.settleFile(ctx, f.dir, f.fileJob, f.node, true)
}
