package repository

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/klauspost/compress/zstd"
)

// newEncoder makes an encoder for one goroutine at a time. Literals are
// entropy-coded also in blocks without matches: that keeps small text files at
// the size of the default level at the cost of the fastest.
func newEncoder() *zstd.Encoder {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithAllLitEntropyCompression(true),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
	)
	if err != nil {
		panic(err) // the options are constants
	}
	return enc
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

// blob appends exactly n decompressed bytes to dst. More or fewer are an
// error, found before more than n are written.
func (d *decoder) blob(dst, frame []byte, n int) ([]byte, error) {
	start := len(dst)
	if cap(dst)-start < n {
		grown := make([]byte, start, start+n)
		copy(grown, dst)
		dst = grown
	}
	out, err := d.exact.DecodeAll(frame, dst[:start:start+n])
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(out)-start != n {
		return nil, fmt.Errorf("decompress: %d bytes, want %d", len(out)-start, n)
	}
	return out, nil
}

// documents decompresses a document of unknown size, at most limit bytes.
func (d *decoder) documents(frame []byte, limit int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(frame); err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	size := 64 << 10
	if h.HasFCS {
		if h.FrameContentSize > uint64(limit) {
			return nil, fmt.Errorf("decompress: %d bytes are more than the limit of %d", h.FrameContentSize, limit)
		}
		size = int(h.FrameContentSize)
	}
	// Without a declared size, or with one that a second frame exceeds, try
	// with more room until the limit.
	for {
		out, err := d.exact.DecodeAll(frame, make([]byte, 0, max(size, 1)))
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, zstd.ErrDecoderSizeExceeded) || size >= limit {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		size = min(max(4*size, 64<<10), limit)
	}
}
