package preflight

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// Existing is what is known about the schedule that a proposal changes.
type Existing struct {
	Now time.Time
	// Before is the policy and the zone in force; an empty zone is UTC.
	Before   retention.Spec
	Timezone string
	// Points yields the backups of the schedule by destination name, in the
	// order in which people read them; nil for none. Each slice is the check's
	// to sort and overwrite, and is let go before the next one is asked for.
	Points iter.Seq2[string, []retention.Point]
	// Inherited says that they are those of a schedule that was here before
	// under this name, and that a new one takes over.
	Inherited bool
	// RunTimes are the durations of the latest runs, for the warning that runs
	// may overlap.
	RunTimes []time.Duration
}

// Removals sums up the backups that an edit removes beyond those that the
// policy in force would remove anyway.
type Removals struct {
	RemovedAt // all of them; its destination is empty
	// ByDestination has those where something goes, in the order of Points.
	ByDestination []RemovedAt
	// Grace is how long the removals wait.
	Grace retention.Duration
}

// RemovedAt is what goes at one destination.
type RemovedAt struct {
	Destination    string
	Count          int64
	Total          int64 // of the backups that exist there
	Oldest, Newest time.Time
	Size           int64 // bytes
	// Large says that R4's threshold is crossed at some destination: the edit
	// needs acknowledge_removal.
	Large bool
	list  retention.List // of which more than half goes
}

// CheckEdit is Check for a proposal that changes a schedule. It also returns
// what the edit removes: nil while retention or zone are unknown or not valid,
// and when nothing goes.
func CheckEdit(p Proposal, limits *envbackup.Limits, existing Existing) ([]envbackup.Finding, *Removals) {
	return check(p, limits, &existing)
}

func (c *checker) removedBy(e *Existing) *Removals {
	if c.keep == nil || c.loc == nil || e.Points == nil {
		return nil
	}
	r := Removals{Grace: c.keep.PruneGrace}
	before, errPolicy := e.Before.Policy()
	zone, errZone := cron.LoadZone(zoneName(e.Timezone))
	for name, points := range e.Points {
		// What went by the old rules is no consequence of the edit. An old
		// policy that cannot be read keeps everything.
		if errPolicy == nil && errZone == nil {
			kept, _ := retention.Sift(points, before, zone, e.Now)
			left := points[:0]
			for i, keep := range kept {
				if keep {
					left = append(left, points[i])
				}
			}
			points = left
		}
		kept, tally := retention.Sift(points, *c.keep, c.loc, e.Now)
		at := RemovedAt{Destination: name, Total: int64(len(points))}
		for i, keep := range kept {
			if !keep {
				at.add(RemovedAt{Count: 1, Oldest: points[i].Nominal, Newest: points[i].Nominal, Size: points[i].Size})
			}
		}
		at.list, at.Large = tally.Large()
		if at.Count > 0 {
			r.ByDestination = append(r.ByDestination, at)
		}
		r.add(at)
		r.Total += at.Total
	}
	if r.Count == 0 {
		return nil
	}
	return &r
}

// add counts the removals of o in.
func (r *RemovedAt) add(o RemovedAt) {
	if o.Count == 0 {
		return
	}
	if r.Count == 0 || o.Oldest.Before(r.Oldest) {
		r.Oldest = o.Oldest
	}
	if r.Count == 0 || o.Newest.After(r.Newest) {
		r.Newest = o.Newest
	}
	r.Count += o.Count
	r.Size += o.Size
	r.Large = r.Large || o.Large
}

// removals says which backups an edit removes.
func (c *checker) removals(e *Existing) *Removals {
	r := c.removedBy(e)
	if r == nil {
		return nil
	}
	they, are := "them", "they are"
	if r.Count == 1 {
		they, are = "it", "it is"
	}
	if e.Inherited {
		c.inherits(*r, they, are)
		return r
	}
	wait := fmt.Sprintf("The prune after the next good backup sets %s aside for prune_grace (%s).", they, r.Grace)
	if r.Grace.IsZero() {
		wait = fmt.Sprintf("prune_grace is 0, so the prune after the next good backup deletes %s.", they)
	}
	if r.Large && (c.p.AcknowledgeRemoval == nil || *c.p.AcknowledgeRemoval < r.Count) {
		c.fail("retention", "This change removes many backups",
			"%s %s If that is intended, add: acknowledge_removal = %d. %s", c.removed(*r), largeAt(*r), r.Count, wait)
		return r
	}
	c.warn(RuleRemoves, "retention", "This change removes backups", "%s %s Until %s deleted, undoing the change keeps %s.", c.removed(*r), wait, are, they)
	return r
}

// inherits says what a new schedule removes of the backups that it takes over.
// Making a schedule is no edit (R4): only more than half of them would wait.
func (c *checker) inherits(r Removals, they, are string) {
	then := fmt.Sprintf("The prune after the first good backup deletes %s.", they)
	if r.Large {
		then = fmt.Sprintf("%s The prune after the first good backup sets %s aside for prune_grace (%s).", largeAt(r), they, r.Grace)
	}
	c.warn(RuleRemoves, "retention", "Backups of an earlier schedule would be removed",
		"A schedule of this name was here before, and the new one takes over its backups. %s %s Until %s deleted, a longer retention keeps %s.",
		c.removed(r), then, are, they)
}

// removed names what goes: at one destination, or at each of several.
func (c *checker) removed(r Removals) string {
	if len(r.ByDestination) == 1 {
		at := r.ByDestination[0]
		return fmt.Sprintf("It would remove %s at %s: %s.", c.share(at), quote(at.Destination), c.span(at))
	}
	parts := make([]string, 0, len(r.ByDestination))
	for _, at := range r.ByDestination {
		parts = append(parts, fmt.Sprintf("%s at %s (%s)", c.share(at), quote(at.Destination), c.span(at)))
	}
	last := len(parts) - 1
	return fmt.Sprintf("It would remove %s: %s and %s.", counted(r.Count), strings.Join(parts[:last], ", "), parts[last])
}

func (c *checker) share(at RemovedAt) string {
	return fmt.Sprintf("%d of %s", at.Count, counted(at.Total))
}

// span says when the backups that go were taken, and how large they are.
func (c *checker) span(at RemovedAt) string {
	when := func(t time.Time) string { return t.In(c.loc).Format("2006-01-02 15:04 MST") }
	if at.Count == 1 {
		return fmt.Sprintf("that of %s, %s", when(at.Oldest), size(at.Size))
	}
	return fmt.Sprintf("the oldest of %s, the newest of %s, together %s", when(at.Oldest), when(at.Newest), size(at.Size))
}

// largeAt says where R4's threshold is crossed, and by which backups.
func largeAt(r Removals) string {
	var parts []string
	for _, at := range r.ByDestination {
		switch {
		case !at.Large:
		case at.list == retention.ListSecond:
			parts = append(parts, "more than half of the partial, suspect and damaged backups at "+quote(at.Destination))
		default:
			parts = append(parts, "more than half of the good backups at "+quote(at.Destination))
		}
	}
	return "Those include " + strings.Join(parts, " and ") + "."
}

func counted(n int64) string {
	if n == 1 {
		return "1 backup"
	}
	return fmt.Sprintf("%d backups", n)
}

// overlap warns when runs take longer than the schedule leaves them.
func (c *checker) overlap(e *Existing) {
	if c.sched == nil || c.loc == nil || len(e.RunTimes) == 0 || c.p.Overlap == nil || c.p.Timeout == nil {
		return
	}
	var sum time.Duration
	for _, d := range e.RunTimes {
		sum += d
	}
	average := sum / time.Duration(len(e.RunTimes))
	every := c.sched.MinInterval()
	if average < every {
		return
	}
	effect := "skip most of those that come too early"
	if *c.p.Overlap == "queue" {
		effect = "only ever run the newest of those that wait"
	}
	c.warn(RuleRunsOverlap, "cron", "Runs may overlap",
		"The last %d runs took %s on average, the schedule runs every %s, and it will %s. Run it less often.",
		len(e.RunTimes), cron.FormatGap(average.Round(time.Minute)), cron.FormatGap(every), effect)
}

// size writes bytes in binary units.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1023.95 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
