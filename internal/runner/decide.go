package runner

import (
	"context"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// Decide ends the wait of everything that is set aside for a schedule, at each
// of its destinations (R4): what is confirmed goes with the next prune if the
// policy still does not keep it, what is cancelled stays until the policy
// changes. It returns the lists, or CodeNotFound when nothing waits. actor is
// for the log.
func (r *Runner) Decide(ctx context.Context, scheduleID string, decision envbackup.Decision, actor string) ([]envbackup.SetAside, error) {
	sched, err := r.store.Schedule(ctx, scheduleID)
	if err != nil {
		return nil, err
	}
	policy, err := sched.Retention.Policy()
	if err != nil {
		return nil, fmt.Errorf("read retention policy: %w", err)
	}
	var lists []envbackup.SetAside
	for _, id := range sched.DestinationIDs {
		list, err := r.decideAt(ctx, sched, id, policy, decision)
		if err != nil {
			return lists, err
		}
		if list != nil {
			lists = append(lists, *list)
		}
	}
	if len(lists) == 0 {
		return nil, &envbackup.Error{
			Code: envbackup.CodeNotFound, Message: fmt.Sprintf("no removal of %s is set aside", sched.Reference()),
			Hint: "a removal is set aside by a prune; see what the next one would do with: envbackup prune --dry-run " + sched.Reference(),
		}
	}
	r.cfg.Log.InfoContext(ctx, "removals that were set aside are decided", "schedule", sched.Reference(), "decision", decision, "actor", actor)
	return lists, nil
}

// decideAt is Decide at one destination; nil when nothing waits there.
func (r *Runner) decideAt(ctx context.Context, sched envbackup.Schedule, destinationID string, policy retention.Policy, decision envbackup.Decision) (*envbackup.SetAside, error) {
	// Against a retention that reads the list now and would write it back.
	defer r.retain(sched.ID, destinationID)()
	aside, err := r.store.SetAside(ctx, sched.ID, destinationID)
	if err != nil {
		return nil, err
	}
	if len(aside.IDs) == 0 {
		// Whoever confirms means what was cancelled earlier, for want of
		// anything else.
		aside.IDs, aside.Cancelled = aside.Cancelled, nil
	}
	if len(aside.IDs) == 0 || editedSince(sched, aside) { // another policy's list is nobody's wish any more
		return nil, nil
	}
	dest, err := r.store.Destination(ctx, destinationID)
	if err != nil {
		return nil, err
	}
	aside.Decision, aside.Note = string(decision), ""
	if err := r.store.SaveSetAside(ctx, aside); err != nil {
		return nil, err
	}
	list := setAsideOf(aside, dest.Name, policy, r.now())
	return &list, nil
}

// editedSince reports whether the policy was edited after the last judgement
// that a records. An edit at the very instant of it came after it.
func editedSince(sched envbackup.Schedule, a store.SetAside) bool {
	return !sched.PolicyEditedAt.IsZero() && !sched.PolicyEditedAt.Before(a.JudgedAt)
}

// setAsideOf describes a list as it stands at now.
func setAsideOf(a store.SetAside, destination string, policy retention.Policy, now time.Time) envbackup.SetAside {
	list := envbackup.SetAside{
		Destination: destination, BackupIDs: a.IDs, Reason: a.Reason, Decision: envbackup.Decision(a.Decision),
	}
	if list.Decision == "" {
		list.Until = now.Add(max(policy.PruneGrace.Approx()-a.Waited, 0))
	}
	return list
}
