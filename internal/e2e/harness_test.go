package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// builtProgram builds the program once for all tests, or takes ENVBACKUP_BIN.
var builtProgram = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("ENVBACKUP_E2E_BIN"); path != "" {
		return path, nil
	}
	root, err := tooltest.Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(buildDir, "envbackup")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, out)
	}
	return path, nil
})

var buildDir string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if buildDir, err = os.MkdirTemp("", "envbackup-e2e-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(buildDir)
		return m.Run()
	}())
}

// installation is a data directory and, at times, a daemon process on it.
type installation struct {
	t        *testing.T
	program  string
	dir      string
	endpoint string
	cmd      *exec.Cmd
	log      *bytes.Buffer
	extraEnv []string // for the command line, not the daemon
}

// newInstallation makes one with no daemon running. Whatever daemon still runs
// at the end of the test is killed.
func newInstallation(t *testing.T) *installation {
	t.Helper()
	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	in := &installation{t: t, program: program, dir: filepath.Join(t.TempDir(), "data")}
	t.Cleanup(func() {
		if in.cmd != nil {
			in.kill()
		}
		if t.Failed() && in.log != nil {
			t.Logf("the daemon's log ends:\n%s", tail(in.log.String(), 6000))
		}
	})
	return in
}

// start starts the daemon and waits until it says that it is ready.
func (in *installation) start(extra ...string) {
	in.t.Helper()
	args := append([]string{"daemon", "--dev", "--data-dir", in.dir, "--listen", "127.0.0.1:0"}, extra...)
	in.cmd = exec.Command(in.program, args...)
	in.cmd.Env = cleanEnvironment()
	in.log = &bytes.Buffer{}
	in.cmd.Stderr = in.log
	stdout, err := in.cmd.StdoutPipe()
	if err != nil {
		in.t.Fatal(err)
	}
	if err := in.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if endpoint, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
			in.endpoint = endpoint
			return
		}
	}
	err = in.cmd.Wait()
	in.cmd = nil
	in.t.Fatalf("the daemon ended before it was ready: %v\n%s", err, tail(in.log.String(), 4000))
}

// kill ends the daemon with SIGKILL and reaps it.
func (in *installation) kill() {
	_ = in.cmd.Process.Kill()
	_ = in.cmd.Wait()
	in.cmd = nil
}

// terminate ends the daemon with SIGTERM and returns its exit code.
func (in *installation) terminate() int {
	in.t.Helper()
	if err := in.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		in.t.Fatal(err)
	}
	_ = in.cmd.Wait()
	code := in.cmd.ProcessState.ExitCode()
	in.cmd = nil
	return code
}

// result is what one call of the command line left.
type result struct {
	code   int
	stdout string
	stderr string
}

// try runs the command line against the daemon.
func (in *installation) try(args ...string) result {
	in.t.Helper()
	cmd := exec.Command(in.program, args...)
	cmd.Env = append(cleanEnvironment(), "ENVBACKUP_ENDPOINT="+in.endpoint, "ENVBACKUP_TOKEN_FILE="+filepath.Join(in.dir, "admin.token"))
	cmd.Env = append(cmd.Env, in.extraEnv...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		in.t.Fatal(err)
	}
	return result{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// run is try for calls that must succeed; it returns standard output.
func (in *installation) run(args ...string) string {
	in.t.Helper()
	r := in.try(args...)
	if r.code != 0 {
		in.t.Fatalf("envbackup %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// runJSON runs a call whose output is JSON and decodes it.
func (in *installation) runJSON(out any, args ...string) {
	in.t.Helper()
	text := in.run(append(args, "--json")...)
	if err := json.Unmarshal([]byte(text), out); err != nil {
		in.t.Fatalf("envbackup %s: %v in\n%s", strings.Join(args, " "), err, text)
	}
}

// cleanEnvironment is this process's environment without what would lead the
// program elsewhere.
func cleanEnvironment() []string {
	var env []string
	for _, entry := range os.Environ() {
		switch {
		case strings.HasPrefix(entry, "ENVBACKUP_"), strings.HasPrefix(entry, "AWS_"), strings.HasPrefix(entry, "RESTIC_"):
		default:
			env = append(env, entry)
		}
	}
	return env
}

func tail(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return "..." + text[len(text)-n:]
}
