package store

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// dialect is what the two databases do not share. Everything else is one SQL
// text: $N parameters, ON CONFLICT, RETURNING, row values, partial indexes.
type dialect int

const (
	sqliteDB dialect = iota
	postgres
)

// name is also the name of the directory of migrations.
func (d dialect) name() string {
	if d == postgres {
		return "postgres"
	}
	return "sqlite"
}

// forUpdate locks the rows of a SELECT until the transaction ends. SQLite's
// transactions hold the whole database.
func (d dialect) forUpdate() string {
	if d == postgres {
		return " FOR UPDATE"
	}
	return ""
}

// skipLocked is forUpdate that leaves out rows another transaction holds.
func (d dialect) skipLocked() string {
	if d == postgres {
		return " FOR UPDATE SKIP LOCKED"
	}
	return ""
}

// clock is the database's time in microseconds: what decides whether a node
// is alive, because the nodes' own clocks may differ.
func (d dialect) clock() string {
	if d == postgres {
		return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
	}
	return "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
}

// jobNow is the database's time in the type of the queue library's columns.
func (d dialect) jobNow() string {
	if d == postgres {
		return "now()"
	}
	return "strftime('%Y-%m-%d %H:%M:%f', 'now')"
}

// lastAttemptBy is the client that took a job last.
func (d dialect) lastAttemptBy(job string) string {
	if d == postgres {
		return fmt.Sprintf("%[1]s.attempted_by[array_upper(%[1]s.attempted_by, 1)]", job)
	}
	return fmt.Sprintf("json_extract(%s.attempted_by, '$[#-1]')", job)
}

// isUnique reports whether err is a violated primary key or unique index.
func isUnique(err error) bool {
	var lite *sqlite.Error
	if errors.As(err, &lite) {
		return lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505"
}

// translate turns a driver's error about one thing into the vocabulary of
// envbackup.
func translate(err error, act, kind, name string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return envbackup.NotFound(kind, name)
	case isUnique(err):
		return &envbackup.Error{Code: envbackup.CodeConflict, Message: fmt.Sprintf("%s %q already exists", kind, name), Err: err}
	default:
		return fmt.Errorf("%s %s %q: %w", act, kind, name, err)
	}
}

// stale reports that the thing changed since the caller read it.
func stale(kind, name string, have int64) error {
	return &envbackup.Error{
		Code:    envbackup.CodeStale,
		Message: fmt.Sprintf("%s %q changed meanwhile: it is at version %d", kind, name, have),
		Hint:    "read it again and repeat the change",
	}
}
