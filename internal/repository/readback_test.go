package repository

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// rotten gives back packs with a wrong bit, as long as it is rotten.
type rotten struct {
	backend.Backend
	on atomic.Bool
}

func (r *rotten) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) error {
	return r.Backend.Get(ctx, h, offset, length, func(rd io.Reader) error {
		if h.Kind == backend.KindData && r.on.Load() {
			rd = io.MultiReader(&flipped{rd}, rd)
		}
		return fn(rd)
	})
}

// flipped is the first byte of a stream, wrong.
type flipped struct{ rd io.Reader }

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.rd.Read(p[:1])
	if n == 1 {
		p[0] ^= 1
		err = io.EOF
	}
	return n, err
}

// Issue 4, item 5: what a backup wrote is read back. Trees that do not come
// back fail the backup before an index lists them, so that the next one does
// not rely on them.
func TestTreesThatDoNotReadBackAreStoredAgain(t *testing.T) {
	t.Parallel()
	store := &rotten{Backend: mem.New()}
	r := newRepo(t, store)
	store.on.Store(true)
	if _, err := backup(t.Context(), r, day(0), sample(0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("backup to a store that loses bits: %v", err)
	}
	r.Abort()
	if n := objects(t, store, backend.KindSnapshot); n != 0 {
		t.Errorf("it left %d snapshots", n)
	}
	again := reopen(t, store)
	for _, packs := range again.index().Files() {
		for _, id := range packs {
			for _, b := range blobsOf(again, id) {
				if b.Handle.Type == restic.TreeBlob {
					t.Errorf("an index lists tree %s, which cannot be read", b.Handle.ID.Short())
				}
			}
		}
	}

	store.on.Store(false)
	must(t, r.LoadIndex(t.Context()))
	s := mustBackup(t, r, day(1), sample(0))
	must(t, r.VerifySnapshot(t.Context(), s.ID))
	must(t, compareSnapshot(t.Context(), reopen(t, store), s, sample(0)))
}

// A directory that names a file's content which nobody stored is not stored.
func TestATreeWithoutItsContentIsRefused(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	for name, node := range map[string]*restic.Node{
		"content": {Name: "f", Type: restic.TypeFile, Content: []restic.ID{{1}}, Size: 1},
		"subtree": {Name: "d", Type: restic.TypeDir, Subtree: &restic.ID{2}},
	} {
		doc, err := (&restic.Tree{Nodes: []*restic.Node{node}}).Encode()
		must(t, err)
		_, _, _, err = r.SaveTree(t.Context(), doc)
		must(t, err)
		if err := r.Flush(t.Context()); !errors.Is(err, ErrUnknownBlob) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := objects(t, be, backend.KindIndex); n != 0 {
		t.Errorf("%d index files were written", n)
	}
}

func blobsOf(r *Repository, id restic.ID) []pack.Blob {
	var of []pack.Blob
	r.index().EachPack(func(pk restic.ID, blobs []pack.Blob) bool {
		if pk == id {
			of = append(of, blobs...)
		}
		return pk != id
	})
	return of
}
