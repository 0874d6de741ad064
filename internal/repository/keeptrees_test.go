package repository

import (
	"errors"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// Issue 4, item 2: what the last backup used stays in memory, is given only
// while the repository has it, and stays within its budget.
func TestDirectoriesStayInMemoryWhileTheyAreTrue(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	sn := mustBackup(t, r, day(0), sample(0))
	root, err := r.LoadTree(t.Context(), *sn.Tree)
	must(t, err)
	sub := *root.Nodes[1].Subtree // "stable"

	load := func(wantIntact bool) {
		t.Helper()
		tree, intact, err := r.ParentTree(t.Context(), sub)
		must(t, err)
		if nodes, err := tree.Nodes(); err != nil || len(nodes) != 3 || nodes[0].Name != "big" || len(nodes[0].Content) != 2 {
			t.Errorf("%d nodes, %v", len(nodes), err)
		}
		if intact != wantIntact {
			t.Errorf("intact is %t, want %t", intact, wantIntact)
		}
	}
	load(false) // from the store: nobody asked the index yet
	load(true)
	store := r.be
	r.be = nil // from memory, or it panics
	load(true)
	r.be = store

	// The next backup uses other directories only, and then this one is gone.
	before := r.kept.size
	mustBackup(t, r, day(1), sample(1))
	r.be = nil
	load(true)
	r.be = store
	mustBackup(t, r, day(2), sample(2))
	mustBackup(t, r, day(3), sample(3))
	if len(r.kept.known) != 0 || r.kept.size != 0 || before == 0 {
		t.Errorf("%d directories of %d bytes are left, there were %d bytes", len(r.kept.known), r.kept.size, before)
	}

	// The repository loses a blob: the directory does not count as intact.
	load(false)
	load(true)
	big := r.LookupBlob(restic.BlobHandle{ID: restic.Hash(content(1, 300_000)), Type: restic.DataBlob})[0].Pack
	without, err := r.index().Without(func(id restic.ID) bool { return id == big })
	must(t, err)
	r.idx = without
	load(false)
	// It loses the directory itself.
	r.idx, err = without.Without(func(restic.ID) bool { return true })
	must(t, err)
	if _, _, err := r.ParentTree(t.Context(), sub); !errors.Is(err, ErrUnknownBlob) {
		t.Errorf("a directory that the index does not know: %v", err)
	}
}

func TestKeptDirectoriesStayWithinTheirBudget(t *testing.T) {
	t.Parallel()
	be := mem.New()
	sn := mustBackup(t, newRepo(t, be), day(0), sample(0))
	for _, budget := range []int{0, keptTreeOverhead + 200, 1 << 20} {
		r := reopen(t, be, WithTreeMemory(budget))
		root, err := r.LoadTree(t.Context(), *sn.Tree)
		must(t, err)
		for _, n := range root.Nodes {
			_, _, err := r.ParentTree(t.Context(), *n.Subtree)
			must(t, err)
		}
		if r.kept.size > budget || budget == 1<<20 && len(r.kept.known) != 2 || budget > 0 && len(r.kept.known) == 0 {
			t.Errorf("budget %d: %d directories in %d bytes", budget, len(r.kept.known), r.kept.size)
		}
	}
}
