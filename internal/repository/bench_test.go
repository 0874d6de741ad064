package repository

import (
	"context"
	"io"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// discard stores packs nowhere, to measure the write path alone.
type discard struct{ backend.Backend }

func (d discard) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if h.Kind == backend.KindData {
		return ctx.Err()
	}
	return d.Backend.Put(ctx, h, data, opt)
}

// text is data that compress like source code: words drawn from a small set.
func text(seed uint64, n int) []byte {
	words := []string{"return ", "func ", "if err != nil {\n", "context.Context", "(", ")", "}\n", "\t", "repository", "snapshot.", "ID", "0x", " := ", "range ", "string", "\n"}
	raw := content(seed*2+1, n)
	b := make([]byte, 0, n+32)
	for _, c := range raw {
		b = append(b, words[c&15]...)
		if c > 200 {
			b = append(b, c&31+'A')
		}
		if len(b) >= n {
			break
		}
	}
	return b[:n]
}

func BenchmarkSaveBlob(b *testing.B) {
	for name, bb := range map[string]struct {
		make func(seed uint64, n int) []byte
		size int
	}{
		"text 1 MiB":   {text, 1 << 20},
		"text 8 KiB":   {text, 8 << 10},
		"random 1 MiB": {func(seed uint64, n int) []byte { return content(2*seed+1, n) }, 1 << 20},
	} {
		b.Run(name, func(b *testing.B) {
			r := newRepo(b, discard{mem.New()})
			const total = 64 << 20
			blobs := make([][]byte, total/bb.size)
			for i := range blobs {
				blobs[i] = bb.make(uint64(i), bb.size)
			}
			b.SetBytes(total)
			b.ReportAllocs()
			var round byte
			for b.Loop() {
				b.StopTimer()
				round++
				for _, blob := range blobs {
					blob[0], blob[1] = round, byte(len(blob)>>8)+round
				}
				b.StartTimer()
				g, ctx := errgroup.WithContext(b.Context())
				for w := range runtime.GOMAXPROCS(0) {
					g.Go(func() error {
						for i := w; i < len(blobs); i += runtime.GOMAXPROCS(0) {
							if _, _, _, err := r.SaveBlob(ctx, restic.DataBlob, blobs[i]); err != nil {
								return err
							}
						}
						return nil
					})
				}
				must(b, g.Wait())
				must(b, r.Flush(b.Context()))
			}
		})
	}
}

func BenchmarkLoadBlob(b *testing.B) {
	r := newRepo(b, mem.New())
	var handles []restic.BlobHandle
	for i := range 16 {
		id, _, _, err := r.SaveBlob(b.Context(), restic.DataBlob, text(uint64(i), 1<<20))
		must(b, err)
		handles = append(handles, restic.BlobHandle{ID: id, Type: restic.DataBlob})
	}
	must(b, r.Flush(b.Context()))
	b.SetBytes(1 << 20)
	var buf []byte
	for i := 0; b.Loop(); i++ {
		var err error
		buf, err = r.LoadBlob(b.Context(), handles[i%16], buf)
		must(b, err)
	}
}

func BenchmarkLoadIndexOf100000Blobs(b *testing.B) {
	be := mem.New()
	r := newRepo(b, be)
	for i := range 100_000 {
		_, _, _, err := r.SaveBlob(b.Context(), restic.DataBlob, content(uint64(i), 100))
		must(b, err)
	}
	must(b, r.Flush(b.Context()))
	for b.Loop() {
		fresh := r.view()
		fresh.w = newWriteState(r)
		must(b, fresh.LoadIndex(b.Context()))
	}
}

// slow answers after a while, like a store across an ocean.
type slow struct {
	backend.Backend
	lag time.Duration
}

func (s slow) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) error {
	if err := sleep(ctx, s.lag); err != nil {
		return err
	}
	return s.Backend.Get(ctx, h, offset, length, fn)
}

func BenchmarkWalkTreesAcrossAnOcean(b *testing.B) {
	be := mem.New()
	r := newRepo(b, be)
	root := &restic.Tree{}
	for i := range 2000 {
		sub := &restic.Tree{}
		for j := range 10 {
			id := restic.Hash(content(uint64(i*10+j), 8))
			sub.Nodes = append(sub.Nodes, &restic.Node{Name: string(rune('a' + j)), Type: restic.TypeFile, Content: []restic.ID{id}})
		}
		doc, err := sub.Encode()
		must(b, err)
		id, _, _, err := r.SaveTree(b.Context(), doc)
		must(b, err)
		root.Nodes = append(root.Nodes, &restic.Node{Name: time.Unix(int64(1e9+i), 0).UTC().Format("20060102150405"), Type: restic.TypeDir, Subtree: &id})
	}
	doc, err := root.Encode()
	must(b, err)
	id, _, _, err := r.SaveTree(b.Context(), doc)
	must(b, err)
	must(b, r.Flush(b.Context()))
	r.be = slow{be, 30 * time.Millisecond}
	for b.Loop() {
		r.trees.clear()
		seen := 0
		must(b, r.walkTrees(b.Context(), []restic.ID{id}, func(restic.ID) bool { seen++; return true },
			func(_ restic.ID, _ *restic.Tree, err error) error { return err }))
		if seen != 2001 {
			b.Fatalf("%d trees", seen)
		}
	}
}
