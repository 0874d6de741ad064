package repository

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	// maxScratch is the largest work buffer that a writer keeps for the next
	// blob.
	maxScratch = 8 << 20
	// verifyEvery is the sampling of VerifySample.
	verifyEvery = 16
	// abortGrace is how long Abort tries to save the index of packs that were
	// stored.
	abortGrace = 700 * time.Millisecond
)

// writer is the state of one goroutine that saves blobs. A writer belongs to
// whoever took it from writeState.writers.
type writer struct {
	zip     compressor
	scratch []byte // the compressed blob
	check   []byte // the blob opened again
	sealed  []byte // a tree before it is copied into the shared pack
	data    *openPack
}

// writeState is all that saving needs. Uploads run in goroutines of their own,
// which Flush and Abort wait for.
type writeState struct {
	r       *Repository
	writers chan *writer
	trees   chan *openPack // holds the open tree pack, or nil; taking it locks it
	slots   chan struct{}  // one for each upload in flight
	uploads sync.WaitGroup

	mu     sync.Mutex
	ctx    context.Context // of the uploads; nil when no saving goes on
	cancel context.CancelCauseFunc
	err    error        // the first failure; sticks until Flush or Abort
	stored []index.Pack // stored packs that no index file lists yet
	blobs  int          // in stored
	// unlisted is set when the table has a pack that no index file will list.
	unlisted bool
}

func newWriteState(r *Repository) *writeState {
	w := &writeState{
		r:       r,
		writers: make(chan *writer, r.set.workers),
		trees:   make(chan *openPack, 1),
		slots:   make(chan struct{}, r.set.uploads),
	}
	for range r.set.workers {
		w.writers <- &writer{}
	}
	w.trees <- nil
	return w
}

func (w *writeState) close() {
	for range cap(w.writers) {
		wr := <-w.writers
		wr.zip.close()
	}
}

// begin returns the context of the uploads, or the error that sticks.
func (w *writeState) begin(ctx context.Context) (context.Context, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, w.err
	}
	if w.ctx == nil {
		// The uploads outlive the call that starts them: callers save blobs in
		// errgroups whose context ends before Flush.
		w.ctx, w.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	}
	return w.ctx, nil
}

// fail makes err stick and stops the uploads. The first error wins.
func (w *writeState) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	if w.cancel != nil {
		w.cancel(err)
	}
}

func (w *writeState) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// active reports whether blobs were saved since the last Flush or Abort.
func (w *writeState) active() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ctx != nil
}

// SaveBlob stores a blob unless the repository has it or another call is
// storing it. known is true in these cases, and storedLen, the bytes it takes
// in a pack, is then 0. The blob is durable after the next Flush.
//
// Calls may run concurrently; as many as there are CPUs work at a time, the
// others wait. plaintext is not kept. ctx covers the call; uploads that it
// starts go on until Flush or Abort. After a failure every call returns it
// until Flush or Abort.
func (r *Repository) SaveBlob(ctx context.Context, t restic.BlobType, plaintext []byte) (id restic.ID, known bool, storedLen int, err error) {
	if len(plaintext) == 0 {
		return restic.ID{}, false, 0, fmt.Errorf("save %s blob: it is empty", t)
	}
	if limit := maxPlain(t); len(plaintext) > limit {
		return restic.ID{}, false, 0, fmt.Errorf("save %s blob: %d bytes are more than the limit of %d", t, len(plaintext), limit)
	}
	if _, err := r.w.begin(ctx); err != nil {
		return restic.ID{}, false, 0, fmt.Errorf("save %s blob: %w", t, err)
	}
	h := restic.BlobHandle{ID: restic.Hash(plaintext), Type: t}
	idx := r.index()
	if !idx.Claim(h) {
		return h.ID, true, 0, nil
	}
	storedLen, err = r.w.save(ctx, h, plaintext)
	if err != nil {
		err = fmt.Errorf("save %s: %w", h, err)
		// Another call may have relied on this one to store the blob.
		r.w.fail(err)
		return restic.ID{}, false, 0, err
	}
	return h.ID, false, storedLen, nil
}

// SaveTree is SaveBlob for the document of a directory.
func (r *Repository) SaveTree(ctx context.Context, document []byte) (id restic.ID, known bool, storedLen int, err error) {
	return r.SaveBlob(ctx, restic.TreeBlob, document)
}

func (w *writeState) save(ctx context.Context, h restic.BlobHandle, plaintext []byte) (int, error) {
	wr, err := w.takeWriter(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { w.writers <- wr }()

	var nth uint64
	wr.scratch, nth = wr.zip.blob(wr.scratch[:0], plaintext)
	body, plainLen := wr.scratch, uint32(len(plaintext))
	// Stock prune rewrites packs with trees that are not compressed, so trees
	// always are.
	if h.Type == restic.DataBlob && len(body) >= len(plaintext) {
		body, plainLen = plaintext, 0
	}
	blob := pack.Blob{Handle: h, Length: uint32(len(body) + crypto.Overhead), UncompressedLength: plainLen}
	verify := w.r.set.verify == VerifyAll || w.r.set.verify == VerifySample && nth%verifyEvery == 0

	seal := func(dst []byte) ([]byte, error) {
		start := len(dst)
		dst = w.r.key.Seal(dst, body)
		if verify {
			if err := wr.verify(w.r, blob, dst[start:]); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	if h.Type == restic.DataBlob {
		wr.data, err = w.add(ctx, wr.data, blob, seal)
	} else {
		// The shared pack is locked only for the copy.
		if wr.sealed, err = seal(wr.sealed[:0]); err == nil {
			err = w.addTree(ctx, blob, wr.sealed, false)
		}
	}
	wr.trim()
	if err != nil {
		return 0, err
	}
	return int(blob.Length) + blob.EntrySize(), nil
}

func (w *writeState) takeWriter(ctx context.Context) (*writer, error) {
	select {
	case wr := <-w.writers:
		return wr, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// verify opens what was sealed and compares it with the blob's name: the last
// moment at which bad memory can be told from a bad disk.
func (wr *writer) verify(r *Repository, b pack.Blob, sealed []byte) error {
	plain, err := r.decodeSealed(b.Handle, b.UncompressedLength, sealed, wr.check[:0])
	if err != nil {
		return fmt.Errorf("what was just encrypted does not decrypt, is the memory of this machine sound? %w", err)
	}
	wr.check = plain
	return nil
}

func (wr *writer) trim() {
	for _, b := range []*[]byte{&wr.scratch, &wr.check, &wr.sealed} {
		if cap(*b) > maxScratch {
			*b = nil
		}
	}
}

// addSealed stores a blob that is sealed already, whoever has it. Prune uses
// it to copy blobs without decrypting them.
func (w *writeState) addSealed(ctx context.Context, b pack.Blob, sealed []byte) error {
	if _, err := w.begin(ctx); err != nil {
		return err
	}
	wr, err := w.takeWriter(ctx)
	if err != nil {
		return err
	}
	defer func() { w.writers <- wr }()
	if b.Handle.Type == restic.TreeBlob {
		return w.addTree(ctx, b, sealed, true)
	}
	wr.data, err = w.add(ctx, wr.data, b, appendSealed(sealed))
	return err
}

func appendSealed(sealed []byte) func([]byte) ([]byte, error) {
	return func(dst []byte) ([]byte, error) { return append(dst, sealed...), nil }
}

func (w *writeState) addTree(ctx context.Context, b pack.Blob, sealed []byte, copied bool) error {
	select {
	case p := <-w.trees:
		p, err := w.add(ctx, p, b, appendSealed(sealed))
		if p != nil {
			p.copied = copied // prunes and backups do not go together
		}
		w.trees <- p
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// add appends a blob to the open pack p, which may be nil, and returns the
// pack that is open afterwards. seal appends the sealed blob to the buffer.
func (w *writeState) add(ctx context.Context, p *openPack, b pack.Blob, seal func([]byte) ([]byte, error)) (*openPack, error) {
	if p != nil && !p.fits(b) {
		if err := w.finish(p); err != nil {
			return nil, err
		}
		p = nil
	}
	if p == nil {
		var err error
		if p, err = w.open(ctx, b); err != nil {
			return nil, err
		}
	}
	buf, err := seal(p.buf)
	if err != nil {
		return p, err
	}
	p.buf = buf
	p.push(b)
	if len(p.buf)+p.header < w.r.set.packSize && len(p.blobs) < pack.MaxBlobs && p.pooled {
		return p, nil
	}
	return nil, w.finish(p)
}

// open takes a buffer for a pack whose first blob is b.
func (w *writeState) open(ctx context.Context, b pack.Blob) (*openPack, error) {
	if need := int(b.Length) + pack.SealedHeaderSize(b.EntrySize()); need > w.r.buffers.size {
		return &openPack{buf: make([]byte, 0, need)}, nil
	}
	// A failed upload ends the wait, too: it may never give its buffer back.
	wctx, err := w.begin(ctx)
	if err != nil {
		return nil, err
	}
	both, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	defer context.AfterFunc(wctx, func() { stop(context.Cause(wctx)) })()
	buf, err := w.r.buffers.get(both)
	if err != nil {
		return nil, err
	}
	return &openPack{buf: buf, pooled: true}, nil
}

// finish completes a pack and starts its upload.
func (w *writeState) finish(p *openPack) error {
	id, err := p.complete(w.r.key)
	if err != nil {
		w.release(p)
		w.fail(err)
		return err
	}
	w.mu.Lock()
	ctx := w.ctx
	w.mu.Unlock()
	w.uploads.Go(func() {
		defer w.release(p)
		if err := w.upload(ctx, id, p); err != nil {
			w.fail(err)
		}
	})
	return nil
}

func (w *writeState) release(p *openPack) {
	if p.pooled {
		w.r.buffers.put(p.buf)
	}
	p.buf = nil
}

// Flush stores what is still in open packs, waits for all uploads and saves
// the index: when it returns nil, every blob saved so far is durable. It
// returns the first failure since the last Flush; the index then lists the
// packs that did get stored, so that the next run need not send them again.
//
// When ctx ends, uploads are cancelled. SaveBlob calls that run meanwhile
// wait; their blobs belong to the next Flush.
func (r *Repository) Flush(ctx context.Context) error {
	w := r.w
	if !w.active() {
		return w.failure()
	}
	failed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(failed)
		w.fail(context.Cause(ctx))
	})
	writers := w.holdAll()
	defer w.releaseAll(writers)

	if w.failure() == nil {
		w.finishAll(writers)
	} else {
		w.dropAll(writers)
	}
	w.uploads.Wait()

	err := w.failure()
	if ctx.Err() == nil {
		err = errors.Join(err, r.saveIndex(ctx))
	} else if err == nil {
		err = context.Cause(ctx)
	}
	if !stop() {
		<-failed // a failure that came after reset would be the next saving's
	}
	w.reset()
	if err != nil {
		return fmt.Errorf("flush repository: %w", err)
	}
	return nil
}

// Abort gives up what has not been flushed: it stops the uploads, waits for
// them and forgets the open packs. Packs that are stored already are listed in
// an index if that succeeds at once. Without anything to give up it does
// nothing, so it may be deferred beside Flush.
func (r *Repository) Abort() {
	w := r.w
	if !w.active() {
		w.mu.Lock()
		w.err = nil
		w.mu.Unlock()
		return
	}
	w.fail(ErrAborted)
	writers := w.holdAll()
	defer w.releaseAll(writers)
	w.dropAll(writers)
	w.uploads.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), abortGrace)
	defer cancel()
	// If it fails the packs stay unlisted, and the next LoadIndex forgets them.
	_ = r.saveIndex(ctx)
	w.reset()
}

// holdAll takes every writer, so that no SaveBlob is under way. Those that are
// end soon: they wait for nothing that Flush or Abort would hold back.
func (w *writeState) holdAll() []*writer {
	writers := make([]*writer, 0, cap(w.writers))
	for range cap(w.writers) {
		writers = append(writers, <-w.writers)
	}
	return writers
}

func (w *writeState) releaseAll(writers []*writer) {
	for _, wr := range writers {
		w.writers <- wr
	}
}

// reset makes the state ready for the next saving. All writers are held.
func (w *writeState) reset() {
	w.mu.Lock()
	if w.cancel != nil {
		w.cancel(nil)
	}
	unlisted := len(w.stored) > 0 || w.unlisted
	w.ctx, w.cancel, w.err = nil, nil, nil
	w.stored, w.blobs, w.unlisted = nil, 0, false
	w.mu.Unlock()

	w.r.index().ReleaseClaims()
	if unlisted {
		w.r.idxMu.Lock()
		w.r.stale = true
		w.r.idxMu.Unlock()
	}
	w.r.buffers.rest()
}
