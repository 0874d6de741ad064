package envbackup

import (
	"errors"
	"fmt"
)

// Code classifies an error for the program that receives it. Each edge (HTTP,
// command line, Terraform) translates codes into its own vocabulary in one
// place.
type Code string

// The codes of requests.
const (
	CodeInvalid         Code = "invalid"         // the input is wrong; Findings say where
	CodeUnauthenticated Code = "unauthenticated" // no token, or an unknown one
	CodeForbidden       Code = "forbidden"       // the token's role or the operator's allow-list says no
	CodeNotFound        Code = "not_found"
	CodeConflict        Code = "conflict"     // the name is taken, or the thing is in use
	CodeBusy            Code = "busy"         // another run or restore holds the environment
	CodeStale           Code = "stale"        // changed since it was read (If-Match)
	CodeUnavailable     Code = "unavailable"  // the daemon cannot answer now
	CodeRateLimited     Code = "rate_limited" // too many failed logins from this peer
	CodeInternal        Code = "internal"
)

// The codes of runs and restores that failed.
const (
	CodeSourceMissing    Code = "source_missing"          // a path of the environment does not exist on the worker
	CodeNotAllowed       Code = "path_not_allowed"        // the operator's allow-list does not name the path
	CodeUnreachable      Code = "destination_unreachable" // no connection, time-outs, 5xx
	CodeThrottled        Code = "destination_throttled"
	CodeCredentials      Code = "destination_credentials" // wrong key, wrong secret, no permission
	CodeBucketMissing    Code = "bucket_missing"
	CodeWrongRegion      Code = "wrong_region"
	CodeNoObjectLock     Code = "bucket_without_object_lock"
	CodeUntrusted        Code = "destination_untrusted"   // its certificate is not to be trusted
	CodeUnsupported      Code = "destination_unsupported" // the store does not know what a setting asks for
	CodeWrongPassword    Code = "wrong_password"          // the repository does not open with the password that is stored for it
	CodeRepositoryLocked Code = "repository_locked"
	CodeDamaged          Code = "repository_damaged"
	CodeTimedOut         Code = "timed_out"
	CodeWorkerLost       Code = "worker_lost"
	CodeShutDown         Code = "shut_down"
	CodeCancelled        Code = "cancelled"
	CodeTargetNotEmpty   Code = "target_not_empty"
	CodeDiskFull         Code = "disk_full"
)

// Retryable reports whether trying the same run again can mend the failure
// (SEMANTICS S6): network, 5xx, throttling, lock, worker lost, shut down.
// Authentication, configuration and missing sources are for a person.
func (c Code) Retryable() bool {
	switch c {
	case CodeUnreachable, CodeThrottled, CodeRepositoryLocked, CodeWorkerLost, CodeShutDown, CodeBusy, CodeUnavailable:
		return true
	default:
		return false
	}
}

// Error is an error that a person can act on. Message states the fact, Hint
// the next step; both may reach a person and a log, so neither carries a
// secret.
type Error struct {
	Code     Code
	Message  string
	Hint     string    // may be empty
	Findings []Finding // for CodeInvalid: what is wrong, and where
	Err      error     // cause; reaches the daemon's log only
}

// Error returns the message, or the code where there is none.
func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the first *Error in err's chain, "" for nil, and
// CodeInternal for any other error.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := asError(err); ok {
		return e.Code
	}
	return CodeInternal
}

// NotFound reports that there is no such thing, for example
// NotFound("schedule", "shop/nightly"). The hint says how to list what there
// is, for kinds that the command line lists.
func NotFound(kind, name string) *Error {
	e := &Error{Code: CodeNotFound, Message: fmt.Sprintf("%s %q does not exist", kind, name)}
	switch kind {
	case "schedule", "backup", "run":
		e.Hint = fmt.Sprintf("list them with: envbackup %ss list", kind)
	}
	return e
}

// Invalid reports wrong input with its findings. Message is the first
// finding's, so that a caller which shows one line shows the right one.
func Invalid(findings ...Finding) *Error {
	e := &Error{Code: CodeInvalid, Message: "the input is invalid", Findings: findings}
	for _, f := range findings {
		if f.Severity == SeverityError {
			e.Message = f.Summary
			if f.Detail != "" {
				e.Message += ": " + f.Detail
			}
			break
		}
	}
	return e
}

// asError finds the first *Error in err's chain.
func asError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}
