package archiver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
)

// dir is a directory on its way into the repository. The walker that scans it
// fills nodes; whoever completes its last entry stores the tree.
type dir struct {
	parent *dir
	slot   int    // of this directory in the parent's nodes
	path   string // without a slash in front; "" is the root of everything
	rel    string // path below the root of the source
	source *source
	// excluded is set above the sources, and in excluded directories that lead
	// to another source: only what the plan names is taken.
	excluded bool
	plan     *plan // what is planned below, or nil
	st       fsmeta.Stat
	// virtual is set for a directory that exists in the snapshot only, to hold
	// streams.
	virtual bool
	node    *restic.Node // without Subtree
	old     *restic.Node // the same directory in the parent snapshot, or nil

	// oldTree is the entries of old. oldIntact says that the repository has the
	// content of all of them.
	oldTree   compact.Tree
	oldIntact bool

	names   []string       // by slot
	nodes   []*restic.Node // by slot; nil is left out, unchanged is as in oldTree
	pending atomic.Int64   // entries that are not complete, and the scan itself
	// differs is set once an entry is not the very node of the parent snapshot.
	differs atomic.Bool

	handle     *fsmeta.Dir
	handleRefs atomic.Int64 // files that are still to be opened, and the scan
}

// display is the path as people write it.
func (d *dir) display(name string) string {
	if d.path == "" {
		return "/" + name
	}
	return "/" + d.path + "/" + name
}

// leavesOut reports whether the source's patterns select an entry.
func (d *dir) leavesOut(name string, isDir bool) bool {
	if d.source.patterns.Empty() {
		return false
	}
	if d.rel != "" {
		name = d.rel + "/" + name
	}
	return d.source.patterns.Match(name, isDir)
}

// openHandle opens the directory for its scan.
func (r *run) openHandle(d *dir) error {
	open := r.fsRoot.Sub
	if d.excluded {
		open = r.fsRoot.Way
	}
	h, err := open(d.path)
	if err != nil {
		return err
	}
	r.handles.Lock()
	r.handles.open[h] = struct{}{}
	r.handles.Unlock()
	d.handle = h
	d.handleRefs.Store(1)
	return nil
}

// dropHandle closes the directory once nobody needs it.
func (r *run) dropHandle(d *dir) {
	if d.handle == nil || d.handleRefs.Add(-1) > 0 {
		return
	}
	r.handles.Lock()
	delete(r.handles.open, d.handle)
	r.handles.Unlock()
	_ = d.handle.Close() // read only
}

// unchanged stands for the node that the parent snapshot has for an entry.
// Most nodes of most backups are never made.
var unchanged = new(restic.Node)

// settle completes an entry: node is what the snapshot will have, or nil for
// nothing; reused says that it is the node of the parent snapshot.
func (r *run) settle(ctx context.Context, d *dir, slot int, node *restic.Node, reused bool) error {
	d.nodes[slot] = node
	if !reused {
		d.differs.Store(true)
	}
	return r.complete(ctx, d)
}

// complete counts one entry, or the scan, as complete, and stores the
// directory after the last one, and its parent if it was the last there.
func (r *run) complete(ctx context.Context, d *dir) error {
	for d.pending.Add(-1) == 0 {
		tree, err := r.saveTree(ctx, d)
		if err != nil {
			return err
		}
		if d.parent == nil {
			r.finished(tree)
			return nil
		}
		node, reused := d.node, false
		switch {
		case d.old == nil || d.old.Type != restic.TypeDir || d.old.Subtree == nil:
			r.stats.dir(dirNew)
		case *d.old.Subtree == tree && sameMeta(node, d.old):
			node, reused = d.old, true
			r.stats.dir(dirUnmodified)
		default:
			r.stats.dir(dirChanged)
		}
		if !reused {
			node.Subtree = &tree
			d.parent.differs.Store(true)
		}
		d.parent.nodes[d.slot] = node
		d = d.parent
	}
	return nil
}

// encoder keeps the memory of encoded trees.
type encoder struct {
	doc  restic.TreeBuilder
	kept compact.Builder
}

var encoders = sync.Pool{New: func() any { return new(encoder) }}

// keepTree is up to which size the memory of a tree is kept for the next one.
const keepTree = 1 << 20

// wideDir is from how many entries on the memory for a directory's document is
// taken at once.
const wideDir = 10_000

// add appends a node.
func (e *encoder) add(n *restic.Node) error {
	e.kept.Add(n)
	return e.doc.Add(n)
}

// saveTree stores the document of a directory whose entries are complete, or
// takes over the parent snapshot's when nothing in it changed.
func (r *run) saveTree(ctx context.Context, d *dir) (restic.ID, error) {
	if !d.differs.Load() && d.old != nil && d.old.Subtree != nil &&
		r.repo.Has(restic.BlobHandle{ID: *d.old.Subtree, Type: restic.TreeBlob}) {
		d.names, d.nodes = nil, nil
		return *d.old.Subtree, nil
	}
	e := encoders.Get().(*encoder) //nolint:forcetypeassert // nothing else is put there
	e.doc.Reset()
	if err := e.addAll(d); err != nil {
		return restic.ID{}, fmt.Errorf("encode directory %q: %w", d.display(""), err)
	}
	doc := e.doc.Finish()
	id, known, stored, err := r.repo.SaveBlob(ctx, restic.TreeBlob, doc)
	if err != nil {
		return restic.ID{}, fmt.Errorf("save directory %q: %w", d.display(""), err)
	}
	if !known {
		r.stats.added(restic.TreeBlob, len(doc), stored)
	}
	if kept, ok := e.kept.Finish(); ok {
		r.repo.KeepTree(id, kept)
	}
	if len(doc) <= keepTree {
		encoders.Put(e)
	}
	return id, nil
}

// addAll appends the nodes of a directory, and lets go of them on the way:
// for a large directory the document is enough.
func (e *encoder) addAll(d *dir) error {
	old, sized := d.oldTree.Reader(), false
	for i, n := range d.nodes {
		if n == nil {
			continue
		}
		if n == unchanged {
			for old.Next() && old.Name() != d.names[i] {
				continue // it went away or is another now
			}
			n = old.Node()
			if old.Err() != nil || n.Name != d.names[i] {
				return errors.Join(errors.New("an unchanged entry is not in the parent any more"), old.Err())
			}
		}
		if !sized && len(d.nodes) > wideDir {
			sized = true
			// Measured from one of its nodes; all will be about as long.
			if one, err := n.AppendJSON(nil); err == nil {
				e.doc.Grow((len(one) + 16) * (len(d.nodes) - i))
			}
		}
		if err := e.add(n); err != nil {
			return err
		}
		d.nodes[i] = nil
	}
	d.names, d.nodes = nil, nil
	return nil
}
