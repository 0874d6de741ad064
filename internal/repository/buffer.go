package repository

import (
	"context"
	"sync"
)

// bufferPool lends out a fixed number of pack buffers. Taking one waits until
// another is given back: that is the back-pressure of the whole write path.
// The memory lies outside the garbage collector's sight, which would otherwise
// keep as much again in reserve.
type bufferPool struct {
	size int
	free chan []byte // nil for one that is not allocated yet

	mu  sync.Mutex
	all [][]byte
}

func newBufferPool(count, size int) *bufferPool {
	p := &bufferPool{size: size, free: make(chan []byte, count)}
	for range count {
		p.free <- nil
	}
	return p
}

// get returns an empty buffer of the pool's capacity.
func (p *bufferPool) get(ctx context.Context) ([]byte, error) {
	select {
	case b := <-p.free:
		return p.use(b)
	default:
	}
	select {
	case b := <-p.free:
		return p.use(b)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (p *bufferPool) use(b []byte) ([]byte, error) {
	if b != nil {
		return b[:0], nil
	}
	b, err := allocBuffer(p.size)
	if err != nil {
		p.free <- nil
		return nil, err
	}
	p.mu.Lock()
	p.all = append(p.all, b)
	p.mu.Unlock()
	return b[:0], nil
}

// put gives a buffer back.
func (p *bufferPool) put(b []byte) { p.free <- b[:0] }

// rest gives the memory of the buffers that are not lent out back to the
// system. They stay usable.
func (p *bufferPool) rest() {
	for range cap(p.free) {
		select {
		case b := <-p.free:
			if b != nil {
				dropBuffer(b[:cap(b)])
			}
			p.free <- b
		default:
			return
		}
	}
}

// close frees all buffers; none may be in use.
func (p *bufferPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.all {
		freeBuffer(b[:cap(b)])
	}
	p.all = nil
}
