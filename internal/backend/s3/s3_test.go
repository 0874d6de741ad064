package s3_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/backendtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

func options(server *s3test.Server, bucket string) s3.Options {
	return s3.Options{
		Endpoint: server.Endpoint, Region: server.Region, Bucket: bucket, Prefix: "some/where",
		AccessKeyID: server.AccessKey, SecretAccessKey: secret.New(server.SecretKey),
	}
}

func open(t *testing.T, opt s3.Options) *s3.Backend {
	t.Helper()
	be, err := s3.Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return be
}

func TestKeepsTheContractInMemory(t *testing.T) {
	t.Parallel()
	server := s3test.Mem(t)
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, options(server, server.Bucket(t))) },
		backendtest.Features{NoAtomicCreate: true, IgnoresHash: true})
}

func TestKeepsTheContractOnARealServer(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, options(server, server.Bucket(t))) },
		backendtest.Features{})
}

func TestWrongPlacesAndCredentialsAreOneSentence(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	good := options(server, bucket)
	reader := server.User(t, bucket, "s3:ListBucket", "s3:GetObject")
	stranger := server.User(t, server.Bucket(t), "s3:*")
	tests := map[string]struct {
		change func(*s3.Options)
		kind   backend.ErrorKind
		says   string
	}{
		"unknown access key": {func(o *s3.Options) { o.AccessKeyID = "NOBODY" }, backend.BadCredentials, "access key"},
		"wrong secret":       {func(o *s3.Options) { o.SecretAccessKey = secret.New("wrong") }, backend.BadCredentials, "secret access key"},
		"missing bucket":     {func(o *s3.Options) { o.Bucket = "no-such-bucket-here" }, backend.NoBucket, `"no-such-bucket-here" does not exist`},
		"wrong region":       {func(o *s3.Options) { o.Region = "mars-north-1" }, backend.WrongRegion, "region"},
		"nobody listens":     {func(o *s3.Options) { o.Endpoint = "http://127.0.0.1:1" }, backend.Unreachable, "connection refused"},
		"no such host":       {func(o *s3.Options) { o.Endpoint = "http://s3.invalid" }, backend.Unreachable, "cannot be reached"},
		"TLS on a plain port": {func(o *s3.Options) {
			o.Endpoint = strings.Replace(o.Endpoint, "http:", "https:", 1)
		}, backend.Permanent, "TLS"},
		"read only": {func(o *s3.Options) {
			o.AccessKeyID, o.SecretAccessKey = reader.AccessKey, secret.New(reader.SecretKey)
		}, backend.AccessDenied, "not write"},
		"another's bucket": {func(o *s3.Options) {
			o.AccessKeyID, o.SecretAccessKey = stranger.AccessKey, secret.New(stranger.SecretKey)
		}, backend.AccessDenied, "do not allow"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opt := good
			tt.change(&opt)
			be := open(t, opt)
			err := be.Probe(t.Context())
			if backend.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("probe: kind %s: %v", backend.KindOf(err), err)
			}
			if strings.ContainsAny(fmt.Sprint(err), "\n") {
				t.Errorf("more than one line: %q", err)
			}
			for _, hidden := range []string{opt.SecretAccessKey.Reveal(), opt.AccessKeyID} {
				if strings.Contains(fmt.Sprintf("%v %+v %s", err, be.Location(), be.Location()), hidden) {
					t.Errorf("the error or the location shows %q", hidden)
				}
			}
			if name == "read only" {
				return
			}
			// The first call of a run is Get or Stat of the config.
			if _, err := be.Stat(t.Context(), backend.Handle{Kind: backend.KindConfig}); backend.KindOf(err) != tt.kind {
				t.Errorf("stat: kind %s: %v", backend.KindOf(err), err)
			}
			if _, err := backend.ReadAll(t.Context(), be, backend.Handle{Kind: backend.KindConfig}, 100); backend.KindOf(err) != tt.kind {
				t.Errorf("get: kind %s: %v", backend.KindOf(err), err)
			}
		})
	}
}

func TestNoCredentialsAtAll(t *testing.T) {
	for _, v := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
		t.Setenv(v, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	server := s3test.Mem(t)
	opt := options(server, server.Bucket(t))
	opt.AccessKeyID, opt.SecretAccessKey = "", secret.String{}
	err := open(t, opt).Probe(t.Context())
	if backend.KindOf(err) != backend.BadCredentials || !strings.Contains(err.Error(), "no AWS credentials were found") {
		t.Errorf("%s: %v", backend.KindOf(err), err)
	}
}

func TestCredentialsOfTheEnvironmentAreFound(t *testing.T) {
	server := s3test.Mem(t)
	for _, v := range server.Environ() {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	opt := options(server, server.Bucket(t))
	opt.AccessKeyID, opt.SecretAccessKey, opt.Region = "", secret.String{}, ""
	if err := open(t, opt).Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]s3.Options{
		"no bucket":              {},
		"bucket with a slash":    {Bucket: "a/b"},
		"endpoint without URL":   {Bucket: "b", Endpoint: "s3.example.com"},
		"credentials in URL":     {Bucket: "b", Endpoint: "https://user:pass@s3.example.com"},
		"half of the credential": {Bucket: "b", AccessKeyID: "A"},
		"missing CA file":        {Bucket: "b", CAFile: "/nonexistent.pem", AccessKeyID: "A", SecretAccessKey: secret.New("S")},
	} {
		if _, err := s3.Open(t.Context(), opt); err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "pass") && strings.Contains(name, "URL") && strings.Contains(err.Error(), "user:pass") {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}

// faulty returns a store behind a proxy, with our retries.
func faulty(t *testing.T, server *s3test.Server) (*s3test.Faults, backend.Backend) {
	t.Helper()
	faults := server.Faults(t)
	bucket := server.Bucket(t)
	opt := options(server, bucket)
	opt.Endpoint = faults.Endpoint
	return faults, retry.New(open(t, opt), retry.Options{First: 1, Max: 1})
}

func TestFaultsOfTheStoreAreRetried(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	h := backend.Handle{Kind: backend.KindData, Name: strings.Repeat("5a", 32)}
	data := []byte(strings.Repeat("pack ", 10_000))
	for name, fault := range map[string]s3test.Fault{
		"503":         s3test.Status(http.StatusServiceUnavailable, "SlowDown"),
		"500":         s3test.Status(http.StatusInternalServerError, "InternalError"),
		"429":         s3test.Status(http.StatusTooManyRequests, "TooManyRequests"),
		"reset":       s3test.Reset(),
		"lost answer": s3test.LoseAnswer(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults, be := faulty(t, server)
			remove := faults.InjectTimes(2, s3test.Any, fault)
			if err := be.Put(t.Context(), h, data, backend.PutOptions{CreateOnly: true}); err != nil {
				t.Errorf("put: %v", err)
			}
			remove()
			defer faults.InjectTimes(2, s3test.Any, fault)()
			if got, err := backend.ReadAll(t.Context(), be, h, 1<<20); err != nil || string(got) != string(data) {
				t.Errorf("get: %d bytes, %v", len(got), err)
			}
		})
	}
	t.Run("truncated body", func(t *testing.T) {
		t.Parallel()
		faults, be := faulty(t, server)
		if err := be.Put(t.Context(), h, data, backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		faults.InjectTimes(2, s3test.Method(http.MethodGet), s3test.Truncate(1000))
		if got, err := backend.ReadAll(t.Context(), be, h, 1<<20); err != nil || string(got) != string(data) {
			t.Errorf("get: %d bytes, %v", len(got), err)
		}
	})
}

func TestBatchDeleteFallsBackToSingleOnes(t *testing.T) {
	t.Parallel()
	faults, be := faulty(t, s3test.Start(t))
	var handles []backend.Handle
	for i := range 5 {
		h := backend.Handle{Kind: backend.KindData, Name: strings.Repeat(fmt.Sprintf("%02x", i), 32)}
		handles = append(handles, h)
		if err := be.Put(t.Context(), h, []byte("x"), backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	faults.Inject(s3test.Method(http.MethodPost), s3test.Status(http.StatusNotImplemented, "NotImplemented"))
	if err := be.Delete(t.Context(), handles...); err != nil {
		t.Fatal(err)
	}
	for _, h := range handles {
		if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("%s: %v", h, err)
		}
	}
}

func TestManyObjectsAreListedAndDeletedInPages(t *testing.T) {
	t.Parallel()
	faults, be := faulty(t, s3test.Mem(t))
	const count = 2100
	var handles []backend.Handle
	for i := range count {
		h := backend.Handle{Kind: backend.KindSnapshot, Name: fmt.Sprintf("%064x", i)}
		handles = append(handles, h)
		if err := be.Put(t.Context(), h, []byte("x"), backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(names(t, be)); got != count {
		t.Errorf("listed %d of %d", got, count)
	}
	before := len(faults.Requests())
	if err := be.Delete(t.Context(), handles...); err != nil {
		t.Fatal(err)
	}
	if n := len(faults.Requests()) - before; n != 3 {
		t.Errorf("%d requests to delete %d objects, want 3", n, count)
	}
	if got := len(names(t, be)); got != 0 {
		t.Errorf("%d are left", got)
	}
}

func names(t *testing.T, be backend.Backend) (out []string) {
	t.Helper()
	err := be.List(t.Context(), backend.KindSnapshot, func(name string, _ int64, _ time.Time) error {
		out = append(out, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
