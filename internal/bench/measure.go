package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// command is a program to run, with its whole environment.
type command struct {
	args []string
	env  []string
}

// sample is what one run of a command took. CPU is user and system time of the
// process and of the children that it waited for; so does RSS, in bytes, stand
// for the largest of them.
type sample struct {
	Wall time.Duration `json:"wall"`
	CPU  time.Duration `json:"cpu"`
	RSS  int64         `json:"rss"`
}

// run runs a command to its end and returns its standard output.
//
// The figure for memory has a floor: a new process begins with the peak of the
// one that started it, because the two share their memory until the program is
// loaded. This process therefore leaves all work that needs memory to children.
func run(ctx context.Context, c command) (sample, []byte, error) {
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Env = c.env
	var stdout bytes.Buffer
	var stderr tail
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	// A group of its own, so that a command which starts others is ended whole.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	began := time.Now()
	err := cmd.Run()
	wall := time.Since(began)
	if err != nil {
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return sample{}, nil, fmt.Errorf("run %s: %w: %s", strings.Join(c.args, " "), err, stderr.String())
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return sample{}, nil, fmt.Errorf("run %s: the system does not say what it used", c.args[0])
	}
	return sampleOf(wall, usage), stdout.Bytes(), nil
}

func sampleOf(wall time.Duration, usage *syscall.Rusage) sample {
	return sample{
		Wall: wall,
		CPU:  time.Duration(usage.Utime.Nano() + usage.Stime.Nano()),
		RSS:  usage.Maxrss << 10, // Linux counts in KiB
	}
}

// settle writes dirty pages to disk, so that nobody pays for what the one
// before has written.
func settle() { unix.Sync() }

// tail keeps the end of what is written to it, for an error message.
type tail struct{ buf []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - 4096; n > 0 {
		t.buf = slices.Delete(t.buf, 0, n)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.buf)) }

// environment is what a child inherits: nothing of a developer's own settings,
// least of all credentials and repositories.
func environment(home string, more ...string) []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LC_ALL=C"}, more...)
}

// median returns the middle of the values, or the mean of the two middle ones.
// It is 0 without values.
func median[T int64 | float64 | time.Duration](values []T) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	mid := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[mid]
	}
	return (sorted[mid-1] + sorted[mid]) / 2
}
