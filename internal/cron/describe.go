package cron

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Describe says in English when s fires, without the time zone: "every day at
// 02:30", "every 15 minutes on Monday to Friday". No capital, no full stop. It
// is made from what was parsed, so it cannot disagree with what runs.
func (s *Schedule) Describe() string { return s.describe("") }

// DescribeIn is Describe with the name of the zone in its place: "every day at
// 02:30 Europe/Berlin".
func (s *Schedule) DescribeIn(zone string) string { return s.describe(zone) }

func (s *Schedule) describe(zone string) string {
	days := s.describeDays()
	if clock := s.clockTimes(); clock != "" {
		if zone != "" {
			clock += " " + zone
		}
		return days + " at " + clock
	}
	text := s.describeTimes()
	if days != "every day" {
		text += " " + days
	}
	if zone != "" {
		text += " (" + zone + ")"
	}
	return text
}

// clockTimes lists the times of day when they are few and empty otherwise.
func (s *Schedule) clockTimes() string {
	const few = 6
	if s.everyHour() || s.times() > few {
		return ""
	}
	var times []string
	for m := range s.minutesOfDay(0, 86400) {
		times = append(times, clock(m))
	}
	return enumerate(times, "and")
}

func clock(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

// describeTimes says when within a day s fires, for more than a few times.
func (s *Schedule) describeTimes() string {
	minutes := values(s.minute)
	every := ""
	switch n, even := stride(minutes, 60); {
	case len(minutes) == 60:
		every = "every minute"
	case even && minutes[0] == 0:
		every = fmt.Sprintf("every %d minutes", n)
	}
	hours := values(uint64(s.hour))
	switch {
	case s.everyHour() && every != "":
		return every
	case s.everyHour() && len(minutes) == 1 && minutes[0] == 0:
		return "every hour"
	case s.everyHour():
		return "every hour at " + minuteList(minutes)
	case every != "":
		return every + " " + s.hourRanges()
	case len(minutes) == 1:
		first, final := clock(s.firstMinute()), clock(s.lastMinute())
		n, even := stride(hours, 24)
		switch {
		case even && hours[0] < n:
			return fmt.Sprintf("every %d hours from %s to %s", n, first, final)
		case hours[len(hours)-1]-hours[0] == len(hours)-1:
			return fmt.Sprintf("every hour from %s to %s", first, final)
		}
	}
	return "at " + minuteList(minutes) + " " + s.hourRanges()
}

// stride returns the distance of evenly spaced values that fill a cycle.
func stride(v []int, cycle int) (n int, even bool) {
	if len(v) < 2 {
		return 0, false
	}
	n = v[1] - v[0]
	for i := range v {
		next := v[0] + cycle
		if i+1 < len(v) {
			next = v[i+1]
		}
		if next-v[i] != n {
			return 0, false
		}
	}
	return n, true
}

func minuteList(minutes []int) string {
	if len(minutes) == 1 {
		return "minute " + strconv.Itoa(minutes[0])
	}
	return "minutes " + enumerate(ranges(minutes, strconv.Itoa), "and")
}

// hourRanges says "during 02:00-04:59 and 06:00-06:59".
func (s *Schedule) hourRanges() string {
	var parts []string
	for _, r := range runsOf(values(uint64(s.hour))) {
		parts = append(parts, fmt.Sprintf("%02d:00-%02d:59", r[0], r[1]))
	}
	return "during " + enumerate(parts, "and")
}

// describeDays says on which days s fires, from the day rule in normal form.
func (s *Schedule) describeDays() string {
	rule := s.days()
	months := ""
	if s.month != 1<<13-2 {
		months = enumerate(ranges(values(uint64(s.month)), func(m int) string { return monthNames[m] }), "and")
	}
	if rule.every {
		if months != "" {
			return "every day in " + months
		}
		return "every day"
	}
	dom, dow := rule.dom.describe(), rule.dow.describe()
	switch {
	case dow == "":
		if months == "" {
			months = "the month"
		}
		return "on " + dom + " of " + months
	case dom == "":
		if months != "" {
			return "on " + dow + " in " + months
		}
		return "on " + dow
	}
	if months == "" {
		months = "the month"
	}
	return "on " + dom + " of " + months + " or on " + dow + " (whichever matches)"
}

func (d daysOfMonth) describe() string {
	var parts []string
	if d.days != 0 {
		v := values(uint64(d.days))
		if len(v) > 3 && v[1]-v[0] > 1 && evenly(v) {
			parts = append(parts, fmt.Sprintf("every %s day from the %s to the %s", ordinal(v[1]-v[0]), ordinal(v[0]), ordinal(v[len(v)-1])))
		} else {
			parts = append(parts, "the "+enumerate(ranges(v, ordinal), "and"))
		}
	}
	for _, v := range values(uint64(d.nearest)) {
		parts = append(parts, "the weekday nearest the "+ordinal(v))
	}
	if d.last {
		parts = append(parts, "the last day")
	}
	return enumerate(parts, "and")
}

func (d daysOfWeek) describe() string {
	var parts []string
	if d.days != 0 {
		v := values(uint64(d.days))
		// A week that reads Saturday and Sunday, not Sunday and Saturday.
		if v[0] == 0 && len(v) > 1 && len(v) < 7 {
			v = append(v[1:], 7)
		}
		parts = append(parts, enumerate(ranges(v, func(v int) string { return dayNames[v%7] }), "and"))
	}
	for k, set := range d.nth {
		for _, v := range values(uint64(set)) {
			parts = append(parts, fmt.Sprintf("the %s %s of the month", ordinal(k), dayNames[v]))
		}
	}
	for _, v := range values(uint64(d.last)) {
		parts = append(parts, "the last "+dayNames[v]+" of the month")
	}
	return enumerate(parts, "and")
}

func evenly(v []int) bool {
	for i := 2; i < len(v); i++ {
		if v[i]-v[i-1] != v[1]-v[0] {
			return false
		}
	}
	return true
}

// values returns the numbers of the set bits.
func values(set uint64) []int {
	var v []int
	for ; set != 0; set &= set - 1 {
		v = append(v, bits.TrailingZeros64(set))
	}
	return v
}

// runsOf joins neighbours into pairs of first and last.
func runsOf(v []int) [][2]int {
	var runs [][2]int
	for _, n := range v {
		if k := len(runs) - 1; k >= 0 && runs[k][1] == n-1 {
			runs[k][1] = n
		} else {
			runs = append(runs, [2]int{n, n})
		}
	}
	return runs
}

// ranges names values, three or more neighbours as "a to c".
func ranges(v []int, name func(int) string) []string {
	var parts []string
	for _, r := range runsOf(v) {
		switch r[1] - r[0] {
		case 0:
			parts = append(parts, name(r[0]))
		case 1:
			parts = append(parts, name(r[0]), name(r[1]))
		default:
			parts = append(parts, name(r[0])+" to "+name(r[1]))
		}
	}
	return parts
}

// enumerate joins with commas and a final word. A long list of items is cut in
// its middle, since nobody reads sixty numbers.
func enumerate(parts []string, word string) string {
	const most = 12
	if len(parts) > most {
		parts = append(append(append([]string{}, parts[:most-2]...), "..."), parts[len(parts)-1])
		return strings.Join(parts[:len(parts)-1], ", ") + " " + word + " " + parts[len(parts)-1]
	}
	switch len(parts) {
	case 0:
		return ""
	case 1:
		return parts[0]
	}
	return strings.Join(parts[:len(parts)-1], ", ") + " " + word + " " + parts[len(parts)-1]
}

func ordinal(n int) string {
	suffix := "th"
	if n/10 != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return strconv.Itoa(n) + suffix
}

var (
	monthNames = [13]string{"", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
	dayNames   = [7]string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
)
