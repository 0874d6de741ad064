package s3_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/backendtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// behind returns a store behind a proxy, without retries.
func behind(t *testing.T, server *s3test.Server, change func(*s3.Options)) (*s3test.Faults, *s3.Backend) {
	t.Helper()
	faults := server.Faults(t)
	opt := options(server, server.Bucket(t))
	opt.Endpoint = faults.Endpoint
	if change != nil {
		change(&opt)
	}
	return faults, open(t, opt)
}

// count returns how many requests of the method the proxy has seen.
func count(faults *s3test.Faults, method string) (n int) {
	for _, r := range faults.Requests() {
		if r.Method == method {
			n++
		}
	}
	return n
}

// with matches requests that carry any value in a header of the prefix.
func with(prefix string) s3test.Match {
	return func(r *http.Request) bool {
		for name := range r.Header {
			if strings.HasPrefix(strings.ToLower(name), strings.ToLower(prefix)) {
				return true
			}
		}
		return false
	}
}

func pack(i int) backend.Handle {
	return backend.Handle{Kind: backend.KindData, Name: strings.Repeat(fmt.Sprintf("%02x", i), 32)}
}

// Amazon's own form, which new buckets there need: the bucket is part of the
// host's name, and the signature covers it.
func TestKeepsTheContractByHostName(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(t *testing.T) backend.Backend {
		fake := gofakes3.New(s3mem.New(), gofakes3.WithHostBucket(true), gofakes3.WithAutoBucket(true),
			gofakes3.WithV4Auth(map[string]string{"access-key": "secret"}), gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Host != "acme.s3.example.test" || strings.HasPrefix(r.URL.Path, "/acme") {
				t.Errorf("asked %s for %s", r.Host, r.URL.Path)
			}
			fake.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		}}
		t.Cleanup(transport.CloseIdleConnections)
		return open(t, s3.Options{
			Endpoint: "http://s3.example.test", Bucket: "acme", Prefix: "p", Transport: transport,
			AccessKeyID: "access-key", SecretAccessKey: secret.New("secret"),
		})
	}, backendtest.Features{NoAtomicCreate: true, IgnoresHash: true})
}

// Where a bucket lives at Amazon, and what a certificate for *.s3 does not cover.
func TestHostNamesOfBuckets(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		opt  s3.Options
		host string
	}{
		"Amazon":                   {s3.Options{Bucket: "acme", Region: "eu-central-1"}, "acme.s3.eu-central-1.amazonaws.com:443"},
		"Amazon in China":          {s3.Options{Bucket: "acme", Region: "cn-north-1"}, "acme.s3.cn-north-1.amazonaws.com.cn:443"},
		"Amazon, a name with dots": {s3.Options{Bucket: "backups.acme.com", Region: "eu-central-1"}, "s3.eu-central-1.amazonaws.com:443"},
		"Amazon by path":           {s3.Options{Bucket: "acme", Region: "eu-central-1", ForcePathStyle: true}, "s3.eu-central-1.amazonaws.com:443"},
		"Cloudflare R2":            {s3.Options{Bucket: "acme", Region: "auto", Endpoint: "https://0123.r2.cloudflarestorage.com"}, "acme.0123.r2.cloudflarestorage.com:443"},
		"Backblaze B2":             {s3.Options{Bucket: "acme", Region: "eu-central-003", Endpoint: "https://s3.eu-central-003.backblazeb2.com"}, "acme.s3.eu-central-003.backblazeb2.com:443"},
		"Wasabi":                   {s3.Options{Bucket: "acme", Region: "eu-central-1", Endpoint: "https://s3.eu-central-1.wasabisys.com"}, "acme.s3.eu-central-1.wasabisys.com:443"},
		"Google":                   {s3.Options{Bucket: "acme", Region: "auto", Endpoint: "https://storage.googleapis.com"}, "acme.storage.googleapis.com:443"},
		"Ceph by path":             {s3.Options{Bucket: "acme", Region: "default", Endpoint: "http://rgw.internal:7480", ForcePathStyle: true}, "rgw.internal:7480"},
		"an address":               {s3.Options{Bucket: "acme", Endpoint: "http://192.0.2.7:9000"}, "192.0.2.7:9000"},
		"an IPv6 address":          {s3.Options{Bucket: "acme", Endpoint: "https://[2001:db8::7]"}, "[2001:db8::7]:443"},
	}
	for name, tt := range tests {
		var dialled string
		tt.opt.AccessKeyID, tt.opt.SecretAccessKey = "id", secret.New("secret")
		tt.opt.Transport = &http.Transport{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = address
			return nil, errors.New("not in a test")
		}}
		_, err := open(t, tt.opt).Stat(t.Context(), pack(1))
		if err == nil || dialled != tt.host {
			t.Errorf("%s: dialled %q, want %q", name, dialled, tt.host)
		}
	}
}

// Ceph, Google, B2 and others differ in whether they know conditional writes
// and in how they say so; the store is asked once.
func TestAServerWithoutConditionalWrites(t *testing.T) {
	t.Parallel()
	server := s3test.Mem(t)
	for name, fault := range map[string]s3test.Fault{
		"501 NotImplemented":  s3test.Status(http.StatusNotImplemented, "NotImplemented"),
		"400 InvalidArgument": s3test.Status(http.StatusBadRequest, "InvalidArgument"),
		"400 InvalidRequest":  s3test.Status(http.StatusBadRequest, "InvalidRequest"),
		"405":                 s3test.Answer(http.StatusMethodNotAllowed, ""),
	} {
		faults, be := behind(t, server, nil)
		faults.Inject(with("If-None-Match"), fault)
		for i := range 3 {
			if err := be.Put(t.Context(), pack(i), []byte("x"), backend.PutOptions{CreateOnly: true}); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if n := count(faults, http.MethodPut); n != 4 {
			t.Errorf("%s: %d requests for 3 objects, want one more", name, n)
		}
	}
	// What has another reason must not cost the condition.
	faults, be := behind(t, server, nil)
	remove := faults.Inject(s3test.Method(http.MethodPut), s3test.Status(http.StatusBadRequest, "InvalidRequest"))
	if err := be.Put(t.Context(), pack(1), []byte("x"), backend.PutOptions{CreateOnly: true}); backend.KindOf(err) != backend.Permanent {
		t.Errorf("a refusal became %v", err)
	}
	remove()
	for _, want := range []error{nil, backend.ErrExists} {
		if err := be.Put(t.Context(), pack(1), []byte("x"), backend.PutOptions{CreateOnly: true}); !errors.Is(err, want) {
			t.Errorf("create: %v, want %v", err, want)
		}
	}
}

// A server that knows nothing younger than the protocol's first checksum, and
// insists on that one: no header of the newer ones, no trailer, Content-MD5
// with the list of a batch delete. The signature covers nothing that Google's
// front changes.
func TestRequestsAreOfTheKindThatAllServersKnow(t *testing.T) {
	t.Parallel()
	faults, be := behind(t, s3test.Start(t), nil)
	faults.Inject(func(r *http.Request) bool {
		return with("X-Amz-Checksum-")(r) || with("X-Amz-Sdk-Checksum")(r) || with("X-Amz-Trailer")(r) ||
			strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING")
	}, s3test.Status(http.StatusNotImplemented, "NotImplemented"))
	faults.Inject(func(r *http.Request) bool {
		return r.Method == http.MethodPost && r.Header.Get("Content-MD5") == ""
	}, s3test.Status(http.StatusBadRequest, "MissingContentMD5"))
	for i := range 3 {
		if err := be.Put(t.Context(), pack(i), []byte("x"), backend.PutOptions{CreateOnly: true}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := backend.ReadAll(t.Context(), be, pack(1), 10); err != nil {
		t.Error(err)
	}
	if err := be.Delete(t.Context(), pack(0), pack(1), pack(2)); err != nil {
		t.Error(err)
	}
	if err := be.Probe(t.Context()); err != nil {
		t.Error(err)
	}
	if n := count(faults, http.MethodPost); n != 1 {
		t.Errorf("%d batch deletes, want 1", n)
	}
	for _, r := range faults.Requests() {
		if r.Fault != "" {
			t.Errorf("%s %s was refused: %s", r.Method, r.Path, r.Fault)
		}
		_, signed, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
		if signed, _, _ = strings.Cut(signed, ","); strings.Contains(signed, "accept-encoding") || !strings.Contains(signed, "host") {
			t.Errorf("%s %s signs %s", r.Method, r.Path, signed)
		}
	}
}

// Servers that do not know DeleteObjects have many words for it, and the next
// call does not ask again.
func TestAServerWithoutBatchDelete(t *testing.T) {
	t.Parallel()
	server := s3test.Mem(t)
	for name, fault := range map[string]s3test.Fault{
		"501":          s3test.Status(http.StatusNotImplemented, "NotImplemented"),
		"405":          s3test.Answer(http.StatusMethodNotAllowed, ""),
		"MalformedXML": s3test.Status(http.StatusBadRequest, "MalformedXML"),
		"403":          s3test.Status(http.StatusForbidden, "AccessDenied"),
		"404":          s3test.Status(http.StatusNotFound, "NoSuchKey"),
	} {
		faults, be := behind(t, server, nil)
		faults.Inject(s3test.Method(http.MethodPost), fault)
		for range 2 {
			var handles []backend.Handle
			for i := range 20 {
				handles = append(handles, pack(i))
				if err := be.Put(t.Context(), pack(i), []byte("x"), backend.PutOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			if err := be.Delete(t.Context(), handles...); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, h := range handles {
				if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
					t.Errorf("%s: %s is left: %v", name, h, err)
				}
			}
		}
		if n := count(faults, http.MethodPost); n != 1 {
			t.Errorf("%s: %d batches were tried, want 1", name, n)
		}
	}
	// Without the right to delete, nothing is remembered and one thing is said.
	faults, be := behind(t, server, nil)
	faults.Inject(s3test.Method(http.MethodPost, http.MethodDelete), s3test.Status(http.StatusForbidden, "AccessDenied"))
	err := be.Delete(t.Context(), pack(1), pack(2), pack(3))
	if backend.KindOf(err) != backend.AccessDenied || !strings.Contains(err.Error(), "delete") || count(faults, http.MethodDelete) != 1 {
		t.Errorf("%d single deletes: %v", count(faults, http.MethodDelete), err)
	}
}

// A batch of which some stayed: what time mends is repeated, what it does not
// is said.
func TestABatchThatFailsInPart(t *testing.T) {
	t.Parallel()
	answer := func(codes ...string) s3test.Fault {
		var b strings.Builder
		b.WriteString(`<DeleteResult>`)
		for i, code := range codes {
			fmt.Fprintf(&b, "<Error><Key>some/where/%s</Key><Code>%s</Code></Error>", pack(i).Path(), code)
		}
		return s3test.Answer(http.StatusOK, b.String()+`</DeleteResult>`)
	}
	tests := map[string]struct {
		fault    s3test.Fault
		requests int
		kind     backend.ErrorKind
	}{
		"it is busy with some":          {answer("SlowDown", "InternalError"), 2, 0},
		"some are gone already":         {answer("NoSuchKey"), 1, 0},
		"some may not go":               {answer("InternalError", "AccessDenied"), 1, backend.AccessDenied},
		"the bucket went in the middle": {answer("InternalError", "NoSuchBucket"), 1, backend.NoBucket},
	}
	for name, tt := range tests {
		faults, be := faulty(t, s3test.Mem(t))
		faults.InjectTimes(1, s3test.Method(http.MethodPost), tt.fault)
		err := be.Delete(t.Context(), pack(0), pack(1), pack(2))
		if n := count(faults, http.MethodPost); n != tt.requests || (err == nil) != (tt.kind == 0) || backend.KindOf(err) != tt.kind {
			t.Errorf("%s: %d requests: %v", name, n, err)
		}
	}
}

// The storage class is for packs only, encryption for everything; who does not
// know them is named at the probe already.
func TestStorageClassAndEncryption(t *testing.T) {
	t.Parallel()
	server := s3test.Mem(t)
	tests := map[string]struct {
		change         func(*s3.Options)
		class, sse, id string
	}{
		"nothing":             {func(*s3.Options) {}, "", "", ""},
		"a storage class":     {func(o *s3.Options) { o.StorageClass = "STANDARD_IA" }, "STANDARD_IA", "", ""},
		"the store's keys":    {func(o *s3.Options) { o.SSE = "AES256" }, "", "AES256", ""},
		"the account's key":   {func(o *s3.Options) { o.SSE = "aws:kms" }, "", "aws:kms", ""},
		"a KMS key by its id": {func(o *s3.Options) { o.SSEKMSKeyID = "alias/backups" }, "", "aws:kms", "alias/backups"},
	}
	for name, tt := range tests {
		faults, be := behind(t, server, tt.change)
		faults.Inject(s3test.Method(http.MethodPut), s3test.Answer(http.StatusOK, "")) // no server of the tests has KMS
		for _, h := range []backend.Handle{pack(1), {Kind: backend.KindIndex, Name: pack(1).Name}, {Kind: backend.KindConfig}} {
			if err := be.Put(t.Context(), h, []byte("x"), backend.PutOptions{CreateOnly: true}); err != nil {
				t.Fatal(err)
			}
			seen := faults.Requests()
			header := seen[len(seen)-1].Header
			class := tt.class
			if h.Kind != backend.KindData {
				class = ""
			}
			if header.Get("X-Amz-Storage-Class") != class || header.Get("X-Amz-Server-Side-Encryption") != tt.sse ||
				header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != tt.id {
				t.Errorf("%s: %s: %v", name, h, header)
			}
		}
	}
	if _, err := s3.Open(t.Context(), s3.Options{Bucket: "b", SSE: "AES256", SSEKMSKeyID: "k"}); err == nil {
		t.Error("a KMS key with AES256 is accepted")
	}
	refusals := map[string]struct {
		header string
		fault  s3test.Fault
		kind   backend.ErrorKind
		says   string
	}{
		"encryption is not known": {"X-Amz-Server-Side-Encryption", s3test.Status(http.StatusNotImplemented, "NotImplemented"),
			backend.Unsupported, "server_side_encryption"},
		"the class is not known": {"X-Amz-Storage-Class", s3test.Status(http.StatusBadRequest, "InvalidStorageClass"),
			backend.Unsupported, `storage class "COLD"`},
		"the key is disabled": {"X-Amz-Server-Side-Encryption", s3test.Status(http.StatusBadRequest, "KMS.DisabledException"),
			backend.Unsupported, "KMS key cannot be used"},
		"the key is not to be used": {"X-Amz-Server-Side-Encryption", s3test.Status(http.StatusForbidden, "AccessDenied"),
			backend.AccessDenied, "kms:GenerateDataKey"},
	}
	for name, tt := range refusals {
		faults, be := behind(t, server, func(o *s3.Options) { o.StorageClass, o.SSEKMSKeyID, o.SSE = "COLD", "k", "aws:kms" })
		faults.Inject(with(tt.header), tt.fault)
		for op, err := range map[string]error{
			"probe": be.Probe(t.Context()), "put": be.Put(t.Context(), pack(1), []byte("x"), backend.PutOptions{CreateOnly: true}),
		} {
			if backend.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("%s: %s: %s: %v", name, op, backend.KindOf(err), err)
			}
		}
	}
}
