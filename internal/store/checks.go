package store

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// OpenChecks returns the checks and repairs of an environment's repository at a
// destination (a name and an id) that have not ended, oldest first.
func (tx *Tx) OpenChecks(ctx context.Context, environment, destinationID string) ([]envbackup.Verification, error) {
	return tx.openVerifications(ctx, "backup_id = '' AND environment = $1 AND destination_id = $2", environment, destinationID)
}

// LastShare returns the newest check of a share of the repository that was
// ordered and not asked for; false for none.
func (tx *Tx) LastShare(ctx context.Context, environment, destinationID string) (envbackup.Verification, bool, error) {
	found, err := all(ctx, tx.tx, verificationColumns+` WHERE backup_id = '' AND environment = $1 AND destination_id = $2
		AND trigger_kind = 'schedule' AND level LIKE 'share %' ORDER BY created_at DESC, id DESC LIMIT 1`,
		[]any{environment, destinationID}, scanVerification)
	if err != nil {
		return envbackup.Verification{}, false, fmt.Errorf("read last check of environment %q: %w", environment, err)
	}
	if len(found) == 0 {
		return envbackup.Verification{}, false, nil
	}
	return found[0], true, nil
}

// RepositoryMade returns when the repository of a destination and an
// environment, both by id, was made.
func (tx *Tx) RepositoryMade(ctx context.Context, destinationID, environmentID string) (time.Time, error) {
	var made time.Time
	err := tx.tx.QueryRowContext(ctx, `SELECT created_at FROM repositories WHERE destination_id = $1 AND environment_id = $2`,
		destinationID, environmentID).Scan(at(&made))
	return made, translate(err, "read", "repository", destinationID+"/"+environmentID)
}
