package queue

import (
	"context"
	"errors"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// failedAgain is how long after a failure that stays the next verification
// comes that a schedule asks for.
const failedAgain = 24 * time.Hour

// orderVerifications adds, after a run has ended, the checks of its
// repositories that are due, and the verifications that its
// schedule asks for: of the newest complete backup at each destination where
// the newest verified one is older than verify.every.
func (q *Queue) orderVerifications(ctx context.Context, tx *store.Tx, r envbackup.Run, now time.Time) error {
	if !r.State.Final() || r.ScheduleID == "" {
		return nil
	}
	for _, d := range r.Destinations {
		if d.BackupID == "" {
			continue
		}
		if err := q.orderShare(ctx, tx, r, d, now); err != nil {
			return err
		}
	}
	s, err := tx.Schedule(ctx, r.ScheduleID)
	if err != nil {
		return ignoreMissing(err)
	}
	if s.Verify == nil {
		return nil
	}
	spec := s.Verify.WithDefaults()
	every, err := retention.ParseDuration(spec.Every)
	most, err2 := retention.ParseDuration(spec.MaxDuration)
	if err := errors.Join(err, err2); err != nil {
		// No reason to lose the run's result.
		q.cfg.Log.WarnContext(ctx, "verification not ordered", "schedule", s.Reference(), "error", err)
		return nil
	}
	for _, d := range r.Destinations {
		if d.BackupID == "" {
			continue // nothing came of the run there
		}
		b, due, err := q.verificationDue(ctx, tx, s.ID, d.DestinationID, every.Approx(), now)
		if err != nil {
			return err
		}
		if !due {
			continue
		}
		v := envbackup.Verification{
			BackupID: b.ID, ScheduleID: s.ID, Schedule: b.Schedule, Environment: b.Environment,
			DestinationID: b.DestinationID, Destination: b.Destination, Worker: r.Worker,
			Level: envbackup.VerifyLevel(spec.Level), Trigger: envbackup.TriggerSchedule, MaxDuration: most.Approx(),
			State: envbackup.RunQueued, Progress: envbackup.Progress{Phase: envbackup.PhaseWaiting},
		}
		if err := tx.InsertVerification(ctx, &v); err != nil {
			return err
		}
		q.cfg.Log.InfoContext(ctx, "verification ordered", "verification", v.ID, "backup", b.ID, "schedule", s.Reference(), "destination", d.Destination)
	}
	return nil
}

// verificationDue returns the backup that has to be verified at a destination
// of a schedule, if there is one. Ages are counted in nominal times, so that a
// weekly verification comes each week whenever its run happened to end; the
// slack is for the hour that daylight saving time takes away. What stays as it
// ended is not repeated after every run, but once a day.
func (q *Queue) verificationDue(ctx context.Context, tx *store.Tx, scheduleID, destinationID string, every time.Duration, now time.Time) (envbackup.Backup, bool, error) {
	open, err := tx.OpenVerificationsAt(ctx, scheduleID, destinationID)
	if err != nil || len(open) > 0 {
		return envbackup.Backup{}, false, err
	}
	slack := min(time.Hour, every/24)
	last, ok, err := tx.LastOrdered(ctx, scheduleID, destinationID)
	if err != nil {
		return envbackup.Backup{}, false, err
	}
	if ok && stays(last) && now.Sub(last.FinishedAt) < min(every, failedAgain)-slack {
		return envbackup.Backup{}, false, nil
	}
	newest, ok, err := tx.NewestComplete(ctx, scheduleID, destinationID, false)
	if err != nil || !ok || !newest.VerifiedAt.IsZero() {
		return newest, false, err
	}
	proven, ok, err := tx.NewestComplete(ctx, scheduleID, destinationID, true)
	if err != nil {
		return newest, false, err
	}
	return newest, !ok || newest.Nominal.Sub(proven.Nominal) >= every-slack, nil
}

// stays reports whether a verification ended in a way that the next one would
// probably end in, too: damage, too little time, no room, or a person who does
// not want it now.
func stays(v envbackup.Verification) bool {
	switch v.State {
	case envbackup.RunFailed:
		return v.Failure == nil || !v.Failure.Code.Retryable()
	case envbackup.RunCancelled:
		return v.CancelRequested
	default:
		return false
	}
}
