package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// bench holds what the disciplines share. It is used by one goroutine.
type bench struct {
	extent       extent
	dir          string // everything of this run lies below it
	binary       string // this program
	goroot       string
	kopiaRestore bool
	log          io.Writer

	store      *store
	ours       ourEngine
	referee    stockRestic
	contenders []contender

	trees   map[string]string
	sizes   map[string]treeStat
	repos   map[repoKey]*repo // the latest of each contender
	serial  int
	changes int  // rounds of change that the trees went through
	filled  bool // the repository to prune is there
	far     *lagChild
}

type treeStat struct {
	files int
	bytes int64
}

type repoKey struct{ tree, contender string }

// repo is a repository and its owner's directory.
type repo struct{ prefix, home string }

const farDelay = 30 * time.Millisecond

func (b *bench) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(b.log, format+"\n", args...) // progress is nobody's result
}

// self is a command of this program that is not measured.
func (b *bench) self(args ...string) command {
	return command{args: append([]string{b.binary, "child"}, args...), env: environment(b.dir, "BENCH_GOROOT="+b.goroot)}
}

// tree makes the tree of a discipline unless it is there.
func (b *bench) tree(ctx context.Context, kind string) error {
	if _, ok := b.trees[kind]; ok {
		return nil
	}
	dir := filepath.Join(b.dir, "trees", kind)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	x, err := json.Marshal(b.extent)
	if err != nil {
		return err
	}
	b.progress("make the %s tree", kind)
	if _, _, err := run(ctx, b.self("generate", kind, dir, string(x))); err != nil {
		return err
	}
	files, bytes, err := treeSize(dir)
	if err != nil {
		return err
	}
	b.trees[kind], b.sizes[kind] = dir, treeStat{files, bytes}
	return nil
}

// do runs one discipline.
func (b *bench) do(ctx context.Context, d discipline) (*result, error) {
	if d.tree != "" {
		if err := b.tree(ctx, d.tree); err != nil {
			return nil, err
		}
	}
	b.progress("%s", d.name)
	size := b.sizes[d.tree]
	r := &result{discipline: d, samples: map[string][]sample{}, stored: map[string]usage{}, requests: map[string]int{}, files: size.files, bytes: size.bytes}
	if err := d.run(b, ctx, d, r); err != nil {
		return nil, fmt.Errorf("%s: %w", d.name, err)
	}
	return r, nil
}

// measure runs a command of a contender and keeps the sample.
func (b *bench) measure(ctx context.Context, r *result, c contender, cmd command) error {
	settle()
	s, _, err := run(ctx, cmd)
	if err == nil {
		r.add(c.Name(), s)
	}
	return err
}

// uploading are the contenders with repositories in the store.
func (b *bench) uploading() []contender {
	var list []contender
	for _, c := range b.contenders {
		if c.Name() != tarName {
			list = append(list, c)
		}
	}
	return list
}

// pruners are those who can prune: tuning changes nothing about it, and kopia
// keeps what it forgets for a day at least.
func (b *bench) pruners() []contender {
	var list []contender
	for _, c := range b.contenders {
		if _, ok := c.(pruner); ok && c.Name() != resticTunedName {
			list = append(list, c)
		}
	}
	return list
}

// home makes a place for a new repository.
func (b *bench) home(tree string, c contender) (*repo, error) {
	b.serial++
	name := fmt.Sprintf("%s-%s-%d", tree, strings.NewReplacer(" ", "", "|", "-").Replace(c.Name()), b.serial)
	r := &repo{prefix: name, home: filepath.Join(b.dir, "homes", name)}
	return r, os.MkdirAll(r.home, 0o700)
}

// create makes an empty repository, which is the contender's latest from now on.
func (b *bench) create(ctx context.Context, tree string, c contender) (*repo, error) {
	r, err := b.home(tree, c)
	if err != nil {
		return nil, err
	}
	b.repos[repoKey{tree, c.Name()}] = r
	return r, c.Create(ctx, b.store.at(b.store.server.Endpoint, r.prefix), r.home)
}

// drop removes a contender's latest repository of a tree.
func (b *bench) drop(ctx context.Context, tree string, c contender) error {
	key := repoKey{tree, c.Name()}
	r := b.repos[key]
	if r == nil {
		return nil
	}
	delete(b.repos, key)
	return b.discard(ctx, r)
}

func (b *bench) discard(ctx context.Context, r *repo) error {
	return errors.Join(b.store.remove(ctx, r.prefix), os.RemoveAll(r.home))
}

// ensure gives each contender a repository with a backup of the tree as it is.
func (b *bench) ensure(ctx context.Context, tree string, contenders []contender) error {
	for _, c := range contenders {
		if b.repos[repoKey{tree, c.Name()}] != nil {
			continue
		}
		b.progress("  first backup: %s", c.Name())
		r, err := b.create(ctx, tree, c)
		if err != nil {
			return err
		}
		if _, _, err := run(ctx, c.Backup(b.store.at(b.store.server.Endpoint, r.prefix), r.home, b.trees[tree])); err != nil {
			return err
		}
	}
	return nil
}

// reach returns the near or the far way to a repository.
func (b *bench) reach(ctx context.Context, c contender, r *repo, far bool) (place, error) {
	p := b.store.at(b.store.server.Endpoint, r.prefix)
	if !far {
		return p, nil
	}
	if b.far == nil {
		child, err := startLag(b.self("lag", p.Endpoint, farDelay.String()))
		if err != nil {
			return place{}, err
		}
		b.far = child
	}
	p.Endpoint = b.far.endpoint
	return p, c.Connect(ctx, p, r.home)
}

// storedBy is what a contender keeps: in the store, or tar in its file.
func (b *bench) storedBy(ctx context.Context, c contender, r *repo) (usage, error) {
	if c.Name() != tarName {
		return b.store.usage(ctx, r.prefix)
	}
	files, bytes, err := treeSize(r.home)
	return usage{Objects: files, Bytes: bytes}, err
}

// check has stock restic read all that our engine left behind.
func (b *bench) check(ctx context.Context) error {
	for key, r := range b.repos {
		if key.contender != oursName {
			continue
		}
		b.progress("restic checks what envbackup wrote of the %s tree", key.tree)
		home := filepath.Join(b.dir, "homes", "referee-"+r.prefix)
		if err := os.MkdirAll(home, 0o700); err != nil {
			return err
		}
		if err := b.referee.check(ctx, b.store.at(b.store.server.Endpoint, r.prefix), home); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) close() error {
	if b.far == nil {
		return nil
	}
	return b.far.stop()
}

// lagChild is the slow way to the store, a process of its own so that its work
// is in nobody's figures.
type lagChild struct {
	endpoint string
	cmd      *exec.Cmd
	hangUp   func() error
}

func startLag(c command) (*lagChild, error) {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Env = c.env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var stderr tail
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the slow way: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("start the slow way: %w: %s", errors.Join(err, stdin.Close(), cmd.Wait()), stderr.String())
	}
	return &lagChild{endpoint: strings.TrimSpace(line), cmd: cmd, hangUp: stdin.Close}, nil
}

func (l *lagChild) stop() error { return errors.Join(l.hangUp(), l.cmd.Wait()) }
