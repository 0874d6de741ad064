package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

//go:embed migrations
var migrationFiles embed.FS

// queueSchema is the newest version of the queue library's tables that this
// program brings. Its migrations are the steps 1 to queueSchema of ours; our
// own files start at 100.
const queueSchema = 8

// migrate brings the database to this program's schema, or refuses one that
// is newer. On PostgreSQL daemons that start together take turns.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Sub(migrationFiles, "migrations/"+s.dialect.name())
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	options := []goose.ProviderOption{
		goose.WithGoMigrations(s.queueMigrations()...),
		goose.WithDisableGlobalRegistry(true),
	}
	gooseDialect := goose.DialectSQLite3
	if s.dialect == postgres {
		gooseDialect = goose.DialectPostgres
		locker, err := lock.NewPostgresSessionLocker()
		if err != nil {
			return fmt.Errorf("prepare migration lock: %w", err)
		}
		options = append(options, goose.WithSessionLocker(locker))
	}
	provider, err := goose.NewProvider(gooseDialect, s.db, files, options...)
	if err != nil {
		return fmt.Errorf("prepare migrations: %w", err)
	}
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if current > target {
		return &envbackup.Error{
			Code:    envbackup.CodeUnavailable,
			Message: fmt.Sprintf("the database has schema %d, this program knows schemas up to %d", current, target),
			Hint:    "start the release that wrote it, or a newer one",
		}
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return s.validateQueueSchema(ctx)
}

// queueMigrations makes one step of each version of the queue library:
// PostgreSQL cannot use an enum value in the transaction that adds it, so all
// of them in one would fail.
func (s *Store) queueMigrations() []*goose.Migration {
	var steps []*goose.Migration
	for version := 1; version <= queueSchema; version++ {
		steps = append(steps, goose.NewGoMigration(int64(version), &goose.GoFunc{
			RunTx: func(ctx context.Context, tx *sql.Tx) error {
				m, err := rivermigrate.New(s.Driver(), nil)
				if err != nil {
					return fmt.Errorf("prepare queue schema: %w", err)
				}
				_, err = m.MigrateTx(ctx, tx, rivermigrate.DirectionUp, &rivermigrate.MigrateOpts{TargetVersion: version}) //nolint:staticcheck // one step a transaction, under one history; only all steps in one transaction fail
				if err != nil {
					return fmt.Errorf("migrate queue schema to %d: %w", version, err)
				}
				return nil
			},
		}, nil))
	}
	return steps
}

// validateQueueSchema fails where the library was upgraded without a step for
// its new schema: better at the start than at the first run.
func (s *Store) validateQueueSchema(ctx context.Context) error {
	m, err := rivermigrate.New(s.Driver(), nil)
	if err != nil {
		return fmt.Errorf("prepare queue schema: %w", err)
	}
	result, err := m.Validate(ctx, nil)
	if err != nil {
		return fmt.Errorf("validate queue schema: %w", err)
	}
	if !result.OK {
		return fmt.Errorf("validate queue schema: %s", strings.Join(result.Messages, "; "))
	}
	return nil
}
