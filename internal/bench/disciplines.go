package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// discipline is one kind of work that all contenders do.
type discipline struct {
	name string
	tree string // empty where none is needed
	// far puts the slow way between contenders and store.
	far bool
	// onRequest leaves it out of the reduced run unless it is named.
	onRequest bool
	run       func(b *bench, ctx context.Context, d discipline, r *result) error
	bars      []bar
}

// result is what a discipline measured, by contender.
type result struct {
	discipline discipline
	order      []string // contenders as they first appeared
	samples    map[string][]sample
	stored     map[string]usage
	requests   map[string]int // that one plan makes
	stages     []stageRate
	files      int // or schedules
	bytes      int64
}

func (r *result) add(contender string, s sample) {
	if _, ok := r.samples[contender]; !ok {
		r.order = append(r.order, contender)
	}
	r.samples[contender] = append(r.samples[contender], s)
}

const farSuffix = "-30ms"

// disciplines in the order in which they run: a later one goes on with the
// repositories of an earlier one.
func disciplines(x extent) []discipline {
	near := []discipline{
		{name: "full-mixed", tree: mixedTree, run: full, bars: []bar{
			wallBar("", 1.8), wallBarAgainst("-restic", resticName, 2.4),
			{name: "stored-mixed", metric: storedBytes, against: []string{resticName}, value: 0.98, unit: "MB"},
			{name: "rss-full", metric: peakRSS, value: 220, unit: "MiB", limit: true},
		}},
		{name: "stage-limit", tree: mixedTree, run: stageLimit, bars: []bar{
			{name: "stage-limit", metric: rate, against: []string{stagesName}, value: 0.6, unit: "MB/s", more: true},
		}},
		{name: "nochange-cold", tree: mixedTree, run: nochange, bars: []bar{
			wallBar("", 1.4), wallBarAgainst("-restic", resticName, 3.5),
			{name: "rss-nochange", metric: peakRSS, value: 80, unit: "MiB", limit: true},
		}},
		{name: "changed-1pct", tree: mixedTree, run: changed, bars: []bar{wallBar("", 2)}},
		{name: "restore-mixed", tree: mixedTree, run: restore, bars: []bar{
			wallBar("", 2.2),
			{name: "rss-restore", metric: peakRSS, value: 180, unit: "MiB", limit: true},
		}},
		{name: "full-small", tree: smallTree, run: full, bars: []bar{
			wallBar("", 2),
			{name: "stored-small", metric: storedBytes, against: []string{resticName}, value: 0.98, unit: "MB"},
		}},
		{name: "nochange-warm", tree: smallTree, run: nochangeWarm, bars: []bar{
			wallBar("", 4), wallBarAgainst("-restic", resticName, 10),
			{name: "nochange-warm-cpu", metric: cpuSeconds, value: 0.3, unit: "s", limit: true},
		}},
		{name: "prune-200-20", tree: pruneTree, run: prune, bars: []bar{
			wallBar("", 3),
			{name: "prune-200-20-objects", metric: storedObjects, value: 1, unit: "objects"},
		}},
	}
	all := near
	for _, d := range near {
		if d.name == "stage-limit" {
			continue
		}
		d.far = true
		d.onRequest = d.name == "full-mixed" || d.name == "full-small" || d.name == "restore-mixed" || d.name == "prune-200-20"
		value := 1.15
		if d.name == "nochange-warm" {
			value = 4
		}
		d.name += farSuffix
		d.bars = []bar{wallBar("", value)}
		all = append(all, d)
	}
	all = append(all, discipline{name: fmt.Sprintf("plan-%d", x.Schedules), run: plan, bars: []bar{
		wallBarAgainst("", terraformDataName, 0.25),
		{name: "-cpu", metric: cpuSeconds, against: []string{sdkName}, value: 2, unit: "s"},
		{name: "-requests", metric: planRequests, against: []string{sdkName}, value: 4, unit: "requests", limit: true},
	}})
	all = append(all, discipline{name: "simulate-10y", run: simulate, bars: []bar{
		{name: "simulate-10y", metric: wallSeconds, value: simulateBar.Seconds(), unit: "s", limit: true},
	}})
	all = append(all, discipline{name: fmt.Sprintf("preflight-%dk", x.Backups/1000), run: preflightHistory, bars: []bar{
		{metric: wallSeconds, value: preflightLimit.Seconds(), unit: "s", limit: true},
	}})
	for i := range all {
		for j := range all[i].bars {
			if b := &all[i].bars[j]; b.name == "" || b.name[0] == '-' {
				b.name = all[i].name + b.name
			}
		}
	}
	return all
}

// each calls fn for every contender in every round, in an order that moves on
// from round to round: what disturbs the machine for a while disturbs all.
func (b *bench) each(contenders []contender, fn func(round int, c contender) error) error {
	for round := range b.extent.Rounds {
		for i := range contenders {
			c := contenders[(i+round)%len(contenders)]
			if err := fn(round, c); err != nil {
				return fmt.Errorf("%s: %w", c.Name(), err)
			}
			b.progress("  round %d of %d: %s", round+1, b.extent.Rounds, c.Name())
		}
	}
	return nil
}

// full measures the first backup into an empty repository.
func full(b *bench, ctx context.Context, d discipline, r *result) error {
	contenders := b.contenders
	if d.far {
		contenders = b.uploading()
	}
	return b.each(contenders, func(_ int, c contender) error {
		if err := b.drop(ctx, d.tree, c); err != nil {
			return err
		}
		repo, err := b.create(ctx, d.tree, c)
		if err != nil {
			return err
		}
		p, err := b.reach(ctx, c, repo, d.far)
		if err != nil {
			return err
		}
		if err := b.measure(ctx, r, c, c.Backup(p, repo.home, b.trees[d.tree])); err != nil {
			return err
		}
		r.stored[c.Name()], err = b.storedBy(ctx, c, repo)
		return err
	})
}

// nochange measures a backup of a tree that is as it was.
func nochange(b *bench, ctx context.Context, d discipline, r *result) error {
	if err := b.ensure(ctx, d.tree, b.uploading()); err != nil {
		return err
	}
	return b.each(b.uploading(), func(_ int, c contender) error { return b.backupAgain(ctx, d, c, r) })
}

// changed measures a backup after one file in a hundred was edited.
func changed(b *bench, ctx context.Context, d discipline, r *result) error {
	if err := b.ensure(ctx, d.tree, b.uploading()); err != nil {
		return err
	}
	last := -1
	return b.each(b.uploading(), func(round int, c contender) error {
		if round != last {
			last = round
			b.changes++
			if _, _, err := run(ctx, b.self("change", b.trees[d.tree], strconv.Itoa(b.changes))); err != nil {
				return err
			}
		}
		return b.backupAgain(ctx, d, c, r)
	})
}

func (b *bench) backupAgain(ctx context.Context, d discipline, c contender, r *result) error {
	repo := b.repos[repoKey{d.tree, c.Name()}]
	p, err := b.reach(ctx, c, repo, d.far)
	if err != nil {
		return err
	}
	return b.measure(ctx, r, c, c.Backup(p, repo.home, b.trees[d.tree]))
}

// restore measures a restore into a new directory, which must then be the
// source again.
func restore(b *bench, ctx context.Context, d discipline, r *result) error {
	var contenders []contender
	for _, c := range b.contenders {
		// kopia reads each file's content in a request of its own, so one
		// restore of its takes longer than all others together.
		if c.Name() == kopiaName && !b.kopiaRestore || c.Name() == tarName && d.far {
			continue
		}
		contenders = append(contenders, c)
	}
	if err := b.ensure(ctx, d.tree, contenders); err != nil {
		return err
	}
	for _, c := range contenders {
		// The file of tar holds the tree as it was when it was made.
		if c.Name() == tarName {
			repo := b.repos[repoKey{d.tree, tarName}]
			if _, _, err := run(ctx, c.Backup(place{}, repo.home, b.trees[d.tree])); err != nil {
				return err
			}
		}
	}
	// Nothing is removed before the last restore: ext4 is slow to make files
	// for a minute after others were deleted, and the next contender would pay.
	targets := filepath.Join(b.dir, "restored")
	err := b.each(contenders, func(round int, c contender) error {
		repo := b.repos[repoKey{d.tree, c.Name()}]
		p, err := b.reach(ctx, c, repo, d.far)
		if err != nil {
			return err
		}
		target := filepath.Join(targets, strconv.Itoa(round), strings.ReplaceAll(c.Name(), " ", ""))
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		command, restored := c.Restore(p, repo.home, b.trees[d.tree], target)
		if err := b.measure(ctx, r, c, command); err != nil {
			return err
		}
		what := compareAll
		if c.Name() == kopiaName {
			what = compareButTime // it leaves directories with the time of the restore
		}
		_, _, err = run(ctx, b.self("compare", b.trees[d.tree], restored, what))
		return err
	})
	return errors.Join(err, os.RemoveAll(targets))
}

// nochangeWarm measures our engine in a process that stays, as in the daemon,
// against processes that start anew: the peers have no other way.
func nochangeWarm(b *bench, ctx context.Context, d discipline, r *result) (err error) {
	if err := b.ensure(ctx, d.tree, b.uploading()); err != nil {
		return err
	}
	repo := b.repos[repoKey{d.tree, oursName}]
	p, err := b.reach(ctx, b.ours, repo, d.far)
	if err != nil {
		return err
	}
	w, err := startWarm(ctx, b.ours.command(p, repo.home, "warm", b.trees[d.tree]))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	// The first backup brings index and trees into memory.
	if _, err := w.backup(); err != nil {
		return err
	}
	return b.each(b.uploading(), func(_ int, c contender) error {
		if c.Name() != oursName {
			return b.backupAgain(ctx, d, c, r)
		}
		settle()
		s, err := w.backup()
		if err == nil {
			r.add(oursName, s)
		}
		return err
	})
}

// warmChild is a process of ours that keeps a repository open.
type warmChild struct {
	cmd     *exec.Cmd
	stderr  tail
	ask     func() error
	hangUp  func() error
	answers *json.Decoder
}

func startWarm(ctx context.Context, c command) (*warmChild, error) {
	w := &warmChild{cmd: exec.CommandContext(ctx, c.args[0], c.args[1:]...)}
	w.cmd.Env, w.cmd.Stderr = c.env, &w.stderr
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := w.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.ask = func() error { _, err := stdin.Write([]byte("\n")); return err }
	w.hangUp = stdin.Close
	w.answers = json.NewDecoder(bufio.NewReader(stdout))
	if err := w.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.args[0], err)
	}
	return w, nil
}

// backup has the child take one backup.
func (w *warmChild) backup() (sample, error) {
	var s sample
	err := w.ask()
	if err == nil {
		err = w.answers.Decode(&s)
	}
	if err != nil {
		return s, fmt.Errorf("back up in the warm process: %w: %s", err, w.stderr.String())
	}
	return s, nil
}

// stop ends the child, which ends when its input does, and waits.
func (w *warmChild) stop() error {
	if err := errors.Join(w.hangUp(), w.cmd.Wait()); err != nil {
		return fmt.Errorf("end the warm process: %w: %s", err, w.stderr.String())
	}
	return nil
}

// prune measures forgetting most of many snapshots and removing their data. All
// contenders get copies of one repository, and no cache.
func prune(b *bench, ctx context.Context, d discipline, r *result) error {
	base := b.store.at(b.store.server.Endpoint, "prune-base")
	if !b.filled {
		b.progress("  make %d snapshots", b.extent.Snapshots)
		if _, _, err := run(ctx, b.ours.command(base, b.dir, "fill", b.trees[d.tree], strconv.Itoa(b.extent.Snapshots))); err != nil {
			return err
		}
		b.filled = true
	}
	return b.each(b.pruners(), func(_ int, c contender) error {
		pruner, ok := c.(pruner)
		if !ok {
			return errors.New("it cannot prune")
		}
		repo, err := b.home(d.tree, c)
		if err != nil {
			return err
		}
		if err := b.store.copy(ctx, base.Prefix, repo.prefix); err != nil {
			return err
		}
		p, err := b.reach(ctx, c, repo, d.far)
		if err != nil {
			return err
		}
		if err := b.measure(ctx, r, c, pruner.Prune(p, repo.home, b.extent.Keep)); err != nil {
			return err
		}
		if r.stored[c.Name()], err = b.storedBy(ctx, c, repo); err != nil {
			return err
		}
		n, err := b.referee.snapshots(ctx, p, repo.home)
		if err == nil && n != b.extent.Keep {
			err = fmt.Errorf("%d snapshots are left of %d, want %d", n, b.extent.Snapshots, b.extent.Keep)
		}
		if err := errors.Join(err, b.referee.check(ctx, p, repo.home)); err != nil {
			return err
		}
		return b.discard(ctx, repo)
	})
}

// stagesName is the row of the engine without any I/O.
const stagesName = "stages alone"

// stageLimit compares a full backup with what its own stages reach when they
// neither read files nor store anything.
func stageLimit(b *bench, ctx context.Context, d discipline, r *result) error {
	for round := range b.extent.Rounds {
		if err := b.drop(ctx, d.tree, b.ours); err != nil {
			return err
		}
		repo, err := b.create(ctx, d.tree, b.ours)
		if err != nil {
			return err
		}
		p, err := b.reach(ctx, b.ours, repo, false)
		if err != nil {
			return err
		}
		if err := b.measure(ctx, r, b.ours, b.ours.Backup(p, repo.home, b.trees[d.tree])); err != nil {
			return err
		}
		settle()
		_, out, err := run(ctx, b.ours.command(p, repo.home, "stages", b.trees[d.tree]))
		if err != nil {
			return err
		}
		var s stageRate
		if err := json.Unmarshal(out, &s); err != nil {
			return fmt.Errorf("decode the rate of the stages: %w", err)
		}
		r.stages = append(r.stages, s)
		b.progress("  round %d of %d: %s, %s", round+1, b.extent.Rounds, oursName, stagesName)
	}
	return nil
}
