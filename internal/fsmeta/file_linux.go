package fsmeta

import (
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// File is an open file. It bypasses the runtime's poller: a regular file is
// always ready, and two system calls per small file are saved. One goroutine
// at a time may use it, except for ReadAt and WriteAt.
type File struct {
	fd   int
	path string
}

// Close releases the file. It reports what a file system such as NFS says
// about earlier writes.
func (f *File) Close() error { return f.fail("close", unix.Close(f.fd)) }

// Stat describes the file.
func (f *File) Stat() (Stat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Fstat(f.fd, &st) }); err != nil {
		return Stat{}, f.fail("stat", err)
	}
	return fromSys(&st), nil
}

// Read implements io.Reader.
func (f *File) Read(buf []byte) (int, error) {
	for {
		n, err := unix.Read(f.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, f.fail("read", err)
		case n == 0 && len(buf) > 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

// ReadAt implements io.ReaderAt.
func (f *File) ReadAt(buf []byte, off int64) (int, error) {
	done := 0
	for done < len(buf) {
		n, err := unix.Pread(f.fd, buf[done:], off+int64(done))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return done, f.fail("read", err)
		case n == 0:
			return done, io.EOF
		}
		done += n
	}
	return done, nil
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(buf []byte, off int64) (int, error) {
	done := 0
	for done < len(buf) {
		n, err := unix.Pwrite(f.fd, buf[done:], off+int64(done))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return done, f.fail("write", err)
		case n == 0:
			return done, f.fail("write", io.ErrShortWrite)
		}
		done += n
	}
	return done, nil
}

// Truncate sets the size; what is added reads as zeros and takes no space.
func (f *File) Truncate(size int64) error {
	return f.fail("truncate", retry(func() error { return unix.Ftruncate(f.fd, size) }))
}

func (f *File) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: f.path, Err: err}
}

// Metadata is what Apply sets.
type Metadata struct {
	Mode     fs.FileMode
	UID, GID uint32
	Mtime    time.Time
	Atime    time.Time
	Xattrs   []Xattr
}

// Apply gives the file its metadata, in the order in which none undoes
// another. It goes on after a failure and returns all of them joined.
//
// When the owner cannot be set, set-uid and set-gid are left out: they would
// lend the rights of whoever restores.
func (f *File) Apply(m Metadata) error {
	var errs []error
	if err := retry(func() error { return unix.Fchown(f.fd, int(m.UID), int(m.GID)) }); err != nil {
		errs = append(errs, f.fail("change owner of", err))
		m.Mode &^= fs.ModeSetuid | fs.ModeSetgid
	}
	errs = append(errs, applyXattrs(f.path, m.Xattrs, xattrCalls{
		list:   func(buf []byte) (int, error) { return unix.Flistxattr(f.fd, buf) },
		set:    func(name string, value []byte) error { return unix.Fsetxattr(f.fd, name, value, 0) },
		remove: func(name string) error { return unix.Fremovexattr(f.fd, name) },
	}))
	errs = append(errs,
		f.fail("change mode of", retry(func() error { return unix.Fchmod(f.fd, permToSys(m.Mode)) })),
		f.fail("change times of", retry(func() error {
			times := m.times()
			return unix.UtimesNanoAt(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(f.fd), times[:], 0)
		})))
	return errors.Join(errs...)
}

// Apply gives the entry name its metadata, as File.Apply does for a file. A
// symbolic link is changed itself, not what it points to.
func (d *Dir) Apply(name string, m Metadata) error {
	var errs []error
	err := retry(func() error {
		return unix.Fchownat(d.fd, name, int(m.UID), int(m.GID), unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		errs = append(errs, d.fail("change owner of", name, err))
		m.Mode &^= fs.ModeSetuid | fs.ModeSetgid
	}
	path := d.self(name)
	errs = append(errs, applyXattrs(d.path+"/"+name, m.Xattrs, xattrCalls{
		list:   func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		set:    func(attr string, value []byte) error { return unix.Lsetxattr(path, attr, value, 0) },
		remove: func(attr string) error { return unix.Lremovexattr(path, attr) },
	}))
	if m.Mode&fs.ModeSymlink == 0 {
		errs = append(errs, d.fail("change mode of", name, d.chmod(name, m.Mode)))
	}
	errs = append(errs, d.fail("change times of", name, retry(func() error {
		times := m.times()
		return unix.UtimesNanoAt(d.fd, name, times[:], unix.AT_SYMLINK_NOFOLLOW)
	})))
	return errors.Join(errs...)
}

// chmod changes the mode without following a link and without opening a
// device or a pipe.
func (d *Dir) chmod(name string, mode fs.FileMode) error {
	fd, err := openat(d.fd, name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // a handle without data
	return retry(func() error { return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), permToSys(mode)) })
}

func (m Metadata) times() [2]unix.Timespec {
	return [2]unix.Timespec{timespec(m.Atime), timespec(m.Mtime)}
}

func timespec(t time.Time) unix.Timespec {
	return unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
}

// Xattrs returns the file's extended attributes in the system's
// order, as stock restic records them.
func (f *File) Xattrs() ([]Xattr, error) {
	attrs, err := readXattrs(
		func(buf []byte) (int, error) { return unix.Flistxattr(f.fd, buf) },
		func(name string, buf []byte) (int, error) { return unix.Fgetxattr(f.fd, name, buf) })
	return attrs, f.fail("read attributes of", err)
}

// EntryXattrs returns the extended attributes of an entry, which may be a link
// or a device, in the system's order; "." is the directory itself.
func (d *Dir) EntryXattrs(name string) ([]Xattr, error) {
	path := d.self(name)
	attrs, err := readXattrs(
		func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) },
		func(attr string, buf []byte) (int, error) { return unix.Lgetxattr(path, attr, buf) })
	return attrs, d.fail("read attributes of", name, err)
}

// errXattrBusy says that the attributes grew each time between size and read.
var errXattrBusy = errors.New("extended attributes keep changing")

// sized calls read with a buffer that is large enough.
func sized(read func([]byte) (int, error)) ([]byte, error) {
	for range 10 {
		n, err := read(nil)
		if err != nil || n == 0 {
			return []byte{}, err
		}
		buf := make([]byte, n)
		n, err = read(buf)
		if errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EINTR) {
			continue
		}
		return buf[:max(n, 0)], err
	}
	return nil, errXattrBusy
}

func readXattrs(list func([]byte) (int, error), get func(string, []byte) (int, error)) ([]Xattr, error) {
	names, err := sized(list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil // a file system without them
	}
	if err != nil {
		return nil, err
	}
	var attrs []Xattr
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := sized(func(buf []byte) (int, error) { return get(name, buf) })
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue // removed since it was listed, or listed for show
		}
		if err != nil {
			return nil, err
		}
		attrs = append(attrs, Xattr{Name: name, Value: value})
	}
	return attrs, nil
}

type xattrCalls struct {
	list   func([]byte) (int, error)
	set    func(string, []byte) error
	remove func(string) error
}

// applyXattrs sets the attributes, and removes those that the entry has and
// should not have: what it held before, or a list of rights that it inherited.
// Labels that the system puts on by itself stay.
func applyXattrs(path string, want []Xattr, calls xattrCalls) error {
	var errs []error
	names, err := sized(calls.list)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		errs = append(errs, &fs.PathError{Op: "read attributes of", Path: path, Err: err})
	}
	wanted := make(map[string]bool, len(want))
	for _, a := range want {
		wanted[a.Name] = true
		if err := retry(func() error { return calls.set(a.Name, a.Value) }); err != nil {
			errs = append(errs, &fs.PathError{Op: "set attribute " + strconv.Quote(a.Name) + " of", Path: path, Err: err})
		}
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		ours := strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "system.posix_acl_")
		if name == "" || wanted[name] || !ours {
			continue
		}
		if err := calls.remove(name); err != nil {
			errs = append(errs, &fs.PathError{Op: "remove attribute " + strconv.Quote(name) + " of", Path: path, Err: err})
		}
	}
	return errors.Join(errs...)
}
