package envbackup

import "github.com/envbackup/terraform-provider-envbackup/internal/retention"

// Point returns what retention judges of a backup. Whether it is in use only
// the daemon that reads it knows; the caller fills that in.
func (b Backup) Point() retention.Point {
	return retention.Point{
		ID:          b.ID,
		Nominal:     b.Nominal,
		Completed:   b.CompletedAt,
		Trigger:     retention.Trigger(b.Trigger),
		Status:      retention.Status(b.Status),
		Verified:    !b.VerifiedAt.IsZero(),
		Held:        b.Held,
		LockedUntil: b.LockedUntil,
		Size:        b.Size,
	}
}
