package runner

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// freeBytes returns the room that this user has at a directory's file system.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look for room at %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil //nolint:gosec // far below 2^63
}
