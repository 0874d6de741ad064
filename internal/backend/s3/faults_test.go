package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// putPack stores content of the size under its true name.
func putPack(t *testing.T, be backend.Backend, size int) (backend.Handle, []byte) {
	t.Helper()
	data := bytes.Repeat([]byte("pack of a backup"), size/16)
	sum := sha256.Sum256(data)
	h := backend.Handle{Kind: backend.KindData, Name: fmt.Sprintf("%x", sum)}
	if err := be.Put(t.Context(), h, data, backend.PutOptions{SHA256: &sum, CreateOnly: true}); err != nil {
		t.Fatalf("put: %v", err)
	}
	return h, data
}

func wantContent(t *testing.T, be backend.Backend, h backend.Handle, want []byte) {
	t.Helper()
	if got, err := backend.ReadAll(t.Context(), be, h, 64<<20); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read back: %d bytes of %d, %v", len(got), len(want), err)
	}
}

// S6: an upload whose answer was lost is asked for, not sent again; one that
// never arrived is sent.
func TestTheFateOfAnUploadIsChecked(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, tt := range map[string]struct {
		fault s3test.Fault
		puts  int
		lock  bool
	}{
		"stored, answer lost":             {s3test.LoseAnswer(), 1, false},
		"stored with a lock, answer lost": {s3test.LoseAnswer(), 1, true},
		"never arrived":                   {s3test.Reset(), 2, false},
		"refused for now":                 {s3test.Status(http.StatusInternalServerError, "InternalError"), 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bucket []s3test.BucketOption
			if tt.lock {
				bucket = append(bucket, s3test.Locked())
			}
			faults := server.Faults(t)
			opt := options(server, server.Bucket(t, bucket...))
			opt.Endpoint = faults.Endpoint
			if tt.lock {
				opt.LockMode, opt.LockFor = "GOVERNANCE", time.Hour
			}
			be := retry.New(open(t, opt), retry.Options{First: 1, Max: 1})
			faults.InjectTimes(1, s3test.Method(http.MethodPut), tt.fault)
			h, data := putPack(t, be, 1<<20)
			if n := count(faults, http.MethodPut); n != tt.puts || count(faults, http.MethodGet) != 0 {
				t.Errorf("%d uploads and %d reads, want %d and none", n, count(faults, http.MethodGet), tt.puts)
			}
			wantContent(t, be, h, data)
		})
	}
}

// Other bytes under the name, of the same length, are not taken for ours.
func TestAnotherObjectIsNotTakenForTheLostOne(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, lockMode := range map[string]string{"by its tag": "", "by its checksum": "GOVERNANCE"} {
		opt := options(server, server.Bucket(t, s3test.Locked()))
		opt.LockMode = lockMode
		if lockMode != "" {
			opt.LockFor = time.Hour
		}
		be := open(t, opt)
		if err := be.Put(t.Context(), pack(1), []byte("damaged"), backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		for content, want := range map[string]bool{"damaged": true, "correct": false, "longer than that": false} {
			if held, err := be.Holds(t.Context(), pack(1), []byte(content), nil); held != want || err != nil {
				t.Errorf("%s: %q is held: %t, %v", name, content, held, err)
			}
		}
		if held, err := be.Holds(t.Context(), pack(2), []byte("x"), nil); held || err != nil {
			t.Errorf("%s: what was never there is held: %t, %v", name, held, err)
		}
	}
}

// A store that says when to come back is believed.
func TestRetryAfterIsRead(t *testing.T) {
	t.Parallel()
	server := s3test.Mem(t)
	for name, tt := range map[string]struct {
		status      int
		code, after string
		least, most time.Duration
	}{
		"429 in seconds":      {http.StatusTooManyRequests, "TooManyRequests", "7", 7 * time.Second, 7 * time.Second},
		"503 in seconds":      {http.StatusServiceUnavailable, "SlowDown", "120", 2 * time.Minute, 2 * time.Minute},
		"503 until":           {http.StatusServiceUnavailable, "", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 50 * time.Minute, time.Hour},
		"503 until yesterday": {http.StatusServiceUnavailable, "", time.Now().Add(-24 * time.Hour).UTC().Format(http.TimeFormat), 0, 0},
		"503 of a proxy":      {http.StatusServiceUnavailable, "", "9", 9 * time.Second, 9 * time.Second},
		"nonsense":            {http.StatusServiceUnavailable, "SlowDown", "-3 soon", 0, 0},
	} {
		faults, be := behind(t, server, nil)
		faults.Inject(s3test.Any, s3test.StatusLater(tt.status, tt.code, tt.after))
		err := be.Put(t.Context(), pack(1), []byte("x"), backend.PutOptions{})
		e, ok := errors.AsType[*backend.Error](err)
		if !ok || e.Kind != backend.Throttled || e.RetryAfter < tt.least || e.RetryAfter > tt.most {
			t.Errorf("%s: %+v", name, err)
		}
	}
}

// A store that accepts a request and says nothing is asked again, by every kind
// of call.
func TestASilentStoreIsAskedAgain(t *testing.T) {
	t.Parallel()
	server := s3test.Mem(t)
	for _, method := range []string{http.MethodPut, http.MethodHead, http.MethodGet, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			faults := server.Faults(t)
			opt := options(server, server.Bucket(t))
			opt.Endpoint = faults.Endpoint
			var said []string
			var mu sync.Mutex
			be := retry.New(open(t, opt), retry.Options{First: 1, Max: 1, Stall: 200 * time.Millisecond, Notify: func(err error, _ time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				said = append(said, err.Error())
			}})
			faults.InjectTimes(2, s3test.Method(method), s3test.Stall())
			h, data := putPack(t, be, 1<<16)
			wantContent(t, be, h, data)
			if size, err := be.Stat(t.Context(), h); err != nil || size != int64(len(data)) {
				t.Errorf("stat: %d, %v", size, err)
			}
			if err := be.List(t.Context(), backend.KindData, func(string, int64, time.Time) error { return nil }); err != nil {
				t.Errorf("list: %v", err)
			}
			if err := be.Delete(t.Context(), h, pack(1)); err != nil {
				t.Errorf("delete: %v", err)
			}
			if len(said) < 2 || !strings.Contains(said[0], "did not answer for") {
				t.Errorf("the retries say %q", said)
			}
		})
	}
}

// Bytes that change on the way up are refused by the store, sent again, and
// never stored.
func TestAnUploadThatChangesOnTheWayIsSentAgain(t *testing.T) {
	t.Parallel()
	faults, be := faulty(t, s3test.Start(t))
	faults.InjectTimes(2, s3test.Method(http.MethodPut), s3test.CorruptUpload(1000))
	h, data := putPack(t, be, 1<<20)
	if n := count(faults, http.MethodPut); n != 3 {
		t.Errorf("%d uploads, want 3", n)
	}
	wantContent(t, be, h, data)
}

// Answers of another length than they say end as broken ones; those that are
// shorter than they should be and say so are the reader's to see, by the hash.
func TestAnswersOfAWrongLength(t *testing.T) {
	t.Parallel()
	server := s3test.Mem(t)
	faults, be := faulty(t, server)
	h, data := putPack(t, be, 1<<16)
	faults.InjectTimes(2, s3test.Method(http.MethodGet), s3test.WrongLength(100))
	wantContent(t, be, h, data)
	if n := count(faults, http.MethodGet); n != 3 {
		t.Errorf("%d reads of a body that ends early, want 3", n)
	}
	// A range that comes back shorter is never passed on as if it were whole.
	faults.InjectTimes(1, s3test.Method(http.MethodGet), s3test.WrongLength(-100))
	err := be.Get(t.Context(), h, 0, 1<<15, readAll)
	if !errors.Is(err, backend.ErrRange) {
		t.Errorf("a short range: %v", err)
	}
	// A list that is cut in the middle is no list, and asked for again.
	for name, fault := range map[string]s3test.Fault{
		"a cut list":       s3test.Truncate(150),
		"a cut list, said": s3test.WrongLength(-150),
		"a login page":     s3test.Answer(http.StatusOK, "<html><body>Welcome to the airport"),
	} {
		faults.InjectTimes(2, s3test.Method(http.MethodGet), fault)
		if n := listed(t, be); n != 1 {
			t.Errorf("%s: listed %d objects, want 1", name, n)
		}
	}
	// The page is not a store for good: it is said what it is not.
	page, bare := behind(t, server, nil)
	page.Inject(s3test.Any, s3test.Answer(http.StatusOK, "<html><body>Welcome to the airport"))
	err = bare.List(t.Context(), backend.KindData, func(string, int64, time.Time) error { return nil })
	if backend.KindOf(err) != backend.Temporary || !strings.Contains(err.Error(), "not that of an S3 server") {
		t.Errorf("%s: %v", backend.KindOf(err), err)
	}
}

func listed(t *testing.T, be backend.Backend) (n int) {
	t.Helper()
	if err := be.List(t.Context(), backend.KindData, func(string, int64, time.Time) error { n++; return nil }); err != nil {
		t.Errorf("list: %v", err)
	}
	return n
}

// S6: credentials that are withdrawn in the middle are a person's to mend. No
// call is repeated, and each says so.
func TestCredentialsThatAreWithdrawnEndTheRun(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	user := server.User(t, bucket, "s3:*")
	faults := user.Faults(t)
	opt := options(user, bucket)
	opt.Endpoint = faults.Endpoint
	be := retry.New(open(t, opt), retry.Options{First: 1, Max: 1})
	h, _ := putPack(t, be, 1<<16)
	everyCallEnds := func(kind backend.ErrorKind, says string) {
		t.Helper()
		for op, call := range calls(t, be, h) {
			before := len(faults.Requests())
			err := call()
			// The answer to a HEAD has no words: a list is asked for them.
			if n := len(faults.Requests()) - before; n > 2 {
				t.Errorf("%s was tried %d times", op, n)
			}
			if backend.KindOf(err) != kind || !strings.Contains(fmt.Sprint(err), says) {
				t.Errorf("%s: %s: %v", op, backend.KindOf(err), err)
			}
		}
	}
	if _, err := server.Client().DeleteBucketPolicy(t.Context(), &awss3.DeleteBucketPolicyInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	everyCallEnds(backend.AccessDenied, "do not allow")
	faults.Inject(s3test.Any, s3test.Status(http.StatusForbidden, "InvalidAccessKeyId"))
	for op, call := range calls(t, be, h) {
		if op == "stat" {
			continue // its first answer has no words, and the proxy gives it some
		}
		if err := call(); backend.KindOf(err) != backend.BadCredentials || !strings.Contains(err.Error(), "access key id") {
			t.Errorf("%s with a deleted key: %s: %v", op, backend.KindOf(err), err)
		}
	}
}

// A bucket that is deleted in the middle is named as missing, at once.
func TestABucketThatIsDeletedEndsTheRun(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	faults := server.Faults(t)
	opt := options(server, bucket)
	opt.Endpoint = faults.Endpoint
	be := retry.New(open(t, opt), retry.Options{First: 1, Max: 1})
	h, _ := putPack(t, be, 1<<16)
	if err := be.Delete(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if _, err := server.Client().DeleteBucket(t.Context(), &awss3.DeleteBucketInput{Bucket: aws.String(bucket)}); err != nil {
		t.Fatal(err)
	}
	for op, call := range calls(t, be, h) {
		before := len(faults.Requests())
		err := call()
		if n := len(faults.Requests()) - before; n > 2 || backend.KindOf(err) != backend.NoBucket || !strings.Contains(fmt.Sprint(err), bucket) {
			t.Errorf("%s: %d requests: %s: %v", op, n, backend.KindOf(err), err)
		}
	}
}

// calls are all that a run asks of a store.
func calls(t *testing.T, be backend.Backend, h backend.Handle) map[string]func() error {
	ctx := t.Context()
	return map[string]func() error{
		"put":  func() error { return be.Put(ctx, pack(9), []byte("x"), backend.PutOptions{CreateOnly: true}) },
		"get":  func() error { _, err := backend.ReadAll(ctx, be, h, 1<<20); return err },
		"stat": func() error { _, err := be.Stat(ctx, h); return err },
		"list": func() error {
			return be.List(ctx, backend.KindData, func(string, int64, time.Time) error { return nil })
		},
		"delete one":  func() error { return be.Delete(ctx, h) },
		"delete many": func() error { return be.Delete(ctx, h, pack(1), pack(2)) },
	}
}

// A slow line is no silent one: the watchdog hears of each piece of an upload.
func TestAnUploadTellsOfItsWay(t *testing.T) {
	t.Parallel()
	_, be := behind(t, s3test.Start(t), nil)
	var mu sync.Mutex
	moved := 0
	ctx := backend.WithProgress(t.Context(), func() { mu.Lock(); moved++; mu.Unlock() })
	data := make([]byte, 4<<20)
	sum := sha256.Sum256(data)
	if err := be.Put(ctx, pack(1), data, backend.PutOptions{SHA256: &sum}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if moved < 16 {
		t.Errorf("4 MiB told of themselves %d times, want every 256 KiB at least", moved)
	}
}

// Every request is told of once, under the protocol's name of it.
func TestRequestsAreObserved(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	faults, be := behind(t, s3test.Mem(t), func(o *s3.Options) {
		o.Observe = func(r s3.Request) {
			mu.Lock()
			defer mu.Unlock()
			seen[r.Operation+" "+r.Result]++
		}
	})
	h, data := putPack(t, be, 1<<10)
	wantContent(t, be, h, data)
	_, _ = be.Stat(t.Context(), pack(1)) // 404, and the list that says of what
	_ = be.Put(t.Context(), h, data, backend.PutOptions{CreateOnly: true})
	if err := be.Delete(t.Context(), h, pack(1)); err != nil {
		t.Fatal(err)
	}
	for _, fault := range []s3test.Fault{
		s3test.Status(http.StatusServiceUnavailable, "SlowDown"), s3test.Status(http.StatusForbidden, "AccessDenied"),
		s3test.Status(http.StatusBadGateway, ""), s3test.Status(http.StatusBadRequest, "InvalidRequest"), s3test.Reset(),
	} {
		remove := faults.Inject(s3test.Any, fault)
		_ = be.Delete(t.Context(), h)
		remove()
	}
	ctx, cancel := context.WithCancel(t.Context())
	faults.Inject(func(*http.Request) bool { cancel(); return true }, s3test.Stall())
	_ = be.Delete(ctx, h)
	want := map[string]int{
		"PutObject ok": 1, "PutObject exists": 1, "GetObject ok": 1, "HeadObject not_found": 1, "ListObjectsV2 ok": 1, "DeleteObjects ok": 1,
		"DeleteObject throttled": 1, "DeleteObject denied": 1, "DeleteObject server_error": 1, "DeleteObject refused": 1,
		"DeleteObject no_answer": 1, "DeleteObject cancelled": 1,
	}
	mu.Lock()
	defer mu.Unlock()
	for what, n := range want {
		if seen[what] != n {
			t.Errorf("%s: %d, want %d", what, seen[what], n)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("seen %v", seen)
	}
}

func readAll(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
