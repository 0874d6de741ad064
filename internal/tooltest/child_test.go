package tooltest_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// sleeper is a child that writes its process id to a fifo, which tells the
// test that it runs, and then waits for ever.
func sleeper(fifo string) tooltest.Command {
	return tooltest.Command{
		Name: "sleeper",
		Args: func(string) []string {
			return []string{"/bin/sh", "-c", `echo $$ > "$0"; exec sleep 100000`, fifo}
		},
	}
}

func makeFifo(t *testing.T) string {
	t.Helper()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	return fifo
}

// readLine blocks until somebody has written a line to the fifo.
func readLine(t *testing.T, fifo string) string {
	t.Helper()
	f, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func alive(t *testing.T, pid string) bool {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	return syscall.Kill(n, 0) == nil
}

func TestStopEndsTheProgramAndRemovesItsDirectory(t *testing.T) {
	t.Parallel()
	fifo := makeFifo(t)
	child, err := tooltest.StartChild(sleeper(fifo))
	if err != nil {
		t.Fatal(err)
	}
	pid := readLine(t, fifo)
	child.Stop()
	child.Stop()
	if alive(t, pid) {
		t.Errorf("process %s lives on after Stop", pid)
	}
	if _, err := os.Stat(child.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory after Stop: %v, want it gone", err)
	}
}

func TestEarlyEndIsReportedWithTheLog(t *testing.T) {
	t.Parallel()
	child, err := tooltest.StartChild(tooltest.Command{Name: "fails", Args: func(string) []string {
		return []string{"/bin/sh", "-c", "echo no such port; exit 7"}
	}})
	if err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if code := new(exec.ExitError); !errors.As(child.Err(), &code) || code.ExitCode() != 7 {
		t.Errorf("Err() = %v, want exit status 7", child.Err())
	}
	if child.Log() != "no such port" {
		t.Errorf("Log() = %q, want what the program printed", child.Log())
	}
}

// TestKilledParentLeavesNothing starts this test binary again as a parent with
// a child, kills it with SIGKILL and waits for the guard to clean up.
func TestKilledParentLeavesNothing(t *testing.T) {
	t.Parallel()
	if fifo := os.Getenv("TOOLTEST_PARENT_FIFO"); fifo != "" {
		child, err := tooltest.StartChild(sleeper(fifo))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("dir=%s\n", child.Dir)
		<-child.Done()
		return
	}
	fifo := makeFifo(t)
	parent := exec.Command(os.Args[0], "-test.run=^TestKilledParentLeavesNothing$")
	parent.Env = append(os.Environ(), "TOOLTEST_PARENT_FIFO="+fifo)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(strings.TrimPrefix(line, "dir="))
	pid := readLine(t, fifo)
	if _, err := os.Stat(dir); err != nil {
		t.Fatal(err)
	}
	watched := watchEnd(t, pid)
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	<-watched
}

// watchEnd returns a channel that is closed when the process ends. It is not
// our child, so a pidfd is what tells.
func watchEnd(t *testing.T, pid string) <-chan struct{} {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := pollPidfd(n)
	if err != nil {
		t.Fatalf("watch process %d: %v", n, err)
	}
	return ended
}
