package api

import (
	"context"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) pruneSchedule(ctx context.Context, in *struct {
	Keyed
	Body *wire.PruneRequest
}) (*plain[wire.PruneResult], error) {
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	var asked wire.PruneRequest
	if in.Body != nil {
		asked = *in.Body
	}
	var report envbackup.PruneReport
	action := "prune"
	switch {
	case asked.DryRun && asked.Reclaim:
		return nil, envbackup.Invalid(envbackup.Finding{
			Severity: envbackup.SeverityError, Path: "reclaim", Summary: "A dry run reclaims nothing",
			Detail: "Ask for one of dry_run and reclaim.",
		})
	case asked.Reclaim:
		action = "prune reclaim"
		report, err = s.Pruner.Reclaim(ctx, sch.ID, actorOf(ctx).name)
	default:
		report, err = s.Pruner.Prune(ctx, sch.ID, asked.DryRun, actorOf(ctx).name)
	}
	if err != nil {
		return nil, err
	}
	if !asked.DryRun {
		s.changed(sch.ID)
		s.audit(ctx, action, "schedule", sch.Reference(), fmt.Sprintf("%d removed, %d set aside", report.Removed, report.SetAside))
	}
	body := wire.PruneResult{
		DryRun: report.DryRun, Backups: make([]wire.Backup, 0, len(report.Verdicts)),
		Removed: report.Removed, SetAside: report.SetAside, Reclaimed: report.Reclaimed, Note: report.Note,
		SetAsideLists: convert(report.Lists, setAsideDoc),
	}
	for _, v := range report.Verdicts {
		b := backupDoc(v.Backup)
		b.Kept, b.KeptBecause = v.Keep, nonNil(v.Reasons)
		body.Backups = append(body.Backups, b)
	}
	return &plain[wire.PruneResult]{body}, nil
}

// decidePrune makes the handler that decides what R4 set aside.
func (s *server) decidePrune(decision envbackup.Decision) func(context.Context, *Keyed) (*plain[wire.PruneDecision], error) {
	return func(ctx context.Context, in *Keyed) (*plain[wire.PruneDecision], error) {
		sch, err := s.Store.Schedule(ctx, in.Key)
		if err != nil {
			return nil, err
		}
		lists, err := s.Pruner.Decide(ctx, sch.ID, decision, actorOf(ctx).name)
		if err != nil {
			return nil, err
		}
		n := 0
		for _, l := range lists {
			n += len(l.BackupIDs)
		}
		s.changed(sch.ID)
		s.audit(ctx, "prune "+string(decision), "schedule", sch.Reference(), fmt.Sprintf("%d removals", n))
		return &plain[wire.PruneDecision]{wire.PruneDecision{Decision: decision, Lists: convert(lists, setAsideDoc)}}, nil
	}
}

func setAsideDoc(l envbackup.SetAside) wire.SetAside {
	return wire.SetAside{
		Destination: l.Destination, Backups: l.BackupIDs, Reason: l.Reason, Decision: l.Decision, Until: optional(l.Until),
	}
}

// forgetMissing ends the hold of R7 that snapshots removed by hand bring about.
func (s *server) forgetMissing(ctx context.Context, in *struct {
	Keyed
	Body *wire.ForgetRequest
}) (*plain[wire.Forgotten], error) {
	sch, err := s.Store.Schedule(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	dryRun := in.Body != nil && in.Body.DryRun
	gone, err := s.Pruner.ForgetMissing(ctx, sch.ID, dryRun, actorOf(ctx).name)
	if err != nil {
		return nil, err
	}
	if !dryRun && len(gone) > 0 {
		s.changed(sch.ID)
		for _, b := range gone {
			s.audit(ctx, "forget", "backup", b.ID, fmt.Sprintf("%s of %s is gone from %s", b.SnapshotID, b.Environment, b.Destination))
		}
	}
	body := wire.Forgotten{DryRun: dryRun, Backups: convert(gone, backupDoc)}
	for i := range body.Backups {
		body.Backups[i].Kept, body.Backups[i].KeptBecause = false, []string{"gone from the repository"}
	}
	return &plain[wire.Forgotten]{body}, nil
}
