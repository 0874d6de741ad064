//go:build !linux

package fsmeta

import (
	"errors"
	"io/fs"
	"time"
)

// Dir is an open directory; see the Linux implementation for the contract.
type Dir struct{}

// File is an open file; see the Linux implementation for the contract.
type File struct{}

// Metadata is what Apply sets.
type Metadata struct {
	Mode     fs.FileMode
	UID, GID uint32
	Mtime    time.Time
	Atime    time.Time
	Xattrs   []Xattr
}

// OpenDir fails: only Linux is implemented.
func OpenDir(string) (*Dir, error) { return nil, errors.ErrUnsupported }

// IsGone is false.
func IsGone(error) bool { return false }

// IsFull is false.
func IsFull(error) bool { return false }

// IsNotEmpty is false.
func IsNotEmpty(error) bool { return false }

func (*Dir) Close() error                            { return errors.ErrUnsupported }
func (*Dir) Sub(string) (*Dir, error)                { return nil, errors.ErrUnsupported }
func (*Dir) Way(string) (*Dir, error)                { return nil, errors.ErrUnsupported }
func (*Dir) Names() ([]string, error)                { return nil, errors.ErrUnsupported }
func (*Dir) Stat() (Stat, error)                     { return Stat{}, errors.ErrUnsupported }
func (*Dir) Lstat(string) (Stat, error)              { return Stat{}, errors.ErrUnsupported }
func (*Dir) Readlink(string) (string, error)         { return "", errors.ErrUnsupported }
func (*Dir) OpenFile(string) (*File, error)          { return nil, errors.ErrUnsupported }
func (*Dir) EditFile(string) (*File, error)          { return nil, errors.ErrUnsupported }
func (*Dir) CreateFile(string) (*File, error)        { return nil, errors.ErrUnsupported }
func (*Dir) Mkdir(string) error                      { return errors.ErrUnsupported }
func (*Dir) Symlink(string, string) error            { return errors.ErrUnsupported }
func (*Dir) Link(*Dir, string, string) error         { return errors.ErrUnsupported }
func (*Dir) Mknod(string, fs.FileMode, uint64) error { return errors.ErrUnsupported }
func (*Dir) Remove(string, bool) error               { return errors.ErrUnsupported }
func (*Dir) Apply(string, Metadata) error            { return errors.ErrUnsupported }
func (*Dir) EntryXattrs(string) ([]Xattr, error)     { return nil, errors.ErrUnsupported }
func (*File) Close() error                           { return errors.ErrUnsupported }
func (*File) Stat() (Stat, error)                    { return Stat{}, errors.ErrUnsupported }
func (*File) Read([]byte) (int, error)               { return 0, errors.ErrUnsupported }
func (*File) ReadAt([]byte, int64) (int, error)      { return 0, errors.ErrUnsupported }
func (*File) WriteAt([]byte, int64) (int, error)     { return 0, errors.ErrUnsupported }
func (*File) Truncate(int64) error                   { return errors.ErrUnsupported }
func (*File) Apply(Metadata) error                   { return errors.ErrUnsupported }
func (*File) Xattrs() ([]Xattr, error)               { return nil, errors.ErrUnsupported }
