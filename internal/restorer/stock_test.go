package restorer_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend/local"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/trees"
)

// aged returns the snapshot as if it had been taken a minute later, so that
// files which are as young as it are trusted.
func aged(sn *restic.Snapshot) *restic.Snapshot {
	later := *sn
	summary := *sn.Summary
	summary.BackupStart = time.Now().Add(time.Minute)
	later.Summary = &summary
	return &later
}

// Stock restic finds no fault in what we write, restores it identically, and
// writes the very same directories itself.
func TestStockResticReadsOurs(t *testing.T) {
	t.Parallel()

	dir := filepath.Join(t.TempDir(), "repository")
	be, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := repository.Init(t.Context(), be, secret.New("password"), repository.InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repo.Close() })
	stock := referee.New(t, dir, "password", "TZ=UTC")

	g := newGenerator(t, 42)
	var sn *restic.Snapshot
	for range 3 {
		g.edit()
		sn = backup(t, repo, sn, g.root)
	}
	stock.Check()
	target := t.TempDir()
	stock.Restore(sn.ID.String(), target)
	referee.CompareTrees(t, g.root, filepath.Join(target, g.root))

	// The large files make no difference: restic takes our pieces over from
	// the parent snapshot.
	id, err := restic.ParseID(stock.Backup("--parent", sn.ID.String(), g.root))
	if err != nil {
		t.Fatal(err)
	}
	if err := repo.LoadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	theirs, err := repo.LoadSnapshot(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := subtree(t, repo, theirs, g.root), subtree(t, repo, sn, g.root); got != want {
		t.Error("stock restic writes another tree")
		explain(t, repo, want, got)
	}
	// And we take over from theirs.
	if again := backup(t, repo, aged(theirs), g.root); again.Summary.FilesNew+again.Summary.FilesChanged > 0 || again.Summary.DataBlobs > 0 {
		t.Errorf("after stock restic's snapshot the summary says %+v, want nothing changed", *again.Summary)
	}
	stock.Check()
}

// explain shows the nodes in which two trees differ.
func explain(t *testing.T, repo trees.Source, ours, theirs restic.ID) {
	t.Helper()
	a, errA := repo.LoadTree(t.Context(), ours)
	b, errB := repo.LoadTree(t.Context(), theirs)
	if errA != nil || errB != nil || len(a.Nodes) != len(b.Nodes) {
		t.Errorf("trees %s and %s: %v, %v, or not as many nodes", ours, theirs, errA, errB)
		return
	}
	for i, n := range a.Nodes {
		m := b.Nodes[i]
		if n.Subtree != nil && m.Subtree != nil && *n.Subtree != *m.Subtree {
			explain(t, repo, *n.Subtree, *m.Subtree)
			n.Subtree, m.Subtree = nil, nil
		}
		x, _ := n.AppendJSON(nil)
		y, _ := m.AppendJSON(nil)
		if string(x) != string(y) {
			t.Errorf("ours  %.900s\nstock %.900s", x, y)
		}
	}
}

// What stock restic wrote we restore identically.
func TestOursRestoresStockRestic(t *testing.T) {
	t.Parallel()

	dir := filepath.Join(t.TempDir(), "repository")
	stock := referee.New(t, dir, "password", "TZ=Asia/Tokyo")
	stock.Init()
	g := newGenerator(t, 43)
	g.edit()
	stock.Backup(g.root)
	g.edit()
	id, err := restic.ParseID(stock.Backup(g.root))
	if err != nil {
		t.Fatal(err)
	}

	be, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := repository.Open(t.Context(), be, secret.New("password"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repo.Close() })
	if err := repo.LoadIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	sn, err := repo.LoadSnapshot(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	restore(t, repo, sn, restorer.Options{Target: target, Verify: true})
	referee.CompareTrees(t, g.root, filepath.Join(target, g.root))

	// Ours continues theirs without reading what it knows.
	if again := backup(t, repo, aged(sn), g.root); again.Summary.DataBlobs > 0 || again.Summary.FilesNew+again.Summary.FilesChanged > 0 {
		t.Errorf("after stock restic's snapshot the summary says %+v, want nothing changed", *again.Summary)
	}
	if err := os.RemoveAll(target); err != nil {
		t.Fatal(err)
	}
	stock.Check()
}
