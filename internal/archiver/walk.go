package archiver

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
)

// walk scans directories until the run is done.
func (r *run) walk(ctx context.Context) error {
	for {
		d := r.stack.pop(func() bool {
			select {
			case <-r.done:
				return true
			default:
				return ctx.Err() != nil
			}
		})
		if d == nil {
			return ctx.Err()
		}
		if err := r.scan(ctx, d); err != nil {
			return err
		}
	}
}

// scan reads one directory and sends its entries on their ways.
func (r *run) scan(ctx context.Context, d *dir) error {
	d.pending.Store(1)
	if !d.virtual {
		if err := r.openHandle(d); err != nil {
			return r.dirFailed(ctx, d, err)
		}
	}
	names, err := r.names(d)
	if err != nil {
		r.dropHandle(d)
		return r.dirFailed(ctx, d, err)
	}
	r.dirAttributes(d)
	if err := r.oldTree(ctx, d); err != nil {
		return err
	}

	s := scan{run: r, ctx: ctx, dir: d}
	d.names, d.nodes = names, make([]*restic.Node, len(names))
	d.pending.Add(int64(len(names)))
	old := d.oldTree.Reader()
	more := old.Next()
	for slot, name := range names {
		if slot%64 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		for more && old.Name() < name {
			more = old.Next()
			d.differs.Store(true) // an entry went away
		}
		if !more || old.Name() != name {
			if err := s.entry(slot, name, nil); err != nil {
				return err
			}
			continue
		}
		if err := s.entry(slot, name, &old); err != nil {
			return err
		}
		more = old.Next()
	}
	if more || d.old == nil || old.Err() != nil {
		d.differs.Store(true)
	}
	if err := s.flush(); err != nil {
		return err
	}
	r.stack.push(s.subdirs...)
	r.dropHandle(d)
	return r.complete(ctx, d)
}

// dirFailed completes a directory that cannot be read.
func (r *run) dirFailed(ctx context.Context, d *dir, err error) error {
	if d.parent == nil {
		return err
	}
	if src := d.plan.firstSource(); src != nil {
		if fsmeta.IsGone(err) {
			return &SourceError{Root: src.root, Err: ErrSourceMissing}
		}
		if r.deadSources.Add(1) == int64(len(r.sources)) && len(r.req.Streams) == 0 {
			return &SourceError{Root: src.root, Err: err} // nothing could be read
		}
	}
	r.unreadable(d.display(""), err)
	return r.settle(ctx, d.parent, d.slot, nil, false)
}

// unreadable reports an entry that is left out.
func (r *run) unreadable(path string, err error) {
	if fsmeta.IsGone(err) {
		r.stats.vanished()
		return
	}
	r.stats.unreadable(path, err)
}

// names returns the entries of interest, sorted: those on disk, unless only
// the plan counts here, and those that the plan adds.
func (r *run) names(d *dir) ([]string, error) {
	var names []string
	if !d.excluded {
		var err error
		if names, err = d.handle.Names(); err != nil {
			return nil, err
		}
	}
	if d.plan == nil || len(d.plan.children) == 0 {
		return names, nil
	}
	for name := range d.plan.children {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// dirAttributes completes the directory's own node.
func (r *run) dirAttributes(d *dir) {
	if d.virtual || d.parent == nil {
		return
	}
	if d.old != nil && r.sameAttributes(d.node, d.old) {
		d.node.ExtendedAttributes = d.old.ExtendedAttributes
		return
	}
	attrs, err := d.handle.EntryXattrs(".")
	if err != nil {
		r.stats.unreadable(d.display(""), err)
	}
	setXattrs(d.node, attrs)
}

// oldTree gets the entries of the directory in the parent snapshot. A parent
// that cannot be read costs time, not the backup: everything is read.
func (r *run) oldTree(ctx context.Context, d *dir) error {
	if d.old == nil || d.old.Subtree == nil {
		d.old = nil
		return nil
	}
	tree, intact, err := r.repo.ParentTree(ctx, *d.old.Subtree)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		d.old = nil
		return nil //nolint:nilerr // explained above
	}
	d.oldTree, d.oldIntact = tree, intact
	return nil
}

// scan is the state while one directory is scanned.
type scan struct {
	run     *run
	ctx     context.Context //nolint:containedctx // lives as long as one call
	dir     *dir
	batch   batch
	subdirs []*dir
	node    restic.Node // of the entry at hand, until it turns out to be needed
}

// entry sends one entry on its way; before stands at the same entry in the
// parent snapshot, or is nil.
func (s *scan) entry(slot int, name string, before *compact.Reader) error {
	r, d := s.run, s.dir
	want := d.plan.child(name)
	if want != nil && want.stream != nil {
		return s.stream(slot, name, want.stream)
	}
	if d.virtual {
		return s.subdir(slot, name, before, want, fsmeta.Stat{})
	}
	st, err := d.handle.Lstat(name)
	if err != nil {
		switch {
		case want != nil && errors.Is(err, fs.ErrNotExist) && want.onlyStreams():
			return s.subdir(slot, name, before, want, fsmeta.Stat{})
		case want.firstSource() != nil && fsmeta.IsGone(err):
			return &SourceError{Root: want.firstSource().root, Err: ErrSourceMissing}
		}
		r.unreadable(d.display(name), err)
		return r.settle(s.ctx, d, slot, nil, false)
	}
	// An entry that was left out before and is left out now is no difference.
	skip := func() error { return r.settle(s.ctx, d, slot, nil, before == nil) }

	if want == nil && (d.excluded || d.leavesOut(name, st.Mode.IsDir())) {
		return skip()
	}
	switch typeOf(st.Mode) {
	case restic.TypeDir:
		return s.subdir(slot, name, before, want, st)
	case restic.TypeFile:
		return s.file(slot, name, before, st)
	case "":
		return skip()
	default:
		return s.special(slot, name, before, st)
	}
}

// subdir queues a directory; without st it exists in the snapshot only.
func (s *scan) subdir(slot int, name string, before *compact.Reader, want *plan, st fsmeta.Stat) error {
	r, d := s.run, s.dir
	sub := &dir{
		parent: d, slot: slot, path: path.Join(d.path, name), plan: want,
		source: d.source, rel: path.Join(d.rel, name), excluded: d.excluded, st: st,
		virtual: st.Mode == 0,
	}
	switch {
	case want != nil && want.source != nil:
		sub.source, sub.rel, sub.excluded = want.source, "", false
	case !d.excluded && d.source.patterns.Match(sub.rel, true):
		sub.excluded = true // only the way to another source
	}
	if before != nil && before.Stat().Type == restic.TypeDir {
		sub.old = before.Node()
	}
	if sub.virtual {
		sub.excluded = true
		sub.node = r.virtualNode(name, fs.ModeDir|0o700)
	} else {
		sub.node = r.newNode(name, st)
	}
	s.subdirs = append(s.subdirs, sub)
	return nil
}

// virtualNode is a node for what exists in the snapshot only.
func (r *run) virtualNode(name string, mode fs.FileMode) *restic.Node {
	n := r.newNode(name, fsmeta.Stat{
		Mode: mode, UID: r.uid, GID: r.gid, Mtime: r.req.Time.UTC(), Ctime: r.req.Time.UTC(), Nlink: 1,
	})
	return n
}

// file takes a file over unread, or queues it to be read.
func (s *scan) file(slot int, name string, before *compact.Reader, st fsmeta.Stat) error {
	r, d := s.run, s.dir
	r.describe(&s.node, name, st)
	if r.sameContent(&s.node, before, d.oldIntact) {
		r.stats.file(fileUnmodified, s.node.Size, false, d, name)
		if sameMeta(&s.node, before.Stat()) {
			return r.settle(s.ctx, d, slot, unchanged, true)
		}
		node, old := s.node, before.Node()
		node.Content, node.ExtendedAttributes = old.Content, old.ExtendedAttributes
		return r.settle(s.ctx, d, slot, &node, false)
	}
	d.handleRefs.Add(1)
	job := fileJob{slot: slot, name: name}
	if before != nil {
		job.before = before.Node()
	}
	if st.Size > maxSmall {
		select {
		case r.large <- &largeFile{dir: d, fileJob: job}:
			return nil
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
	s.batch.files = append(s.batch.files, job)
	s.batch.bytes += st.Size
	if len(s.batch.files) >= batchFiles || s.batch.bytes >= batchBytes {
		return s.flush()
	}
	return nil
}

// flush sends the batch of small files to the workers.
func (s *scan) flush() error {
	if len(s.batch.files) == 0 {
		return nil
	}
	s.batch.dir = s.dir
	select {
	case s.run.small <- s.batch:
		s.batch = batch{}
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// stream queues a stream.
func (s *scan) stream(slot int, name string, stream *Stream) error {
	select {
	case s.run.large <- &largeFile{dir: s.dir, fileJob: fileJob{slot: slot, name: name}, stream: stream}:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// special records a link, a device or a pipe.
func (s *scan) special(slot int, name string, before *compact.Reader, st fsmeta.Stat) error {
	r, d := s.run, s.dir
	r.describe(&s.node, name, st)
	var old *restic.Node
	if before != nil {
		if r.sameAttributes(&s.node, before.Stat()) && sameMeta(&s.node, before.Stat()) {
			return r.settle(s.ctx, d, slot, unchanged, true)
		}
		old = before.Node()
	}
	fresh := s.node
	node := &fresh
	if old != nil && r.sameAttributes(node, old) {
		node.LinkTarget, node.ExtendedAttributes = old.LinkTarget, old.ExtendedAttributes
		return r.settle(s.ctx, d, slot, node, false)
	}
	if node.Type == restic.TypeSymlink {
		target, err := d.handle.Readlink(name)
		if err != nil {
			r.unreadable(d.display(name), err)
			return r.settle(s.ctx, d, slot, nil, false)
		}
		node.LinkTarget = target
	}
	attrs, err := d.handle.EntryXattrs(name)
	if err != nil && !fsmeta.IsGone(err) {
		r.stats.unreadable(d.display(name), err)
	}
	setXattrs(node, attrs)
	return r.settleFresh(s.ctx, d, slot, node, old)
}

// settleFresh completes an entry that was read, which may have turned out as
// it was.
func (r *run) settleFresh(ctx context.Context, d *dir, slot int, node, before *restic.Node) error {
	if before != nil && sameMeta(node, before) && node.Equal(before) {
		return r.settle(ctx, d, slot, before, true)
	}
	return r.settle(ctx, d, slot, node, false)
}
