package repository

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// checkReaders is how many packs are read whole at once.
const checkReaders = 3

// Share selects a part of the packs: those of class Part among Of equal
// classes by their names. The zero Share selects none, Of 1 selects all.
type Share struct{ Part, Of int }

// CheckOptions says how much a check reads. The structure is always checked:
// every snapshot, tree and index file, and that each pack is there in full
// length.
type CheckOptions struct {
	// ReadData reads every pack and opens every blob.
	ReadData bool
	// ReadShare does so for a part; the same share on a later day reads other
	// packs if Part moves on.
	ReadShare Share
	// Packs are read as well, those of them that are listed. A pack whose
	// length is wrong is read in any case: what is left of it counts.
	Packs []restic.ID
	// Snapshots are those of which all is read that a restore of them needs.
	Snapshots []restic.ID
	// Progress is called now and then, from one goroutine at a time.
	Progress func(CheckProgress)
}

// CheckProgress says where a check is.
type CheckProgress struct {
	Phase       string // "index", "trees", "packs"
	Done, Total int64  // files, trees or packs; Total 0 if it is not known
}

// ProblemKind classifies a Problem.
type ProblemKind string

// The kinds of problems. The hints cost space or time, not data.
const (
	ProblemSnapshot    ProblemKind = "snapshot"     // a snapshot cannot be read
	ProblemIndex       ProblemKind = "index"        // an index file cannot be read
	ProblemTree        ProblemKind = "tree"         // a tree is damaged or makes no sense
	ProblemMissingBlob ProblemKind = "missing blob" // needed and not in the index
	ProblemMissingPack ProblemKind = "missing pack" // listed and not in the store
	ProblemPack        ProblemKind = "pack"         // a pack is not what its name or the index says
	ProblemBlob        ProblemKind = "blob"         // a blob in a pack is damaged

	HintUnreferenced ProblemKind = "unreferenced pack" // listed by no index
	HintDuplicate    ProblemKind = "listed twice"      // by two index files
	HintMixed        ProblemKind = "mixed pack"        // data and trees in one pack
)

// Problem is one finding of a check.
type Problem struct {
	Kind     ProblemKind
	Snapshot restic.ID // null unless the problem is a snapshot's
	Pack     restic.ID // null unless the problem is a pack's
	Blob     restic.BlobHandle
	Text     string
	// Affected names the files that the problem hurts, at most MaxAffected.
	Affected []Affected
}

// Affected is a file or directory of a snapshot that cannot be restored whole.
type Affected struct {
	Snapshot restic.ID
	Path     string // below the root of the snapshot, with slashes
}

// MaxAffected bounds the files named for one problem.
const MaxAffected = 20

// CheckReport is the result of a check. The repository is sound if Problems is
// empty; Hints are worth a prune.
type CheckReport struct {
	Problems, Hints []Problem

	// Hurt are the snapshots that cannot be restored whole, oldest first, and
	// those that cannot be read.
	Hurt []restic.ID
	// Tags are those of the snapshots that can be read.
	Tags map[restic.ID]restic.TagList
	// Times is when they were taken.
	Times map[restic.ID]time.Time

	Snapshots, IndexFiles, Packs, Trees int
	PacksRead                           int
	BytesRead                           int64
}

// Check looks for damage. It changes nothing and uses an index of its own, read
// afresh. Hold a shared lock, so that nothing is removed meanwhile. The error
// is about checking itself, such as a store that cannot be reached; damage is
// in the report.
func (r *Repository) Check(ctx context.Context, opt CheckOptions) (CheckReport, error) {
	return newChecker(r.view(), opt).check(ctx)
}

// DamagedPacks returns the packs that the problems name, each once: those that
// a repair has to look at.
func (r *CheckReport) DamagedPacks() []restic.ID {
	var ids []restic.ID
	for _, p := range r.Problems {
		if !p.Pack.IsNull() && !slices.Contains(ids, p.Pack) {
			ids = append(ids, p.Pack)
		}
	}
	return ids
}

func newChecker(view *Repository, opt CheckOptions) *checker {
	return &checker{
		r: view, opt: opt, report: CheckReport{Tags: make(map[restic.ID]restic.TagList), Times: make(map[restic.ID]time.Time)},
		missing: make(map[restic.BlobHandle]bool), badCopies: make(map[restic.BlobHandle]int), badSize: make(map[restic.ID]bool),
	}
}

func (c *checker) check(ctx context.Context) (CheckReport, error) {
	steps := []func(context.Context) error{c.loadSnapshots, c.loadIndex, c.checkPacks, c.checkTrees, c.findNeeded, c.readPacks, c.nameAffected}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return c.report, fmt.Errorf("check repository: %w", err)
		}
	}
	order := func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), bytes.Compare(a.Pack[:], b.Pack[:]),
			bytes.Compare(a.Blob.ID[:], b.Blob.ID[:]), cmp.Compare(a.Text, b.Text))
	}
	slices.SortFunc(c.report.Problems, order)
	slices.SortFunc(c.report.Hints, order)
	return c.report, nil
}

// view returns a Repository for reading that shares keys and store with r and
// has an empty index of its own.
func (r *Repository) view() *Repository {
	v := &Repository{be: r.be, key: r.key, keyID: r.keyID, cfg: r.cfg, set: r.set, who: r.who, zenc: r.zenc, zdec: r.zdec, idx: index.New()}
	v.trees = newWindowCache(v)
	return v
}

// Uncached returns a Repository for reading that shares keys, store and the
// index as it is now with r, and none of what r has read before: what it
// returns comes from the store. It needs no Close.
func (r *Repository) Uncached() *Repository {
	v := r.view()
	v.idx = r.index()
	return v
}

type checker struct {
	r   *Repository
	opt CheckOptions

	snapshots []*restic.Snapshot
	packs     map[restic.ID]int64 // sizes, as the store lists them
	badSize   map[restic.ID]bool  // packs whose length is not what the index says
	badIndex  []restic.ID         // index files that cannot be read
	needed    map[restic.ID]bool  // packs that opt.Snapshots need
	// affected are files that missing blobs hurt, at most MaxAffected for each.
	affected map[restic.BlobHandle][]Affected

	mu      sync.Mutex // guards what follows
	report  CheckReport
	missing map[restic.BlobHandle]bool // blobs that are not to be had
	// badCopies counts the places of a blob that do not have it.
	badCopies map[restic.BlobHandle]int
}

func (c *checker) progress(phase string, done, total int) {
	if c.opt.Progress != nil {
		c.opt.Progress(CheckProgress{Phase: phase, Done: int64(done), Total: int64(total)})
	}
}

func (c *checker) problem(p Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Problems = append(c.report.Problems, p)
}

func (c *checker) hint(p Problem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Hints = append(c.report.Hints, p)
}

func (c *checker) lose(h restic.BlobHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing[h] = true
}

// isDamage reports whether err is about what is stored and not about reaching it.
func isDamage(err error) bool {
	return errors.Is(err, ErrDamaged) || errors.Is(err, ErrUnknownBlob) ||
		errors.Is(err, backend.ErrNotExist) || errors.Is(err, backend.ErrRange)
}

func (c *checker) loadSnapshots(ctx context.Context) error {
	ids, err := listIDs(ctx, c.r.be, backend.KindSnapshot)
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, id := range ids {
		s, err := c.r.LoadSnapshot(ctx, id)
		switch {
		case errors.Is(err, backend.ErrNotExist):
		case err != nil && !isDamage(err):
			return err
		case err != nil:
			c.problem(Problem{Kind: ProblemSnapshot, Snapshot: id, Text: err.Error()})
		default:
			c.snapshots = append(c.snapshots, s)
			c.report.Tags[id], c.report.Times[id] = s.Tags, s.Time
		}
	}
	c.report.Snapshots = len(ids)
	return nil
}

func (c *checker) loadIndex(ctx context.Context) error {
	ids, err := listIDs(ctx, c.r.be, backend.KindIndex)
	if err != nil {
		return fmt.Errorf("list index files: %w", err)
	}
	listedIn := make(map[restic.ID]restic.ID)
	for i, id := range ids {
		packs, err := c.r.readIndexFile(ctx, id)
		if err == nil {
			err = c.r.idx.AddFile(id, packs)
		} else if !isDamage(err) {
			return err
		}
		if err != nil {
			c.problem(Problem{Kind: ProblemIndex, Text: err.Error()})
			c.badIndex = append(c.badIndex, id)
			continue
		}
		for _, p := range packs {
			if other, ok := listedIn[p.ID]; ok && other != id {
				c.hint(Problem{Kind: HintDuplicate, Pack: p.ID, Text: fmt.Sprintf("pack %s is listed in index files %s and %s", p.ID.Short(), other.Short(), id.Short())})
			}
			listedIn[p.ID] = id
		}
		c.progress("index", i+1, len(ids))
	}
	c.report.IndexFiles = len(ids)
	return nil
}

// checkPacks compares the packs that are listed with those that are there.
func (c *checker) checkPacks(ctx context.Context) error {
	c.packs = make(map[restic.ID]int64)
	err := c.r.be.List(ctx, backend.KindData, func(name string, size int64, _ time.Time) error {
		if id, err := restic.ParseID(name); err == nil {
			c.packs[id] = size
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list packs: %w", err)
	}
	c.r.idx.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		c.report.Packs++
		types := make(map[restic.BlobType]bool)
		for _, b := range blobs {
			types[b.Handle.Type] = true
		}
		if len(types) > 1 {
			c.hint(Problem{Kind: HintMixed, Pack: id, Text: "pack " + id.Short() + " holds data and trees"})
		}
		size, there := c.packs[id]
		switch want := c.r.idx.PackSize(id); {
		case !there:
			c.problem(Problem{Kind: ProblemMissingPack, Pack: id, Text: "pack " + id.Short() + " is listed and not in the store"})
			c.loseCopies(blobs...)
		case size != want:
			c.badSize[id] = true
			c.problem(Problem{Kind: ProblemPack, Pack: id, Text: fmt.Sprintf("pack %s has %d bytes where the index says %d", id.Short(), size, want)})
		}
		return true
	})
	for id := range c.packs {
		if !c.r.idx.HasPack(id) {
			c.hint(Problem{Kind: HintUnreferenced, Pack: id, Text: "pack " + id.Short() + " is listed by no index"})
		}
	}
	return nil
}

// loseCopies records that a pack does not have these blobs that it is listed
// with. One that no other pack has is lost.
func (c *checker) loseCopies(blobs ...pack.Blob) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var places []PackedBlob
	for _, b := range blobs {
		c.badCopies[b.Handle]++
		places = c.r.idx.Lookup(b.Handle, places[:0])
		if c.badCopies[b.Handle] >= len(places) {
			c.missing[b.Handle] = true
		}
	}
}

// checkTrees walks every snapshot.
func (c *checker) checkTrees(ctx context.Context) error {
	var roots []restic.ID
	for _, s := range c.snapshots {
		roots = append(roots, *s.Tree)
	}
	seen := make(map[restic.ID]bool)
	done := 0
	return c.r.walkTrees(ctx, roots,
		func(id restic.ID) bool {
			first := !seen[id]
			seen[id] = true
			return first
		},
		func(id restic.ID, t *restic.Tree, err error) error {
			h := restic.BlobHandle{ID: id, Type: restic.TreeBlob}
			switch {
			case err != nil && !isDamage(err):
				return err
			case errors.Is(err, ErrUnknownBlob):
				c.problem(Problem{Kind: ProblemMissingBlob, Blob: h, Text: err.Error()})
				c.lose(h)
			case err != nil:
				c.problemTree(h, err)
			default:
				c.checkTree(h, t)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			done++
			c.report.Trees = done
			if done%1000 == 0 {
				c.progress("trees", done, 0)
			}
			return nil
		})
}

// problemTree records a tree of which every copy is bad, naming the packs.
func (c *checker) problemTree(h restic.BlobHandle, err error) {
	c.lose(h)
	packs := packsOf(err)
	for _, id := range packs {
		// A pack that is gone was named when the packs were compared.
		if _, there := c.packs[id]; there {
			c.problem(Problem{Kind: ProblemTree, Pack: id, Blob: h, Text: "pack " + id.Short() + ": " + err.Error()})
		}
	}
	if len(packs) == 0 {
		c.problem(Problem{Kind: ProblemTree, Blob: h, Text: err.Error()})
	}
}

// packsOf returns the packs that errors of blobs in err's tree name.
func packsOf(err error) []restic.ID {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself
	case *BlobError:
		return []restic.ID{e.Pack}
	case interface{ Unwrap() error }:
		return packsOf(e.Unwrap())
	case interface{ Unwrap() []error }:
		var ids []restic.ID
		for _, each := range e.Unwrap() {
			ids = append(ids, packsOf(each)...)
		}
		return ids
	default:
		return nil
	}
}

func (c *checker) checkTree(h restic.BlobHandle, t *restic.Tree) {
	for _, n := range t.Nodes {
		var text string
		switch {
		case n.Name == "" || n.Name == "." || n.Name == ".." || slices.ContainsFunc([]byte(n.Name), func(b byte) bool { return b == '/' || b == 0 }):
			text = fmt.Sprintf("tree %s: %q is no name of a file", h.ID.Short(), n.Name)
		case n.Type == restic.TypeFile && n.Content == nil:
			text = fmt.Sprintf("tree %s: file %q has no list of content", h.ID.Short(), n.Name)
		case n.Type == restic.TypeDir && (n.Subtree == nil || n.Subtree.IsNull()):
			text = fmt.Sprintf("tree %s: directory %q has no tree", h.ID.Short(), n.Name)
		case n.Type != restic.TypeFile && len(n.Content) > 0:
			text = fmt.Sprintf("tree %s: %s %q has content", h.ID.Short(), n.Type, n.Name)
		}
		if text != "" {
			c.problem(Problem{Kind: ProblemTree, Blob: h, Text: text})
		}
		for _, id := range n.Content {
			b := restic.BlobHandle{ID: id, Type: restic.DataBlob}
			if c.r.idx.Has(b) {
				continue
			}
			c.mu.Lock()
			known := c.missing[b]
			c.missing[b] = true
			c.mu.Unlock()
			if !known {
				c.problem(Problem{Kind: ProblemMissingBlob, Blob: b, Text: fmt.Sprintf("%s of file %q is in no index", b, n.Name)})
			}
		}
	}
}
