package backend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// ErrorKind classifies a failure of a store by what to do about it.
type ErrorKind uint8

// The kinds of errors. Throttled, Unreachable and Temporary are worth another
// try; all others stay until a person changes something.
const (
	Permanent      ErrorKind = iota // the zero value: nothing better is known
	NotFound                        // no such object
	Exists                          // CreateOnly found the object
	AccessDenied                    // valid credentials without the right
	NoBucket                        // the bucket or directory does not exist
	WrongRegion                     // the bucket is in another region
	BadCredentials                  // unknown, wrong, expired or missing credentials
	Throttled                       // the store asks for fewer requests
	Unreachable                     // no connection to the store
	Temporary                       // a 5xx, a broken connection, a short body
	NoObjectLock                    // locks are wanted and the bucket has none
	Untrusted                       // the store's certificate is not to be trusted
	Unsupported                     // the store does not know what a setting asks for
	Full                            // no room is left
)

var kindNames = [...]string{
	"permanent", "not found", "exists", "access denied", "no bucket",
	"wrong region", "bad credentials", "throttled", "unreachable", "temporary", "no object lock",
	"untrusted", "unsupported", "full",
}

// String returns the kind in words.
func (k ErrorKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("error kind %d", uint8(k))
}

// Retryable reports whether the same call may succeed later by itself.
func (k ErrorKind) Retryable() bool { return k == Throttled || k == Unreachable || k == Temporary }

// Sentinels for errors.Is; each matches every *Error of its kind.
var (
	ErrNotExist = errors.New("object does not exist")
	ErrExists   = errors.New("object exists already")
	// ErrRange is the cause of a Get beyond the object's end: the object is
	// shorter than its reader believes.
	ErrRange = errors.New("the range is not within the object")
	// ErrTooLarge is the cause of a ReadAll that stopped at its limit.
	ErrTooLarge = errors.New("there is more to read than can be right")
)

// Error is a classified failure of a store. It carries no secret.
type Error struct {
	Op     string // "put", "get", "stat", "list", "delete", "probe", "open"
	Handle Handle // zero where the call is about no single object
	Kind   ErrorKind
	// Message is one sentence for people: what is wrong and, where it is
	// known, what to change. Empty where Err says it all.
	Message string
	// RetryAfter is for how long the store asks not to be asked again; 0 where
	// it says nothing.
	RetryAfter time.Duration
	Err        error
}

// Error returns "op object: message: cause".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Handle.Kind != 0 {
		b.WriteByte(' ')
		b.WriteString(e.Handle.String())
	}
	b.WriteString(": ")
	switch {
	case e.Message != "":
		b.WriteString(e.Message)
	case e.Err != nil:
		b.WriteString(e.Err.Error())
	default:
		b.WriteString(e.Kind.String())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, ErrNotExist) and ErrExists work, and fs.ErrNotExist
// for those who do not know this package.
func (e *Error) Is(target error) bool {
	return (target == ErrNotExist || target == fs.ErrNotExist) && e.Kind == NotFound || target == ErrExists && e.Kind == Exists
}

// KindOf returns the kind of the first *Error in err's chain, and Permanent
// for other errors.
func KindOf(err error) ErrorKind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Permanent
}

// IsRetryable reports whether err may go away by itself: the chain holds an
// *Error of such a kind and the context was not what ended the call.
func IsRetryable(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	e, ok := errors.AsType[*Error](err)
	return ok && e.Kind.Retryable()
}
