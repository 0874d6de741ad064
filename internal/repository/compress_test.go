package repository

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Issue 4: what is stored is within 2 % of restic's default, which compresses
// everything at zstd's default level. Text is where the fastest level loses.
func TestTextIsCompressedLikeResticDoes(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	var dump, binary []byte
	for i := range 20_000 {
		dump = fmt.Appendf(dump, "INSERT INTO orders VALUES (%d, 'customer-%05d', %d.%02d, '2026-%02d-%02d', 'état %d');\n",
			i, rng.IntN(5000), rng.IntN(900), rng.IntN(100), 1+rng.IntN(12), 1+rng.IntN(28), rng.IntN(4))
		binary = append(binary, 0, byte(i), byte(rng.IntN(40)), byte(rng.IntN(4)), 0x80, 1, 'a', 0)
	}
	var c compressor
	defer c.close()
	for name, test := range map[string]struct {
		plain []byte
		level zstd.EncoderLevel
	}{
		"a dump":                      {dump, zstd.SpeedDefault},
		"a dump in Latin-1":           {bytes.ReplaceAll(dump, []byte("é"), []byte{0xe9}), zstd.SpeedDefault},
		"a short text":                {dump[:thoroughFrom-1], zstd.SpeedFastest},
		"what is not text":            {binary, zstd.SpeedFastest},
		"text that becomes something": {append(bytes.Clone(dump[:thoroughFrom]), binary...), zstd.SpeedFastest},
	} {
		enc := newEncoderAt(test.level)
		want := enc.EncodeAll(test.plain, nil)
		got, _ := c.blob(nil, test.plain)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, at the level %s it takes %d", name, len(got), test.level, len(want))
		}
		_ = enc.Close() // it had no stream
	}
	if _, nth := c.blob(nil, dump); nth == 0 {
		t.Error("an encoder's second blob passes for its first, which is always verified")
	}
}
