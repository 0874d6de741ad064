package restic

import "fmt"

// BlobType says what a blob holds.
type BlobType uint8

// The two types of blobs. The zero BlobType is invalid.
const (
	DataBlob BlobType = 1 + iota // a piece of a file's content
	TreeBlob                     // the JSON document of one directory
)

// String returns the word that index files use.
func (t BlobType) String() string {
	switch t {
	case DataBlob:
		return "data"
	case TreeBlob:
		return "tree"
	default:
		return fmt.Sprintf("blob type %d", uint8(t))
	}
}

// ParseBlobType reads the word that index files use.
func ParseBlobType(s string) (BlobType, error) {
	switch s {
	case "data":
		return DataBlob, nil
	case "tree":
		return TreeBlob, nil
	default:
		return 0, fmt.Errorf("parse blob type %.20q: want data or tree", s)
	}
}

// BlobHandle names a blob. The type is part of the name: a file whose content
// happens to be a tree document is a different blob than that tree.
type BlobHandle struct {
	ID   ID
	Type BlobType
}

// String returns the type and the first digits of the id.
func (h BlobHandle) String() string { return h.Type.String() + " " + h.ID.Short() }

// PackedBlob is one place where a blob is stored.
type PackedBlob struct {
	Pack   ID
	Offset uint32 // where the sealed blob begins in the pack, in bytes
	Length uint32 // length of the sealed blob, in bytes
	// UncompressedLength is the length of the plaintext in bytes if the blob
	// is compressed, and 0 if it is stored as it is.
	UncompressedLength uint32
}

// sealOverhead is what encryption adds to a blob: 16 bytes of nonce and 16 of
// authentication.
const sealOverhead = 32

// PlaintextLength returns the length of the blob's plaintext in bytes.
func (b PackedBlob) PlaintextLength() uint32 {
	if b.UncompressedLength != 0 || b.Length < sealOverhead {
		return b.UncompressedLength
	}
	return b.Length - sealOverhead
}
