-- +goose Up

-- All that retention judges by, so that a preflight of a schedule with a
-- hundred thousand backups reads no row of the table. The order is that in
-- which retention takes them.
CREATE INDEX backups_points ON backups (schedule_id, destination_id, nominal, completed_at, id,
    size, held, verified_at, trigger_kind, status, locked_until) WHERE removed_at = 0;

-- +goose Down

DROP INDEX backups_points;
