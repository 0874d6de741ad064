package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
)

// child runs one of this program's own commands: the measured ones of our
// engine, and all work that would make the measuring process grow.
func child(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer) (err error) {
	if len(args) == 0 {
		return errors.New("child needs a command")
	}
	stop, err := profile(os.Getenv("BENCH_PROFILES"), args[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()

	p := placeFrom(os.Getenv)
	name, args := args[0], args[1:]
	commands := map[string]struct {
		args int
		run  func() error
	}{
		"generate": {3, func() error {
			var x extent
			if err := json.Unmarshal([]byte(args[2]), &x); err != nil {
				return err
			}
			return generate(ctx, args[0], args[1], os.Getenv("BENCH_GOROOT"), x)
		}},
		"change": {2, func() error {
			round, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			_, err = change(ctx, args[0], round)
			return err
		}},
		"compare": {3, func() error { return compare(args[0], args[1], args[2]) }},
		"init":    {0, func() error { return withEngine(ctx, p, true, func(*engine) error { return nil }) }},
		"backup": {1, func() error {
			return withEngine(ctx, p, false, func(e *engine) error { return e.backup(ctx, args[0]) })
		}},
		"restore": {1, func() error {
			return withEngine(ctx, p, false, func(e *engine) error { return e.restore(ctx, args[0]) })
		}},
		"prune": {1, func() error {
			keep, err := strconv.Atoi(args[0])
			if err != nil {
				return err
			}
			return withEngine(ctx, p, false, func(e *engine) error {
				stats, err := e.prune(ctx, keep)
				return errors.Join(err, json.NewEncoder(stdout).Encode(stats))
			})
		}},
		"fill": {2, func() error {
			snapshots, err := strconv.Atoi(args[1])
			if err != nil {
				return err
			}
			return withEngine(ctx, p, true, func(e *engine) error { return e.fill(ctx, args[0], snapshots) })
		}},
		"warm": {1, func() error {
			return withEngine(ctx, p, false, func(e *engine) error { return warm(ctx, e, args[0], stdin, stdout) })
		}},
		"lag": {2, func() error {
			delay, err := time.ParseDuration(args[1])
			if err != nil {
				return err
			}
			return lag(ctx, args[0], delay, stdin, stdout)
		}},
		"stages":   {1, func() error { return stages(ctx, args[0], stdout) }},
		"simulate": {0, func() error { return foresee(stdout) }},
	}
	c, ok := commands[name]
	if !ok {
		return fmt.Errorf("child has no command %q", name)
	}
	if len(args) != c.args {
		return fmt.Errorf("child %s needs %d arguments, has %d", name, c.args, len(args))
	}
	return c.run()
}

// profile writes a CPU profile of this process into dir, one file a process.
// Without dir it does nothing.
func profile(dir, name string) (stop func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%s-%d.pprof", name, os.Getpid())))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}

func withEngine(ctx context.Context, p place, create bool, fn func(*engine) error) error {
	e, err := openEngine(ctx, p, create)
	if err != nil {
		return err
	}
	return errors.Join(fn(e), e.Close())
}

// warm is a daemon in miniature: it keeps the repository open and takes one
// backup for each line it reads. It answers each with a sample of that backup
// alone; RSS is the peak of the process so far.
func warm(ctx context.Context, e *engine, dir string, stdin io.Reader, stdout io.Writer) error {
	lines := bufio.NewScanner(stdin)
	answers := json.NewEncoder(stdout)
	for lines.Scan() {
		before, err := self()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := e.backup(ctx, dir); err != nil {
			return err
		}
		wall := time.Since(began)
		after, err := self()
		if err != nil {
			return err
		}
		after.Wall, after.CPU = wall, after.CPU-before.CPU
		if err := answers.Encode(after); err != nil {
			return err
		}
	}
	return lines.Err()
}

// self is what this process has used so far.
func self() (sample, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return sample{}, fmt.Errorf("read own usage: %w", err)
	}
	return sampleOf(0, &usage), nil
}

// What a comparison looks at.
const (
	compareAll     = "all"
	compareButTime = "all-but-times"
)

// compare fails unless the two trees are the same, metadata included.
func compare(want, got, what string) error {
	differences, err := referee.DiffTrees(want, got)
	if err != nil {
		return err
	}
	if what == compareButTime {
		differences = slices.DeleteFunc(differences, func(d string) bool { return strings.Contains(d, ": modified is ") })
	}
	if len(differences) > 0 {
		return fmt.Errorf("%s is not what was backed up: %d differences, the first: %s", got, len(differences), differences[0])
	}
	return nil
}
