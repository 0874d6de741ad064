package repository

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

var (
	// ErrNoRepository reports a place that holds no repository.
	ErrNoRepository = errors.New("there is no repository here")
	// ErrExists reports an Init where a repository is already.
	ErrExists = errors.New("there is a repository here already")
	// ErrWrongPassword reports that no key of the repository opens with the
	// password.
	ErrWrongPassword = errors.New("wrong password: no key of the repository opens with it")
	// ErrUnsupported reports a repository in a format other than version 2.
	ErrUnsupported = errors.New("repository format is not supported")
	// ErrLocked matches every *LockedError.
	ErrLocked = errors.New("repository is locked")
	// ErrLockLost is the cause of a lock's context after the lock could not be
	// refreshed in time or was removed by somebody else.
	ErrLockLost = errors.New("the lock on the repository was lost")
	// ErrUnknownBlob reports a blob that the index does not list.
	ErrUnknownBlob = errors.New("blob is not in the index")
	// ErrDamaged reports stored bytes that are not what their name, their key
	// or the index says.
	ErrDamaged = errors.New("stored data are damaged")
	// ErrBusy reports a call that cannot run while blobs are being saved
	// through the same Repository.
	ErrBusy = errors.New("blobs are being saved to the repository")
	// ErrAborted is what saving returns after Abort.
	ErrAborted = errors.New("saving was aborted")
)

// BlobError says which copy of which blob could not be read, and why.
type BlobError struct {
	Blob restic.BlobHandle
	Pack restic.ID
	Err  error
}

// Error returns the cause, which names both.
func (e *BlobError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *BlobError) Unwrap() error { return e.Err }

// LockedError says who holds the lock that is in the way.
type LockedError struct {
	Lock LockInfo
}

// Error names host, process and time of the lock.
func (e *LockedError) Error() string {
	mode := "shared"
	if e.Lock.Exclusive {
		mode = "exclusive"
	}
	// Whoever wrote the lock chose the words: they must not pass for ours.
	who := printable(e.Lock.Hostname)
	if e.Lock.Username != "" {
		who = printable(e.Lock.Username) + "@" + who
	}
	return fmt.Sprintf("repository is locked (%s) by %s, process %d, since %s; if that process is gone, run `restic unlock`",
		mode, who, e.Lock.PID, e.Lock.Time.UTC().Format(time.RFC3339))
}

// printable returns a foreign word as it is, or quoted where it would disturb
// a terminal or a log.
func printable(s string) string {
	if q := strconv.Quote(s); q != `"`+s+`"` {
		return q
	}
	return s
}

// Is makes errors.Is(err, ErrLocked) work.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// damaged wraps a cause into ErrDamaged.
func damaged(what string, cause error) error {
	return fmt.Errorf("%s: %w: %w", what, ErrDamaged, cause)
}

func mismatch(what string, got restic.ID) error {
	return fmt.Errorf("%s: %w: its content is %s", what, ErrDamaged, got.Short())
}
