//go:build !unix

package localcache

import (
	"errors"
	"os"
)

// lockFile refuses: the daemon, who keeps caches, does not run here.
func lockFile(*os.File) error { return errors.ErrUnsupported }
