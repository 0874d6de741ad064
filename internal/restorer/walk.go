package restorer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/trees"
)

// walker makes everything but the content of files. Only one goroutine uses
// it.
type walker struct {
	run     *run
	batches chan<- *batch
	batch   *batch

	// above is the directories that lead to the entry at hand. Those that are
	// only on the way to a selected entry are made when one is found.
	above []*restoredDir
	// dirs is the directories that were made, parents before children.
	dirs []*restoredDir
	// first is where an inode with several names was restored; links are the
	// further names.
	first map[inode]string
	links []link

	parent     *fsmeta.Dir // the directory that was written to last
	parentPath string
}

type restoredDir struct {
	path string
	node *restic.Node
	made bool
}

type inode struct{ device, number uint64 }

// link is a further name of a file.
type link struct{ path, first string }

// visit is called for each node of the snapshot.
func (w *walker) visit(ctx context.Context, p string, node *restic.Node, err error) error {
	r := w.run
	if err != nil {
		name := p
		if node != nil && node.Name != path.Base(p) {
			name = p + ": " + node.Name // a refused name, for the report only
		}
		if node != nil && !w.selected(name, false) && !r.include.Empty() {
			return nil
		}
		r.stats.failed(name, err)
		return nil
	}
	isDir := node.Type == restic.TypeDir
	if r.exclude.Match(p, isDir) {
		return trees.ErrSkipDir
	}
	w.leave(p)
	if !w.selected(p, isDir) {
		if !isDir || !r.include.MayContain(p) {
			return trees.ErrSkipDir
		}
		w.above = append(w.above, &restoredDir{path: p, node: stripped(node)})
		return nil
	}
	if err := w.makeAbove(); err != nil {
		return w.problem(p, err)
	}
	switch node.Type {
	case restic.TypeDir:
		d := &restoredDir{path: p, node: stripped(node)}
		if err := w.makeDir(d); err != nil {
			return w.problem(p, err)
		}
		w.above = append(w.above, d)
		return nil
	case restic.TypeFile:
		return w.file(ctx, p, node)
	case restic.TypeSymlink, restic.TypeDevice, restic.TypeCharDev, restic.TypeFifo:
		return w.special(p, node)
	default:
		r.stats.warn(p, fmt.Errorf("skip an entry of type %q", node.Type))
		return nil
	}
}

// stripped returns the part of a directory's node that is needed at the end.
func stripped(n *restic.Node) *restic.Node {
	return &restic.Node{
		Name: n.Name, Type: n.Type, Mode: n.Mode, ModTime: n.ModTime, AccessTime: n.AccessTime,
		UID: n.UID, GID: n.GID, ExtendedAttributes: n.ExtendedAttributes,
	}
}

// selected reports whether the entry is to be restored. The directories above
// it were asked before.
func (w *walker) selected(p string, isDir bool) bool {
	return w.run.include.Empty() || w.run.include.MatchBelow(p, isDir)
}

// problem reports an entry that could not be made and goes on, unless there is
// no room left.
func (w *walker) problem(p string, err error) error {
	if fsmeta.IsFull(err) {
		return err
	}
	w.run.stats.failed(p, err)
	return trees.ErrSkipDir
}

// leave forgets the directories that do not lead to p.
func (w *walker) leave(p string) {
	for n := len(w.above); n > 0; n-- {
		if dir := w.above[n-1].path; len(p) > len(dir) && p[len(dir)] == '/' && strings.HasPrefix(p, dir) {
			break
		}
		w.above = w.above[:n-1]
	}
}

// makeAbove makes the directories on the way that are not made yet.
func (w *walker) makeAbove() error {
	for _, d := range w.above {
		if d.made {
			continue
		}
		if err := w.makeDir(d); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) makeDir(d *restoredDir) error {
	d.made = true
	w.dirs = append(w.dirs, d)
	w.run.stats.dirs.Add(1)
	if w.run.opts.DryRun {
		return nil
	}
	parent, name, err := w.in(d.path)
	if err != nil {
		return err
	}
	err = parent.Mkdir(name)
	if !errors.Is(err, fs.ErrExist) || !w.run.opts.Overwrite {
		return err
	}
	st, err := parent.Lstat(name)
	if err != nil || st.Mode.IsDir() {
		return err
	}
	// A link in the place of a directory would lead elsewhere.
	if err := parent.Remove(name, false); err != nil {
		return err
	}
	return parent.Mkdir(name)
}

// in returns the open directory that holds p, and p's name there.
func (w *walker) in(p string) (*fsmeta.Dir, string, error) {
	dir, name := path.Split(p)
	dir = strings.TrimSuffix(dir, "/")
	if w.parent != nil && w.parentPath == dir {
		return w.parent, name, nil
	}
	w.close()
	d, err := w.run.target.Sub(dir)
	if err != nil {
		return nil, "", err
	}
	w.parent, w.parentPath = d, dir
	return d, name, nil
}

// close gives back the directory that was written to last.
func (w *walker) close() {
	if w.parent != nil {
		_ = w.parent.Close() // nothing was written through it
		w.parent = nil
	}
}

// file puts a regular file into the batch, or remembers it as a further name
// of one that is in it already.
func (w *walker) file(ctx context.Context, p string, node *restic.Node) error {
	if node.Links > 1 {
		key := inode{node.DeviceID, node.Inode}
		if first, ok := w.first[key]; ok {
			w.links = append(w.links, link{path: p, first: first})
			w.run.stats.others.Add(1)
			return nil
		}
		w.first[key] = p
	}
	if err := w.run.addFile(w.batch, p, node); err != nil {
		w.run.stats.failed(p, err)
		return nil
	}
	if w.batch.weight >= batchWeight {
		return w.send(ctx)
	}
	return nil
}

// send hands the batch over to be restored and starts a new one.
func (w *walker) send(ctx context.Context) error {
	select {
	case w.batches <- w.batch:
		w.batch = newBatch()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// special makes a link, a device or a pipe.
func (w *walker) special(p string, node *restic.Node) error {
	w.run.stats.others.Add(1)
	if w.run.opts.DryRun {
		return nil
	}
	parent, name, err := w.in(p)
	if err != nil {
		return w.problem(p, err)
	}
	if w.run.opts.Overwrite {
		if err := removeEntry(parent, name); err != nil {
			return w.problem(p, err)
		}
	}
	if node.Type == restic.TypeSymlink {
		err = parent.Symlink(node.LinkTarget, name)
	} else {
		err = parent.Mknod(name, node.Mode, node.Device)
	}
	if isPermission(err) && node.Type != restic.TypeSymlink {
		w.run.stats.warn(p, fmt.Errorf("only root can make devices: %w", err))
		return nil
	}
	if err != nil {
		return w.problem(p, err)
	}
	if err := parent.Apply(name, metadata(node)); err != nil {
		w.run.stats.warn(p, err)
	}
	return nil
}

// removeEntry removes what is in the way; nothing is no error.
func removeEntry(d *fsmeta.Dir, name string) error {
	st, err := d.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = d.Remove(name, st.Mode.IsDir())
	if fsmeta.IsNotEmpty(err) {
		return fmt.Errorf("a directory with entries is in the way: %w", err)
	}
	return err
}

// metadata returns what a node says about an entry.
func metadata(n *restic.Node) fsmeta.Metadata {
	m := fsmeta.Metadata{Mode: n.Mode, UID: n.UID, GID: n.GID, Mtime: n.ModTime, Atime: n.AccessTime}
	if m.Atime.IsZero() {
		m.Atime = m.Mtime
	}
	for _, a := range n.ExtendedAttributes {
		m.Xattrs = append(m.Xattrs, fsmeta.Xattr{Name: a.Name, Value: a.Value})
	}
	return m
}

// link makes the further names of files.
func (w *walker) link() {
	for _, l := range w.links {
		if err := w.linkOne(l); err != nil {
			w.run.stats.failed(l.path, err)
		}
	}
}

func (w *walker) linkOne(l link) error {
	if w.run.stats.hasFailed(l.first) {
		return fmt.Errorf("its other name /%s could not be restored", l.first)
	}
	dir, name := path.Split(l.first)
	from, err := w.run.target.Sub(strings.TrimSuffix(dir, "/"))
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // nothing was written through it
	parent, newName, err := w.in(l.path)
	if err != nil {
		return err
	}
	if w.run.opts.Overwrite {
		if err := removeEntry(parent, newName); err != nil {
			return err
		}
	}
	return parent.Link(from, name, newName)
}

// finishDirs gives the directories their metadata, children before parents:
// what is made in a directory changes its times, and may need its rights.
func (w *walker) finishDirs() {
	for i := len(w.dirs) - 1; i >= 0; i-- {
		d := w.dirs[i]
		parent, name, err := w.in(d.path)
		if err == nil {
			err = parent.Apply(name, metadata(d.node))
		}
		if err != nil {
			w.run.stats.warn(d.path, err)
		}
	}
}
