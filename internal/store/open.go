package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

// readers is how many requests of the API read a SQLite file at once.
const readers = 4

// Open opens and migrates the database that dsn names: a file path or
// "sqlite:PATH", which is created if need be, or "postgres://...". That no
// second process opens the same SQLite file is the caller's to ensure. A
// database of a newer program is refused.
func Open(ctx context.Context, dsn string) (*Store, error) {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		return openPostgres(ctx, dsn)
	}
	return openSQLite(ctx, strings.TrimPrefix(dsn, "sqlite:"))
}

func openSQLite(ctx context.Context, path string) (*Store, error) {
	if path == "" {
		return nil, errors.New("open database: the path is empty")
	}
	// Settings go into the DSN: a statement after opening would reach one
	// connection only. FULL, because a slot that was claimed must stay claimed
	// after a power cut. Transactions take the write lock at once, because a
	// reader that turns writer in the middle fails instead of waiting.
	db, err := sql.Open("sqlite", sqliteDSN(path, url.Values{
		"_pragma": {"journal_mode(WAL)", "busy_timeout(10000)", "foreign_keys(1)", "synchronous(FULL)"},
		"_txlock": {"immediate"},
	}))
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", sqliteDSN(path, url.Values{
		"_pragma": {"busy_timeout(10000)", "query_only(1)"},
	}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), db.Close())
	}
	read.SetMaxOpenConns(readers)
	read.SetMaxIdleConns(readers)

	s := &Store{dialect: sqliteDB, db: db, read: read}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", path, err), s.Close())
	}
	return s, nil
}

func sqliteDSN(path string, values url.Values) string {
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: values.Encode()}
	return dsn.String()
}

// openPostgres never puts dsn into an error: it holds a password.
func openPostgres(ctx context.Context, dsn string) (*Store, error) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("open database: the postgres:// address cannot be parsed")
	}
	db := stdlib.OpenDB(*config)
	listenConfig, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.Join(errors.New("open database: the postgres:// address cannot be parsed"), db.Close())
	}
	// The queue keeps this connection for LISTEN; nothing else may use it.
	listenConfig.MinConns, listenConfig.MaxConns = 0, 1
	listen, err := pgxpool.NewWithConfig(ctx, listenConfig)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database at %s: %w", config.Host, err), db.Close())
	}
	s := &Store{dialect: postgres, db: db, read: db, listen: listen}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database at %s: %w", config.Host, err), s.Close())
	}
	return s, nil
}
