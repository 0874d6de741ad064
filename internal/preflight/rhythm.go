package preflight

import (
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

// plain returns the gaps of the expression alone, in one zone; several checks
// ask for the same.
func (c *checker) plain(loc *time.Location) cron.Gaps {
	if g, known := c.plainGaps[loc]; known {
		return g
	}
	g := c.sched.Gaps(loc)
	if c.plainGaps == nil {
		c.plainGaps = map[*time.Location]cron.Gaps{}
	}
	c.plainGaps[loc] = g
	return g
}

// worst returns the worst gaps of the proposal, blackout windows and jitter
// included, and false while something that they depend on is not known.
func (c *checker) worst() (slots.WorstGap, bool) {
	if c.sched == nil || c.loc == nil || !c.windowsKnown || c.p.Jitter == nil || *c.p.Jitter != "" && !c.valid("jitter") {
		return slots.WorstGap{}, false
	}
	return slots.WorstCase(c.sched, c.loc, c.windows, c.lengths["jitter"].Approx()), true
}

// worstGap returns the largest distance between two runs and its text. The text
// is "over 24 years" and the distance as long when there are no two runs.
func (c *checker) worstGap() (gap time.Duration, text string, known bool) {
	w, known := c.worst()
	switch {
	case !known:
		return 0, "", false
	case w.Few():
		return 24 * 366 * day, w.Text(), true
	}
	return w.Longest, w.Text(), true
}

func (c *checker) valid(path string) bool {
	_, ok := c.lengths[path]
	return ok
}

// rhythm checks what depends on the distances between runs.
func (c *checker) rhythm() {
	plain := c.plain(c.loc)
	if c.limits != nil && c.limits.MinInterval != "" {
		if least, err := retention.ParseDuration(c.limits.MinInterval); err == nil && !plain.Few() && c.sched.MinInterval() < least.Approx() {
			c.fail("cron", "Schedule runs too often", "%s runs every %s, and this daemon allows no interval under %s. Run it less often, or ask the operator to lower limits.min_interval.",
				quote(*c.p.Cron), cron.FormatGap(c.sched.MinInterval()), least)
		}
	}
	if jitter := c.lengths["jitter"].Approx(); jitter > 0 && !plain.Few() && 2*jitter >= plain.Min {
		c.fail("jitter", "Jitter is too long", "jitter = %s must be smaller than half the smallest distance between two runs, which is %s. Use less than %s.",
			quote(*c.p.Jitter), cron.FormatGap(plain.Min), cron.FormatGap((plain.Min+1)/2))
	}
	gap, text, known := c.worstGap()
	if !known {
		return
	}
	g, _ := c.worst()
	if g.NoRun {
		c.noRun()
		return
	}
	if rpo, given := c.lengths["max_rpo"]; given && rpo.Approx() < gap {
		detail := "The longest time between two runs of %s in %s%s is %s%s, and max_rpo is %s. Run it more often, or set max_rpo to at least %s."
		blackout := ""
		if len(c.p.Blackout) > 0 {
			blackout = " with its blackout windows"
		}
		if g.Few() {
			c.fail("max_rpo", "Schedule cannot meet max_rpo", "%s has fewer than two runs from 2000 to 2040, and max_rpo is %s. Run it more often.", quote(*c.p.Cron), *c.p.MaxRPO)
		} else {
			c.fail("max_rpo", "Schedule cannot meet max_rpo", detail, quote(*c.p.Cron), zoneName(*c.p.Timezone), blackout, text, c.example(g.Gaps), *c.p.MaxRPO, text)
		}
	}
	if c.keep == nil {
		return
	}
	if limit := c.keep.MaxAge; !limit.IsZero() && limit.Approx() < gap {
		if g.Few() {
			c.fail("retention.max_age", "max_age is shorter than the schedule", "%s has fewer than two runs from 2000 to 2040, and max_age is %s: each backup would expire before the next exists.", quote(*c.p.Cron), c.p.Retention.MaxAge)
		} else {
			c.fail("retention.max_age", "max_age is shorter than the schedule", "Backups are up to %s apart and max_age is %s: each one would expire before the next exists. Use at least %s.",
				text, c.p.Retention.MaxAge, cron.FormatGap(2*gap))
		}
	}
	if period := c.keep.Period; !period.IsZero() && period.Approx() < gap && !g.Few() {
		c.warn(RulePeriodShort, "retention.period", "Period is shorter than one interval",
			"Backups are up to %s apart and period is %s, so between runs no backup but the newest lies within it. Use at least %s, or keep_last.",
			text, c.p.Retention.Period, cron.FormatGap(2*gap))
	}
	if d, given := c.lengths["timeout"]; given && !g.Few() && d.Approx() > gap {
		c.warn(RuleTimeoutLong, "timeout", "Timeout is longer than the interval",
			"timeout = %s is longer than the longest time between two runs, which is %s, so one run that hangs makes later ones be skipped. Use less than %s.",
			quote(*c.p.Timeout), text, text)
	}
}

// noRun refuses windows that leave no run: always, or with some share of the
// jitter.
func (c *checker) noRun() {
	const advice = "Move the runs or the windows apart, or let one of the windows defer runs to its end."
	if none := slots.WorstCase(c.sched, c.loc, c.windows, 0); none.NoRun || c.lengths["jitter"].IsZero() {
		c.fail("blackout", "Blackout leaves no run", "Every run of %s in %s falls into a blackout window that skips it or never ends, so no backup would ever be taken. %s",
			quote(*c.p.Cron), zoneName(*c.p.Timezone), advice)
		return
	}
	c.fail("blackout", "Blackout can leave no run", "jitter = %s can move every run of %s in %s into a blackout window that skips it, so that no backup would ever be taken. %s",
		quote(*c.p.Jitter), quote(*c.p.Cron), zoneName(*c.p.Timezone), advice)
}

// example names two runs that are as far apart, and says so when it is a change
// of the clock that puts them there: nobody expects 25h of a daily schedule.
func (c *checker) example(g cron.Gaps) string {
	from, to := g.MaxFrom.Format("Mon 2006-01-02 15:04"), g.MaxTo.Format("Mon 15:04")
	if g.Max >= 7*24*time.Hour {
		from, to = g.MaxFrom.Format("2006-01-02 15:04"), g.MaxTo.Format("2006-01-02 15:04")
	}
	why := ""
	_, before := g.MaxFrom.Zone()
	if _, after := g.MaxTo.Zone(); after < before {
		why = ", when the clock is set back"
	}
	if jitter := c.lengths["jitter"].Approx(); jitter > 0 {
		why += "; jitter adds up to " + cron.FormatGap(jitter)
	}
	return " (for example " + from + " to " + to + why + ")"
}
