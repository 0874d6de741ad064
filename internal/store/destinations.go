package store

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const destinationColumns = `SELECT id, owner, version, created_at, updated_at, spec,
	secret_key, secret_key_version, recovery_password, recovery_version FROM destinations`

func scanDestination(row scanner) (envbackup.Destination, error) {
	var d envbackup.Destination
	err := row.Scan(&d.ID, &d.Owner, &d.Version, at(&d.CreatedAt), at(&d.UpdatedAt), into(&d.DestinationSpec),
		&d.SealedSecretKey, &d.SecretKeyVersion, &d.SealedRecoveryPassword, &d.RecoveryVersion)
	return d, err
}

// CreateDestination adds d and fills its Meta, but for the owner. It takes
// the id that a destination of this name had before. CodeConflict: the name
// is taken.
func (s *Store) CreateDestination(ctx context.Context, d *envbackup.Destination) error {
	return s.Tx(ctx, func(tx *Tx) error {
		id, err := idFor(ctx, tx.tx, prefixDestination, d.Name)
		if err != nil {
			return err
		}
		made := now()
		d.Meta = envbackup.Meta{ID: id, Owner: d.Owner, Version: 1, CreatedAt: made, UpdatedAt: made}
		_, err = tx.tx.ExecContext(ctx, `INSERT INTO destinations (id, name, owner, version, created_at, updated_at, spec,
				secret_key, secret_key_version, recovery_password, recovery_version)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			d.ID, d.Name, d.Owner, d.Version, micros(d.CreatedAt), micros(d.UpdatedAt), doc(d.DestinationSpec),
			d.SealedSecretKey, d.SecretKeyVersion, d.SealedRecoveryPassword, d.RecoveryVersion)
		return translate(err, "create", "destination", d.Name)
	})
}

// Destination returns the destination with this id or name.
func (s *Store) Destination(ctx context.Context, idOrName string) (envbackup.Destination, error) {
	return destination(ctx, s.read, idOrName, "")
}

func destination(ctx context.Context, q querier, idOrName, lock string) (envbackup.Destination, error) {
	row := q.QueryRowContext(ctx, destinationColumns+` WHERE id = $1 OR name = $1 ORDER BY CASE WHEN id = $1 THEN 0 ELSE 1 END LIMIT 1`+lock, idOrName)
	d, err := scanDestination(row)
	return d, translate(err, "read", "destination", idOrName)
}

// Destinations lists destinations by name.
func (s *Store) Destinations(ctx context.Context, p envbackup.Page) ([]envbackup.Destination, string, error) {
	items, next, err := page(ctx, s.read, destinationColumns, filter{}, order{columns: []string{"name"}, types: "s"}, p, scanDestination,
		func(d envbackup.Destination) []any { return []any{d.Name} })
	if err != nil {
		return nil, "", fmt.Errorf("list destinations: %w", err)
	}
	return items, next, nil
}

// UpdateDestination replaces everything but the name of d.ID, secrets and
// their versions included, and fills the rest of its Meta. CodeStale:
// ifVersion is not 0 and not the version.
func (s *Store) UpdateDestination(ctx context.Context, d *envbackup.Destination, ifVersion int64) error {
	return s.Tx(ctx, func(tx *Tx) error {
		old, err := destination(ctx, tx.tx, d.ID, tx.dialect.forUpdate())
		if err != nil {
			return err
		}
		if err := checkChange("destination", old.Name, d.Name, old.Version, ifVersion); err != nil {
			return err
		}
		d.Meta = changed(old.Meta, d.Owner)
		_, err = tx.tx.ExecContext(ctx, `UPDATE destinations SET owner = $2, version = $3, updated_at = $4, spec = $5,
				secret_key = $6, secret_key_version = $7, recovery_password = $8, recovery_version = $9 WHERE id = $1`,
			d.ID, d.Owner, d.Version, micros(d.UpdatedAt), doc(d.DestinationSpec),
			d.SealedSecretKey, d.SecretKeyVersion, d.SealedRecoveryPassword, d.RecoveryVersion)
		return translate(err, "update", "destination", d.Name)
	})
}

// DeleteDestination removes a destination that no schedule uses; else
// CodeConflict names the schedules. Its backups and its repositories'
// passwords stay (R11), and a destination made later under the same name
// finds them.
func (s *Store) DeleteDestination(ctx context.Context, id string, ifVersion int64) error {
	return s.Tx(ctx, func(tx *Tx) error {
		old, err := destination(ctx, tx.tx, id, tx.dialect.forUpdate())
		if err != nil {
			return err
		}
		if ifVersion != 0 && ifVersion != old.Version {
			return stale("destination", old.Name, old.Version)
		}
		users, err := all(ctx, tx.tx, `SELECT s.environment || '/' || s.name FROM schedules s
			JOIN schedule_destinations d ON d.schedule_id = s.id WHERE d.destination_id = $1 ORDER BY 1`, []any{old.ID}, scanString)
		if err != nil {
			return fmt.Errorf("find schedules of destination %q: %w", old.Name, err)
		}
		if len(users) > 0 {
			return inUse("destination", old.Name, users)
		}
		_, err = tx.tx.ExecContext(ctx, `DELETE FROM destinations WHERE id = $1`, old.ID)
		return translate(err, "delete", "destination", old.Name)
	})
}
