package runner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// judge picks from what the policy does not keep what goes now (R3) and what
// has to wait (R4), into v.removed and v.setAside. What it set aside is saved
// unless in.dryRun.
func (r *Runner) judge(ctx context.Context, sched envbackup.Schedule, dest envbackup.Destination, policy retention.Policy, zone *time.Location, in scope, v *verdict) error {
	aside, err := r.store.SetAside(ctx, sched.ID, dest.ID)
	if err != nil {
		return err
	}
	goes := map[string]bool{} // what the policy does not keep, and whether it may go now
	for _, it := range v.decision.Removed() {
		goes[it.Point.ID] = in.allows(it, policy, zone, v.at)
	}

	edited := editedSince(sched, aside)
	if edited {
		// The list was made by another policy; the first judgement by this one
		// sets aside everything that it would remove.
		aside = store.SetAside{ScheduleID: sched.ID, DestinationID: dest.ID}
	}
	changed := edited || aside.JudgedAt.IsZero()
	aside.JudgedAt = v.at
	// What is on the list and gone, or kept again, leaves it.
	listed := len(aside.IDs)
	aside.IDs = slices.DeleteFunc(slices.Clone(aside.IDs), func(id string) bool { _, known := goes[id]; return !known })
	changed = changed || len(aside.IDs) != listed
	if len(aside.IDs) == 0 {
		aside.Decision = ""
	}
	waits := len(aside.IDs) > 0 && aside.Decision != string(envbackup.DecisionConfirmed) &&
		(aside.Decision == string(envbackup.DecisionCancelled) || aside.Waited < policy.PruneGrace.Approx())

	// A list whose grace is over was judged when it was made; the rest is
	// judged without it.
	var rest retention.Decision
	var due []string
	for _, it := range v.decision.Items {
		if slices.Contains(aside.IDs, it.Point.ID) {
			if !waits && goes[it.Point.ID] {
				due = append(due, it.Point.ID)
			}
			continue
		}
		it.Keep = it.Keep || !goes[it.Point.ID]
		rest.Items = append(rest.Items, it)
	}
	needs, why := retention.NeedsGrace(rest, edited)
	switch {
	case needs && !policy.PruneGrace.IsZero():
		// A list that waits is fixed: what joins it starts the grace anew only
		// when there was none.
		if !waits {
			aside.IDs, aside.Waited, aside.Decision, aside.Since = nil, 0, "", v.at
		}
		for _, it := range rest.Removed() {
			aside.IDs = append(aside.IDs, it.Point.ID)
		}
		aside.Reason, waits, changed = why, true, true
	default:
		for _, it := range rest.Removed() {
			v.removed = append(v.removed, it.Point.ID)
		}
	}
	v.removed = append(v.removed, due...)
	if waits {
		list := setAsideOf(aside, dest.Name, policy, v.at)
		v.setAside = &list
		v.note("%s", sayAside(aside, dest.Name, policy))
	}
	if in.dryRun || !changed {
		return nil
	}
	return r.store.SaveSetAside(ctx, aside)
}

// allows reports whether a removal may happen at this occasion (R3).
func (in scope) allows(it retention.Item, policy retention.Policy, zone *time.Location, now time.Time) bool {
	if !policy.MaxAge.IsZero() && it.Point.Nominal.Before(policy.MaxAge.Before(now, zone)) {
		return true // a privacy duty waits for no success
	}
	switch {
	case in.maxAgeOnly:
		return false
	case in.newest == nil: // an explicit command
		return true
	case it.List == retention.ListCandidates:
		return in.newest.Status == envbackup.BackupComplete && in.newest.Trigger.OfSlot()
	default:
		return true
	}
}

// sayAside explains to people what waits, and for how long.
func sayAside(a store.SetAside, destination string, policy retention.Policy) string {
	if a.Decision == string(envbackup.DecisionCancelled) {
		return fmt.Sprintf("%d removals at %s were cancelled and stay until the retention changes", len(a.IDs), destination)
	}
	return fmt.Sprintf("%d removals at %s wait for another %s of the daemon's running time: the prune %s (R4)",
		len(a.IDs), destination, (policy.PruneGrace.Approx() - a.Waited).Round(time.Minute), a.Reason)
}
