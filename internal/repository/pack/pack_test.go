package pack

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

func sample(n int) []Blob {
	blobs := make([]Blob, n)
	var offset uint32
	for i := range blobs {
		b := &blobs[i]
		b.Handle = restic.BlobHandle{ID: restic.Hash([]byte{byte(i), byte(i >> 8)}), Type: restic.DataBlob + restic.BlobType(i%2)}
		b.Offset, b.Length = offset, uint32(crypto.Overhead+i)
		if i%3 != 0 {
			b.UncompressedLength = uint32(2*i + 1)
		}
		offset += b.Length
	}
	return blobs
}

func build(t testing.TB, key *crypto.Key, blobs []Blob) []byte {
	t.Helper()
	last := blobs[len(blobs)-1]
	data, err := AppendHeader(make([]byte, last.Offset+last.Length), key, blobs)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode(key *crypto.Key, data []byte) ([]Blob, error) {
	if len(data) < 4 {
		return nil, ErrHeader
	}
	n, err := HeaderLength(data[len(data)-4:], int64(len(data)))
	if err != nil {
		return nil, err
	}
	return DecodeHeader(key, data[int64(len(data))-n:], int64(len(data)))
}

func TestHeadersComeBackAndSizesAreTrue(t *testing.T) {
	t.Parallel()
	key := crypto.NewRandomKey()
	for _, n := range []int{1, 2, 3, 1000} {
		blobs := sample(n)
		data := build(t, key, blobs)
		got, err := decode(key, data)
		if err != nil || !slices.Equal(got, blobs) {
			t.Errorf("%d blobs: got %d, %v", n, len(got), err)
		}
		if Size(blobs) != int64(len(data)) {
			t.Errorf("%d blobs: size %d, the pack has %d", n, Size(blobs), len(data))
		}
	}
	for _, n := range []int{0, MaxBlobs + 1} {
		if _, err := AppendHeader(nil, key, make([]Blob, n)); err == nil {
			t.Errorf("a header of %d blobs was made", n)
		}
	}
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	t.Parallel()
	key := crypto.NewRandomKey()
	data := build(t, key, sample(3))
	blobsEnd := len(data) - SealedHeaderSize(37+41+41)
	for i := blobsEnd; i < len(data); i++ {
		bad := slices.Clone(data)
		bad[i] ^= 0x10
		if _, err := decode(key, bad); !errors.Is(err, ErrHeader) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
	}
	for cut := range data {
		if _, err := decode(key, data[:cut]); err == nil {
			t.Errorf("cut to %d bytes: accepted", cut)
		}
	}
	if _, err := decode(key, append([]byte{0}, data...)); !errors.Is(err, ErrHeader) {
		t.Errorf("a gap before the blobs: %v", err)
	}
}

func TestSealedNonsenseIsRefused(t *testing.T) {
	t.Parallel()
	entry := func(typ byte, length uint32, plain ...uint32) []byte {
		b := binary.LittleEndian.AppendUint32([]byte{typ}, length)
		for _, p := range plain {
			b = binary.LittleEndian.AppendUint32(b, p)
		}
		return append(b, make([]byte, 32)...)
	}
	for name, tt := range map[string]struct {
		header []byte
		size   int64
	}{
		"nothing":            {nil, 0},
		"unknown type":       {entry(4, 40, 1), 40},
		"cut":                {entry(0, 40)[:36], 40},
		"too short a blob":   {entry(0, 31), 31},
		"compressed nothing": {entry(2, 40, 0), 40},
		"beyond the end":     {entry(0, 41), 40},
		"short of the end":   {entry(0, 39), 40},
		"overflow":           {append(entry(0, 1<<32-1), entry(0, 41)...), 40},
	} {
		if blobs, err := ParseHeader(tt.header, tt.size); !errors.Is(err, ErrHeader) {
			t.Errorf("%s: %+v, %v", name, blobs, err)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(append([]byte{0, 40, 0, 0, 0}, make([]byte, 32)...), int64(40))
	f.Add(append([]byte{3, 40, 0, 0, 0, 9, 0, 0, 0}, make([]byte, 32)...), int64(40))
	f.Fuzz(func(t *testing.T, header []byte, size int64) {
		blobs, err := ParseHeader(header, size)
		if err != nil {
			return
		}
		var end int64
		for _, b := range blobs {
			if int64(b.Offset) != end || b.Length < crypto.Overhead {
				t.Fatalf("%+v after %d", b, end)
			}
			end += int64(b.Length)
		}
		if end != size {
			t.Fatalf("%d of %d bytes", end, size)
		}
	})
}
