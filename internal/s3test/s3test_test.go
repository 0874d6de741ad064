package s3test_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

func put(server *s3test.Server, bucket, key, body string) error {
	_, err := server.Client().PutObject(context.Background(), &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String(key), Body: strings.NewReader(body),
	})
	return err
}

func get(server *s3test.Server, bucket, key string) (string, error) {
	object, err := server.Client().GetObject(context.Background(), &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String(key)})
	if err != nil {
		return "", err
	}
	defer func() { _ = object.Body.Close() }()
	body, err := io.ReadAll(object.Body)
	return string(body), err
}

func code(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

func eachServer(t *testing.T, test func(*testing.T, *s3test.Server)) {
	t.Helper()
	for name, start := range map[string]func(testing.TB) *s3test.Server{"in memory": s3test.Mem, "versitygw": s3test.Start} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, start(t))
		})
	}
}

func TestObjectsComeBackAndBucketsAreApart(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, server *s3test.Server) {
		one, two := server.Bucket(t), server.Bucket(t)
		for _, key := range []string{"b", "a/x", "a/y"} {
			if err := put(server, one, key, "body of "+key); err != nil {
				t.Fatal(err)
			}
		}
		if body, err := get(server, one, "a/x"); err != nil || body != "body of a/x" {
			t.Errorf("get a/x = %q, %v", body, err)
		}
		if got := strings.Join(server.Keys(t, one, "a/"), " "); got != "a/x a/y" {
			t.Errorf("keys under a/ = %q, want a/x a/y", got)
		}
		if keys := server.Keys(t, two, ""); len(keys) != 0 {
			t.Errorf("the other bucket holds %q, want nothing", keys)
		}
	})
}

func TestWrongSecretIsRefused(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, server *s3test.Server) {
		bucket := server.Bucket(t)
		err := put(server.As(server.AccessKey, "wrong"), bucket, "k", "v")
		if code(err) != "SignatureDoesNotMatch" {
			t.Errorf("put with a wrong secret: %v, want SignatureDoesNotMatch", err)
		}
	})
}

func TestTheServerIsSharedAndStopsWhenOwned(t *testing.T) {
	t.Parallel()
	if a, b := s3test.Start(t), s3test.Start(t); a != b {
		t.Errorf("two servers at %s and %s, want one for the test binary", a.Endpoint, b.Endpoint)
	}
	server, stop := s3test.StartOwn(t)
	bucket := server.Bucket(t)
	stop()
	if err := put(server, bucket, "k", "v"); err == nil {
		t.Error("put after stop succeeded, want a refused connection")
	}
}

func TestUserMayDoOnlyWhatItsActionsSay(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	writer := server.User(t, bucket, "s3:PutObject", "s3:ListBucket")
	if err := put(writer, bucket, "k", "v"); err != nil {
		t.Errorf("put: %v, want allowed", err)
	}
	if keys := writer.Keys(t, bucket, ""); len(keys) != 1 {
		t.Errorf("list = %q, want one key", keys)
	}
	if _, err := get(writer, bucket, "k"); code(err) != "AccessDenied" {
		t.Errorf("get: %v, want AccessDenied", err)
	}
}

func TestVersionsAndConditionalWritesOfTheRealServer(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	ctx := context.Background()
	for name, option := range map[string]s3test.BucketOption{"versioned": s3test.Versioned(), "locked": s3test.Locked()} {
		bucket := server.Bucket(t, option)
		for _, body := range []string{"old", "new"} {
			if err := put(server, bucket, "k", body); err != nil {
				t.Fatal(err)
			}
		}
		versions, err := server.Client().ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: aws.String(bucket)})
		if err != nil || len(versions.Versions) != 2 {
			t.Errorf("%s bucket: %d versions, %v, want 2", name, len(versions.Versions), err)
		}
	}

	bucket := server.Bucket(t)
	var won atomic.Int32
	var racers sync.WaitGroup
	for range 8 {
		racers.Go(func() {
			_, err := server.Client().PutObject(ctx, &s3.PutObjectInput{
				Bucket: aws.String(bucket), Key: aws.String("once"), IfNoneMatch: aws.String("*"), Body: bytes.NewReader([]byte("x")),
			})
			if err == nil {
				won.Add(1)
			}
		})
	}
	racers.Wait()
	if won.Load() != 1 {
		t.Errorf("%d writers created the same object, want 1", won.Load())
	}
}

func TestFaultsHappenToChosenRequestsOnly(t *testing.T) {
	t.Parallel()
	eachServer(t, func(t *testing.T, server *s3test.Server) {
		bucket := server.Bucket(t)
		body := strings.Repeat("0123456789", 1000)
		if err := put(server, bucket, "k", body); err != nil {
			t.Fatal(err)
		}
		front := server.Faults(t)
		if got, err := get(front.Server, bucket, "k"); err != nil || got != body {
			t.Fatalf("get through the quiet proxy: %d bytes, %v", len(got), err)
		}

		front.InjectTimes(1, s3test.Method(http.MethodGet), s3test.Status(http.StatusServiceUnavailable, "SlowDown"))
		if _, err := get(front.Server, bucket, "k"); code(err) != "SlowDown" {
			t.Errorf("injected 503: %v, want SlowDown", err)
		}
		if _, err := get(front.Server, bucket, "k"); err != nil {
			t.Errorf("the fault was for one request, the second got %v", err)
		}

		remove := front.Inject(s3test.Method(http.MethodGet), s3test.Truncate(100))
		if got, err := get(front.Server, bucket, "k"); err == nil || len(got) > 100 {
			t.Errorf("truncated get: %d bytes, %v, want an error after 100", len(got), err)
		}
		remove()

		remove = front.Inject(s3test.Any, s3test.Reset())
		if _, err := get(front.Server, bucket, "k"); err == nil {
			t.Error("get over a reset connection succeeded")
		}
		remove()

		front.InjectTimes(1, s3test.Method(http.MethodPut), s3test.LoseAnswer())
		if err := put(front.Server, bucket, "lost", "there"); err == nil {
			t.Error("put whose answer was lost succeeded")
		}
		if got, err := get(front.Server, bucket, "lost"); err != nil || got != "there" {
			t.Errorf("after a lost answer the object is %q, %v, want it written", got, err)
		}

		front.InjectTimes(1, s3test.Any, s3test.Corrupt(7))
		if _, err := get(front.Server, bucket, "k"); err == nil || !strings.Contains(err.Error(), "checksum") {
			t.Errorf("corrupted get: %v, want the SDK to find the checksum wrong", err)
		}

		var injected int
		for _, request := range front.Requests() {
			if request.Fault != "" {
				injected++
			}
		}
		if injected != 5 {
			t.Errorf("%d requests are noted as faulty, want 5", injected)
		}
	})
}

func TestStalledRequestEndsWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	server := s3test.Mem(t)
	bucket := server.Bucket(t)
	front := server.Faults(t)
	ctx, cancel := context.WithCancel(context.Background())
	front.Inject(func(*http.Request) bool { cancel(); return true }, s3test.Stall())
	_, err := front.Client().PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String("k"), Body: strings.NewReader("v")})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("put = %v, want it to end by the cancelled context", err)
	}
	if keys := server.Keys(t, bucket, ""); len(keys) != 0 {
		t.Errorf("the stalled request reached the server: %q", keys)
	}
}
