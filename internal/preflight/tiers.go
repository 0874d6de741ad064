package preflight

import (
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

const day = 24 * time.Hour

// tier is one counting rule of a policy.
type tier struct {
	name string
	unit string
	n    int
	// shortest and longest are the lengths of the calendar unit; 0 for
	// keep_last, which has none.
	shortest, longest time.Duration
	per               string // how a person would say a run in each unit, as cron
}

// tiersOf lists the rules that are in force, from the finest to the coarsest.
func tiersOf(p retention.Policy) []tier {
	all := []tier{
		{"keep_last", "run", p.Last, 0, 0, ""},
		{"keep_hourly", "hour", p.Hourly, time.Hour, time.Hour, "0 * * * *"},
		{"keep_daily", "day", p.Daily, 23 * time.Hour, 25 * time.Hour, "0 0 * * *"},
		{"keep_weekly", "week", p.Weekly, 7*day - time.Hour, 7*day + time.Hour, "0 0 * * 0"},
		{"keep_monthly", "month", p.Monthly, 28*day - time.Hour, 31*day + time.Hour, "0 0 1 * *"},
		{"keep_yearly", "year", p.Yearly, 365 * day, 366 * day, "0 0 1 1 *"},
	}
	var used []tier
	for _, t := range all {
		if t.n > 0 {
			used = append(used, t)
		}
	}
	return used
}

// tiers warns about rules that are finer than the schedule, and about those
// that add nothing.
func (c *checker) tiers() {
	loc := c.loc
	if loc == nil {
		loc = time.UTC
	}
	gaps := c.plain(loc)
	farthest := c.farthest()
	shortest := c.sched.MinInterval()
	finer := map[string]bool{}
	for _, t := range tiersOf(*c.keep) {
		// keep_daily on a schedule of once a day is exact; the hour of a
		// change of the clock must not make it look finer.
		if t.longest > 0 && shortest > t.longest {
			finer[t.name] = true
			c.warn(RuleTierFiner, "retention."+t.name, "Retention rule is finer than the schedule",
				`The runs of %s are at least %s apart, so %s = %d keeps the last %d backups, not %d %ss. Say what you mean: keep_last = %d, or cron = %q.`,
				quote(*c.p.Cron), cron.FormatGap(shortest), t.name, t.n, t.n, t.n, t.unit, t.n, t.per)
		}
	}
	if gaps.Few() {
		return
	}
	covered := map[string]bool{}
	list := tiersOf(*c.keep)
	for i, t := range list {
		if finer[t.name] {
			continue
		}
		by := ""
		if c.inPeriod(t, farthest) {
			by = "period = " + c.keep.Period.String()
		}
		for j, other := range list {
			if by == "" && i != j && !covered[other.name] && c.covers(other, t, shortest) {
				by = fmt.Sprintf("%s = %d", other.name, other.n)
			}
		}
		if by != "" {
			covered[t.name] = true
			c.warn(RuleTierCovered, "retention."+t.name, "Retention rule adds nothing",
				"Every backup that %s = %d selects is already kept by %s. Raise it, or remove it.", t.name, t.n, by)
		}
	}
	if c.reachesBack(short) {
		return
	}
	if b := slots.MaxBackups(*c.keep, c.sched, loc, c.windows, c.lengths["jitter"].Approx()); !b.Unbounded && b.Oldest > 0 && b.Oldest < short {
		c.warn(RuleHistoryShort, "retention", "History is short",
			"The oldest backup would be %s old. Damage that is noticed later cannot be undone. Add for example keep_weekly = 4.", age(b.Oldest))
	}
}

// farthest is the largest distance on the wall clock between the nominal times
// of two backups in a row. A run that waits keeps its nominal time, so a
// deferring window can add its own length to what lies between the starts.
// While the windows are not known, nothing is near.
func (c *checker) farthest() time.Duration {
	switch {
	case !c.windowsKnown:
		return 1<<63 - 1
	case c.windows.None():
		return c.plain(time.UTC).Max
	}
	w := slots.WorstCase(c.sched, time.UTC, c.windows, c.lengths["jitter"].Approx())
	if w.Few() {
		return 1<<63 - 1
	}
	return w.Max + c.windows.Longest()
}

// short is the age of the oldest backup under which a history is short.
const short = 14 * day

// reachesBack reports whether some rule alone keeps a backup of that age, so
// that nothing need be computed to know it.
func (c *checker) reachesBack(age time.Duration) bool {
	if limit := c.keep.MaxAge; c.keep.KeepAll || !limit.IsZero() && limit.Approx() < age {
		return c.keep.KeepAll
	}
	if c.keep.Period.Approx() >= age {
		return true
	}
	for _, t := range tiersOf(*c.keep) {
		if time.Duration(t.n-1)*t.shortest >= age {
			return true
		}
	}
	return false
}

// inPeriod reports whether period alone keeps all that t selects: even when
// every unit is as long as it gets and the runs as far apart as gap, on the wall
// clock.
func (c *checker) inPeriod(t tier, gap time.Duration) bool {
	p := c.keep.Period
	const endless = 250 * 366 * day // about what a time.Duration can hold, n times
	if p.IsZero() || gap > endless/time.Duration(max(1, t.n)) {
		return false
	}
	// As short as it gets: months have 28 days.
	period := time.Duration(p.Months/12*365+p.Months%12*28)*day + p.Fixed
	unit := max(nominal(t), gap)
	reach := time.Duration(t.n-1) * unit
	if unit > gap {
		// With several runs a unit, an hour that the clock repeats can put the
		// oldest of them beyond the edge, where it is not the first.
		reach += time.Hour
	}
	return reach <= period
}

// nominal is a unit's length in days of 24 hours, months of 31: a change of the
// clock moves both the runs and the edge of a period.
func nominal(t tier) time.Duration {
	switch t.unit {
	case "run", "hour":
		return t.longest
	case "day":
		return day
	case "week":
		return 7 * day
	case "month":
		return 31 * day
	}
	return 366 * day
}

// covers reports whether the rule a keeps all that the rule b selects.
func (c *checker) covers(a, b tier, shortest time.Duration) bool {
	switch {
	case a.unit == "run":
		// b selects runs among the newest ones: at most as many as fit into
		// its units.
		perUnit := int64(b.shortest / shortest)
		if b.shortest%shortest != 0 || perUnit == 0 {
			perUnit++
		}
		return shortest >= b.shortest && b.n <= a.n || int64(b.n)*(perUnit+1) <= int64(a.n)
	case b.unit == "run":
		// Every run is the newest of its own unit.
		return shortest >= a.longest && b.n <= a.n
	case a.unit == "week":
		// Months and years end within a week, so their last backup is not the
		// last of its week.
		return false
	}
	ratio := map[string]int{
		"hour-day": 25, "hour-week": 7*24 + 1, "hour-month": 31*24 + 1, "hour-year": 366 * 24,
		"day-week": 7, "day-month": 31, "day-year": 366,
		"month-year": 12,
	}[a.unit+"-"+b.unit]
	// The newest backup of each unit of b is the newest of its unit of a; the
	// oldest of them lies n-1 whole units of b back, and the current unit may
	// be all but over.
	return ratio > 0 && (b.n-1)*ratio+1 <= a.n
}

// limitRetention holds the policy to the operator's longest retention.
func (c *checker) limitRetention() {
	if c.limits == nil || c.limits.MaxRetention == "" {
		return
	}
	most, err := retention.ParseDuration(c.limits.MaxRetention)
	if err != nil || most.IsZero() {
		return
	}
	const summary = "Retention is longer than allowed"
	const advice = "ask the operator to raise limits.max_retention."
	if c.keep.KeepAll {
		c.fail("retention.keep_all", summary, "keep_all keeps backups without end, and %s is the longest that this daemon allows. Write for example period = %q, or %s", most, most, advice)
		return
	}
	over := func(path, value string, length retention.Duration) {
		if length.Compare(most) > 0 {
			c.fail("retention."+path, summary, "%s = %s keeps backups longer than %s, the longest that this daemon allows. Lower it, or %s", path, value, most, advice)
		}
	}
	over("manual_period", c.keep.ManualPeriod.String(), c.keep.ManualPeriod)
	if !c.keep.MaxAge.IsZero() && c.keep.MaxAge.Compare(most) <= 0 {
		return // max_age removes what the other rules would keep longer
	}
	over("max_age", c.keep.MaxAge.String(), c.keep.MaxAge)
	over("period", c.keep.Period.String(), c.keep.Period)
	usual := c.usualGap()
	for _, t := range tiersOf(*c.keep) {
		reach := retention.Duration{Fixed: usual * time.Duration(t.n)}
		switch {
		case t.unit == "year" && usual <= 366*day:
			reach = retention.Duration{Months: 12 * t.n}
		case t.unit == "month" && usual <= 31*day:
			reach = retention.Duration{Months: t.n}
		case t.longest > usual:
			reach = retention.Duration{Fixed: nominal(t) * time.Duration(t.n)}
		}
		over(t.name, fmt.Sprint(t.n), reach)
	}
}

// usualGap is the average distance between two runs, 0 when it is not known.
func (c *checker) usualGap() time.Duration {
	if c.sched == nil {
		return 0
	}
	g := c.plain(time.UTC)
	if w, known := c.worst(); known {
		g.Runs = w.Runs // without those that windows skip or join
	}
	if g.Few() {
		return 28 * 366 * day
	}
	from, to := cron.Window(time.UTC)
	return to.Sub(from) / time.Duration(g.Runs)
}
