package client

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"math"
	mathrand "math/rand/v2"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	maxRetries     = 3
	firstPause     = 100 * time.Millisecond
	maxPause       = 10 * time.Second // also the longest Retry-After that is waited for
	longestRefused = 400 * time.Millisecond
)

// tries counts what happened to one request. The library keeps no state for a
// request that its policy could see, so it travels in the context.
type tries struct {
	once   bool
	wait   time.Duration // see Config.Wait
	begun  time.Time
	failed int // answers and broken connections
}

type triesKey struct{}

func withTries(ctx context.Context, t *tries) context.Context {
	return context.WithValue(ctx, triesKey{}, t)
}

func newRetrying(transport http.RoundTripper, timeout time.Duration) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport: transport,
			Timeout:   timeout,
			// The API redirects nowhere; following would hand the request, and
			// on the same host the token, to whatever answers there.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax:     math.MaxInt32, // mayRetry counts by itself
		RetryWaitMin: firstPause,
		RetryWaitMax: maxPause,
		CheckRetry:   mayRetry,
		Backoff:      pause,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// mayRetry is the policy: a refused connection while Wait lasts, whatever the
// method, since nothing was sent; and 502, 503, 504 or a connection that broke,
// three times, unless the request may be sent only once.
func mayRetry(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	t, ok := ctx.Value(triesKey{}).(*tries)
	if !ok {
		return false, err
	}
	switch {
	case isRefused(err):
		return time.Since(t.begun) < t.wait, nil
	case t.once:
		return false, nil
	case err != nil && !isBroken(err):
		return false, nil
	case err == nil && !isPassing(resp.StatusCode):
		return false, nil
	case resp != nil && retryAfter(resp) > maxPause:
		return false, nil
	}
	t.failed++
	return t.failed <= maxRetries, nil
}

// isRefused reports that nobody listens: the port is closed, or the socket is
// absent or left over.
func isRefused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT)
}

// isBroken reports that a connection ended before its answer did.
func isBroken(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isPassing(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// pause returns how long to wait before the next attempt: what Retry-After
// says, else doubling from firstPause with a jitter of a half. Without an
// answer it stays short: a daemon that is being started is soon there.
func pause(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
	if resp == nil {
		most = longestRefused
	} else if after := retryAfter(resp); after > 0 {
		return min(after, most)
	}
	wait := min(least<<min(attempt, 10), most)
	return wait/2 + mathrand.N(wait/2+1)
}

// retryAfter reads the header in its form of seconds; the daemon sends no dates.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// newKey makes an idempotency key: the same for all attempts at one request.
func newKey() string { return rand.Text() }
