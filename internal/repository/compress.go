package repository

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// zstdWindow is how far back an encoder looks. More saves nothing, because few
// blobs are longer, and an encoder takes twice as much memory: 16 MiB with the
// default level's own window.
const zstdWindow = 1 << 20

// newEncoder makes an encoder for one goroutine at a time. Literals are
// entropy-coded also in blocks without matches: that keeps small text files at
// the size of the default level at the cost of the fastest.
func newEncoder() *zstd.Encoder { return newEncoderAt(zstd.SpeedFastest) }

func newEncoderAt(level zstd.EncoderLevel) *zstd.Encoder {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(level),
		zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(zstdWindow),
	)
	if err != nil {
		panic(err) // the options are constants
	}
	return enc
}

// compressor compresses blobs, one at a time. The zero value is ready.
type compressor struct{ quick, thorough blobEncoder }

// blobEncoder is an encoder that is made when it is needed first.
type blobEncoder struct {
	enc   *zstd.Encoder
	count uint64 // of the blobs so far
}

// thoroughFrom is from how many bytes on text is compressed thoroughly.
//
// Compression is 55 % of the CPU of a full backup. By kind of content, the
// fastest level against the default one, which is restic's:
//
//	                 larger   ns a byte
//	SQL dump          7.9 %   4.5 to 7.0
//	source >= 16 KiB  5.5 %   3.2 to 4.5
//	source <  16 KiB  5.4 %   5.4 to 7.5
//	binaries          4.0 %   3.3 to 5.4
//	random bytes      0       0.5
//
// The fastest level everywhere stores 3.3 % more than restic; the default one
// everywhere takes a quarter more CPU. So the default is spent where a byte of
// it saves most: text, in pieces that are long enough.
const thoroughFrom = 16 << 10

// blob appends the compressed blob to dst. nth says how many blobs its encoder
// had before.
func (c *compressor) blob(dst, plain []byte) (out []byte, nth uint64) {
	e, level := &c.quick, zstd.SpeedFastest
	if len(plain) >= thoroughFrom && looksLikeText(plain) {
		e, level = &c.thorough, zstd.SpeedDefault
	}
	if e.enc == nil {
		e.enc = newEncoderAt(level)
	}
	nth = e.count
	e.count++
	return e.enc.EncodeAll(plain, dst), nth
}

func (c *compressor) close() {
	for _, e := range []blobEncoder{c.quick, c.thorough} {
		if e.enc != nil {
			_ = e.enc.Close() // without a stream it has nothing to report
		}
	}
}

// looksLikeText guesses from two short samples. Being wrong costs a little
// time or a little space.
func looksLikeText(b []byte) bool {
	const sample = 512
	control, high := 0, 0
	for _, start := range []int{0, len(b) / 2} {
		for _, c := range b[start:min(start+sample, len(b))] {
			switch {
			case c == 0:
				return false
			case c < ' ' && c != '\n' && c != '\r' && c != '\t':
				control++
			case c >= 0x80:
				high++
			}
		}
	}
	return control <= sample/64 && high <= sample
}

// decoder expands zstd frames whose sizes are not to be trusted.
type decoder struct {
	exact *zstd.Decoder // stops at the capacity of the destination
}

func newDecoder() *decoder {
	exact, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
		zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(1<<31),
		zstd.WithDecoderMaxWindow(128<<20),
		zstd.WithDecoderLowmem(true),
	)
	if err != nil {
		panic(err) // the options are constants
	}
	return &decoder{exact: exact}
}

func (d *decoder) close() { d.exact.Close() }

// maxExpansion is the most that a byte of a frame can become: a block takes at
// least four bytes and holds at most 128 KiB.
const maxExpansion = (128 << 10) / 4

// firstGuess is the room for a frame that does not say its size.
const firstGuess = 64 << 10

// declared returns the size that a frame says it has, if it does. A size that
// its bytes cannot hold is an error: nothing is allocated for a claim.
func declared(frame []byte) (size uint64, ok bool, err error) {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return 0, false, fmt.Errorf("decompress: %w", err)
	}
	if h.HasFCS && h.FrameContentSize > uint64(len(frame))*maxExpansion {
		return 0, false, fmt.Errorf("decompress: a frame of %d bytes claims to hold %d", len(frame), h.FrameContentSize)
	}
	return h.FrameContentSize, h.HasFCS, nil
}

// blob appends exactly n decompressed bytes to dst. More or fewer are an
// error, found before more than n are written.
func (d *decoder) blob(dst, frame []byte, n int) ([]byte, error) {
	size, ok, err := declared(frame)
	if err != nil {
		return nil, err
	}
	if ok && size != uint64(n) { //nolint:gosec // not negative
		return nil, fmt.Errorf("decompress: the frame holds %d bytes, want %d", size, n)
	}
	out, err := d.expand(dst, frame, n, ok)
	if err != nil {
		return nil, err
	}
	if got := len(out) - len(dst); got != n {
		return nil, fmt.Errorf("decompress: %d bytes, want %d", got, n)
	}
	return out, nil
}

// documents decompresses a document of unknown size, at most limit bytes.
func (d *decoder) documents(frame []byte, limit int) ([]byte, error) {
	size, ok, err := declared(frame)
	if err != nil {
		return nil, err
	}
	if ok && size > uint64(limit) { //nolint:gosec // not negative
		return nil, fmt.Errorf("decompress: %d bytes are more than the limit of %d", size, limit)
	}
	n := limit
	if ok {
		n = int(size) //nolint:gosec // at most limit
	}
	return d.expand(nil, frame, n, ok)
}

// expand appends at most n decompressed bytes to dst. sure says that the frame
// has declared n; otherwise room is made as it turns out to be needed.
func (d *decoder) expand(dst, frame []byte, n int, sure bool) ([]byte, error) {
	start := len(dst)
	room := n
	if !sure {
		room = min(n, max(firstGuess, cap(dst)-start))
	}
	for {
		if cap(dst)-start < room {
			grown := make([]byte, start, start+room)
			copy(grown, dst)
			dst = grown
		}
		out, err := d.exact.DecodeAll(frame, dst[:start:start+room])
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, zstd.ErrDecoderSizeExceeded) || room >= n {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		room = min(4*room, n)
	}
}
