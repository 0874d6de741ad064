package daemon

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// lockName is the file in the data directory that the running daemon holds. It
// contains the daemon's process id. The file stays when the daemon ends: only
// the kernel's lock on it means anything, so a crash leaves nothing to clean.
const lockName = "daemon.pid"

// errHeld reports a file that another process has locked.
var errHeld = errors.New("another process holds the lock")

// takeDataDir makes the directory and holds it for this process until the
// returned function is called. A directory that another daemon holds is
// CodeConflict and names its process.
func takeDataDir(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	path := Config{DataDir: dir}.path(lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := lockFile(file); err != nil {
		_ = file.Close() // only the refusal matters
		if !errors.Is(err, errHeld) {
			return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
		}
		return nil, &envbackup.Error{
			Code:    envbackup.CodeConflict,
			Message: fmt.Sprintf("another daemon uses the data directory %s%s", dir, holder(path)),
			Hint:    "stop that one first, or give this one its own --data-dir",
		}
	}
	if err := writePID(file); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil // closing frees the lock
}

// makePrivate makes an empty file that only this user may read, where there is
// none: SQLite would make its database for everybody to read, and gives the
// files beside it the mode that it finds.
func makePrivate(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("make state: %w", err)
	}
	return file.Close()
}

func writePID(file *os.File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	return err
}

// holder returns " (process N)" for the daemon that holds the lock file.
func holder(path string) string {
	text, err := os.ReadFile(path)
	pid := strings.TrimSpace(string(text))
	if err != nil || pid == "" {
		return ""
	}
	return " (process " + pid + ")"
}
