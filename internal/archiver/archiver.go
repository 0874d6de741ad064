// Package archiver turns directory trees and streams into a snapshot of a
// restic repository. It decides what is read, what is taken over from an
// earlier snapshot unread, and how files are cut; how blobs are hashed,
// compressed, encrypted and stored is the repository's business, when to run
// and which snapshot to compare with is the caller's.
//
// A directory is scanned by one of two walkers, merged entry by entry with the
// same directory of the parent snapshot. Small files go in batches to workers
// that read and store them; large ones to readers that cut them into chunks
// for the same workers. Whoever finishes the last entry of a directory stores
// its tree. All queues and buffers are of fixed size, so a slow repository
// slows the walkers down.
//
// Promises: memory does not grow with the size of files, and with the size of
// one directory only; a file that could not be read is named in the report; a
// file that changes while it is read is read again by the next backup. No
// promise: the snapshot is not one instant of a live file system.
package archiver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver/chunker"
	"github.com/envbackup/terraform-provider-envbackup/internal/exclude"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
)

// Repository is the part of a repository that a backup takes. All methods are
// called concurrently.
type Repository interface {
	// ParentTree returns a directory of an earlier snapshot. intact says that
	// Has is true of every blob of its files.
	ParentTree(ctx context.Context, id restic.ID) (tree compact.Tree, intact bool, err error)
	// KeepTree tells what a directory that was saved holds, for the ParentTree
	// of the next backup.
	KeepTree(id restic.ID, tree compact.Tree)
	// SaveBlob stores a blob unless it is known, and does not keep plaintext.
	// stored is what it takes in its pack, 0 for a known one.
	SaveBlob(ctx context.Context, t restic.BlobType, plaintext []byte) (id restic.ID, known bool, stored int, err error)
	// Has reports whether a blob is stored.
	Has(h restic.BlobHandle) bool
	// Flush makes everything that was saved durable, Abort gives it up.
	Flush(ctx context.Context) error
	Abort()
	// SaveSnapshot stores the document that makes the backup exist.
	SaveSnapshot(ctx context.Context, s *restic.Snapshot) (restic.ID, error)
	// ChunkerKey is the same for the life of the repository.
	ChunkerKey() [32]byte
}

// Source is a directory (or a single file) to back up.
type Source struct {
	Root    string   // absolute; symbolic links on the way are followed
	Exclude []string // patterns as in package exclude, anchored at Root
}

// Stream is content that becomes a file of the snapshot without lying on disk.
type Stream struct {
	Path string // absolute; where the file appears in the snapshot
	// Open starts the stream. Read's error, Close's error and a stream without
	// a single byte fail the backup; Close is called once, also to interrupt.
	Open func(ctx context.Context) (io.ReadCloser, error)
}

// Request says what to back up.
type Request struct {
	Sources []Source
	Streams []Stream
	// Parent is an earlier snapshot to compare with, or nil to read everything.
	Parent         *restic.Snapshot
	Tags           restic.TagList
	Hostname       string
	Username       string
	ProgramVersion string
	Time           time.Time // what the snapshot stands for; zero means now

	// Progress, if not nil, is called by one goroutine at a time, now and
	// then; it must return quickly.
	Progress func(Progress)
	// Seal, if not nil, is called when everything is stored and before the
	// snapshot is: it may set tags, or refuse the snapshot with an error.
	Seal func(*restic.Snapshot, *Report) error
	// Workers is how many goroutines store files; 0 means one a processor.
	Workers int
}

// Progress is how far a backup is.
type Progress struct {
	Files, Bytes           uint64 // looked at, unchanged ones included
	TotalFiles, TotalBytes uint64 // expected; 0 while unknown
	Stored                 uint64 // bytes that the repository grew by
	Unreadable             uint64
	Current                string // a path that was just finished
}

// Problem is something that exists and could not be read.
type Problem struct {
	Path string
	Err  error
}

// Report says how a backup went, beside the summary in its snapshot.
type Report struct {
	// Unreadable names what is missing from the snapshot, or is there without
	// its attributes; at most MaxProblems entries of UnreadableCount.
	Unreadable      []Problem
	UnreadableCount uint64
	Vanished        uint64 // went away between being listed and being read
	ChangedInRead   uint64 // changed while they were read
	Summary         restic.SnapshotSummary
}

// MaxProblems bounds Report.Unreadable.
const MaxProblems = 1000

// Partial reports whether something that exists is missing in the snapshot.
func (r *Report) Partial() bool { return r.UnreadableCount > 0 }

// ErrSourceMissing says that the root of a source does not exist. It is always
// a *SourceError.
var ErrSourceMissing = errors.New("does not exist")

// SourceError is a failure of a whole source.
type SourceError struct {
	Root string
	Err  error
}

func (e *SourceError) Error() string { return fmt.Sprintf("source %q: %v", e.Root, e.Err) }

// Unwrap returns the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// StreamError is a failure of a stream, which leaves no snapshot.
type StreamError struct {
	Path string
	Err  error
}

func (e *StreamError) Error() string { return fmt.Sprintf("stream %q: %v", e.Path, e.Err) }

// Unwrap returns the cause.
func (e *StreamError) Unwrap() error { return e.Err }

// ErrStreamEmpty says that a stream ended without a byte.
var ErrStreamEmpty = errors.New("it ended without a single byte")

// Backup takes a backup and returns its snapshot, with ID and Summary set, and
// the report. The caller holds a lock on the repository and ends ctx when it
// loses it. After an error there is no snapshot; the report still says what
// was met until then.
func Backup(ctx context.Context, repo Repository, req Request) (*restic.Snapshot, *Report, error) {
	sn, report, err := backup(ctx, repo, req)
	if err != nil {
		repo.Abort()
		return nil, report, err
	}
	return sn, report, nil
}

func backup(ctx context.Context, repo Repository, req Request) (*restic.Snapshot, *Report, error) {
	started := time.Now().UTC()
	if req.Time.IsZero() {
		req.Time = started
	}
	r, err := newRun(repo, &req, started)
	if err != nil {
		return nil, &Report{}, err
	}
	tree, err := r.do(ctx)
	report := r.stats.report()
	if err != nil {
		return nil, report, err
	}
	if err := repo.Flush(ctx); err != nil {
		return nil, report, fmt.Errorf("flush repository: %w", err)
	}

	report.Summary.BackupStart, report.Summary.BackupEnd = started, time.Now().UTC()
	sn := &restic.Snapshot{
		Time:           req.Time.UTC(),
		Tree:           &tree,
		Paths:          r.paths,
		Hostname:       req.Hostname,
		Username:       req.Username,
		UID:            r.uid,
		GID:            r.gid,
		Excludes:       r.excludes,
		Tags:           append(restic.TagList(nil), req.Tags...),
		ProgramVersion: req.ProgramVersion,
		Summary:        &report.Summary,
	}
	if req.Parent != nil && !req.Parent.ID.IsNull() {
		sn.Parent = &req.Parent.ID
	}
	if req.Seal != nil {
		if err := req.Seal(sn, report); err != nil {
			return nil, report, err
		}
	}
	id, err := repo.SaveSnapshot(ctx, sn)
	if err != nil {
		return nil, report, fmt.Errorf("save snapshot: %w", err)
	}
	sn.ID = id
	return sn, report, nil
}

// source is a Source that was checked.
type source struct {
	root     string // as it was asked for
	patterns *exclude.Matcher
}

// plan is what is wanted at a path and below it. The plans form a tree from
// the root of the file system to the sources and streams.
type plan struct {
	children map[string]*plan
	source   *source // a source has its root here
	stream   *Stream
}

// at returns the plan for a path, making those on the way.
func (p *plan) at(clean string) *plan {
	if clean == "" {
		return p
	}
	for name := range strings.SplitSeq(clean, "/") {
		next := p.children[name]
		if next == nil {
			next = &plan{}
			if p.children == nil {
				p.children = map[string]*plan{}
			}
			p.children[name] = next
		}
		p = next
	}
	return p
}

// child returns the plan for an entry, or nil.
func (p *plan) child(name string) *plan {
	if p == nil {
		return nil
	}
	return p.children[name]
}

// onlyStreams reports whether streams and no source lie below: such a
// directory need not exist.
func (p *plan) onlyStreams() bool { return len(p.children) > 0 && p.firstSource() == nil }

// firstSource returns a source that has its root here or below, or nil.
func (p *plan) firstSource() *source {
	if p == nil {
		return nil
	}
	if p.source != nil {
		return p.source
	}
	for _, c := range p.children {
		if s := c.firstSource(); s != nil {
			return s
		}
	}
	return nil
}

// splitAbs checks an absolute path and returns it without slashes around it.
func splitAbs(p string) (string, error) {
	if !strings.HasPrefix(p, "/") {
		return "", errors.New("is not an absolute path")
	}
	if strings.IndexByte(p, 0) >= 0 {
		return "", errors.New("contains a NUL character")
	}
	return strings.TrimPrefix(path.Clean(p), "/"), nil
}

// checkSources compiles the patterns and returns one source for each root, in
// order. The same root twice is one source with the patterns of both.
func checkSources(in []Source) ([]*source, []string, error) {
	var (
		out      []*source
		excludes []string
		patterns = map[string][]string{}
		roots    []string
	)
	for _, s := range in {
		clean, err := splitAbs(s.Root)
		if err != nil {
			return nil, nil, &SourceError{Root: s.Root, Err: err}
		}
		if _, known := patterns[clean]; !known {
			roots = append(roots, clean)
		}
		patterns[clean] = append(patterns[clean], s.Exclude...)
		excludes = append(excludes, s.Exclude...)
	}
	for _, clean := range roots {
		m, err := exclude.Compile(patterns[clean])
		if err != nil {
			return nil, nil, &SourceError{Root: "/" + clean, Err: err}
		}
		out = append(out, &source{root: "/" + clean, patterns: m})
	}
	return out, excludes, nil
}

// maxSmall is the size up to which a file is one blob and is read in one go;
// larger ones are cut. It is also what restic's own chunker never cuts, so
// that files up to here are stored once for both programs.
const maxSmall = chunker.MinSize
