package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// maxEvent bounds one line of an event stream: a run with all its warnings.
const maxEvent = 4 << 20

// WatchRun calls seen for the run as it is now and for each change, until it
// is over, and returns its last state. seen runs on the caller's goroutine; an
// error of it ends the watch and is returned. A stream that breaks is taken up
// again, for a daemon that restarts, unless nothing came of that three times
// in a row.
func (c *Client) WatchRun(ctx context.Context, id string, seen func(wire.Run) error) (wire.Run, error) {
	return watch(ctx, c, "/runs/"+segment(id)+"/events", "run", seen,
		func(r wire.Run) bool { return r.State.Final() })
}

// WatchRestore is WatchRun for a restore.
func (c *Client) WatchRestore(ctx context.Context, id string, seen func(wire.Restore) error) (wire.Restore, error) {
	return watch(ctx, c, "/restores/"+segment(id)+"/events", "restore", seen,
		func(r wire.Restore) bool { return r.State.Final() })
}

// WatchVerification is WatchRun for a verification.
func (c *Client) WatchVerification(ctx context.Context, id string, seen func(wire.Verification) error) (wire.Verification, error) {
	return watch(ctx, c, "/verifications/"+segment(id)+"/events", "verification", seen,
		func(v wire.Verification) bool { return v.State.Final() })
}

// errOver ends the reading of a stream whose last event came.
var errOver = errors.New("over")

func watch[T any](ctx context.Context, c *Client, path, event string, seen func(T) error, final func(T) bool) (T, error) {
	var last T
	fruitless := 0
	for {
		came := false
		err := c.stream(ctx, path, event, func(data []byte) error {
			var doc T
			if err := json.Unmarshal(data, &doc); err != nil {
				return fmt.Errorf("decode event: %w", err)
			}
			came, last = true, doc
			if seen != nil {
				if err := seen(doc); err != nil {
					return stopped{err}
				}
			}
			if final(doc) {
				return errOver
			}
			return nil
		})
		var stop stopped
		switch {
		case errors.Is(err, errOver):
			return last, nil
		case errors.As(err, &stop):
			return last, stop.cause
		case ctx.Err() != nil:
			return last, context.Cause(ctx)
		case err != nil && envbackup.CodeOf(err) != envbackup.CodeUnavailable:
			return last, err
		}
		if came {
			fruitless = 0
		}
		if fruitless++; fruitless > maxRetries {
			if err == nil {
				err = &envbackup.Error{Code: envbackup.CodeUnavailable, Message: c.endpoint + " ends its event stream too early"}
			}
			return last, err
		}
		timer := time.NewTimer(firstPause << fruitless)
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

// stopped carries an error of the caller's function through the stream.
type stopped struct{ cause error }

func (s stopped) Error() string { return s.cause.Error() }

// stream reads server-sent events and calls each for the data of those with
// the given name, until the stream ends or each fails.
func (c *Client) stream(ctx context.Context, path, event string, each func([]byte) error) error {
	resp, err := c.send(ctx, call{method: http.MethodGet, path: root + path, unbounded: true}, "text/event-stream")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()

	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	name, data := "", ""
	for lines.Scan() {
		line := lines.Text()
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			data += value
		case "":
			if line != "" {
				continue // a comment, which keeps the connection alive
			}
			if name == event && data != "" {
				if err := each([]byte(data)); err != nil {
					return err
				}
			}
			name, data = "", ""
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return &envbackup.Error{Code: envbackup.CodeUnavailable, Message: "the event stream of " + c.endpoint + " broke off", Err: err}
	}
	return nil
}
