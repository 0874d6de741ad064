package store

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const verificationColumns = `SELECT id, backup_id, schedule_id, schedule, environment, destination_id, destination, worker, level, trigger_kind,
	state, max_duration, spent, attempt, lost, job_id, node, cancel_requested, yield_requested, failure, problems, progress,
	files_done, bytes_done, created_at, started_at, finished_at FROM verifications`

func scanVerification(row scanner) (envbackup.Verification, error) {
	var v envbackup.Verification
	var most, spent int64
	err := row.Scan(&v.ID, &v.BackupID, &v.ScheduleID, &v.Schedule, &v.Environment, &v.DestinationID, &v.Destination, &v.Worker, &v.Level, &v.Trigger,
		&v.State, &most, &spent, &v.Attempt, &v.Lost, &v.JobID, &v.Node, &v.CancelRequested, &v.Yield, into(&v.Failure), into(&v.Problems), into(&v.Progress),
		&v.FilesDone, &v.BytesDone, at(&v.CreatedAt), at(&v.StartedAt), at(&v.FinishedAt))
	v.MaxDuration, v.Spent = time.Duration(most)*time.Microsecond, time.Duration(spent)*time.Microsecond
	return v, err
}

// VerificationFilter selects verifications; empty fields select all.
// Environment is a name.
type VerificationFilter = envbackup.VerificationFilter

// Verification returns a verification.
func (s *Store) Verification(ctx context.Context, id string) (envbackup.Verification, error) {
	v, err := scanVerification(s.read.QueryRowContext(ctx, verificationColumns+` WHERE id = $1`, id))
	return v, translate(err, "read", "verification", id)
}

// Verification is Store.Verification, and holds the row until the transaction
// ends.
func (tx *Tx) Verification(ctx context.Context, id string) (envbackup.Verification, error) {
	v, err := scanVerification(tx.tx.QueryRowContext(ctx, verificationColumns+` WHERE id = $1`+tx.dialect.forUpdate(), id))
	return v, translate(err, "read", "verification", id)
}

// Verifications lists verifications, newest first.
func (s *Store) Verifications(ctx context.Context, vf envbackup.VerificationFilter, p envbackup.Page) ([]envbackup.Verification, string, error) {
	var f filter
	if vf.Environment != "" {
		f.add("environment = ?", vf.Environment)
	}
	if vf.BackupID != "" {
		f.add("backup_id = ?", vf.BackupID)
	}
	if vf.ScheduleID != "" {
		f.add("schedule_id = ?", vf.ScheduleID)
	}
	in(&f, "state", vf.States)
	items, next, err := page(ctx, s.read, verificationColumns, f, order{columns: []string{"created_at", "id"}, types: "is", desc: true}, p, scanVerification,
		func(v envbackup.Verification) []any { return []any{micros(v.CreatedAt), v.ID} })
	if err != nil {
		return nil, "", fmt.Errorf("list verifications: %w", err)
	}
	return items, next, nil
}

// OpenVerifications returns the verifications of a backup that have not ended,
// oldest first.
func (tx *Tx) OpenVerifications(ctx context.Context, backupID string) ([]envbackup.Verification, error) {
	return tx.openVerifications(ctx, "backup_id = $1", backupID)
}

// OpenVerificationsAt returns those of a schedule's backups at a destination,
// both by id, that have not ended, oldest first.
func (tx *Tx) OpenVerificationsAt(ctx context.Context, scheduleID, destinationID string) ([]envbackup.Verification, error) {
	return tx.openVerifications(ctx, "schedule_id = $1 AND destination_id = $2", scheduleID, destinationID)
}

func (tx *Tx) openVerifications(ctx context.Context, where string, args ...any) ([]envbackup.Verification, error) {
	found, err := all(ctx, tx.tx, verificationColumns+` WHERE state IN ('queued', 'running') AND `+where+` ORDER BY created_at, id`+tx.dialect.forUpdate(),
		args, scanVerification)
	if err != nil {
		return nil, fmt.Errorf("list open verifications: %w", err)
	}
	return found, nil
}

// LastOrdered returns the newest verification that a schedule asked for at a
// destination, both by id; false for none.
func (tx *Tx) LastOrdered(ctx context.Context, scheduleID, destinationID string) (envbackup.Verification, bool, error) {
	found, err := all(ctx, tx.tx, verificationColumns+` WHERE schedule_id = $1 AND destination_id = $2 AND trigger_kind = 'schedule'
		ORDER BY created_at DESC, id DESC LIMIT 1`, []any{scheduleID, destinationID}, scanVerification)
	if err != nil || len(found) == 0 {
		return envbackup.Verification{}, false, translate(err, "read", "last verification of schedule", scheduleID)
	}
	return found[0], true, nil
}

// InsertVerification adds a verification. It fills an empty ID and a zero
// CreatedAt.
func (tx *Tx) InsertVerification(ctx context.Context, v *envbackup.Verification) error {
	if v.ID == "" {
		v.ID = newID(prefixVerification)
	}
	if v.CreatedAt.IsZero() {
		v.CreatedAt = now()
	}
	_, err := tx.tx.ExecContext(ctx, `INSERT INTO verifications (id, backup_id, schedule_id, schedule, environment, destination_id, destination, worker,
			level, trigger_kind, state, max_duration, spent, attempt, lost, job_id, node, cancel_requested, yield_requested, failure, problems,
			progress, files_done, bytes_done, created_at, started_at, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27)`,
		v.ID, v.BackupID, v.ScheduleID, v.Schedule, v.Environment, v.DestinationID, v.Destination, v.Worker,
		string(v.Level), string(v.Trigger), string(v.State), v.MaxDuration.Microseconds(), v.Spent.Microseconds(), v.Attempt, v.Lost,
		v.JobID, v.Node, v.CancelRequested, v.Yield, doc(v.Failure), doc(v.Problems),
		doc(v.Progress), v.FilesDone, v.BytesDone, micros(v.CreatedAt), micros(v.StartedAt), micros(v.FinishedAt))
	return translate(err, "insert", "verification", v.ID)
}

// SaveVerification writes what changes about a verification, if its job is
// still fence; see SaveRun.
func (tx *Tx) SaveVerification(ctx context.Context, v envbackup.Verification, fence int64) (bool, error) {
	ok, err := affected(tx.tx.ExecContext(ctx, `UPDATE verifications SET state = $3, spent = $4, attempt = $5, lost = $6, job_id = $7, node = $8,
			cancel_requested = $9, yield_requested = $10, failure = $11, problems = $12, progress = $13, files_done = $14, bytes_done = $15,
			started_at = $16, finished_at = $17, backup_id = $18
		WHERE id = $1 AND job_id = $2`,
		v.ID, fence, string(v.State), v.Spent.Microseconds(), v.Attempt, v.Lost, v.JobID, v.Node,
		v.CancelRequested, v.Yield, doc(v.Failure), doc(v.Problems), doc(v.Progress), v.FilesDone, v.BytesDone,
		micros(v.StartedAt), micros(v.FinishedAt), v.BackupID))
	return ok, translate(err, "save", "verification", v.ID)
}

// SaveVerificationProgress is SaveRunProgress for a verification.
func (s *Store) SaveVerificationProgress(ctx context.Context, id string, fence int64, p envbackup.Progress) (mine, cancel bool, err error) {
	return saveProgress(ctx, s.db, "verifications", id, fence, p)
}

// VerificationControl is RunControl for a verification; yield asks it to make
// way.
func (s *Store) VerificationControl(ctx context.Context, id string, fence int64) (mine, cancel, yield bool, err error) {
	mine, cancel, err = control(ctx, s.read, "verifications", id, fence)
	if err != nil || !mine || cancel {
		return mine, cancel, false, err
	}
	v, err := s.Verification(ctx, id)
	return mine, false, v.Yield, err
}

// RequestCancelVerification marks a verification that has not ended.
func (tx *Tx) RequestCancelVerification(ctx context.Context, id string) error {
	_, err := tx.tx.ExecContext(ctx, `UPDATE verifications SET cancel_requested = TRUE WHERE id = $1 AND state IN ('queued', 'running')`, id)
	return translate(err, "cancel", "verification", id)
}

// AskToYield asks the verifications that execute in an environment to make
// way, and returns their ids.
func (tx *Tx) AskToYield(ctx context.Context, environment string) ([]string, error) {
	asked, err := all(ctx, tx.tx, `UPDATE verifications SET yield_requested = TRUE WHERE environment = $1 AND state = 'running' RETURNING id`,
		[]any{environment}, scanString)
	if err != nil {
		return nil, fmt.Errorf("ask verifications of environment %q to make way: %w", environment, err)
	}
	return asked, nil
}

// Verifying returns the verification that is executing in an environment, if
// there is one.
func (tx *Tx) Verifying(ctx context.Context, environment string) (Work, bool, error) {
	return one(all(ctx, tx.tx, `SELECT 'verification', id FROM verifications WHERE environment = $1 AND state = 'running' LIMIT 1`,
		[]any{environment}, scanWork))
}

// WaitingVerifications lists the verifications without a job that a worker may
// execute now, because nothing else does in their environment; those that
// people asked for first, then the ones that have waited longest.
func (tx *Tx) WaitingVerifications(ctx context.Context, worker string) ([]envbackup.Verification, error) {
	found, err := all(ctx, tx.tx, verificationColumns+` WHERE state = 'queued' AND job_id = 0 AND worker IN ('', $1)
			AND environment NOT IN (SELECT environment FROM runs WHERE state = 'running')
			AND environment NOT IN (SELECT environment FROM restores WHERE state = 'running')
			AND environment NOT IN (SELECT environment FROM verifications WHERE state = 'running')
		ORDER BY CASE trigger_kind WHEN 'manual' THEN 0 ELSE 1 END, created_at, id LIMIT 100`, []any{worker}, scanVerification)
	if err != nil {
		return nil, fmt.Errorf("list waiting verifications: %w", err)
	}
	return found, nil
}

// NewestComplete returns the newest complete backup of a schedule at a
// destination, both by id; with verified the newest that passed a
// verification.
func (tx *Tx) NewestComplete(ctx context.Context, scheduleID, destinationID string, verified bool) (envbackup.Backup, bool, error) {
	f := backupFilter(BackupFilter{ScheduleID: scheduleID, Status: envbackup.BackupComplete})
	f.add("destination_id = ?", destinationID)
	f.add("removal_marked_at = 0")
	if verified {
		f.add("verified_at <> 0")
	}
	found, err := all(ctx, tx.tx, backupColumns+f.clause()+` ORDER BY nominal DESC, id DESC LIMIT 1`, f.args, scanBackup)
	if err != nil || len(found) == 0 {
		return envbackup.Backup{}, false, translate(err, "read", "newest backup of schedule", scheduleID)
	}
	return found[0], true, nil
}

// IsGone reports whether a backup has been removed, or its removal has begun.
func (tx *Tx) IsGone(ctx context.Context, backupID string) (bool, error) {
	r, err := tx.removal(ctx, backupID)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return true, nil
	}
	return r.begun, err
}

// ScheduleProof returns what verifications say about a schedule's backups.
func (s *Store) ScheduleProof(ctx context.Context, scheduleID string) (envbackup.ScheduleProof, error) {
	proofs, err := s.scheduleProofs(ctx, " AND d.schedule_id = $1", scheduleID)
	if err != nil {
		return envbackup.ScheduleProof{}, err
	}
	p := proofs[scheduleID]
	last, err := all(ctx, s.read, verificationColumns+` WHERE schedule_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1`, []any{scheduleID}, scanVerification)
	if err != nil {
		return p, fmt.Errorf("read last verification of schedule %s: %w", scheduleID, err)
	}
	if len(last) > 0 {
		p.Last = &last[0]
	}
	return p, nil
}

// ScheduleProofs is ScheduleProof for all schedules, by id, without Last. A
// schedule of which there is nothing to say is not among them.
func (s *Store) ScheduleProofs(ctx context.Context) (map[string]envbackup.ScheduleProof, error) {
	return s.scheduleProofs(ctx, "")
}

// scheduleProofs takes two questions for however many schedules: a plan lists
// thousands.
func (s *Store) scheduleProofs(ctx context.Context, where string, args ...any) (map[string]envbackup.ScheduleProof, error) {
	type verified struct {
		schedule string
		at       time.Time
	}
	times, err := all(ctx, s.read, `SELECT d.schedule_id, MAX(d.verified_at) FROM backups d
		WHERE d.verified_at <> 0 AND d.removed_at = 0`+where+` GROUP BY d.schedule_id`, args, func(row scanner) (verified, error) {
		var v verified
		err := row.Scan(&v.schedule, at(&v.at))
		return v, err
	})
	if err != nil {
		return nil, fmt.Errorf("read when schedules were verified: %w", err)
	}
	damaged, err := all(ctx, s.read, backupColumns+` d WHERE d.status = 'damaged' AND d.removed_at = 0`+where+`
			AND NOT EXISTS (SELECT 1 FROM backups v WHERE v.schedule_id = d.schedule_id AND v.destination_id = d.destination_id
				AND v.verified_at <> 0 AND v.removed_at = 0 AND v.nominal > d.nominal)
		ORDER BY d.nominal, d.id`, args, scanBackup)
	if err != nil {
		return nil, fmt.Errorf("read damaged backups: %w", err)
	}
	proofs := make(map[string]envbackup.ScheduleProof, len(times))
	for _, v := range times {
		proofs[v.schedule] = envbackup.ScheduleProof{VerifiedAt: v.at}
	}
	for i, b := range damaged { // the newest comes last
		p := proofs[b.ScheduleID]
		p.Damaged = &damaged[i]
		proofs[b.ScheduleID] = p
	}
	return proofs, nil
}

// BackupsInUse returns the ids of the backups that a restore or verification
// is reading now, on whichever worker.
func (s *Store) BackupsInUse(ctx context.Context) (map[string]bool, error) {
	found, err := all(ctx, s.read, `SELECT backup_id FROM restores WHERE state = 'running'
		UNION SELECT backup_id FROM verifications WHERE state = 'running' OR (state = 'queued' AND attempt > 0)`, nil, scanString)
	if err != nil {
		return nil, fmt.Errorf("list backups in use: %w", err)
	}
	used := make(map[string]bool, len(found))
	for _, id := range found {
		used[id] = true
	}
	return used, nil
}
