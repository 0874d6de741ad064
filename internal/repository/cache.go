package repository

import (
	"context"
	"io"
	"sync"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	// windowSize is the stretch of a tree pack that is fetched at once.
	windowSize = 2 << 20
	// windowStep is the distance of the stretches' starts. A blob of up to
	// windowSize-windowStep bytes lies within the stretch that begins at or
	// before it, and so do directories that were written shortly before it:
	// children come before their parents.
	windowStep = 1 << 20
	// maxWindowBytes bounds the cache. Packs of small backups are one short
	// stretch each, and a prune walks hundreds of them.
	maxWindowBytes = 16 << 20
	// maxPooledScratch is the largest scratch buffer that is kept.
	maxPooledScratch = 8 << 20
)

// scratchPool lends work buffers for sealed and compressed blobs.
type scratchPool struct{ pool sync.Pool }

func (p *scratchPool) get(n int) *[]byte {
	b, ok := p.pool.Get().(*[]byte)
	if !ok {
		b = new([]byte)
	}
	if cap(*b) < n {
		*b = make([]byte, 0, n)
	}
	return b
}

func (p *scratchPool) put(b *[]byte) {
	if cap(*b) <= maxPooledScratch {
		p.pool.Put(b)
	}
}

type windowKey struct {
	pack  restic.ID
	start uint32
}

type window struct {
	done chan struct{} // closed when data or err is set
	data []byte
	err  error
	size int64 // of data, once it is here
	used uint64
}

// windowCache holds stretches of tree packs, so that walking a snapshot costs
// a request for each stretch and not for each directory. Several walkers that
// need the same stretch fetch it once.
type windowCache struct {
	r *Repository

	mu      sync.Mutex
	clock   uint64
	bytes   int64 // of all stretches
	windows map[windowKey]*window
}

func newWindowCache(r *Repository) *windowCache {
	return &windowCache{r: r, windows: make(map[windowKey]*window)}
}

// load returns the sealed bytes of a blob of at most windowStep bytes. They
// belong to the cache and must not be changed.
func (c *windowCache) load(ctx context.Context, b PackedBlob) ([]byte, error) {
	for {
		key, w, mine := c.claim(b)
		if mine {
			w.data, w.err = c.fetch(ctx, key, w.size)
			if w.err != nil {
				c.remove(key, w)
			}
			close(w.done)
		} else {
			select {
			case <-w.done:
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		from := int(b.Offset - key.start)
		switch {
		case w.err == nil && from+int(b.Length) <= len(w.data):
			return w.data[from : from+int(b.Length)], nil
		case mine:
			if w.err == nil {
				w.err = io.ErrUnexpectedEOF
			}
			return nil, w.err
		}
		// Another walker's fetch failed, perhaps with its own context, or did
		// not reach far enough: fetch from b on.
		c.remove(key, w)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
}

func (c *windowCache) claim(b PackedBlob) (windowKey, *window, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	key := windowKey{pack: b.Pack, start: b.Offset / windowStep * windowStep}
	if w, ok := c.windows[key]; ok {
		w.used = c.clock
		return key, w, false
	}
	w := &window{done: make(chan struct{}), used: c.clock, size: max(c.length(key), int64(b.Offset-key.start)+int64(b.Length))}
	c.bytes += w.size
	for c.bytes > maxWindowBytes && len(c.windows) > 0 {
		c.evict()
	}
	c.windows[key] = w
	return key, w, true
}

// length is how much there is to fetch from key on: windowSize bytes, or to
// the end of the pack as far as the index knows it.
func (c *windowCache) length(key windowKey) int64 {
	return min(windowSize, c.r.index().PackSize(key.pack)-int64(key.start))
}

// evict drops the stretch that was used longest ago. c is locked.
func (c *windowCache) evict() {
	var oldest windowKey
	first := true
	for key, w := range c.windows {
		if first || w.used < c.windows[oldest].used {
			oldest, first = key, false
		}
	}
	c.drop(oldest)
}

// drop forgets a stretch. c is locked.
func (c *windowCache) drop(key windowKey) {
	if w, ok := c.windows[key]; ok {
		c.bytes -= w.size
		delete(c.windows, key)
	}
}

// fetch reads length bytes from key on.
func (c *windowCache) fetch(ctx context.Context, key windowKey, length int64) ([]byte, error) {
	h := backend.Handle{Kind: backend.KindData, Name: key.pack.String()}
	var data []byte
	err := c.r.be.Get(ctx, h, int64(key.start), length, func(rd io.Reader) error {
		if data == nil {
			data = make([]byte, length)
		}
		_, err := io.ReadFull(rd, data)
		return err
	})
	return data, err
}

func (c *windowCache) remove(key windowKey, w *window) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.windows[key] == w {
		c.drop(key)
	}
}

func (c *windowCache) forget(pack restic.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key := range c.windows {
		if key.pack == pack {
			c.drop(key)
		}
	}
}

func (c *windowCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.windows)
	c.bytes = 0
}
