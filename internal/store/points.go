package store

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// pointTriggers and pointStatuses are numbered by their place: a number costs
// a row a fraction of what its text does.
var (
	pointTriggers = []retention.Trigger{
		retention.TriggerSchedule, retention.TriggerCatchUp, retention.TriggerCreate, retention.TriggerManual, retention.TriggerSafety,
	}
	pointStatuses = []retention.Status{
		retention.StatusComplete, retention.StatusPartial, retention.StatusSuspect, retention.StatusDamaged,
	}
)

// pointWord is one number for all of a backup but its instants: the trigger,
// then the status, then whether it is verified, then whether it is held, then
// the size. What does not fit is -1, and so is what the object store locks.
// SQLite finds it ready in the index backups_points, where it is written in the
// same words: to hand over a column costs it more than to read one.
const (
	pointWord = `CASE WHEN locked_until = 0 AND size BETWEEN 0 AND 1125899906842623 THEN size * 4096
    + CASE trigger_kind WHEN 'schedule' THEN 0 WHEN 'catch_up' THEN 1 WHEN 'create' THEN 2 WHEN 'manual' THEN 3 WHEN 'safety' THEN 4 ELSE 15 END
    + CASE status WHEN 'complete' THEN 0 WHEN 'partial' THEN 16 WHEN 'suspect' THEN 32 WHEN 'damaged' THEN 48 ELSE 240 END
    + CASE WHEN verified_at <> 0 THEN 256 ELSE 0 END + CASE WHEN held THEN 512 ELSE 0 END ELSE -1 END`
	pointBase     = 16
	pointVerified = 256
	pointHeld     = 512
	pointSize     = 4096
)

const pointQuery = `SELECT nominal, ` + pointWord + `
	FROM backups WHERE schedule_id = $1 AND destination_id = $2 AND removed_at = 0 AND completed_at >= $3
	ORDER BY nominal DESC, completed_at DESC, id DESC`

// pointRow is one answer of pointQuery.
type pointRow struct{ nominal, word number }

// pointRows is how many rows are collected in one piece. A slice that grows to
// a hundred thousand points would leave several times their size behind.
const pointRows = 4096

// Points returns what retention judges the backups of a schedule at a
// destination by at an instant, both by id, in the order in which it judges
// them; those that were completed before since are left out. It is AllBackups
// for many of them, at a tenth of the cost: ids and completions are not there
// where they decide about nothing but the order.
func (s *Store) Points(ctx context.Context, scheduleID, destinationID string, since, now time.Time) ([]retention.Point, error) {
	points, ok, err := s.leanPoints(ctx, scheduleID, destinationID, since)
	if err != nil {
		return nil, fmt.Errorf("list points of schedule %s: %w", scheduleID, err)
	}
	// When one that is dated in the future was completed does decide.
	if ok && (len(points) == 0 || !points[0].Nominal.After(now)) {
		return points, nil
	}
	backups, err := s.AllBackups(ctx, scheduleID, destinationID)
	if err != nil {
		return nil, err
	}
	points = points[:0]
	for _, b := range backups {
		if !b.CompletedAt.Before(since) {
			points = append(points, b.Point())
		}
	}
	return points, nil
}

// leanPoints reports false when a backup has what does not fit into one number.
func (s *Store) leanPoints(ctx context.Context, scheduleID, destinationID string, since time.Time) (points []retention.Point, ok bool, err error) {
	rows, err := s.read.QueryContext(ctx, pointQuery, scheduleID, destinationID, micros(since))
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = rows.Close() }()
	var pieces [][]pointRow
	var n int
	var r pointRow
	dest := []any{&r.nominal, &r.word}
	for ; rows.Next(); n++ {
		if err := rows.Scan(dest...); err != nil {
			return nil, false, err
		}
		if n%pointRows == 0 {
			pieces = append(pieces, make([]pointRow, 0, pointRows))
		}
		last := len(pieces) - 1
		pieces[last] = append(pieces[last], r)
	}
	if err := rows.Err(); err != nil {
		return nil, false, err
	}
	points = make([]retention.Point, n)
	at := points
	for _, piece := range pieces {
		for i, r := range piece {
			if !r.into(&at[i]) {
				return nil, false, nil
			}
		}
		at = at[len(piece):]
	}
	return points, true, nil
}

// into fills a point; it reports false for what does not fit into the number.
func (r pointRow) into(p *retention.Point) bool {
	trigger, status := r.word%pointBase, r.word/pointBase%pointBase
	if r.word < 0 || int(trigger) >= len(pointTriggers) || int(status) >= len(pointStatuses) {
		return false
	}
	p.Nominal, p.Size = instant(int64(r.nominal)), int64(r.word/pointSize)
	p.Trigger, p.Status = pointTriggers[trigger], pointStatuses[status]
	p.Verified, p.Held = r.word&pointVerified != 0, r.word&pointHeld != 0
	return true
}

// number scans an integer. Scanning into an int64 would do the same through
// reflection, for half of the time that reading many rows takes.
type number int64

// Scan implements sql.Scanner.
func (n *number) Scan(src any) error {
	v, ok := src.(int64)
	if !ok {
		return fmt.Errorf("scan number: %T is not an integer", src)
	}
	*n = number(v)
	return nil
}
