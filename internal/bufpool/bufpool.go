// Package bufpool hands out a fixed number of large buffers. They lie outside
// the garbage collector's sight, which would let the heap grow by as much
// again, and go back to the system as soon as the work is done, so that a
// daemon at rest is small.
package bufpool

import (
	"context"
	"fmt"
)

// Pool is a fixed number of buffers of one size. Get and Put may be called
// concurrently.
type Pool struct {
	idle chan []byte
	all  []byte
	size int
}

// New returns a pool of count buffers of size bytes. The caller ends it with
// Free.
func New(count, size int) (*Pool, error) {
	all, err := mapMemory(count * size)
	if err != nil {
		return nil, fmt.Errorf("allocate %d buffers of %d bytes: %w", count, size, err)
	}
	p := &Pool{idle: make(chan []byte, count), all: all, size: size}
	for i := range count {
		p.idle <- all[i*size : (i+1)*size : (i+1)*size]
	}
	return p, nil
}

// Get waits for a buffer, whose content is undefined.
func (p *Pool) Get(ctx context.Context) ([]byte, error) {
	select {
	case b := <-p.idle:
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Put gives a buffer back; b may be the front part of it, but not another
// slice.
func (p *Pool) Put(b []byte) { p.idle <- b[:p.size] }

// Free gives all memory back to the system, also that of buffers that were not
// put back: nobody may use one after it.
func (p *Pool) Free() { unmapMemory(p.all) }
