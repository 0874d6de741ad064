package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

const (
	// eventPoll is how often a watched thing is read. Workers write progress
	// about once a second, and the run may go on at another daemon, so the
	// database is the only place that knows.
	eventPoll = 500 * time.Millisecond
	// eventQuiet is how long a stream is silent before a comment keeps proxies
	// from closing it.
	eventQuiet = 15 * time.Second
	// eventWrite bounds a write to a reader that has stopped reading.
	eventWrite = 10 * time.Second
)

// events registers a stream of server-sent events: the thing as it is, then
// again whenever it changes, until it is final, the reader goes or the daemon
// stops. name is the event's.
func events[W any](s *server, r route, name string, now func(context.Context, string) (W, error), final func(W) bool) {
	op := r.operation(s.huma)
	op.Responses["200"] = &huma.Response{
		Description: "A stream of events named " + name + ", each with the document as its data; it ends with the final one",
		Content: map[string]*huma.MediaType{"text/event-stream": {
			Schema: s.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[W](), true, name),
		}},
	}
	huma.Register(s.huma, op, func(ctx context.Context, in *Keyed) (*huma.StreamResponse, error) {
		first, err := now(ctx, in.Key)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return &huma.StreamResponse{Body: func(hctx huma.Context) {
			_, w := humago.Unwrap(hctx)
			w.Header().Set("Content-Type", "text/event-stream")
			stream := eventStream{w: w, control: http.NewResponseController(w), name: name}
			if err := s.follow(hctx.Context(), stream, first, func(ctx context.Context) (any, bool, error) {
				doc, err := now(ctx, in.Key)
				return doc, err == nil && final(doc), err
			}, final(first)); err != nil && hctx.Context().Err() == nil {
				s.log.WarnContext(hctx.Context(), "event stream ended early", "path", op.Path, "id", in.Key, "error", err)
			}
		}}, nil
	})
}

// follow sends first and then each different state. It returns nil once the
// final one is sent.
func (s *server) follow(ctx context.Context, stream eventStream, first any, next func(context.Context) (any, bool, error), done bool) error {
	ticker := time.NewTicker(eventPoll)
	defer ticker.Stop()
	var last []byte
	doc, sentAt := first, time.Now()
	for {
		data, err := json.Marshal(doc)
		if err != nil {
			return fmt.Errorf("encode event: %w", err)
		}
		switch {
		case string(data) != string(last):
			if err := stream.send(data); err != nil {
				return err
			}
			last, sentAt = data, time.Now()
		case time.Since(sentAt) >= eventQuiet:
			if err := stream.comment(); err != nil {
				return err
			}
			sentAt = time.Now()
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
		if doc, done, err = next(ctx); err != nil {
			return err
		}
	}
}

type eventStream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	name    string
}

func (e eventStream) send(data []byte) error {
	return e.write("event: %s\ndata: %s\n\n", e.name, data)
}

func (e eventStream) comment() error { return e.write(": still here\n\n") }

func (e eventStream) write(format string, args ...any) error {
	// A writer without deadlines waits as long as its connection lives.
	_ = e.control.SetWriteDeadline(time.Now().Add(eventWrite))
	if _, err := fmt.Fprintf(e.w, format, args...); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	if err := e.control.Flush(); err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	return nil
}
