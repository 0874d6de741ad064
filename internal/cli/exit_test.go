package cli

import (
	"errors"
	"fmt"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	coded := func(code envbackup.Code) error {
		return fmt.Errorf("list runs: %w", &envbackup.Error{Code: code})
	}
	for name, test := range map[string]struct {
		err  error
		want int
	}{
		"success":            {nil, 0},
		"unknown error":      {errors.New("boom"), 1},
		"failed run":         {silentError{errors.New("run failed")}, 1},
		"usage":              {usageError{errors.New("no such flag")}, 2},
		"silent usage":       {silentError{usageError{errors.New("printed")}}, 2},
		"invalid input":      {coded(envbackup.CodeInvalid), 2},
		"not found":          {coded(envbackup.CodeNotFound), 3},
		"no token":           {coded(envbackup.CodeUnauthenticated), 4},
		"role too low":       {coded(envbackup.CodeForbidden), 4},
		"wrong password":     {coded(envbackup.CodeWrongPassword), 4},
		"daemon unreachable": {coded(envbackup.CodeUnavailable), 5},
		"conflict":           {coded(envbackup.CodeConflict), 1},
	} {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%s: exit code %d, want %d", name, got, test.want)
		}
	}
}
