// Package pgtest gives tests a PostgreSQL server: one throw-away cluster for
// each test binary, made from the installed programs, and a database of its own
// for each test that asks.
//
// It decides how the cluster is made, found ready and removed. It installs
// nothing: where PostgreSQL is missing a test is skipped, or fails in CI.
// Nothing of this package reaches the released binary.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// startPatience bounds how long a cluster may take to answer. It needs 0.2 s;
// the rest is for a machine that is busy with something else.
const startPatience = time.Minute

// superuser is the name of the cluster's superuser and, when the tests run as
// root, of the system's user that owns the cluster: PostgreSQL refuses root.
const superuser = "postgres"

// Cluster is a running PostgreSQL server on the loopback interface, which asks
// for passwords. It is safe for concurrent use.
type Cluster struct {
	Host string
	Port int
	// User is a superuser and Password its password.
	User, Password string
	// BinDir holds the server's own programs; pg_dump and psql of the same
	// version are there too.
	BinDir string

	child *tooltest.Child
}

var shared struct {
	sync.Mutex
	cluster *Cluster
}

// Start returns the cluster of this test binary and starts it if no test has
// done so. It ends with the process, so there is nothing to close.
func Start(t testing.TB) *Cluster {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.cluster == nil {
		shared.cluster = launch(t)
	}
	return shared.cluster
}

// StartOwn returns a cluster that belongs to this test alone, for tests that
// stop it in the middle.
func StartOwn(t testing.TB) (cluster *Cluster, stop func()) {
	t.Helper()
	cluster = launch(t)
	t.Cleanup(cluster.child.Stop)
	return cluster, cluster.child.Stop
}

// Database makes an empty database on the shared cluster and returns its DSN.
// The database is dropped when the test ends, whoever is still connected.
func Database(t testing.TB) string {
	t.Helper()
	return Start(t).Database(t)
}

// Database makes an empty database and returns its DSN. It is dropped when the
// test ends.
func (c *Cluster) Database(t testing.TB) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text()[:16])
	if err := c.exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-c.child.Done(): // the test stopped its own cluster
		default:
			if err := c.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
				t.Error(err)
			}
		}
	})
	return c.DSN(name)
}

// DSN returns the connection string of a database of this cluster.
func (c *Cluster) DSN(database string) string {
	dsn := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(c.User, c.Password),
		Host:     net.JoinHostPort(c.Host, strconv.Itoa(c.Port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return dsn.String()
}

func (c *Cluster) exec(sql string) error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.DSN("postgres"))
	if err != nil {
		return fmt.Errorf("connect to the test cluster: %w", err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		return fmt.Errorf("execute %q: %w", sql, err)
	}
	return nil
}

func launch(t testing.TB) *Cluster {
	t.Helper()
	binDir, err := findPrograms()
	if err != nil {
		tooltest.Unavailable(t, "%v", err)
	}
	account, err := findAccount()
	if err != nil {
		tooltest.Unavailable(t, "%v", err)
	}
	// A free port can be taken by somebody else before the server has it, so
	// one that does not come up is tried again on another.
	var cluster *Cluster
	for range 3 {
		if cluster, err = launchOnce(binDir, account); err == nil {
			return cluster
		}
	}
	t.Fatalf("start postgresql: %v", err)
	return nil
}

func launchOnce(binDir string, account *owner) (*Cluster, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "envbackup-postgresql-")
	if err != nil {
		return nil, err
	}
	cluster := &Cluster{Host: "127.0.0.1", Port: port, User: superuser, Password: rand.Text(), BinDir: binDir}
	if err := cluster.initialize(dir, account); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	cluster.child, err = tooltest.StartChild(tooltest.Command{
		Name: "postgresql",
		Dir:  dir,
		// Immediate shutdown: what it leaves undone is removed with the data.
		Signal: "QUIT",
		Args: func(dir string) []string {
			return account.command(filepath.Join(binDir, "postgres"), "-D", filepath.Join(dir, "data"))
		},
	})
	if err != nil {
		return nil, err
	}
	if err := cluster.waitReady(); err != nil {
		cluster.child.Stop()
		return nil, fmt.Errorf("%w: %s", err, cluster.child.Log())
	}
	return cluster, nil
}

// initialize makes the cluster's files in dir and hands dir to their owner.
func (c *Cluster) initialize(dir string, account *owner) error {
	if err := account.give(dir); err != nil {
		return err
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(c.Password), 0o600); err != nil {
		return err
	}
	if err := account.give(password); err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	args := account.command(filepath.Join(c.BinDir, "initdb"), "-D", data, "--no-sync", "--no-locale", "--encoding=UTF8",
		"--username="+superuser, "--auth=scram-sha-256", "--pwfile="+password)
	initdb := exec.Command(args[0], args[1:]...)
	initdb.Dir = dir // the owner may not be allowed into ours
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	return c.configure(filepath.Join(data, "postgresql.conf"))
}

// configure gives up durability, which a cluster that is thrown away does not
// need, for speed.
func (c *Cluster) configure(file string) error {
	conf, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(conf, `
listen_addresses = '127.0.0.1'
port = %d
unix_socket_directories = ''
max_connections = 200
shared_buffers = '32MB'
fsync = off
synchronous_commit = off
full_page_writes = off
`, c.Port)
	return errors.Join(err, conf.Close())
}

// waitReady connects until that works, the server ends, or patience does.
func (c *Cluster) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		conn, err := pgx.Connect(ctx, c.DSN("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-again.C:
		case <-c.child.Done():
			return fmt.Errorf("postgresql ended: %w", errors.Join(c.child.Err(), err))
		case <-ctx.Done():
			return fmt.Errorf("postgresql does not answer: %w", err)
		}
	}
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return 0, errors.Join(err, listener.Close())
	}
	number, err := strconv.Atoi(port)
	return number, errors.Join(err, listener.Close())
}
