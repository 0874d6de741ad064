package api

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const (
	replayFor  = 24 * time.Hour
	maxReplays = 2_000
	maxReplay  = 256 << 10 // bytes of an answer that is kept
)

// replays remembers answers by idempotency key, so that a POST whose answer
// got lost can be sent again without a second run, restore or creation. It
// lives in memory: after a restart a repeated creation meets its own name.
type replays struct {
	mu    sync.Mutex
	byKey map[string]*replayed
	order []*replayed // oldest first; those that were forgotten stay until they age
}

// replayed is an answer, complete once done is closed.
type replayed struct {
	key  string
	sum  [32]byte // of the body that it answered
	at   time.Time
	done chan struct{}
	kept bool // false when the answer must not be repeated
	answer
}

type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func newReplays() *replays {
	return &replays{byKey: map[string]*replayed{}}
}

// replay answers a POST that carries an idempotency key once, and repeats that
// answer to whoever sends the same again with the same token. Failures of the
// daemon (5xx) are not kept; tokens, keys and prunes never are.
func (s *server) replay(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if r.Method != http.MethodPost || key == "" || !replayable(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		if len(key) > 200 {
			writeProblem(w, newProblem(http.StatusBadRequest, &envbackup.Error{
				Code: envbackup.CodeInvalid, Message: "the Idempotency-Key is longer than 200 bytes",
			}))
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody+1))
		if err != nil {
			// Too large or broken off: huma meets the same error and words it.
			r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), errReader{err}))
			next.ServeHTTP(w, r)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		id := strings.Join([]string{actorOf(r.Context()).id, r.URL.Path, key}, "\x00")
		mine, entry := s.replays.claim(id, sha256.Sum256(body), s.Now())
		if mine {
			s.first(w, r, next, entry)
			return
		}
		s.again(w, r, next, entry, sha256.Sum256(body))
	})
}

// first runs the request and keeps its answer.
func (s *server) first(w http.ResponseWriter, r *http.Request, next http.Handler, entry *replayed) {
	recorder := &recorder{ResponseWriter: w, into: &entry.answer}
	defer func() { // also after a panic: others wait for the channel
		entry.kept = recorder.complete()
		if !entry.kept {
			s.replays.forget(entry)
		}
		close(entry.done)
	}()
	next.ServeHTTP(recorder, r)
}

// again repeats the answer of an earlier request once that is complete.
func (s *server) again(w http.ResponseWriter, r *http.Request, next http.Handler, entry *replayed, sum [32]byte) {
	select {
	case <-entry.done:
	case <-r.Context().Done():
		return
	}
	switch {
	case entry.sum != sum:
		writeProblem(w, newProblem(http.StatusUnprocessableEntity, &envbackup.Error{
			Code: envbackup.CodeInvalid, Message: "the Idempotency-Key was used for another request", Hint: "make a new key for each request",
		}))
	case !entry.kept:
		next.ServeHTTP(w, r)
	default:
		for name, values := range entry.header {
			w.Header()[name] = values
		}
		w.Header().Set("Idempotency-Replayed", "true")
		w.WriteHeader(entry.status)
		_, _ = w.Write(entry.body.Bytes()) // the client is gone; nothing is left to tell it
	}
}

// replayable names the routes: creations, runs and restores.
func replayable(path string) bool {
	switch strings.TrimPrefix(path, root) {
	case "/environments", "/destinations", "/schedules", "/restores":
		return true
	default:
		return strings.HasPrefix(path, root+"/schedules/") && strings.HasSuffix(path, "/run")
	}
}

// claim returns a new entry that is the caller's to fill, or the one that
// stands for the key.
func (c *replays) claim(key string, sum [32]byte, now time.Time) (mine bool, entry *replayed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.order) > 0 && (len(c.order) >= maxReplays || now.Sub(c.order[0].at) >= replayFor) {
		c.drop(c.order[0])
		c.order = c.order[1:]
	}
	if entry, ok := c.byKey[key]; ok {
		return false, entry
	}
	entry = &replayed{key: key, sum: sum, at: now, done: make(chan struct{})}
	c.byKey[key] = entry
	c.order = append(c.order, entry)
	return true, entry
}

func (c *replays) forget(entry *replayed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(entry)
}

// drop is called with the lock held; the key may be another's by now.
func (c *replays) drop(entry *replayed) {
	if c.byKey[entry.key] == entry {
		delete(c.byKey, entry.key)
	}
}

// recorder passes an answer on and keeps a copy.
type recorder struct {
	http.ResponseWriter
	into  *answer
	large bool
}

func (r *recorder) WriteHeader(status int) {
	if r.into.status == 0 {
		r.into.status, r.into.header = status, r.Header().Clone()
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.into.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	if r.large = r.large || r.into.body.Len()+len(b) > maxReplay; !r.large {
		r.into.body.Write(b)
	}
	n, err := r.ResponseWriter.Write(b)
	if err != nil {
		return n, fmt.Errorf("write answer: %w", err)
	}
	return n, nil
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) complete() bool {
	return !r.large && r.into.status >= 200 && r.into.status < 500
}

type errReader struct{ err error }

func (e errReader) Read([]byte) (int, error) { return 0, e.err }
