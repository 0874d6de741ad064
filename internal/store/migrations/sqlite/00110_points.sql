-- +goose Up

-- All that retention judges by, so that a preflight of a schedule with a
-- hundred thousand backups reads no row of the table. The order is that in
-- which retention takes them; the number at the end must stay the expression of
-- the query, or the table is read again.
CREATE INDEX backups_points ON backups (schedule_id, destination_id, nominal, completed_at, id, (CASE WHEN locked_until = 0 AND size BETWEEN 0 AND 1125899906842623 THEN size * 4096
    + CASE trigger_kind WHEN 'schedule' THEN 0 WHEN 'catch_up' THEN 1 WHEN 'create' THEN 2 WHEN 'manual' THEN 3 WHEN 'safety' THEN 4 ELSE 15 END
    + CASE status WHEN 'complete' THEN 0 WHEN 'partial' THEN 16 WHEN 'suspect' THEN 32 WHEN 'damaged' THEN 48 ELSE 240 END
    + CASE WHEN verified_at <> 0 THEN 256 ELSE 0 END + CASE WHEN held THEN 512 ELSE 0 END ELSE -1 END)) WHERE removed_at = 0;

-- +goose Down

DROP INDEX backups_points;
