package store

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

const repositoryColumns = `SELECT destination_id, environment_id, repository_id, location, sealed_password,
	recovery_version, recovery_key_id, key_shown_at, created_at, reclaim_since, reclaim_why FROM repositories`

func scanRepository(row scanner) (envbackup.Repository, error) {
	var r envbackup.Repository
	err := row.Scan(&r.DestinationID, &r.EnvironmentID, &r.RepositoryID, &r.Location, &r.SealedPassword,
		&r.RecoveryVersion, &r.RecoveryKeyID, at(&r.KeyShownAt), at(&r.CreatedAt),
		at(&r.ReclaimSince), &r.ReclaimWhy)
	return r, err
}

// Repository returns what is known about the repository of a destination and
// an environment, both by id. It outlives both.
func (s *Store) Repository(ctx context.Context, destinationID, environmentID string) (envbackup.Repository, error) {
	row := s.read.QueryRowContext(ctx, repositoryColumns+` WHERE destination_id = $1 AND environment_id = $2`, destinationID, environmentID)
	r, err := scanRepository(row)
	return r, translate(err, "read", "repository", destinationID+"/"+environmentID)
}

// SaveRepository adds r, filling CreatedAt where it is zero, or replaces what
// is known about it, but for the reclamation, which NoteReclaim records.
func (s *Store) SaveRepository(ctx context.Context, r *envbackup.Repository) error {
	if r.CreatedAt.IsZero() {
		r.CreatedAt = now()
	}
	return s.Tx(ctx, func(tx *Tx) error {
		_, err := tx.tx.ExecContext(ctx, `INSERT INTO repositories (destination_id, environment_id, repository_id, location, sealed_password,
				recovery_version, recovery_key_id, key_shown_at, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
			ON CONFLICT (destination_id, environment_id) DO UPDATE SET
				repository_id = excluded.repository_id, location = excluded.location, sealed_password = excluded.sealed_password,
				recovery_version = excluded.recovery_version, recovery_key_id = excluded.recovery_key_id,
				key_shown_at = excluded.key_shown_at, created_at = excluded.created_at`,
			r.DestinationID, r.EnvironmentID, r.RepositoryID, r.Location, r.SealedPassword,
			r.RecoveryVersion, r.RecoveryKeyID, micros(r.KeyShownAt), micros(r.CreatedAt))
		return translate(err, "save", "repository", r.DestinationID+"/"+r.EnvironmentID)
	})
}

// Repositories lists the repositories of a destination, by id, oldest first;
// all of them for "".
func (s *Store) Repositories(ctx context.Context, destinationID string) ([]envbackup.Repository, error) {
	var f filter
	if destinationID != "" {
		f.add("destination_id = ?", destinationID)
	}
	items, err := all(ctx, s.read, repositoryColumns+f.clause()+` ORDER BY created_at, destination_id, environment_id`, f.args, scanRepository)
	if err != nil {
		return nil, fmt.Errorf("list repositories: %w", err)
	}
	return items, nil
}

// NoteReclaim records since when data wait to be reclaimed from a repository,
// and why; the zero time is that none do.
func (s *Store) NoteReclaim(ctx context.Context, destinationID, environmentID string, since time.Time, why string) error {
	_, err := s.db.ExecContext(ctx, `UPDATE repositories SET reclaim_since = $3, reclaim_why = $4
		WHERE destination_id = $1 AND environment_id = $2`, destinationID, environmentID, micros(since), why)
	return translate(err, "note reclamation of", "repository", destinationID+"/"+environmentID)
}

// Unreclaimed lists the repositories whose data wait to be reclaimed since
// before the instant.
func (s *Store) Unreclaimed(ctx context.Context, before time.Time) ([]envbackup.Repository, error) {
	items, err := all(ctx, s.read, repositoryColumns+` WHERE reclaim_since <> 0 AND reclaim_since < $1 ORDER BY destination_id, environment_id`,
		[]any{micros(before)}, scanRepository)
	if err != nil {
		return nil, fmt.Errorf("list unreclaimed repositories: %w", err)
	}
	return items, nil
}
