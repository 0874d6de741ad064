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

// pointWord is one number for all of a backup that is no number: the trigger,
// then the status, then whether it is verified, then whether it is held. What
// is unknown is the last digit. SQLite finds it ready in the index
// backups_points, where it is written in the same words.
const (
	pointWord = `CASE trigger_kind WHEN 'schedule' THEN 0 WHEN 'catch_up' THEN 1 WHEN 'create' THEN 2 WHEN 'manual' THEN 3 WHEN 'safety' THEN 4 ELSE 15 END
    + CASE status WHEN 'complete' THEN 0 WHEN 'partial' THEN 16 WHEN 'suspect' THEN 32 WHEN 'damaged' THEN 48 ELSE 240 END
    + CASE WHEN verified_at <> 0 THEN 256 ELSE 0 END + CASE WHEN held THEN 512 ELSE 0 END`
	pointBase     = 16
	pointVerified = 256
	pointHeld     = 512
)

const pointQuery = `SELECT nominal, completed_at, size, ` + pointWord + `
	FROM backups WHERE schedule_id = $1 AND destination_id = $2 AND removed_at = 0
	ORDER BY nominal DESC, completed_at DESC, id DESC`

// pointRow is one answer of pointQuery.
type pointRow struct{ nominal, completed, size, word number }

// pointRows is how many rows are collected in one piece. A slice that grows to
// a hundred thousand points would leave several times their size behind.
const pointRows = 4096

// Points returns what retention judges the backups of a schedule at a
// destination by, both by id, in the order in which it judges them. It is
// AllBackups for many of them, at a tenth of the cost: the ids are left out,
// and the order is the one that they would have given.
func (s *Store) Points(ctx context.Context, scheduleID, destinationID string) ([]retention.Point, error) {
	points, err := s.points(ctx, scheduleID, destinationID)
	if err != nil {
		return nil, fmt.Errorf("list points of schedule %s: %w", scheduleID, err)
	}
	return points, nil
}

func (s *Store) points(ctx context.Context, scheduleID, destinationID string) ([]retention.Point, error) {
	rows, err := s.read.QueryContext(ctx, pointQuery, scheduleID, destinationID)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var pieces [][]pointRow
	var n int
	var r pointRow
	dest := []any{&r.nominal, &r.completed, &r.size, &r.word}
	for ; rows.Next(); n++ {
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		if n%pointRows == 0 {
			pieces = append(pieces, make([]pointRow, 0, pointRows))
		}
		last := len(pieces) - 1
		pieces[last] = append(pieces[last], r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	points := make([]retention.Point, 0, n)
	for _, piece := range pieces {
		for _, r := range piece {
			p, err := r.point()
			if err != nil {
				return nil, err
			}
			points = append(points, p)
		}
	}
	return points, nil
}

func (r pointRow) point() (retention.Point, error) {
	trigger, status := r.word%pointBase, r.word/pointBase%pointBase
	if int(trigger) >= len(pointTriggers) || int(status) >= len(pointStatuses) {
		return retention.Point{}, fmt.Errorf("the backup of %s has a trigger or a status that this program does not know",
			instant(int64(r.nominal)).Format(time.RFC3339))
	}
	return retention.Point{
		Nominal: instant(int64(r.nominal)), Completed: instant(int64(r.completed)), Size: int64(r.size),
		Trigger: pointTriggers[trigger], Status: pointStatuses[status],
		Verified: r.word&pointVerified != 0, Held: r.word&pointHeld != 0,
	}, nil
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
