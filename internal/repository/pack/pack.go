// Package pack encodes and decodes the header of a pack, the file that holds
// many sealed blobs one after the other. It follows the chapter "Pack Format"
// of restic's design document. Sealing, and when a pack is full, is left to the
// repository.
//
// A pack is: sealed blobs without gaps, the sealed header, and the length of
// the sealed header as four little-endian bytes. The header lists the blobs in
// the order in which they lie.
package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	plainEntrySize      = 1 + 4 + restic.IDSize
	compressedEntrySize = plainEntrySize + 4
	lengthSize          = 4
	// MaxHeaderSize bounds the sealed header with its length field, in bytes;
	// stock restic refuses larger ones.
	MaxHeaderSize = 16 << 20
	// MaxBlobs is the most blobs whose header fits MaxHeaderSize.
	MaxBlobs = (MaxHeaderSize - lengthSize - crypto.Overhead) / compressedEntrySize
)

// Blob is one blob of a pack.
type Blob struct {
	Handle             restic.BlobHandle
	Offset             uint32 // of the sealed blob in the pack
	Length             uint32 // of the sealed blob
	UncompressedLength uint32 // 0 if the blob is not compressed
}

// EntrySize returns the number of bytes the blob takes in the plain header.
func (b Blob) EntrySize() int { return EntrySize(b.UncompressedLength != 0) }

// EntrySize returns the number of bytes that a blob takes in the plain header.
func EntrySize(compressed bool) int {
	if compressed {
		return compressedEntrySize
	}
	return plainEntrySize
}

// Size returns the size of a pack with these blobs, in bytes.
func Size(blobs []Blob) int64 {
	size := int64(crypto.Overhead + lengthSize)
	for _, b := range blobs {
		size += int64(b.Length) + int64(b.EntrySize())
	}
	return size
}

// SealedHeaderSize returns the size of the sealed header and its length field
// for plain entries of this total size.
func SealedHeaderSize(entries int) int { return entries + crypto.Overhead + lengthSize }

// AppendHeader appends the sealed header and the length field for blobs, whose
// sealed bytes are the pack so far.
func AppendHeader(dst []byte, key *crypto.Key, blobs []Blob) ([]byte, error) {
	if len(blobs) == 0 || len(blobs) > MaxBlobs {
		return nil, fmt.Errorf("encode pack header: %d blobs, want 1 to %d", len(blobs), MaxBlobs)
	}
	plain := make([]byte, 0, len(blobs)*compressedEntrySize)
	for _, b := range blobs {
		typ := byte(b.Handle.Type - restic.DataBlob)
		if b.UncompressedLength != 0 {
			typ += 2
		}
		plain = append(plain, typ)
		plain = binary.LittleEndian.AppendUint32(plain, b.Length)
		if b.UncompressedLength != 0 {
			plain = binary.LittleEndian.AppendUint32(plain, b.UncompressedLength)
		}
		plain = append(plain, b.Handle.ID[:]...)
	}
	before := len(dst)
	dst = key.Seal(dst, plain)
	return binary.LittleEndian.AppendUint32(dst, uint32(len(dst)-before)), nil
}

// ErrHeader reports a pack whose header cannot be read.
var ErrHeader = errors.New("damaged pack header")

// HeaderLength reads the last four bytes of a pack of this size and returns
// how many bytes at its end the sealed header and the length field take.
func HeaderLength(last []byte, packSize int64) (int64, error) {
	if len(last) != lengthSize {
		return 0, fmt.Errorf("%d bytes in place of the length field: %w", len(last), ErrHeader)
	}
	n := int64(binary.LittleEndian.Uint32(last)) + lengthSize
	if n < crypto.Overhead+plainEntrySize+lengthSize || n > MaxHeaderSize || n > packSize {
		return 0, fmt.Errorf("header of %d bytes in a pack of %d: %w", n, packSize, ErrHeader)
	}
	return n, nil
}

// DecodeHeader opens the end of a pack, as long as HeaderLength says, and
// returns the blobs in order. It checks that they fill the pack exactly.
func DecodeHeader(key *crypto.Key, tail []byte, packSize int64) ([]Blob, error) {
	if len(tail) < lengthSize {
		return nil, fmt.Errorf("%d bytes: %w", len(tail), ErrHeader)
	}
	plain, err := key.Open(nil, tail[:len(tail)-lengthSize])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHeader, err)
	}
	return ParseHeader(plain, packSize-int64(len(tail)))
}

// ParseHeader reads a plain header whose blobs take dataSize bytes.
func ParseHeader(plain []byte, dataSize int64) ([]Blob, error) {
	blobs := make([]Blob, 0, len(plain)/plainEntrySize)
	var offset int64
	for len(plain) > 0 {
		typ := plain[0]
		size := plainEntrySize
		if typ >= 2 {
			size = compressedEntrySize
		}
		if typ > 3 || len(plain) < size {
			return nil, fmt.Errorf("entry %d of type %d with %d bytes: %w", len(blobs), typ, len(plain), ErrHeader)
		}
		b := Blob{
			Handle: restic.BlobHandle{Type: restic.DataBlob + restic.BlobType(typ%2)},
			Offset: uint32(offset),
			Length: binary.LittleEndian.Uint32(plain[1:]),
		}
		if typ >= 2 {
			b.UncompressedLength = binary.LittleEndian.Uint32(plain[5:])
			if b.UncompressedLength == 0 {
				return nil, fmt.Errorf("entry %d: compressed blob of length 0: %w", len(blobs), ErrHeader)
			}
		}
		copy(b.Handle.ID[:], plain[size-restic.IDSize:size])
		if b.Length < crypto.Overhead {
			return nil, fmt.Errorf("entry %d: sealed blob of %d bytes: %w", len(blobs), b.Length, ErrHeader)
		}
		offset += int64(b.Length)
		if offset > dataSize || offset > math.MaxUint32 {
			return nil, fmt.Errorf("entry %d ends at %d, behind the data's %d bytes: %w", len(blobs), offset, dataSize, ErrHeader)
		}
		blobs = append(blobs, b)
		plain = plain[size:]
	}
	if offset != dataSize || len(blobs) == 0 {
		return nil, fmt.Errorf("%d blobs take %d of %d bytes: %w", len(blobs), offset, dataSize, ErrHeader)
	}
	return blobs, nil
}
