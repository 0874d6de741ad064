package restorer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/bufpool"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	fetchers = 4 // requests at a time
	// maxGap is how many unneeded bytes are read rather than asking twice:
	// about what a store sends in the time of one more answer.
	maxGap = 512 << 10
	// maxPart bounds one request, unless one blob is larger.
	maxPart = 8 << 20
	// giveUpAfter is how many requests in a row may fail before the store, and
	// not some of its packs, is taken to be the trouble.
	giveUpAfter = 8
)

// need is a blob of a part and where it goes.
type need struct {
	id     restic.ID
	at     restic.PackedBlob
	places []place
}

// part is a stretch of a pack that is read in one request.
type part struct {
	pack       restic.ID
	begin, end int64
	needs      []need
}

func (r *run) workers() int {
	if r.opts.Workers > 0 {
		return r.opts.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// plan groups the needed blobs into requests.
func (r *run) plan(needs map[restic.ID][]place) []part {
	byPack := make(map[restic.ID][]need)
	for id, places := range needs {
		at := r.repo.LookupBlob(restic.BlobHandle{ID: id, Type: restic.DataBlob})[0] // asked for before
		byPack[at.Pack] = append(byPack[at.Pack], need{id, at, places})
	}
	var parts []part
	for pack, list := range byPack {
		slices.SortFunc(list, func(a, b need) int { return int(int64(a.at.Offset) - int64(b.at.Offset)) })
		var cur *part
		for _, n := range list {
			begin, end := int64(n.at.Offset), int64(n.at.Offset)+int64(n.at.Length)
			if cur == nil || begin-cur.end >= maxGap || end-cur.begin > maxPart {
				parts = append(parts, part{pack: pack, begin: begin})
				cur = &parts[len(parts)-1]
			}
			cur.end = end
			cur.needs = append(cur.needs, n)
		}
	}
	return parts
}

// loaded is a part whose bytes are here; buf is where they lie in the pool, or
// nil.
type loaded struct {
	part
	data, buf []byte
}

// fetch loads the needed blobs and writes them to their places.
func (r *run) fetch(ctx context.Context, needs map[restic.ID][]place) error {
	parts := r.plan(needs)
	if len(parts) == 0 {
		return nil
	}
	pool, err := bufpool.New(min(fetchers, len(parts))+2, maxPart)
	if err != nil {
		return err
	}
	defer pool.Free() // everybody below has ended by then

	g, ctx := errgroup.WithContext(ctx)
	todo, ready := make(chan part), make(chan loaded)
	g.Go(func() error {
		defer close(todo)
		for _, p := range parts {
			select {
			case todo <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	loading, lctx := errgroup.WithContext(ctx)
	for range fetchers {
		loading.Go(func() error {
			for p := range todo {
				if err := r.load(lctx, p, pool, ready); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(ready)
		return loading.Wait()
	})
	for range r.workers() {
		g.Go(func() error {
			var buf []byte
			for l := range ready {
				var err error
				if buf, err = r.decode(ctx, l, buf); err != nil {
					return err
				}
				if l.buf != nil {
					pool.Put(l.buf)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// load reads a part and passes it on. A part that cannot be read goes on
// without data: its blobs may lie elsewhere too.
func (r *run) load(ctx context.Context, p part, pool *bufpool.Pool, ready chan<- loaded) error {
	l := loaded{part: p}
	var room []byte
	if p.end-p.begin <= maxPart {
		var err error
		if l.buf, err = pool.Get(ctx); err != nil {
			return err
		}
		room = l.buf
	}
	data, err := r.repo.LoadPackRange(ctx, p.pack, p.begin, p.end-p.begin, room)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	switch {
	case err == nil:
		l.data = data
		r.stats.fetched.Add(uint64(len(data)))
		r.unreadablePacks.Store(0)
	case errors.Is(err, fs.ErrNotExist):
		// A lost pack says nothing about the store.
	case r.unreadablePacks.Add(1) >= giveUpAfter:
		return fmt.Errorf("read pack %s: %w", p.pack.Short(), err)
	}
	select {
	case ready <- l:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decode verifies the blobs of a part and writes them. It returns buf, which
// may have grown.
func (r *run) decode(ctx context.Context, l loaded, buf []byte) ([]byte, error) {
	for _, n := range l.needs {
		if err := ctx.Err(); err != nil {
			return buf, err
		}
		h := restic.BlobHandle{ID: n.id, Type: restic.DataBlob}
		var (
			plain []byte
			err   error
		)
		from, to := int64(n.at.Offset)-l.begin, int64(n.at.Offset)+int64(n.at.Length)-l.begin
		if to <= int64(len(l.data)) {
			plain, err = r.repo.DecodeBlob(n.at, h, l.data[from:to], buf[:0])
		}
		if plain == nil || err != nil {
			// Damaged or unreadable here; another pack may have it.
			first := err
			plain, err = r.repo.LoadBlob(ctx, h, buf[:0])
			if err == nil && first != nil && r.proven != nil {
				r.stats.warn(n.places[0].file.path, fmt.Errorf("a copy of its content in pack %s is damaged; another copy, or another reading, is sound: %w", n.at.Pack.Short(), first))
			}
		}
		if ctx.Err() != nil {
			return buf, ctx.Err()
		}
		if err != nil {
			for _, p := range n.places {
				r.fail(p.file, fmt.Errorf("content in pack %s is damaged or gone: %w", n.at.Pack.Short(), err))
			}
			continue
		}
		if cap(plain) > cap(buf) {
			buf = plain
		}
		if r.proven != nil {
			r.proven.add(n.id)
		}
		for _, p := range n.places {
			if err := r.write(p, plain); err != nil {
				return buf, err
			}
		}
	}
	return buf, nil
}
