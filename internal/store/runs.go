package store

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const runColumns = `SELECT id, schedule_id, schedule, environment_id, environment, worker, trigger_kind, nominal, due_at, start_by,
	state, attempt, next_attempt_at, job_id, node, executed_by, cancel_requested, created_at, started_at, finished_at,
	failure, destinations, progress, warnings FROM runs`

func scanRun(row scanner) (envbackup.Run, error) {
	var r envbackup.Run
	err := row.Scan(&r.ID, &r.ScheduleID, &r.Schedule, &r.EnvironmentID, &r.Environment, &r.Worker, &r.Trigger,
		at(&r.Nominal), at(&r.DueAt), at(&r.StartBy), &r.State, &r.Attempt, at(&r.NextAttemptAt), &r.JobID, &r.Node,
		&r.ExecutedBy, &r.CancelRequested, at(&r.CreatedAt), at(&r.StartedAt), at(&r.FinishedAt),
		into(&r.Failure), into(&r.Destinations), into(&r.Progress), into(&r.Warnings))
	return r, err
}

// RunFilter selects runs; empty fields select all. Schedule is an id or
// ENVIRONMENT/NAME, Environment a name. Since and Until are about the
// creation, Since included.
type RunFilter = envbackup.RunFilter

// Run returns a run.
func (s *Store) Run(ctx context.Context, id string) (envbackup.Run, error) {
	r, err := scanRun(s.read.QueryRowContext(ctx, runColumns+` WHERE id = $1`, id))
	return r, translate(err, "read", "run", id)
}

// Run is Store.Run, and holds the row until the transaction ends.
func (tx *Tx) Run(ctx context.Context, id string) (envbackup.Run, error) {
	r, err := scanRun(tx.tx.QueryRowContext(ctx, runColumns+` WHERE id = $1`+tx.dialect.forUpdate(), id))
	return r, translate(err, "read", "run", id)
}

// Runs lists runs, newest first.
func (s *Store) Runs(ctx context.Context, rf envbackup.RunFilter, p envbackup.Page) ([]envbackup.Run, string, error) {
	var f filter
	if environment, name, ok := cutReference(rf.Schedule); ok {
		f.add("environment = ? AND schedule = ?", environment, name)
	} else if rf.Schedule != "" {
		f.add("schedule_id = ?", rf.Schedule)
	}
	if rf.Environment != "" {
		f.add("environment = ?", rf.Environment)
	}
	in(&f, "state", rf.States)
	if !rf.Since.IsZero() {
		f.add("created_at >= ?", micros(rf.Since))
	}
	if !rf.Until.IsZero() {
		f.add("created_at < ?", micros(rf.Until))
	}
	items, next, err := page(ctx, s.read, runColumns, f, order{columns: []string{"created_at", "id"}, types: "is", desc: true}, p, scanRun,
		func(r envbackup.Run) []any { return []any{micros(r.CreatedAt), r.ID} })
	if err != nil {
		return nil, "", fmt.Errorf("list runs: %w", err)
	}
	return items, next, nil
}

// OpenRuns returns a schedule's runs that have not ended, oldest due first.
func (tx *Tx) OpenRuns(ctx context.Context, scheduleID string) ([]envbackup.Run, error) {
	runs, err := all(ctx, tx.tx, runColumns+` WHERE schedule_id = $1 AND state IN ('queued', 'running') ORDER BY due_at, id`+tx.dialect.forUpdate(),
		[]any{scheduleID}, scanRun)
	if err != nil {
		return nil, fmt.Errorf("list open runs of schedule %s: %w", scheduleID, err)
	}
	return runs, nil
}

// InsertRun adds a run. It fills an empty ID and a zero CreatedAt.
func (tx *Tx) InsertRun(ctx context.Context, r *envbackup.Run) error {
	if r.ID == "" {
		r.ID = NewRunID()
	}
	if r.CreatedAt.IsZero() {
		r.CreatedAt = now()
	}
	_, err := tx.tx.ExecContext(ctx, `INSERT INTO runs (id, schedule_id, schedule, environment_id, environment, worker, trigger_kind,
			nominal, due_at, start_by, state, attempt, next_attempt_at, job_id, node, executed_by, cancel_requested,
			created_at, started_at, finished_at, failure, destinations, progress, warnings)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)`,
		r.ID, r.ScheduleID, r.Schedule, r.EnvironmentID, r.Environment, r.Worker, string(r.Trigger),
		micros(r.Nominal), micros(r.DueAt), micros(r.StartBy), string(r.State), r.Attempt, micros(r.NextAttemptAt), r.JobID, r.Node,
		r.ExecutedBy, r.CancelRequested, micros(r.CreatedAt), micros(r.StartedAt), micros(r.FinishedAt),
		doc(r.Failure), doc(r.Destinations), doc(r.Progress), doc(r.Warnings))
	return translate(err, "insert", "run", r.ID)
}

// SaveRun writes what changes about a run, if its job is still fence: false
// means that another attempt owns it now and nothing was written (fencing).
func (tx *Tx) SaveRun(ctx context.Context, r envbackup.Run, fence int64) (bool, error) {
	ok, err := affected(tx.tx.ExecContext(ctx, `UPDATE runs SET state = $3, attempt = $4, next_attempt_at = $5, job_id = $6, node = $7,
			executed_by = $8, cancel_requested = $9, started_at = $10, finished_at = $11, failure = $12, destinations = $13,
			progress = $14, warnings = $15
		WHERE id = $1 AND job_id = $2`,
		r.ID, fence, string(r.State), r.Attempt, micros(r.NextAttemptAt), r.JobID, r.Node,
		r.ExecutedBy, r.CancelRequested, micros(r.StartedAt), micros(r.FinishedAt), doc(r.Failure), doc(r.Destinations),
		doc(r.Progress), doc(r.Warnings)))
	return ok, translate(err, "save", "run", r.ID)
}

// SaveRunProgress writes a run's progress if its job is still fence. mine is
// false when it is not; cancel reports that somebody asked to cancel it.
func (s *Store) SaveRunProgress(ctx context.Context, id string, fence int64, p envbackup.Progress) (mine, cancel bool, err error) {
	return saveProgress(ctx, s.db, "runs", id, fence, p)
}

// RunControl is SaveRunProgress without a progress: it only asks.
func (s *Store) RunControl(ctx context.Context, id string, fence int64) (mine, cancel bool, err error) {
	return control(ctx, s.read, "runs", id, fence)
}

// RequestCancelRun marks a run that has not ended; its worker sees the mark.
func (tx *Tx) RequestCancelRun(ctx context.Context, id string) error {
	_, err := tx.tx.ExecContext(ctx, `UPDATE runs SET cancel_requested = TRUE WHERE id = $1 AND state IN ('queued', 'running')`, id)
	return translate(err, "cancel", "run", id)
}

// Attempts lists a run's attempts in order.
func (s *Store) Attempts(ctx context.Context, runID string) ([]envbackup.Attempt, error) {
	return attempts(ctx, s.read, runID)
}

// Attempts is Store.Attempts within the transaction.
func (tx *Tx) Attempts(ctx context.Context, runID string) ([]envbackup.Attempt, error) {
	return attempts(ctx, tx.tx, runID)
}

func attempts(ctx context.Context, q querier, runID string) ([]envbackup.Attempt, error) {
	found, err := all(ctx, q, `SELECT run_id, number, worker, started_at, finished_at, failure FROM attempts WHERE run_id = $1 ORDER BY number`,
		[]any{runID}, func(row scanner) (envbackup.Attempt, error) {
			var a envbackup.Attempt
			err := row.Scan(&a.RunID, &a.Number, &a.Worker, at(&a.StartedAt), at(&a.FinishedAt), into(&a.Failure))
			return a, err
		})
	if err != nil {
		return nil, fmt.Errorf("list attempts of run %s: %w", runID, err)
	}
	return found, nil
}

// SaveAttempt adds an attempt or replaces it.
func (tx *Tx) SaveAttempt(ctx context.Context, a envbackup.Attempt) error {
	_, err := tx.tx.ExecContext(ctx, `INSERT INTO attempts (run_id, number, worker, started_at, finished_at, failure)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (run_id, number) DO UPDATE SET finished_at = excluded.finished_at, failure = excluded.failure`,
		a.RunID, a.Number, a.Worker, micros(a.StartedAt), micros(a.FinishedAt), doc(a.Failure))
	return translate(err, "save attempt of", "run", a.RunID)
}

// RunStates counts the runs that have not ended, by state: the queue's depth.
func (s *Store) RunStates(ctx context.Context) (map[envbackup.RunState]int64, error) {
	counts := map[envbackup.RunState]int64{envbackup.RunQueued: 0, envbackup.RunRunning: 0}
	type count struct {
		state envbackup.RunState
		n     int64
	}
	rows, err := all(ctx, s.read, `SELECT state, COUNT(*) FROM runs WHERE state IN ('queued', 'running') GROUP BY state`, nil,
		func(row scanner) (count, error) {
			var c count
			err := row.Scan(&c.state, &c.n)
			return c, err
		})
	if err != nil {
		return nil, fmt.Errorf("count runs: %w", err)
	}
	for _, c := range rows {
		counts[c.state] = c.n
	}
	return counts, nil
}
