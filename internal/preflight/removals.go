package preflight

import (
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// Existing is what is known about the schedule that a proposal changes.
type Existing struct {
	Now time.Time
	// Before is the policy and the zone in force; an empty zone is UTC.
	Before   retention.Spec
	Timezone string
	// Points are the backups of the schedule, by destination name.
	Points map[string][]retention.Point
	// RunTimes are the durations of the latest runs, for the warning that runs
	// may overlap.
	RunTimes []time.Duration
}

// Removals sums up the backups that an edit removes beyond those that the
// policy in force would remove anyway.
type Removals struct {
	Count          int64
	Total          int64 // of the backups that exist
	Oldest, Newest time.Time
	Size           int64 // bytes
	// Large says that R4's threshold is crossed at some destination: the edit
	// needs acknowledge_removal.
	Large bool
	// Grace is how long the removals wait.
	Grace retention.Duration
}

// RemovedBy returns what an edit would remove. It reports false while retention
// or zone of the proposal are unknown or not valid, and when nothing goes.
func RemovedBy(p Proposal, e Existing) (Removals, bool) {
	c := read(p)
	return c.removedBy(e)
}

func (c *checker) removedBy(e Existing) (Removals, bool) {
	if c.keep == nil || c.loc == nil {
		return Removals{}, false
	}
	var r Removals
	before, errPolicy := e.Before.Policy()
	zone, errZone := cron.LoadZone(zoneName(e.Timezone))
	for _, points := range e.Points {
		// What went by the old rules is no consequence of the edit. An old
		// policy that cannot be read keeps everything.
		left := points
		if errPolicy == nil && errZone == nil {
			left = nil
			for _, it := range retention.Plan(points, before, zone, e.Now).Kept() {
				left = append(left, it.Point)
			}
		}
		r.Total += int64(len(left))
		d := retention.Plan(left, *c.keep, c.loc, e.Now)
		for _, it := range d.Removed() {
			at := it.Point.Nominal
			if r.Count == 0 || at.Before(r.Oldest) {
				r.Oldest = at
			}
			if r.Count == 0 || at.After(r.Newest) {
				r.Newest = at
			}
			r.Count++
			r.Size += it.Point.Size
		}
		if large, _ := retention.NeedsGrace(d, false); large {
			r.Large = true
		}
	}
	r.Grace = c.keep.PruneGrace
	return r, r.Count > 0
}

// removals says which backups an edit removes.
func (c *checker) removals(e Existing) {
	r, found := c.removedBy(e)
	if !found {
		return
	}
	what := fmt.Sprintf("%d of %d backups (%s to %s, %s) would be removed by this change, %s after it is applied.",
		r.Count, r.Total, r.Oldest.In(c.loc).Format(time.DateOnly), r.Newest.In(c.loc).Format(time.DateOnly), size(r.Size), r.Grace)
	if r.Large && (c.p.AcknowledgeRemoval == nil || *c.p.AcknowledgeRemoval < r.Count) {
		c.fail("retention", "This change removes many backups",
			"%s That is more than half of them. If it is intended, add: acknowledge_removal = %d. They still wait for prune_grace.", what, r.Count)
		return
	}
	c.warn(RuleRemoves, "retention", "This change removes backups", "%s Until then, undoing the change keeps them.", what)
}

// overlap warns when runs take longer than the schedule leaves them.
func (c *checker) overlap(e Existing) {
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
