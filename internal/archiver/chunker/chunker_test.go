package chunker_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver/chunker"
)

// random returns n bytes that depend on seed only.
func random(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

// cut returns the chunks of a stream.
func cut(t testing.TB, key byte, src io.Reader) [][]byte {
	t.Helper()
	r := chunker.NewReader(chunker.NewTable([32]byte{key}), src)
	buf := make([]byte, chunker.MaxSize)
	var chunks [][]byte
	for {
		c, err := r.Next(buf)
		if errors.Is(err, io.EOF) {
			return chunks
		}
		if err != nil {
			t.Fatal(err)
		}
		chunks = append(chunks, bytes.Clone(c))
	}
}

func TestChunksAreTheStreamWithinBounds(t *testing.T) {
	t.Parallel()

	sizes := []int{0, 1, chunker.MinSize - 1, chunker.MinSize, chunker.MinSize + 1, chunker.NormalSize,
		chunker.MaxSize - 1, chunker.MaxSize, chunker.MaxSize + 1, 20 << 20}
	for name, fill := range map[string]func(int) []byte{
		"random": func(n int) []byte { return random(1, n) },
		"zeros":  func(n int) []byte { return make([]byte, n) },
		"text":   func(n int) []byte { return bytes.Repeat([]byte("select 1;\n"), n/10+1)[:n] },
	} {
		for _, size := range sizes {
			data := fill(size)
			chunks := cut(t, 1, bytes.NewReader(data))
			if !bytes.Equal(bytes.Join(chunks, nil), data) {
				t.Fatalf("%s of %d bytes: the chunks are not the stream", name, size)
			}
			for i, c := range chunks {
				if len(c) > chunker.MaxSize || len(c) == 0 || (i < len(chunks)-1 && len(c) < chunker.MinSize) {
					t.Errorf("%s of %d bytes: chunk %d of %d has %d bytes", name, size, i, len(chunks), len(c))
				}
			}
		}
	}
}

func TestChunksDoNotDependOnTheSizeOfReads(t *testing.T) {
	t.Parallel()

	data := random(2, 12<<20)
	want := cut(t, 1, bytes.NewReader(data))
	for name, src := range map[string]io.Reader{
		"half reads":      iotest.HalfReader(bytes.NewReader(data)),
		"end with data":   iotest.DataErrReader(bytes.NewReader(data)),
		"pieces of 7 KiB": &pieces{data: data, n: 7 << 10},
	} {
		if got := cut(t, 1, src); !equal(got, want) {
			t.Errorf("%s: other chunks", name)
		}
	}
}

func TestAnInsertionMovesFewBoundaries(t *testing.T) {
	t.Parallel()

	data := random(3, 64<<20)
	before := map[[32]byte]bool{}
	chunks := cut(t, 1, bytes.NewReader(data))
	for _, c := range chunks {
		before[sha256.Sum256(c)] = true
	}
	if avg := len(data) / len(chunks); avg < chunker.NormalSize || avg > 2*chunker.NormalSize {
		t.Errorf("chunks of random data have %d bytes on average, want 1 to 2 MiB", avg)
	}

	at := len(data) / 2
	edited := append(append(bytes.Clone(data[:at]), "inserted"...), data[at:]...)
	fresh := 0
	for _, c := range cut(t, 1, bytes.NewReader(edited)) {
		if !before[sha256.Sum256(c)] {
			fresh++
		}
	}
	if fresh == 0 || fresh > 6 {
		t.Errorf("%d of %d chunks are new after an insertion, want 1 to 6", fresh, len(chunks))
	}
}

func TestAnotherKeyCutsElsewhere(t *testing.T) {
	t.Parallel()

	data := random(4, 16<<20)
	if equal(cut(t, 1, bytes.NewReader(data)), cut(t, 2, bytes.NewReader(data))) {
		t.Error("two keys give the same chunks")
	}
}

// The places must never change: a repository's next backup would store every
// large file again.
func TestChunksOfKnownDataAreKnown(t *testing.T) {
	t.Parallel()

	var got []int
	for _, c := range cut(t, 7, bytes.NewReader(random(5, 8<<20))) {
		got = append(got, len(c))
	}
	want := knownLengths
	if len(got) != len(want) {
		t.Fatalf("lengths = %v, want %v", got, want)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("lengths = %v, want %v", got, want)
		}
	}
}

func TestErrorOfTheSourceIsReturned(t *testing.T) {
	t.Parallel()

	broken := errors.New("broken")
	r := chunker.NewReader(chunker.NewTable([32]byte{}), io.MultiReader(bytes.NewReader(make([]byte, 1000)), iotest.ErrReader(broken)))
	if _, err := r.Next(make([]byte, chunker.MaxSize)); !errors.Is(err, broken) {
		t.Errorf("Next() = %v, want the error of the source", err)
	}
}

func BenchmarkNext(b *testing.B) {
	data := random(6, 64<<20)
	table, buf := chunker.NewTable([32]byte{1}), make([]byte, chunker.MaxSize)
	r := chunker.NewReader(table, nil)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r.Reset(bytes.NewReader(data))
		for {
			if _, err := r.Next(buf); err != nil {
				break
			}
		}
	}
}

// pieces is a reader that gives n bytes at a time.
type pieces struct {
	data []byte
	n    int
}

func (p *pieces) Read(buf []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(buf[:min(len(buf), p.n)], p.data)
	p.data = p.data[n:]
	return n, nil
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}

var knownLengths = []int{1346205, 681639, 1677855, 666046, 1055112, 1257750, 1058912, 645089}
