package preflight

import (
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
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
	// MaxBackups is the most backups of the schedule that the rules keep at any
	// time at each destination, without manual and held ones and those whose
	// removal waits for the grace (R4); 0 for no bound (keep_all).
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
	bound := slots.MaxBackups(*c.keep, c.sched, c.loc, c.windows, c.lengths["jitter"].Approx())
	f := Forecast{WorstCaseGap: gap, MaxBackups: int64(bound.Backups)}
	f.Summary = c.sched.DescribeIn(zoneName(*p.Timezone))
	if !c.windows.None() {
		f.Summary += ", outside of blackout windows"
	}
	f.Summary += "; "
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
	w := slots.WorstCase(s, loc, nil, 0)
	return w.Text(), w.Longest, w.Few()
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

// Outlook is what a proposal does from a given instant on, if every run
// succeeds.
type Outlook struct {
	// NextRuns are the runs to come, without those that a blackout window skips
	// or that are coalesced; fewer than asked for where there are none, as while
	// the schedule is paused. The backup at the creation is none of them.
	NextRuns   []slots.Run
	RunsPerDay float64 // over the 28 days that follow
	// Created: a backup is taken at once, because the schedule is new.
	Created bool
	// Points says how many restore points there are over time, those of the
	// proposal alone: what exists of an older schedule is not among them. See
	// retention.Replay for what they leave out, R4's grace above all.
	Points retention.Simulation
}

// Preview returns the outlook from an instant on, with the next n runs. It
// reports false while cron, time zone, retention or blackout windows are
// unknown or not valid.
//
// Runs start where the daemon starts them: blackout windows skip or defer them,
// and where the proposal has its ID they are moved by its share of the jitter;
// without one, which share is not known, and they start at their nominal time.
func Preview(p Proposal, from time.Time, n int) (Outlook, bool, error) {
	replay, rhythm, ok := replayOf(p, from)
	if !ok {
		return Outlook{}, false, nil
	}
	o := Outlook{Created: replay.Created, Points: replay.Simulate(retention.Duration{})}
	if replay.None {
		return o, true, nil
	}
	var err error
	if o.NextRuns, err = rhythm.NextN(from, replay.Zone, n); err != nil {
		return Outlook{}, false, err
	}
	const days = 28
	count := 0
	for h := range rhythm.Hours(from.Add(1), from.Add(days*day+1), replay.Zone) {
		count += h.N()
	}
	o.RunsPerDay = float64(count) / days
	return o, true, nil
}

// NextRuns returns the next n runs of a proposal, as Preview does, where only
// cron, time zone and blackout windows are known and valid; false elsewhere.
func NextRuns(p Proposal, from time.Time, n int) ([]slots.Run, bool, error) {
	c := read(p)
	if c.sched == nil || c.loc == nil || !c.windowsKnown {
		return nil, false, nil
	}
	if c.paused() {
		return nil, true, nil
	}
	runs, err := c.rhythmOf().NextN(from, c.loc, n)
	return runs, err == nil, err
}

// rhythmOf returns the rhythm of the proposal, with its share of the jitter
// where that is known.
func (c *checker) rhythmOf() *slots.Rhythm {
	var share time.Duration
	if c.p.ID != "" && c.valid("jitter") {
		share = slots.Offset(c.p.ID, c.lengths["jitter"].Approx())
	}
	return slots.RhythmOf(c.sched, c.windows, share)
}

func (c *checker) paused() bool { return c.p.Paused != nil && *c.p.Paused }

// ReplayOf returns what a proposal does from an instant on, ready to be asked
// which backups exist at any other: Preview's restore points come from it. It
// reports false where Preview does.
//
//	r, ok := preflight.ReplayOf(proposal, created)
//	state := r.At(created.AddDate(0, 1, 0)) // how many, and the oldest
//	exact := r.KeptAt(created.AddDate(0, 1, 0)) // their nominal times
//
// A schedule that does not exist yet (no ID) has a backup at from unless it is
// paused or run_on_create is false. To follow a schedule from its creation on
// with its share of the jitter, set the ID and then Created of the result.
func ReplayOf(p Proposal, from time.Time) (retention.Replay, bool) {
	r, _, ok := replayOf(p, from)
	return r, ok
}

func replayOf(p Proposal, from time.Time) (retention.Replay, *slots.Rhythm, bool) {
	c := read(p)
	if c.sched == nil || c.loc == nil || c.keep == nil || !c.windowsKnown {
		return retention.Replay{}, nil, false
	}
	rhythm := c.rhythmOf()
	return retention.Replay{
		Policy: *c.keep, Runs: rhythm, Zone: c.loc, From: from,
		Created: p.ID == "" && !c.paused() && (p.RunOnCreate == nil || *p.RunOnCreate),
		Start: func(nominal time.Time) time.Time {
			start, _ := rhythm.Start(nominal, c.loc)
			return start
		},
		None: c.paused(),
	}, rhythm, true
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
