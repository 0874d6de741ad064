-- +goose Up

-- Instants are UTC microseconds since 1970 in BIGINT, 0 for none. Documents
-- (spec, failure, ...) are JSON as text, decoded in Go; what a query filters
-- by is a column.

-- The id that a name was given first, kept after deletion: a thing created
-- again under the same name is the same thing to its backups (S16).
CREATE TABLE names (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id   TEXT NOT NULL,
    PRIMARY KEY (kind, name)
);

CREATE TABLE environments (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    owner      TEXT NOT NULL,
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    spec       TEXT NOT NULL
);

CREATE TABLE destinations (
    id                 TEXT NOT NULL PRIMARY KEY,
    name               TEXT NOT NULL UNIQUE,
    owner              TEXT NOT NULL,
    version            BIGINT NOT NULL,
    created_at         BIGINT NOT NULL,
    updated_at         BIGINT NOT NULL,
    spec               TEXT NOT NULL,
    secret_key         BLOB,
    secret_key_version BIGINT NOT NULL,
    recovery_password  BLOB,
    recovery_version   BIGINT NOT NULL
);

-- No foreign keys here: a repository's sealed password outlives the
-- environment and the destination (R11).
CREATE TABLE repositories (
    destination_id   TEXT NOT NULL,
    environment_id   TEXT NOT NULL,
    repository_id    TEXT NOT NULL,
    location         TEXT NOT NULL,
    sealed_password  BLOB,
    recovery_version BIGINT NOT NULL,
    recovery_key_id  TEXT NOT NULL,
    key_shown_at     BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    PRIMARY KEY (destination_id, environment_id)
);

CREATE TABLE schedules (
    id               TEXT NOT NULL PRIMARY KEY,
    environment_id   TEXT NOT NULL REFERENCES environments (id),
    environment      TEXT NOT NULL,
    name             TEXT NOT NULL,
    owner            TEXT NOT NULL,
    version          BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    spec             TEXT NOT NULL,
    destination_ids  TEXT NOT NULL,
    policy_edited_at BIGINT NOT NULL,
    decided_until    BIGINT NOT NULL,
    next_at          BIGINT NOT NULL,
    -- When the scheduler looks at it next: the next slot with its jitter, or
    -- the end of a deferring window.
    due_at           BIGINT NOT NULL,
    UNIQUE (environment, name)
);
CREATE INDEX schedules_due ON schedules (due_at, id);
CREATE INDEX schedules_environment ON schedules (environment_id);

CREATE TABLE schedule_destinations (
    schedule_id    TEXT NOT NULL REFERENCES schedules (id) ON DELETE CASCADE,
    destination_id TEXT NOT NULL REFERENCES destinations (id),
    PRIMARY KEY (schedule_id, destination_id)
);
CREATE INDEX schedule_destinations_destination ON schedule_destinations (destination_id);

-- The ledger (S1) outlives the schedule. voided is 0, or the number of the
-- step back of the clock that turned the slot into "clock" (S12), so that the
-- same nominal instant can come again. era says what a stretch was counted
-- with: the schedule's expression and zone between two edits.
CREATE TABLE slots (
    schedule_id TEXT NOT NULL,
    nominal     BIGINT NOT NULL,
    voided      BIGINT NOT NULL,
    until       BIGINT NOT NULL,
    count       BIGINT NOT NULL,
    outcome     TEXT NOT NULL,
    reason      TEXT NOT NULL,
    run_id      TEXT NOT NULL,
    decided_at  BIGINT NOT NULL,
    era         TEXT NOT NULL,
    PRIMARY KEY (schedule_id, nominal, voided)
);
CREATE INDEX slots_run ON slots (run_id) WHERE run_id <> '';

CREATE TABLE runs (
    id               TEXT NOT NULL PRIMARY KEY,
    schedule_id      TEXT NOT NULL,
    schedule         TEXT NOT NULL,
    environment_id   TEXT NOT NULL,
    environment      TEXT NOT NULL,
    worker           TEXT NOT NULL,
    trigger_kind     TEXT NOT NULL,
    nominal          BIGINT NOT NULL,
    due_at           BIGINT NOT NULL,
    start_by         BIGINT NOT NULL,
    state            TEXT NOT NULL,
    attempt          BIGINT NOT NULL,
    next_attempt_at  BIGINT NOT NULL,
    job_id           BIGINT NOT NULL,
    node             TEXT NOT NULL,
    executed_by      TEXT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    created_at       BIGINT NOT NULL,
    started_at       BIGINT NOT NULL,
    finished_at      BIGINT NOT NULL,
    failure          TEXT NOT NULL,
    destinations     TEXT NOT NULL,
    progress         TEXT NOT NULL,
    warnings         TEXT NOT NULL
);
CREATE INDEX runs_created ON runs (created_at, id);
CREATE INDEX runs_schedule ON runs (schedule_id, created_at, id);
CREATE INDEX runs_environment ON runs (environment, created_at, id);
CREATE INDEX runs_open ON runs (environment, due_at, id) WHERE state IN ('queued', 'running');
-- One writer for each environment (S3), whatever the code does.
CREATE UNIQUE INDEX runs_one_writer ON runs (environment) WHERE state = 'running';

CREATE TABLE attempts (
    run_id      TEXT NOT NULL,
    number      BIGINT NOT NULL,
    worker      TEXT NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    failure     TEXT NOT NULL,
    PRIMARY KEY (run_id, number)
);

CREATE TABLE restores (
    id               TEXT NOT NULL PRIMARY KEY,
    backup_id        TEXT NOT NULL,
    environment      TEXT NOT NULL,
    worker           TEXT NOT NULL,
    target           TEXT NOT NULL,
    include          TEXT NOT NULL,
    overwrite        BOOLEAN NOT NULL,
    state            TEXT NOT NULL,
    job_id           BIGINT NOT NULL,
    node             TEXT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    failure          TEXT NOT NULL,
    progress         TEXT NOT NULL,
    files_done       BIGINT NOT NULL,
    bytes_done       BIGINT NOT NULL,
    created_at       BIGINT NOT NULL,
    started_at       BIGINT NOT NULL,
    finished_at      BIGINT NOT NULL
);
CREATE INDEX restores_created ON restores (created_at, id);
CREATE INDEX restores_open ON restores (environment, created_at, id) WHERE state IN ('queued', 'running');

-- removed_at is set when the snapshot is gone: the row stays as history and
-- for R9's sizes.
CREATE TABLE backups (
    id                TEXT NOT NULL PRIMARY KEY,
    snapshot_id       TEXT NOT NULL,
    run_id            TEXT NOT NULL,
    schedule_id       TEXT NOT NULL,
    schedule          TEXT NOT NULL,
    environment_id    TEXT NOT NULL,
    environment       TEXT NOT NULL,
    destination_id    TEXT NOT NULL,
    destination       TEXT NOT NULL,
    trigger_kind      TEXT NOT NULL,
    status            TEXT NOT NULL,
    nominal           BIGINT NOT NULL,
    started_at        BIGINT NOT NULL,
    completed_at      BIGINT NOT NULL,
    size              BIGINT NOT NULL,
    added             BIGINT NOT NULL,
    files             BIGINT NOT NULL,
    verified_at       BIGINT NOT NULL,
    held              BOOLEAN NOT NULL,
    hold_reason       TEXT NOT NULL,
    missing           TEXT NOT NULL,
    removal_marked_at BIGINT NOT NULL,
    removal_begun_at  BIGINT NOT NULL,
    removed_at        BIGINT NOT NULL,
    UNIQUE (destination_id, snapshot_id)
);
CREATE INDEX backups_nominal ON backups (nominal, id) WHERE removed_at = 0;
CREATE INDEX backups_environment ON backups (environment, nominal, id) WHERE removed_at = 0;
CREATE INDEX backups_schedule ON backups (schedule_id, nominal, id);
CREATE INDEX backups_run ON backups (run_id);
CREATE INDEX backups_snapshot ON backups (snapshot_id);

CREATE TABLE set_aside (
    schedule_id    TEXT NOT NULL,
    destination_id TEXT NOT NULL,
    ids            TEXT NOT NULL,
    reason         TEXT NOT NULL,
    since          BIGINT NOT NULL,
    waited         BIGINT NOT NULL,
    decision       TEXT NOT NULL,
    judged_at      BIGINT NOT NULL,
    PRIMARY KEY (schedule_id, destination_id)
);

CREATE TABLE tokens (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE audit (
    id     TEXT NOT NULL PRIMARY KEY,
    at     BIGINT NOT NULL,
    actor  TEXT NOT NULL,
    action TEXT NOT NULL,
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at, id);

CREATE TABLE settings (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- One row for each process that executes runs. heartbeat_at is the
-- database's clock, so that the nodes need not agree about the time.
CREATE TABLE nodes (
    id           TEXT NOT NULL PRIMARY KEY,
    worker       TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    stopped      BOOLEAN NOT NULL
);

-- +goose Down

DROP TABLE nodes;
DROP TABLE settings;
DROP TABLE audit;
DROP TABLE tokens;
DROP TABLE set_aside;
DROP TABLE backups;
DROP TABLE restores;
DROP TABLE attempts;
DROP TABLE runs;
DROP TABLE slots;
DROP TABLE schedule_destinations;
DROP TABLE schedules;
DROP TABLE repositories;
DROP TABLE destinations;
DROP TABLE environments;
DROP TABLE names;
