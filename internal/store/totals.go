package store

import (
	"context"
	"fmt"
)

// BackupTotal sums up the backups that are listed of an environment at a
// destination.
type BackupTotal struct {
	Environment string
	Destination string
	Count       int64
	Added       int64 // bytes stored for them
}

// BackupTotals returns the sums, by environment and destination.
func (s *Store) BackupTotals(ctx context.Context) ([]BackupTotal, error) {
	totals, err := all(ctx, s.read, `SELECT environment, destination, COUNT(*), CAST(SUM(added) AS BIGINT) FROM backups
		WHERE removed_at = 0 GROUP BY environment, destination ORDER BY environment, destination`, nil, func(row scanner) (BackupTotal, error) {
		var t BackupTotal
		err := row.Scan(&t.Environment, &t.Destination, &t.Count, &t.Added)
		return t, err
	})
	if err != nil {
		return nil, fmt.Errorf("sum up backups: %w", err)
	}
	return totals, nil
}
