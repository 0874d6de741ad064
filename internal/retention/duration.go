package retention

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Duration is a length of time as people write it in a policy: months and
// years keep their calendar meaning, everything shorter is fixed (a day is 24
// hours). The zero value is no time at all. Durations compare with ==.
type Duration struct {
	Months int
	Fixed  time.Duration
}

const day = 24 * time.Hour

// longest bounds a duration, so that no arithmetic on it can overflow.
const longest = 200 * 366 * day

// units in the order in which String writes them.
var units = []struct {
	name   string
	months int
	fixed  time.Duration
}{
	{"y", 12, 0},
	{"mo", 1, 0},
	{"w", 0, 7 * day},
	{"d", 0, day},
	{"h", 0, time.Hour},
	{"m", 0, time.Minute},
}

const unitNames = "m (minutes), h, d, w, mo (months) or y"

// DurationError says why a text is no duration and what to write instead.
type DurationError struct {
	Value string
	Msg   string
	Hint  string
}

func (e *DurationError) Error() string {
	text := fmt.Sprintf("invalid duration %q: %s", e.Value, e.Msg)
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// ParseDuration reads whole numbers with a unit each, the larger unit first:
// "30d", "36h", "1y6mo". The error is a *DurationError.
func ParseDuration(text string) (Duration, error) {
	fail := func(msg, hint string) (Duration, error) {
		return Duration{}, &DurationError{Value: shortened(text), Msg: msg, Hint: hint}
	}
	if text == "" {
		return fail("it is empty", "write e.g. 30d or 1y6mo")
	}
	var d Duration
	before := -1 // index of the last unit
	for rest := text; rest != ""; {
		digits := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
		rest = rest[len(digits):]
		unit := rest[:strings.IndexFunc(rest+"0", func(r rune) bool { return r >= '0' && r <= '9' })]
		rest = rest[len(unit):]
		if digits == "" {
			if strings.HasPrefix(unit, "-") {
				return fail("it is negative", "write it without the minus sign")
			}
			return fail("a number is missing before "+fmt.Sprintf("%q", unit), "write e.g. 30d or 1y6mo")
		}
		if unit == "" {
			return fail("the unit is missing", fmt.Sprintf("write e.g. %sd; units are %s", digits, unitNames))
		}
		i := unitIndex(unit)
		if i < 0 {
			return fail(fmt.Sprintf("unknown unit %q", unit), unitHint(digits, unit))
		}
		if i <= before {
			return fail("units must come from the largest to the smallest, each once", "write e.g. 1y6mo or 1d12h")
		}
		before = i
		var n int64
		for _, c := range digits {
			if n = n*10 + int64(c-'0'); n > math.MaxInt32 {
				return fail("it is longer than 200 years", "to keep backups for ever write keep_all = true")
			}
		}
		u := units[i]
		if u.fixed > 0 && n > int64(longest/u.fixed) || u.months > 0 && n > 200*12/int64(u.months) {
			return fail("it is longer than 200 years", "to keep backups for ever write keep_all = true")
		}
		d.Months += int(n) * u.months
		d.Fixed += time.Duration(n) * u.fixed
	}
	if d.Months > 200*12 || d.Fixed > longest {
		return fail("it is longer than 200 years", "to keep backups for ever write keep_all = true")
	}
	return d, nil
}

func unitIndex(unit string) int {
	for i, u := range units {
		if u.name == unit {
			return i
		}
	}
	return -1
}

// unitHint guesses what was meant.
func unitHint(digits, unit string) string {
	lower := strings.ToLower(strings.TrimSpace(unit))
	switch {
	case strings.HasPrefix(unit, "."):
		return "write whole numbers, e.g. 1d12h for a day and a half"
	case unit == "M":
		return fmt.Sprintf("write %smo for months or %sm for minutes", digits, digits)
	case lower == "s" || strings.HasPrefix(lower, "sec"):
		return "the smallest unit is the minute, e.g. 1m"
	}
	for prefix, name := range map[string]string{"y": "y", "mo": "mo", "w": "w", "d": "d", "h": "h", "mi": "m"} {
		if strings.HasPrefix(lower, prefix) {
			return fmt.Sprintf("write %s%s", digits, name)
		}
	}
	return "units are " + unitNames
}

func shortened(text string) string {
	if len(text) > 40 {
		return text[:40] + "..."
	}
	return text
}

// String writes d in its canonical form, from years to minutes: "24h" and "1d"
// are both "1d". No time at all is "0m".
func (d Duration) String() string {
	var b strings.Builder
	months, fixed := d.Months, d.Fixed
	for _, u := range units {
		if u.name == "w" {
			continue // 30d reads better than 4w2d
		}
		var n int64
		if u.months > 0 {
			n = int64(months / u.months)
			months %= u.months
		} else {
			n = int64(fixed / u.fixed)
			fixed %= u.fixed
		}
		if n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
		}
	}
	if b.Len() == 0 {
		return "0m"
	}
	return b.String()
}

// IsZero reports whether d is no time at all.
func (d Duration) IsZero() bool { return d == Duration{} }

// Before returns the instant d before t. Months are counted in loc and end on
// the month's last day where the day does not exist: a month before March 31
// is the last day of February. The result is in loc.
func (d Duration) Before(t time.Time, loc *time.Location) time.Time {
	return addMonths(t.In(loc), -d.Months).Add(-d.Fixed)
}

// After returns the instant d after t, by the rules of Before.
func (d Duration) After(t time.Time, loc *time.Location) time.Time {
	return addMonths(t.In(loc), d.Months).Add(d.Fixed)
}

func addMonths(t time.Time, n int) time.Time {
	if n == 0 {
		return t
	}
	year, month, dom := t.Date()
	first := time.Date(year, month+time.Month(n), 1, 0, 0, 0, 0, time.UTC)
	if last := first.AddDate(0, 1, -1).Day(); dom > last {
		dom = last
	}
	return time.Date(first.Year(), first.Month(), dom, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
}

// Approx returns d with months of 30.44 and years of 365.25 days, for
// comparing lengths only.
func (d Duration) Approx() time.Duration {
	return time.Duration(d.Months)*(36525*day/1200) + d.Fixed
}

// Compare orders durations by their length, as in Approx.
func (d Duration) Compare(o Duration) int {
	switch a, b := d.Approx(), o.Approx(); {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// SameDuration reports whether two texts are valid and the same length of
// time, like "24h" and "1d".
func SameDuration(a, b string) bool {
	x, err := ParseDuration(a)
	if err != nil {
		return false
	}
	y, err := ParseDuration(b)
	return err == nil && x == y
}
