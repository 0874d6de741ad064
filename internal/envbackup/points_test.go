package envbackup_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// Retention's words and the store's must be the same: a trigger or a status
// that retention does not know would count as another kind of backup.
func TestPointSpeaksRetentionsWords(t *testing.T) {
	t.Parallel()
	triggers := map[envbackup.Trigger]retention.Trigger{
		envbackup.TriggerSchedule: retention.TriggerSchedule, envbackup.TriggerCatchUp: retention.TriggerCatchUp,
		envbackup.TriggerCreate: retention.TriggerCreate, envbackup.TriggerManual: retention.TriggerManual,
		envbackup.TriggerSafety: retention.TriggerSafety,
	}
	statuses := map[envbackup.BackupStatus]retention.Status{
		envbackup.BackupComplete: retention.StatusComplete, envbackup.BackupPartial: retention.StatusPartial,
		envbackup.BackupSuspect: retention.StatusSuspect, envbackup.BackupDamaged: retention.StatusDamaged,
	}
	at := time.Date(2026, 3, 29, 2, 30, 0, 0, time.UTC)
	for trigger, wantTrigger := range triggers {
		for status, wantStatus := range statuses {
			b := envbackup.Backup{
				ID: "bkp_1", Trigger: trigger, Status: status, Nominal: at, CompletedAt: at.Add(time.Minute),
				VerifiedAt: at.Add(time.Hour), Held: true, Size: 7,
			}
			want := retention.Point{
				ID: "bkp_1", Trigger: wantTrigger, Status: wantStatus, Nominal: at, Completed: at.Add(time.Minute),
				Verified: true, Held: true, Size: 7,
			}
			if diff := cmp.Diff(want, b.Point()); diff != "" {
				t.Errorf("point of a %s %s backup (-want +got):\n%s", status, trigger, diff)
			}
		}
	}
}
