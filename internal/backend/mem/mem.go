// Package mem keeps a repository's objects in memory, for tests and drills. It
// makes the same promises as the stores that last, except to last.
package mem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

type object struct {
	data     []byte
	modified time.Time
}

// Backend is an empty store in memory. Use New.
type Backend struct {
	mu      sync.RWMutex
	objects map[backend.Handle]object
}

var _ backend.Backend = (*Backend)(nil)

// New returns an empty store.
func New() *Backend { return &Backend{objects: make(map[backend.Handle]object)} }

// Put implements backend.Backend.
func (b *Backend) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if err := check(ctx, "put", h); err != nil {
		return err
	}
	if opt.SHA256 != nil && sha256.Sum256(data) != *opt.SHA256 {
		return &backend.Error{Op: "put", Handle: h, Kind: backend.Permanent, Message: "the data do not have the announced hash"}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.objects[h]; there && opt.CreateOnly {
		return &backend.Error{Op: "put", Handle: h, Kind: backend.Exists}
	}
	b.objects[h] = object{data: bytes.Clone(data), modified: time.Now().UTC()}
	return nil
}

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) error {
	if err := check(ctx, "get", h); err != nil {
		return err
	}
	b.mu.RLock()
	o, ok := b.objects[h]
	b.mu.RUnlock()
	if !ok {
		return notFound("get", h)
	}
	size := int64(len(o.data))
	if length == 0 {
		length = size - offset
	}
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return &backend.Error{Op: "get", Handle: h, Kind: backend.Permanent,
			Message: fmt.Sprintf("range %d+%d is not within the object's %d bytes", offset, length, size), Err: backend.ErrRange}
	}
	// Stored bytes are never changed in place, so no lock is needed to read.
	return fn(bytes.NewReader(o.data[offset : offset+length]))
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (int64, error) {
	if err := check(ctx, "stat", h); err != nil {
		return 0, err
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	o, ok := b.objects[h]
	if !ok {
		return 0, notFound("stat", h)
	}
	return int64(len(o.data)), nil
}

// List implements backend.Backend. The order is that of the names.
func (b *Backend) List(ctx context.Context, kind backend.Kind, fn func(name string, size int64, modified time.Time) error) error {
	type entry struct {
		name string
		object
	}
	var entries []entry
	b.mu.RLock()
	for h, o := range b.objects {
		if h.Kind == kind {
			entries = append(entries, entry{h.Name, o})
		}
	}
	b.mu.RUnlock()
	slices.SortFunc(entries, func(x, y entry) int { return bytes.Compare([]byte(x.name), []byte(y.name)) })
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s: %w", kind.Dir(), context.Cause(ctx))
		}
		if err := fn(e.name, int64(len(e.data)), e.modified); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements backend.Backend.
func (b *Backend) Delete(ctx context.Context, handles ...backend.Handle) error {
	for _, h := range handles {
		if err := check(ctx, "delete", h); err != nil {
			return err
		}
		b.mu.Lock()
		delete(b.objects, h)
		b.mu.Unlock()
	}
	return nil
}

// Close implements backend.Backend. The objects stay.
func (b *Backend) Close() error { return nil }

// Location implements backend.Backend.
func (b *Backend) Location() string { return "mem:" }

// Clone returns a store with the same objects, as they are now. Tests use it
// to try what a crash at some point would leave.
func (b *Backend) Clone() *Backend {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c := New()
	for h, o := range b.objects {
		c.objects[h] = o
	}
	return c
}

func check(ctx context.Context, op string, h backend.Handle) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, h, context.Cause(ctx))
	}
	if !h.Valid() {
		return &backend.Error{Op: op, Handle: h, Kind: backend.Permanent, Message: fmt.Sprintf("%q is no name of a %s", h.Name, h.Kind)}
	}
	return nil
}

func notFound(op string, h backend.Handle) error {
	return &backend.Error{Op: op, Handle: h, Kind: backend.NotFound}
}
