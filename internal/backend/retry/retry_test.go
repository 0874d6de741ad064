package retry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/backendtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
)

// flaky fails calls as the test says.
type flaky struct {
	backend.Backend
	fail     func(call int) error // nil lets the call through
	after    bool                 // fail after the call was made
	truncate int                  // bytes after which reads break, 0 for never
	calls    int
}

func (f *flaky) step(call func() error) error {
	f.calls++
	err := f.fail(f.calls)
	if err == nil || f.after {
		if cerr := call(); cerr != nil {
			return cerr
		}
	}
	return err
}

func (f *flaky) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	return f.step(func() error { return f.Backend.Put(ctx, h, data, opt) })
}

func (f *flaky) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) error {
	return f.step(func() error {
		return f.Backend.Get(ctx, h, offset, length, func(r io.Reader) error {
			if f.truncate > 0 && f.calls == 1 {
				r = io.MultiReader(io.LimitReader(r, int64(f.truncate)), broken{})
			}
			return fn(r)
		})
	})
}

func (f *flaky) List(ctx context.Context, k backend.Kind, fn func(string, int64, time.Time) error) error {
	return f.step(func() error { return f.Backend.List(ctx, k, fn) })
}

type broken struct{}

func (broken) Read([]byte) (int, error) {
	return 0, &backend.Error{Op: "get", Kind: backend.Temporary, Message: "reset"}
}

// stuck blocks until its context ends.
type stuck struct {
	backend.Backend
	calls int
}

func (s *stuck) Put(ctx context.Context, _ backend.Handle, _ []byte, _ backend.PutOptions) error {
	s.calls++
	<-ctx.Done()
	return fmt.Errorf("put: %w: %w", context.Cause(ctx), ctx.Err()) // as an HTTP client says it
}

var handle = backend.Handle{Kind: backend.KindSnapshot, Name: strings.Repeat("0f", 32)}

func failing(kind backend.ErrorKind, times int) func(int) error {
	return func(call int) error {
		if times >= 0 && call > times {
			return nil
		}
		return &backend.Error{Op: "put", Kind: kind}
	}
}

func TestKeepsTheContract(t *testing.T) {
	t.Parallel()
	backendtest.Run(t, func(*testing.T) backend.Backend { return retry.New(mem.New(), retry.Options{}) }, backendtest.Features{})
}

func TestRetriesWhatTimeMendsAndNothingElse(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind  backend.ErrorKind
		calls int
		ok    bool
	}{
		"temporary":       {backend.Temporary, 4, true},
		"throttled":       {backend.Throttled, 4, true},
		"unreachable":     {backend.Unreachable, 4, true},
		"access denied":   {backend.AccessDenied, 1, false},
		"bad credentials": {backend.BadCredentials, 1, false},
		"no bucket":       {backend.NoBucket, 1, false},
		"wrong region":    {backend.WrongRegion, 1, false},
		"not found":       {backend.NotFound, 1, false},
		"permanent":       {backend.Permanent, 1, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &flaky{Backend: mem.New(), fail: failing(tt.kind, 3)}
				notified := 0
				be := retry.New(f, retry.Options{Notify: func(error, time.Duration) { notified++ }})
				err := be.Put(t.Context(), handle, []byte("x"), backend.PutOptions{})
				if (err == nil) != tt.ok || f.calls != tt.calls || notified != tt.calls-1 {
					t.Errorf("err %v, %d calls, %d notices", err, f.calls, notified)
				}
				if !tt.ok && backend.KindOf(err) != tt.kind {
					t.Errorf("error became %v", err)
				}
			})
		})
	}
}

func TestGivesUpWhenTimeIsUp(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind backend.ErrorKind
		most time.Duration
	}{
		"a store that answered before gets all the time": {backend.Temporary, 15 * time.Minute},
		"a store that never answered fails soon":         {backend.Unreachable, 20 * time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &flaky{Backend: mem.New(), fail: failing(tt.kind, -1)}
				start := time.Now()
				err := retry.New(f, retry.Options{}).Put(t.Context(), handle, nil, backend.PutOptions{})
				took := time.Since(start)
				if backend.KindOf(err) != tt.kind || took > tt.most || took < tt.most/4 {
					t.Errorf("gave up after %s with %v", took, err)
				}
			})
		})
	}
}

func TestCancellationEndsTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		f := &flaky{Backend: mem.New(), fail: failing(backend.Temporary, -1)}
		be := retry.New(f, retry.Options{First: time.Hour, Max: time.Hour, Total: 100 * time.Hour, Notify: func(error, time.Duration) { cancel() }})
		start := time.Now()
		err := be.Put(ctx, handle, nil, backend.PutOptions{})
		if !errors.Is(err, context.Canceled) || time.Since(start) != 0 || backend.IsRetryable(err) {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestAnAttemptThatDoesNotMoveIsEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{Backend: mem.New()}
		start := time.Now()
		// 256 KiB at 256 KiB/s make one second more.
		be := retry.New(s, retry.Options{Stall: 10 * time.Second, Total: 30 * time.Second})
		err := be.Put(t.Context(), handle, make([]byte, 256<<10), backend.PutOptions{})
		if backend.KindOf(err) != backend.Temporary || s.calls < 2 || time.Since(start) < 22*time.Second {
			t.Errorf("%d calls in %s: %v", s.calls, time.Since(start), err)
		}
	})
}

func TestALostAnswerToACreateIsNoConflict(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{Backend: mem.New(), fail: failing(backend.Temporary, 1), after: true}
		be := retry.New(f, retry.Options{})
		if err := be.Put(t.Context(), handle, []byte("mine"), backend.PutOptions{CreateOnly: true}); err != nil {
			t.Errorf("create whose answer was lost: %v", err)
		}
		// Another one's object is a conflict, also at a second attempt.
		f.calls, f.after = 0, false
		err := be.Put(t.Context(), handle, []byte("other"), backend.PutOptions{CreateOnly: true})
		if !errors.Is(err, backend.ErrExists) {
			t.Errorf("create of another's object: %v", err)
		}
	})
}

func TestABrokenReadStartsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		data := bytes.Repeat([]byte("0123456789"), 100)
		f := &flaky{Backend: mem.New(), fail: func(int) error { return nil }}
		be := retry.New(f, retry.Options{})
		if err := be.Put(t.Context(), handle, data, backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		f.calls, f.truncate = 0, 333
		var got []byte
		err := be.Get(t.Context(), handle, 0, 0, func(r io.Reader) error {
			b, err := io.ReadAll(r)
			got = b
			if err != nil {
				return errors.New("my own words") // must not hide what happened
			}
			return nil
		})
		if err != nil || !bytes.Equal(got, data) || f.calls != 2 {
			t.Errorf("%d calls, %d bytes, %v", f.calls, len(got), err)
		}
	})
}

func TestAListThatIsRepeatedListsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{Backend: mem.New(), fail: failing(backend.Temporary, 0)}
		be := retry.New(f, retry.Options{})
		if err := be.Put(t.Context(), handle, []byte("x"), backend.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		f.calls, f.fail, f.after = 0, failing(backend.Temporary, 2), true
		seen := 0
		err := be.List(t.Context(), backend.KindSnapshot, func(string, int64, time.Time) error { seen++; return nil })
		if err != nil || seen != 1 || f.calls != 3 {
			t.Errorf("%d names in %d calls, %v", seen, f.calls, err)
		}
	})
}

// slow sends an object in pieces, each of which takes a while, and tells of
// them.
type slow struct {
	backend.Backend
	piece time.Duration
	calls int
}

func (s *slow) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	s.calls++
	for range 20 {
		select {
		case <-time.After(s.piece):
			backend.Progress(ctx)()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.Backend.Put(ctx, h, data, opt)
}

// An upload over a slow line takes as long as it takes, as long as it moves.
func TestAnAttemptThatMovesIsNotEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{Backend: mem.New(), piece: 25 * time.Second}
		start := time.Now()
		err := retry.New(s, retry.Options{}).Put(t.Context(), handle, []byte("x"), backend.PutOptions{})
		if err != nil || s.calls != 1 || time.Since(start) != 500*time.Second {
			t.Errorf("%d attempts in %s: %v", s.calls, time.Since(start), err)
		}
	})
}

// Retry-After is waited for, and a store that asks for more than there is ends
// the call at once.
func TestTheStoreSaysHowLongToWait(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]error{2 * time.Minute: nil, time.Hour: errors.New("too long")} {
		synctest.Test(t, func(t *testing.T) {
			f := &flaky{Backend: mem.New(), fail: func(call int) error {
				if call > 1 {
					return nil
				}
				return &backend.Error{Op: "put", Kind: backend.Throttled, RetryAfter: after}
			}}
			start := time.Now()
			err := retry.New(f, retry.Options{}).Put(t.Context(), handle, nil, backend.PutOptions{})
			took := time.Since(start)
			if want == nil && (err != nil || took < after || took > after+time.Second) {
				t.Errorf("after %s: waited %s: %v", after, took, err)
			}
			if want != nil && (backend.KindOf(err) != backend.Throttled || took != 0) {
				t.Errorf("after %s: gave up after %s: %v", after, took, err)
			}
		})
	}
}

// holder says what it holds, or that it cannot.
type holder struct {
	*flaky
	err   error
	asked int
}

func (h *holder) Holds(ctx context.Context, handle backend.Handle, data []byte, _ *[32]byte) (bool, error) {
	h.asked++
	if h.err != nil {
		return false, h.err
	}
	there, err := backend.ReadAll(ctx, h.Backend, handle, 1<<20)
	return err == nil && bytes.Equal(there, data), nil
}

// The fate of an upload is asked for after an end that leaves it open, and only
// then; whoever may not ask sends it again.
func TestTheFateOfAnUploadIsAskedFor(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		kind        backend.ErrorKind
		stored      bool
		err         error
		puts, asked int
	}{
		"stored":                    {backend.Temporary, true, nil, 1, 1},
		"not stored":                {backend.Temporary, false, nil, 2, 1},
		"throttled, so not stored":  {backend.Throttled, false, nil, 2, 0},
		"no connection, not stored": {backend.Unreachable, false, nil, 2, 0},
		"may not ask":               {backend.Temporary, true, &backend.Error{Kind: backend.AccessDenied}, 2, 1},
	}
	for name, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			h := &holder{flaky: &flaky{Backend: mem.New(), fail: failing(tt.kind, 1), after: tt.stored}, err: tt.err}
			err := retry.New(h, retry.Options{}).Put(t.Context(), handle, []byte("x"), backend.PutOptions{})
			if err != nil || h.calls != tt.puts || h.asked != tt.asked {
				t.Errorf("%s: %d uploads, asked %d times: %v", name, h.calls, h.asked, err)
			}
		})
	}
}
