// Package restorer puts a snapshot, or a part of it, back on disk. It decides
// which blobs are fetched in which requests, what is written where, and when
// an entry gets its metadata. Which snapshot, and whether its place may be
// written to, is the caller's decision.
//
// The walker makes directories and special files and collects regular files
// into batches. For each batch the needed blobs are grouped by pack, ranges
// that lie close together become one request, and what arrives is verified
// and written by several workers. Files get their metadata after their last
// byte; hard links and directories come at the end, children before parents.
//
// Promises: nothing outside the target is touched, whatever names or links the
// repository or the target hold; a blob that does not match its hash is never
// written; what is already right on disk is not fetched again. No promise:
// nothing is synced to disk, and a restore that was interrupted leaves what it
// wrote, ready to be continued with Overwrite.
package restorer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/exclude"
	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/trees"
)

// Repository is the part of a repository that a restore takes. All methods are
// called concurrently.
type Repository interface {
	trees.Source
	// LookupBlob returns where a blob is stored, nothing for an unknown one.
	LookupBlob(h restic.BlobHandle) []restic.PackedBlob
	// LoadPackRange returns length bytes of a pack from offset, in buf if they
	// fit. For a lost pack the error is fs.ErrNotExist.
	LoadPackRange(ctx context.Context, pack restic.ID, offset, length int64, buf []byte) ([]byte, error)
	// DecodeBlob opens and verifies the sealed bytes of a blob and appends the
	// plaintext to dst.
	DecodeBlob(b restic.PackedBlob, h restic.BlobHandle, sealed, dst []byte) ([]byte, error)
	// LoadBlob returns the content of a blob, from any place that has it, in
	// buf if it fits.
	LoadBlob(ctx context.Context, h restic.BlobHandle, buf []byte) ([]byte, error)
}

// Options says what to restore and how.
type Options struct {
	// Target is the directory below which the snapshot's absolute paths
	// appear; it is made if it does not exist.
	Target string
	// Include selects what to restore, with everything below it; empty is all.
	// Exclude leaves out. Patterns are those of package exclude, anchored at
	// the root of the snapshot.
	Include, Exclude []string
	// Overwrite allows a target that is not empty. Files that differ are put
	// right; what the snapshot does not have is left alone.
	Overwrite bool
	// Sparse leaves holes where a file has blocks of zeros.
	Sparse bool
	// Verify reads every restored file again and compares it.
	Verify bool
	// DryRun only counts.
	DryRun bool
	// Progress, if not nil, is called by one goroutine at a time, now and
	// then; it must return quickly.
	Progress func(Progress)
	// Workers is how many goroutines decode and write; 0 means one a processor.
	Workers int
}

// Progress is how far a restore is.
type Progress struct {
	Files, Bytes           uint64 // complete files; written bytes
	TotalFiles, TotalBytes uint64 // of the snapshot; 0 while only a part is restored
	Failed                 uint64
	Current                string // a path that was just finished
}

// Problem is an entry and what went wrong with it.
type Problem struct {
	Path string // in the snapshot
	Err  error
}

// Report says what a restore did.
type Report struct {
	Files   uint64 // regular files that are now as in the snapshot
	Dirs    uint64
	Others  uint64 // links, devices, pipes and further names of a file
	Bytes   uint64 // size of the files
	Kept    uint64 // bytes that were right already
	Fetched uint64 // bytes read from packs
	Checked uint64 // files read back by Verify

	// Failed names what is missing or wrong; at most MaxProblems entries of
	// FailedCount.
	Failed      []Problem
	FailedCount uint64
	// Warnings names what is there without all of its metadata, likewise.
	Warnings     []Problem
	WarningCount uint64
}

// MaxProblems bounds the lists in Report.
const MaxProblems = 1000

// Errors of a restore.
var (
	// ErrTargetNotEmpty says that the target has entries and Overwrite is off.
	ErrTargetNotEmpty = errors.New("the target directory is not empty")
	// ErrNothingFound says that no entry of the snapshot was selected.
	ErrNothingFound = errors.New("nothing in the snapshot matches")
	// ErrIncomplete says that entries could not be restored: see Report.Failed.
	ErrIncomplete = errors.New("the restore is incomplete")
	// ErrDiskFull says that there was no room left.
	ErrDiskFull = errors.New("no space left at the target")
)

// Hint returns what an operator can do about an error of this package, or "".
func Hint(err error) string {
	switch {
	case errors.Is(err, ErrTargetNotEmpty):
		return "choose an empty directory, or allow overwriting (--overwrite) to put differing files right"
	case errors.Is(err, ErrNothingFound):
		return "patterns are matched against the paths in the snapshot, such as /srv/app/etc or *.conf"
	case errors.Is(err, ErrDiskFull):
		return "make room and run the same restore again with --overwrite: what is already there is not fetched again"
	case errors.Is(err, ErrIncomplete):
		return "run the same restore again with --overwrite: what is already there is not fetched again"
	default:
		return ""
	}
}

// Restore restores a snapshot. The report is never nil. With ErrIncomplete
// everything else was restored.
func Restore(ctx context.Context, repo Repository, sn *restic.Snapshot, opts Options) (*Report, error) {
	r := &run{repo: repo, opts: opts}
	r.stats.init(&opts, sn)
	var err error
	if r.include, err = exclude.Compile(opts.Include); err != nil {
		return r.stats.report(), fmt.Errorf("include: %w", err)
	}
	if r.exclude, err = exclude.Compile(opts.Exclude); err != nil {
		return r.stats.report(), fmt.Errorf("exclude: %w", err)
	}
	if sn.Tree == nil {
		return r.stats.report(), errors.New("restore: the snapshot names no tree")
	}
	if !opts.DryRun {
		if r.target, err = openTarget(opts.Target, opts.Overwrite); err != nil {
			return r.stats.report(), err
		}
		defer func() { _ = r.target.Close() }() // nothing was written through it
	}
	err = r.do(ctx, *sn.Tree)
	report := r.stats.report()
	switch {
	case err != nil && ctx.Err() != nil:
		return report, context.Cause(ctx)
	case fsmeta.IsFull(err):
		return report, fmt.Errorf("restore to %s: %w", opts.Target, ErrDiskFull)
	case err != nil:
		return report, err
	case report.FailedCount > 0:
		return report, incomplete(report)
	case report.Files+report.Dirs+report.Others == 0 && !r.include.Empty():
		return report, ErrNothingFound
	}
	return report, nil
}

// incomplete names the first failures in an ErrIncomplete.
func incomplete(r *Report) error {
	const show = 3
	var text strings.Builder
	for i, p := range r.Failed {
		if i == show {
			break
		}
		fmt.Fprintf(&text, "; /%s: %v", p.Path, p.Err)
	}
	return fmt.Errorf("%w: %d entries failed%s", ErrIncomplete, r.FailedCount, text.String())
}

// openTarget opens the target directory, making it if need be.
func openTarget(path string, overwrite bool) (*fsmeta.Dir, error) {
	if path == "" {
		return nil, errors.New("restore: no target directory")
	}
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, fmt.Errorf("make target: %w", err)
	}
	d, err := fsmeta.OpenDir(path)
	if err != nil {
		return nil, fmt.Errorf("open target: %w", err)
	}
	if overwrite {
		return d, nil
	}
	names, err := d.Names()
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("restore to %s: %w", path, ErrTargetNotEmpty)
	}
	if err != nil {
		_ = d.Close() // the error at hand says more
		return nil, err
	}
	return d, nil
}

// run is one restore.
type run struct {
	repo             Repository
	opts             Options
	include, exclude *exclude.Matcher
	target           *fsmeta.Dir
	stats            stats
	// proven is set when nothing is restored: everything is only read.
	proven *Proven
	// unreadablePacks counts failed requests in a row.
	unreadablePacks atomic.Int64
}

// do restores the tree.
func (r *run) do(ctx context.Context, tree restic.ID) error {
	batches := make(chan *batch)
	w := &walker{run: r, batches: batches, batch: newBatch(), first: map[inode]string{}}
	defer w.close()

	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		if err := trees.Walk(gctx, r.repo, tree, func(path string, node *restic.Node, err error) error {
			return w.visit(gctx, path, node, err)
		}); err != nil {
			return err
		}
		return w.send(gctx)
	})
	g.Go(func() error {
		for b := range batches {
			if err := r.restoreBatch(gctx, b); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if !r.opts.DryRun {
		w.link()
		w.finishDirs()
	}
	r.stats.last()
	return nil
}

// isPermission reports a right that only root has.
func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }
