// Package queue executes runs, restores and verifications: it hands each to one process at a
// time, holds to one writer for each environment (S3), counts attempts and
// retries (S5, S6), takes over what a dead process left, and stops in order
// (S13). When a run is due is the scheduler's business, what it does is behind
// Executor.
//
// The rows of runs and restores are the truth. River, the library below,
// carries one job for one attempt and nothing else: a job that is lost,
// delivered twice or finished by a process that was thought dead changes
// nothing, because a row is only written by the holder of its job_id (the
// fencing token). Work that has to wait (environment busy, next attempt later)
// has no job; whoever ends work in an environment gives the one waiting
// longest its job in the same transaction, and each heartbeat sweeps up what
// was left.
//
// Not promised: that an executor has stopped writing to a destination when its
// process was declared dead. The repository's own locks are for that.
package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/riverqueue/river"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// Executor does one attempt. An outcome is final; an error fails the attempt
// and its code decides whether another follows (S6); when none does, a partial
// outcome beside it counts. When ctx ends, the
// executor returns soon; the cause (context.Cause) says why. progress may be
// called as often as is convenient and from several goroutines.
type Executor interface {
	ExecuteRun(ctx context.Context, run envbackup.Run, progress func(envbackup.Progress)) (envbackup.Outcome, error)
	ExecuteRestore(ctx context.Context, r envbackup.Restore, progress func(envbackup.Progress)) (envbackup.Outcome, error)
	// ExecuteVerification may be called again for one that made way or whose
	// process ended; it then goes on where it can.
	ExecuteVerification(ctx context.Context, v envbackup.Verification, progress func(envbackup.Progress)) (envbackup.Outcome, error)
}

// Config is how a Queue works; the zero value is usable.
type Config struct {
	// Worker is the name that environments are pinned to; work that is pinned
	// to another one is left alone.
	Worker string
	// MaxConcurrent is how many runs and restores execute at once here,
	// default 2.
	MaxConcurrent int
	// Heartbeat is how often the process says that it lives, default 10 s; TTL
	// how long it may be silent before others take over, default 45 s.
	Heartbeat time.Duration
	TTL       time.Duration
	// Drain is how long running work may go on after Run's context ended,
	// default 30 s (S13).
	Drain time.Duration
	// After a run, one of CheckShares even shares of a repository is read and
	// checked when CheckEvery has passed since the share before; 0 checks none.
	CheckEvery  time.Duration
	CheckShares int
	// Backoff returns the wait before retry n, from 1; default S6.
	Backoff func(n int64) time.Duration
	Log     *slog.Logger // default: nothing is logged
}

func (c Config) withDefaults() Config {
	if c.MaxConcurrent <= 0 {
		c.MaxConcurrent = 2
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 10 * time.Second
	}
	if c.TTL <= 0 {
		c.TTL = 45 * time.Second
	}
	if c.Drain <= 0 {
		c.Drain = 30 * time.Second
	}
	if c.Backoff == nil {
		c.Backoff = backoff
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// backoff doubles from one to thirty minutes, with full jitter (S6).
func backoff(n int64) time.Duration {
	ceiling := 30 * time.Minute
	if n < 6 {
		ceiling = min(ceiling, time.Minute<<(n-1))
	}
	return time.Duration(rand.Int64N(int64(ceiling))) + time.Second
}

// progressEvery bounds how often a run's progress is written and its control
// marks are read.
const progressEvery = time.Second

// Queue takes work in and, while Run runs, executes it. All methods may be
// called concurrently, before, during and after Run.
type Queue struct {
	store    *store.Store
	executor Executor
	cfg      Config
	client   *river.Client[*sql.Tx]
	// completeJob is the function of this name, which works in the library's
	// workers only; tests that execute jobs themselves have another.
	completeJob func(context.Context, *store.Tx, *river.Job[jobArgs]) error
	node        string

	seats chan struct{} // one for each concurrent execution
	// Verifications have seats of their own, so that no backup waits for one:
	// one for those that schedules ask for, manualVerifications for the others.
	ordered, asked chan struct{}
	stopping       chan struct{} // closed when Run's context ends

	mu        sync.Mutex
	executing map[store.Work]context.CancelCauseFunc
	changed   chan struct{} // closed and replaced at each change that Watch may show
}

// New makes a queue over st. Run may be called once.
func New(st *store.Store, executor Executor, cfg Config) (*Queue, error) {
	cfg = cfg.withDefaults()
	q := &Queue{
		store: st, executor: executor, cfg: cfg, completeJob: completeJob,
		// A new id at each start: what an earlier process of this worker left
		// is not ours.
		node:      "node-" + uuid.Must(uuid.NewV7()).String(),
		seats:     make(chan struct{}, cfg.MaxConcurrent),
		ordered:   make(chan struct{}, 1),
		asked:     make(chan struct{}, manualVerifications),
		stopping:  make(chan struct{}),
		executing: make(map[store.Work]context.CancelCauseFunc),
		changed:   make(chan struct{}),
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &jobWorker{queue: q})
	queues := map[string]river.QueueConfig{
		river.QueueDefault:        {MaxWorkers: cfg.MaxConcurrent},
		verificationQueueName(""): {MaxWorkers: 1 + manualVerifications},
	}
	if cfg.Worker != "" {
		queues[queueName(cfg.Worker)] = river.QueueConfig{MaxWorkers: cfg.MaxConcurrent}
		queues[verificationQueueName(cfg.Worker)] = river.QueueConfig{MaxWorkers: 1 + manualVerifications}
	}
	client, err := river.NewClient(st.Driver(), &river.Config{
		ID:     q.node,
		Logger: slog.New(quietHandler{cfg.Log.Handler()}),
		Queues: queues, Workers: workers,
		// Attempts are counted in runs; a job is one attempt.
		MaxAttempts: 1,
		// Timeouts are the schedule's (S5) and dead processes are found by
		// their heartbeat; the library's limits are a last resort only.
		JobTimeout:           lastResort,
		RescueStuckJobsAfter: lastResort + time.Hour,
	})
	if err != nil {
		return nil, fmt.Errorf("set up queue: %w", err)
	}
	q.client = client
	return q, nil
}

// lastResort is longer than any sensible timeout of a schedule.
const lastResort = 60 * 24 * time.Hour

// Run executes work until ctx is done, drains (S13) and returns nil; or it
// fails to start.
func (q *Queue) Run(ctx context.Context) error {
	// What must go on while draining hangs off a context of its own.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()

	if _, err := q.store.Heartbeat(base, q.node, q.cfg.Worker); err != nil {
		return fmt.Errorf("start queue: %w", err)
	}
	if q.store.SoleOwner() {
		if err := q.store.StopOtherNodes(base, q.node); err != nil {
			return fmt.Errorf("start queue: %w", err)
		}
	}
	if err := q.Sweep(base, time.Now()); err != nil {
		return fmt.Errorf("start queue: %w", err)
	}
	if err := q.client.Start(base); err != nil {
		return fmt.Errorf("start queue: %w", err)
	}
	q.cfg.Log.InfoContext(ctx, "queue started", "node", q.node, "worker", q.cfg.Worker)

	var beating sync.WaitGroup
	beating.Go(func() { q.beat(base) })
	<-ctx.Done()
	close(q.stopping)
	q.cancelVerifications(errStopped) // they go on later; nobody waits for them
	err := q.drain(base)
	cancel()
	beating.Wait()
	if stopErr := q.store.StopNode(context.WithoutCancel(ctx), q.node); stopErr != nil {
		err = errors.Join(err, stopErr)
	}
	return err
}

// drain stops claiming, lets executing work finish for a while and then
// cancels it.
func (q *Queue) drain(ctx context.Context) error {
	stopped := make(chan error, 1)
	go func() { stopped <- q.client.Stop(ctx) }()
	patience := time.NewTimer(q.cfg.Drain)
	defer patience.Stop()
	select {
	case err := <-stopped:
		return stopError(err)
	case <-patience.C:
	}
	q.cancelAll(errShutDown)
	return stopError(<-stopped)
}

// errShutDown and errStopped are the causes of work that a stop of the daemon
// ended.
var (
	errShutDown = &envbackup.Error{
		Code: envbackup.CodeShutDown, Message: "the daemon was shut down",
		Hint: "it is tried again at the next start if its slot can still be caught up",
	}
	errStopped = &envbackup.Error{Code: envbackup.CodeShutDown, Message: "the daemon was shut down; it goes on after the next start"}
)

func stopError(err error) error {
	if err != nil {
		return fmt.Errorf("stop queue: %w", err)
	}
	return nil
}

// beat sends heartbeats and sweeps until ctx is done. A process that cannot
// say that it lives stops what it executes before others take it over.
func (q *Queue) beat(ctx context.Context) {
	ticker := time.NewTicker(q.cfg.Heartbeat)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		alive, err := q.store.Heartbeat(ctx, q.node, q.cfg.Worker)
		if err == nil && alive {
			last = time.Now()
			if err := q.Sweep(ctx, last); err != nil && ctx.Err() == nil {
				q.cfg.Log.ErrorContext(ctx, "sweep failed", "error", err)
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		q.cfg.Log.ErrorContext(ctx, "heartbeat failed", "node", q.node, "alive", alive, "error", err)
		if err == nil || time.Since(last) > q.cfg.TTL*2/3 {
			q.cancelAll(&envbackup.Error{
				Code: envbackup.CodeWorkerLost, Message: "the worker lost its connection to the state database",
				Hint: "see the daemon's log; the run is tried again",
			})
		}
	}
}

// register notes executing work and how to cancel it.
func (q *Queue) register(w store.Work, cancel context.CancelCauseFunc) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.executing[w] = cancel
}

func (q *Queue) unregister(w store.Work) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.executing, w)
}

// cancelLocal ends w with cause if this process executes it.
func (q *Queue) cancelLocal(w store.Work, cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if cancel := q.executing[w]; cancel != nil {
		cancel(cause)
	}
}

func (q *Queue) cancelVerifications(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for w, cancel := range q.executing {
		if w.Kind == store.WorkVerify {
			cancel(cause)
		}
	}
}

func (q *Queue) cancelAll(cause error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, cancel := range q.executing {
		cancel(cause)
	}
}
