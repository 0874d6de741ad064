package tooltest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Child is a long-lived program that runs beside a test binary.
//
// A guard, a small shell, stands between the two: it holds the reading end of
// a pipe whose writing end only this process has. However this process ends,
// SIGKILL and a timeout of go test included, the pipe closes, and the guard
// ends the program and removes its directory. No test therefore needs a
// TestMain to clean up, and there is nothing to forget.
type Child struct {
	// Dir is the child's own directory. It is removed when the child is
	// stopped or this process ends.
	Dir string

	guard *exec.Cmd
	log   *os.File // stays readable after the directory is gone
	hold  io.Closer
	done  chan struct{}
	err   error
	stop  sync.Once
}

// Command says how to run a child.
type Command struct {
	// Name begins the name of the child's directory; no path separators.
	Name string
	// Dir is an existing directory to take over; empty makes a fresh one.
	Dir string
	// Signal is what ends the program, as kill names it; empty means KILL.
	Signal string
	// Args is the program and its arguments, given the child's directory.
	Args func(dir string) []string
	// Env is added to this process's environment.
	Env []string
}

// guardScript runs the program and waits: for the pipe to close, when it ends
// the program, or for the program itself, whose end it passes on. `wait` in the
// main line would not see the pipe, so a second child reads it.
const guardScript = `
dir=$1 signal=$2; shift 2
"$@" </dev/null 3<&- &
program=$!
{ cat >/dev/null; kill -"$signal" "$program" 2>/dev/null; } <&3 3<&- &
exec 3<&-
wait "$program"
code=$?
rm -rf "$dir"
kill "$!" 2>/dev/null
exit "$code"
`

// StartChild starts a program under a guard. It returns as soon as the guard
// runs; waiting until the program is ready is the caller's business, with Done
// and Log at hand.
func StartChild(c Command) (*Child, error) {
	dir := c.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "envbackup-"+c.Name+"-"); err != nil {
			return nil, fmt.Errorf("make directory for %s: %w", c.Name, err)
		}
	}
	child, err := startGuard(c, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", c.Name, err), os.RemoveAll(dir))
	}
	return child, nil
}

func startGuard(c Command, dir string) (*Child, error) {
	// The program writes to a file, not to our standard error: go test waits
	// for everybody who holds that.
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	defer func() { _ = reader.Close() }()

	signal := c.Signal
	if signal == "" {
		signal = "KILL"
	}
	guard := exec.Command("/bin/sh", append([]string{"-c", guardScript, "sh", dir, signal}, c.Args(dir)...)...)
	guard.Dir = dir
	guard.Env = append(os.Environ(), c.Env...)
	guard.Stdout, guard.Stderr = log, log
	guard.ExtraFiles = []*os.File{reader}
	// A process group of its own: a Ctrl-C at the terminal goes to this
	// process, and the guard still gets to clean up.
	guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := guard.Start(); err != nil {
		return nil, errors.Join(err, writer.Close(), log.Close())
	}
	child := &Child{Dir: dir, guard: guard, log: log, hold: writer, done: make(chan struct{})}
	go func() {
		child.err = guard.Wait()
		close(child.done)
	}()
	return child, nil
}

// Done is closed when the program has ended and its directory is gone.
func (c *Child) Done() <-chan struct{} { return c.done }

// Stop ends the program, waits for it and removes its directory. It may be
// called more than once and from several goroutines.
func (c *Child) Stop() {
	c.stop.Do(func() { _ = c.hold.Close() })
	<-c.done
}

// Err says how the program ended; it is meaningful after Done, and nil when it
// ended with status 0.
func (c *Child) Err() error {
	<-c.done
	return c.err
}

// Log returns the last 4 KiB of what the program has printed, also after it
// has ended.
func (c *Child) Log() string {
	info, err := c.log.Stat()
	if err != nil {
		return ""
	}
	tail := make([]byte, min(info.Size(), 4096))
	n, _ := c.log.ReadAt(tail, info.Size()-int64(len(tail)))
	return string(bytes.TrimSpace(tail[:n]))
}
