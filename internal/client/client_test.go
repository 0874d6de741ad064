package client_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func connect(t *testing.T, cfg client.Config) *client.Client {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// answers serves the given statuses in turn, then 200 with an empty object,
// and counts.
func answers(t *testing.T, count *atomic.Int64, statuses ...int) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n := int(count.Add(1))
		switch {
		case n > len(statuses):
			_, _ = w.Write([]byte("{}"))
		case statuses[n-1] == 0: // the connection breaks
			panic(http.ErrAbortHandler)
		default:
			w.WriteHeader(statuses[n-1])
		}
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	return server
}

func TestRetries(t *testing.T) {
	t.Parallel()
	get := func(ctx context.Context, c *client.Client) error { _, err := c.Limits(ctx); return err }
	put := func(ctx context.Context, c *client.Client) error {
		_, err := c.UpdateEnvironment(ctx, "e", wire.EnvironmentInput{}, 0)
		return err
	}
	create := func(ctx context.Context, c *client.Client) error {
		_, err := c.CreateEnvironment(ctx, wire.EnvironmentInput{})
		return err
	}
	prune := func(ctx context.Context, c *client.Client) error {
		_, err := c.PruneSchedule(ctx, "s", false)
		return err
	}
	tests := map[string]struct {
		call     func(context.Context, *client.Client) error
		statuses []int
		attempts int64
		fails    bool
	}{
		"503 is tried again":                              {get, []int{503}, 2, false},
		"502 and 504 are tried again":                     {get, []int{502, 504}, 3, false},
		"a broken connection is tried again":              {get, []int{0}, 2, false},
		"four times 503 is enough":                        {get, []int{503, 503, 503, 503, 503}, 4, true},
		"500 is not tried again":                          {get, []int{500}, 1, true},
		"404 is not tried again":                          {get, []int{404}, 1, true},
		"429 is not tried again":                          {get, []int{429}, 1, true},
		"PUT is tried again":                              {put, []int{503}, 2, false},
		"POST with an idempotency key is tried again":     {create, []int{503}, 2, false},
		"POST without an idempotency key is never":        {prune, []int{503}, 1, true},
		"POST without one, after a break, is never":       {prune, []int{0}, 1, true},
		"an answer that is no JSON is not asked for anew": {get, []int{204}, 1, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var count atomic.Int64
			server := answers(t, &count, tt.statuses...)
			err := tt.call(t.Context(), connect(t, client.Config{Endpoint: server.URL}))
			if (err != nil) != tt.fails || count.Load() != tt.attempts {
				t.Errorf("after %d attempts: %v; want %d attempts, failure %t", count.Load(), err, tt.attempts, tt.fails)
			}
		})
	}
}

// The same key goes out with every attempt at one request, and another one
// with the next request.
func TestIdempotencyKeyIsOnePerRequest(t *testing.T) {
	t.Parallel()
	var keys []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
		if len(keys) == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(server.Close)
	c := connect(t, client.Config{Endpoint: server.URL})
	for range 2 {
		if _, err := c.RunSchedule(t.Context(), "shop/nightly", false); err != nil {
			t.Fatal(err)
		}
	}
	if len(keys) != 3 || keys[0] == "" || keys[0] != keys[1] || keys[1] == keys[2] {
		t.Errorf("keys = %q, want the first twice and then another", keys)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	var count atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if count.Add(1) == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(server.Close)
	begun := time.Now()
	if _, err := connect(t, client.Config{Endpoint: server.URL}).Limits(t.Context()); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(begun); waited < time.Second {
		t.Errorf("waited %s, want the second of Retry-After", waited)
	}
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(far.Close)
	if _, err := connect(t, client.Config{Endpoint: far.URL}).Limits(t.Context()); envbackup.CodeOf(err) != envbackup.CodeUnavailable {
		t.Errorf("an hour of Retry-After = %v, want unavailable at once", err)
	}
}

// closedPort returns an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

// The absence of a daemon is one sentence that names the address, and what to
// start.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	for name, endpoint := range map[string]string{
		"a closed port":    "http://" + closedPort(t),
		"an absent socket": "unix://" + filepath.Join(t.TempDir(), "api.sock"),
	} {
		_, err := connect(t, client.Config{Endpoint: endpoint}).Version(t.Context())
		var e *envbackup.Error
		if !errors.As(err, &e) || e.Code != envbackup.CodeUnavailable || !strings.Contains(e.Message, endpoint) || !strings.Contains(e.Hint, "envbackup daemon") {
			t.Errorf("%s: %#v, want unavailable, naming %s and envbackup daemon", name, err, endpoint)
			continue
		}
		if strings.Count(e.Message, strings.TrimPrefix(endpoint, "http://")) != 1 {
			t.Errorf("%s: %q names the address more than once", name, e.Message)
		}
	}
}

// With Wait, a daemon that is just being started is waited for.
func TestWaitsForADaemonThatStarts(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "api.sock")
	c := connect(t, client.Config{Endpoint: "unix://" + socket, Wait: time.Minute})
	result := make(chan error, 1)
	go func() {
		_, err := c.CreateEnvironment(t.Context(), wire.EnvironmentInput{})
		result <- err
	}()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) })}
	select {
	case err := <-result:
		t.Fatalf("it gave up before the daemon was there: %v", err)
	default:
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	if err := <-result; err != nil {
		t.Errorf("with the daemon there: %v", err)
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	socket := filepath.Join(t.TempDir(), "api.sock")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler:     s.Handler,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context { return api.TrustConn(ctx) },
	}
	go func() { _ = server.Serve(ln) }()
	t.Cleanup(func() { _ = server.Close() })
	c := connect(t, client.Config{Endpoint: "unix://" + socket})
	if v, err := c.Version(t.Context()); err != nil || v.Worker != "test-worker" {
		t.Errorf("over the socket, without a token: %+v, %v", v, err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	server := httptest.NewTLSServer(s.Handler)
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, client.Config{Endpoint: server.URL, CAFile: ca, Token: secret.New(s.Viewer)}).Limits(t.Context()); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	_, err := connect(t, client.Config{Endpoint: server.URL, Token: secret.New(s.Viewer)}).Limits(t.Context())
	var e *envbackup.Error
	if !errors.As(err, &e) || e.Code != envbackup.CodeUnavailable || !strings.Contains(e.Hint, "ENVBACKUP_CA_FILE") {
		t.Errorf("without it: %v, want unavailable with the variable to set", err)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]client.Config{
		"no scheme":            {Endpoint: "127.0.0.1:8420"},
		"another scheme":       {Endpoint: "ftp://h"},
		"no host":              {Endpoint: "http://"},
		"a relative socket":    {Endpoint: "unix://api.sock"},
		"credentials inside":   {Endpoint: "http://admin:PLANTED@h"},
		"a query":              {Endpoint: "http://h?token=PLANTED"},
		"a CA that is absent":  {CAFile: "/does/not/exist.pem"},
		"a CA that is no PEM":  {CAFile: "client_test.go"},
		"a certificate alone":  {ClientCert: "client.pem"},
		"a certificate absent": {ClientCert: "/no.pem", ClientKey: "/no.key"},
	} {
		_, err := client.New(cfg)
		if envbackup.CodeOf(err) != envbackup.CodeInvalid {
			t.Errorf("%s = %v, want invalid", name, err)
		} else if name == "credentials inside" && strings.Contains(fmt.Sprintf("%+v", err), "PLANTED") {
			t.Errorf("%s repeats the password: %v", name, err)
		}
	}
}

// Something else than a daemon answers.
func TestForeignServer(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		body   string
		want   envbackup.Code
	}{
		"a page":                   {200, "<html>hello</html>", envbackup.CodeUnavailable},
		"a proxy's 502 page":       {502, "<html>bad gateway</html>", envbackup.CodeUnavailable},
		"a proxy's 401":            {401, "who are you", envbackup.CodeUnauthenticated},
		"a redirect":               {302, "", envbackup.CodeUnavailable},
		"JSON that is no problem":  {404, `{"error":"nope"}`, envbackup.CodeUnavailable},
		"an answer that is broken": {200, `{"max_retention":"10`, envbackup.CodeUnavailable},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if tt.status == 302 {
				w.Header().Set("Location", "/elsewhere")
			}
			w.WriteHeader(tt.status)
			_, _ = w.Write([]byte(tt.body))
		}))
		t.Cleanup(server.Close)
		_, err := connect(t, client.Config{Endpoint: server.URL}).Limits(t.Context())
		var e *envbackup.Error
		if !errors.As(err, &e) || e.Code != tt.want || e.Hint == "" || !strings.Contains(e.Message, server.URL) {
			t.Errorf("%s = %#v, want %s with the address and a hint", name, err, tt.want)
		}
	}
}

func TestTimeoutAndCancellation(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	_, err := connect(t, client.Config{Endpoint: server.URL, Timeout: 20 * time.Millisecond}).Limits(t.Context())
	if envbackup.CodeOf(err) != envbackup.CodeUnavailable || !strings.Contains(err.Error(), "in time") {
		t.Errorf("a daemon that says nothing = %v, want unavailable", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user pressed control-c")
	cancel(why)
	if _, err := connect(t, client.Config{Endpoint: server.URL}).Limits(ctx); !errors.Is(err, why) {
		t.Errorf("cancelled = %v, want its cause", err)
	}
}

func TestUserAgentAndToken(t *testing.T) {
	t.Parallel()
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(server.Close)
	c := connect(t, client.Config{Endpoint: server.URL + "/behind/a/proxy/", UserAgent: "Terraform/1.11.4", Token: secret.New("envb_T")})
	if _, err := c.UpdateSchedule(t.Context(), "shop/nightly", wire.ScheduleInput{}, 7); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"User-Agent": "Terraform/1.11.4", "Authorization": "Bearer envb_T", "If-Match": `"7"`} {
		if got.Get(name) != want {
			t.Errorf("%s = %q, want %q", name, got.Get(name), want)
		}
	}
}
