package runner_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// S6: a store that breaks for good in the middle of a run fails it at once, with
// a code that no retry of the run follows, a next step, and no secret; what was
// backed up before is whole.
func TestAStoreThatBreaksInTheMiddleOfARun(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	packs := func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/data/")
	}
	tests := map[string]struct {
		fault s3test.Fault
		code  envbackup.Code
		hint  string
	}{
		"the key is withdrawn":        {s3test.Status(http.StatusForbidden, "InvalidAccessKeyId"), envbackup.CodeCredentials, "secret_access_key_wo"},
		"the right is withdrawn":      {s3test.Status(http.StatusForbidden, "AccessDenied"), envbackup.CodeCredentials, "withdrawn"},
		"the session is over":         {s3test.Status(http.StatusBadRequest, "ExpiredToken"), envbackup.CodeCredentials, "credentials"},
		"the bucket is deleted":       {s3test.Status(http.StatusNotFound, "NoSuchBucket"), envbackup.CodeBucketMissing, "create it"},
		"the bucket is full":          {s3test.Status(http.StatusForbidden, "QuotaExceeded"), envbackup.CodeDiskFull, "make room"},
		"the KMS key is disabled":     {s3test.Status(http.StatusBadRequest, "KMS.DisabledException"), envbackup.CodeUnsupported, "setting"},
		"something that nobody knows": {s3test.Status(http.StatusTeapot, "ImATeapot"), envbackup.CodeInternal, "manual"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults := server.Faults(t)
			b := newBench(t)
			d := b.s3("bucket", faults.Server, server.Bucket(t))
			s := b.schedule("hourly", last(3), d)
			b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
			b.fresh(1 << 20)
			remove := faults.Inject(packs, tt.fault)
			before := refused(faults)
			_, err := b.runner.ExecuteRun(t.Context(), b.newRun(s, envbackup.TriggerSchedule), func(envbackup.Progress) {})
			var e *envbackup.Error
			if !errors.As(err, &e) || e.Code != tt.code || e.Code.Retryable() || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("the run ends with %+v (%v)", e, err)
			}
			if strings.Contains(err.Error(), server.SecretKey) || strings.Contains(err.Error(), server.AccessKey) {
				t.Errorf("the failure shows the key: %v", err)
			}
			// One for each upload that was on its way already.
			if n := refused(faults) - before; n < 1 || n > 8 {
				t.Errorf("%d uploads were refused", n)
			}
			remove()
			b.restic(d, server.Environ()...).Check()
		})
	}
}

// refused counts the requests that were answered by a fault.
func refused(faults *s3test.Faults) (n int) {
	for _, r := range faults.Requests() {
		if r.Fault != "" {
			n++
		}
	}
	return n
}
