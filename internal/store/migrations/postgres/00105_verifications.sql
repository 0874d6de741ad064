-- +goose Up

-- Durations are microseconds.
CREATE TABLE verifications (
    id               TEXT NOT NULL PRIMARY KEY,
    backup_id        TEXT NOT NULL,
    schedule_id      TEXT NOT NULL,
    schedule         TEXT NOT NULL,
    environment      TEXT NOT NULL,
    destination_id   TEXT NOT NULL,
    destination      TEXT NOT NULL,
    worker           TEXT NOT NULL,
    level            TEXT NOT NULL,
    trigger_kind     TEXT NOT NULL,
    state            TEXT NOT NULL,
    max_duration     BIGINT NOT NULL,
    spent            BIGINT NOT NULL,
    attempt          BIGINT NOT NULL,
    lost             BIGINT NOT NULL,
    job_id           BIGINT NOT NULL,
    node             TEXT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    yield_requested  BOOLEAN NOT NULL,
    failure          TEXT NOT NULL,
    problems         TEXT NOT NULL,
    progress         TEXT NOT NULL,
    files_done       BIGINT NOT NULL,
    bytes_done       BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    started_at       BIGINT NOT NULL,
    finished_at      BIGINT NOT NULL
);
CREATE INDEX verifications_created ON verifications (created_at, id);
CREATE INDEX verifications_schedule ON verifications (schedule_id, created_at, id);
CREATE INDEX verifications_backup ON verifications (backup_id, created_at, id);
CREATE INDEX verifications_open ON verifications (environment, created_at, id) WHERE state IN ('queued', 'running');
CREATE INDEX backups_verified ON backups (schedule_id, destination_id, nominal, id) WHERE verified_at <> 0 AND removed_at = 0;
CREATE INDEX backups_damaged ON backups (schedule_id, destination_id, nominal, id) WHERE status = 'damaged' AND removed_at = 0;

-- +goose Down

DROP INDEX backups_damaged;
DROP INDEX backups_verified;
DROP TABLE verifications;
