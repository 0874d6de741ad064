package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// unixPrefix marks a listen address that is a socket file. Its mode is 0600,
// and whoever can open it is the local administrator, without a token.
const unixPrefix = "unix://"

// server serves the API on one listener.
type server struct {
	endpoint string // as a client writes it
	listener net.Listener
	http     *http.Server
	stopped  chan struct{} // closed when serving has ended
}

// listen opens the configured address.
func listen(c Config, handler http.Handler) (*server, error) {
	s := &server{
		http:    &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute},
		stopped: make(chan struct{}),
	}
	if path, ok := strings.CutPrefix(c.Listen, unixPrefix); ok {
		return s, s.listenUnix(path)
	}
	listener, err := net.Listen("tcp", c.Listen)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, &envbackup.Error{
			Code: envbackup.CodeConflict, Message: fmt.Sprintf("another program listens on %s already", c.Listen),
			Hint: "if it is another daemon, use that one or stop it; else choose another address with --listen", Err: err,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	s.listener, s.endpoint = listener, "http://"+listener.Addr().String()
	if c.TLSCertFile != "" {
		certificate, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("load certificate: %w", err), listener.Close())
		}
		s.listener = tls.NewListener(listener, &tls.Config{
			Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		})
		s.endpoint = "https://" + listener.Addr().String()
	}
	return s, nil
}

func (s *server) listenUnix(path string) error {
	// A socket file outlives a daemon that was killed. The data directory's
	// lock says that no other daemon of ours listens here.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fmt.Errorf("listen on %s: %w", path, err), listener.Close())
	}
	s.listener, s.endpoint = listener, unixPrefix+path
	s.http.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return api.TrustConn(ctx) }
	return nil
}

// serve answers until ctx is done, then lets open requests end.
func (s *server) serve(ctx context.Context) error {
	served := make(chan error, 1)
	go func() {
		defer close(s.stopped)
		served <- s.http.Serve(s.listener)
	}()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", s.endpoint, err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
	defer cancel()
	err := s.http.Shutdown(stop)
	if err != nil {
		err = s.http.Close() // event streams end when the client does, or here
	}
	<-s.stopped
	return err
}

// answers asks the server itself whether it is alive.
func (s *server) answers(ctx context.Context) error {
	addr := s.listener.Addr()
	transport := &http.Transport{
		// The question is whether this process answers, not whether its
		// certificate is another's to trust.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // asks itself
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, addr.Network(), addr.String())
		},
	}
	defer transport.CloseIdleConnections()
	scheme := "http"
	if strings.HasPrefix(s.endpoint, "https") {
		scheme = "https"
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://localhost/healthz", nil)
	if err != nil {
		return fmt.Errorf("ask own API: %w", err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("ask own API: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask own API: it answers %s", response.Status)
	}
	return nil
}

// close closes the listener of a server that never served.
func (s *server) close() error {
	if s.listener == nil {
		return nil
	}
	if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close %s: %w", s.endpoint, err)
	}
	return nil
}
