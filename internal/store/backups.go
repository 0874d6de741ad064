package store

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const backupColumns = `SELECT id, snapshot_id, run_id, schedule_id, schedule, environment_id, environment, destination_id, destination,
	trigger_kind, status, nominal, started_at, completed_at, size, added, files, verified_at, held, hold_reason, missing,
	removal_marked_at, locked_until, acknowledged_at FROM backups`

func scanBackup(row scanner) (envbackup.Backup, error) {
	var b envbackup.Backup
	err := row.Scan(&b.ID, &b.SnapshotID, &b.RunID, &b.ScheduleID, &b.Schedule, &b.EnvironmentID, &b.Environment,
		&b.DestinationID, &b.Destination, &b.Trigger, &b.Status, at(&b.Nominal), at(&b.StartedAt), at(&b.CompletedAt),
		&b.Size, &b.Added, &b.Files, at(&b.VerifiedAt), &b.Held, &b.HoldReason, into(&b.Missing), at(&b.RemovalMarkedAt),
		at(&b.LockedUntil), at(&b.AcknowledgedAt))
	return b, err
}

// BackupFilter selects backups; empty fields select all. Environment,
// Schedule and Destination are names, or ENVIRONMENT/NAME for a schedule.
// Since and Until are about the nominal time, Since included.
type BackupFilter = envbackup.BackupFilter

func backupFilter(bf envbackup.BackupFilter) filter {
	var f filter
	if !bf.IncludeRemoved {
		f.add("removed_at = 0")
	}
	if bf.Environment != "" {
		f.add("environment = ?", bf.Environment)
	}
	if environment, name, ok := cutReference(bf.Schedule); ok {
		f.add("environment = ? AND schedule = ?", environment, name)
	} else if bf.Schedule != "" {
		f.add("schedule = ?", bf.Schedule)
	}
	if bf.ScheduleID != "" {
		f.add("schedule_id = ?", bf.ScheduleID)
	}
	if bf.Destination != "" {
		f.add("destination = ?", bf.Destination)
	}
	if bf.Status != "" {
		f.add("status = ?", string(bf.Status))
	}
	if bf.Verified != nil {
		f.add("(verified_at <> 0) = ?", *bf.Verified)
	}
	if bf.Trigger != "" {
		f.add("trigger_kind = ?", string(bf.Trigger))
	}
	if !bf.Since.IsZero() {
		f.add("nominal >= ?", micros(bf.Since))
	}
	if !bf.Until.IsZero() {
		f.add("nominal < ?", micros(bf.Until))
	}
	return f
}

// AddBackup records a backup. It may be called again for the same snapshot at
// the same destination, as after a crash between the snapshot and the record:
// then b becomes what is stored. A backup that was dropped is listed again:
// its snapshot has come back.
func (s *Store) AddBackup(ctx context.Context, b *envbackup.Backup) error {
	return s.Tx(ctx, func(tx *Tx) error { return tx.AddBackup(ctx, b) })
}

// AddBackup is Store.AddBackup within the transaction.
func (tx *Tx) AddBackup(ctx context.Context, b *envbackup.Backup) error {
	_, err := tx.tx.ExecContext(ctx, `INSERT INTO backups (id, snapshot_id, run_id, schedule_id, schedule, environment_id, environment,
			destination_id, destination, trigger_kind, status, nominal, started_at, completed_at, size, added, files, verified_at,
			held, hold_reason, missing, removal_marked_at, removal_begun_at, removed_at, locked_until)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 0, 0, 0, $22)
		ON CONFLICT (destination_id, snapshot_id) DO UPDATE SET removed_at = 0, removal_marked_at = 0, removal_begun_at = 0
			WHERE backups.removed_at <> 0`,
		newID(prefixBackup), b.SnapshotID, b.RunID, b.ScheduleID, b.Schedule, b.EnvironmentID, b.Environment,
		b.DestinationID, b.Destination, string(b.Trigger), string(b.Status), micros(b.Nominal), micros(b.StartedAt), micros(b.CompletedAt),
		b.Size, b.Added, b.Files, micros(b.VerifiedAt), b.Held, b.HoldReason, doc(b.Missing), micros(b.LockedUntil))
	if err != nil {
		return translate(err, "add", "backup", b.SnapshotID)
	}
	stored, err := scanBackup(tx.tx.QueryRowContext(ctx, backupColumns+` WHERE destination_id = $1 AND snapshot_id = $2`, b.DestinationID, b.SnapshotID))
	if err != nil {
		return translate(err, "read", "backup", b.SnapshotID)
	}
	*b = stored
	return nil
}

// Backup returns the backup with this id, or whose snapshot id begins with
// it. CodeConflict: several do.
func (s *Store) Backup(ctx context.Context, idOrSnapshot string) (envbackup.Backup, error) {
	b, err := scanBackup(s.read.QueryRowContext(ctx, backupColumns+` WHERE id = $1`, idOrSnapshot))
	err = translate(err, "read", "backup", idOrSnapshot)
	if err == nil || envbackup.CodeOf(err) != envbackup.CodeNotFound || !isHex(idOrSnapshot) {
		return b, err
	}
	found, listErr := all(ctx, s.read, backupColumns+` WHERE snapshot_id >= $1 AND snapshot_id < $2 AND removed_at = 0 ORDER BY nominal DESC LIMIT 3`,
		[]any{idOrSnapshot, idOrSnapshot + "g"}, scanBackup)
	switch {
	case listErr != nil:
		return envbackup.Backup{}, fmt.Errorf("read backup %q: %w", idOrSnapshot, listErr)
	case len(found) == 0:
		return envbackup.Backup{}, err
	case len(found) > 1:
		return envbackup.Backup{}, &envbackup.Error{
			Code: envbackup.CodeConflict, Message: fmt.Sprintf("more than one backup begins with %q", idOrSnapshot),
			Hint: "write more of the snapshot id, or the backup's own id",
		}
	default:
		return found[0], nil
	}
}

// isHex reports whether s may begin a snapshot id.
func isHex(s string) bool { return s != "" && strings.Trim(s, "0123456789abcdef") == "" }

// Backups lists backups, newest nominal time first. total counts all that
// match.
func (s *Store) Backups(ctx context.Context, bf envbackup.BackupFilter, p envbackup.Page) (items []envbackup.Backup, next string, total int64, err error) {
	f := backupFilter(bf)
	items, next, err = page(ctx, s.read, backupColumns, f, order{columns: []string{"nominal", "id"}, types: "is", desc: true}, p, scanBackup,
		func(b envbackup.Backup) []any { return []any{micros(b.Nominal), b.ID} })
	if err != nil {
		return nil, "", 0, fmt.Errorf("list backups: %w", err)
	}
	if err := s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM backups`+f.clause(), f.args...).Scan(&total); err != nil {
		return nil, "", 0, fmt.Errorf("count backups: %w", err)
	}
	return items, next, total, nil
}

// AllBackups returns every backup of a schedule at a destination, both by id,
// newest first: what retention judges. "" is every destination.
func (s *Store) AllBackups(ctx context.Context, scheduleID, destinationID string) ([]envbackup.Backup, error) {
	f := backupFilter(BackupFilter{ScheduleID: scheduleID})
	if destinationID != "" {
		f.add("destination_id = ?", destinationID)
	}
	items, err := all(ctx, s.read, backupColumns+f.clause()+` ORDER BY nominal DESC, id DESC`, f.args, scanBackup)
	if err != nil {
		return nil, fmt.Errorf("list backups of schedule %s: %w", scheduleID, err)
	}
	return items, nil
}

// SnapshotIDs returns the snapshots of all backups that are listed in a
// repository and were made since it was, whatever their schedule, but for those
// whose removal has begun.
func (s *Store) SnapshotIDs(ctx context.Context, environmentID, destinationID string, since time.Time) ([]string, error) {
	ids, err := all(ctx, s.read, `SELECT snapshot_id FROM backups
		WHERE environment_id = $1 AND destination_id = $2 AND removed_at = 0 AND removal_begun_at = 0 AND completed_at >= $3`,
		[]any{environmentID, destinationID, micros(since)}, func(row scanner) (string, error) {
			var id string
			err := row.Scan(&id)
			return id, err
		})
	if err != nil {
		return nil, fmt.Errorf("list snapshots of repository %s/%s: %w", destinationID, environmentID, err)
	}
	return ids, nil
}

// LastGood returns the newest complete backup of a schedule, whatever
// triggered it.
func (s *Store) LastGood(ctx context.Context, scheduleID string) (envbackup.Backup, error) {
	return lastGood(ctx, s.read, scheduleID)
}

// LastGood is Store.LastGood within the transaction.
func (tx *Tx) LastGood(ctx context.Context, scheduleID string) (envbackup.Backup, error) {
	return lastGood(ctx, tx.tx, scheduleID)
}

func lastGood(ctx context.Context, q querier, scheduleID string) (envbackup.Backup, error) {
	b, err := scanBackup(q.QueryRowContext(ctx, backupColumns+` WHERE schedule_id = $1 AND status = 'complete' AND removed_at = 0
		ORDER BY nominal DESC, id DESC LIMIT 1`, scheduleID))
	return b, translate(err, "read", "last good backup of schedule", scheduleID)
}

// RecentSizes returns the sizes of a schedule's last n candidates, newest
// first, removed ones included (R9). A run counts once, however many
// destinations it had, and exceptRun, which is being judged, not at all. What
// is older than the last suspect backup that a person acknowledged does not
// count either.
func (s *Store) RecentSizes(ctx context.Context, scheduleID, exceptRun string, n int) ([]int64, error) {
	// Grouping a ledger of years would cost each run more than its backup, so
	// only its end is: a run leaves one row for each destination.
	const destinations = 64
	sizes, err := all(ctx, s.read, `SELECT MAX(size) FROM (
			SELECT nominal, run_id, size FROM backups
			WHERE schedule_id = $1 AND run_id <> $2 AND status = 'complete' AND trigger_kind IN ('schedule', 'catch_up', 'create')
				AND nominal >= COALESCE((SELECT MAX(nominal) FROM backups WHERE schedule_id = $1 AND acknowledged_at <> 0), 0)
			ORDER BY nominal DESC, id DESC LIMIT $3) AS recent
		GROUP BY nominal, run_id ORDER BY nominal DESC LIMIT $4`, []any{scheduleID, exceptRun, n * destinations, n}, func(row scanner) (int64, error) {
		var size int64
		err := row.Scan(&size)
		return size, err
	})
	if err != nil {
		return nil, fmt.Errorf("list recent sizes of schedule %s: %w", scheduleID, err)
	}
	return sizes, nil
}
