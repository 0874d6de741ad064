// Package chunker cuts a stream into pieces at places that its content
// decides, so that an insertion moves the boundaries near it and no others:
// what follows is found again in the repository and not stored twice.
//
// It decides where to cut and nothing else: hashing, storing and the choice of
// what is worth cutting are the archiver's. The places depend on a key, which
// must stay the same for the life of a repository; without it, the sizes of
// the pieces say nothing about the content (see "Threat Model" in restic's
// design document). They differ from the places where restic itself would cut;
// the format leaves that to the writer.
//
// The method is a gear hash with two thresholds (FastCDC): a strict one up to
// the normal size and a loose one beyond it, which keeps sizes near the normal.
package chunker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
)

// Bounds of a chunk in bytes. The last one of a stream may be shorter.
const (
	MinSize    = 512 << 10
	NormalSize = 1 << 20
	MaxSize    = 4 << 20
)

const (
	// A boundary is where the hash falls below the threshold: once in 2 MiB of
	// random data up to NormalSize, once in 512 KiB beyond. The upper bits of
	// the hash are the ones that all of the last 64 bytes have reached.
	strict = 1 << (64 - 21)
	loose  = 1 << (64 - 19)

	// window is how many bytes the hash remembers.
	window = 64

	// step is how much is read at a time. It is below MinSize, so that what
	// was read beyond a boundary never holds a second one.
	step = 256 << 10
)

// Table holds the keyed constants of the hash. It is read only, and shared by
// all readers of one repository.
type Table [256]uint64

// NewTable derives the constants from a key.
func NewTable(key [32]byte) *Table {
	var t Table
	mac := hmac.New(sha256.New, key[:])
	for i := range t {
		mac.Reset()
		mac.Write([]byte{'g', 'e', 'a', 'r', byte(i)})
		t[i] = binary.LittleEndian.Uint64(mac.Sum(nil))
	}
	return &t
}

// Reader cuts one stream. It is not safe for concurrent use.
type Reader struct {
	table *Table
	src   io.Reader
	ended bool
	carry []byte // read beyond the last boundary
	store []byte // where carry lives
}

// NewReader returns a Reader of src.
func NewReader(t *Table, src io.Reader) *Reader {
	return &Reader{table: t, src: src, store: make([]byte, step)}
}

// Reset makes r ready for another stream, keeping its memory.
func (r *Reader) Reset(src io.Reader) {
	r.src, r.ended, r.carry = src, false, nil
}

// Next reads the next chunk into buf, which must hold MaxSize bytes, and
// returns the part that it filled. At the end of the stream it returns io.EOF;
// any other error is the source's, and the stream is then useless.
func (r *Reader) Next(buf []byte) ([]byte, error) {
	buf = buf[:MaxSize]
	have := copy(buf, r.carry)
	r.carry = nil
	pos, hash := MinSize-window, uint64(0)

	for {
		if have > MinSize {
			var cut bool
			if pos, hash, cut = r.table.scan(buf[:have], pos, hash); cut || pos == MaxSize {
				r.carry = r.store[:copy(r.store, buf[pos:have])]
				return buf[:pos], nil
			}
		}
		if r.ended {
			if have == 0 {
				return nil, io.EOF
			}
			return buf[:have], nil
		}
		n, err := io.ReadFull(r.src, buf[have:min(have+step, MaxSize)])
		have += n
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			r.ended = true
		} else if err != nil {
			return nil, err
		}
	}
}

// scan looks for a boundary from pos on. It returns the length of the chunk
// and true, or where to go on with which hash.
func (t *Table) scan(data []byte, pos int, hash uint64) (int, uint64, bool) {
	// The window before MinSize only fills the hash.
	for ; pos < min(MinSize, len(data)); pos++ {
		hash = hash<<1 + t[data[pos]]
	}
	for _, part := range [...]struct {
		end       int
		threshold uint64
	}{{NormalSize, strict}, {MaxSize, loose}} {
		if pos >= part.end {
			continue
		}
		rest := data[pos:min(part.end, len(data))]
		for i, b := range rest {
			hash = hash<<1 + t[b]
			if hash < part.threshold {
				return pos + i + 1, 0, true
			}
		}
		pos += len(rest)
	}
	return pos, hash, false
}
