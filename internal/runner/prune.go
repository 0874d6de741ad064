package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Prune applies a schedule's retention now, at each of its destinations, or
// with dryRun only says what it would do. Removals that R4 sets aside wait
// here too. actor is for the log.
func (r *Runner) Prune(ctx context.Context, scheduleID string, dryRun bool, actor string) (envbackup.PruneReport, error) {
	return r.prune(ctx, scheduleID, scope{dryRun: dryRun}, actor)
}

// Reclaim is Prune in a window that an operator grants (R12): data that no
// backup needs are removed whatever else goes on, with as much rewriting as it
// takes. It waits for the repository's exclusive lock until ctx ends, and runs
// that come due wait for it.
func (r *Runner) Reclaim(ctx context.Context, scheduleID string, actor string) (envbackup.PruneReport, error) {
	return r.prune(ctx, scheduleID, scope{reclaim: true}, actor)
}

func (r *Runner) prune(ctx context.Context, scheduleID string, in scope, actor string) (envbackup.PruneReport, error) {
	report := envbackup.PruneReport{DryRun: in.dryRun}
	sched, err := r.store.Schedule(ctx, scheduleID)
	if err != nil {
		return report, err
	}
	env, err := r.store.Environment(ctx, sched.EnvironmentID)
	if err != nil {
		return report, err
	}
	if err := r.mine(env); err != nil {
		return report, err
	}
	var notes []string
	var errs []error
	for _, id := range sched.DestinationIDs {
		dest, err := r.store.Destination(ctx, id)
		if err != nil {
			return report, err
		}
		v, err := r.applyRetention(ctx, sched.ID, env, dest, in)
		notes = append(notes, v.notes...)
		if err == nil && !in.dryRun && !v.held && (v.reclaimable || in.reclaim) {
			var done reclaimed
			done, err = r.reclaim(ctx, env, dest, reclaimScope{window: in.reclaim})
			report.Reclaimed += done.bytes
			notes = append(notes, done.notes...)
		}
		if err != nil {
			errs = append(errs, err)
			notes = append(notes, fmt.Sprintf("%s: %v", dest.Name, err))
		}
		for _, it := range v.decision.Items {
			report.Verdicts = append(report.Verdicts, envbackup.Verdict{
				Backup: v.backups[it.Point.ID], Keep: it.Keep, Reasons: it.Reasons,
			})
		}
		report.Removed += int64(len(v.removed))
		for _, l := range v.setAside {
			report.SetAside += int64(len(l.BackupIDs))
			report.Lists = append(report.Lists, l)
		}
	}
	report.Note = strings.Join(notes, "; ")
	if report.Removed > 0 && !in.dryRun {
		r.cfg.Log.InfoContext(ctx, "pruned", "schedule", sched.Reference(), "removed", report.Removed, "reclaimed", report.Reclaimed, "actor", actor)
	}
	if len(errs) == len(sched.DestinationIDs) {
		return report, errors.Join(errs...)
	}
	return report, nil
}

// mine refuses an environment that is pinned to another worker: a local
// destination is a directory of that worker's host.
func (r *Runner) mine(env envbackup.Environment) error {
	if env.Worker == "" || env.Worker == r.cfg.Worker {
		return nil
	}
	return &envbackup.Error{
		Code:    envbackup.CodeInvalid,
		Message: fmt.Sprintf("environment %q belongs to the worker %q, and this is %q", env.Name, env.Worker, r.cfg.Worker),
		Hint:    "ask that worker's daemon",
	}
}

// RemoveAged removes what is older than the max_age of its schedule, at every
// schedule that has one: a duty of privacy waits for no successful run. A
// failure at one schedule does not stop the others.
func (r *Runner) RemoveAged(ctx context.Context) error {
	var errs []error
	page := envbackup.Page{Limit: 1000}
	for {
		schedules, next, err := r.store.Schedules(ctx, envbackup.ScheduleFilter{}, page)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, s := range schedules {
			if s.Retention.MaxAge == "" {
				continue
			}
			env, err := r.store.Environment(ctx, s.EnvironmentID)
			if err == nil && r.mine(env) == nil {
				_, err = r.prune(ctx, s.ID, scope{maxAgeOnly: true}, "max_age")
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("remove aged backups of %s: %w", s.Reference(), err))
			}
		}
		if next == "" {
			return errors.Join(errs...)
		}
		page.Cursor = next
	}
}
