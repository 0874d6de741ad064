package index

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/jsonscan"
)

// MaxFileSize bounds the JSON of an index file in bytes. Programs write 50,000
// blobs to a file, which is about 10 MB.
const MaxFileSize = 512 << 20

// BlobsPerFile is how many blobs an index file holds before the next is begun.
const BlobsPerFile = 50_000

// ErrFile reports an index file that says something impossible.
var ErrFile = errors.New("damaged index file")

// EncodeFile returns the JSON of an index file.
func EncodeFile(packs []Pack) []byte {
	n := 0
	for _, p := range packs {
		n += 100 + 160*len(p.Blobs)
	}
	dst := make([]byte, 0, n)
	dst = append(dst, `{"packs":[`...)
	for i, p := range packs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"id":"`...)
		dst = p.ID.AppendHex(dst)
		dst = append(dst, `","blobs":[`...)
		for j := range p.Blobs {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendBlob(dst, &p.Blobs[j])
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, "]}"...)
}

func appendBlob(dst []byte, b *pack.Blob) []byte {
	dst = append(dst, `{"id":"`...)
	dst = b.Handle.ID.AppendHex(dst)
	dst = append(dst, `","type":"`...)
	dst = append(dst, b.Handle.Type.String()...)
	dst = append(dst, `","offset":`...)
	dst = strconv.AppendUint(dst, uint64(b.Offset), 10)
	dst = append(dst, `,"length":`...)
	dst = strconv.AppendUint(dst, uint64(b.Length), 10)
	if b.UncompressedLength != 0 {
		dst = append(dst, `,"uncompressed_length":`...)
		dst = strconv.AppendUint(dst, uint64(b.UncompressedLength), 10)
	}
	return append(dst, '}')
}

// DecodeFile reads the JSON of an index file. It checks types and bounds, so
// that every location it returns fits a pack.
func DecodeFile(b []byte) ([]Pack, error) {
	if len(b) > MaxFileSize {
		return nil, fmt.Errorf("decode index: %d bytes are more than the limit of %d", len(b), MaxFileSize)
	}
	packs, ok := decodeFast(b)
	if !ok {
		var err error
		if packs, err = decodeSlow(b); err != nil {
			return nil, fmt.Errorf("decode index: %w", err)
		}
	}
	for _, p := range packs {
		for _, blob := range p.Blobs {
			if err := checkBlob(blob); err != nil {
				return nil, fmt.Errorf("decode index: pack %s, blob %s: %w", p.ID.Short(), blob.Handle.ID.Short(), err)
			}
		}
	}
	return packs, nil
}

func checkBlob(b pack.Blob) error {
	if b.Handle.Type != restic.DataBlob && b.Handle.Type != restic.TreeBlob {
		return fmt.Errorf("%s: %w", b.Handle.Type, ErrFile)
	}
	if b.Length < crypto.Overhead || uint64(b.Offset)+uint64(b.Length) > math.MaxUint32 {
		return fmt.Errorf("offset %d, length %d: %w", b.Offset, b.Length, ErrFile)
	}
	return nil
}

func decodeFast(b []byte) (packs []Pack, ok bool) {
	s := jsonscan.New(b)
	id := func(dst *restic.ID) bool {
		raw, ok := s.Raw()
		if !ok {
			return false
		}
		*dst, ok = restic.ParseIDBytes(raw)
		return ok
	}
	number := func(dst *uint32) bool {
		v, ok := s.Uint(math.MaxUint32)
		*dst = uint32(v)
		return ok
	}
	var blob *pack.Blob
	blobField := func(key []byte) bool {
		switch string(key) {
		case "id":
			return id(&blob.Handle.ID)
		case "type":
			t, ok := s.Raw()
			switch string(t) {
			case "data":
				blob.Handle.Type = restic.DataBlob
			case "tree":
				blob.Handle.Type = restic.TreeBlob
			default:
				return false
			}
			return ok
		case "offset":
			return number(&blob.Offset)
		case "length":
			return number(&blob.Length)
		case "uncompressed_length":
			return number(&blob.UncompressedLength)
		default:
			return false
		}
	}
	var cur *Pack
	blobItem := func() bool {
		cur.Blobs = append(cur.Blobs, pack.Blob{})
		blob = &cur.Blobs[len(cur.Blobs)-1]
		return s.Object(blobField)
	}
	packField := func(key []byte) bool {
		switch string(key) {
		case "id":
			return id(&cur.ID)
		case "blobs":
			return len(cur.Blobs) == 0 && s.Array(blobItem)
		default:
			return false
		}
	}
	ok = s.Object(func(key []byte) bool {
		if string(key) != "packs" || len(packs) > 0 {
			return false
		}
		return s.Array(func() bool {
			packs = append(packs, Pack{})
			cur = &packs[len(packs)-1]
			return s.Object(packField)
		})
	})
	return packs, ok && s.End()
}

// decodeSlow reads what other programs may have written: unknown fields, such
// as the "supersedes" of old versions, are ignored.
func decodeSlow(b []byte) ([]Pack, error) {
	var doc struct {
		Packs []struct {
			ID    restic.ID `json:"id"`
			Blobs []struct {
				ID     restic.ID `json:"id"`
				Type   string    `json:"type"`
				Offset uint32    `json:"offset"`
				Length uint32    `json:"length"`
				Plain  uint32    `json:"uncompressed_length"`
			} `json:"blobs"`
		} `json:"packs"`
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFile, err)
	}
	packs := make([]Pack, 0, len(doc.Packs))
	for _, p := range doc.Packs {
		out := Pack{ID: p.ID}
		for _, b := range p.Blobs {
			t, err := restic.ParseBlobType(b.Type)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrFile, err)
			}
			out.Blobs = append(out.Blobs, pack.Blob{
				Handle: restic.BlobHandle{ID: b.ID, Type: t},
				Offset: b.Offset, Length: b.Length, UncompressedLength: b.Plain,
			})
		}
		packs = append(packs, out)
	}
	return packs, nil
}

// AppendBinary appends the packs in the form that caches keep: a third of the
// JSON's size, and decoded in a tenth of its time.
func AppendBinary(dst []byte, packs []Pack) []byte {
	for _, p := range packs {
		dst = append(dst, p.ID[:]...)
		dst = binary.AppendUvarint(dst, uint64(len(p.Blobs)))
		for i := range p.Blobs {
			b := &p.Blobs[i]
			dst = append(dst, byte(b.Handle.Type))
			dst = append(dst, b.Handle.ID[:]...)
			dst = binary.AppendUvarint(dst, uint64(b.Offset))
			dst = binary.AppendUvarint(dst, uint64(b.Length))
			dst = binary.AppendUvarint(dst, uint64(b.UncompressedLength))
		}
	}
	return dst
}

// DecodeBinary reads what AppendBinary wrote, with the checks of DecodeFile.
func DecodeBinary(b []byte) ([]Pack, error) {
	bad := fmt.Errorf("decode index: %w", ErrFile)
	id := func(dst *restic.ID) bool {
		n := copy(dst[:], b)
		b = b[n:]
		return n == len(dst)
	}
	number := func(dst *uint32) bool {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > math.MaxUint32 {
			return false
		}
		*dst, b = uint32(v), b[n:]
		return true
	}
	var packs []Pack
	for len(b) > 0 {
		var p Pack
		var count uint32
		// Each blob takes more than its id: no count can ask for more memory
		// than a small multiple of what is there.
		if !id(&p.ID) || !number(&count) || int64(count) > int64(len(b)/restic.IDSize) {
			return nil, bad
		}
		p.Blobs = make([]pack.Blob, count)
		for i := range p.Blobs {
			blob := &p.Blobs[i]
			if len(b) == 0 {
				return nil, bad
			}
			blob.Handle.Type, b = restic.BlobType(b[0]), b[1:]
			if !id(&blob.Handle.ID) || !number(&blob.Offset) || !number(&blob.Length) || !number(&blob.UncompressedLength) {
				return nil, bad
			}
			if err := checkBlob(*blob); err != nil {
				return nil, fmt.Errorf("decode index: pack %s, blob %s: %w", p.ID.Short(), blob.Handle.ID.Short(), err)
			}
		}
		packs = append(packs, p)
	}
	return packs, nil
}
