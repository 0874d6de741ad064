package cron_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// The oracle reads an expression from its text, item by item and minute by
// minute, and shares no code with the package: a second opinion on the grammar,
// on gronx and on the treatment of clock changes.

type oracle struct {
	fields [5]string
}

var oracleNames = strings.NewReplacer(
	"JAN", "1", "FEB", "2", "MAR", "3", "APR", "4", "MAY", "5", "JUN", "6",
	"JUL", "7", "AUG", "8", "SEP", "9", "OCT", "10", "NOV", "11", "DEC", "12",
	"-SUN", "-7", "SUN", "0", "MON", "1", "TUE", "2", "WED", "3", "THU", "4", "FRI", "5", "SAT", "6")

func newOracle(expr string) oracle {
	var o oracle
	copy(o.fields[:], strings.Fields(oracleNames.Replace(strings.ToUpper(expr))))
	return o
}

// selects reports whether a list without specials holds v. hi is the field's
// last value.
func selects(list string, v, lo, hi int) bool {
	for item := range strings.SplitSeq(list, ",") {
		base, stepText, stepped := strings.Cut(item, "/")
		step := 1
		if stepped {
			step, _ = strconv.Atoi(stepText)
		}
		from, to := lo, hi
		if base != "*" && base != "?" {
			a, b, ranged := strings.Cut(base, "-")
			from, _ = strconv.Atoi(a)
			switch {
			case ranged:
				to, _ = strconv.Atoi(b)
			case !stepped:
				to = from
			}
		}
		for x := from; x <= to; x += step {
			if x == v {
				return true
			}
		}
	}
	return false
}

func (o oracle) dom(t time.Time) bool {
	length := time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day()
	for item := range strings.SplitSeq(o.fields[2], ",") {
		switch {
		case item == "L":
			if t.Day() == length {
				return true
			}
		case strings.HasSuffix(item, "W"):
			want, _ := strconv.Atoi(item[:len(item)-1])
			if want > length || t.Weekday() == time.Saturday || t.Weekday() == time.Sunday {
				continue
			}
			// The nearest weekday of the month: try by growing distance.
			for _, d := range []int{0, -1, 1, -2, 2} {
				x := want + d
				if x < 1 || x > length {
					continue
				}
				wd := time.Date(t.Year(), t.Month(), x, 0, 0, 0, 0, time.UTC).Weekday()
				if wd != time.Saturday && wd != time.Sunday {
					if x == t.Day() {
						return true
					}
					break
				}
			}
		default:
			if selects(item, t.Day(), 1, 31) {
				return true
			}
		}
	}
	return false
}

func (o oracle) dow(t time.Time) bool {
	wd := int(t.Weekday())
	for item := range strings.SplitSeq(o.fields[4], ",") {
		switch {
		case strings.Contains(item, "#"):
			day, k, _ := strings.Cut(item, "#")
			if d, _ := strconv.Atoi(day); d%7 == wd && strconv.Itoa((t.Day()-1)/7+1) == k {
				return true
			}
		case strings.HasSuffix(item, "L"):
			if d, _ := strconv.Atoi(item[:len(item)-1]); d%7 == wd && t.AddDate(0, 0, 7).Month() != t.Month() {
				return true
			}
		default:
			if selects(item, wd, 0, 6) || wd == 0 && selects(item, 7, 0, 6) {
				return true
			}
		}
	}
	return false
}

// day reports whether the date of t, in UTC, is selected.
func (o oracle) day(t time.Time) bool {
	if !selects(o.fields[3], int(t.Month()), 1, 12) {
		return false
	}
	starDOM := o.fields[2] == "*" || o.fields[2] == "?" || o.fields[2] == "*/1"
	starDOW := o.fields[4] == "*" || o.fields[4] == "?" || o.fields[4] == "*/1"
	switch {
	case starDOM && starDOW:
		return true
	case starDOM:
		return o.dow(t)
	case starDOW:
		return o.dom(t)
	}
	return o.dom(t) || o.dow(t)
}

// matches reports whether a wall clock is selected; t carries it in UTC.
func (o oracle) matches(t time.Time) bool {
	return selects(o.fields[0], t.Minute(), 0, 59) && selects(o.fields[1], t.Hour(), 0, 23) && o.day(t)
}

func (o oracle) everyHour() bool {
	for h := range 24 {
		if !selects(o.fields[1], h, 0, 23) {
			return false
		}
	}
	return true
}

// runs returns all runs in (from, to] by walking every real minute.
func (o oracle) runs(from, to time.Time, loc *time.Location) []time.Time {
	wallAt := func(t time.Time) time.Time {
		l := t.In(loc)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	type key [5]int
	known := map[key]bool{}
	matches := func(w time.Time) bool {
		k := key{w.Year(), w.YearDay(), w.Hour(), w.Minute()}
		if m, ok := known[k]; ok {
			return m
		}
		m := o.matches(w)
		known[k] = m
		return m
	}
	every := o.everyHour()
	at := from.Add(-30 * time.Hour).Truncate(time.Minute)
	high := wallAt(at)
	var runs []time.Time
	for ; !at.After(to); at = at.Add(time.Minute) {
		wall, fires := wallAt(at), false
		if every {
			fires = at.After(from) && matches(wall)
		} else {
			for high.Before(wall) {
				high = high.Add(time.Minute)
				fires = fires || matches(high)
			}
		}
		if fires && at.After(from) {
			runs = append(runs, at.In(loc))
		}
	}
	return runs
}

// nextUTC returns the first match after t in UTC, at most 50 years away.
func (o oracle) nextUTC(t time.Time) (time.Time, bool) {
	t = t.UTC().Truncate(time.Minute).Add(time.Minute)
	for range 50 * 366 {
		if o.day(t) {
			for m := t; m.Day() == t.Day(); m = m.Add(time.Minute) {
				if o.matches(m) {
					return m, true
				}
			}
		}
		t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, time.UTC)
	}
	return time.Time{}, false
}

// source returns a random source whose seed is printed and can be given in
// ENVBACKUP_SEED.
func source(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("ENVBACKUP_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("ENVBACKUP_SEED: %v", err)
		}
	}
	t.Logf("ENVBACKUP_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// cases returns the number of random cases: a few, or full with
// ENVBACKUP_SOAK=1.
func cases(few, full int) int {
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		return full
	}
	return few
}

// randomExpr makes a text of the grammar. It may select no day; Parse decides.
func randomExpr(r *rand.Rand) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	value := func(lo, hi int) int { return lo + r.IntN(hi-lo+1) }
	item := func(lo, hi int, dow bool) string {
		a, b := value(lo, hi), value(lo, hi)
		if a > b {
			a, b = b, a
		}
		top := hi
		if dow {
			top = 7
		}
		switch n := r.IntN(6); {
		case n < 3:
			return strconv.Itoa(value(lo, top))
		case n == 3 && b > a:
			return fmt.Sprintf("%d-%d", a, b)
		case n == 4 && b > a:
			return fmt.Sprintf("%d-%d/%d", a, b, 1+r.IntN(b-a))
		case n == 5 && a < hi && !dow:
			return fmt.Sprintf("%d/%d", a, 1+r.IntN(hi-a))
		}
		return strconv.Itoa(a)
	}
	list := func(lo, hi int, dow bool, special func() string) string {
		items := make([]string, 1+r.IntN(3))
		for i := range items {
			items[i] = item(lo, hi, dow)
			if special != nil && r.IntN(4) == 0 {
				items[i] = special()
			}
		}
		return strings.Join(items, ",")
	}
	step := func(lo, hi int) string { return fmt.Sprintf("*/%d", 1+r.IntN(hi-lo)) }

	minute := pick("*", "0", "30", list(0, 59, false, nil), list(0, 59, false, nil), step(0, 59))
	hour := pick("*", "*", "2", "0", "0-23", list(0, 23, false, nil), list(0, 23, false, nil), step(0, 23))
	month := pick("*", "*", "*", "FEB", "jun-AUG", "3", list(1, 12, false, nil), step(1, 12))
	dom, dow := "*", "*"
	days := r.IntN(6)
	if days == 1 || days >= 4 {
		dom = list(1, 31, false, func() string { return pick("L", fmt.Sprintf("%dW", value(1, 31))) })
	}
	if days == 2 || days >= 4 {
		dow = list(0, 6, true, func() string {
			return pick("MON-FRI", "SAT-SUN", fmt.Sprintf("%dL", value(0, 7)), fmt.Sprintf("%d#%d", value(0, 7), value(1, 5)))
		})
	}
	if days == 3 {
		dom, dow = pick(step(1, 31), "?", "*"), "*"
		if r.IntN(2) == 0 {
			dom, dow = "*", pick(step(0, 6), "?")
		}
	}
	return strings.Join([]string{minute, hour, dom, month, dow}, pick(" ", " ", "\t", "  "))
}

// randomSchedule returns a schedule that fires, and its oracle.
func randomSchedule(t testing.TB, r *rand.Rand) (*cron.Schedule, oracle) {
	t.Helper()
	for {
		expr := randomExpr(r)
		s, err := cron.Parse(expr)
		if err == nil {
			return s, newOracle(expr)
		}
		if !strings.Contains(err.Error(), "never runs") {
			t.Fatalf("Parse(%q) refused an expression of the grammar: %v", expr, err)
		}
		if at, ok := newOracle(expr).nextUTC(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)); ok {
			t.Fatalf("Parse(%q) says that it never runs, but it does at %s (C5)", expr, at)
		}
	}
}

// zones have every kind of change: whole and half hours, at midnight, a day
// left out, changes of the standard time, none.
var zones = []string{
	"UTC", "Europe/Berlin", "America/New_York", "Atlantic/Azores", "America/Havana", "America/Santiago",
	"Australia/Lord_Howe", "Pacific/Apia", "Pacific/Chatham", "Antarctica/Troll", "Africa/Casablanca",
	"America/Caracas", "Asia/Pyongyang", "Asia/Kathmandu", "Pacific/Kiritimati", "America/Sao_Paulo", "Europe/Dublin",
	"Europe/London", "Europe/Istanbul", "Europe/Volgograd", "America/St_Johns", "America/Godthab", "America/Asuncion",
	"Asia/Tehran", "Asia/Gaza", "Asia/Amman", "Africa/Cairo", "Australia/Sydney",
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := cron.LoadZone(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// changes returns the changes of the clock in [from, to), found hour by hour.
func changes(loc *time.Location, from, to time.Time) []time.Time {
	var list []time.Time
	_, last := from.In(loc).Zone()
	for at := from; at.Before(to); at = at.Add(time.Hour) {
		if _, offset := at.In(loc).Zone(); offset != last {
			list = append(list, at)
			last = offset
		}
	}
	return list
}
