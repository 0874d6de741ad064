// Package localcache keeps what was read from a repository in a file on this
// host, so that a process which starts anew need not fetch and decode it again.
// It decides how records lie in the file and when the file begins anew; what is
// worth keeping, and whether it is still true of the repository, is the
// repository's business.
//
// Records are sealed with the repository's key: nobody else learns the names
// of files from them, and a record that was changed is not one. What cannot be
// read ends the file: it costs time, never a backup.
package localcache

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// Kind is what a record holds.
type Kind byte

// The kinds. Their numbers are in files.
const (
	Index    Kind = 1
	Tree     Kind = 2
	Snapshot Kind = 3
)

const (
	// magic begins a file. Its last digits are the version of all that records
	// hold: a file of another version begins anew.
	magic = "envbackup cache 0001\n"
	// maxRecord bounds a record; a larger one is not kept.
	maxRecord = 64 << 20
	// maxPending is how much waits in memory to be written.
	maxPending = 256 << 10
	lengthSize = 4
	prefixSize = 1 + restic.IDSize // of the plain record: kind and id
)

// ErrInUse says that another process or Repository has the file open.
var ErrInUse = errors.New("the cache file is in use")

type name struct {
	kind Kind
	id   restic.ID
}

// span is where a sealed record lies.
type span struct {
	at     int64
	length uint32
}

// File is an open cache file. It is safe for concurrent use. After an error of
// the disk it knows nothing any more and keeps nothing.
type File struct {
	key   *crypto.Key
	limit int64

	mu      sync.Mutex
	file    *os.File // nil once it is of no use
	size    int64    // with pending
	pending []byte   // the end of the file, not yet written
	known   map[name]span
	recent  int64 // bytes put since the last Flush
}

// Open opens the file, or makes it, readable for this user only. limit bounds
// its size in bytes.
func Open(path string, key *crypto.Key, limit int64) (*File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open cache: %w", err)
	}
	c := &File{key: key, limit: limit, file: file, known: make(map[name]span)}
	if err := lockFile(file); err != nil {
		_ = file.Close() // nothing was written
		return nil, fmt.Errorf("open cache %s: %w", path, err)
	}
	end := c.scan()
	if end == 0 {
		err = c.begin()
	} else if err = file.Truncate(end); err == nil {
		c.size = end
	}
	if err != nil {
		_ = file.Close() // as above
		return nil, fmt.Errorf("open cache %s: %w", path, err)
	}
	return c, nil
}

// scan learns what the file holds and returns where the good records end; 0
// for a file that is none.
func (c *File) scan() (end int64) {
	r := bufio.NewReaderSize(c.file, 1<<20)
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(r, head); err != nil || string(head) != magic {
		return 0
	}
	end = int64(len(magic))
	var length [lengthSize]byte
	var sealed, plain []byte
	for {
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return end
		}
		n := binary.LittleEndian.Uint32(length[:])
		if n > maxRecord {
			return end
		}
		if uint32(cap(sealed)) < n {
			sealed = make([]byte, n)
		}
		sealed = sealed[:n]
		if _, err := io.ReadFull(r, sealed); err != nil {
			return end
		}
		var err error
		if plain, err = c.key.Open(plain[:0], sealed); err != nil || len(plain) < prefixSize {
			return end
		}
		c.known[nameOf(plain)] = span{at: end + lengthSize, length: n}
		end += lengthSize + int64(n)
	}
}

func nameOf(plain []byte) (n name) {
	n.kind = Kind(plain[0])
	copy(n.id[:], plain[1:prefixSize])
	return n
}

// begin makes the file empty.
func (c *File) begin() error {
	clear(c.known)
	c.pending = c.pending[:0]
	if err := c.file.Truncate(0); err != nil {
		return err
	}
	if _, err := c.file.WriteAt([]byte(magic), 0); err != nil {
		return err
	}
	c.size = int64(len(magic))
	return nil
}

// Has reports whether there is a record.
func (c *File) Has(kind Kind, id restic.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.known[name{kind, id}]
	return ok
}

// Get returns a record. It belongs to the caller.
func (c *File) Get(kind Kind, id restic.ID) (data []byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := name{kind, id}
	s, ok := c.known[key]
	if !ok {
		return nil, false
	}
	sealed := make([]byte, s.length)
	if written := c.size - int64(len(c.pending)); s.at >= written {
		copy(sealed, c.pending[s.at-written:])
	} else if _, err := c.file.ReadAt(sealed, s.at); err != nil {
		delete(c.known, key)
		return nil, false
	}
	plain, err := c.key.Open(nil, sealed)
	if err != nil || len(plain) < prefixSize || nameOf(plain) != key {
		delete(c.known, key)
		return nil, false
	}
	return plain[prefixSize:], true
}

// Put adds a record unless it is there. Where it has no room the file begins
// anew with it, so that what is no longer needed goes, too; but what one run
// puts does not push out itself.
func (c *File) Put(kind Kind, id restic.ID, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := name{kind, id}
	if _, ok := c.known[key]; ok || c.file == nil {
		return
	}
	length := prefixSize + len(data) + crypto.Overhead
	need := int64(lengthSize + length)
	if length > maxRecord || need+int64(len(magic)) > c.limit {
		return
	}
	if c.size+need > c.limit {
		if c.recent > c.limit/2 {
			return // it is not what lies there from earlier that takes the room
		}
		if err := c.begin(); err != nil {
			c.give()
			return
		}
	}
	c.recent += need
	plain := make([]byte, 0, prefixSize+len(data))
	plain = append(plain, byte(kind))
	plain = append(plain, id[:]...)
	plain = append(plain, data...)
	c.pending = binary.LittleEndian.AppendUint32(c.pending, uint32(length))
	c.pending = c.key.Seal(c.pending, plain)
	c.known[key] = span{at: c.size + lengthSize, length: uint32(length)}
	c.size += need
	if len(c.pending) >= maxPending {
		c.flush()
	}
}

// Flush, at the end of each run, writes what waits in memory. It does not wait
// for the disk: after a crash of the machine the file ends where its records do.
func (c *File) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	c.recent = 0
}

func (c *File) flush() {
	if c.file == nil || len(c.pending) == 0 {
		return
	}
	if _, err := c.file.WriteAt(c.pending, c.size-int64(len(c.pending))); err != nil {
		c.give()
		return
	}
	c.pending = c.pending[:0]
}

// give gives the file up.
func (c *File) give() {
	_ = c.file.Close() // it is of no use already
	c.file, c.pending = nil, nil
	clear(c.known)
}

// Close writes what waits in memory and closes the file.
func (c *File) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
	if c.file == nil {
		return nil
	}
	err := c.file.Close()
	c.file = nil
	clear(c.known)
	return err
}
