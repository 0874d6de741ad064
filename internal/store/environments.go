package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const environmentColumns = `SELECT id, owner, version, created_at, updated_at, spec FROM environments`

func scanEnvironment(row scanner) (envbackup.Environment, error) {
	var e envbackup.Environment
	err := row.Scan(&e.ID, &e.Owner, &e.Version, at(&e.CreatedAt), at(&e.UpdatedAt), into(&e.EnvironmentSpec))
	return e, err
}

// CreateEnvironment adds e and fills its Meta, but for the owner. It takes
// the id that an environment of this name had before. CodeConflict: the name
// is taken.
func (s *Store) CreateEnvironment(ctx context.Context, e *envbackup.Environment) error {
	return s.Tx(ctx, func(tx *Tx) error {
		id, err := idFor(ctx, tx.tx, prefixEnvironment, e.Name)
		if err != nil {
			return err
		}
		made := now()
		e.Meta = envbackup.Meta{ID: id, Owner: e.Owner, Version: 1, CreatedAt: made, UpdatedAt: made}
		_, err = tx.tx.ExecContext(ctx, `INSERT INTO environments (id, name, owner, version, created_at, updated_at, spec)
			VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			e.ID, e.Name, e.Owner, e.Version, micros(e.CreatedAt), micros(e.UpdatedAt), doc(e.EnvironmentSpec))
		return translate(err, "create", "environment", e.Name)
	})
}

// Environment returns the environment with this id or name.
func (s *Store) Environment(ctx context.Context, idOrName string) (envbackup.Environment, error) {
	return environment(ctx, s.read, idOrName, "")
}

func environment(ctx context.Context, q querier, idOrName, lock string) (envbackup.Environment, error) {
	// A name may look like an id; the id comes first.
	row := q.QueryRowContext(ctx, environmentColumns+` WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1`+lock, idOrName)
	e, err := scanEnvironment(row)
	return e, translate(err, "read", "environment", idOrName)
}

// Environments lists environments by name.
func (s *Store) Environments(ctx context.Context, p envbackup.Page) ([]envbackup.Environment, string, error) {
	items, next, err := page(ctx, s.read, environmentColumns, filter{}, order{columns: []string{"name"}, types: "s"}, p, scanEnvironment,
		func(e envbackup.Environment) []any { return []any{e.Name} })
	if err != nil {
		return nil, "", fmt.Errorf("list environments: %w", err)
	}
	return items, next, nil
}

// UpdateEnvironment replaces the specification and the owner of e.ID and
// fills the rest of its Meta. A name never changes. CodeStale: ifVersion is
// not 0 and not the version.
func (s *Store) UpdateEnvironment(ctx context.Context, e *envbackup.Environment, ifVersion int64) error {
	return s.Tx(ctx, func(tx *Tx) error {
		old, err := environment(ctx, tx.tx, e.ID, tx.dialect.forUpdate())
		if err != nil {
			return err
		}
		if err := checkChange("environment", old.Name, e.Name, old.Version, ifVersion); err != nil {
			return err
		}
		e.Meta = changed(old.Meta, e.Owner)
		_, err = tx.tx.ExecContext(ctx, `UPDATE environments SET owner = $2, version = $3, updated_at = $4, spec = $5 WHERE id = $1`,
			e.ID, e.Owner, e.Version, micros(e.UpdatedAt), doc(e.EnvironmentSpec))
		return translate(err, "update", "environment", e.Name)
	})
}

// DeleteEnvironment removes an environment that no schedule uses; else
// CodeConflict names the schedules. Its backups and its repositories'
// passwords stay (R11), and an environment made later under the same name
// finds them.
func (s *Store) DeleteEnvironment(ctx context.Context, id string, ifVersion int64) error {
	return s.Tx(ctx, func(tx *Tx) error {
		old, err := environment(ctx, tx.tx, id, tx.dialect.forUpdate())
		if err != nil {
			return err
		}
		if ifVersion != 0 && ifVersion != old.Version {
			return stale("environment", old.Name, old.Version)
		}
		users, err := all(ctx, tx.tx, `SELECT environment || '/' || name FROM schedules WHERE environment_id = $1 ORDER BY 1`, []any{old.ID}, scanString)
		if err != nil {
			return fmt.Errorf("find schedules of environment %q: %w", old.Name, err)
		}
		if len(users) > 0 {
			return inUse("environment", old.Name, users)
		}
		_, err = tx.tx.ExecContext(ctx, `DELETE FROM environments WHERE id = $1`, old.ID)
		return translate(err, "delete", "environment", old.Name)
	})
}

// checkChange refuses a change of the name and a change of something newer.
func checkChange(kind, name, newName string, version, ifVersion int64) error {
	if ifVersion != 0 && ifVersion != version {
		return stale(kind, name, version)
	}
	if newName != name {
		return envbackup.Invalid(envbackup.Finding{
			Severity: envbackup.SeverityError, Path: "name", Summary: "The name cannot change",
			Detail: fmt.Sprintf("%s %q keeps its name, because its backups are stored under it; make a new one named %q instead.", kind, name, newName),
		})
	}
	return nil
}

// changed is the Meta after a change.
func changed(m envbackup.Meta, owner string) envbackup.Meta {
	m.Owner = owner
	m.Version++
	m.UpdatedAt = now()
	return m
}

// shownUsers is how many schedules an error names.
const shownUsers = 5

func inUse(kind, name string, schedules []string) error {
	shown, more := schedules, ""
	if len(shown) > shownUsers {
		shown, more = shown[:shownUsers], fmt.Sprintf(" and %d more", len(schedules)-shownUsers)
	}
	return &envbackup.Error{
		Code:    envbackup.CodeConflict,
		Message: fmt.Sprintf("%s %q is used by %s%s", kind, name, strings.Join(shown, ", "), more),
		Hint:    "delete the schedules first, or point them elsewhere",
	}
}

// Environment is Store.Environment within the transaction.
func (tx *Tx) Environment(ctx context.Context, idOrName string) (envbackup.Environment, error) {
	return environment(ctx, tx.tx, idOrName, "")
}
