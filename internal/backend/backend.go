// Package backend stores the objects of a repository: put, get a range, stat,
// list, delete. It decides how a handle becomes a place (a key in a bucket, a
// file below a directory), when an object counts as stored, and what kind of
// failure an error is.
//
// It knows nothing of what the objects mean, of encryption or of names beyond
// their kind: package repository gives every object its name. The stores are
// in packages s3, local and mem; package retry wraps any of them; what all of
// them promise is tested by package backendtest.
package backend

import (
	"context"
	"io"
	"strconv"
	"time"
)

// Kind is the folder of a repository in which an object lies.
type Kind uint8

// The kinds of objects. The zero Kind is invalid.
const (
	KindConfig Kind = 1 + iota // one object without a name
	KindKey
	KindLock
	KindSnapshot
	KindIndex
	KindData
)

// String returns the singular word for people.
func (k Kind) String() string {
	switch k {
	case KindConfig:
		return "config"
	case KindKey:
		return "key"
	case KindLock:
		return "lock"
	case KindSnapshot:
		return "snapshot"
	case KindIndex:
		return "index"
	case KindData:
		return "pack"
	default:
		return "kind " + strconv.Itoa(int(k))
	}
}

// Dir returns the folder of the kind in the layout that all restic programs
// share, and "" for the config, which lies at the top.
func (k Kind) Dir() string {
	switch k {
	case KindKey:
		return "keys"
	case KindLock:
		return "locks"
	case KindSnapshot:
		return "snapshots"
	case KindIndex:
		return "index"
	case KindData:
		return "data"
	default:
		return ""
	}
}

// Handle names an object. Name is empty for the config and otherwise 64
// hexadecimal digits.
type Handle struct {
	Kind Kind
	Name string
}

// String returns the kind and the first digits of the name.
func (h Handle) String() string {
	if h.Name == "" {
		return h.Kind.String()
	}
	return h.Kind.String() + " " + h.Name[:min(8, len(h.Name))]
}

// Path returns the object's place below the repository, with slashes. Packs
// lie in 256 folders by the first two digits of their names.
func (h Handle) Path() string {
	switch {
	case h.Kind == KindConfig:
		return "config"
	case h.Kind == KindData && len(h.Name) >= 2:
		return "data/" + h.Name[:2] + "/" + h.Name
	default:
		return h.Kind.Dir() + "/" + h.Name
	}
}

// Valid reports whether the handle can name an object: the kind is known and
// the name is one path element of hexadecimal digits. Backends refuse others,
// so that no name from a repository ever leads out of it.
func (h Handle) Valid() bool {
	if h.Kind == KindConfig {
		return h.Name == ""
	}
	return h.Kind.Dir() != "" && ValidName(h.Name)
}

// ValidName reports whether name is 64 lower-case hexadecimal digits.
func ValidName(name string) bool {
	if len(name) != 64 {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// PutOptions says how to store an object.
type PutOptions struct {
	// SHA256 is the hash of the object's bytes where the caller knows it. A
	// store that verifies uploads uses it in place of hashing once more.
	SHA256 *[32]byte
	// CreateOnly asks for ErrExists if the object is there already, where the
	// store can decide that atomically. A store that cannot overwrites.
	CreateOnly bool
}

// Backend is a store of objects. All methods may be called concurrently, and
// all of them return within about a second of ctx being done. Errors are
// *Error, or carry the context's error.
type Backend interface {
	// Put stores data under h, all of it or nothing; once it returns nil the
	// object is durable and visible to Get and List. data is not kept and must
	// not change during the call.
	Put(ctx context.Context, h Handle, data []byte, opt PutOptions) error
	// Get calls fn with a reader over length bytes from offset; length 0 means
	// to the end of the object. A range that is not within the object is an
	// error. fn's error is returned as it is; fn may be called again with a
	// fresh reader after an error that a retry can mend, so it must start
	// over each time.
	Get(ctx context.Context, h Handle, offset, length int64, fn func(io.Reader) error) error
	// Stat returns the object's size in bytes. A missing object is ErrNotExist.
	Stat(ctx context.Context, h Handle) (int64, error)
	// List calls fn for each object of the kind, each once, in any order.
	// modified is the store's time, in UTC. Names that are not ValidName are
	// left out. An error of fn ends the list and is returned.
	List(ctx context.Context, kind Kind, fn func(name string, size int64, modified time.Time) error) error
	// Delete removes the objects, in batches where the store can. A missing
	// object is no error. After an error some of them may be gone.
	Delete(ctx context.Context, handles ...Handle) error
	// Close gives back connections. Nothing may be called after it.
	Close() error
	// Location returns the place for people and logs; it holds no secret.
	Location() string
}

// Prober is a Backend that can say in one sentence what is wrong with its
// place. Probe writes, reads, lists and deletes a tiny object.
type Prober interface {
	Probe(ctx context.Context) error
}

// NoEnd is the end of a lock that has none, such as a legal hold.
var NoEnd = time.Date(9999, time.December, 31, 23, 59, 59, 0, time.UTC)

// Info is what a store says about an object.
type Info struct {
	Size     int64
	Modified time.Time // the store's time, in UTC
	// LockedUntil is when the store's lock on the object ends: zero for none,
	// NoEnd for one without an end. It may lie in the past.
	LockedUntil time.Time
}

// Keeper is a Backend whose store can keep an object although it is deleted:
// by a lock until some instant, or as an old version.
type Keeper interface {
	// Info is Stat with all that the store says. Credentials that may not read
	// locks see none.
	Info(ctx context.Context, h Handle) (Info, error)
	// MayLock reports whether objects can be locked here at all, so that
	// nobody need ask for each. A store that does not say may.
	MayLock(ctx context.Context) (bool, error)
	// Locks is for how long Put locks what it stores, counted from then; 0 is
	// not at all.
	Locks() time.Duration
	// ExtendLock moves the end of an object's lock to until, in the mode in
	// which Put locks. A lock that ends later stays as it is.
	ExtendLock(ctx context.Context, h Handle, until time.Time) error
	// KeepsVersions reports whether the store was seen to keep what is deleted
	// as an old version, whose bytes are freed by the store's own rules only.
	KeepsVersions() bool
}

// Holder is a Backend that can say what became of a Put whose answer was lost,
// without reading the object.
type Holder interface {
	// Holds reports whether the object under h is known to hold data, whose
	// SHA-256 is sum where it is known. False may also mean that it cannot be
	// told.
	Holds(ctx context.Context, h Handle, data []byte, sum *[32]byte) (bool, error)
}

type progressKey struct{}

// WithProgress returns a context for one call to a Backend, which tells moved
// whenever some of what it sends is on its way. moved is called concurrently.
func WithProgress(ctx context.Context, moved func()) context.Context {
	return context.WithValue(ctx, progressKey{}, moved)
}

// Progress returns what WithProgress was given; it is never nil.
func Progress(ctx context.Context) func() {
	if moved, ok := ctx.Value(progressKey{}).(func()); ok {
		return moved
	}
	return func() {}
}

// LeftoverRemover is a Backend on which an interrupted Put can leave something
// behind that List does not show.
type LeftoverRemover interface {
	// RemoveLeftovers deletes what interrupted puts left before the instant.
	RemoveLeftovers(ctx context.Context, before time.Time) error
}

// ReadAll returns a whole object. limit bounds its size in bytes; a longer one
// is a permanent error.
func ReadAll(ctx context.Context, be Backend, h Handle, limit int64) ([]byte, error) {
	var data []byte
	err := be.Get(ctx, h, 0, 0, func(r io.Reader) error {
		var err error
		data, err = io.ReadAll(io.LimitReader(r, limit+1))
		return err
	})
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &Error{Op: "get", Handle: h, Kind: Permanent, Message: "the object is larger than the format allows", Err: ErrTooLarge}
	}
	return data, nil
}
