package archiver

import (
	"context"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// What became of a file or directory since the parent snapshot.
const (
	fileNew = iota
	fileChanged
	fileUnmodified
)
const (
	dirNew = iota
	dirChanged
	dirUnmodified
)

const (
	// progressFiles and progressBytes are how much work lies between two calls
	// of Progress: counted, because asking a clock per file costs more.
	progressFiles = 256
	progressBytes = 8 << 20
)

// stats counts. All methods are safe for concurrent use.
type stats struct {
	files, dirs [3]atomic.Uint64
	size        atomic.Uint64 // of complete files
	looked      atomic.Uint64 // bytes for the progress, chunks included
	gone        atomic.Uint64
	changed     atomic.Uint64
	bad         atomic.Uint64

	blobs      [2]atomic.Int64
	addedBytes atomic.Uint64
	storedSize atomic.Uint64

	mu       sync.Mutex
	problems []Problem

	call       func(Progress)
	calling    sync.Mutex // held while call runs
	lastFiles  atomic.Uint64
	lastBytes  atomic.Uint64
	totalFiles atomic.Uint64
	totalBytes atomic.Uint64
}

func newStats(req *Request) *stats {
	s := &stats{call: req.Progress}
	if req.Parent != nil && req.Parent.Summary != nil {
		s.totalFiles.Store(uint64(req.Parent.Summary.TotalFilesProcessed))
		s.totalBytes.Store(req.Parent.Summary.TotalBytesProcessed)
	}
	return s
}

// file counts a complete file; counted says that its bytes already are.
func (s *stats) file(state int, size uint64, counted bool, d *dir, name string) {
	s.files[state].Add(1)
	s.size.Add(size)
	if !counted {
		s.looked.Add(size)
	}
	s.progress(d, name)
}

// bytes counts a part of a large file.
func (s *stats) bytes(n int) { s.looked.Add(uint64(n)) } //nolint:gosec // not negative

func (s *stats) dir(state int) { s.dirs[state].Add(1) }

func (s *stats) vanished() { s.gone.Add(1) }

func (s *stats) changedInRead() { s.changed.Add(1) }

func (s *stats) unreadable(path string, err error) {
	s.bad.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.problems) < MaxProblems {
		s.problems = append(s.problems, Problem{Path: path, Err: err})
	}
}

// added counts a blob that the repository did not have.
func (s *stats) added(t restic.BlobType, size, stored int) {
	if t == restic.TreeBlob {
		s.blobs[1].Add(1)
	} else {
		s.blobs[0].Add(1)
	}
	s.addedBytes.Add(uint64(size))   //nolint:gosec // not negative
	s.storedSize.Add(uint64(stored)) //nolint:gosec // not negative
}

func (s *stats) countFiles() uint64 {
	return s.files[fileNew].Load() + s.files[fileChanged].Load() + s.files[fileUnmodified].Load()
}

// progress calls Progress if enough happened since the last time and nobody
// else is at it.
func (s *stats) progress(d *dir, name string) {
	if s.call == nil {
		return
	}
	files, bytes := s.countFiles(), s.looked.Load()
	if files-s.lastFiles.Load() < progressFiles && bytes-s.lastBytes.Load() < progressBytes {
		return
	}
	if !s.calling.TryLock() {
		return
	}
	defer s.calling.Unlock()
	s.lastFiles.Store(files)
	s.lastBytes.Store(bytes)
	s.tell(d.display(name))
}

// last calls Progress a last time, with everything counted.
func (s *stats) last() {
	if s.call == nil {
		return
	}
	s.calling.Lock()
	defer s.calling.Unlock()
	s.tell("")
}

func (s *stats) tell(current string) {
	s.call(Progress{
		Files: s.countFiles(), Bytes: s.looked.Load(),
		TotalFiles: s.totalFiles.Load(), TotalBytes: s.totalBytes.Load(),
		Stored: s.storedSize.Load(), Unreadable: s.bad.Load(), Current: current,
	})
}

func (s *stats) report() *Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Report{
		Unreadable:      s.problems,
		UnreadableCount: s.bad.Load(),
		Vanished:        s.gone.Load(),
		ChangedInRead:   s.changed.Load(),
		Summary: restic.SnapshotSummary{
			FilesNew:            uint(s.files[fileNew].Load()),
			FilesChanged:        uint(s.files[fileChanged].Load()),
			FilesUnmodified:     uint(s.files[fileUnmodified].Load()),
			DirsNew:             uint(s.dirs[dirNew].Load()),
			DirsChanged:         uint(s.dirs[dirChanged].Load()),
			DirsUnmodified:      uint(s.dirs[dirUnmodified].Load()),
			DataBlobs:           int(s.blobs[0].Load()),
			TreeBlobs:           int(s.blobs[1].Load()),
			DataAdded:           s.addedBytes.Load(),
			DataAddedPacked:     s.storedSize.Load(),
			TotalFilesProcessed: uint(s.countFiles()),
			TotalBytesProcessed: s.size.Load(),
		},
	}
}

// estimate counts what there is to do while the backup runs, unless the parent
// snapshot told or nobody asks. The function that it returns stops the count
// and waits for it.
func (r *run) estimate(ctx context.Context) (stop func()) {
	if r.req.Progress == nil || r.stats.totalFiles.Load() > 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	counted := make(chan struct{})
	go func() {
		defer close(counted)
		var files, bytes uint64
		if r.count(ctx, "", r.plan, nil, "", &files, &bytes) {
			r.stats.totalFiles.Store(files)
			r.stats.totalBytes.Store(bytes)
		}
	}()
	return func() {
		cancel()
		<-counted
	}
}

// count adds up the files below a directory; it is an estimate and looks away
// from errors. It returns false when it was stopped.
func (r *run) count(ctx context.Context, at string, p *plan, src *source, rel string, files, bytes *uint64) bool {
	d, err := r.fsRoot.Sub(at)
	if err != nil {
		return true
	}
	defer func() { _ = d.Close() }() // read only
	if p != nil && p.source != nil {
		src, rel = p.source, ""
	}
	var names []string
	if src != nil {
		names, _ = d.Names()
	} else if p != nil {
		for name := range p.children {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return false
		}
		st, err := d.Lstat(name)
		if err != nil {
			continue
		}
		below := path.Join(rel, name)
		want := p.child(name)
		if want == nil && src.patterns.Match(below, st.Mode.IsDir()) {
			continue
		}
		switch st.Mode & fs.ModeType {
		case 0:
			*files++
			*bytes += uint64(max(st.Size, 0)) //nolint:gosec // not negative
		case fs.ModeDir:
			if !r.count(ctx, path.Join(at, name), want, src, below, files, bytes) {
				return false
			}
		}
	}
	return true
}
