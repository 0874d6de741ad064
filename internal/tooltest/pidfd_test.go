package tooltest_test

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pollPidfd returns a channel that is closed when the process has ended.
func pollPidfd(pid int) (<-chan struct{}, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("open pidfd: %w", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { _ = unix.Close(fd) }()
		for {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
			if n > 0 || (err != nil && err != unix.EINTR) {
				return
			}
		}
	}()
	return ended, nil
}
