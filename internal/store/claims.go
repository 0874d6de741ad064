package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Work names a run, a restore or a verification.
type Work struct {
	Kind WorkKind
	ID   string
}

// WorkKind says which table a Work is in.
type WorkKind string

// The kinds of work.
const (
	WorkRun     WorkKind = "run"
	WorkRestore WorkKind = "restore"
	WorkVerify  WorkKind = "verification"
)

// NewRunID makes the id of a run, for callers that need it before InsertRun.
func NewRunID() string { return newID(prefixRun) }

// cutReference splits ENVIRONMENT/NAME.
func cutReference(s string) (environment, name string, ok bool) { return strings.Cut(s, "/") }

func scanWork(row scanner) (Work, error) {
	var w Work
	err := row.Scan(&w.Kind, &w.ID)
	return w, err
}

func saveProgress(ctx context.Context, q querier, table, id string, fence int64, p envbackup.Progress) (mine, cancel bool, err error) {
	err = q.QueryRowContext(ctx, `UPDATE `+table+` SET progress = $3 WHERE id = $1 AND job_id = $2 AND state = 'running' RETURNING cancel_requested`,
		id, fence, doc(p)).Scan(&cancel)
	return controlled(cancel, err, id)
}

func control(ctx context.Context, q querier, table, id string, fence int64) (mine, cancel bool, err error) {
	err = q.QueryRowContext(ctx, `SELECT cancel_requested FROM `+table+` WHERE id = $1 AND job_id = $2 AND state = 'running'`, id, fence).Scan(&cancel)
	return controlled(cancel, err, id)
}

func controlled(cancel bool, err error, id string) (bool, bool, error) {
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, false, nil
	case err != nil:
		return false, false, fmt.Errorf("save progress of %s: %w", id, err)
	default:
		return true, cancel, nil
	}
}

// LockEnvironment makes transactions about the work of one environment, by
// name, take turns until they end.
func (tx *Tx) LockEnvironment(ctx context.Context, name string) error {
	if tx.dialect != postgres {
		return nil // the transaction holds the whole database
	}
	if _, err := tx.tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 8420))`, name); err != nil {
		return fmt.Errorf("lock environment %q: %w", name, err)
	}
	return nil
}

// Writer returns the run or restore that is executing in an environment, if
// there is one (S3).
func (tx *Tx) Writer(ctx context.Context, environment string) (Work, bool, error) {
	return one(all(ctx, tx.tx, `SELECT 'run', id FROM runs WHERE environment = $1 AND state = 'running'
		UNION ALL SELECT 'restore', id FROM restores WHERE environment = $1 AND state = 'running' LIMIT 1`, []any{environment}, scanWork))
}

// NextWaiting returns the work of an environment that is due longest and may
// be attempted at t, whether it has a job or not. worker limits it to what
// that worker or any may execute; "*" is every worker.
func (tx *Tx) NextWaiting(ctx context.Context, environment, worker string, t time.Time) (Work, bool, error) {
	return one(all(ctx, tx.tx, `SELECT kind, id FROM (
			SELECT 'run' AS kind, id, due_at AS due FROM runs
			WHERE environment = $1 AND state = 'queued' AND next_attempt_at <= $2 AND ($3 = '*' OR worker IN ('', $3))
			UNION ALL
			SELECT 'restore' AS kind, id, created_at AS due FROM restores
			WHERE environment = $1 AND state = 'queued' AND ($3 = '*' OR worker IN ('', $3))
		) AS waiting ORDER BY due, id LIMIT 1`, []any{environment, micros(t), worker}, scanWork))
}

// NextWithoutJob is NextWaiting among the work that has no job.
func (tx *Tx) NextWithoutJob(ctx context.Context, environment string, t time.Time) (Work, bool, error) {
	return one(all(ctx, tx.tx, `SELECT kind, id FROM (
			SELECT 'run' AS kind, id, due_at AS due FROM runs
			WHERE environment = $1 AND state = 'queued' AND next_attempt_at <= $2 AND job_id = 0
			UNION ALL
			SELECT 'restore' AS kind, id, created_at AS due FROM restores
			WHERE environment = $1 AND state = 'queued' AND job_id = 0
		) AS waiting ORDER BY due, id LIMIT 1`, []any{environment, micros(t)}, scanWork))
}

// WaitingEnvironments lists the environments that have work without a job
// which may be attempted at t while nothing executes there.
func (tx *Tx) WaitingEnvironments(ctx context.Context, t time.Time) ([]string, error) {
	found, err := all(ctx, tx.tx, `SELECT DISTINCT environment FROM (
			SELECT environment FROM runs WHERE state = 'queued' AND job_id = 0 AND next_attempt_at <= $1
			UNION ALL SELECT environment FROM restores WHERE state = 'queued' AND job_id = 0
		) AS waiting
		WHERE environment NOT IN (SELECT environment FROM runs WHERE state = 'running')
			AND environment NOT IN (SELECT environment FROM restores WHERE state = 'running')
		ORDER BY environment`, []any{micros(t)}, scanString)
	if err != nil {
		return nil, fmt.Errorf("list waiting environments: %w", err)
	}
	return found, nil
}

// OverdueRuns lists the runs that have not started and whose start deadline
// is before t (S4).
func (tx *Tx) OverdueRuns(ctx context.Context, t time.Time) ([]string, error) {
	found, err := all(ctx, tx.tx, `SELECT id FROM runs WHERE state = 'queued' AND attempt = 0 AND start_by <> 0 AND start_by < $1 ORDER BY id`,
		[]any{micros(t)}, scanString)
	if err != nil {
		return nil, fmt.Errorf("list overdue runs: %w", err)
	}
	return found, nil
}

// one turns a list of at most one item into the item.
func one(items []Work, err error) (Work, bool, error) {
	if err != nil {
		return Work{}, false, fmt.Errorf("find work: %w", err)
	}
	if len(items) == 0 {
		return Work{}, false, nil
	}
	return items[0], true, nil
}

// WorkWaits reports whether a run or restore of an environment, by name, is to
// be executed now, or is executing, besides the run exceptRun. A run that is
// not due yet, or whose next attempt is not, does not wait.
func (s *Store) WorkWaits(ctx context.Context, environment, exceptRun string, now time.Time) (bool, error) {
	var waits bool
	err := s.read.QueryRowContext(ctx, `SELECT EXISTS (
			SELECT 1 FROM runs WHERE environment = $1 AND state IN ('queued', 'running') AND id <> $2 AND due_at <= $3 AND next_attempt_at <= $3
			UNION ALL SELECT 1 FROM restores WHERE environment = $1 AND state IN ('queued', 'running'))`,
		environment, exceptRun, micros(now)).Scan(&waits)
	return waits, translate(err, "look for work of", "environment", environment)
}
