package repository

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// A directory that lies in the cache file is no reason to take a snapshot for
// whole whose tree no index lists any more: a prune that did would remove the
// data of that snapshot.
func TestAPruneDoesNotTrustItsCacheMoreThanTheIndex(t *testing.T) {
	t.Parallel()
	be := mem.New()
	cache := WithCache(filepath.Join(t.TempDir(), "cache"), 1<<20)
	r := newRepo(t, be, cache, withQuickLocks())
	first := mustBackup(t, r, day(0), sample(0))
	before := r.index().Files()
	mustBackup(t, r, day(1), sample(0)) // the same data, other directories
	must(t, r.ForgetSnapshots(t.Context(), first.ID))
	// Fills the cache with the directories of the other.
	_, err := r.Prune(t.Context(), PruneOptions{DryRun: true})
	must(t, err)
	must(t, r.CacheError())
	for id := range r.index().Files() {
		if _, old := before[id]; !old {
			must(t, be.Delete(t.Context(), backend.Handle{Kind: backend.KindIndex, Name: id.String()}))
		}
	}
	r.closeLocal()

	again := reopen(t, be, cache, withQuickLocks())
	must(t, again.CacheError())
	packs := objects(t, be, backend.KindData)
	if _, err := again.Prune(t.Context(), PruneOptions{}); !errors.Is(err, ErrDamaged) {
		t.Errorf("prune: %v", err)
	}
	if n := objects(t, be, backend.KindData); n != packs {
		t.Errorf("%d packs are left of %d", n, packs)
	}
}

// A check looks at the store, not at what this host remembers of it.
func TestACheckDoesNotAskTheCache(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be, WithCache(filepath.Join(t.TempDir(), "cache"), 1<<20), withQuickLocks())
	s := mustBackup(t, r, day(0), sample(0))
	_, err := r.Prune(t.Context(), PruneOptions{DryRun: true}) // reads all there is
	must(t, err)
	if _, ok := r.keptTree(*s.Tree); !ok {
		t.Fatal("the cache does not have the tree")
	}
	place := r.LookupBlob(restic.BlobHandle{ID: *s.Tree, Type: restic.TreeBlob})[0]
	flip(t, be, backend.Handle{Kind: backend.KindData, Name: place.Pack.String()}, int(place.Offset)+20)
	report, err := r.Check(t.Context(), CheckOptions{})
	must(t, err)
	if len(report.Problems) == 0 {
		t.Error("the check finds nothing wrong with a damaged tree")
	}
}
