package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// contender is a program that takes backups. Its commands are run and measured
// by the disciplines; what its methods do themselves is not measured.
type contender interface {
	// Name is the row in the tables.
	Name() string
	// Create makes an empty repository at p. home is the directory where the
	// contender keeps its caches and configuration of this repository.
	Create(ctx context.Context, p place, home string) error
	// Connect prepares for a repository that is there already, or for another
	// way to it.
	Connect(ctx context.Context, p place, home string) error
	Backup(p place, home, dir string) command
	// Restore restores the newest backup of dir below target and says where
	// the content of dir will then be.
	Restore(p place, home, dir, target string) (c command, restored string)
}

// pruner is a contender that can forget backups and remove their data.
type pruner interface {
	contender
	Prune(p place, home string, keep int) command
}

// ourEngine is our engine, each command a process of its own.
type ourEngine struct {
	binary   string
	profiles string // directory for CPU profiles, or empty
}

const oursName = "envbackup"

func (o ourEngine) Name() string { return oursName }

func (o ourEngine) command(p place, home string, args ...string) command {
	c := command{args: append([]string{o.binary, "child"}, args...), env: environment(home, p.environ()...)}
	if o.profiles != "" {
		c.env = append(c.env, "BENCH_PROFILES="+o.profiles)
	}
	return c
}

func (o ourEngine) Create(ctx context.Context, p place, home string) error {
	_, _, err := run(ctx, o.command(p, home, "init"))
	return err
}

func (o ourEngine) Connect(context.Context, place, string) error { return nil }

func (o ourEngine) Backup(p place, home, dir string) command {
	return o.command(p, home, "backup", dir)
}

func (o ourEngine) Restore(p place, home, dir, target string) (command, string) {
	return o.command(p, home, "restore", target), filepath.Join(target, dir)
}

func (o ourEngine) Prune(p place, home string, keep int) command {
	return o.command(p, home, "prune", strconv.Itoa(keep))
}

// stockRestic is stock restic with extra flags for each backup.
type stockRestic struct {
	name, binary string
	tuning       []string
}

// resticTuning is what makes restic fastest: it leaves out what our engine does
// not do either, and reads more files at a time. The pinned version has no
// faster compression than its default.
var resticTuning = []string{"--no-extra-verify", "--read-concurrency", "4", "--no-scan"}

const (
	resticName      = "restic"
	resticTunedName = "restic tuned"
)

func (r stockRestic) Name() string { return r.name }

func (r stockRestic) command(p place, home string, args ...string) command {
	return command{
		args: append([]string{r.binary}, args...),
		env: environment(home, append(p.environ(),
			"RESTIC_REPOSITORY=s3:"+p.Endpoint+"/"+p.Bucket+"/"+p.Prefix,
			"RESTIC_PASSWORD="+password, "RESTIC_CACHE_DIR="+filepath.Join(home, "cache"), "RESTIC_HOST="+hostname)...),
	}
}

func (r stockRestic) Create(ctx context.Context, p place, home string) error {
	_, _, err := run(ctx, r.command(p, home, "init", "--quiet"))
	return err
}

func (r stockRestic) Connect(context.Context, place, string) error { return nil }

func (r stockRestic) Backup(p place, home, dir string) command {
	args := append([]string{"backup", "--quiet", "--host", hostname}, r.tuning...)
	return r.command(p, home, append(args, dir)...)
}

func (r stockRestic) Restore(p place, home, dir, target string) (command, string) {
	return r.command(p, home, "restore", "--quiet", "latest", "--target", target), filepath.Join(target, dir)
}

func (r stockRestic) Prune(p place, home string, keep int) command {
	return r.command(p, home, "forget", "--quiet", "--keep-last", strconv.Itoa(keep), "--prune")
}

// check has restic read every pack of the repository at p.
func (r stockRestic) check(ctx context.Context, p place, home string) error {
	_, out, err := run(ctx, r.command(p, home, "check", "--read-data", "--json"))
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var summary struct {
		NumErrors          int      `json:"num_errors"`
		BrokenPacks        []string `json:"broken_packs"`
		SuggestRepairIndex bool     `json:"suggest_repair_index"`
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &summary); err != nil {
		return fmt.Errorf("decode the answer of restic check: %w", err)
	}
	if summary.NumErrors > 0 || len(summary.BrokenPacks) > 0 || summary.SuggestRepairIndex {
		return fmt.Errorf("restic check of %s is not clean: %s", p.Prefix, lines[len(lines)-1])
	}
	return nil
}

// snapshots counts the snapshots that restic finds at p.
func (r stockRestic) snapshots(ctx context.Context, p place, home string) (int, error) {
	_, out, err := run(ctx, r.command(p, home, "snapshots", "--json"))
	if err != nil {
		return 0, err
	}
	var list []struct{}
	if err := json.Unmarshal(out, &list); err != nil {
		return 0, fmt.Errorf("decode the answer of restic snapshots: %w", err)
	}
	return len(list), nil
}

// stockKopia is stock kopia with its fastest zstd.
type stockKopia struct{ binary string }

const kopiaName = "kopia zstd-fastest"

func (k stockKopia) Name() string { return kopiaName }

// command finds its repository by the configuration that Connect wrote for the
// way p.
func (k stockKopia) command(p place, home string, args ...string) command {
	config := strings.NewReplacer(":", "-", ".", "-").Replace(p.host())
	return command{
		args: append([]string{k.binary}, args...),
		env: environment(home, "KOPIA_PASSWORD="+password, "KOPIA_CONFIG_PATH="+filepath.Join(home, config+".config"),
			"KOPIA_CACHE_DIRECTORY="+filepath.Join(home, "cache"), "KOPIA_LOG_DIR="+filepath.Join(home, "log"),
			"KOPIA_CHECK_FOR_UPDATES=false", "KOPIA_USE_KEYRING=false"),
	}
}

func (k stockKopia) reach(p place, verb string) []string {
	return []string{
		"repository", verb, "s3", "--no-progress", "--bucket", p.Bucket, "--prefix", p.Prefix + "/",
		"--endpoint", p.host(), "--disable-tls", "--region", p.Region, "--access-key", p.AccessKey, "--secret-access-key", p.SecretKey,
	}
}

func (k stockKopia) Create(ctx context.Context, p place, home string) error {
	if _, _, err := run(ctx, k.command(p, home, k.reach(p, "create")...)); err != nil {
		return err
	}
	_, _, err := run(ctx, k.command(p, home, "policy", "set", "--global", "--compression", "zstd-fastest"))
	return err
}

func (k stockKopia) Connect(ctx context.Context, p place, home string) error {
	_, _, err := run(ctx, k.command(p, home, k.reach(p, "connect")...))
	return err
}

func (k stockKopia) Backup(p place, home, dir string) command {
	return k.command(p, home, "snapshot", "create", "--no-progress", dir)
}

func (k stockKopia) Restore(p place, home, dir, target string) (command, string) {
	return k.command(p, home, "snapshot", "restore", "--no-progress", dir, target), target
}

// tarZstd is GNU tar and C zstd, into a file beside the store. It does not hash,
// encrypt, deduplicate or upload and is no peer; it shows what reading and
// compressing alone cost.
type tarZstd struct{}

const tarName = "tar | zstd -1"

func (t tarZstd) Name() string { return tarName }

func (t tarZstd) Create(context.Context, place, string) error { return nil }

func (t tarZstd) Connect(context.Context, place, string) error { return nil }

func (t tarZstd) shell(home, script string, args ...string) command {
	file := filepath.Join(home, "tree.tar.zst")
	return command{
		args: append([]string{"/bin/sh", "-c", script, "sh", file}, args...),
		env:  environment(home),
	}
}

func (t tarZstd) Backup(_ place, home, dir string) command {
	return t.shell(home, `set -e; tar --format=pax -C "$2" -cf - . | zstd -1 -T2 -q -f -o "$1"`, dir)
}

func (t tarZstd) Restore(_ place, home, _, target string) (command, string) {
	return t.shell(home, `set -e; mkdir -p "$2"; zstd -dcq "$1" | tar -C "$2" -xpf -`, target), target
}
