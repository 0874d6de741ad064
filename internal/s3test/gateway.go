package s3test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

const region = "us-east-1"

// startPatience bounds how long a gateway may take to answer. It needs 0.1 s;
// the rest is for a machine that is busy with something else.
const startPatience = time.Minute

// gateway is a running versitygw.
type gateway struct {
	child  *tooltest.Child
	binary string
}

var shared struct {
	sync.Mutex
	server *Server
}

// Start returns the real S3 server of this test binary and starts it if no
// test has done so. It has versions, object lock, users and bucket policies.
// It ends with the process, so there is nothing to close. When versitygw cannot
// be had the test is skipped, or fails in CI.
func Start(t testing.TB) *Server {
	t.Helper()
	binary := tooltest.Binary(t, tooltest.Versitygw)
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		server, _, err := Launch(binary, "")
		if err != nil {
			t.Fatal(err)
		}
		shared.server = server
	}
	return shared.server
}

// StartOwn returns a server that belongs to this test alone, for tests that
// stop it in the middle.
func StartOwn(t testing.TB) (server *Server, stop func()) {
	t.Helper()
	server, stop, err := Launch(tooltest.Binary(t, tooltest.Versitygw), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return server, stop
}

// StartTLS returns a server that belongs to this test alone and speaks TLS with
// a certificate for 127.0.0.1, which an authority of its own has signed:
// CAFile names it.
func StartTLS(t testing.TB) *Server {
	t.Helper()
	server, stop, err := launch(tooltest.Binary(t, tooltest.Versitygw), "", true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return server
}

// Launch starts a versitygw that keeps its data in a fresh directory below
// parent, or below the system's temporary directory if parent is empty. It is
// Start for programs that are not tests. The server ends with stop or with
// this process, and its directory is removed.
func Launch(binary, parent string) (server *Server, stop func(), err error) {
	return launch(binary, parent, false)
}

func launch(binary, parent string, withTLS bool) (server *Server, stop func(), err error) {
	// A free port can be taken by somebody else before the child has it, so a
	// child that does not come up is tried again on another one.
	for range 3 {
		if server, stop, err = launchOnce(binary, parent, withTLS); err == nil {
			return server, stop, nil
		}
	}
	return nil, nil, fmt.Errorf("start versitygw: %w", err)
}

func launchOnce(binary, parent string, withTLS bool) (*Server, func(), error) {
	address, err := freeAddress()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp(parent, "envbackup-versitygw-")
	if err != nil {
		return nil, nil, err
	}
	for _, sub := range []string{"data", "versions", "iam", "sidecar"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	server := &Server{Endpoint: "http://" + address, AccessKey: "test-root", SecretKey: rand.Text(), Region: region}
	var more []string
	if withTLS {
		server.Endpoint, server.CAFile = "https://"+address, filepath.Join(dir, "ca.pem")
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		if err := writeCertificates(server.CAFile, cert, key); err != nil {
			return nil, nil, errors.Join(err, os.RemoveAll(dir))
		}
		more = []string{"--cert", cert, "--key", key}
	}
	child, err := tooltest.StartChild(tooltest.Command{
		Name: "versitygw",
		Dir:  dir,
		Args: func(dir string) []string { return arguments(binary, address, dir, more...) },
		Env:  []string{"ROOT_ACCESS_KEY=" + server.AccessKey, "ROOT_SECRET_KEY=" + server.SecretKey},
	})
	if err != nil {
		return nil, nil, err
	}
	server.gateway = &gateway{child: child, binary: binary}
	if err := server.waitHealthy(); err != nil {
		child.Stop()
		return nil, nil, fmt.Errorf("%w: %s", err, child.Log())
	}
	return server, child.Stop, nil
}

// arguments names every path in full, because the gateway changes its working
// directory, and turns on what is off by default and needed here: connections
// that stay open, users, versions.
func arguments(binary, address, dir string, more ...string) []string {
	args := []string{
		binary, "--port", address, "--region", region, "--quiet", "--keep-alive", "--health", "/healthz",
		"--iam-dir", filepath.Join(dir, "iam"),
	}
	args = append(args, more...)
	args = append(args, "posix", "--versioning-dir", filepath.Join(dir, "versions"))
	if !userXattrs(dir) {
		args = append(args, "--sidecar", filepath.Join(dir, "sidecar"))
	}
	return append(args, filepath.Join(dir, "data"))
}

// userXattrs tells whether the file system keeps user extended attributes,
// where the gateway puts an object's metadata. Not every container's does.
func userXattrs(dir string) bool {
	return unix.Setxattr(dir, "user.envbackup-probe", []byte("1"), 0) == nil
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return listener.Addr().String(), listener.Close()
}

// waitHealthy asks for the health page until it answers, the child ends, or
// patience does. Nothing announces readiness, so it has to be asked for.
func (s *Server) waitHealthy() error {
	ctx, cancel := context.WithTimeout(context.Background(), startPatience)
	defer cancel()
	transport, err := s.transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		err := healthy(ctx, client, s.Endpoint+"/healthz")
		if err == nil {
			return nil
		}
		select {
		case <-again.C:
		case <-s.gateway.child.Done():
			return fmt.Errorf("versitygw ended: %w", errors.Join(s.gateway.child.Err(), err))
		case <-ctx.Done():
			return fmt.Errorf("versitygw does not answer: %w", err)
		}
	}
}

func healthy(ctx context.Context, client *http.Client, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s", address, response.Status)
	}
	return nil
}

// dropBucket removes the bucket's files behind the gateway's back, which keeps
// nothing about them in memory: emptying a large bucket through the API would
// take longer than many a test.
func (g *gateway) dropBucket(name string) {
	for _, sub := range []string{"data", "versions", "sidecar"} {
		_ = os.RemoveAll(filepath.Join(g.child.Dir, sub, name))
	}
}

// User makes a user who may do in the bucket what actions say ("s3:GetObject",
// "s3:ListBucket") and nothing else, and returns the server as that user sees
// it. It replaces the policy of the bucket.
func (s *Server) User(t testing.TB, bucket string, actions ...string) *Server {
	t.Helper()
	if s.gateway == nil {
		t.Fatal("users need the real server: use Start")
	}
	user := s.As("user-"+strings.ToLower(rand.Text()[:12]), rand.Text())
	out, err := exec.Command(s.gateway.binary, "admin", "--access", s.AccessKey, "--secret", s.SecretKey,
		"--region", s.Region, "--endpoint-url", s.Endpoint,
		"create-user", "--access", user.AccessKey, "--secret", user.SecretKey, "--role", "user").CombinedOutput()
	if err != nil {
		t.Fatalf("create user: %v: %s", err, out)
	}
	if len(actions) == 0 {
		return user
	}
	policy, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []map[string]any{{
			"Effect":    "Allow",
			"Principal": map[string]any{"AWS": []string{user.AccessKey}},
			"Action":    actions,
			"Resource":  []string{"arn:aws:s3:::" + bucket, "arn:aws:s3:::" + bucket + "/*"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Client().PutBucketPolicy(context.Background(), &s3.PutBucketPolicyInput{Bucket: aws.String(bucket), Policy: aws.String(string(policy))})
	if err != nil {
		t.Fatalf("put policy of bucket %s: %v", bucket, err)
	}
	return user
}
