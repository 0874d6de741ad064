// Package client is the typed Go client of the daemon's HTTP API: one method
// for each route, documents of package wire in and out, and every failure an
// *envbackup.Error with a code, a hint and, for invalid input, the findings.
//
// It decides how to reach a daemon (http, https or a unix socket), what is
// tried again and for how long, and how the absence of a daemon reads. It
// decides nothing about what a document means, keeps no cache and starts no
// goroutine.
//
// Names and ids are interchangeable wherever a method takes an id; a schedule's
// name is written ENVIRONMENT/NAME.
package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// DefaultEndpoint is where a daemon listens unless it is told otherwise.
const DefaultEndpoint = "http://127.0.0.1:8420"

// maxAnswer bounds a document that is read into memory: a page of 1000 backups
// is about a megabyte, a dry run over 100,000 about 60.
const maxAnswer = 256 << 20

// Config says which daemon to talk to, and how.
type Config struct {
	// Endpoint is http://HOST:PORT, https://HOST:PORT or unix:///PATH; empty
	// means DefaultEndpoint.
	Endpoint string
	// Token is sent as a bearer token; empty for none, as on a unix socket.
	Token secret.String
	// CAFile is a PEM file of the authorities to trust instead of the system's.
	CAFile string
	// ClientCert and ClientKey are PEM files; both or neither.
	ClientCert string
	ClientKey  string
	// Timeout bounds one attempt at a request, 0 means 30 s. Event streams,
	// prunes and deletions of backups have no bound but their context.
	Timeout time.Duration
	// UserAgent is sent as it is; empty means "envbackup".
	UserAgent string
	// Wait is for how long a refused connection is tried again, for a daemon
	// that is just being started; 0 fails at once.
	Wait time.Duration
}

// Client talks to one daemon. It is safe for concurrent use and keeps its
// connections alive; make one for each process, not for each request.
type Client struct {
	base      string // without a slash at the end
	endpoint  string // as a person wrote it, for messages
	token     secret.String
	userAgent string
	wait      time.Duration
	bounded   *retryablehttp.Client
	unbounded *retryablehttp.Client
}

// New checks the configuration and reads its files; it does not connect.
// Errors have the code CodeInvalid.
func New(cfg Config) (*Client, error) {
	endpoint := cfg.Endpoint
	if endpoint == "" {
		endpoint = DefaultEndpoint
	}
	base, socket, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	transport := cleanhttp.DefaultPooledTransport()
	transport.MaxIdleConnsPerHost = 64 // terraform reads with ten workers, and more with -parallelism
	if socket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}
	}
	if transport.TLSClientConfig, err = tlsConfig(cfg); err != nil {
		return nil, err
	}
	timeout := cfg.Timeout
	if timeout == 0 {
		timeout = 30 * time.Second
	}
	userAgent := cfg.UserAgent
	if userAgent == "" {
		userAgent = "envbackup"
	}
	c := &Client{base: base, endpoint: endpoint, token: cfg.Token, userAgent: userAgent, wait: cfg.Wait}
	c.bounded = newRetrying(transport, timeout)
	c.unbounded = newRetrying(transport, 0)
	return c, nil
}

// Endpoint returns the address as it was configured, for messages.
func (c *Client) Endpoint() string { return c.endpoint }

// Close drops the idle connections.
func (c *Client) Close() {
	c.bounded.HTTPClient.CloseIdleConnections()
	c.unbounded.HTTPClient.CloseIdleConnections()
}

// parseEndpoint returns the base of all URLs, and the socket's path for unix.
func parseEndpoint(endpoint string) (base, socket string, err error) {
	wrong := func(why string) error {
		return &envbackup.Error{
			Code: envbackup.CodeInvalid, Message: fmt.Sprintf("the endpoint %s", why),
			Hint: "write http://HOST:PORT, https://HOST:PORT or unix:///PATH, for example " + DefaultEndpoint,
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", "", wrong("is not a URL")
	}
	if u.User != nil {
		return "", "", wrong("holds a user name or a password; give the token by itself")
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return "", "", wrong(fmt.Sprintf("%q has more than an address and a path", endpoint))
	}
	switch u.Scheme {
	case "http", "https":
		if u.Host == "" {
			return "", "", wrong(fmt.Sprintf("%q names no host", endpoint))
		}
		return strings.TrimRight(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), "", nil
	case "unix":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			return "", "", wrong(fmt.Sprintf("%q needs the absolute path of a socket after unix://", endpoint))
		}
		return "http://envbackup", u.Path, nil
	default:
		return "", "", wrong(fmt.Sprintf("%q begins with neither http://, https:// nor unix://", endpoint))
	}
}

func tlsConfig(cfg Config) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, &envbackup.Error{Code: envbackup.CodeInvalid, Message: "cannot read the CA file: " + err.Error(), Err: err}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &envbackup.Error{
				Code: envbackup.CodeInvalid, Message: fmt.Sprintf("the CA file %s holds no certificate", cfg.CAFile),
				Hint: "it must hold certificates in PEM form, each beginning with -----BEGIN CERTIFICATE-----",
			}
		}
	}
	if (cfg.ClientCert == "") != (cfg.ClientKey == "") {
		return nil, &envbackup.Error{Code: envbackup.CodeInvalid, Message: "a client certificate and its key must be given together"}
	}
	if cfg.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.ClientCert, cfg.ClientKey)
		if err != nil {
			return nil, &envbackup.Error{Code: envbackup.CodeInvalid, Message: "cannot load the client certificate: " + err.Error(), Err: err}
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// call is one request.
type call struct {
	method    string
	path      string // under the base, segments escaped
	query     url.Values
	body      any   // nil for none
	ifVersion int64 // If-Match; 0 for none
	// once forbids a second attempt: a POST without an idempotency key.
	once      bool
	unbounded bool // no time limit but the context's
	notReady  bool // 503 is an answer too
}

// do sends the call and decodes the answer into out, which may be nil.
func (c *Client) do(ctx context.Context, in call, out any) error {
	resp, err := c.send(ctx, in, "application/json")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("%s %s: %w", in.method, in.path, context.Cause(ctx))
		}
		return &envbackup.Error{
			Code: envbackup.CodeUnavailable, Message: fmt.Sprintf("the answer of %s broke off or is not JSON", c.endpoint),
			Hint: "check that the endpoint is an envbackup daemon of this version", Err: err,
		}
	}
	return nil
}

// send returns an answer of the 2xx kind, whose body the caller closes, or an
// error.
func (c *Client) send(ctx context.Context, in call, accept string) (*http.Response, error) {
	var body []byte
	if in.body != nil {
		var err error
		if body, err = json.Marshal(in.body); err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
	}
	address := c.base + in.path
	if len(in.query) > 0 {
		address += "?" + in.query.Encode()
	}
	tries := &tries{once: in.once, wait: c.wait, begun: time.Now()}
	req, err := retryablehttp.NewRequestWithContext(withTries(ctx, tries), in.method, address, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", c.userAgent)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	} else {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	if !c.token.IsEmpty() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	if in.ifVersion != 0 {
		req.Header.Set("If-Match", strconv.Quote(strconv.FormatInt(in.ifVersion, 10)))
	}
	if in.method == http.MethodPost && !in.once {
		req.Header.Set("Idempotency-Key", newKey())
	}
	client := c.bounded
	if in.unbounded {
		client = c.unbounded
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, c.transportError(ctx, in, err)
	}
	if (resp.StatusCode < 200 || resp.StatusCode > 299) && !(in.notReady && resp.StatusCode == http.StatusServiceUnavailable) {
		defer func() { _ = resp.Body.Close() }()
		return nil, c.answerError(resp)
	}
	return resp, nil
}

// segment escapes an id or a reference, whose slash must not split the path.
func segment(s string) string { return url.PathEscape(s) }
