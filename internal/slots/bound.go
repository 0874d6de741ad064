package slots

import (
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// MaxBackups returns the most backups that a policy ever keeps of an expression
// under windows, which may be nil, whatever a schedule's share of the jitter.
func MaxBackups(p retention.Policy, s *cron.Schedule, loc *time.Location, windows *Windows, jitter time.Duration) retention.Bound {
	if windows.None() {
		return retention.MaxBackups(p, s, loc)
	}
	var most retention.Bound
	for i, share := range shares(s, loc, windows, jitter) {
		if i > 0 && share%time.Minute > time.Second {
			continue // the same slots run as with a share that was looked at
		}
		b := retention.MaxBackups(p, RhythmOf(s, windows, share), loc)
		most.Backups, most.Oldest = max(most.Backups, b.Backups), max(most.Oldest, b.Oldest)
		most.Unbounded = b.Unbounded
	}
	return most
}
