package preflight

import (
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// Forecast is what the configuration alone says about a schedule, over the
// fixed window of package cron: it takes no clock, so that two plans of the
// same configuration are equal.
type Forecast struct {
	// Summary is a sentence: "every day at 02:30 Europe/Berlin; keeps at most
	// 42 backups, the oldest about 12 months".
	Summary string
	// WorstCaseGap is the largest distance between two runs, with changes of
	// the clock, blackout windows and jitter: "25h", or "over 24 years".
	WorstCaseGap string
	// MaxBackups is the most backups of the schedule that are ever kept at each
	// destination, without manual and held ones; 0 for no bound (keep_all).
	MaxBackups int64
}

// Describe returns the forecast of a proposal. It reports false while something
// that the forecast depends on is unknown or not valid.
func Describe(p Proposal) (Forecast, bool) {
	c := read(p)
	if c.keep == nil {
		return Forecast{}, false
	}
	_, gap, known := c.worstGap()
	if !known {
		return Forecast{}, false
	}
	bound := retention.MaxBackups(*c.keep, c.sched, c.loc)
	f := Forecast{WorstCaseGap: gap, MaxBackups: int64(bound.Backups)}
	f.Summary = c.sched.DescribeIn(zoneName(*p.Timezone)) + "; "
	switch {
	case bound.Unbounded:
		f.Summary += "keeps every backup"
	case bound.Backups == 1:
		f.Summary += "keeps 1 backup"
	default:
		f.Summary += fmt.Sprintf("keeps at most %d backups", bound.Backups)
	}
	if bound.Oldest > 0 && bound.Backups > 1 {
		f.Summary += ", the oldest about " + age(bound.Oldest)
	}
	return f, true
}

// WorstCaseGap returns what Forecast.WorstCaseGap says about an expression
// alone, and the distance itself, which is meaningless when few is true.
func WorstCaseGap(s *cron.Schedule, loc *time.Location) (text string, gap time.Duration, few bool) {
	g := s.Gaps(loc)
	return g.String(), g.Max, g.Few()
}

// read parses a proposal without judging it.
func read(p Proposal) *checker {
	c := &checker{p: p}
	c.p.LintIgnore = Rules() // findings are thrown away; make none in vain
	c.schedule()
	c.policy()
	c.durations()
	c.blackouts()
	return c
}

// Outlook is what a proposal does from a given instant on.
type Outlook struct {
	NextRuns   []time.Time // in the schedule's zone
	RunsPerDay float64     // over the 28 days that follow
	// Points says how many restore points there are over time; see
	// retention.Simulate.
	Points retention.Simulation
}

// Preview returns the outlook from an instant on, with the next n runs. It
// reports false while cron, time zone or retention are unknown or not valid.
func Preview(p Proposal, from time.Time, n int) (Outlook, bool, error) {
	c := read(p)
	if c.sched == nil || c.loc == nil || c.keep == nil {
		return Outlook{}, false, nil
	}
	runs, err := c.sched.NextN(from, c.loc, n)
	if err != nil {
		return Outlook{}, false, err
	}
	const days = 28
	count := 0
	for h := range c.sched.Hours(from.Add(1), from.Add(days*day+1), c.loc) {
		count += h.N()
	}
	return Outlook{
		NextRuns:   runs,
		RunsPerDay: float64(count) / days,
		Points:     retention.Simulate(*c.keep, c.sched, c.loc, from, retention.Duration{}),
	}, true, nil
}

// age says about how long something is, rounded up: in hours under two days,
// then in days, months and years.
func age(d time.Duration) string {
	count := func(n int, unit string) string {
		if n == 1 {
			return "1 " + unit
		}
		return fmt.Sprintf("%d %ss", n, unit)
	}
	ceil := func(unit time.Duration) int { return int((d + unit - 1) / unit) }
	const month, year = 36525 * day / 1200, 36525 * day / 100
	switch {
	case d <= 2*time.Hour:
		return count(ceil(time.Minute), "minute")
	case d <= 2*day:
		return count(ceil(time.Hour), "hour")
	case d <= 62*day:
		return count(ceil(day), "day")
	case d <= 24*month:
		return count(ceil(month), "month")
	}
	return count(ceil(year), "year")
}
