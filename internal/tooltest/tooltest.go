// Package tooltest finds the pinned programs that tests and benchmarks run
// beside the code (a real S3 server, stock restic), builds them when they are
// missing, and runs long-lived children so that none outlives its test binary.
//
// It decides where such a program comes from and what a test does when it
// cannot be had. It does not know what the programs do: s3test, referee and
// pgtest do. Nothing of it reaches the released binary.
package tooltest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// Tool is a Go program pinned in one of the modules under internal/tools.
type Tool struct {
	// Name is the file name of the built program.
	Name string
	// Env is the environment variable that names a ready binary; it wins over
	// building one.
	Env string
	// Module is the directory of the pinning module, relative to the root of
	// the checkout.
	Module string
	// Package is the import path of the program's main package.
	Package string
	// Tags are build tags, comma-separated; may be empty.
	Tags string
}

// The pinned programs.
var (
	Versitygw = Tool{Name: "versitygw", Env: "VERSITYGW_BIN", Module: "internal/tools", Package: "github.com/versity/versitygw/cmd/versitygw"}
	Restic    = Tool{Name: "restic", Env: "RESTIC_BIN", Module: "internal/tools/peers", Package: "github.com/restic/restic/cmd/restic"}
	Kopia     = Tool{Name: "kopia", Env: "KOPIA_BIN", Module: "internal/tools/peers", Package: "github.com/kopia/kopia", Tags: "nohtmlui"}
)

// Binary returns the path of t's program. When it cannot be had the test is
// skipped, or fails where CI is set.
func Binary(t testing.TB, tool Tool) string {
	t.Helper()
	path, err := tool.Find()
	if err != nil {
		Unavailable(t, "%v", err)
	}
	return path
}

// Unavailable ends a test that lacks something it needs: a skip with the
// reason on a person's machine, a failure in CI (the variable CI is set),
// where a skipped proof would look like a proof.
func Unavailable(t testing.TB, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	if ci := os.Getenv("CI"); ci != "" && ci != "false" && ci != "0" {
		t.Fatalf("%s (a skip is a failure in CI; `make setup` brings what is missing)", reason)
	}
	t.Skipf("%s (`make setup` brings what is missing)", reason)
}

var (
	findMu sync.Mutex
	found  = map[string]string{}
)

// Find returns the absolute path of the program: the one that its environment
// variable names, or else bin/tools/NAME in the checkout, built or brought up
// to date by the go command first. The answer is kept for the process. It is
// safe for concurrent use, by several processes too.
func (tool Tool) Find() (string, error) {
	findMu.Lock()
	defer findMu.Unlock()
	if path, ok := found[tool.Name]; ok {
		return path, nil
	}
	path, err := tool.find()
	if err != nil {
		return "", fmt.Errorf("find %s: %w", tool.Name, err)
	}
	found[tool.Name] = path
	return path, nil
}

func (tool Tool) find() (string, error) {
	if path := os.Getenv(tool.Env); path != "" {
		path, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("use $%s: %w", tool.Env, err)
		}
		return filepath.Abs(path)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "tools")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return tool.build(root, filepath.Join(dir, tool.Name))
}

// build leaves the linking to the go command, which does nothing when the file
// is current. The lock is for the test binaries of other packages, which want
// the same file at the same moment.
func (tool Tool) build(root, target string) (string, error) {
	lock, err := os.OpenFile(target+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	cmd := exec.Command("go", "build", "-C", filepath.Join(root, filepath.FromSlash(tool.Module)), "-tags", tool.Tags, "-o", target, tool.Package)
	// A GOFLAGS of the caller (-mod, -race, -cover) is meant for the root module.
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", tool.Package, err, strings.TrimSpace(string(out)))
	}
	return target, nil
}

// Root returns the root of the checkout: the nearest directory at or above the
// working directory whose go.mod declares this module. go test starts a test
// in its package's directory, so it is found there.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(data), "module github.com/envbackup/terraform-provider-envbackup\n") {
			return dir, nil
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("find the root of the checkout: no go.mod of envbackup above the working directory")
		}
		dir = parent
	}
}
