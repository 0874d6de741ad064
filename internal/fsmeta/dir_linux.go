package fsmeta

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Dir is an open directory. Its methods may be called concurrently, but not
// after Close. Names are single path elements; rel is a path of several,
// relative to the directory, that is never followed through a symbolic link
// and never leaves the directory.
type Dir struct {
	fd   int
	path string // for error messages only
}

// maxPath is what one system call takes of a path, with room to spare.
const maxPath = 3800

// OpenDir opens the directory at path. The path itself may contain symbolic
// links: it is the caller's own.
func OpenDir(path string) (*Dir, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{fd: fd, path: path}, nil
}

// Close releases the directory.
func (d *Dir) Close() error { return unix.Close(d.fd) }

// Sub opens the directory rel below d; "" is d again.
func (d *Dir) Sub(rel string) (*Dir, error) {
	if rel == "" {
		rel = "."
	}
	fd, err := d.beneath(rel, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, d.fail("open", rel, err)
	}
	return &Dir{fd: fd, path: d.child(rel)}, nil
}

// Way opens the directory rel below d only to go through it: its entries can
// be described but not listed, and the right to search it is enough.
func (d *Dir) Way(rel string) (*Dir, error) {
	if rel == "" {
		rel = "."
	}
	fd, err := d.beneath(rel, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, d.fail("open", rel, err)
	}
	return &Dir{fd: fd, path: d.child(rel)}, nil
}

// direntBuffers lends the memory that entries are read into: most directories
// are small, and clearing a fresh buffer would cost more than reading them.
var direntBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// Names returns the names of all entries, sorted by their bytes.
func (d *Dir) Names() ([]string, error) {
	var names []string
	buf := direntBuffers.Get().(*[64 << 10]byte) //nolint:forcetypeassert // nothing else is put there
	defer direntBuffers.Put(buf)
	for {
		n, err := unix.ReadDirent(d.fd, buf[:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, d.fail("read directory", "", err)
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	slices.Sort(names)
	return names, nil
}

// Stat describes the directory itself.
func (d *Dir) Stat() (Stat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(d.fd, &st) }); err != nil {
		return Stat{}, d.fail("stat", "", err)
	}
	return fromSys(&st), nil
}

// Lstat describes an entry, not what it points to.
func (d *Dir) Lstat(name string) (Stat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return Stat{}, d.fail("stat", name, err)
	}
	return fromSys(&st), nil
}

// Readlink returns where a symbolic link points.
func (d *Dir) Readlink(name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(d.fd, name, buf)
		if err != nil {
			return "", d.fail("read link", name, err)
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// OpenFile opens the regular file rel for reading. It does not wait for a
// writer should the entry have become a pipe: the caller looks at Stat again.
func (d *Dir) OpenFile(rel string) (*File, error) {
	fd, err := d.beneath(rel, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, d.fail("open", rel, err)
	}
	return &File{fd: fd, path: d.child(rel)}, nil
}

// EditFile opens the existing regular file rel for reading and writing.
func (d *Dir) EditFile(rel string) (*File, error) {
	fd, err := d.beneath(rel, unix.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, d.fail("open", rel, err)
	}
	return &File{fd: fd, path: d.child(rel)}, nil
}

// CreateFile makes the file rel, readable and writable by the owner only. It
// fails with fs.ErrExist when there is an entry of that name.
func (d *Dir) CreateFile(rel string) (*File, error) {
	fd, err := d.beneath(rel, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, d.fail("create", rel, err)
	}
	return &File{fd: fd, path: d.child(rel)}, nil
}

// Mkdir makes a directory for the owner only.
func (d *Dir) Mkdir(name string) error {
	return d.fail("make directory", name, retry(func() error { return unix.Mkdirat(d.fd, name, 0o700) }))
}

// Symlink makes a symbolic link to target.
func (d *Dir) Symlink(target, name string) error {
	return d.fail("make link", name, retry(func() error { return unix.Symlinkat(target, d.fd, name) }))
}

// Link makes name in d another name of the file oldName in oldDir.
func (d *Dir) Link(oldDir *Dir, oldName, name string) error {
	return d.fail("link", name, retry(func() error { return unix.Linkat(oldDir.fd, oldName, d.fd, name, 0) }))
}

// Mknod makes a device or a named pipe, for the owner only.
func (d *Dir) Mknod(name string, typ fs.FileMode, rdev uint64) error {
	mode := uint32(0o600)
	switch {
	case typ&fs.ModeCharDevice != 0:
		mode |= unix.S_IFCHR
	case typ&fs.ModeDevice != 0:
		mode |= unix.S_IFBLK
	default:
		mode |= unix.S_IFIFO
	}
	return d.fail("make node", name, retry(func() error { return unix.Mknodat(d.fd, name, mode, int(rdev)) })) //nolint:gosec // device numbers fit
}

// Remove removes an entry; a directory must be empty.
func (d *Dir) Remove(name string, isDir bool) error {
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
	}
	return d.fail("remove", name, retry(func() error { return unix.Unlinkat(d.fd, name, flags) }))
}

// noOpenat2 is set once the kernel, or a filter before it, refused openat2.
var noOpenat2 atomic.Bool

// beneath opens rel below d without following a symbolic link at any place.
func (d *Dir) beneath(rel string, flags int, perm uint32) (int, error) {
	if strings.HasPrefix(rel, "/") {
		return -1, unix.EXDEV
	}
	dir, owned := d.fd, false
	for {
		// One system call takes a limited path; longer ones go in parts.
		part, rest := rel, ""
		if len(rel) > maxPath || (noOpenat2.Load() && strings.Contains(rel, "/")) {
			cut := strings.IndexByte(rel, '/')
			if !noOpenat2.Load() {
				cut = strings.LastIndexByte(rel[:maxPath], '/')
			}
			if cut > 0 {
				part, rest = rel[:cut], rel[cut+1:]
			}
		}
		partFlags, partPerm := flags, perm
		if rest != "" {
			partFlags, partPerm = unix.O_PATH|unix.O_DIRECTORY, 0
		}
		fd, err := openBeneath(dir, part, partFlags, partPerm)
		if errors.Is(err, errNoOpenat2) {
			continue // again, element by element
		}
		if owned {
			_ = unix.Close(dir) // only a way point
		}
		if err != nil || rest == "" {
			return fd, err
		}
		dir, owned, rel = fd, true, rest
	}
}

var errNoOpenat2 = errors.New("openat2 is not available")

func openBeneath(dir int, part string, flags int, perm uint32) (int, error) {
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	if noOpenat2.Load() || !strings.Contains(part, "/") {
		if part == ".." {
			return -1, unix.EXDEV
		}
		return openat(dir, part, flags, perm)
	}
	how := unix.OpenHow{
		Flags:   uint64(flags), //nolint:gosec // flags are not negative
		Mode:    uint64(perm),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dir, part, &how)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM) && flags&unix.O_CREAT == 0:
			noOpenat2.Store(true)
			return -1, errNoOpenat2
		}
		return fd, err
	}
}

func openat(dir int, path string, flags int, perm uint32) (int, error) {
	for {
		fd, err := unix.Openat(dir, path, flags|unix.O_CLOEXEC, perm)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// fail puts the path into an error; nil stays nil.
func (d *Dir) fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	path := d.path
	if name != "" {
		path = d.child(name)
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// child is the path of an entry of d, for messages.
func (d *Dir) child(name string) string { return strings.TrimSuffix(d.path, "/") + "/" + name }

// self is a path to an entry of d for calls that know no directory handles.
func (d *Dir) self(name string) string {
	return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + name
}

func fromSys(st *unix.Stat_t) Stat {
	return Stat{
		Mode:  modeFromSys(st.Mode),
		Dev:   st.Dev,
		Ino:   st.Ino,
		Nlink: uint64(st.Nlink), //nolint:unconvert // its width differs between architectures
		Rdev:  st.Rdev,
		UID:   st.Uid,
		GID:   st.Gid,
		Size:  st.Size,
		Mtime: time.Unix(st.Mtim.Unix()).UTC(),
		Ctime: time.Unix(st.Ctim.Unix()).UTC(),
	}
}

func modeFromSys(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	}
	if m&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if m&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if m&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

func permToSys(mode fs.FileMode) uint32 {
	m := uint32(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		m |= unix.S_ISUID
	}
	if mode&fs.ModeSetgid != 0 {
		m |= unix.S_ISGID
	}
	if mode&fs.ModeSticky != 0 {
		m |= unix.S_ISVTX
	}
	return m
}

// IsGone reports whether err says that an entry vanished, or became something
// else, after its name was read.
func IsGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ESTALE)
}

// IsFull reports whether err says that there is no room left.
func IsFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// IsNotEmpty reports whether err says that a directory has entries.
func IsNotEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) }
