package restorer

import (
	"sync"
	"sync/atomic"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

const (
	// progressFiles and progressBytes are how much work lies between two calls
	// of Progress.
	progressFiles = 256
	progressBytes = 8 << 20
)

// stats counts. All methods are safe for concurrent use.
type stats struct {
	files, dirs, others    atomic.Uint64
	size, kept             atomic.Uint64
	written, fetched       atomic.Uint64
	checked                atomic.Uint64
	totalFiles, totalBytes uint64

	mu       sync.Mutex
	failures problems
	warnings problems
	lost     map[string]struct{} // paths of all failures

	call                 func(Progress)
	calling              sync.Mutex
	lastFiles, lastBytes atomic.Uint64
}

// problems is a list that stops growing but goes on counting.
type problems struct {
	list  []Problem
	count uint64
}

func (p *problems) add(path string, err error) {
	p.count++
	if len(p.list) < MaxProblems {
		p.list = append(p.list, Problem{Path: path, Err: err})
	}
}

func (s *stats) init(opts *Options, sn *restic.Snapshot) {
	s.call = opts.Progress
	s.lost = map[string]struct{}{}
	if sn.Summary != nil && len(opts.Include)+len(opts.Exclude) == 0 {
		s.totalFiles, s.totalBytes = uint64(sn.Summary.TotalFilesProcessed), sn.Summary.TotalBytesProcessed
	}
}

func (s *stats) failed(path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures.add(path, err)
	s.lost[path] = struct{}{}
}

func (s *stats) hasFailed(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.lost[path]
	return ok
}

func (s *stats) warn(path string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings.add(path, err)
}

// wrote counts a piece of a file.
func (s *stats) wrote(n int, f *file) {
	s.written.Add(uint64(n)) //nolint:gosec // not negative
	s.progress(f.path)
}

// file counts a complete file.
func (s *stats) file(f *file) {
	s.files.Add(1)
	s.size.Add(uint64(f.size)) //nolint:gosec // not negative
	s.progress(f.path)
}

// progress calls Progress if enough happened since the last time and nobody
// else is at it.
func (s *stats) progress(path string) {
	if s.call == nil {
		return
	}
	files, bytes := s.files.Load(), s.written.Load()
	if files-s.lastFiles.Load() < progressFiles && bytes-s.lastBytes.Load() < progressBytes {
		return
	}
	if !s.calling.TryLock() {
		return
	}
	defer s.calling.Unlock()
	s.lastFiles.Store(files)
	s.lastBytes.Store(bytes)
	s.tell("/" + path)
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
	s.mu.Lock()
	failed := s.failures.count
	s.mu.Unlock()
	s.call(Progress{
		Files: s.files.Load(), Bytes: s.written.Load() + s.kept.Load(),
		TotalFiles: s.totalFiles, TotalBytes: s.totalBytes, Failed: failed, Current: current,
	})
}

func (s *stats) report() *Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Report{
		Files: s.files.Load(), Dirs: s.dirs.Load(), Others: s.others.Load(), Bytes: s.size.Load(),
		Kept: s.kept.Load(), Fetched: s.fetched.Load(), Checked: s.checked.Load(),
		Failed: s.failures.list, FailedCount: s.failures.count,
		Warnings: s.warnings.list, WarningCount: s.warnings.count,
	}
}
