// Package local stores a repository in a directory, in the layout that stock
// restic uses. It decides when a file is durable: written under a temporary
// name, synced, renamed, and the directory synced, so that a crash or a power
// cut leaves a whole object or none.
//
// Directories have mode 0700 and files 0600: the objects are encrypted, but
// who can write them can destroy them.
package local

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
	// tempMark is in the name of every temporary file and of no object.
	tempMark = "-tmp-"
	// copyStep is how much is written between two looks at the context.
	copyStep = 1 << 20
)

// Backend stores objects below a directory. Use Open.
type Backend struct{ dir string }

var (
	_ backend.Backend         = (*Backend)(nil)
	_ backend.Prober          = (*Backend)(nil)
	_ backend.LeftoverRemover = (*Backend)(nil)
)

// Open returns the store in dir, an absolute path. The directory need not
// exist; the first Put makes it, but not its parent: a mount point that is
// missing must not become a directory on the disk below.
func Open(dir string) (*Backend, error) {
	if !filepath.IsAbs(dir) {
		return nil, &backend.Error{Op: "open", Kind: backend.Permanent, Message: fmt.Sprintf("the directory %q is not an absolute path", dir)}
	}
	return &Backend{dir: filepath.Clean(dir)}, nil
}

// Location implements backend.Backend.
func (b *Backend) Location() string { return b.dir }

// Close implements backend.Backend.
func (b *Backend) Close() error { return nil }

func (b *Backend) path(h backend.Handle) string {
	return filepath.Join(b.dir, filepath.FromSlash(h.Path()))
}

// Put implements backend.Backend.
func (b *Backend) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if err := check(ctx, "put", h); err != nil {
		return err
	}
	if h.Kind == backend.KindConfig {
		if err := b.makeDirs(); err != nil {
			return b.classify("put", h, err)
		}
	}
	final := b.path(h)
	temp, err := b.writeTemp(ctx, final, data)
	if errors.Is(err, fs.ErrNotExist) {
		// Somebody tidied up an empty directory, or this is the first object.
		if err = b.makeDir(filepath.Dir(final)); err == nil {
			temp, err = b.writeTemp(ctx, final, data)
		}
	}
	if err == nil {
		if opt.CreateOnly {
			// A link fails if the name is taken, which a rename would not.
			if err = os.Link(temp, final); err == nil || errors.Is(err, fs.ErrExist) {
				err = errors.Join(err, os.Remove(temp))
			} else {
				// File systems without links: look first, and rename.
				if _, err = os.Lstat(final); err == nil {
					err = errors.Join(fs.ErrExist, os.Remove(temp))
				} else {
					err = os.Rename(temp, final)
				}
			}
		} else {
			err = os.Rename(temp, final)
		}
	}
	if err == nil {
		err = syncDir(filepath.Dir(final))
	}
	if err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("put %s: %w", h, context.Cause(ctx))
		}
		return b.classify("put", h, err)
	}
	return nil
}

// writeTemp writes data to a synced file beside final and returns its path. On
// an error nothing is left.
func (b *Backend) writeTemp(ctx context.Context, final string, data []byte) (path string, err error) {
	var suffix [8]byte
	_, _ = rand.Read(suffix[:]) // never fails
	path = final + tempMark + hex.EncodeToString(suffix[:])
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(path))
		}
	}()
	for len(data) > 0 {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		n := min(copyStep, len(data))
		if _, err := f.Write(data[:n]); err != nil {
			return "", err
		}
		data = data[n:]
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return path, f.Close()
}

// makeDirs makes the whole layout, as stock restic does.
func (b *Backend) makeDirs() error {
	if err := b.makeDir(b.dir); err != nil {
		return err
	}
	for _, kind := range []backend.Kind{backend.KindKey, backend.KindLock, backend.KindSnapshot, backend.KindIndex, backend.KindData} {
		if err := b.makeDir(filepath.Join(b.dir, kind.Dir())); err != nil {
			return err
		}
	}
	for i := range 256 {
		dir := filepath.Join(b.dir, backend.KindData.Dir(), fmt.Sprintf("%02x", i))
		if err := os.Mkdir(dir, dirMode); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return syncDir(filepath.Join(b.dir, backend.KindData.Dir()))
}

// makeDir makes a directory and those between it and the repository's
// directory, and syncs their entries.
func (b *Backend) makeDir(dir string) error {
	if dir != b.dir {
		if _, err := os.Lstat(filepath.Dir(dir)); errors.Is(err, fs.ErrNotExist) {
			if err := b.makeDir(filepath.Dir(dir)); err != nil {
				return err
			}
		}
	}
	err := os.Mkdir(dir, dirMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) (err error) {
	if err := check(ctx, "get", h); err != nil {
		return err
	}
	f, err := os.Open(b.path(h))
	if err != nil {
		return b.classify("get", h, err)
	}
	defer func() {
		// Nothing was written, so closing has nothing to lose.
		_ = f.Close()
	}()
	info, err := f.Stat()
	if err != nil {
		return b.classify("get", h, err)
	}
	size := info.Size()
	if length == 0 {
		length = size - offset
	}
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return &backend.Error{Op: "get", Handle: h, Kind: backend.Permanent,
			Message: fmt.Sprintf("range %d+%d is not within the object's %d bytes", offset, length, size), Err: backend.ErrRange}
	}
	return fn(&reader{ctx: ctx, b: b, h: h, r: io.NewSectionReader(f, offset, length)})
}

// reader ends with its context and classifies errors.
type reader struct {
	ctx context.Context
	b   *Backend
	h   backend.Handle
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, fmt.Errorf("get %s: %w", r.h, context.Cause(r.ctx))
	}
	n, err := r.r.Read(p[:min(len(p), copyStep)])
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.b.classify("get", r.h, err)
	}
	return n, err
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (int64, error) {
	if err := check(ctx, "stat", h); err != nil {
		return 0, err
	}
	info, err := os.Stat(b.path(h))
	if err != nil {
		return 0, b.classify("stat", h, err)
	}
	return info.Size(), nil
}

// List implements backend.Backend.
func (b *Backend) List(ctx context.Context, kind backend.Kind, fn func(name string, size int64, modified time.Time) error) error {
	return b.each(ctx, kind, func(_ string, name string, info fs.FileInfo) error {
		if !backend.ValidName(name) || !info.Mode().IsRegular() {
			return nil
		}
		return fn(name, info.Size(), info.ModTime().UTC())
	})
}

// each visits every file of a kind. Files that vanish meanwhile are left out,
// and a missing directory has none.
func (b *Backend) each(ctx context.Context, kind backend.Kind, fn func(path, name string, info fs.FileInfo) error) error {
	top := filepath.Join(b.dir, kind.Dir())
	dirs := []string{top}
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		if ctx.Err() != nil {
			return fmt.Errorf("list %s: %w", kind.Dir(), context.Cause(ctx))
		}
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return b.classify("list", backend.Handle{Kind: kind}, err)
		}
		for _, e := range entries {
			if kind == backend.KindData && dir == top && e.IsDir() {
				dirs = append(dirs, filepath.Join(dir, e.Name()))
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return b.classify("list", backend.Handle{Kind: kind}, err)
			}
			if err := fn(filepath.Join(dir, e.Name()), e.Name(), info); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements backend.Backend.
func (b *Backend) Delete(ctx context.Context, handles ...backend.Handle) error {
	dirs := make(map[string]bool)
	for _, h := range handles {
		if err := check(ctx, "delete", h); err != nil {
			return err
		}
		err := os.Remove(b.path(h))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return b.classify("delete", h, err)
		}
		dirs[filepath.Dir(b.path(h))] = true
	}
	// The order of removals matters to a crash, so they are synced as well.
	for dir := range dirs {
		if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return b.classify("delete", backend.Handle{}, err)
		}
	}
	return nil
}

// RemoveLeftovers implements backend.LeftoverRemover.
func (b *Backend) RemoveLeftovers(ctx context.Context, before time.Time) error {
	for _, kind := range []backend.Kind{backend.KindKey, backend.KindLock, backend.KindSnapshot, backend.KindIndex, backend.KindData} {
		err := b.each(ctx, kind, func(path, name string, info fs.FileInfo) error {
			object, _, temp := strings.Cut(name, tempMark)
			if !temp || !backend.ValidName(object) || !info.ModTime().Before(before) {
				return nil
			}
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return b.classify("delete", backend.Handle{Kind: kind}, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Probe implements backend.Prober.
func (b *Backend) Probe(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	dir := b.dir
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		// The directory is made by the first backup; what matters is whether
		// it can be.
		dir = filepath.Dir(dir)
	}
	probe := filepath.Join(dir, "envbackup-probe")
	path, err := b.writeTemp(ctx, probe, []byte("envbackup"))
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return b.classify("probe", backend.Handle{}, err)
	}
	return nil
}

// classify says in one sentence what a system error means for the user.
func (b *Backend) classify(op string, h backend.Handle, err error) error {
	e := &backend.Error{Op: op, Handle: h, Kind: backend.Permanent, Err: err}
	switch {
	case errors.Is(err, fs.ErrExist):
		e.Kind = backend.Exists
	case errors.Is(err, fs.ErrNotExist):
		e.Kind = backend.NotFound
		if op == "put" || op == "probe" {
			e.Kind = backend.NoBucket
			e.Message = fmt.Sprintf("the directory above %s does not exist; is the file system mounted?", b.dir)
		}
	case errors.Is(err, fs.ErrPermission):
		e.Kind = backend.AccessDenied
		e.Message = fmt.Sprintf("this process may not access %s as user %d", b.dir, os.Getuid())
	case errors.Is(err, syscall.ENOSPC):
		e.Message = fmt.Sprintf("no space is left on the file system of %s", b.dir)
	case errors.Is(err, syscall.EROFS):
		e.Kind = backend.AccessDenied
		e.Message = fmt.Sprintf("the file system of %s is mounted read-only", b.dir)
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ETIMEDOUT), errors.Is(err, syscall.EINTR):
		e.Kind = backend.Temporary
	}
	return e
}

func check(ctx context.Context, op string, h backend.Handle) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, h, context.Cause(ctx))
	}
	if !h.Valid() {
		return &backend.Error{Op: op, Handle: h, Kind: backend.Permanent, Message: fmt.Sprintf("%q is no name of a %s", h.Name, h.Kind)}
	}
	return nil
}
