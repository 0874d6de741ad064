package vault

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
)

// throttled holds the bytes to and from a store to a destination's bandwidth
// limit, on the average over a few packs: an object is sent as a whole once
// the ones before it are paid for. It stands outside of the retries, whose
// watchdog would take the waiting for a store that is silent.
type throttled struct {
	*retry.Backend
	limit *limiter
}

func newThrottled(be *retry.Backend, limit *limiter) *throttled {
	return &throttled{Backend: be, limit: limit}
}

// Put implements backend.Backend.
func (t *throttled) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if err := t.limit.wait(ctx, len(data)); err != nil {
		return err
	}
	return t.Backend.Put(ctx, h, data, opt)
}

// Get implements backend.Backend.
func (t *throttled) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) error {
	return t.Backend.Get(ctx, h, offset, length, func(r io.Reader) error {
		return fn(&throttledReader{ctx: ctx, r: r, limit: t.limit})
	})
}

type throttledReader struct {
	ctx   context.Context //nolint:containedctx // of the one Get that the reader lives in
	r     io.Reader
	limit *limiter
}

func (t *throttledReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if waitErr := t.limit.wait(t.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}

// limiter spreads bytes over time. It is safe for concurrent use.
type limiter struct {
	mu   sync.Mutex
	rate float64   // bytes a second; 0 is unlimited
	paid time.Time // when everything that was let through is paid for
}

// set changes the limit. What waits already keeps its place.
func (l *limiter) set(bytesPerSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rate = float64(bytesPerSecond)
}

// wait lets n bytes through as soon as those before them are paid for.
func (l *limiter) wait(ctx context.Context, n int) error {
	l.mu.Lock()
	if l.rate <= 0 {
		l.mu.Unlock()
		return nil
	}
	now := time.Now()
	if l.paid.Before(now) {
		l.paid = now
	}
	wait := l.paid.Sub(now)
	l.paid = l.paid.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	l.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
