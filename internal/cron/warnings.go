package cron

import (
	"fmt"
	"time"
)

// The rules that Warnings speaks of, as lint_ignore names them.
const (
	RuleDayOr       = "cron-day-or"
	RuleUnevenStep  = "cron-uneven-step"
	RuleSkipsMonths = "cron-skips-months"
)

// Warning is something legal that surprises people.
type Warning struct {
	Rule    string
	Field   int    // 1 to 5
	Message string // what it does and what to write instead; sentences on one line
}

// Warnings returns what is surprising about s, in the order of the fields.
func (s *Schedule) Warnings() []Warning {
	var list []Warning
	for _, st := range s.steps {
		if m := st.uneven(); m != "" {
			list = append(list, Warning{Rule: RuleUnevenStep, Field: st.field, Message: m})
		}
	}
	if m := s.skipsMonths(); m != "" {
		field := fieldDOM
		if s.dom.star {
			field = fieldDOW
		}
		list = append(list, Warning{Rule: RuleSkipsMonths, Field: field, Message: m})
	}
	if !s.dom.star && !s.dow.star {
		rule := dayRule{dom: s.dom, dow: s.dow}
		runs := s.Gaps(time.UTC).Runs / (lastYear - firstYear + 1)
		list = append(list, Warning{Rule: RuleDayOr, Field: fieldDOW, Message: fmt.Sprintf(
			`%s runs on %s of the month and also on %s, whichever matches: cron joins the two day fields with "or". That is about %d runs a year. Set one of them to * to have only the other.`,
			quote(s.expr), rule.dom.describe(), rule.dow.describe(), runs)})
	}
	return list
}

// uneven says what happens where a step over a whole field does not divide it.
func (st step) uneven() string {
	f := fields[st.field-1]
	if st.lo > f.lo+st.n-1 || st.hi+st.n <= f.top {
		return "" // a part of the field, chosen by its author
	}
	count := (st.hi-st.lo)/st.n + 1
	final := st.lo + (count-1)*st.n
	span := f.top - f.lo + 1
	gap := st.lo + span - final // from the last value around to the first
	if gap == st.n && st.field != fieldDOM {
		return ""
	}
	switch st.field {
	case fieldMinute, fieldHour:
		unit, whole := "minutes", "hour"
		if st.field == fieldHour {
			unit, whole = "hours", "day"
		}
		var at []int
		for v := st.lo; v <= st.hi; v += st.n {
			at = append(at, v)
		}
		list := make([]string, len(at))
		for i, v := range at {
			list[i] = fmt.Sprint(v)
		}
		return fmt.Sprintf("%s selects %s %s, so the runs are %d %s apart and, at the end of each %s, only %d. A step that divides %d is even.",
			quote(st.text), plural(f.name, len(at)), enumerate(list, "and"), st.n, unit, whole, gap, span)
	case fieldDOM:
		return fmt.Sprintf("%s starts again on day %d of each month, so the distance around the end of a month is not %d days. For an even rhythm choose days of the week.",
			quote(st.text), st.lo, st.n)
	case fieldMonth:
		return fmt.Sprintf("%s starts again each January, so the distance around the end of a year is %d and not %d months. A step that divides 12 is even.", quote(st.text), gap, st.n)
	}
	return fmt.Sprintf("%s starts again each Sunday, so the distance around the end of a week is %d and not %d days. Write the days out, e.g. MON,WED,FRI.", quote(st.text), gap, st.n)
}

func plural(word string, n int) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// skipsMonths says which of the selected months have no run.
func (s *Schedule) skipsMonths() string {
	rule := s.days()
	if rule.every || rule.dow.days != 0 {
		return ""
	}
	var always []string // months that have no run in any year
	var often string    // months that have none in some years
	for m := 1; m <= 12; m++ {
		if s.month&(1<<m) == 0 {
			continue
		}
		common, leap := rule.misses(longest[m]), rule.misses(longest[m])
		if m == 2 {
			common = rule.misses(28)
		}
		switch {
		case common == 7 && leap == 7:
			always = append(always, monthNames[m])
		case common == 7 && leap == 0:
			always = append(always, "February (but for leap years)")
		case common > 0:
			often = " in months that lack one"
		}
	}
	if len(always) == 0 && often == "" {
		return ""
	}
	where := often
	advice := "Use a week from 1 to 4, or e.g. 5L for the last Friday."
	if s.dow.star {
		advice = "Use day 28, or L for the last day of the month."
	}
	if len(always) > 0 {
		where = " in " + enumerate(always, "and")
	}
	return fmt.Sprintf("%s does not run%s; the longest gap is %s. %s", quote(s.expr), where, s.Gaps(time.UTC).days(), advice)
}

// misses counts the weekdays on which a month of some length may begin such
// that no day of it matches.
func (r dayRule) misses(length int) int {
	n := 0
	for first := range 7 {
		if r.matching(first, length) == 0 {
			n++
		}
	}
	return n
}

// days says the largest gap in whole days.
func (g Gaps) days() string {
	if g.Few() {
		return g.String()
	}
	return fmt.Sprintf("%d days", g.Max/(24*time.Hour))
}

// String says the largest gap: "25h", "31d", or "over 24 years" when the
// window of four decades holds fewer than two runs.
func (g Gaps) String() string {
	if g.Few() {
		return "over 24 years"
	}
	return FormatGap(g.Max)
}

// FormatGap writes a duration of whole minutes as people say a distance
// between backups: in minutes and hours up to four days ("25h", "1h30m"), in
// days and hours beyond ("31d1h"). Retention's durations can be written so.
func FormatGap(d time.Duration) string {
	const day = 24 * time.Hour
	if d < time.Minute {
		return "0m"
	}
	text := ""
	if d > 4*day {
		text = fmt.Sprintf("%dd", d/day)
		d %= day
	}
	if h := d / time.Hour; h > 0 {
		text += fmt.Sprintf("%dh", h)
	}
	if m := d % time.Hour / time.Minute; m > 0 {
		text += fmt.Sprintf("%dm", m)
	}
	return text
}
