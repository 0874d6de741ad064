package s3_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

const role = "arn:aws:iam::123456789012:role/backups"

// sts is a token service that answers as it is told, and notes what it is
// asked for.
func sts(t *testing.T, answer func(w http.ResponseWriter)) *url.Values {
	t.Helper()
	asked := &url.Values{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		form.Set("signed", r.Header.Get("Authorization"))
		*asked = form
		answer(w)
	}))
	t.Cleanup(server.Close)
	t.Setenv("AWS_ENDPOINT_URL_STS", server.URL)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	return asked
}

// role_arn: the destination's credentials ask for the role, and the role's own
// sign the requests to the store.
func TestARoleIsAssumed(t *testing.T) {
	server := s3test.Mem(t)
	asked := sts(t, func(w http.ResponseWriter) {
		_, _ = fmt.Fprintf(w, `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId>
			<SecretAccessKey>%s</SecretAccessKey><SessionToken>token-of-the-role</SessionToken><Expiration>%s</Expiration>
			</Credentials></AssumeRoleResult></AssumeRoleResponse>`, server.AccessKey, server.SecretKey, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	})
	faults, be := behind(t, server, func(o *s3.Options) {
		o.RoleARN, o.AccessKeyID, o.SecretAccessKey = role, "key-of-the-user", secret.New("secret-of-the-user")
	})
	if err := be.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if asked.Get("RoleArn") != role || !strings.Contains(asked.Get("signed"), "key-of-the-user") {
		t.Errorf("the token service was asked %v", asked)
	}
	for _, r := range faults.Requests() {
		if r.Header.Get("X-Amz-Security-Token") != "token-of-the-role" || !strings.Contains(r.Header.Get("Authorization"), server.AccessKey) {
			t.Errorf("%s %s is not signed by the role", r.Method, r.Path)
		}
	}
}

// A role that is not given out is a person's to mend; a token service that does
// not answer is time's.
func TestARoleThatIsNotToBeHad(t *testing.T) {
	server := s3test.Mem(t)
	fail := func(status int, code string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.WriteHeader(status)
			_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Code>%s</Code><Message>no</Message></Error></ErrorResponse>", code)
		}
	}
	tests := map[string]struct {
		answer func(w http.ResponseWriter)
		key    string
		kind   backend.ErrorKind
		says   string
	}{
		"not allowed":    {fail(http.StatusForbidden, "AccessDenied"), "user", backend.BadCredentials, "cannot be assumed with these credentials (AccessDenied)"},
		"down":           {fail(http.StatusServiceUnavailable, "ServiceUnavailable"), "user", backend.Unreachable, "cannot be reached"},
		"busy":           {fail(http.StatusBadRequest, "Throttling"), "user", backend.Unreachable, "cannot be reached"},
		"hangs up":       {func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "user", backend.Unreachable, "cannot be reached"},
		"no credentials": {fail(http.StatusForbidden, "AccessDenied"), "", backend.BadCredentials, "no AWS credentials were found with which to assume the role"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
				t.Setenv(v, "")
			}
			sts(t, tt.answer)
			opt := options(server, server.Bucket(t))
			opt.RoleARN, opt.AccessKeyID, opt.SecretAccessKey = role, tt.key, secret.String{}
			if tt.key != "" {
				opt.SecretAccessKey = secret.New("secret-of-the-user")
			}
			err := open(t, opt).Probe(t.Context())
			if backend.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.says) || !strings.Contains(fmt.Sprint(err), role) {
				t.Errorf("%s: %v", backend.KindOf(err), err)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), "secret-of-the-user") {
				t.Error("the error shows the secret")
			}
		})
	}
}
