package runner

import (
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// The keys of a snapshot's tags (DESIGN section 5). They are what a daemon
// that lost its state finds a backup by, so they never change.
const (
	tagProgram     = "envbackup"
	tagEnvironment = "environment"
	tagSchedule    = "schedule"
	tagScheduleID  = "schedule-id"
	tagRun         = "run"
	tagSlot        = "slot"
	tagTrigger     = "trigger"
	tagStatus      = "status"
)

// tagsOf returns the tags of a run's snapshot but for its status, which is
// known when everything was read.
func tagsOf(run envbackup.Run) restic.TagList {
	return restic.TagList{
		tagProgram,
		tagEnvironment + "=" + run.Environment,
		tagSchedule + "=" + run.Schedule,
		tagScheduleID + "=" + run.ScheduleID,
		tagRun + "=" + run.ID,
		tagSlot + "=" + run.Nominal.UTC().Format(time.RFC3339Nano),
		tagTrigger + "=" + string(run.Trigger),
	}
}

// taken is what the tags of a snapshot of ours say.
type taken struct {
	environment, schedule, scheduleID, runID string
	nominal                                  time.Time
	trigger                                  envbackup.Trigger
	status                                   envbackup.BackupStatus
}

// readTags reads what tagsOf wrote; ok is false for a snapshot that is not
// ours, or that lacks what a backup's row needs.
func readTags(tags restic.TagList) (t taken, ok bool) {
	value := func(key string) string { v, _ := tags.Value(key); return v }
	t = taken{
		environment: value(tagEnvironment), schedule: value(tagSchedule), scheduleID: value(tagScheduleID), runID: value(tagRun),
		trigger: envbackup.Trigger(value(tagTrigger)), status: envbackup.BackupStatus(value(tagStatus)),
	}
	var err error
	t.nominal, err = time.Parse(time.RFC3339, value(tagSlot))
	return t, err == nil && tags.Has(tagProgram) && t.scheduleID != "" && t.runID != ""
}
