//go:build unix

package repository

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func allocBuffer(size int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("allocate pack buffer: %w", err)
	}
	return b, nil
}

// dropBuffer and freeBuffer only save memory, so a refusal changes nothing.
func dropBuffer(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
func freeBuffer(b []byte) { _ = unix.Munmap(b) }
