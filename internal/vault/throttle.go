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
	mu      sync.Mutex
	rate    float64       // bytes a second; 0 is unlimited
	sold    float64       // bytes that were let through or wait for it
	paid    float64       // of them, those whose time is over
	at      time.Time     // when paid was right
	changed chan struct{} // closed when rate changes; nil before anybody waits
}

// set changes the limit, for those who wait already, too.
func (l *limiter) set(bytesPerSecond int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate == float64(bytesPerSecond) {
		return
	}
	l.advance()
	l.rate = float64(bytesPerSecond)
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// advance brings paid to now.
func (l *limiter) advance() {
	now := time.Now()
	if l.rate <= 0 {
		l.paid = l.sold
	}
	l.paid = min(l.sold, l.paid+l.rate*now.Sub(l.at).Seconds())
	l.at = now
}

// wait lets n bytes through as soon as those before them are paid for.
func (l *limiter) wait(ctx context.Context, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.advance()
	before := l.sold
	l.sold += float64(n)
	for l.rate > 0 && l.paid < before {
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		// The nanosecond more is for what rounding takes away.
		left := min((before-l.paid)/l.rate, time.Hour.Seconds())
		if err := l.sleep(ctx, time.Duration(left*float64(time.Second))+1); err != nil {
			return err
		}
		l.advance()
	}
	return nil
}

// sleep waits, with the lock given back, until d is over or the rate changes.
func (l *limiter) sleep(ctx context.Context, d time.Duration) error {
	changed := l.changed
	l.mu.Unlock()
	defer l.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}
