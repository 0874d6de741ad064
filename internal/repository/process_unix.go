//go:build unix

package repository

import (
	"errors"

	"golang.org/x/sys/unix"
)

// processExists reports whether a process with this number runs on this host,
// whoever owns it.
func processExists(pid int) bool {
	if pid <= 0 {
		return true // not a number to judge by
	}
	return !errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}
