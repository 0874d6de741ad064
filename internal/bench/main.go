// Command bench measures our engine side by side with restic and kopia: the
// same data, the same S3 server, in one run, interleaved.
//
// It decides what is measured and how: which data, which settings of the peers,
// what counts as one run, and which figures are promised (the bars). What the
// figures mean for the engine is left to the reader; BENCHMARKS.md says how to
// read them.
//
// Every command of every contender is a process of its own, whose wall time,
// CPU time and peak memory the kernel reports; but a warm daemon's backup,
// which is measured within the process that stays. Each restore is compared
// with its source, and stock restic checks what our engine wrote.
//
// Nothing of it reaches the released binary.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

func main() {
	if served, err := servedBySDK(os.Args[1:]); served {
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func dispatch(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "child" {
		return child(ctx, args[1:], stdin, stdout)
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	return measureAll(ctx, o, stdout, stderr)
}

// options are the command line.
type options struct {
	pattern      *regexp.Regexp
	named        bool // the pattern was given
	whole        bool
	extent       extent
	kopiaRestore bool
	alone        bool
	dir          string
	profiles     string
	record       string
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	pattern := flags.String("run", "", "regular expression: the figures to measure; empty for those that fit into ten minutes")
	flags.BoolVar(&o.whole, "whole", false, "the data that the bars were set for, and all disciplines; takes an hour")
	flags.BoolVar(&o.kopiaRestore, "kopia-restore", false, "have kopia restore, too: one request a file, minutes each")
	flags.BoolVar(&o.alone, "alone", false, "only our engine, for a profile")
	flags.StringVar(&o.dir, "dir", "", "directory for data, server and caches; default is the user's cache directory")
	flags.StringVar(&o.profiles, "cpuprofile", "", "directory for a CPU profile of each process of our engine")
	flags.StringVar(&o.record, "record", "", "Markdown file to write the tables into, between its markers")
	rounds := flags.Int("rounds", 0, "runs of each contender; default 3")
	small := flags.Int("small-files", 0, "files of the tree of small files; default 20000, whole 100000")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	var err error
	if o.pattern, err = regexp.Compile(*pattern); err != nil {
		return o, fmt.Errorf("-run: %w", err)
	}
	o.named = *pattern != ""
	o.extent = reducedExtent
	if o.whole {
		o.extent = wholeExtent
	}
	if *rounds > 0 {
		o.extent.Rounds = *rounds
	}
	if *small > 0 {
		o.extent.SmallFiles = *small
	}
	return o, nil
}

// selected are the disciplines with a figure that is wanted.
func (o options) selected() []discipline {
	var list []discipline
	for _, d := range disciplines(o.extent) {
		if d.onRequest && !o.named && !o.whole {
			continue
		}
		for _, b := range d.bars {
			if o.pattern.MatchString(b.name) {
				list = append(list, d)
				break
			}
		}
	}
	return list
}

func measureAll(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	chosen := o.selected()
	if len(chosen) == 0 {
		return fmt.Errorf("-run %q matches no figure", o.pattern)
	}
	dir, err := makeHome(o.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b, m, stop, err := assemble(ctx, o, dir, stderr)
	if err != nil {
		return err
	}
	defer stop()
	defer func() { err = errors.Join(err, b.close()) }()

	// A discipline that fails must not cost the figures of the others.
	var results []*result
	var failures []error
	for _, d := range chosen {
		r, err := b.do(ctx, d)
		if ctx.Err() != nil {
			return err
		}
		if err != nil {
			b.progress("%v", err)
			failures = append(failures, err)
			continue
		}
		results = append(results, r)
		if err := writeLines(stderr, figures([]*result{r}, o.pattern), nil); err != nil {
			return err
		}
	}
	if err := b.check(ctx); err != nil {
		return errors.Join(append(failures, err)...)
	}
	m.LoadAfter = loadAverage()
	if err := report(o, m, results, stdout); err != nil {
		return err
	}
	return errors.Join(failures...)
}

// report prints the tables and lines, and records the tables if that is asked
// for.
func report(o options, m machine, results []*result, stdout io.Writer) error {
	found := figures(results, o.pattern)
	var tables strings.Builder
	if err := writeTables(&tables, m, found, results); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, tables.String()); err != nil {
		return err
	}
	if err := writeLines(stdout, found, results); err != nil || o.record == "" {
		return err
	}
	return record(o.record, tables.String())
}

// makeHome makes the directory of this run. It is not below that for temporary
// files, unless there is no other: that one may be in memory, and every file
// that anybody makes there changes it. A snapshot holds the directories above
// its source, too, so that with such a one no two backups are the same.
func makeHome(parent string) (string, error) {
	if parent == "" {
		if cache, err := os.UserCacheDir(); err == nil && os.MkdirAll(cache, 0o755) == nil {
			parent = cache
		}
	}
	dir, err := os.MkdirTemp(parent, "envbackup-bench-")
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// assemble starts the store and finds the contenders. stop ends the store.
func assemble(ctx context.Context, o options, dir string, log io.Writer) (b *bench, m machine, stop func(), err error) {
	programs := map[string]string{}
	for _, tool := range []tooltest.Tool{tooltest.Versitygw, tooltest.Restic, tooltest.Kopia} {
		if programs[tool.Name], err = tool.Find(); err != nil {
			return nil, m, nil, err
		}
	}
	binary, err := os.Executable()
	if err != nil {
		return nil, m, nil, err
	}
	goroot, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, m, nil, fmt.Errorf("find the Go installation: %w", err)
	}
	if o.profiles != "" {
		if o.profiles, err = filepath.Abs(o.profiles); err != nil {
			return nil, m, nil, err
		}
		if err := os.MkdirAll(o.profiles, 0o755); err != nil {
			return nil, m, nil, err
		}
	}
	b = &bench{
		extent: o.extent, dir: dir, binary: binary, goroot: strings.TrimSpace(string(goroot)), kopiaRestore: o.kopiaRestore, log: log,
		ours:    ourEngine{binary: binary, profiles: o.profiles},
		referee: stockRestic{name: resticName, binary: programs["restic"]},
		trees:   map[string]string{}, sizes: map[string]treeStat{}, repos: map[repoKey]*repo{},
	}
	b.contenders = []contender{
		b.ours, b.referee,
		stockRestic{name: resticTunedName, binary: programs["restic"], tuning: resticTuning},
		stockKopia{binary: programs["kopia"]},
	}
	if path, err := exec.LookPath("zstd"); err == nil {
		programs["zstd"] = path
		b.contenders = append(b.contenders, tarZstd{})
	} else {
		b.progress("no zstd here: %s is left out", tarName)
	}
	if o.alone {
		b.contenders = b.contenders[:1]
	}
	m = survey(ctx, programs, o.extent, o.whole)
	server, stop, err := s3test.Launch(programs["versitygw"], dir)
	if err != nil {
		return nil, m, nil, err
	}
	if b.store, err = newStore(ctx, server); err != nil {
		stop()
		return nil, m, nil, err
	}
	return b, m, stop, nil
}

// The markers in a Markdown file between which the tables go.
const (
	recordBegin = "<!-- tables: begin -->"
	recordEnd   = "<!-- tables: end -->"
)

// record replaces what stands between the markers of the file.
func record(path, tables string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(data), recordBegin)
	_, after, ended := strings.Cut(rest, recordEnd)
	if !ok || !ended {
		return fmt.Errorf("record tables in %s: it lacks the markers %q and %q", path, recordBegin, recordEnd)
	}
	return os.WriteFile(path, []byte(before+recordBegin+"\n\n"+tables+"\n"+recordEnd+after), 0o644)
}
