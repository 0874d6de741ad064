package apitest

import (
	"context"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// scheduling stores what the scheduler and the queue would, and executes
// nothing.
type scheduling struct{ store *store.Store }

func (s *scheduling) Create(ctx context.Context, sch *envbackup.Schedule, now time.Time) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error { return tx.InsertSchedule(ctx, sch, now) })
}

func (s *scheduling) Update(ctx context.Context, sch *envbackup.Schedule, ifVersion int64, now time.Time) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error { return tx.UpdateSchedule(ctx, sch, ifVersion, now) })
}

func (s *scheduling) Delete(ctx context.Context, id string, ifVersion int64) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error { return tx.DeleteSchedule(ctx, id, ifVersion) })
}

func (s *scheduling) Pause(ctx context.Context, id string, now time.Time) error {
	return s.setPaused(ctx, id, true, now)
}

func (s *scheduling) Resume(ctx context.Context, id string, now time.Time) error {
	return s.setPaused(ctx, id, false, now)
}

func (s *scheduling) setPaused(ctx context.Context, id string, paused bool, now time.Time) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error {
		sch, err := tx.Schedule(ctx, id)
		if err != nil {
			return err
		}
		sch.Paused = paused
		return tx.UpdateSchedule(ctx, &sch, 0, now)
	})
}

// RunNow makes a queued run, and refuses a second one unless it may wait.
func (s *scheduling) RunNow(ctx context.Context, id string, wait bool, _ string, now time.Time) (envbackup.Run, error) {
	var run envbackup.Run
	err := s.store.Tx(ctx, func(tx *store.Tx) error {
		sch, err := tx.Schedule(ctx, id)
		if err != nil {
			return err
		}
		open, err := tx.OpenRuns(ctx, sch.ID)
		if err != nil {
			return err
		}
		if len(open) > 0 && !wait {
			return &envbackup.Error{Code: envbackup.CodeBusy, Message: "another run goes on"}
		}
		run = envbackup.Run{
			ScheduleID: sch.ID, Schedule: sch.Name, Environment: sch.Environment, EnvironmentID: sch.EnvironmentID,
			Trigger: envbackup.TriggerManual, Nominal: now, DueAt: now, StartBy: now.Add(2 * time.Hour), State: envbackup.RunQueued,
		}
		return tx.InsertRun(ctx, &run)
	})
	return run, err
}

func (s *scheduling) EnqueueRestore(ctx context.Context, r *envbackup.Restore) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error { return tx.InsertRestore(ctx, r) })
}

// CancelRun ends a run at once: nobody executes it.
func (s *scheduling) CancelRun(ctx context.Context, id string) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error {
		run, err := tx.Run(ctx, id)
		if err != nil {
			return err
		}
		run.State, run.FinishedAt = envbackup.RunCancelled, time.Now()
		_, err = tx.SaveRun(ctx, run, run.JobID)
		return err
	})
}

func (s *scheduling) CancelRestore(ctx context.Context, id string) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error {
		r, err := tx.Restore(ctx, id)
		if err != nil {
			return err
		}
		r.State, r.FinishedAt = envbackup.RunCancelled, time.Now()
		_, err = tx.SaveRestore(ctx, r, r.JobID)
		return err
	})
}

func (s *scheduling) EnqueueVerification(ctx context.Context, v *envbackup.Verification) error {
	b, err := s.store.Backup(ctx, v.BackupID)
	if err != nil {
		return err
	}
	v.Environment, v.ScheduleID, v.Schedule, v.Destination, v.State = b.Environment, b.ScheduleID, b.Schedule, b.Destination, envbackup.RunQueued
	return s.store.Tx(ctx, func(tx *store.Tx) error { return tx.InsertVerification(ctx, v) })
}

func (s *scheduling) EnqueueCheck(ctx context.Context, v *envbackup.Verification) error {
	v.State = envbackup.RunQueued
	return s.store.Tx(ctx, func(tx *store.Tx) error { return tx.InsertVerification(ctx, v) })
}

func (s *scheduling) CancelVerification(ctx context.Context, id string) error {
	return s.store.Tx(ctx, func(tx *store.Tx) error {
		v, err := tx.Verification(ctx, id)
		if err != nil {
			return err
		}
		v.State, v.FinishedAt = envbackup.RunCancelled, time.Now()
		_, err = tx.SaveVerification(ctx, v, v.JobID)
		return err
	})
}
