package repository

import (
	"context"
	"fmt"
	"path"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// nameAffected finds the files that problems hurt. It reads the trees again,
// which is worth it only when there is damage.
func (c *checker) nameAffected(ctx context.Context) error {
	for _, p := range c.report.Problems {
		if p.Kind == ProblemSnapshot {
			c.report.Hurt = append(c.report.Hurt, p.Snapshot)
		}
	}
	if len(c.missing) == 0 {
		return nil
	}
	f := &affectedFinder{c: c, hurt: make(map[restic.ID]bool), found: make(map[restic.BlobHandle][]Affected)}
	for _, s := range c.snapshots {
		if _, err := f.treeHurt(ctx, *s.Tree, 0); err != nil {
			return err
		}
	}
	for _, s := range c.snapshots {
		if f.hurt[*s.Tree] {
			c.report.Hurt = append(c.report.Hurt, s.ID)
		}
		if err := f.collect(ctx, s.ID, *s.Tree, "/"); err != nil {
			return err
		}
	}
	c.affected = f.found
	for i := range c.report.Problems {
		p := &c.report.Problems[i]
		switch {
		case p.Blob.Type != 0:
			p.Affected = f.found[p.Blob]
		case p.Kind == ProblemMissingPack || p.Kind == ProblemPack:
			p.Affected = f.ofPack(p.Pack)
		}
	}
	return nil
}

// maxTreeDepth bounds recursion into trees. File systems allow about 2,000
// levels, and a hostile tree cannot contain itself: its name is its hash.
const maxTreeDepth = 10_000

type affectedFinder struct {
	c     *checker
	hurt  map[restic.ID]bool // trees that were looked at
	found map[restic.BlobHandle][]Affected
	// strict counts content that no index lists as missing.
	strict bool
}

func (f *affectedFinder) lost(h restic.BlobHandle) bool {
	return f.c.missing[h] || f.strict && !f.c.r.index().Has(h)
}

// treeHurt reports whether something is missing in or below the tree.
func (f *affectedFinder) treeHurt(ctx context.Context, id restic.ID, depth int) (bool, error) {
	if hurt, known := f.hurt[id]; known {
		return hurt, nil
	}
	if f.c.missing[restic.BlobHandle{ID: id, Type: restic.TreeBlob}] {
		f.hurt[id] = true
		return true, nil
	}
	if depth > maxTreeDepth {
		return false, fmt.Errorf("tree %s lies deeper than %d levels", id.Short(), maxTreeDepth)
	}
	t, err := f.c.r.LoadTree(ctx, id)
	if err != nil {
		return false, err
	}
	hurt := false
	for _, n := range t.Nodes {
		for _, b := range n.Content {
			hurt = hurt || f.lost(restic.BlobHandle{ID: b, Type: restic.DataBlob})
		}
		if n.Subtree != nil {
			below, err := f.treeHurt(ctx, *n.Subtree, depth+1)
			if err != nil {
				return false, err
			}
			hurt = hurt || below
		}
	}
	f.hurt[id] = hurt
	return hurt, nil
}

func (f *affectedFinder) collect(ctx context.Context, snapshot, id restic.ID, dir string) error {
	if !f.hurt[id] {
		return nil
	}
	if h := (restic.BlobHandle{ID: id, Type: restic.TreeBlob}); f.c.missing[h] {
		f.add(h, Affected{Snapshot: snapshot, Path: dir})
		return nil
	}
	t, err := f.c.r.LoadTree(ctx, id)
	if err != nil {
		return err
	}
	for _, n := range t.Nodes {
		name := path.Join(dir, n.Name)
		for _, b := range n.Content {
			if h := (restic.BlobHandle{ID: b, Type: restic.DataBlob}); f.c.missing[h] {
				f.add(h, Affected{Snapshot: snapshot, Path: name})
			}
		}
		if n.Subtree != nil {
			if err := f.collect(ctx, snapshot, *n.Subtree, name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *affectedFinder) add(h restic.BlobHandle, a Affected) {
	list := f.found[h]
	if len(list) >= MaxAffected || len(list) > 0 && list[len(list)-1] == a {
		return
	}
	f.found[h] = append(list, a)
}

// ofPack gathers what is hurt by the loss of a pack's blobs.
func (f *affectedFinder) ofPack(id restic.ID) []Affected {
	var out []Affected
	seen := make(map[Affected]bool)
	for h, list := range f.found {
		for _, b := range f.c.r.idx.Lookup(h, nil) {
			if b.Pack != id {
				continue
			}
			for _, a := range list {
				if !seen[a] && len(out) < MaxAffected {
					seen[a] = true
					out = append(out, a)
				}
			}
			break
		}
	}
	return out
}

// SnapshotsNeeding returns those of the snapshots that cannot be restored
// whole without the blobs, or need something that no index lists. It reads the trees of all of them, each once; a tree
// that is damaged itself counts as needed by its snapshots. Hold a shared
// lock, and load the index before.
func (r *Repository) SnapshotsNeeding(ctx context.Context, snapshots []*restic.Snapshot, blobs map[restic.BlobHandle]bool) ([]*restic.Snapshot, error) {
	f := &affectedFinder{c: &checker{r: r, missing: blobs}, hurt: make(map[restic.ID]bool), strict: true}
	var needing []*restic.Snapshot
	for _, s := range snapshots {
		hurt, err := f.treeHurt(ctx, *s.Tree, 0)
		switch {
		case err != nil && !isDamage(err):
			return needing, fmt.Errorf("find snapshots that need damaged blobs: %w", err)
		case err != nil, hurt:
			needing = append(needing, s)
		}
	}
	return needing, nil
}
