package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const scheduleColumns = `SELECT id, environment_id, owner, version, created_at, updated_at, spec, destination_ids,
	policy_edited_at, decided_until, next_at, due_at FROM schedules`

func scanSchedule(row scanner) (envbackup.Schedule, error) {
	var s envbackup.Schedule
	err := row.Scan(&s.ID, &s.EnvironmentID, &s.Owner, &s.Version, at(&s.CreatedAt), at(&s.UpdatedAt), into(&s.ScheduleSpec),
		into(&s.DestinationIDs), at(&s.PolicyEditedAt), at(&s.DecidedUntil), at(&s.NextAt), at(&s.DueAt))
	return s, err
}

// ScheduleFilter selects schedules. Environment is a name; empty is all.
type ScheduleFilter = envbackup.ScheduleFilter

// Schedule returns the schedule with this id or ENVIRONMENT/NAME.
func (s *Store) Schedule(ctx context.Context, idOrReference string) (envbackup.Schedule, error) {
	return schedule(ctx, s.read, idOrReference, "")
}

// Schedule is Store.Schedule, and holds the row until the transaction ends.
func (tx *Tx) Schedule(ctx context.Context, idOrReference string) (envbackup.Schedule, error) {
	return schedule(ctx, tx.tx, idOrReference, tx.dialect.forUpdate())
}

func schedule(ctx context.Context, q querier, idOrReference, lock string) (envbackup.Schedule, error) {
	where, args := ` WHERE id = $1`, []any{idOrReference}
	if environment, name, ok := strings.Cut(idOrReference, "/"); ok {
		where, args = ` WHERE environment = $1 AND name = $2`, []any{environment, name}
	}
	found, err := scanSchedule(q.QueryRowContext(ctx, scheduleColumns+where+lock, args...))
	return found, translate(err, "read", "schedule", idOrReference)
}

// FormerSchedule returns the id that a schedule made under this reference takes
// over, with its backups (S16). CodeNotFound: it gets a new one.
func (s *Store) FormerSchedule(ctx context.Context, reference string) (string, error) {
	var id string
	err := s.read.QueryRowContext(ctx, `SELECT id FROM names WHERE kind = $1 AND name = $2`, prefixSchedule, reference).Scan(&id)
	return id, translate(err, "read", "former schedule", reference)
}

// Schedules lists schedules by environment and name.
func (s *Store) Schedules(ctx context.Context, sf envbackup.ScheduleFilter, p envbackup.Page) ([]envbackup.Schedule, string, error) {
	var f filter
	if sf.Environment != "" {
		f.add("environment = ?", sf.Environment)
	}
	items, next, err := page(ctx, s.read, scheduleColumns, f, order{columns: []string{"environment", "name"}, types: "ss"}, p, scanSchedule,
		func(s envbackup.Schedule) []any { return []any{s.Environment, s.Name} })
	if err != nil {
		return nil, "", fmt.Errorf("list schedules: %w", err)
	}
	return items, next, nil
}

// DueSchedules returns up to limit schedules that the scheduler must look at
// by now, longest overdue first, and holds their rows: another daemon's
// transaction gets others.
func (tx *Tx) DueSchedules(ctx context.Context, now time.Time, limit int) ([]envbackup.Schedule, error) {
	due, err := all(ctx, tx.tx, scheduleColumns+` WHERE due_at <= $1 ORDER BY due_at, id LIMIT `+strconv.Itoa(limit)+tx.dialect.skipLocked(),
		[]any{micros(now)}, scanSchedule)
	if err != nil {
		return nil, fmt.Errorf("list due schedules: %w", err)
	}
	return due, nil
}

// SchedulesDecidedAfter returns the schedules with slots decided for instants
// after t (S12), and holds their rows.
func (tx *Tx) SchedulesDecidedAfter(ctx context.Context, t time.Time) ([]envbackup.Schedule, error) {
	found, err := all(ctx, tx.tx, scheduleColumns+` WHERE decided_until > $1 ORDER BY id`+tx.dialect.forUpdate(), []any{micros(t)}, scanSchedule)
	if err != nil {
		return nil, fmt.Errorf("list schedules decided after %s: %w", t.Format(time.RFC3339), err)
	}
	return found, nil
}

// InsertSchedule adds s and fills its Meta, but for the owner, with made as
// its creation, and its ids from the names in its specification. It takes the
// id that a schedule of this environment and name had before (S16).
// CodeConflict: the name is taken. CodeInvalid names what does not exist.
func (tx *Tx) InsertSchedule(ctx context.Context, s *envbackup.Schedule, made time.Time) error {
	if err := tx.resolve(ctx, s); err != nil {
		return err
	}
	id, err := idFor(ctx, tx.tx, prefixSchedule, s.Reference())
	if err != nil {
		return err
	}
	made = made.UTC().Truncate(time.Microsecond)
	s.Meta = envbackup.Meta{ID: id, Owner: s.Owner, Version: 1, CreatedAt: made, UpdatedAt: made}
	_, err = tx.tx.ExecContext(ctx, `INSERT INTO schedules (id, environment_id, environment, name, owner, version, created_at, updated_at,
			spec, destination_ids, policy_edited_at, decided_until, next_at, due_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		s.ID, s.EnvironmentID, s.Environment, s.Name, s.Owner, s.Version, micros(s.CreatedAt), micros(s.UpdatedAt),
		doc(s.ScheduleSpec), doc(s.DestinationIDs), micros(s.PolicyEditedAt), micros(s.DecidedUntil), micros(s.NextAt), micros(s.DueAt))
	if err != nil {
		return translate(err, "create", "schedule", s.Reference())
	}
	return tx.linkDestinations(ctx, s)
}

// UpdateSchedule replaces everything of s.ID but its environment, its times of
// decision included, and fills the rest of its Meta with edited
// as the change. CodeStale: ifVersion is not 0 and not the version.
func (tx *Tx) UpdateSchedule(ctx context.Context, s *envbackup.Schedule, ifVersion int64, edited time.Time) error {
	old, err := tx.Schedule(ctx, s.ID)
	if err != nil {
		return err
	}
	if ifVersion != 0 && ifVersion != old.Version {
		return stale("schedule", old.Reference(), old.Version)
	}
	if s.Environment != old.Environment {
		return envbackup.Invalid(envbackup.Finding{
			Severity: envbackup.SeverityError, Path: "environment", Summary: "Environment cannot change",
			Detail: fmt.Sprintf("Schedule %q backs up %q; make another one for %q.", old.Reference(), old.Environment, s.Environment),
		})
	}
	if err := tx.resolve(ctx, s); err != nil {
		return err
	}
	if err := tx.rename(ctx, old, *s); err != nil {
		return err
	}
	s.Meta = envbackup.Meta{
		ID: old.ID, Owner: s.Owner, Version: old.Version + 1,
		CreatedAt: old.CreatedAt, UpdatedAt: edited.UTC().Truncate(time.Microsecond),
	}
	_, err = tx.tx.ExecContext(ctx, `UPDATE schedules SET owner = $2, version = $3, updated_at = $4, spec = $5, destination_ids = $6,
			policy_edited_at = $7, decided_until = $8, next_at = $9, due_at = $10, name = $11 WHERE id = $1`,
		s.ID, s.Owner, s.Version, micros(s.UpdatedAt), doc(s.ScheduleSpec), doc(s.DestinationIDs),
		micros(s.PolicyEditedAt), micros(s.DecidedUntil), micros(s.NextAt), micros(s.DueAt), s.Name)
	if err != nil {
		return translate(err, "update", "schedule", s.Reference())
	}
	if _, err := tx.tx.ExecContext(ctx, `DELETE FROM schedule_destinations WHERE schedule_id = $1`, s.ID); err != nil {
		return translate(err, "update", "schedule", s.Reference())
	}
	return tx.linkDestinations(ctx, s)
}

// rename lets a schedule's id follow its new name, and leaves the old name to
// whoever takes it next. Backups keep the name that they were made under; the
// id in their tags is what counts.
func (tx *Tx) rename(ctx context.Context, old, s envbackup.Schedule) error {
	if old.Name == s.Name {
		return nil
	}
	if _, err := tx.tx.ExecContext(ctx, `DELETE FROM names WHERE kind = $1 AND name = $2`, prefixSchedule, old.Reference()); err != nil {
		return translate(err, "rename", "schedule", old.Reference())
	}
	_, err := tx.tx.ExecContext(ctx, `INSERT INTO names (kind, name, id) VALUES ($1, $2, $3)
		ON CONFLICT (kind, name) DO UPDATE SET id = excluded.id`, prefixSchedule, s.Reference(), s.ID)
	return translate(err, "rename", "schedule", s.Reference())
}

// DecideUntil records how far a schedule's slots are decided and when to look
// at it again. It is no edit: the version stays.
func (tx *Tx) DecideUntil(ctx context.Context, id string, decidedUntil, nextAt, dueAt time.Time) error {
	_, err := tx.tx.ExecContext(ctx, `UPDATE schedules SET decided_until = $2, next_at = $3, due_at = $4 WHERE id = $1`,
		id, micros(decidedUntil), micros(nextAt), micros(dueAt))
	return translate(err, "move", "schedule", id)
}

// DeleteSchedule removes a schedule. Its slots, runs and backups stay.
func (tx *Tx) DeleteSchedule(ctx context.Context, id string, ifVersion int64) error {
	old, err := tx.Schedule(ctx, id)
	if err != nil {
		return err
	}
	if ifVersion != 0 && ifVersion != old.Version {
		return stale("schedule", old.Reference(), old.Version)
	}
	_, err = tx.tx.ExecContext(ctx, `DELETE FROM schedules WHERE id = $1`, old.ID)
	return translate(err, "delete", "schedule", old.Reference())
}

// resolve fills the ids of s from its names, or says which name is unknown.
func (tx *Tx) resolve(ctx context.Context, s *envbackup.Schedule) error {
	var findings []envbackup.Finding
	unknown := func(path, kind, name string) {
		findings = append(findings, envbackup.Finding{
			Severity: envbackup.SeverityError, Path: path, Summary: "Unknown " + kind,
			Detail: fmt.Sprintf("There is no %s named %q; create it first.", kind, name),
		})
	}
	e, err := environment(ctx, tx.tx, s.Environment, "")
	switch {
	case envbackup.CodeOf(err) == envbackup.CodeNotFound || (err == nil && e.Name != s.Environment):
		unknown("environment", "environment", s.Environment)
	case err != nil:
		return err
	default:
		s.EnvironmentID = e.ID
	}
	s.DestinationIDs = make([]string, 0, len(s.Destinations))
	for i, name := range s.Destinations {
		d, err := destination(ctx, tx.tx, name, "")
		switch {
		case envbackup.CodeOf(err) == envbackup.CodeNotFound || (err == nil && d.Name != name):
			unknown("destinations["+strconv.Itoa(i)+"]", "destination", name)
		case err != nil:
			return err
		default:
			s.DestinationIDs = append(s.DestinationIDs, d.ID)
		}
	}
	if len(findings) > 0 {
		return envbackup.Invalid(findings...)
	}
	return nil
}

func (tx *Tx) linkDestinations(ctx context.Context, s *envbackup.Schedule) error {
	var errs []error
	for _, id := range s.DestinationIDs {
		_, err := tx.tx.ExecContext(ctx, `INSERT INTO schedule_destinations (schedule_id, destination_id) VALUES ($1, $2)
			ON CONFLICT DO NOTHING`, s.ID, id)
		errs = append(errs, translate(err, "link", "schedule", s.Reference()))
	}
	return errors.Join(errs...)
}
