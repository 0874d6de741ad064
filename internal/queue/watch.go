package queue

import (
	"context"
	"log/slog"
	"reflect"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Watch sends the run as it is now and each time it changes, until it has
// ended, which is sent last, or ctx is done; then it closes the channel. A
// slow receiver gets fewer, newer states. The caller must receive until the
// channel closes or end ctx.
func (q *Queue) Watch(ctx context.Context, runID string) (<-chan envbackup.Run, error) {
	return watch(ctx, q, runID, q.store.Run, func(r envbackup.Run) bool { return r.State.Final() })
}

// WatchRestore is Watch for a restore.
func (q *Queue) WatchRestore(ctx context.Context, id string) (<-chan envbackup.Restore, error) {
	return watch(ctx, q, id, q.store.Restore, func(r envbackup.Restore) bool { return r.State.Final() })
}

// WatchVerification is Watch for a verification.
func (q *Queue) WatchVerification(ctx context.Context, id string) (<-chan envbackup.Verification, error) {
	return watch(ctx, q, id, q.store.Verification, func(v envbackup.Verification) bool { return v.State.Final() })
}

func watch[T any](ctx context.Context, q *Queue, id string, read func(context.Context, string) (T, error), final func(T) bool) (<-chan T, error) {
	changed := q.changes()
	current, err := read(ctx, id)
	if err != nil {
		return nil, err
	}
	states := make(chan T)
	go func() {
		defer close(states)
		// What another process executes announces nothing here.
		poll := time.NewTicker(progressEvery)
		defer poll.Stop()
		for sent := false; ; {
			if !sent {
				select {
				case states <- current:
					sent = true
				case <-ctx.Done():
					return
				}
			}
			if final(current) {
				return
			}
			select {
			case <-changed:
			case <-poll.C:
			case <-ctx.Done():
				return
			}
			changed = q.changes()
			next, err := read(ctx, id)
			if err == nil && !reflect.DeepEqual(next, current) {
				current, sent = next, false
			}
		}
	}()
	return states, nil
}

// changes returns a channel that is closed at the next announcement.
func (q *Queue) changes() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.changed
}

// announce wakes the watchers.
func (q *Queue) announce() {
	q.mu.Lock()
	defer q.mu.Unlock()
	close(q.changed)
	q.changed = make(chan struct{})
}

// quietHandler logs everything at debug level: what the library calls a
// warning is its own business, and what matters is logged here.
type quietHandler struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h quietHandler) Enabled(ctx context.Context, _ slog.Level) bool {
	return h.Handler.Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (h quietHandler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level > slog.LevelDebug {
		r.AddAttrs(slog.String("library_level", r.Level.String()))
		r.Level = slog.LevelDebug
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h quietHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return quietHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h quietHandler) WithGroup(name string) slog.Handler {
	return quietHandler{h.Handler.WithGroup(name)}
}
