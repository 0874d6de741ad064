package store

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const slotColumns = `SELECT schedule_id, nominal, until, count, outcome, reason, run_id, decided_at FROM slots`

func scanSlot(row scanner) (envbackup.Slot, error) {
	var s envbackup.Slot
	err := row.Scan(&s.ScheduleID, at(&s.Nominal), at(&s.Until), &s.Count, &s.Outcome, &s.Reason, &s.RunID, at(&s.DecidedAt))
	return s, err
}

// Slots lists a schedule's slots, newest first. The ledger outlives the
// schedule.
func (s *Store) Slots(ctx context.Context, scheduleID string, p envbackup.Page) ([]envbackup.Slot, string, error) {
	type row struct {
		envbackup.Slot
		voided int64
	}
	var f filter
	f.add("schedule_id = ?", scheduleID)
	rows, next, err := page(ctx, s.read,
		`SELECT schedule_id, nominal, until, count, outcome, reason, run_id, decided_at, voided FROM slots`, f,
		order{columns: []string{"nominal", "voided"}, types: "ii", desc: true}, p,
		func(sc scanner) (row, error) {
			var r row
			err := sc.Scan(&r.ScheduleID, at(&r.Nominal), at(&r.Until), &r.Count, &r.Outcome, &r.Reason, &r.RunID, at(&r.DecidedAt), &r.voided)
			return r, err
		},
		func(r row) []any { return []any{micros(r.Nominal), r.voided} })
	if err != nil {
		return nil, "", fmt.Errorf("list slots of schedule %s: %w", scheduleID, err)
	}
	items := make([]envbackup.Slot, len(rows))
	for i, r := range rows {
		items[i] = r.Slot
	}
	return items, next, nil
}

// SlotOfRun returns the slot that a run was made for.
func (tx *Tx) SlotOfRun(ctx context.Context, runID string) (envbackup.Slot, error) {
	slot, err := scanSlot(tx.tx.QueryRowContext(ctx, slotColumns+` WHERE run_id = $1`, runID))
	return slot, translate(err, "read", "slot of run", runID)
}

// InsertSlot claims a slot: false means that it was decided already, by this
// process or another (S1).
func (tx *Tx) InsertSlot(ctx context.Context, s envbackup.Slot) (bool, error) {
	return tx.insertSlot(ctx, s, "")
}

func (tx *Tx) insertSlot(ctx context.Context, s envbackup.Slot, era string) (bool, error) {
	ok, err := affected(tx.tx.ExecContext(ctx, `INSERT INTO slots (schedule_id, nominal, voided, until, count, outcome, reason, run_id, decided_at, era)
		VALUES ($1, $2, 0, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING`,
		s.ScheduleID, micros(s.Nominal), micros(s.Until), s.Count, string(s.Outcome), s.Reason, s.RunID, micros(s.DecidedAt), era))
	if err != nil {
		return false, fmt.Errorf("insert slot %s of schedule %s: %w", s.Nominal.Format(time.RFC3339), s.ScheduleID, err)
	}
	return ok, nil
}

// AppendSlots records slots without a run that follow the ledger's newest
// one: they extend its row when that has the same outcome, reason and era,
// else they make a new one. A year of paused minutes stays one row. era says
// in the caller's words what the slots were counted with; VoidSlots returns
// it. False means that they were decided already.
func (tx *Tx) AppendSlots(ctx context.Context, s envbackup.Slot, era string) (bool, error) {
	ok, err := affected(tx.tx.ExecContext(ctx, `UPDATE slots SET until = $2, count = count + $3, decided_at = $4
		WHERE schedule_id = $1 AND voided = 0 AND outcome = $5 AND reason = $6 AND era = $8 AND run_id = '' AND until < $7
			AND nominal = (SELECT MAX(nominal) FROM slots WHERE schedule_id = $1 AND voided = 0)`,
		s.ScheduleID, micros(s.Until), s.Count, micros(s.DecidedAt), string(s.Outcome), s.Reason, micros(s.Nominal), era))
	if err != nil {
		return false, fmt.Errorf("extend slots of schedule %s: %w", s.ScheduleID, err)
	}
	if ok {
		return true, nil
	}
	return tx.insertSlot(ctx, s, era)
}

// EndSlot gives the slot of a run its outcome, if it has none yet.
func (tx *Tx) EndSlot(ctx context.Context, runID string, outcome envbackup.SlotOutcome, reason string) error {
	_, err := tx.tx.ExecContext(ctx, `UPDATE slots SET outcome = $2, reason = $3 WHERE run_id = $1 AND outcome = ''`,
		runID, string(outcome), reason)
	if err != nil {
		return fmt.Errorf("end slot of run %s: %w", runID, err)
	}
	return nil
}

// VoidSlots turns a schedule's slots after t into "clock", with reason, makes
// their runs and backups manual ones (S12), and frees their nominal instants.
// It returns the stretch that begins at or before t and ends after it, if
// there is one, with its era, for the caller to cut by CutSlots.
func (tx *Tx) VoidSlots(ctx context.Context, scheduleID string, t time.Time, reason string) (straddling *envbackup.Slot, era string, err error) {
	manual := []string{
		`UPDATE runs SET trigger_kind = 'manual' WHERE id IN (
			SELECT run_id FROM slots WHERE schedule_id = $1 AND voided = 0 AND nominal > $2 AND run_id <> '')`,
		`UPDATE backups SET trigger_kind = 'manual' WHERE run_id IN (
			SELECT run_id FROM slots WHERE schedule_id = $1 AND voided = 0 AND nominal > $2 AND run_id <> '')`,
	}
	for _, statement := range manual {
		if _, err := tx.tx.ExecContext(ctx, statement, scheduleID, micros(t)); err != nil {
			return nil, "", fmt.Errorf("void slots of schedule %s: %w", scheduleID, err)
		}
	}
	// The clock may step back over the same instants more than once.
	_, err = tx.tx.ExecContext(ctx, `UPDATE slots SET outcome = 'clock', reason = $3,
			voided = (SELECT COALESCE(MAX(voided), 0) + 1 FROM slots WHERE schedule_id = $1)
		WHERE schedule_id = $1 AND voided = 0 AND nominal > $2`, scheduleID, micros(t), reason)
	if err != nil {
		return nil, "", fmt.Errorf("void slots of schedule %s: %w", scheduleID, err)
	}
	found, err := all(ctx, tx.tx, `SELECT schedule_id, nominal, until, count, outcome, reason, run_id, decided_at, era FROM slots
		WHERE schedule_id = $1 AND voided = 0 AND nominal <= $2 AND until > $2`,
		[]any{scheduleID, micros(t)}, func(row scanner) (envbackup.Slot, error) {
			var s envbackup.Slot
			err := row.Scan(&s.ScheduleID, at(&s.Nominal), at(&s.Until), &s.Count, &s.Outcome, &s.Reason, &s.RunID, at(&s.DecidedAt), &era)
			return s, err
		})
	if err != nil {
		return nil, "", fmt.Errorf("void slots of schedule %s: %w", scheduleID, err)
	}
	if len(found) == 0 {
		return nil, "", nil
	}
	return &found[0], era, nil
}

// CutSlots shortens a stretch to what s says, by schedule and nominal time.
func (tx *Tx) CutSlots(ctx context.Context, s envbackup.Slot) error {
	_, err := tx.tx.ExecContext(ctx, `UPDATE slots SET until = $3, count = $4 WHERE schedule_id = $1 AND nominal = $2 AND voided = 0`,
		s.ScheduleID, micros(s.Nominal), micros(s.Until), s.Count)
	return translate(err, "cut", "slots of schedule", s.ScheduleID)
}
