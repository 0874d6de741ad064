package store

import (
	"context"
	"fmt"

	"github.com/google/uuid"
)

// The prefixes of ids, so that one in a log or a ticket says what it is.
const (
	prefixEnvironment = "env_"
	prefixDestination = "dst_"
	prefixSchedule    = "sch_"
	prefixRun         = "run_"
	prefixBackup      = "bkp_"
	prefixRestore     = "rst_"
	prefixToken       = "tok_"
	prefixAudit       = "aud_"

	prefixVerification = "vrf_"
)

// newID makes an id that sorts by its time of creation.
func newID(prefix string) string { return prefix + uuid.Must(uuid.NewV7()).String() }

// idFor returns the id that name had before, or gives it a new one: a thing
// that is created again under its old name finds its repositories, backups
// and ledger again (S16, R11).
func idFor(ctx context.Context, q querier, prefix, name string) (string, error) {
	var id string
	err := q.QueryRowContext(ctx, `INSERT INTO names (kind, name, id) VALUES ($1, $2, $3)
		ON CONFLICT (kind, name) DO UPDATE SET name = excluded.name RETURNING id`,
		prefix, name, newID(prefix)).Scan(&id)
	if err != nil {
		return "", fmt.Errorf("find id of %q: %w", name, err)
	}
	return id, nil
}
