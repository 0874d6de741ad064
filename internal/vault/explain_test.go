package vault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// S6: every failure of a store has a code that says whether a run is tried
// again, names the place, and says what to do.
func TestAFailureOfAStoreSaysWhatToDo(t *testing.T) {
	t.Parallel()
	tests := map[backend.ErrorKind]struct {
		code  envbackup.Code
		retry bool
		hint  string
	}{
		backend.Permanent:      {envbackup.CodeInternal, false, "manual"},
		backend.NotFound:       {envbackup.CodeDamaged, false, "restic check"},
		backend.AccessDenied:   {envbackup.CodeCredentials, false, "list the place"},
		backend.BadCredentials: {envbackup.CodeCredentials, false, "secret_access_key_wo"},
		backend.NoBucket:       {envbackup.CodeBucketMissing, false, "create it"},
		backend.WrongRegion:    {envbackup.CodeWrongRegion, false, "region"},
		backend.Throttled:      {envbackup.CodeThrottled, true, "again by themselves"},
		backend.Unreachable:    {envbackup.CodeUnreachable, true, "network"},
		backend.Temporary:      {envbackup.CodeUnreachable, true, "network"},
		backend.NoObjectLock:   {envbackup.CodeNoObjectLock, false, "object_lock_mode"},
		backend.Untrusted:      {envbackup.CodeUntrusted, false, "s3_ca_file"},
		backend.Unsupported:    {envbackup.CodeUnsupported, false, "remove the setting"},
		backend.Full:           {envbackup.CodeDiskFull, false, "make room"},
	}
	for kind, want := range tests {
		err := vault.Explain(&backend.Error{Op: "put", Kind: kind, Message: "this is why"}, "s3:https://h/b")
		var e *envbackup.Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: %v", kind, err)
		}
		if e.Code != want.code || e.Code.Retryable() != want.retry || !strings.Contains(e.Hint, want.hint) ||
			e.Message != "s3:https://h/b: this is why" {
			t.Errorf("%s: %+v", kind, *e)
		}
	}
}
