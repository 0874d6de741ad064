package s3test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Faults is a proxy in front of a Server that misbehaves for chosen requests
// and passes the others through unchanged. It is safe for concurrent use.
type Faults struct {
	// Server is the endpoint to use, with the identity of the server behind.
	*Server

	mu    sync.Mutex
	rules []*rule
	seen  []Request
	held  map[net.Conn]struct{}
	ended bool
}

// Request is one request that the proxy has seen.
type Request struct {
	Method string
	// Path is the decoded path, /BUCKET/KEY.
	Path string
	// Query is the raw query.
	Query string
	// Header is what the client sent.
	Header http.Header
	// Fault names what was done to it; empty for a request passed through.
	Fault string
}

// Match chooses requests.
type Match func(*http.Request) bool

// Any matches every request.
func Any(*http.Request) bool { return true }

// Method matches the requests with one of the methods.
func Method(methods ...string) Match {
	return func(r *http.Request) bool { return slices.Contains(methods, r.Method) }
}

// Fault is what happens to a request.
type Fault struct {
	name string
	// before acts instead of the server; nil passes the request on.
	before func(*Faults, http.ResponseWriter, *http.Request)
	// on changes the request that the server gets; nil leaves it.
	on func(*http.Request)
	// after changes the server's answer; nil leaves it.
	after func(*http.Response)
}

type rule struct {
	match Match
	fault Fault
	left  int // requests it still applies to; negative: all
}

// Faults returns a proxy in front of s. It belongs to the test.
func (s *Server) Faults(t testing.TB) *Faults {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		DisableCompression:  true, // Accept-Encoding is signed
		MaxIdleConnsPerHost: 64,
	}
	// What proxy and server say about faults that were asked for is noise.
	quiet := slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	f := &Faults{held: map[net.Conn]struct{}{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the signature covers the host that the client used
		},
		Transport:      transport,
		ModifyResponse: f.modify,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       quiet,
	}
	listener := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.serve(proxy, w, r) }))
	listener.Config.ErrorLog = quiet
	listener.Start()
	t.Cleanup(func() {
		f.release()
		listener.CloseClientConnections()
		listener.Close()
		transport.CloseIdleConnections()
	})
	front := *s
	front.Endpoint = listener.URL
	f.Server = &front
	return f
}

// Inject makes the fault happen to every request that matches, until remove is
// called. Of several rules that match, the one injected last acts.
func (f *Faults) Inject(match Match, fault Fault) (remove func()) { return f.add(match, fault, -1) }

// InjectTimes is Inject for the next n requests that match.
func (f *Faults) InjectTimes(n int, match Match, fault Fault) (remove func()) {
	return f.add(match, fault, n)
}

func (f *Faults) add(match Match, fault Fault, times int) func() {
	r := &rule{match: match, fault: fault, left: times}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.rules = slices.DeleteFunc(f.rules, func(x *rule) bool { return x == r })
	}
}

// Requests returns what the proxy has seen so far, in order of arrival.
func (f *Faults) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// choose notes the request and uses up one application of the rule it returns.
func (f *Faults) choose(r *http.Request) *Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	entry := Request{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone()}
	defer func() { f.seen = append(f.seen, entry) }()
	for _, rule := range slices.Backward(f.rules) {
		if rule.left == 0 || !rule.match(r) {
			continue
		}
		if rule.left > 0 {
			rule.left--
		}
		entry.Fault = rule.fault.name
		return &rule.fault
	}
	return nil
}

func (f *Faults) serve(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	fault := f.choose(r)
	switch {
	case fault == nil:
		proxy.ServeHTTP(w, r)
	case fault.before != nil:
		fault.before(f, w, r)
	default:
		if fault.on != nil {
			fault.on(r)
		}
		proxy.ServeHTTP(w, r.WithContext(withFault(r.Context(), fault)))
	}
}

func (f *Faults) modify(response *http.Response) error {
	if fault := faultOf(response.Request.Context()); fault != nil && fault.after != nil {
		fault.after(response)
	}
	return nil
}

// hold keeps a connection open and says nothing until the peer leaves or the
// test ends.
func (f *Faults) hold(conn net.Conn) {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		_ = conn.Close()
		return
	}
	f.held[conn] = struct{}{}
	f.mu.Unlock()
	_, _ = io.Copy(io.Discard, conn)
	f.mu.Lock()
	delete(f.held, conn)
	f.mu.Unlock()
	_ = conn.Close()
}

func (f *Faults) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for conn := range f.held {
		_ = conn.Close()
	}
}

// Status answers with an S3 error and does not pass the request on. Common
// ones: (503, "SlowDown"), (429, "TooManyRequests"), (500, "InternalError"),
// (403, "AccessDenied"), (403, "ExpiredToken").
func Status(code int, s3Code string) Fault {
	return Fault{name: fmt.Sprintf("status %d %s", code, s3Code), before: func(_ *Faults, w http.ResponseWriter, r *http.Request) {
		// The body is read first, or the client may see a broken connection
		// in place of the answer.
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>injected</Message></Error>", s3Code)
	}}
}

// StatusLater is Status with a Retry-After header.
func StatusLater(code int, s3Code, retryAfter string) Fault {
	fault := Status(code, s3Code)
	answer := fault.before
	fault.before = func(f *Faults, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", retryAfter)
		answer(f, w, r)
	}
	return fault
}

// Answer answers with a body of its own and does not pass the request on: the
// lie of a store that is not itself.
func Answer(code int, body string) Fault {
	return Fault{name: fmt.Sprintf("answer %d", code), before: func(_ *Faults, w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}}
}

// Header replaces a header of the answer.
func Header(name, value string) Fault {
	return Fault{name: "header " + name, after: func(response *http.Response) { response.Header.Set(name, value) }}
}

// Reset breaks the connection (TCP RST) and does not pass the request on.
func Reset() Fault {
	return Fault{name: "reset", before: func(_ *Faults, w http.ResponseWriter, _ *http.Request) {
		reset(hijack(w))
	}}
}

// LoseAnswer passes the request on and breaks the connection in place of the
// answer: the server has done it and the client cannot know.
func LoseAnswer() Fault {
	return Fault{name: "lose answer", after: func(response *http.Response) {
		_ = response.Body.Close()
		panic(http.ErrAbortHandler)
	}}
}

// Stall swallows the request and never answers.
func Stall() Fault {
	return Fault{name: "stall", before: func(f *Faults, w http.ResponseWriter, _ *http.Request) {
		f.hold(hijack(w))
	}}
}

// Delay gives the answer d later, as a distant server would.
func Delay(d time.Duration) Fault {
	return Fault{name: "delay", after: func(response *http.Response) {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-response.Request.Context().Done():
		}
	}}
}

// Truncate answers with the right length, sends n bytes of the body and breaks
// the connection.
func Truncate(n int64) Fault {
	return Fault{name: "truncate", after: func(response *http.Response) {
		response.Body = &cutBody{ReadCloser: response.Body, left: n}
	}}
}

// Corrupt flips one bit of the byte at offset of the answer's body.
func Corrupt(offset int) Fault {
	return Fault{name: "corrupt", after: func(response *http.Response) {
		body, err := io.ReadAll(response.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = response.Body.Close()
		if offset < len(body) {
			body[offset] ^= 1
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
	}}
}

// CorruptUpload flips one bit of the byte at offset of what the server gets.
func CorruptUpload(offset int) Fault {
	return Fault{name: "corrupt upload", on: func(r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if offset < len(body) {
			body[offset] ^= 1
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}}
}

// WrongLength answers with a Content-Length that is off by the number of bytes:
// a longer one ends in a broken connection, and so does a shorter one after the
// bytes that it promises.
func WrongLength(off int64) Fault {
	return Fault{name: "wrong length", after: func(response *http.Response) {
		body, err := io.ReadAll(response.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = response.Body.Close()
		length := int64(len(body)) + off
		response.ContentLength = length
		response.Header.Set("Content-Length", strconv.FormatInt(length, 10))
		response.Body = io.NopCloser(bytes.NewReader(body[:min(length, int64(len(body)))]))
	}}
}

// cutBody ends in an error after left bytes, on which the proxy breaks the
// connection to the client.
type cutBody struct {
	io.ReadCloser
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return conn
}

func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
