package daemon_test

import (
	"bufio"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// childDir makes the test binary a daemon on this directory.
const childDir = "ENVBACKUP_TEST_DAEMON_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(daemonMain(dir))
	}
	os.Exit(m.Run())
}

// daemonMain is what `envbackup daemon --dev` does. It ends with its parent,
// which holds the other end of standard input.
func daemonMain(dir string) int {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := daemon.Default()
	c.Dev, c.DataDir, c.Listen, c.LogLevel = true, dir, "127.0.0.1:0", "debug"
	if err := daemon.Run(ctx, c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// child is a daemon in a process of its own.
type child struct {
	t      *testing.T
	cmd    *exec.Cmd
	client *client.Client
	log    *os.File
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: exec.Command(os.Args[0]), log: log}
	c.cmd.Env = append(os.Environ(), childDir+"="+dir)
	c.cmd.Stderr = log
	hold, err := c.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = hold.Close()
		_ = c.cmd.Process.Kill() // it may have ended already
		_ = c.cmd.Wait()
		if t.Failed() {
			if text, err := os.ReadFile(log.Name()); err == nil {
				t.Logf("log of daemon %d:\n%s", c.cmd.Process.Pid, text)
			}
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the daemon did not start: %v", err)
	}
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	if err != nil {
		t.Fatal(err)
	}
	c.client, err = client.New(client.Config{
		Endpoint: strings.TrimSpace(strings.TrimPrefix(line, "ready ")),
		Token:    secret.New(strings.TrimSpace(string(token))),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// kill ends the daemon as a power cut would end its process.
func (c *child) kill() {
	c.t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		c.t.Fatal(err)
	}
	_ = c.cmd.Wait() // "signal: killed"
	c.client.Close()
}

var errEnough = errors.New("enough seen")

// watchUntil follows a run until something is true of it, or it is over.
func watchUntil(t *testing.T, c *client.Client, id string, enough func(wire.Run) bool) {
	t.Helper()
	_, err := c.WatchRun(t.Context(), id, func(r wire.Run) error {
		if enough(r) {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
}

// newestRun returns the schedule's newest run.
func newestRun(t *testing.T, c *client.Client) wire.Run {
	t.Helper()
	page, err := c.Runs(t.Context(), wire.RunsQuery{Schedule: "shop/nightly"})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Items) == 0 {
		t.Fatal("there is no run")
	}
	return page.Items[0]
}

// S1, S5: whenever the daemon is killed, the next start fails the attempt with
// "worker lost" and tries the run again; in the end every run has one backup,
// and every backup that is listed restores identically.
func TestKilledAtAnyPointNothingIsLost(t *testing.T) {
	t.Parallel()
	kills := 3
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		kills = 20
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not for secrets

	dir, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
	fill(t, source, 2000)
	for i := range kills {
		c := startChild(t, dir)
		if i == 0 {
			declare(t, c.client, source)
		} else if run := newestRun(t, c.client); !run.State.Final() {
			// The killed attempt is tried again at once.
			again := run.Attempt
			watchUntil(t, c.client, run.ID, func(r wire.Run) bool { return r.Attempt >= again })
		}
		if newestRun(t, c.client).State.Final() {
			if _, err := c.client.RunSchedule(t.Context(), "shop/nightly", true); err != nil {
				t.Fatal(err)
			}
		}
		// From "just queued" to "almost done".
		files, phases := random.Int64N(2000), random.IntN(2) == 0
		watchUntil(t, c.client, newestRun(t, c.client).ID, func(r wire.Run) bool {
			if r.Progress == nil {
				return false
			}
			return r.Progress.FilesDone >= files || phases && r.Progress.Phase != envbackup.PhaseWaiting
		})
		c.kill()
	}

	d := daemontest.Start(t, daemontest.InDir(dir))
	page, err := d.Client.Runs(t.Context(), wire.RunsQuery{Schedule: "shop/nightly"})
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, r := range page.Items {
		run, err := d.Client.WatchRun(t.Context(), r.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		if run.State != envbackup.RunSucceeded {
			t.Errorf("run %s ended %s: %+v", run.ID, run.State, run.Failure)
		}
		full, err := d.Client.Run(t.Context(), r.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range full.Attempts {
			if a.Failure != nil && a.Failure.Code == envbackup.CodeWorkerLost {
				lost++
			}
		}
	}
	t.Logf("%d runs, %d attempts lost", len(page.Items), lost)
	wantOneBackupEach(t, d, source, len(page.Items))
}

// wantOneBackupEach checks that there is one backup for each run, that stock
// restic finds the repository sound, and that each backup restores what the
// source holds.
func wantOneBackupEach(t *testing.T, d *daemontest.Daemon, source string, runs int) {
	t.Helper()
	backups, err := d.Client.Backups(t.Context(), wire.BackupsQuery{Environment: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	byRun := map[string]int{}
	for _, b := range backups.Items {
		byRun[b.RunID]++
	}
	if len(backups.Items) != runs || len(byRun) != runs {
		t.Errorf("%d backups of %d runs, want %d of %d", len(backups.Items), len(byRun), runs, runs)
	}
	key, err := d.Client.Key(t.Context(), "shop", "local")
	if err != nil {
		t.Fatal(err)
	}
	stock := referee.New(t, key.Repository, key.Password)
	stock.Check()
	if snapshots := stock.Snapshots(); len(snapshots) != runs {
		t.Errorf("the repository holds %d snapshots, want %d", len(snapshots), runs)
	}
	for _, b := range backups.Items {
		target := filepath.Join(t.TempDir(), b.ID)
		restore, err := d.Client.CreateRestore(t.Context(), wire.RestoreRequest{Backup: b.ID, Target: target})
		if err != nil {
			t.Fatal(err)
		}
		if restore, err = d.Client.WatchRestore(t.Context(), restore.ID, nil); err != nil || restore.State != envbackup.RunSucceeded {
			t.Fatalf("restore of %s ended %s: %v %+v", b.ID, restore.State, err, restore.Failure)
		}
		referee.CompareTrees(t, source, filepath.Join(target, source))
	}
}

// S13: SIGTERM ends the daemon with exit code 0; a run that does not finish in
// time is tried again by the next start.
func TestStoppedInTheMiddleOfARun(t *testing.T) {
	t.Parallel()
	dir, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
	fill(t, source, 2000)
	c := startChild(t, dir)
	declare(t, c.client, source)
	watchUntil(t, c.client, newestRun(t, c.client).ID, func(r wire.Run) bool { return r.State == envbackup.RunRunning })
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM the daemon ended with %v, want exit code 0", err)
	}
	d := daemontest.Start(t, daemontest.InDir(dir))
	finished(t, d.Client, envbackup.RunSucceeded)
	wantOneBackupEach(t, d, source, 1)
}

// S13: with no time to finish, the attempt fails as shut down, and the next
// start takes the backup.
func TestStoppedWithoutTimeToDrain(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "source")
	fill(t, source, 5)
	random := make([]byte, 5<<20)
	_, _ = crand.Read(random) // never fails
	if err := os.WriteFile(filepath.Join(source, "random"), random, 0o644); err != nil {
		t.Fatal(err)
	}
	first := daemontest.Start(t, daemontest.Config(func(c *daemon.Config) { c.Drain = 0 }))
	// A slow destination: the run cannot end before it is stopped.
	local, err := first.Client.Destination(t.Context(), "local")
	if err != nil {
		t.Fatal(err)
	}
	local.BandwidthLimit = 1 << 20
	if _, err := first.Client.UpdateDestination(t.Context(), "local", wire.DestinationInput{DestinationSpec: local.DestinationSpec}, 0); err != nil {
		t.Fatal(err)
	}
	declare(t, first.Client, source)
	id := newestRun(t, first.Client).ID
	watchUntil(t, first.Client, id, func(r wire.Run) bool { return r.State == envbackup.RunRunning })
	first.Stop(t)

	second := daemontest.Start(t, daemontest.InDir(first.Dir))
	run := finished(t, second.Client, envbackup.RunSucceeded)
	full, err := second.Client.Run(t.Context(), run.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(full.Attempts) < 2 {
		t.Fatalf("the run had the attempts %+v, want one that was shut down and another", full.Attempts)
	}
	for _, a := range full.Attempts[:len(full.Attempts)-1] {
		if a.Failure == nil || a.Failure.Code != envbackup.CodeShutDown {
			t.Errorf("attempt %d failed with %+v, want shut_down", a.Number, a.Failure)
		}
	}
	local.BandwidthLimit = 0
	if _, err := second.Client.UpdateDestination(t.Context(), "local", wire.DestinationInput{DestinationSpec: local.DestinationSpec}, 0); err != nil {
		t.Fatal(err)
	}
	wantOneBackupEach(t, second, source, 1)
}
