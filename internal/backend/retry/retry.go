// Package retry repeats the calls of a backend that failed for a reason that
// time mends. It decides how often, how long to wait and when an attempt has
// taken too long; the backend decides which failures are worth it (see
// backend.ErrorKind.Retryable).
package retry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

// Options bound the retries. Zero fields take the defaults.
type Options struct {
	First time.Duration // longest first wait, default 200 ms; doubles each time
	Max   time.Duration // longest wait, default 30 s
	Total time.Duration // from the first attempt on, default 15 min
	// FirstContact replaces Total as long as the store has never answered, so
	// that a mistyped endpoint fails soon; default 20 s.
	FirstContact time.Duration
	// Stall ends an attempt in which nothing happens for so long; default 30 s.
	// An upload gets Stall plus its size divided by MinRate, from each piece of
	// it that was sent on, so that a slow line is no silent one.
	Stall   time.Duration
	MinRate int64 // bytes a second, default 256 KiB/s
	// Notify is told about each failure that is retried, with the wait that
	// follows. It is called concurrently.
	Notify func(err error, wait time.Duration)
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.First, 200*time.Millisecond)
	def(&o.Max, 30*time.Second)
	def(&o.Total, 15*time.Minute)
	def(&o.FirstContact, 20*time.Second)
	def(&o.Stall, 30*time.Second)
	if o.MinRate <= 0 {
		o.MinRate = 256 << 10
	}
	return o
}

// Backend wraps another. Use New.
type Backend struct {
	be       backend.Backend
	opt      Options
	answered atomic.Bool // the store has answered something
}

var (
	_ backend.Backend         = (*Backend)(nil)
	_ backend.Prober          = (*Backend)(nil)
	_ backend.LeftoverRemover = (*Backend)(nil)
	_ backend.Keeper          = (*Backend)(nil)
)

// New wraps be.
func New(be backend.Backend, opt Options) *Backend {
	return &Backend{be: be, opt: opt.withDefaults()}
}

// do runs attempt until it succeeds, fails for good, or time is up. The error
// is that of the last attempt.
func (b *Backend) do(ctx context.Context, limit time.Duration, attempt func(ctx context.Context, w *watchdog) error) error {
	start := time.Now()
	ceiling := b.opt.First
	for {
		err := b.once(ctx, limit, attempt)
		kind := backend.KindOf(err)
		if err == nil || kind != backend.Unreachable {
			b.answered.Store(true)
		}
		if err == nil || ctx.Err() != nil || !backend.IsRetryable(err) {
			return err
		}
		wait := rand.N(ceiling) + time.Millisecond
		if kind == backend.Throttled {
			wait += ceiling / 2 // full jitter alone may hit a throttled store at once
		}
		// The jitter comes on top: all calls are told the same time.
		wait += retryAfter(err)
		total := b.opt.Total
		if !b.answered.Load() {
			total = b.opt.FirstContact
		}
		if time.Since(start)+wait > total {
			return err
		}
		if b.opt.Notify != nil {
			b.opt.Notify(err, wait)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w (gave up waiting to retry: %w)", err, context.Cause(ctx))
		}
		ceiling = min(2*ceiling, b.opt.Max)
	}
}

// retryAfter is how long the store itself asks to wait.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*backend.Error](err); ok {
		return e.RetryAfter
	}
	return 0
}

var errStalled = errors.New("nothing happened for too long")

// once runs one attempt, which is ended if it does not move for limit.
func (b *Backend) once(ctx context.Context, limit time.Duration, attempt func(context.Context, *watchdog) error) error {
	actx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watchdog{limit: limit}
	w.timer = time.AfterFunc(limit, func() { cancel(errStalled) })
	defer w.timer.Stop()
	err := attempt(actx, w)
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(actx), errStalled) && !isClassified(err) {
		// err itself is that of a cancelled call, which nobody would repeat.
		return &backend.Error{Op: "wait", Kind: backend.Temporary,
			Message: fmt.Sprintf("the store did not answer for %s", limit), Err: errStalled}
	}
	return err
}

func isClassified(err error) bool {
	e, ok := errors.AsType[*backend.Error](err)
	return ok && e.Kind != backend.Permanent
}

// watchdog ends an attempt that does not move.
type watchdog struct {
	timer *time.Timer
	limit time.Duration
}

func (w *watchdog) alive()  { w.timer.Reset(w.limit) }
func (w *watchdog) silent() { w.timer.Stop() }

// Put implements backend.Backend. After an attempt that failed without telling
// whether it stored the object, the store is asked before it is sent again: in
// a bucket with versions a second one takes room of its own.
func (b *Backend) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	// What is sent lies in buffers on the way, so the last piece gets the time
	// of the whole object.
	limit := b.opt.Stall + time.Duration(float64(len(data))/float64(b.opt.MinRate)*float64(time.Second))
	holder, _ := b.be.(backend.Holder)
	attempts, doubt := 0, false
	return b.do(ctx, limit, func(ctx context.Context, w *watchdog) error {
		attempts++
		if doubt && holder != nil {
			held, err := holder.Holds(ctx, h, data, opt.SHA256)
			if err == nil && held || backend.IsRetryable(err) {
				return err
			}
		}
		w.alive()
		err := b.be.Put(backend.WithProgress(ctx, w.alive), h, data, opt)
		if attempts > 1 && errors.Is(err, backend.ErrExists) {
			there, rerr := backend.ReadAll(ctx, b.be, h, int64(len(data)))
			if rerr == nil && bytes.Equal(there, data) {
				return nil
			}
		}
		// A broken connection, a 5xx, or an end that the watchdog made.
		doubt = doubt || err != nil && (backend.KindOf(err) == backend.Temporary || ctx.Err() != nil)
		return err
	})
}

// Get implements backend.Backend. fn is called anew for each attempt. Only
// reading is watched: fn may take its time with what it read.
func (b *Backend) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) error {
	return b.do(ctx, b.opt.Stall, func(ctx context.Context, w *watchdog) error {
		var readErr error
		err := b.be.Get(ctx, h, offset, length, func(r io.Reader) error {
			w.silent()
			return fn(&watchedReader{r: r, w: w, err: &readErr})
		})
		// fn may report a broken read in its own words, which say nothing
		// about whether it is worth another try.
		if err != nil && readErr != nil && !errors.Is(err, readErr) {
			return errors.Join(err, readErr)
		}
		return err
	})
}

type watchedReader struct {
	r   io.Reader
	w   *watchdog
	err *error
}

func (r *watchedReader) Read(p []byte) (int, error) {
	r.w.alive()
	n, err := r.r.Read(p)
	r.w.silent()
	if err != nil && err != io.EOF {
		*r.err = err
	}
	return n, err
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (size int64, err error) {
	err = b.do(ctx, b.opt.Stall, func(ctx context.Context, _ *watchdog) error {
		size, err = b.be.Stat(ctx, h)
		return err
	})
	return size, err
}

type listed struct {
	name     string
	size     int64
	modified time.Time
}

// List implements backend.Backend. fn is called after the whole list arrived,
// so that a retry repeats nothing.
func (b *Backend) List(ctx context.Context, kind backend.Kind, fn func(name string, size int64, modified time.Time) error) error {
	var all []listed
	err := b.do(ctx, b.opt.Stall, func(ctx context.Context, w *watchdog) error {
		all = all[:0]
		return b.be.List(ctx, kind, func(name string, size int64, modified time.Time) error {
			w.alive()
			all = append(all, listed{name, size, modified})
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, l := range all {
		if err := fn(l.name, l.size, l.modified); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements backend.Backend. Removing again what is gone is no error,
// so a whole batch is repeated.
func (b *Backend) Delete(ctx context.Context, handles ...backend.Handle) error {
	// One request may remove a thousand objects, which takes a store a while.
	limit := b.opt.Stall + time.Duration(min(len(handles), 1000))*100*time.Millisecond
	return b.do(ctx, limit, func(ctx context.Context, w *watchdog) error {
		return b.be.Delete(backend.WithProgress(ctx, w.alive), handles...)
	})
}

// Probe implements backend.Prober, without retries beyond one attempt: it is
// to answer soon. A backend that cannot probe passes.
func (b *Backend) Probe(ctx context.Context) error {
	p, ok := b.be.(backend.Prober)
	if !ok {
		return nil
	}
	return b.once(ctx, b.opt.Stall, func(ctx context.Context, _ *watchdog) error { return p.Probe(ctx) })
}

// RemoveLeftovers implements backend.LeftoverRemover where the wrapped backend
// does.
func (b *Backend) RemoveLeftovers(ctx context.Context, before time.Time) error {
	if lr, ok := b.be.(backend.LeftoverRemover); ok {
		return lr.RemoveLeftovers(ctx, before)
	}
	return nil
}

// Close implements backend.Backend.
func (b *Backend) Close() error { return b.be.Close() }

// Location implements backend.Backend.
func (b *Backend) Location() string { return b.be.Location() }

// Info implements backend.Keeper; of a store that keeps nothing it has the
// size only.
func (b *Backend) Info(ctx context.Context, h backend.Handle) (info backend.Info, err error) {
	k, ok := b.be.(backend.Keeper)
	if !ok {
		info.Size, err = b.Stat(ctx, h)
		return info, err
	}
	err = b.do(ctx, b.opt.Stall, func(ctx context.Context, _ *watchdog) error {
		info, err = k.Info(ctx, h)
		return err
	})
	return info, err
}

// MayLock implements backend.Keeper.
func (b *Backend) MayLock(ctx context.Context) (may bool, err error) {
	k, ok := b.be.(backend.Keeper)
	if !ok {
		return false, nil
	}
	err = b.do(ctx, b.opt.Stall, func(ctx context.Context, _ *watchdog) error {
		may, err = k.MayLock(ctx)
		return err
	})
	return may, err
}

// Locks implements backend.Keeper.
func (b *Backend) Locks() time.Duration {
	if k, ok := b.be.(backend.Keeper); ok {
		return k.Locks()
	}
	return 0
}

// ExtendLock implements backend.Keeper.
func (b *Backend) ExtendLock(ctx context.Context, h backend.Handle, until time.Time) error {
	k, ok := b.be.(backend.Keeper)
	if !ok {
		return nil
	}
	return b.do(ctx, b.opt.Stall, func(ctx context.Context, _ *watchdog) error { return k.ExtendLock(ctx, h, until) })
}

// KeepsVersions implements backend.Keeper.
func (b *Backend) KeepsVersions() bool {
	k, ok := b.be.(backend.Keeper)
	return ok && k.KeepsVersions()
}
