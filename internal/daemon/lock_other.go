//go:build !unix

package daemon

import (
	"errors"
	"os"
)

// lockFile refuses: the daemon is for Linux, and elsewhere the binary is the
// provider and the command line.
func lockFile(*os.File) error {
	return errors.New("the daemon runs on Linux only")
}
