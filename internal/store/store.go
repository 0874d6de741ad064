// Package store keeps the daemon's state in SQL: what people declared, the
// ledger of slots, runs, restores and backups, tokens and the audit log. It
// decides how state is laid out and what one transaction covers; which slot
// is due, when an attempt is lost and what a policy keeps is decided by
// others.
//
// SQLite (one file, one process) and PostgreSQL (several daemons) run the
// same SQL text. Every method returns *envbackup.Error for what a person or
// an edge can act on: CodeNotFound, CodeConflict, CodeStale, CodeInvalid.
// Other errors are the database's own and say what was being done.
//
// A Store may be used concurrently. Never call a Store's method inside the
// function that Tx runs: SQLite has one writing connection and would wait for
// itself; the methods of Tx are for that.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"
	"github.com/riverqueue/river/riverdriver/riversqlite"
)

// Store is an open, migrated database. Close it when everything that uses it
// has stopped.
type Store struct {
	dialect dialect
	db      *sql.DB       // writes; one connection on SQLite
	read    *sql.DB       // reads; the same as db on PostgreSQL
	listen  *pgxpool.Pool // PostgreSQL only: the queue's LISTEN connection
}

// querier is what *sql.DB and *sql.Tx share.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Tx is a transaction. It ends with the function that it was given to.
type Tx struct {
	tx      *sql.Tx
	dialect dialect
}

// Raw returns the transaction itself, for the queue's library.
func (tx *Tx) Raw() *sql.Tx { return tx.tx }

// Tx runs fn in a transaction and commits when fn returns nil. On SQLite it
// takes the write lock from the beginning, so nothing else writes meanwhile.
func (s *Store) Tx(ctx context.Context, fn func(*Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing once committed

	if err := fn(&Tx{tx: tx, dialect: s.dialect}); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit transaction: %w", err)
	}
	return nil
}

// Driver is the queue library's driver over the same connections.
func (s *Store) Driver() riverdriver.Driver[*sql.Tx] {
	if s.dialect == sqliteDB {
		return riversqlite.New(s.db)
	}
	return riverdatabasesql.NewWithPgxListener(s.db, s.listen)
}

// SoleOwner reports whether no other process works on this database: true for
// SQLite, whose directory the daemon locks.
func (s *Store) SoleOwner() bool { return s.dialect == sqliteDB }

// Ping reports whether the database answers, reads and writes both.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.db.PingContext(ctx); err != nil {
		return fmt.Errorf("ping database: %w", err)
	}
	var one int
	if err := s.read.QueryRowContext(ctx, `SELECT COUNT(*) FROM settings WHERE key = ''`).Scan(&one); err != nil {
		return fmt.Errorf("ping database: %w", err)
	}
	return nil
}

// Close releases the connections. It must be called once, after the queue has
// stopped.
func (s *Store) Close() error {
	if s.listen != nil {
		s.listen.Close()
	}
	var err error
	if s.read != s.db {
		err = s.read.Close()
	}
	return errors.Join(err, s.db.Close())
}

// now is the instant that a change is recorded with, to the microsecond that
// the database keeps, so that what is returned equals what is read back.
func now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
