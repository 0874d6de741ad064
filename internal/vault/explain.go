package vault

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
)

// Explain turns a failure of the repository at place into one sentence with a
// code and a next step. An error that carries a code already, or that came
// from ctx's end, is returned as it is; nil gives nil.
func Explain(err error, place string) error {
	var known *envbackup.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	fail := func(code envbackup.Code, hint, format string, args ...any) error {
		return &envbackup.Error{Code: code, Message: fmt.Sprintf(format, args...), Hint: hint, Err: err}
	}
	var locked *repository.LockedError
	switch {
	case errors.Is(err, repository.ErrWrongPassword):
		return fail(envbackup.CodeWrongPassword,
			"another program made this repository, or the daemon's state is of another time: adopt it with its own password, or choose another prefix",
			"the repository at %s does not open with the password that is stored for it; nothing was written", place)
	case errors.Is(err, repository.ErrNoRepository):
		return fail(envbackup.CodeDamaged, "", "there is no repository at %s", place)
	case errors.As(err, &locked):
		return fail(envbackup.CodeRepositoryLocked, "it is tried again; `restic unlock` removes a lock whose owner is gone",
			"the repository at %s is locked: %s", place, locked.Error())
	case errors.Is(err, repository.ErrLockLost):
		return fail(envbackup.CodeRepositoryLocked, "it is tried again", "the lock on the repository at %s was lost while writing", place)
	case errors.Is(err, repository.ErrUnsupported):
		return fail(envbackup.CodeDamaged, "choose another prefix", "the repository at %s has a format other than restic's version 2", place)
	case errors.Is(err, repository.ErrDamaged):
		return fail(envbackup.CodeDamaged, "run `restic check` on the repository", "the repository at %s is damaged: %s", place, err)
	}
	var be *backend.Error
	if !errors.As(err, &be) {
		return fail(envbackup.CodeDamaged, "run `restic check` on the repository", "the repository at %s: %s", place, err)
	}
	why := be.Message
	if why == "" {
		why = err.Error()
	}
	why = place + ": " + why
	switch {
	case errors.Is(err, syscall.ENOSPC), be.Kind == backend.Full:
		return fail(envbackup.CodeDiskFull, "make room there, or keep fewer backups", "%s", why)
	case be.Kind == backend.BadCredentials:
		return fail(envbackup.CodeCredentials, "correct access_key_id and secret_access_key_wo of the destination, or the daemon's own AWS credentials", "%s", why)
	case be.Kind == backend.AccessDenied:
		return fail(envbackup.CodeCredentials, "check that the credentials were not withdrawn; the daemon needs to list the place, and to read, write and delete below it", "%s", why)
	case be.Kind == backend.NoBucket:
		return fail(envbackup.CodeBucketMissing, "create it, or correct its name", "%s", why)
	case be.Kind == backend.NoObjectLock:
		return fail(envbackup.CodeNoObjectLock, "choose a bucket that was made with object lock, enable it on this one where the store can, or remove object_lock_mode and object_lock_days", "%s", why)
	case be.Kind == backend.WrongRegion:
		return fail(envbackup.CodeWrongRegion, "correct the region of the destination", "%s", why)
	case be.Kind == backend.Untrusted:
		return fail(envbackup.CodeUntrusted, "if a private authority signed it, name the authority's certificate in s3_ca_file of the daemon's configuration and restart it", "%s", why)
	case be.Kind == backend.Unsupported:
		return fail(envbackup.CodeUnsupported, "remove the setting that the store does not know from the destination, or choose a value that it knows", "%s", why)
	case be.Kind == backend.Throttled:
		return fail(envbackup.CodeThrottled, "runs try again by themselves; fewer at a time may help", "%s", why)
	case be.Kind == backend.Unreachable, be.Kind == backend.Temporary:
		return fail(envbackup.CodeUnreachable, "check the endpoint and the network between the daemon and the store; runs try again by themselves", "%s", why)
	case be.Kind == backend.NotFound:
		return fail(envbackup.CodeDamaged, "run `restic check` on the repository", "%s", why)
	default:
		return fail(envbackup.CodeInternal, "the store refused it for a reason of its own: look for the answer in the store's manual and check the destination's settings", "%s", why)
	}
}
