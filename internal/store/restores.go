package store

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const restoreColumns = `SELECT id, backup_id, environment, worker, target, include, overwrite, state, job_id, node, cancel_requested,
	failure, progress, files_done, bytes_done, created_at, started_at, finished_at FROM restores`

func scanRestore(row scanner) (envbackup.Restore, error) {
	var r envbackup.Restore
	err := row.Scan(&r.ID, &r.BackupID, &r.Environment, &r.Worker, &r.Target, into(&r.Include), &r.Overwrite, &r.State, &r.JobID,
		&r.Node, &r.CancelRequested, into(&r.Failure), into(&r.Progress), &r.FilesDone, &r.BytesDone,
		at(&r.CreatedAt), at(&r.StartedAt), at(&r.FinishedAt))
	return r, err
}

// RestoreFilter selects restores; empty fields select all. Environment is a
// name.
type RestoreFilter = envbackup.RestoreFilter

// Restore returns a restore.
func (s *Store) Restore(ctx context.Context, id string) (envbackup.Restore, error) {
	r, err := scanRestore(s.read.QueryRowContext(ctx, restoreColumns+` WHERE id = $1`, id))
	return r, translate(err, "read", "restore", id)
}

// Restore is Store.Restore, and holds the row until the transaction ends.
func (tx *Tx) Restore(ctx context.Context, id string) (envbackup.Restore, error) {
	r, err := scanRestore(tx.tx.QueryRowContext(ctx, restoreColumns+` WHERE id = $1`+tx.dialect.forUpdate(), id))
	return r, translate(err, "read", "restore", id)
}

// Restores lists restores, newest first.
func (s *Store) Restores(ctx context.Context, rf envbackup.RestoreFilter, p envbackup.Page) ([]envbackup.Restore, string, error) {
	var f filter
	if rf.Environment != "" {
		f.add("environment = ?", rf.Environment)
	}
	in(&f, "state", rf.States)
	items, next, err := page(ctx, s.read, restoreColumns, f, order{columns: []string{"created_at", "id"}, types: "is", desc: true}, p, scanRestore,
		func(r envbackup.Restore) []any { return []any{micros(r.CreatedAt), r.ID} })
	if err != nil {
		return nil, "", fmt.Errorf("list restores: %w", err)
	}
	return items, next, nil
}

// InsertRestore adds a restore. It fills an empty ID and a zero CreatedAt.
func (tx *Tx) InsertRestore(ctx context.Context, r *envbackup.Restore) error {
	if r.ID == "" {
		r.ID = newID(prefixRestore)
	}
	if r.CreatedAt.IsZero() {
		r.CreatedAt = now()
	}
	_, err := tx.tx.ExecContext(ctx, `INSERT INTO restores (id, backup_id, environment, worker, target, include, overwrite, state, job_id,
			node, cancel_requested, failure, progress, files_done, bytes_done, created_at, started_at, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)`,
		r.ID, r.BackupID, r.Environment, r.Worker, r.Target, doc(r.Include), r.Overwrite, string(r.State), r.JobID,
		r.Node, r.CancelRequested, doc(r.Failure), doc(r.Progress), r.FilesDone, r.BytesDone,
		micros(r.CreatedAt), micros(r.StartedAt), micros(r.FinishedAt))
	return translate(err, "insert", "restore", r.ID)
}

// SaveRestore writes what changes about a restore, if its job is still fence;
// see SaveRun.
func (tx *Tx) SaveRestore(ctx context.Context, r envbackup.Restore, fence int64) (bool, error) {
	ok, err := affected(tx.tx.ExecContext(ctx, `UPDATE restores SET state = $3, job_id = $4, node = $5, cancel_requested = $6, failure = $7,
			progress = $8, files_done = $9, bytes_done = $10, started_at = $11, finished_at = $12
		WHERE id = $1 AND job_id = $2`,
		r.ID, fence, string(r.State), r.JobID, r.Node, r.CancelRequested, doc(r.Failure),
		doc(r.Progress), r.FilesDone, r.BytesDone, micros(r.StartedAt), micros(r.FinishedAt)))
	return ok, translate(err, "save", "restore", r.ID)
}

// SaveRestoreProgress is SaveRunProgress for a restore.
func (s *Store) SaveRestoreProgress(ctx context.Context, id string, fence int64, p envbackup.Progress) (mine, cancel bool, err error) {
	return saveProgress(ctx, s.db, "restores", id, fence, p)
}

// RestoreControl is RunControl for a restore.
func (s *Store) RestoreControl(ctx context.Context, id string, fence int64) (mine, cancel bool, err error) {
	return control(ctx, s.read, "restores", id, fence)
}

// RequestCancelRestore marks a restore that has not ended.
func (tx *Tx) RequestCancelRestore(ctx context.Context, id string) error {
	_, err := tx.tx.ExecContext(ctx, `UPDATE restores SET cancel_requested = TRUE WHERE id = $1 AND state IN ('queued', 'running')`, id)
	return translate(err, "cancel", "restore", id)
}
