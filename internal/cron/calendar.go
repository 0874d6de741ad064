package cron

import (
	"iter"
	"math/bits"
	"time"
)

// Days are counted from 1970-01-01, in the proleptic Gregorian calendar.

// fullMonth has bit 1..31.
const fullMonth = 1<<32 - 2

// days is the day rule in normal form: equal rules compare equal however they
// were written.
func (s *Schedule) days() dayRule {
	r := dayRule{dom: s.dom, dow: s.dow}
	if r.dom.days == fullMonth {
		r.dom = daysOfMonth{days: fullMonth}
	}
	if r.dow.days == 1<<7-1 {
		r.dow = daysOfWeek{days: 1<<7 - 1}
	}
	switch {
	// Either field may match when both are restricted, so one that is full
	// makes every day match; when one is a star, the other decides alone.
	case s.dom.star && s.dow.star,
		!s.dom.star && !s.dow.star && (r.dom.days == fullMonth || r.dow.days == 1<<7-1),
		s.dom.star && r.dow.days == 1<<7-1,
		s.dow.star && r.dom.days == fullMonth:
		return dayRule{every: true}
	case s.dom.star:
		r.dom = daysOfMonth{}
	case s.dow.star:
		r.dow = daysOfWeek{}
	}
	r.dow.last &^= r.dow.days
	for k := range r.dow.nth {
		r.dow.nth[k] &^= r.dow.days
	}
	return r
}

// dayRule says which days of a month match: all of them, or the union of the
// two fields, of which one may be empty.
type dayRule struct {
	every bool
	dom   daysOfMonth
	dow   daysOfWeek
}

// matching returns the matching days of a month as bits 1..31. first is the
// weekday of its first day, length its number of days.
func (r dayRule) matching(first, length int) uint32 {
	all := uint32(1)<<(length+1) - 2
	if r.every {
		return all
	}
	set := r.dom.days & all
	if r.dom.last {
		set |= 1 << length
	}
	for rest := r.dom.nearest & all; rest != 0; rest &= rest - 1 {
		set |= 1 << nearestWeekday(bits.TrailingZeros32(rest), first, length)
	}
	for wd := range 7 {
		bit := uint8(1) << wd
		day := 1 + (wd-first+7)%7 // the first such weekday of the month
		if r.dow.days&bit != 0 {
			set |= weekly(day)
		}
		for k := 1; k <= 5; k++ {
			if r.dow.nth[k]&bit != 0 && day+7*(k-1) <= length {
				set |= 1 << (day + 7*(k-1))
			}
		}
		if r.dow.last&bit != 0 {
			set |= 1 << (day + (length-day)/7*7)
		}
	}
	return set & all
}

// weekly has every seventh day from day on.
func weekly(day int) uint32 {
	return 1<<day | 1<<(day+7) | 1<<(day+14) | 1<<(day+21) | uint32(uint64(1)<<(day+28))
}

// nearestWeekday returns the day from Monday to Friday that lies nearest to
// day without leaving the month.
func nearestWeekday(day, first, length int) int {
	switch (first + day - 1) % 7 {
	case int(time.Saturday):
		if day == 1 {
			return 3
		}
		return day - 1
	case int(time.Sunday):
		if day == length {
			return day - 2
		}
		return day + 1
	}
	return day
}

// fires reports whether any day exists that s selects.
func (s *Schedule) fires() bool {
	rule := s.days()
	if s.minute == 0 || s.hour == 0 {
		return false
	}
	for m := 1; m <= 12; m++ {
		if s.month&(1<<m) == 0 {
			continue
		}
		for first := range 7 {
			if rule.matching(first, longest[m]) != 0 {
				return true
			}
		}
	}
	return false
}

var longest = [13]int{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}

// matchingDays yields the days at or after from on which s fires, in order and
// without end.
func (s *Schedule) matchingDays(from int) iter.Seq[int] {
	return func(yield func(int) bool) {
		rule := s.days()
		year, month, day := civil(from)
		start := from - day + 1
		skip := ^uint32(0) << day
		for {
			length := daysIn(year, month)
			if s.month&(1<<month) != 0 {
				for set := rule.matching(weekday(start), length) & skip; set != 0; set &= set - 1 {
					if !yield(start + bits.TrailingZeros32(set) - 1) {
						return
					}
				}
			}
			skip = ^uint32(0)
			start += length
			if month++; month > 12 {
				year, month = year+1, 1
			}
		}
	}
}

func civil(day int) (year, month, dom int) {
	t := time.Unix(int64(day)*86400, 0).UTC()
	return t.Year(), int(t.Month()), t.Day()
}

func daysIn(year, month int) int {
	if month == 2 && !(year%4 == 0 && (year%100 != 0 || year%400 == 0)) {
		return 28
	}
	return longest[month]
}

// weekday of a day; day 0 was a Thursday.
func weekday(day int) int { return ((day+4)%7 + 7) % 7 }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
