package store

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// MarkVerified records that a backup passed a verification at t.
func (s *Store) MarkVerified(ctx context.Context, id string, t time.Time) error {
	return s.changeBackup(ctx, id, `verified_at = $2`, micros(t))
}

// SetStatus changes a backup's status: to damaged when a check found it so,
// which takes back that it was ever verified, and to complete when an operator
// acknowledges a suspect one.
func (s *Store) SetStatus(ctx context.Context, id string, status envbackup.BackupStatus) error {
	set := `status = $2`
	if status == envbackup.BackupDamaged {
		set += `, verified_at = 0`
	}
	return s.changeBackup(ctx, id, set, string(status))
}

// Acknowledge makes a suspect backup good, on a person's word at t (R9).
// CodeConflict: it is not suspect.
func (s *Store) Acknowledge(ctx context.Context, id string, t time.Time) error {
	return s.Tx(ctx, func(tx *Tx) error {
		var status envbackup.BackupStatus
		err := tx.tx.QueryRowContext(ctx, `SELECT status FROM backups WHERE id = $1 AND removed_at = 0`+tx.dialect.forUpdate(), id).Scan(&status)
		if err != nil {
			return translate(err, "read", "backup", id)
		}
		if status != envbackup.BackupSuspect {
			return &envbackup.Error{
				Code: envbackup.CodeConflict, Message: fmt.Sprintf("backup %q is %s, not suspect", id, status),
				Hint: "only a suspect backup needs a person's word; list them with: envbackup backups list --status suspect",
			}
		}
		_, err = tx.tx.ExecContext(ctx, `UPDATE backups SET status = 'complete', acknowledged_at = $2 WHERE id = $1`, id, micros(t))
		return translate(err, "acknowledge", "backup", id)
	})
}

// SetLocks records until when the object store retains backups (R8).
func (s *Store) SetLocks(ctx context.Context, until map[string]time.Time) error {
	return s.Tx(ctx, func(tx *Tx) error {
		for id, t := range until {
			if _, err := tx.tx.ExecContext(ctx, `UPDATE backups SET locked_until = $2 WHERE id = $1`, id, micros(t)); err != nil {
				return translate(err, "record lock of", "backup", id)
			}
		}
		return nil
	})
}

// Release ends a hold.
func (s *Store) Release(ctx context.Context, id string) error {
	return s.changeBackup(ctx, id, `held = FALSE, hold_reason = $2`, "")
}

func (s *Store) changeBackup(ctx context.Context, id, set string, value any) error {
	ok, err := affected(s.db.ExecContext(ctx, `UPDATE backups SET `+set+` WHERE id = $1 AND removed_at = 0`, id, value))
	if err == nil && !ok {
		return envbackup.NotFound("backup", id)
	}
	return translate(err, "change", "backup", id)
}

// Hold keeps a backup whatever the policy says, and takes a removal's mark
// away. CodeConflict: the removal has begun (R5).
func (s *Store) Hold(ctx context.Context, id, reason string) error {
	return s.Tx(ctx, func(tx *Tx) error {
		r, err := tx.removal(ctx, id)
		if err != nil {
			return err
		}
		if r.begun {
			return &envbackup.Error{
				Code: envbackup.CodeConflict, Message: fmt.Sprintf("backup %q is being removed", id),
				Hint: "a hold must come before the removal begins; another backup of the time may still be there",
			}
		}
		_, err = tx.tx.ExecContext(ctx, `UPDATE backups SET held = TRUE, hold_reason = $2, removal_marked_at = 0 WHERE id = $1`, id, reason)
		return translate(err, "hold", "backup", id)
	})
}

// removal is where a backup stands between R5's steps.
type removal struct {
	held, marked, begun bool
}

func (tx *Tx) removal(ctx context.Context, id string) (removal, error) {
	var r removal
	err := tx.tx.QueryRowContext(ctx, `SELECT held, removal_marked_at <> 0, removal_begun_at <> 0 FROM backups
		WHERE id = $1 AND removed_at = 0`+tx.dialect.forUpdate(), id).Scan(&r.held, &r.marked, &r.begun)
	return r, translate(err, "read", "backup", id)
}

// MarkRemoval marks backups as about to go, all of them or none.
// CodeConflict: one is held.
func (s *Store) MarkRemoval(ctx context.Context, ids []string, t time.Time) error {
	return s.Tx(ctx, func(tx *Tx) error {
		for _, id := range ids {
			r, err := tx.removal(ctx, id)
			if err != nil {
				return err
			}
			if r.held {
				return heldConflict(id)
			}
			if _, err := tx.tx.ExecContext(ctx, `UPDATE backups SET removal_marked_at = $2 WHERE id = $1`, id, micros(t)); err != nil {
				return translate(err, "mark", "backup", id)
			}
		}
		return nil
	})
}

// BeginRemoval says that the deletion of a marked backup's snapshot begins
// now, after which no hold is taken any more. CodeConflict: a hold came
// first. A removal that was begun before may begin again.
func (s *Store) BeginRemoval(ctx context.Context, id string, t time.Time) error {
	return s.Tx(ctx, func(tx *Tx) error {
		r, err := tx.removal(ctx, id)
		if err != nil {
			return err
		}
		if r.held || !r.marked {
			return heldConflict(id)
		}
		_, err = tx.tx.ExecContext(ctx, `UPDATE backups SET removal_begun_at = $2 WHERE id = $1`, id, micros(t))
		return translate(err, "begin removal of", "backup", id)
	})
}

func heldConflict(id string) error {
	return &envbackup.Error{Code: envbackup.CodeConflict, Message: fmt.Sprintf("backup %q is held", id), Hint: "release it first"}
}

// UnmarkRemoval takes marks away, as when the deletion failed before anything
// was deleted.
func (s *Store) UnmarkRemoval(ctx context.Context, ids []string) error {
	return s.eachBackup(ctx, ids, `UPDATE backups SET removal_marked_at = 0, removal_begun_at = 0 WHERE id = $1 AND removed_at = 0`, "unmark")
}

// DropBackups takes backups whose snapshots are gone off every list. What
// R9 needs of them stays. Unknown ids are ignored.
func (s *Store) DropBackups(ctx context.Context, ids []string) error {
	return s.eachBackup(ctx, ids, fmt.Sprintf(`UPDATE backups SET removed_at = %d WHERE id = $1 AND removed_at = 0`, micros(now())), "drop")
}

func (s *Store) eachBackup(ctx context.Context, ids []string, statement, act string) error {
	return s.Tx(ctx, func(tx *Tx) error {
		for _, id := range ids {
			if _, err := tx.tx.ExecContext(ctx, statement, id); err != nil {
				return translate(err, act, "backup", id)
			}
		}
		return nil
	})
}

// SetAside is what R4 fixed and set aside at one destination of a schedule,
// and what retention remembers between prunes. The zero value but for the
// ids is a destination at which nothing waits.
type SetAside struct {
	ScheduleID    string
	DestinationID string
	IDs           []string // of backups; empty when nothing waits
	Reason        string   // for people
	Since         time.Time
	// Waited is how long it has waited while a daemon ran (R4 counts only
	// that).
	Waited time.Duration
	// Decision is "" while it waits, "confirmed" or "cancelled".
	Decision string
	// JudgedAt is the last prune that was judged here: the first one after
	// Schedule.PolicyEditedAt waits.
	JudgedAt time.Time
	// Cancelled are backups whose removal a person cancelled before another
	// list began. They stay until the policy changes.
	Cancelled []string
	// Note says for people what holds removals here; empty for nothing.
	Note string
}

const setAsideColumns = `SELECT schedule_id, destination_id, ids, reason, since, waited, decision, judged_at, cancelled, note FROM set_aside`

// Retentions returns what is in the way of removals, wherever something is.
func (s *Store) Retentions(ctx context.Context) ([]envbackup.RetentionState, error) {
	found, err := all(ctx, s.read, setAsideColumns+` WHERE note <> '' OR since <> 0`, nil, scanSetAside)
	if err != nil {
		return nil, fmt.Errorf("list what is in the way of removals: %w", err)
	}
	var states []envbackup.RetentionState
	for _, a := range found {
		state := envbackup.RetentionState{ScheduleID: a.ScheduleID, DestinationID: a.DestinationID, Hold: a.Note}
		if a.Decision == "" {
			state.SetAside, state.Reason = a.IDs, a.Reason
		}
		if state.Hold != "" || len(state.SetAside) > 0 {
			states = append(states, state)
		}
	}
	return states, nil
}

// SetAside returns what waits at a destination of a schedule; nothing waiting
// is no error.
func (s *Store) SetAside(ctx context.Context, scheduleID, destinationID string) (SetAside, error) {
	found, err := all(ctx, s.read, setAsideColumns+`
		WHERE schedule_id = $1 AND destination_id = $2`, []any{scheduleID, destinationID}, scanSetAside)
	if err != nil {
		return SetAside{}, fmt.Errorf("read what is set aside for schedule %s: %w", scheduleID, err)
	}
	if len(found) == 0 {
		return SetAside{ScheduleID: scheduleID, DestinationID: destinationID}, nil
	}
	return found[0], nil
}

func scanSetAside(row scanner) (SetAside, error) {
	var a SetAside
	var waited int64
	err := row.Scan(&a.ScheduleID, &a.DestinationID, into(&a.IDs), &a.Reason, at(&a.Since), &waited, &a.Decision, at(&a.JudgedAt), into(&a.Cancelled), &a.Note)
	a.Waited = time.Duration(waited) * time.Microsecond
	return a, err
}

// SaveSetAside replaces what is remembered of a destination of a schedule.
func (s *Store) SaveSetAside(ctx context.Context, a SetAside) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO set_aside (schedule_id, destination_id, ids, reason, since, waited, decision, judged_at, cancelled, note)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (schedule_id, destination_id) DO UPDATE SET ids = excluded.ids, reason = excluded.reason, since = excluded.since,
			waited = excluded.waited, decision = excluded.decision, judged_at = excluded.judged_at,
			cancelled = excluded.cancelled, note = excluded.note`,
		a.ScheduleID, a.DestinationID, doc(a.IDs), a.Reason, micros(a.Since), a.Waited.Microseconds(), a.Decision, micros(a.JudgedAt),
		doc(a.Cancelled), a.Note)
	return translate(err, "save what is set aside for", "schedule", a.ScheduleID)
}

// NoteRetention says what holds removals at a destination of a schedule; empty
// is nothing.
func (s *Store) NoteRetention(ctx context.Context, scheduleID, destinationID, note string) error {
	_, err := s.db.ExecContext(ctx, `INSERT INTO set_aside (schedule_id, destination_id, ids, reason, since, waited, decision, judged_at, note)
		VALUES ($1, $2, 'null', '', 0, 0, '', 0, $3)
		ON CONFLICT (schedule_id, destination_id) DO UPDATE SET note = excluded.note`, scheduleID, destinationID, note)
	return translate(err, "note what holds removals of", "schedule", scheduleID)
}

// ClearSetAside forgets the list, and keeps when the destination was judged
// last.
func (s *Store) ClearSetAside(ctx context.Context, scheduleID, destinationID string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE set_aside SET ids = 'null', reason = '', since = 0, waited = 0, decision = '', cancelled = 'null', note = ''
		WHERE schedule_id = $1 AND destination_id = $2`, scheduleID, destinationID)
	return translate(err, "clear what is set aside for", "schedule", scheduleID)
}

// AddWaited lets d of a daemon's running time pass for every list that waits.
func (s *Store) AddWaited(ctx context.Context, d time.Duration) error {
	_, err := s.db.ExecContext(ctx, `UPDATE set_aside SET waited = waited + $1 WHERE since <> 0`, d.Microseconds())
	if err != nil {
		return fmt.Errorf("count the time that set-aside lists wait: %w", err)
	}
	return nil
}
