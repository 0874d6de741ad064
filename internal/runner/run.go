package runner

import (
	"context"
	"errors"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// maxNamed bounds how many unreadable paths a run and a backup name.
const maxNamed = 100

// ExecuteRun takes the run's backup at each of its schedule's destinations,
// one after the other, and applies retention at each.
//
// The outcome is filled even beside an error: a run whose attempts are used up
// keeps what was reached at the other destinations. An error is returned when
// nothing was reached, or when another attempt can mend what is missing.
func (r *Runner) ExecuteRun(ctx context.Context, run envbackup.Run, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	sched, err := r.store.Schedule(ctx, run.ScheduleID)
	if err != nil {
		return envbackup.Outcome{State: envbackup.RunFailed}, err
	}
	env, err := r.store.Environment(ctx, run.EnvironmentID)
	if err != nil {
		return envbackup.Outcome{State: envbackup.RunFailed}, err
	}
	sources, err := r.sources(env)
	if err != nil {
		return envbackup.Outcome{State: envbackup.RunFailed}, err
	}

	r.makeWay(env.ID) // R12

	if len(sched.DestinationIDs) == 0 {
		return envbackup.Outcome{State: envbackup.RunFailed}, &envbackup.Error{
			Code: envbackup.CodeInvalid, Message: fmt.Sprintf("schedule %q has no destination", sched.Reference()), Hint: "give it one",
		}
	}
	out := envbackup.Outcome{}
	var failures []error
	for _, id := range sched.DestinationIDs {
		part := &destinationRun{
			Runner: r, run: run, sched: sched, env: env, sources: sources, progress: progress,
			result: envbackup.RunDestination{DestinationID: id, State: envbackup.RunRunning},
		}
		err := part.execute(ctx, id)
		if err != nil {
			part.result.State = envbackup.RunFailed
			part.result.Failure = envbackup.FailureOf(err)
			failures = append(failures, err)
		}
		out.Destinations = append(out.Destinations, part.result)
		out.Warnings = append(out.Warnings, part.warnings...)
		out.FilesDone = max(out.FilesDone, part.files)
		out.BytesDone = max(out.BytesDone, part.bytes)
		if ctx.Err() != nil {
			break
		}
	}
	out.State = stateOf(out.Destinations, len(sched.DestinationIDs))
	if err := context.Cause(ctx); err != nil && len(failures) > 0 {
		return out, err
	}
	return out, worthReturning(out, failures)
}

// stateOf sums up the destinations: all good is succeeded, none is failed, and
// anything in between is partial (S14).
func stateOf(parts []envbackup.RunDestination, wanted int) envbackup.RunState {
	good, some := 0, 0
	for _, p := range parts {
		switch p.State {
		case envbackup.RunSucceeded:
			good++
		case envbackup.RunPartial:
			some++
		}
	}
	switch {
	case good == wanted:
		return envbackup.RunSucceeded
	case good+some == 0:
		return envbackup.RunFailed
	default:
		return envbackup.RunPartial
	}
}

// worthReturning picks the error of an attempt: one that another attempt can
// mend wins, so that the run is tried again; else the first one, when no
// destination was reached at all.
func worthReturning(out envbackup.Outcome, failures []error) error {
	for _, err := range failures {
		if envbackup.CodeOf(err).Retryable() {
			return err
		}
	}
	if out.State == envbackup.RunFailed {
		return errors.Join(failures[:min(1, len(failures))]...)
	}
	return nil
}

// destinationRun is one run's work at one destination.
type destinationRun struct {
	*Runner
	run      envbackup.Run
	sched    envbackup.Schedule
	env      envbackup.Environment
	sources  []archiver.Source
	progress func(envbackup.Progress)

	dest     envbackup.Destination
	result   envbackup.RunDestination
	warnings []string
	files    int64
	bytes    int64
	recent   []int64 // sizes that the backup was compared with (R9)
}

func (d *destinationRun) execute(ctx context.Context, destinationID string) error {
	dest, err := d.store.Destination(ctx, destinationID)
	if err != nil {
		return err
	}
	d.dest, d.result.Destination = dest, dest.Name
	backup, err := d.backup(ctx)
	if err != nil {
		return err
	}
	d.result.BackupID = backup.ID
	d.result.State = envbackup.RunSucceeded
	if backup.Status == envbackup.BackupPartial {
		d.result.State = envbackup.RunPartial
	}

	// From here on the backup is safe and the run has succeeded: what fails
	// below is said, and done by the next run.
	d.report(envbackup.Progress{Phase: envbackup.PhaseForget})
	verdict, err := d.applyRetention(ctx, d.sched.ID, d.env, d.dest, scope{newest: &backup})
	d.warnings = append(d.warnings, verdict.notes...)
	d.warnings = append(d.warnings, verdict.waits...)
	d.result.Removed = int64(len(verdict.removed))
	if err != nil {
		d.warn("retention at %s: %v", dest.Name, err)
		return nil
	}
	if err := d.extendLocks(ctx, d.env, d.dest, reclaimScope{until: verdict.nextAt, run: d.run.ID}); err != nil {
		d.warn("extending object locks at %s: %v", dest.Name, err)
	}
	if verdict.reclaimable {
		d.report(envbackup.Progress{Phase: envbackup.PhasePrune})
		done, err := d.reclaim(ctx, d.env, d.dest, reclaimScope{until: verdict.nextAt, run: d.run.ID})
		d.result.Reclaimed = done.bytes
		d.warnings = append(d.warnings, done.notes...)
		if err != nil {
			d.warn("reclaiming space at %s: %v", dest.Name, err)
		}
	}
	return nil
}

// report passes progress on with the destination's name and what is counted.
func (d *destinationRun) report(p envbackup.Progress) {
	p.Destination = d.dest.Name
	if p.FilesDone == 0 && p.BytesDone == 0 {
		p.FilesDone, p.BytesDone = d.files, d.bytes
		p.FilesTotal, p.BytesTotal = d.files, d.bytes
	}
	d.progress(p)
}

func (d *destinationRun) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}
