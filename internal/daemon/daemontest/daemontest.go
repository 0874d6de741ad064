// Package daemontest runs a real daemon within a test: --dev, a directory of
// its own and a free loopback port. It decides nothing; what it starts is what
// `envbackup daemon --dev` starts.
package daemontest

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// Daemon is a daemon that runs until the test ends, or until Stop.
type Daemon struct {
	Endpoint string
	Token    string // an admin's
	Dir      string // the data directory
	Client   *client.Client

	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// Option changes the configuration before the daemon starts.
type Option func(*daemon.Config)

// Config hands the whole configuration to change.
func Config(change func(*daemon.Config)) Option { return change }

// InDir uses a data directory that exists, such as a stopped daemon's.
func InDir(dir string) Option { return func(c *daemon.Config) { c.DataDir = dir } }

// Start starts a daemon and returns when it answers. A daemon that does not
// start, or that does not end cleanly, fails the test. Its log is shown when
// the test fails.
func Start(t testing.TB, opts ...Option) *Daemon {
	t.Helper()
	c := daemon.Default()
	c.Dev, c.Listen, c.Version, c.LogLevel = true, "127.0.0.1:0", "test", "debug"
	for _, o := range opts {
		o(&c)
	}
	if c.DataDir == "" {
		c.DataDir = t.TempDir()
	}
	log := &buffer{}
	stdout, ready := io.Pipe()
	c.Stdout, c.Stderr = ready, log

	ctx, cancel := context.WithCancel(context.Background())
	d := &Daemon{Dir: c.DataDir, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.err = daemon.Run(ctx, c)
		_ = ready.Close() // a daemon that does not start ends the wait below
	}()
	t.Cleanup(func() {
		d.Stop(t)
		if t.Failed() {
			t.Logf("log of the daemon in %s:\n%s", c.DataDir, log)
		}
	})

	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		<-d.done
		t.Fatalf("the daemon did not start: %v", d.err)
	}
	d.Endpoint = strings.TrimSpace(strings.TrimPrefix(line, "ready "))
	token, err := os.ReadFile(filepath.Join(c.DataDir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	d.Token = strings.TrimSpace(string(token))
	d.Client, err = client.New(client.Config{Endpoint: d.Endpoint, Token: secret.New(d.Token)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Stop stops the daemon as SIGTERM does and waits for its end. It may be
// called again.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	d.cancel()
	<-d.done
	if d.Client != nil {
		d.Client.Close()
	}
	if d.err != nil {
		t.Errorf("the daemon ended with: %v", d.err)
		d.err = nil
	}
}

// buffer is a log that goroutines share.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
