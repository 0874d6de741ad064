// Package backendtest is what every backend promises, as tests. It never
// reaches the binary.
package backendtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

// Features says what a store cannot do.
type Features struct {
	// NoAtomicCreate is set for a store that may let two CreateOnly puts at
	// once both win.
	NoAtomicCreate bool
	// IgnoresHash is set for a store that does not verify SHA256.
	IgnoresHash bool
}

// Run tests the contract of backend.Backend. open returns an empty store each
// time.
func Run(t *testing.T, open func(t *testing.T) backend.Backend, f Features) {
	tests := map[string]func(t *testing.T, be backend.Backend){
		"what was put comes back, whole and in ranges": ranges,
		"a missing object is ErrNotExist":              missing,
		"put replaces":                                 replaces,
		"create refuses what is there":                 createOnly,
		"kinds are apart and lists are complete":       lists,
		"an error of list's callback ends it":          listError,
		"delete removes many and minds no missing":     deletes,
		"names that lead elsewhere are refused":        badNames,
		"a cancelled context ends every call":          cancelled,
		"an empty object is an object":                 empty,
		"a large object comes back":                    large,
		"the probe passes and leaves nothing":          probe,
	}
	if !f.IgnoresHash {
		tests["a wrong hash stores nothing"] = wrongHash
	}
	if !f.NoAtomicCreate {
		tests["of many creators one wins"] = race
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			be := open(t)
			t.Cleanup(func() {
				if err := be.Close(); err != nil {
					t.Errorf("close: %v", err)
				}
			})
			test(t, be)
		})
	}
}

func name(i int) string {
	sum := sha256.Sum256(fmt.Append(nil, i))
	return hex.EncodeToString(sum[:])
}

func handle(kind backend.Kind, i int) backend.Handle {
	if kind == backend.KindConfig {
		return backend.Handle{Kind: kind}
	}
	return backend.Handle{Kind: kind, Name: name(i)}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustPut(t *testing.T, be backend.Backend, h backend.Handle, data []byte) {
	t.Helper()
	sum := sha256.Sum256(data)
	must(t, be.Put(t.Context(), h, data, backend.PutOptions{SHA256: &sum}))
}

func get(ctx context.Context, be backend.Backend, h backend.Handle, offset, length int64) (data []byte, err error) {
	err = be.Get(ctx, h, offset, length, func(r io.Reader) error {
		data, err = io.ReadAll(r)
		return err
	})
	return data, err
}

func ranges(t *testing.T, be backend.Backend) {
	data := pattern(100_000)
	for _, kind := range []backend.Kind{backend.KindConfig, backend.KindKey, backend.KindLock, backend.KindSnapshot, backend.KindIndex, backend.KindData} {
		h := handle(kind, 1)
		mustPut(t, be, h, data)
		for _, r := range []struct{ offset, length int64 }{{0, 0}, {0, 1}, {1, 0}, {99_999, 1}, {12_345, 54_321}, {0, 100_000}} {
			got, err := get(t.Context(), be, h, r.offset, r.length)
			must(t, err)
			want := data[r.offset:]
			if r.length > 0 {
				want = want[:r.length]
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: range %d+%d: got %d other bytes", h, r.offset, r.length, len(got))
			}
		}
		for _, r := range []struct{ offset, length int64 }{{99_999, 2}, {0, 100_001}, {100_001, 1}, {-1, 1}} {
			if got, err := get(t.Context(), be, h, r.offset, r.length); err == nil {
				t.Errorf("%s: range %d+%d is outside and gave %d bytes", h, r.offset, r.length, len(got))
			} else if backend.IsRetryable(err) {
				t.Errorf("%s: range %d+%d would be tried again: %v", h, r.offset, r.length, err)
			} else if r.offset >= 0 && !errors.Is(err, backend.ErrRange) {
				t.Errorf("%s: range %d+%d is outside: %v, want ErrRange", h, r.offset, r.length, err)
			}
		}
		size, err := be.Stat(t.Context(), h)
		if err != nil || size != int64(len(data)) {
			t.Errorf("%s: stat %d, %v", h, size, err)
		}
		stop := errors.New("enough")
		if err := be.Get(t.Context(), h, 0, 0, func(io.Reader) error { return stop }); !errors.Is(err, stop) {
			t.Errorf("%s: the callback's error became %v", h, err)
		}
	}
}

func missing(t *testing.T, be backend.Backend) {
	check := func() {
		t.Helper()
		for _, kind := range []backend.Kind{backend.KindConfig, backend.KindSnapshot, backend.KindData} {
			h := handle(kind, 404)
			if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
				t.Errorf("stat %s: %v", h, err)
			}
			if _, err := get(t.Context(), be, h, 0, 0); !errors.Is(err, backend.ErrNotExist) {
				t.Errorf("get %s: %v", h, err)
			}
			if _, err := get(t.Context(), be, h, 10, 10); !errors.Is(err, backend.ErrNotExist) {
				t.Errorf("get range of %s: %v", h, err)
			}
		}
		must(t, be.List(t.Context(), backend.KindLock, func(string, int64, time.Time) error {
			t.Error("an empty store lists a lock")
			return nil
		}))
	}
	check()
	mustPut(t, be, handle(backend.KindSnapshot, 1), pattern(10))
	mustPut(t, be, handle(backend.KindData, 1), pattern(10))
	check()
}

func replaces(t *testing.T, be backend.Backend) {
	h := handle(backend.KindIndex, 1)
	mustPut(t, be, h, pattern(1000))
	mustPut(t, be, h, []byte("short"))
	if got, err := get(t.Context(), be, h, 0, 0); err != nil || string(got) != "short" {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func createOnly(t *testing.T, be backend.Backend) {
	for _, kind := range []backend.Kind{backend.KindConfig, backend.KindLock} {
		h := handle(kind, 1)
		must(t, be.Put(t.Context(), h, []byte("first"), backend.PutOptions{CreateOnly: true}))
		if err := be.Put(t.Context(), h, []byte("second"), backend.PutOptions{CreateOnly: true}); !errors.Is(err, backend.ErrExists) {
			t.Errorf("%s: second create: %v", h, err)
		}
		if got, err := get(t.Context(), be, h, 0, 0); err != nil || string(got) != "first" {
			t.Errorf("%s: holds %q, %v", h, got, err)
		}
	}
}

func race(t *testing.T, be backend.Backend) {
	h := handle(backend.KindConfig, 0)
	const creators = 8
	results := make(chan error)
	for i := range creators {
		go func() {
			results <- be.Put(t.Context(), h, fmt.Append(nil, i), backend.PutOptions{CreateOnly: true})
		}()
	}
	won := 0
	for range creators {
		switch err := <-results; {
		case err == nil:
			won++
		case !errors.Is(err, backend.ErrExists) && !backend.IsRetryable(err):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d of %d creators won", won, creators)
	}
}

func lists(t *testing.T, be backend.Backend) {
	want := make(map[backend.Kind][]string)
	before := time.Now().Add(-time.Hour)
	for _, kind := range []backend.Kind{backend.KindKey, backend.KindSnapshot, backend.KindData} {
		for i := range 20 {
			h := handle(kind, int(kind)*100+i)
			mustPut(t, be, h, pattern(i+1))
			want[kind] = append(want[kind], fmt.Sprint(h.Name, i+1))
		}
	}
	mustPut(t, be, handle(backend.KindConfig, 0), pattern(3))
	for _, kind := range []backend.Kind{backend.KindKey, backend.KindLock, backend.KindSnapshot, backend.KindIndex, backend.KindData} {
		var got []string
		must(t, be.List(t.Context(), kind, func(name string, size int64, modified time.Time) error {
			got = append(got, fmt.Sprint(name, size))
			if modified.Before(before) || modified.After(time.Now().Add(time.Hour)) {
				t.Errorf("%s: modified at %s", name, modified)
			}
			return nil
		}))
		slices.Sort(got)
		slices.Sort(want[kind])
		if !slices.Equal(got, want[kind]) {
			t.Errorf("%s: listed %d, want %d:\n%v\n%v", kind, len(got), len(want[kind]), got, want[kind])
		}
	}
}

func listError(t *testing.T, be backend.Backend) {
	for i := range 3 {
		mustPut(t, be, handle(backend.KindIndex, i), pattern(1))
	}
	stop, calls := errors.New("enough"), 0
	err := be.List(t.Context(), backend.KindIndex, func(string, int64, time.Time) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func deletes(t *testing.T, be backend.Backend) {
	var handles []backend.Handle
	for i := range 30 {
		h := handle(backend.KindData, i)
		handles = append(handles, h)
		if i != 7 {
			mustPut(t, be, h, pattern(10))
		}
	}
	keep := handle(backend.KindData, 1000)
	mustPut(t, be, keep, pattern(10))
	must(t, be.Delete(t.Context(), handles...))
	must(t, be.Delete(t.Context(), handles[0]))
	must(t, be.Delete(t.Context()))
	for _, h := range handles {
		if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
			t.Errorf("%s is still there: %v", h, err)
		}
	}
	if _, err := be.Stat(t.Context(), keep); err != nil {
		t.Errorf("%s went with the others: %v", keep, err)
	}
}

func badNames(t *testing.T, be backend.Backend) {
	for _, h := range []backend.Handle{
		{}, {Kind: backend.KindData}, {Kind: backend.KindData, Name: "../../../etc/passwd"},
		{Kind: backend.KindConfig, Name: name(1)}, {Kind: backend.KindKey, Name: "ABCDEF"}, {Kind: 99, Name: name(1)},
	} {
		if err := be.Put(t.Context(), h, []byte("x"), backend.PutOptions{}); err == nil {
			t.Errorf("put %+v succeeded", h)
		}
		if _, err := get(t.Context(), be, h, 0, 0); err == nil {
			t.Errorf("get %+v succeeded", h)
		}
		if err := be.Delete(t.Context(), h); err == nil {
			t.Errorf("delete %+v succeeded", h)
		}
	}
}

func cancelled(t *testing.T, be backend.Backend) {
	h := handle(backend.KindLock, 1)
	mustPut(t, be, h, pattern(10))
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the operator said stop")
	cancel(cause)
	errs := map[string]error{
		"put":    be.Put(ctx, handle(backend.KindLock, 2), pattern(10), backend.PutOptions{}),
		"delete": be.Delete(ctx, h),
		"list":   be.List(ctx, backend.KindLock, func(string, int64, time.Time) error { return nil }),
	}
	_, errs["get"] = get(ctx, be, h, 0, 0)
	_, errs["stat"] = be.Stat(ctx, h)
	for op, err := range errs {
		if !errors.Is(err, cause) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", op, err)
		}
		if backend.IsRetryable(err) {
			t.Errorf("%s: would be tried again: %v", op, err)
		}
	}
	if _, err := be.Stat(t.Context(), h); err != nil {
		t.Errorf("a cancelled delete removed the object: %v", err)
	}
}

func empty(t *testing.T, be backend.Backend) {
	h := handle(backend.KindLock, 1)
	must(t, be.Put(t.Context(), h, nil, backend.PutOptions{}))
	if size, err := be.Stat(t.Context(), h); size != 0 || err != nil {
		t.Errorf("stat: %d, %v", size, err)
	}
	if got, err := get(t.Context(), be, h, 0, 0); len(got) != 0 || err != nil {
		t.Errorf("get: %d bytes, %v", len(got), err)
	}
}

func large(t *testing.T, be backend.Backend) {
	data := pattern(20 << 20)
	h := handle(backend.KindData, 1)
	mustPut(t, be, h, data)
	got, err := get(t.Context(), be, h, 0, 0)
	must(t, err)
	if !bytes.Equal(got, data) {
		t.Errorf("got %d other bytes", len(got))
	}
}

func wrongHash(t *testing.T, be backend.Backend) {
	h := handle(backend.KindData, 1)
	sum := sha256.Sum256([]byte("something else"))
	if err := be.Put(t.Context(), h, pattern(1000), backend.PutOptions{SHA256: &sum}); err == nil {
		t.Error("put with a wrong hash succeeded")
	}
	if _, err := be.Stat(t.Context(), h); !errors.Is(err, backend.ErrNotExist) {
		t.Errorf("stat after it: %v", err)
	}
}

func probe(t *testing.T, be backend.Backend) {
	p, ok := be.(backend.Prober)
	if !ok {
		return
	}
	must(t, p.Probe(t.Context()))
	for kind := backend.KindKey; kind <= backend.KindData; kind++ {
		must(t, be.List(t.Context(), kind, func(name string, _ int64, _ time.Time) error {
			t.Errorf("the probe left %s %s", kind, name)
			return nil
		}))
	}
}
