package preflight

import (
	"fmt"
	"time"
)

// nominalUnits are the lengths of the calendar units as people count them.
var nominalUnits = map[string]time.Duration{
	"hour": time.Hour, "day": day, "week": 7 * day, "month": 30 * day, "year": 365 * day,
}

// FirstToGo returns the rule of a proposal's retention after which the first
// backups go, as it is written, and the age at which they do. ok is false where
// nothing ever goes, or where the proposal cannot be read.
//
// Where rules keep every backup (the period, the last ones, a unit that holds
// one run at most), the longest of them counts. Else it is the shortest tier:
// what stands for no unit goes even sooner.
func FirstToGo(p Proposal) (rule string, age time.Duration, ok bool) {
	c := read(p)
	if c.keep == nil || c.sched == nil || c.keep.KeepAll {
		return "", 0, false
	}
	every, everyAge := "", time.Duration(0)
	if !c.keep.Period.IsZero() {
		every, everyAge = fmt.Sprintf("period = %q", c.keep.Period.String()), c.keep.Period.Approx()
	}
	gap := c.sched.MinInterval()
	for _, t := range tiersOf(*c.keep) {
		name, d := fmt.Sprintf("%s = %d", t.name, t.n), time.Duration(t.n)*nominalUnits[t.unit]
		if t.shortest == 0 {
			d = time.Duration(t.n) * gap
		}
		switch {
		case t.shortest <= gap && d > everyAge:
			every, everyAge = name, d
		case age == 0 || d < age:
			rule, age = name, d
		}
	}
	if every != "" {
		return every, everyAge, true
	}
	return rule, age, rule != ""
}
