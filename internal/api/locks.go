package api

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
)

// ruleLockLonger warns that locks keep backups which the retention lets go.
const ruleLockLonger = "object-lock-longer"

// lockFindings compares the object locks of the destinations with the
// retention. What a bucket locks by its own default no declaration knows.
func (s *server) lockFindings(ctx context.Context, p proposed, c *checked) error {
	for i, name := range p.spec.Destinations {
		if envbackup.CheckName("", name) != nil {
			continue
		}
		d, err := s.Store.Destination(ctx, name)
		if envbackup.CodeOf(err) == envbackup.CodeNotFound {
			continue // another finding says so
		}
		if err != nil {
			return err
		}
		if d.S3 == nil || d.S3.ObjectLockDays == 0 {
			continue
		}
		tier, keeps, ok := preflight.FirstToGo(preflight.Of(p.spec))
		if !ok || int64(keeps.Hours()) >= 24*d.S3.ObjectLockDays {
			continue
		}
		c.warn(p, ruleLockLonger, fmt.Sprintf("destinations[%d]", i), "Object lock outlasts the retention",
			"%s lets backups go after %s, but %q locks each for %s (object_lock_days = %d). Until its lock ends a backup stays, "+
				"so there will be more of them, and more to pay for, than the forecast says. Lower object_lock_days on the destination, "+
				"or keep backups longer.",
			tier, cron.FormatGap(keeps), name, days(d.S3.ObjectLockDays), d.S3.ObjectLockDays)
	}
	return nil
}

func days(n int64) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}
