package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// lag serves a proxy that passes each request on a while after it came, as if
// the server were far away. It prints its own address as a line and ends when
// its standard input does.
func lag(ctx context.Context, target string, delay time.Duration, stdin io.Reader, stdout io.Writer) error {
	u, err := url.Parse(target)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{Handler: lagHandler(u, delay), ReadHeaderTimeout: time.Minute}
	g, ctx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	go func() {
		// Owned by the parent: it ends when the parent closes the pipe or
		// dies, and this process with it.
		_, _ = io.Copy(io.Discard, stdin)
		close(ended)
	}()
	g.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", listener.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-ended:
		case <-ctx.Done():
		}
		return server.Close()
	})
	if _, err := fmt.Fprintf(stdout, "http://%s\n", listener.Addr()); err != nil {
		return errors.Join(err, server.Close(), g.Wait())
	}
	return g.Wait()
}

func lagHandler(target *url.URL, delay time.Duration) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // the signature covers the host that the client used
		},
		Transport: &http.Transport{
			DisableCompression:  true, // Accept-Encoding is signed
			MaxIdleConnsPerHost: 64,
			WriteBufferSize:     256 << 10, ReadBufferSize: 256 << 10,
		},
		BufferPool: &copyBuffers{},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
			proxy.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// copyBuffers spares the proxy a new buffer for each request, whose collection
// would cost the contenders CPU.
type copyBuffers struct{ pool sync.Pool }

func (c *copyBuffers) Get() []byte {
	if b, ok := c.pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 256<<10)
}

func (c *copyBuffers) Put(b []byte) { c.pool.Put(&b) }
