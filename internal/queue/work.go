package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// jobWorker is the library's side of a Queue.
type jobWorker struct {
	river.WorkerDefaults[jobArgs]
	queue *Queue
}

// Work implements river.Worker. A job that returns an error is spent; the
// sweep finds its work and gives it another.
func (w *jobWorker) Work(ctx context.Context, job *river.Job[jobArgs]) error {
	// The library cancels its contexts when it stops; when work ends is
	// decided here.
	return w.queue.work(context.WithoutCancel(ctx), job)
}

func (q *Queue) work(ctx context.Context, job *river.Job[jobArgs]) error {
	w := store.Work{Kind: job.Args.Work, ID: job.Args.ID}
	if w.Kind == store.WorkVerify {
		return q.workVerification(ctx, w, job)
	}
	select {
	case q.seats <- struct{}{}:
		defer func() { <-q.seats }()
	case <-q.stopping:
		return q.park(ctx, w, job.ID)
	}
	select {
	case <-q.stopping:
		return q.park(ctx, w, job.ID)
	default:
	}
	defer q.announce()
	if w.Kind == store.WorkRestore {
		r, ok, err := q.claimRestore(ctx, w.ID, job.ID, time.Now())
		if err != nil || !ok {
			return err
		}
		return q.executeRestore(ctx, r, job)
	}
	r, ok, err := q.claimRun(ctx, w.ID, job.ID, time.Now())
	if err != nil || !ok {
		return err
	}
	return q.executeRun(ctx, r, job)
}

// completeJob ends a job in the transaction that records how its work ended.
func completeJob(ctx context.Context, tx *store.Tx, job *river.Job[jobArgs]) error {
	if _, err := river.JobCompleteTx[riverdriver.Driver[*sql.Tx]](ctx, tx.Raw(), job); err != nil {
		return fmt.Errorf("complete job %d: %w", job.ID, err)
	}
	return nil
}

// errFenced is the cause of work that another process took over.
var errFenced = &envbackup.Error{Code: envbackup.CodeWorkerLost, Message: "another worker took over"}

// executeRun does one claimed attempt and records how it ended.
func (q *Queue) executeRun(ctx context.Context, r envbackup.Run, job *river.Job[jobArgs]) error {
	log := q.cfg.Log.With("run", r.ID, "schedule", r.Environment+"/"+r.Schedule, "attempt", r.Attempt)
	log.InfoContext(ctx, "run started", "trigger", r.Trigger)
	began := time.Now()
	outcome, err := q.execute(ctx, store.Work{Kind: store.WorkRun, ID: r.ID}, q.timeout(ctx, r),
		func(p envbackup.Progress) (bool, bool, error) { return q.store.SaveRunProgress(ctx, r.ID, r.JobID, p) },
		func() (bool, bool, error) { return q.store.RunControl(ctx, r.ID, r.JobID) },
		func(ctx context.Context, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
			return q.executor.ExecuteRun(ctx, r, progress)
		})
	res := result{outcome: outcome, err: err, at: time.Now()}

	var ended envbackup.Run
	err = q.persist(ctx, func(tx *store.Tx) error {
		ended = envbackup.Run{}
		if err := tx.LockEnvironment(ctx, r.Environment); err != nil {
			return err
		}
		current, err := tx.Run(ctx, r.ID)
		if err != nil {
			return err
		}
		if current.JobID != r.JobID || current.State != envbackup.RunRunning {
			return nil // fenced: another attempt owns the run
		}
		if err := q.endAttempt(ctx, tx, &current, res); err != nil {
			return err
		}
		if err := q.orderVerifications(ctx, tx, current, res.at); err != nil {
			return err
		}
		ended = current
		return q.completeJob(ctx, tx, job)
	})
	switch {
	case err != nil:
		return fmt.Errorf("record end of run %s: %w", r.ID, err)
	case ended.ID == "":
		log.WarnContext(ctx, "run was taken over; its result is dropped")
	case ended.Failure != nil:
		attributes := []any{"state", ended.State, "code", ended.Failure.Code, "failure", ended.Failure.Message, "took", time.Since(began)}
		if !ended.State.Final() {
			attributes = append(attributes, "next_attempt", ended.NextAttemptAt)
		}
		log.WarnContext(ctx, "run ended", attributes...)
	default:
		log.InfoContext(ctx, "run ended", "state", ended.State, "took", time.Since(began))
	}
	return q.wakeVerifications(ctx)
}

// timeout is that of one attempt (S5).
func (q *Queue) timeout(ctx context.Context, r envbackup.Run) time.Duration {
	s, err := q.store.Schedule(ctx, r.ScheduleID)
	if err != nil {
		return slots.DefaultTimeout
	}
	timing, err := slots.Of(s)
	if err != nil {
		return slots.DefaultTimeout
	}
	return timing.Timeout
}

// executeRestore does a claimed restore and records how it ended. A restore
// is never tried again by itself: its target is a person's.
func (q *Queue) executeRestore(ctx context.Context, r envbackup.Restore, job *river.Job[jobArgs]) error {
	log := q.cfg.Log.With("restore", r.ID, "environment", r.Environment, "target", r.Target)
	log.InfoContext(ctx, "restore started")
	var last envbackup.Progress
	outcome, err := q.execute(ctx, store.Work{Kind: store.WorkRestore, ID: r.ID}, lastResort,
		func(p envbackup.Progress) (bool, bool, error) {
			last = p
			return q.store.SaveRestoreProgress(ctx, r.ID, r.JobID, p)
		},
		func() (bool, bool, error) { return q.store.RestoreControl(ctx, r.ID, r.JobID) },
		func(ctx context.Context, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
			return q.executor.ExecuteRestore(ctx, r, progress)
		})
	res := result{outcome: outcome, err: err, at: time.Now(), progress: last}

	var ended envbackup.Restore
	err = q.persist(ctx, func(tx *store.Tx) error {
		ended = envbackup.Restore{}
		if err := tx.LockEnvironment(ctx, r.Environment); err != nil {
			return err
		}
		current, err := tx.Restore(ctx, r.ID)
		if err != nil {
			return err
		}
		if current.JobID != r.JobID || current.State != envbackup.RunRunning {
			return nil
		}
		if err := q.endRestore(ctx, tx, &current, res); err != nil {
			return err
		}
		ended = current
		return q.completeJob(ctx, tx, job)
	})
	if err != nil {
		return fmt.Errorf("record end of restore %s: %w", r.ID, err)
	}
	log.InfoContext(ctx, "restore ended", "state", ended.State)
	return q.wakeVerifications(ctx)
}

// execute runs fn with a context that ends at the timeout, when the work is
// cancelled or fenced, and when the queue cancels everything. A failure that
// came from the context's end is the end's cause.
func (q *Queue) execute(ctx context.Context, w store.Work, timeout time.Duration,
	save func(envbackup.Progress) (mine, cancel bool, err error), control func() (mine, cancel bool, err error),
	fn func(ctx context.Context, progress func(envbackup.Progress)) (envbackup.Outcome, error),
) (outcome envbackup.Outcome, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, timeout, &envbackup.Error{
		Code: envbackup.CodeTimedOut, Message: fmt.Sprintf("timed out after %s", timeout),
		Hint: "raise the schedule's timeout, or look at what was slow",
	})
	defer stop()
	q.register(w, cancel)
	defer q.unregister(w)

	f := &follower{queue: q, save: save, control: control, cancel: cancel, done: make(chan struct{})}
	var following sync.WaitGroup
	following.Go(f.run)
	defer following.Wait()
	defer close(f.done)

	defer func() {
		if p := recover(); p != nil {
			q.cfg.Log.ErrorContext(ctx, "executor panicked", "work", w.ID, "panic", p, "stack", string(debug.Stack()))
			outcome, err = envbackup.Outcome{}, fmt.Errorf("the executor panicked: %v", p)
		}
	}()
	outcome, err = fn(ctx, f.report)
	var cause *envbackup.Error
	if err != nil && ctx.Err() != nil && errors.As(context.Cause(ctx), &cause) {
		err = cause
	}
	return outcome, err
}

// follower writes progress at most once in progressEvery and looks whether the
// work is still ours and still wanted.
type follower struct {
	queue   *Queue
	save    func(envbackup.Progress) (mine, cancel bool, err error)
	control func() (mine, cancel bool, err error)
	cancel  context.CancelCauseFunc
	done    chan struct{}

	mu      sync.Mutex
	latest  envbackup.Progress
	pending bool
}

func (f *follower) report(p envbackup.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.latest, f.pending = p, true
}

func (f *follower) run() {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	for {
		f.pass()
		select {
		case <-f.done:
			return
		case <-ticker.C:
		}
	}
}

// pass writes what is new. A database that does not answer is no reason to
// stop a backup; the heartbeat decides about that.
func (f *follower) pass() {
	f.mu.Lock()
	latest, pending := f.latest, f.pending
	f.pending = false
	f.mu.Unlock()

	var mine, cancel bool
	var err error
	if pending {
		mine, cancel, err = f.save(latest)
		f.queue.announce()
	} else {
		mine, cancel, err = f.control()
	}
	switch {
	case err != nil:
		f.queue.cfg.Log.Warn("progress not written", "error", err)
	case !mine:
		f.cancel(errFenced)
	case cancel:
		f.cancel(errCancelled)
	}
}

// persist runs fn in a transaction until the database takes it: a finished
// backup must not be forgotten because the database was away for a moment.
func (q *Queue) persist(ctx context.Context, fn func(*store.Tx) error) error {
	const tries = 60
	wait := 100 * time.Millisecond
	for try := 1; ; try++ {
		err := q.store.Tx(ctx, fn)
		if err == nil || try == tries || envbackup.CodeOf(err) != envbackup.CodeInternal {
			return err
		}
		q.cfg.Log.WarnContext(ctx, "state not written, trying again", "error", err, "try", try)
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		wait = min(2*wait, 5*time.Second)
	}
}
