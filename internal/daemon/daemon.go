package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/queue"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/scheduler"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// scratchDir is where verifications restore to, in the data directory.
const scratchDir = "scratch"

// devDestination is the destination that --dev offers.
const devDestination = "local"

// Run is the daemon: it takes the data directory, starts everything, prints
// "ready URL" on standard output once the API answers, and returns nil after
// ctx is done and running backups had their time to finish (S13).
func Run(ctx context.Context, c Config) error {
	c = c.complete()
	if findings := c.Check(); len(findings) > 0 {
		return envbackup.Invalid(findings...)
	}
	log, err := newLogger(c, c.Stderr)
	if err != nil {
		return err
	}
	release, err := takeDataDir(c.DataDir)
	if err != nil {
		return err
	}
	defer release()

	d, err := open(ctx, c, log)
	if err != nil {
		return err
	}
	return errors.Join(d.run(ctx), d.close())
}

// complete fills in what depends on the host.
func (c Config) complete() Config {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "localhost"
	}
	if c.Worker == "" {
		c.Worker = host
	}
	if c.Hostname == "" {
		c.Hostname = host
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	if abs, err := filepath.Abs(c.DataDir); err == nil && c.DataDir != "" {
		c.DataDir = abs
	}
	return c
}

// daemon holds the rooms between open and close.
type daemon struct {
	cfg       Config
	log       *slog.Logger
	store     *store.Store
	vault     *vault.Vault
	runner    *runner.Runner
	queue     *queue.Queue
	scheduler *scheduler.Service
	server    *server
}

// open builds the rooms from the bottom up; nothing runs yet.
func open(ctx context.Context, c Config, log *slog.Logger) (*daemon, error) {
	d := &daemon{cfg: c, log: log}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

func (d *daemon) open(ctx context.Context) (err error) {
	c := d.cfg
	if c.Database == "" {
		if err := makePrivate(c.database()); err != nil {
			return err
		}
	}
	if d.store, err = store.Open(ctx, c.database()); err != nil {
		return err
	}
	endpoints := endpointList(c.AllowEndpoints)
	traffic := newTraffic()
	d.vault, err = vault.Open(c.masterKeyFile(), d.store, vault.Config{
		Log: d.log, AllowEndpoint: endpoints.check, CacheDir: c.path("cache"),
		S3CAFile: c.S3CAFile, Observe: traffic.request, Retried: traffic.retry,
	})
	if err != nil {
		return err
	}
	if err := d.firstStart(ctx); err != nil {
		return err
	}
	read := allowList{setting: "allow_read", verb: "back up", dirs: c.AllowRead, all: c.Dev}
	restore := allowList{setting: "allow_restore", verb: "restore to", dirs: c.AllowRestore, all: c.Dev}
	d.runner = runner.New(d.store, d.vault, runner.Config{
		AllowRead: read.check, AllowRestore: restore.check,
		Worker: c.Worker, Hostname: c.Hostname, Version: c.Version, Log: d.log, LockWait: lockWait,
		Scratch: c.path(scratchDir), Recheck: d.recheck,
	})
	if c.ConfirmClock {
		if err := d.runner.ConfirmClock(ctx); err != nil {
			return err
		}
	}
	work := newCountedExecutor(d.runner)
	d.queue, err = queue.New(d.store, work, queue.Config{
		Worker: c.Worker, MaxConcurrent: c.Limits.MaxConcurrentRuns, Log: d.log,
		Drain:      max(c.Drain, 1), // 0 would be the queue's default
		CheckEvery: c.CheckEvery, CheckShares: c.CheckShares,
	})
	if err != nil {
		return err
	}
	d.scheduler = scheduler.New(d.store, d.queue, scheduler.Config{Worker: c.Worker, Log: d.log})
	handler := api.New(api.Deps{
		Store: d.store, Scheduler: d.scheduler, Queue: d.queue, Vault: d.vault, Pruner: d.runner,
		Limits: c.Limits, Version: c.Version, Worker: c.Worker, DevMode: c.Dev,
		AllowRead: read.check, AllowRestore: restore.check, AllowEndpoint: endpoints.check,
		Metrics: newMetrics(d.store, work, traffic, d.log), OpenMetrics: c.OpenMetrics, Log: d.log,
	})
	d.server, err = listen(c, handler)
	return err
}

// firstStart makes what a new data directory needs, and completes an older
// one.
func (d *daemon) firstStart(ctx context.Context) error {
	tokenFile := d.cfg.path(adminTokenFile)
	if _, err := ensureAdminToken(ctx, tokenFile, d.store); err != nil {
		return err
	}
	d.log.InfoContext(ctx, "the admin token is in this file; `envbackup token create` makes others", "file", tokenFile)
	if !d.cfg.Dev {
		return nil
	}
	d.log.WarnContext(ctx, "--dev: every path of this host may be backed up and restored to")
	return d.offerLocal(ctx)
}

// offerLocal sees to it that the destination of --dev is there.
func (d *daemon) offerLocal(ctx context.Context) error {
	dir := d.cfg.path(filepath.Join("destinations", devDestination))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make local destination: %w", err)
	}
	_, err := d.store.Destination(ctx, devDestination)
	if envbackup.CodeOf(err) != envbackup.CodeNotFound {
		return err
	}
	return d.store.CreateDestination(ctx, &envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{
		Name: devDestination, Local: &envbackup.LocalPlace{Path: dir},
	}})
}

// run runs everything until ctx is done or a part fails. The API answers until
// the last backup has ended: whoever waits for one sees how it ends.
func (d *daemon) run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	var outer errgroup.Group
	outer.Go(func() error { return d.server.serve(serving) })

	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.queue.Run(ctx) })
	g.Go(func() error { return d.scheduler.Run(ctx) })
	g.Go(func() error { return d.runner.KeepTime(ctx) })
	g.Go(func() error {
		select {
		case <-d.server.stopped:
			return errors.New("the API stopped answering")
		case <-ctx.Done():
			return nil
		}
	})
	if err := d.announce(ctx); err != nil {
		g.Go(func() error { return err })
	}
	<-ctx.Done()
	d.log.Info("stopping", "drain", d.cfg.Drain)
	err := g.Wait()
	stopServing()
	return errors.Join(err, outer.Wait())
}

// announce waits until the API answers and prints the line that scripts wait
// for.
func (d *daemon) announce(ctx context.Context) error {
	if err := d.server.answers(ctx); err != nil {
		return err
	}
	d.log.InfoContext(ctx, "ready", "endpoint", d.server.endpoint, "worker", d.cfg.Worker, "version", d.cfg.Version)
	_, err := fmt.Fprintf(d.cfg.Stdout, "ready %s\n", d.server.endpoint)
	return err
}

// close gives back what open took, in reverse.
func (d *daemon) close() error {
	var errs []error
	if d.server != nil {
		errs = append(errs, d.server.close())
	}
	if d.vault != nil {
		errs = append(errs, d.vault.Close())
	}
	if d.store != nil {
		errs = append(errs, d.store.Close())
	}
	return errors.Join(errs...)
}

// lockWait is how long a run waits for a repository that another program, or an
// explicit prune, has locked. Longer waits are retries (S6).
const lockWait = 2 * time.Minute

// shutdownGrace is how long requests may take to end once everything else has.
const shutdownGrace = 5 * time.Second

// recheck queues a look at the damaged backups of an environment at a
// destination. It is called by runs, which the queue executes.
func (d *daemon) recheck(ctx context.Context, env envbackup.Environment, dest envbackup.Destination) error {
	return d.queue.EnqueueCheck(ctx, &envbackup.Verification{
		Environment: env.Name, DestinationID: dest.ID, Level: envbackup.CheckDamaged, Trigger: envbackup.TriggerManual,
	})
}
