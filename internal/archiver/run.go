package archiver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver/chunker"
	"github.com/envbackup/terraform-provider-envbackup/internal/bufpool"
	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	walkers = 2 // goroutines that scan directories
	readers = 2 // goroutines that read large files
	// batchFiles and batchBytes bound a batch of small files.
	batchFiles = 32
	batchBytes = 1 << 20
	// racyMargin is how coarse a file system's clock may be: content is taken
	// over unread only from a file that was last changed longer than this
	// before the parent backup began.
	racyMargin = 20 * time.Millisecond
)

// run is one backup.
type run struct {
	repo     Repository
	req      *Request
	table    *chunker.Table
	owners   fsmeta.Owners
	fsRoot   *fsmeta.Dir
	plan     *plan
	sources  []*source
	paths    []string
	excludes []string
	uid, gid uint32
	// settledBefore is the instant before which a file's last change is
	// surely seen by the parent snapshot.
	settledBefore time.Time

	stack   *stack
	small   chan batch
	large   chan *largeFile
	chunks  chan chunk
	buffers *bufpool.Pool
	stats   *stats

	deadSources atomic.Int64 // sources whose root could not be read

	// done is closed once the tree of the root is stored in root.
	done chan struct{}
	root restic.ID

	handles struct { // open directories, to be closed if the run is given up
		sync.Mutex
		open map[*fsmeta.Dir]struct{}
	}
}

func newRun(repo Repository, req *Request, started time.Time) (*run, error) {
	sources, excludes, err := checkSources(req.Sources)
	if err != nil {
		return nil, err
	}
	if len(sources)+len(req.Streams) == 0 {
		return nil, errors.New("back up: no sources")
	}
	workers := req.Workers
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	r := &run{
		repo:     repo,
		req:      req,
		table:    chunker.NewTable(repo.ChunkerKey()),
		plan:     &plan{},
		sources:  sources,
		excludes: excludes,
		uid:      uint32(max(os.Getuid(), 0)), //nolint:gosec // small, and -1 only elsewhere
		gid:      uint32(max(os.Getgid(), 0)), //nolint:gosec // as above
		stack:    newStack(),
		small:    make(chan batch, 2*workers),
		large:    make(chan *largeFile, readers),
		chunks:   make(chan chunk, 1),
		stats:    newStats(req),
		done:     make(chan struct{}),
	}
	r.handles.open = map[*fsmeta.Dir]struct{}{}
	if r.fsRoot, err = fsmeta.OpenDir("/"); err != nil {
		return nil, fmt.Errorf("back up: %w", err)
	}
	defer func() {
		if err != nil {
			_ = r.fsRoot.Close() // the error at hand says more
		}
	}()
	for _, s := range sources {
		if err = r.place(s); err != nil {
			return nil, err
		}
		r.paths = append(r.paths, s.root)
	}
	for i := range req.Streams {
		s := &req.Streams[i]
		clean, serr := splitAbs(s.Path)
		if serr == nil && clean == "" {
			serr = errors.New("is a directory")
		}
		if serr != nil {
			err = &StreamError{Path: s.Path, Err: serr}
			return nil, err
		}
		r.plan.at(clean).stream = s
		r.paths = append(r.paths, "/"+clean)
	}
	slices.Sort(r.paths)
	r.paths = slices.Compact(r.paths)

	if req.Parent != nil {
		r.settledBefore = req.Parent.Time
		if req.Parent.Summary != nil && !req.Parent.Summary.BackupStart.IsZero() {
			r.settledBefore = req.Parent.Summary.BackupStart
		}
		r.settledBefore = r.settledBefore.Add(-racyMargin)
	}
	// One for each goroutine that fills or stores a chunk, and one between.
	r.buffers, err = bufpool.New(workers+readers+1, chunker.MaxSize)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// maxLinks bounds the symbolic links on the way to a source, as the kernel
// does.
const maxLinks = 40

// place puts a source into the plan, at its real path. Symbolic links on the
// way become entries of their own, so that the path that was asked for works
// after a restore.
func (r *run) place(s *source) error {
	rest, links := strings.TrimPrefix(s.root, "/"), 0
	done := ""
	for rest != "" {
		name, after, _ := strings.Cut(rest, "/")
		at := strings.TrimPrefix(path.Join(done, name), "/")
		st, err := r.fsRoot.Lstat(at)
		if errors.Is(err, fs.ErrNotExist) {
			return &SourceError{Root: s.root, Err: ErrSourceMissing}
		}
		if err != nil {
			return &SourceError{Root: s.root, Err: err}
		}
		if st.Mode&fs.ModeSymlink == 0 {
			done, rest = at, after
			continue
		}
		if links++; links > maxLinks {
			return &SourceError{Root: s.root, Err: errors.New("too many symbolic links")}
		}
		r.plan.at(at) // a plan without a purpose: the entry itself
		target, err := r.fsRoot.Readlink(at)
		if err != nil {
			return &SourceError{Root: s.root, Err: err}
		}
		if !path.IsAbs(target) {
			target = path.Join("/", done, target)
		}
		done, rest = "", strings.TrimPrefix(path.Join(target, after), "/")
	}
	p := r.plan.at(done)
	if p.source != nil {
		return &SourceError{Root: s.root, Err: fmt.Errorf("is the same place as source %q", p.source.root)}
	}
	p.source = s
	return nil
}

// do runs the pipeline and returns the tree of the root.
func (r *run) do(parent context.Context) (restic.ID, error) {
	defer r.release()
	g, ctx := errgroup.WithContext(parent)

	unwait := context.AfterFunc(ctx, r.stack.wake)
	defer unwait()
	if err := r.start(ctx); err != nil {
		return restic.ID{}, err
	}
	for range walkers {
		g.Go(func() error { return r.walk(ctx) })
	}
	for range readers {
		g.Go(func() error { return r.readLarge(ctx) })
	}
	for range cap(r.small) / 2 {
		g.Go(func() error { return r.work(ctx) })
	}
	stopEstimate := r.estimate(ctx)
	err := g.Wait()
	stopEstimate()
	r.stats.last()
	if err != nil {
		if parent.Err() != nil {
			err = context.Cause(parent)
		}
		return restic.ID{}, err
	}
	return r.root, nil
}

// start puts the root directory on the stack.
func (r *run) start(ctx context.Context) error {
	st, err := r.fsRoot.Stat()
	if err != nil {
		return err
	}
	root := &dir{plan: r.plan, excluded: true, node: &restic.Node{Type: restic.TypeDir}, st: st}
	if r.plan.source != nil {
		root.source, root.excluded = r.plan.source, false
	}
	if r.req.Parent != nil && r.req.Parent.Tree != nil {
		root.old = &restic.Node{Type: restic.TypeDir, Subtree: r.req.Parent.Tree}
	}
	r.stack.push(root)
	return ctx.Err()
}

// release gives back what a run holds, also one that was given up.
func (r *run) release() {
	for d := range r.handles.open {
		_ = d.Close() // read only
	}
	_ = r.fsRoot.Close() // read only
	r.buffers.Free()
}

// finished is called once, with the tree of the root.
func (r *run) finished(root restic.ID) {
	r.root = root
	close(r.done)
	r.stack.wake()
}

// stack is the directories that wait to be scanned. The latest goes first, so
// that what is below a directory is done before what lies beside it and few
// directories are open at a time.
type stack struct {
	mu      sync.Mutex
	changed *sync.Cond
	dirs    []*dir
}

func newStack() *stack {
	s := &stack{}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stack) push(dirs ...*dir) {
	s.mu.Lock()
	s.dirs = append(s.dirs, dirs...)
	s.mu.Unlock()
	s.changed.Broadcast()
}

// pop waits for a directory. It returns nil once stopped says so; wake makes
// it ask.
func (s *stack) pop(stopped func() bool) *dir {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if stopped() {
			return nil
		}
		if n := len(s.dirs); n > 0 {
			d := s.dirs[n-1]
			s.dirs[n-1] = nil
			s.dirs = s.dirs[:n-1]
			return d
		}
		s.changed.Wait()
	}
}

func (s *stack) wake() {
	// The lock makes sure that nobody is between asking and waiting.
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed.Broadcast()
}
