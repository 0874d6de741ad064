package cli

import (
	"errors"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// The exit codes are stable: scripts test them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // wrong usage or invalid input
	exitNotFound    = 3
	exitNotAllowed  = 4
	exitUnreachable = 5
)

const exitCodesHelp = `Exit codes: 0 done, 1 failed, 2 wrong usage or invalid input, 3 nothing found,
4 not allowed, 5 daemon unreachable.`

// exitCode is the only place where an error becomes an exit code.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	switch envbackup.CodeOf(err) {
	case envbackup.CodeInvalid:
		return exitUsage
	case envbackup.CodeNotFound:
		return exitNotFound
	case envbackup.CodeUnauthenticated, envbackup.CodeForbidden, envbackup.CodeNotAllowed, envbackup.CodeWrongPassword:
		return exitNotAllowed
	case envbackup.CodeUnavailable:
		return exitUnreachable
	default:
		return exitFailed
	}
}
