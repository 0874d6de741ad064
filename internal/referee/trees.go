package referee

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxDifferences bounds what a failing comparison prints.
const maxDifferences = 30

// CompareTrees fails the test unless the two directories, themselves included,
// are the same: names (as bytes), types, modes, owners, modification times,
// sizes, contents, link targets, extended attributes, which files are one file
// under several names, and device numbers. Access and change times are left
// out, and owners too unless the caller is root, who alone can restore them.
func CompareTrees(t testing.TB, want, got string) {
	t.Helper()
	differences, err := DiffTrees(want, got)
	if err != nil {
		t.Fatal(err)
	}
	if len(differences) == 0 {
		return
	}
	more := ""
	if n := len(differences) - maxDifferences; n > 0 {
		differences, more = differences[:maxDifferences], fmt.Sprintf("\n  and %d more", n)
	}
	t.Errorf("%s differs from %s:\n  %s%s", got, want, strings.Join(differences, "\n  "), more)
}

// DiffTrees returns the differences that CompareTrees looks for, one line
// each, in the order of the paths; none when the trees are the same.
func DiffTrees(want, got string) ([]string, error) {
	wanted, err := readTree(want)
	if err != nil {
		return nil, err
	}
	gotten, err := readTree(got)
	if err != nil {
		return nil, err
	}
	return diff(wanted, gotten), nil
}

func diff(wanted, gotten map[string]entry) []string {
	paths := slices.Collect(maps.Keys(wanted))
	for path := range gotten {
		if _, ok := wanted[path]; !ok {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	var differences []string
	for _, path := range paths {
		a, inWanted := wanted[path]
		b, inGotten := gotten[path]
		switch {
		case !inGotten:
			differences = append(differences, fmt.Sprintf("%q: missing", path))
		case !inWanted:
			differences = append(differences, fmt.Sprintf("%q: not in the original", path))
		default:
			differences = append(differences, a.differences(path, b)...)
		}
	}
	return differences
}

// Picture is what a directory tree was at one moment, for comparison with it,
// or with a restored one, later. It holds no contents, only their hashes.
type Picture struct{ entries map[string]entry }

// TakePicture reads a tree, its root included.
func TakePicture(root string) (Picture, error) {
	entries, err := readTree(root)
	return Picture{entries}, err
}

// Diff returns how a tree differs from the picture, as DiffTrees does.
func (p Picture) Diff(got string) ([]string, error) {
	gotten, err := readTree(got)
	if err != nil {
		return nil, err
	}
	return diff(p.entries, gotten), nil
}

// entry is what makes two directory entries the same: property by property,
// as text.
type entry map[string]string

func (e entry) differences(path string, other entry) []string {
	properties := slices.Collect(maps.Keys(e))
	for property := range other {
		if _, ok := e[property]; !ok {
			properties = append(properties, property)
		}
	}
	slices.Sort(properties)
	var differences []string
	for _, property := range properties {
		if e[property] != other[property] {
			differences = append(differences, fmt.Sprintf("%q: %s is %q, want %q", path, property, other[property], e[property]))
		}
	}
	return differences
}

// inode identifies a file under all its names.
type inode struct{ dev, ino uint64 }

// readTree reads everything below root; "." is root itself.
func readTree(root string) (map[string]entry, error) {
	entries := map[string]entry{}
	first := map[inode]string{} // the first name of each file with several
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		e, err := readEntry(path, relative, first)
		if err != nil {
			return fmt.Errorf("read %q: %w", path, err)
		}
		entries[relative] = e
		return nil
	})
	return entries, err
}

func readEntry(path, relative string, first map[inode]string) (entry, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return nil, err
	}
	e := entry{
		"type":     typeName(stat.Mode),
		"modified": time.Unix(stat.Mtim.Unix()).UTC().Format(time.RFC3339Nano),
	}
	if os.Geteuid() == 0 {
		e["owner"] = fmt.Sprintf("%d:%d", stat.Uid, stat.Gid)
	}
	kind := stat.Mode & unix.S_IFMT
	if kind != unix.S_IFLNK {
		e["mode"] = fmt.Sprintf("%04o", stat.Mode&0o7777)
	}
	if kind != unix.S_IFDIR && stat.Nlink > 1 {
		id := inode{stat.Dev, stat.Ino}
		if _, ok := first[id]; !ok {
			first[id] = relative
		}
		e["first name"] = first[id]
	}
	var err error
	switch kind {
	case unix.S_IFREG:
		e["size"] = fmt.Sprint(stat.Size)
		e["sha256"], err = hashFile(path)
	case unix.S_IFLNK:
		e["target"], err = os.Readlink(path)
	case unix.S_IFBLK, unix.S_IFCHR:
		e["device"] = fmt.Sprintf("%d:%d", unix.Major(stat.Rdev), unix.Minor(stat.Rdev))
	}
	if err != nil {
		return nil, err
	}
	return e, readXattrs(path, e)
}

func typeName(mode uint32) string {
	names := map[uint32]string{
		unix.S_IFREG: "file", unix.S_IFDIR: "directory", unix.S_IFLNK: "symlink", unix.S_IFIFO: "fifo",
		unix.S_IFSOCK: "socket", unix.S_IFBLK: "block device", unix.S_IFCHR: "character device",
	}
	return names[mode&unix.S_IFMT]
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	hash := sha256.New()
	if _, err := io.Copy(hash, f); err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", hash.Sum(nil)), nil
}

func readXattrs(path string, e entry) error {
	names, err := grow(func(buffer []byte) (int, error) { return unix.Llistxattr(path, buffer) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list extended attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(names), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		value, err := grow(func(buffer []byte) (int, error) { return unix.Lgetxattr(path, name, buffer) })
		if err != nil {
			return fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		e["xattr "+name] = string(value)
	}
	return nil
}

// grow calls read with no buffer for the size and then with one of that size,
// again if the value grew in between.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	for {
		size, err := read(nil)
		if err != nil || size == 0 {
			return nil, err
		}
		buffer := make([]byte, size)
		n, err := read(buffer)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return buffer[:n], nil
	}
}
