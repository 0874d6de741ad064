//go:build unix

package local

import (
	"errors"
	"os"
	"syscall"
)

// syncDir makes the entries of a directory durable. File systems that cannot
// sync a directory say so with EINVAL or ENOTSUP, and have no better to offer.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
