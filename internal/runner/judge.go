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
		aside = store.SetAside{ScheduleID: sched.ID, DestinationID: dest.ID, Note: aside.Note}
	}
	acknowledged := acknowledgedSince(v.backups, aside)
	// The first judgement after a person's change is about all that it would
	// remove, whatever may go at this occasion: the next one, which may remove
	// more, is no first one any more.
	first := edited || acknowledged
	changed := first || aside.JudgedAt.IsZero()
	aside.JudgedAt = v.at
	// What is on a list and gone, or kept again, leaves it.
	listed := len(aside.IDs) + len(aside.Cancelled)
	aside.IDs, aside.Cancelled = known(aside.IDs, goes), known(aside.Cancelled, goes)
	changed = changed || len(aside.IDs)+len(aside.Cancelled) != listed
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
		switch {
		case slices.Contains(aside.Cancelled, it.Point.ID):
			continue
		case slices.Contains(aside.IDs, it.Point.ID):
			if !waits && goes[it.Point.ID] {
				due = append(due, it.Point.ID)
			}
			continue
		}
		it.Keep = it.Keep || !first && !goes[it.Point.ID]
		rest.Items = append(rest.Items, it)
	}
	needs, why := retention.NeedsGrace(rest, edited)
	if n := len(rest.Removed()); acknowledged && !needs && n > 0 {
		needs, why = true, fmt.Sprintf("would remove %s, the first removals after a suspect backup was acknowledged", plural(n, "backup"))
	}
	switch {
	case needs && !policy.PruneGrace.IsZero():
		if !waits || aside.Decision == string(envbackup.DecisionCancelled) {
			if waits {
				aside.Cancelled = append(aside.Cancelled, aside.IDs...)
			}
			aside.IDs = nil
		}
		// What joins a list that waits begins its grace anew: nothing goes
		// sooner than a whole grace after it was shown.
		aside.Waited, aside.Decision, aside.Since = 0, "", v.at
		for _, it := range rest.Removed() {
			aside.IDs = append(aside.IDs, it.Point.ID)
		}
		aside.Reason, waits, changed = why, true, true
	default:
		for _, it := range rest.Removed() {
			if goes[it.Point.ID] {
				v.removed = append(v.removed, it.Point.ID)
			}
		}
	}
	v.removed = append(v.removed, due...)
	v.sayAside(aside, waits, sched, dest, policy)
	if in.dryRun || !changed {
		return nil
	}
	return r.store.SaveSetAside(ctx, aside)
}

// known returns those of the ids that are keys of goes.
func known(ids []string, goes map[string]bool) []string {
	return slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, is := goes[id]; return !is })
}

// acknowledgedSince reports whether a person made a suspect backup good after
// the last judgement that a records (R9): the policy then sees another list
// than everybody else has seen.
func acknowledgedSince(backups map[string]envbackup.Backup, a store.SetAside) bool {
	for _, b := range backups {
		if !b.AcknowledgedAt.IsZero() && !b.AcknowledgedAt.Before(a.JudgedAt) {
			return true
		}
	}
	return false
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

// sayAside tells people what waits, for how long, and how to decide.
func (v *verdict) sayAside(a store.SetAside, waits bool, sched envbackup.Schedule, dest envbackup.Destination, policy retention.Policy) {
	if len(a.Cancelled) > 0 {
		v.setAside = append(v.setAside, envbackup.SetAside{
			Destination: dest.Name, BackupIDs: a.Cancelled, Reason: "cancelled by a person", Decision: envbackup.DecisionCancelled,
		})
	}
	if !waits {
		return
	}
	v.setAside = append(v.setAside, setAsideOf(a, dest.Name, policy, v.at))
	n := plural(len(a.IDs), "removal")
	if a.Decision == string(envbackup.DecisionCancelled) {
		v.waits = append(v.waits, fmt.Sprintf("%s at %s cancelled: the backups stay until the retention changes", n, dest.Name))
		return
	}
	verb := "wait"
	if len(a.IDs) == 1 {
		verb = "waits"
	}
	v.waits = append(v.waits, fmt.Sprintf("%s at %s %s for another %s of the daemon's running time: the prune %s; decide sooner with: envbackup prune confirm %s, or prune cancel",
		n, dest.Name, verb, (policy.PruneGrace.Approx()-a.Waited).Round(time.Minute), a.Reason, sched.Reference()))
}
