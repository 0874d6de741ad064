-- +goose Up

-- Until when the object store retains the snapshot, as far as is known (R8).
ALTER TABLE backups ADD COLUMN locked_until BIGINT NOT NULL DEFAULT 0;
-- When a person said that a suspect backup is good: the baseline of R9.
ALTER TABLE backups ADD COLUMN acknowledged_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX backups_acknowledged ON backups (schedule_id, nominal) WHERE acknowledged_at <> 0;

-- Since when data that no snapshot needs waits to be removed, and why (R12).
ALTER TABLE repositories ADD COLUMN reclaim_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN reclaim_why TEXT NOT NULL DEFAULT '';

-- Backups whose removal was cancelled while another list waits (R4).
ALTER TABLE set_aside ADD COLUMN cancelled TEXT NOT NULL DEFAULT 'null';
-- What holds removals here, for people; empty for nothing.
ALTER TABLE set_aside ADD COLUMN note TEXT NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE set_aside DROP COLUMN note;
ALTER TABLE set_aside DROP COLUMN cancelled;
ALTER TABLE repositories DROP COLUMN reclaim_why;
ALTER TABLE repositories DROP COLUMN reclaim_since;
DROP INDEX backups_acknowledged;
ALTER TABLE backups DROP COLUMN acknowledged_at;
ALTER TABLE backups DROP COLUMN locked_until;
