package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
)

const (
	// scratchReserve stays free beside a restore for verification: the state
	// database usually lies on the same file system.
	scratchReserve = 256 << 20
	// scratchPerFile is what a file takes beside its content, at most.
	scratchPerFile = 4 << 10
)

// begun is what this process remembers of a verification until it has ended.
type begun struct {
	proven restorer.Proven
	// dir is where it restores to, and bytes what it has restored there.
	dir   string
	bytes int64
}

// begin returns what is remembered of a verification, nothing at first.
func (r *Runner) begin(id string) *begun {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.proofs[id]
	if b == nil {
		b = &begun{}
		r.proofs[id] = b
	}
	return b
}

// scratch makes the directory into which a verification restores, if there is
// room. What an earlier attempt left there counts.
func (r *Runner) scratch(b *begun, backup envbackup.Backup) error {
	if r.cfg.Scratch == "" {
		return &envbackup.Error{
			Code: envbackup.CodeInvalid, Message: "this worker has no directory to restore into for a verification",
			Hint: `verify at level "read"`,
		}
	}
	if err := os.MkdirAll(r.cfg.Scratch, 0o700); err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	free, err := freeBytes(r.cfg.Scratch)
	if err != nil {
		return err
	}
	if need := backup.Size - b.bytes + backup.Files*scratchPerFile + scratchReserve; free < need {
		return r.noRoom(fmt.Sprintf("it needs %s, and %s are free: %s are missing", bytesText(need), bytesText(free), bytesText(need-free)), nil)
	}
	if b.dir != "" {
		return nil
	}
	// Under the lock, so that ClearScratch sees no directory that it does not
	// know.
	r.mu.Lock()
	defer r.mu.Unlock()
	b.dir, err = os.MkdirTemp(r.cfg.Scratch, "verification-")
	if err != nil {
		return fmt.Errorf("make scratch directory: %w", err)
	}
	return nil
}

func (r *Runner) noRoom(detail string, cause error) error {
	return &envbackup.Error{
		Code: envbackup.CodeDiskFull, Err: cause,
		Message: fmt.Sprintf("there is not enough room in %s to restore the backup for its verification: %s", r.cfg.Scratch, detail),
		Hint:    `make room there, or verify at level "read", which needs none`,
	}
}

// bytesText rounds up to a tenth of the largest unit that fits.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// end forgets a verification and removes what was restored for it; later
// leaves that to KeepTime.
func (r *Runner) end(ctx context.Context, id string, later bool) {
	r.mu.Lock()
	b := r.proofs[id]
	delete(r.proofs, id)
	r.mu.Unlock()
	switch {
	case b == nil || b.dir == "":
	case later:
		select {
		case r.unscratched <- struct{}{}:
		default: // it is asked already
		}
	default:
		r.dropScratch(ctx, b.dir)
	}
}

func (r *Runner) dropScratch(ctx context.Context, dir string) {
	if err := removeTree(dir); err != nil {
		r.cfg.Log.WarnContext(ctx, "cannot remove what was restored for a verification", "directory", dir, "error", err)
	}
}

// removeTree removes a restored tree, whose directories may forbid their owner
// to change them.
func removeTree(dir string) error {
	err := os.RemoveAll(dir)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d == nil || !d.IsDir() {
			return nil // it goes with its directory
		}
		if err == nil {
			return os.Chmod(path, 0o700) // before its entries are read
		}
		return nil
	})
	return errors.Join(err, os.RemoveAll(dir))
}

// clearScratch removes what verifications restored that ended without this
// process: those of an earlier one, those that went on elsewhere, and those
// that were cancelled.
func (r *Runner) clearScratch(ctx context.Context) {
	if r.cfg.Scratch == "" {
		return
	}
	entries, err := os.ReadDir(r.cfg.Scratch)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.cfg.Log.ErrorContext(ctx, "cannot read the scratch directory", "error", err)
	}
	if len(entries) == 0 {
		return
	}
	wanted := r.goingOn(ctx)
	for _, e := range entries {
		if dir := filepath.Join(r.cfg.Scratch, e.Name()); !wanted[dir] && ctx.Err() == nil {
			r.dropScratch(ctx, dir)
		}
	}
}

// goingOn returns the directories of the verifications that this process has
// begun and that have not ended, and forgets the others.
func (r *Runner) goingOn(ctx context.Context) map[string]bool {
	r.mu.Lock()
	ids := slices.Collect(maps.Keys(r.proofs))
	r.mu.Unlock()
	for _, id := range ids {
		v, err := r.store.Verification(ctx, id)
		if envbackup.CodeOf(err) == envbackup.CodeNotFound || err == nil && v.State.Final() {
			r.mu.Lock()
			delete(r.proofs, id)
			r.mu.Unlock()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[string]bool{}
	for _, b := range r.proofs {
		wanted[b.dir] = true
	}
	return wanted
}
