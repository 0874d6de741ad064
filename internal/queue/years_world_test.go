package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/scheduler"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// world is a daemon whose clock is a bubble's: scheduler, queue, runner,
// archiver, repository and store are the real ones, the repositories lie in
// memory. Two things are left out because they would wake up every second of
// the simulated years: the library that fetches jobs, for which work takes
// them from its table and calls what it would call, and the loops that call
// Scheduler.Tick, Queue.Sweep and Runner.Tick, which live calls when there is
// something for them to see.
type world struct {
	t         *testing.T
	ctx       context.Context
	random    *rand.Rand
	store     *store.Store
	vault     *memVault
	queue     *Queue
	scheduler *scheduler.Service
	runner    *runner.Runner
	source    string
	// trouble is what goes wrong; nil for nothing.
	trouble *trouble

	plans    []*plan
	actions  []action // ordered
	ticked   time.Time
	nextHour time.Time
	// hourly is set when something happens between runs: max_age.
	hourly bool
	// waits is the instant until which a list waits for R4's grace, which is
	// counted in ticks of a minute.
	waits time.Time
	// looks asks for a check although nothing ran.
	looks bool
	// worked counts attempts.
	worked int
	// removed counts backups.
	removed int
}

// action is something that a person does at an instant.
type action struct {
	at time.Time
	do func(w *world)
}

// newWorld makes a world with one environment. It must be called in a bubble.
func newWorld(t *testing.T, random *rand.Rand, trouble *trouble) *world {
	t.Helper()
	w := &world{t: t, ctx: t.Context(), random: random, trouble: trouble}
	dir := memoryDir(t)
	w.source = filepath.Join(dir, "source")
	var err error
	if w.store, err = store.Open(w.ctx, filepath.Join(dir, "state.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	w.vault = &memVault{store: w.store, open: map[[2]string]*repository.Repository{}, trouble: trouble}
	t.Cleanup(w.vault.close)
	w.start()

	for i := range 4 {
		w.write(fmt.Sprintf("dir%d/steady.txt", i), strings.Repeat(fmt.Sprintf("line of file %d\n", i), 50))
	}
	w.change()
	e := envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: "shop", Files: map[string]envbackup.FilesSource{"app": {Path: w.source}},
	}}
	if err := w.store.CreateEnvironment(w.ctx, &e); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"near", "far"} {
		d := envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{Name: name, Local: &envbackup.LocalPlace{Path: "/" + name}}}
		if err := w.store.CreateDestination(w.ctx, &d); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// memoryDir is a directory whose files are no disk's, where the system has
// one: the state is flushed at every commit, thousands of times a second.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "envbackup-years-") //nolint:usetesting // not where temporary files are
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// start makes the daemon's parts over the state that is there, as a start of
// the daemon does.
func (w *world) start() {
	w.t.Helper()
	everything := func(string) error { return nil }
	c := runner.Config{AllowRead: everything, AllowRestore: everything, Worker: "db1", Hostname: "db1", Version: "test", Now: w.now}
	if w.trouble != nil {
		w.runner = runner.New(troubledStore{w.store, w.trouble}, w.vault, c)
	} else {
		w.runner = runner.New(w.store, w.vault, c)
	}
	q, err := New(w.store, w.runner, Config{Worker: "db1"})
	if err != nil {
		w.t.Fatal(err)
	}
	q.completeJob = deleteJob
	w.queue, w.scheduler = q, scheduler.New(w.store, q, scheduler.Config{Worker: "db1"})
}

// now is the host's clock, which need not be right.
func (w *world) now() time.Time {
	if w.trouble != nil {
		return time.Now().Add(w.trouble.ahead)
	}
	return time.Now()
}

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.source, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		w.t.Fatal(err)
	}
}

// change gives the source something new to back up.
func (w *world) change() { w.write("clock.txt", time.Now().UTC().Format(time.RFC3339Nano)) }

// tickEvery is the distance of the runner's ticks while it counts how long a
// list waits: the longest that counts as running time.
const tickEvery = 3 * time.Minute

// live lets time pass until an instant.
func (w *world) live(until time.Time) {
	w.t.Helper()
	for !w.t.Failed() {
		next, due := w.next(until)
		if due {
			// The daemon looks once a second.
			next = next.Add(time.Duration(w.random.Int64N(int64(time.Second))))
		}
		for tick := w.ticked.Add(tickEvery); tick.Before(w.waits) && tick.Before(next); tick = w.ticked.Add(tickEvery) {
			time.Sleep(time.Until(tick))
			w.tick(time.Now())
		}
		time.Sleep(time.Until(next))
		w.pass()
		if !due && !next.Before(until) {
			return
		}
	}
}

// next is the next instant at which something may happen, and whether that is
// a slot.
func (w *world) next(until time.Time) (at time.Time, due bool) {
	at = until
	if w.hourly && w.nextHour.Before(at) {
		at = w.nextHour
	}
	if len(w.actions) > 0 && w.actions[0].at.Before(at) {
		at = w.actions[0].at
	}
	for _, p := range w.plans {
		if s := w.schedule(p); s.DueAt.Before(at) {
			at, due = s.DueAt, true
		}
	}
	for _, r := range w.open() {
		if !r.NextAttemptAt.IsZero() && r.NextAttemptAt.Before(at) {
			at, due = r.NextAttemptAt, true
		}
	}
	if at.Before(time.Now()) {
		w.t.Fatalf("something was due at %s and is not decided at %s", at, time.Now())
	}
	return at, due
}

// pass does what is due now.
func (w *world) pass() {
	w.t.Helper()
	now := time.Now()
	w.tick(now)
	for len(w.actions) > 0 && !w.actions[0].at.After(now) {
		do := w.actions[0].do
		w.actions = w.actions[1:]
		do(w)
	}
	if err := w.scheduler.Tick(w.ctx, now); err != nil {
		w.t.Errorf("tick at %s: %v", now, err)
	}
	if len(w.open()) > 0 {
		if err := w.queue.Sweep(w.ctx, now); err != nil {
			w.t.Errorf("sweep at %s: %v", now, err)
		}
	}
	ran := w.work()
	if w.hourly && !now.Before(w.nextHour) {
		w.nextHour = now.Add(time.Hour)
		if err := w.runner.RemoveAged(w.ctx); err != nil {
			w.t.Errorf("remove aged at %s: %v", now, err)
		}
		ran = true
	}
	if ran || w.looks {
		w.looks = false
		w.check()
	}
}

// tick lets the runner know the time.
func (w *world) tick(now time.Time) {
	w.t.Helper()
	var elapsed time.Duration
	if !w.ticked.IsZero() {
		elapsed = now.Sub(w.ticked)
	}
	w.ticked = now
	if err := w.runner.Tick(w.ctx, now, elapsed); err != nil {
		w.t.Errorf("runner tick at %s: %v", now, err)
	}
}

// work executes every job that is there, one after another, and reports
// whether there was one.
func (w *world) work() bool {
	w.t.Helper()
	for some := false; ; some = true {
		job := w.fetch()
		if job == nil {
			return some
		}
		w.change()
		w.worked++
		work := func() {
			if err := w.queue.work(w.ctx, job); err != nil {
				w.t.Errorf("job of %s: %v", job.Args.ID, err)
			}
		}
		if w.trouble != nil {
			w.watch(false, work)
		} else {
			work()
		}
		w.tx(func(tx *store.Tx) error { return deleteJob(w.ctx, tx, job) }) // one that was not claimed is spent too
	}
}

// deleteJob does with a job that is done what the library does later.
func deleteJob(ctx context.Context, tx *store.Tx, job *river.Job[jobArgs]) error {
	_, err := tx.Raw().ExecContext(ctx, `DELETE FROM river_job WHERE id = $1`, job.ID)
	return err
}

// fetch takes the oldest job as the library does; nil when there is none.
func (w *world) fetch() *river.Job[jobArgs] {
	w.t.Helper()
	job := &river.Job[jobArgs]{JobRow: &rivertype.JobRow{Queue: queueName("db1"), State: rivertype.JobStateRunning, Attempt: 1}}
	w.tx(func(tx *store.Tx) error {
		err := tx.Raw().QueryRowContext(w.ctx, `UPDATE river_job SET state = 'running', attempt = 1, attempted_at = created_at
			WHERE id = (SELECT MIN(id) FROM river_job WHERE state = 'available')
			RETURNING id, args ->> 'work', args ->> 'id'`).Scan(&job.ID, &job.Args.Work, &job.Args.ID)
		if errors.Is(err, sql.ErrNoRows) {
			job = nil
			return nil
		}
		return err
	})
	return job
}

func (w *world) tx(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Tx(w.ctx, fn); err != nil {
		w.t.Fatal(err)
	}
}

// open lists the runs that have not ended.
func (w *world) open() []envbackup.Run {
	w.t.Helper()
	runs, _, err := w.store.Runs(w.ctx, envbackup.RunFilter{
		States: []envbackup.RunState{envbackup.RunQueued, envbackup.RunRunning},
	}, envbackup.Page{Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	return runs
}

func (w *world) schedule(p *plan) envbackup.Schedule {
	w.t.Helper()
	s, err := w.store.Schedule(w.ctx, p.sched.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// pages calls list until there is no next page.
func pages[T any](t *testing.T, list func(envbackup.Page) ([]T, string, error)) []T {
	t.Helper()
	var all []T
	for page := (envbackup.Page{Limit: 1000}); ; {
		items, next, err := list(page)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, items...)
		if page.Cursor = next; next == "" {
			return all
		}
	}
}

// memVault keeps repositories in memory.
type memVault struct {
	store   *store.Store
	open    map[[2]string]*repository.Repository
	trouble *trouble
}

func (v *memVault) Repository(ctx context.Context, environmentID, destinationID string) (*repository.Repository, error) {
	k := [2]string{environmentID, destinationID}
	if v.trouble != nil && v.trouble.unreachable != nil {
		return nil, v.trouble.unreachable
	}
	if repo := v.open[k]; repo != nil {
		return repo, nil
	}
	var be backend.Backend = mem.New()
	if v.trouble != nil {
		be = troubledBackend{be, v.trouble}
	}
	repo, err := repository.Init(ctx, be, secret.New("years"), repository.InitOptions{})
	if err != nil {
		return nil, err
	}
	v.open[k] = repo
	return repo, v.store.SaveRepository(ctx, &envbackup.Repository{
		EnvironmentID: environmentID, DestinationID: destinationID, RepositoryID: repo.ID(), Location: "mem", CreatedAt: time.Now().UTC(),
	})
}

// StoredAt says that the store's clock is this host's.
func (v *memVault) StoredAt(context.Context, string, string, string) (time.Time, error) {
	return time.Time{}, nil
}

func (v *memVault) close() {
	for _, repo := range v.open {
		_ = repo.Close()
	}
}
