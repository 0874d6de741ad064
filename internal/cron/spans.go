package cron

import (
	"iter"
	"math/bits"
	"time"
)

// span is a stretch of wall clock [lo, hi) within one segment in which each
// match is one run, at the match minus offset.
type span struct {
	lo, hi int64
	offset int64
	// madeUp: the clock skipped a match just before this span, which runs at
	// lo; a match at lo is the same run.
	madeUp bool
}

// spans cuts [from, to) into spans by the two rules of Next.
func (s *Schedule) spans(from, to int64, loc *time.Location) []span {
	var list []span
	high := int64(-1 << 62) // where the clock has been, exclusive
	for i, seg := range spansBetween(loc, from, to) {
		sp := span{lo: seg.from + seg.offset, hi: seg.to + seg.offset, offset: seg.offset}
		if !s.everyHour() && i > 0 {
			// A gap is made up at its end, a repeated hour is left out.
			if sp.lo > high {
				first := s.firstIn(high, sp.lo)
				sp.madeUp = first < sp.lo
			}
			sp.lo = max(sp.lo, high)
		}
		high = max(high, sp.hi)
		// The day before the window only served to know how far the clock was.
		if start := from + seg.offset; sp.lo < start {
			sp.lo, sp.madeUp = start, false
		}
		if sp.lo < sp.hi {
			list = append(list, sp)
		}
	}
	return list
}

// firstIn returns the first match in [lo, hi), or hi.
func (s *Schedule) firstIn(lo, hi int64) int64 {
	for day := range s.matchingDays(int(floorDiv(lo, 86400))) {
		if int64(day)*86400 >= hi {
			break
		}
		for m := range s.minutesOfDay(lo-int64(day)*86400, hi-int64(day)*86400) {
			return int64(day)*86400 + int64(m)*60
		}
	}
	return hi
}

// minutesOfDay yields the minutes at which s fires on a matching day whose
// first second lies in [lo, hi) of that day.
func (s *Schedule) minutesOfDay(lo, hi int64) iter.Seq[int] {
	return func(yield func(int) bool) {
		for hours := s.hour; hours != 0; hours &= hours - 1 {
			h := bits.TrailingZeros32(hours)
			if int64(h+1)*3600 <= lo {
				continue
			}
			for minutes := s.minute; minutes != 0; minutes &= minutes - 1 {
				m := h*60 + bits.TrailingZeros64(minutes)
				if at := int64(m) * 60; at < lo {
					continue
				} else if at >= hi {
					return
				}
				if !yield(m) {
					return
				}
			}
		}
	}
}

// Hour is the runs of a schedule within one hour of the wall clock. An hour
// that the clock repeats gives two values.
type Hour struct {
	// Wall is the beginning of the hour as the wall clock shows it, written as
	// the Unix seconds at which UTC shows the same.
	Wall int64
	// Offset is the zone's offset in seconds.
	Offset int64
	// Minutes has bit m for a run m minutes after Start.
	Minutes uint64
}

// N returns the number of runs in the hour.
func (h Hour) N() int { return bits.OnesCount64(h.Minutes) }

// Start returns the Unix time of minute 0. Where the clock changed within the
// hour, it is the instant that the hour would have begun at.
func (h Hour) Start() int64 { return h.Wall - h.Offset }

// First returns the Unix time of the first run in the hour.
func (h Hour) First() int64 { return h.Start() + 60*int64(bits.TrailingZeros64(h.Minutes)) }

// Last returns the Unix time of the last run in the hour.
func (h Hour) Last() int64 { return h.Start() + 60*int64(63-bits.LeadingZeros64(h.Minutes)) }

// Hours yields all runs in [from, to) hour by hour, in order. It costs a few
// nanoseconds an hour and so is the way to look at decades of a schedule; the
// runs are those of Next.
func (s *Schedule) Hours(from, to time.Time, loc *time.Location) iter.Seq[Hour] {
	return func(yield func(Hour) bool) {
		start, end := ceilMinute(from), ceilMinute(to)
		if start >= end {
			return
		}
		for _, sp := range s.spans(start, end, loc) {
			if !s.hoursIn(sp, yield) {
				return
			}
		}
	}
}

// ceilMinute returns the first whole minute at or after t.
func ceilMinute(t time.Time) int64 {
	at := floorDiv(t.Unix(), 60) * 60
	if t.After(time.Unix(at, 0)) {
		at += 60
	}
	return at
}

func (s *Schedule) hoursIn(sp span, yield func(Hour) bool) bool {
	// The run that makes up for a gap joins the hour in which it falls.
	made := Hour{Wall: floorDiv(sp.lo, 3600) * 3600, Offset: sp.offset}
	if sp.madeUp {
		made.Minutes = 1 << ((sp.lo - made.Wall) / 60)
	}
	for day := range s.matchingDays(int(floorDiv(sp.lo, 86400))) {
		midnight := int64(day) * 86400
		if midnight >= sp.hi {
			break
		}
		for hours := s.hour; hours != 0; hours &= hours - 1 {
			h := Hour{Wall: midnight + int64(bits.TrailingZeros32(hours))*3600, Offset: sp.offset}
			if h.Wall+3600 <= sp.lo {
				continue
			}
			if h.Wall >= sp.hi {
				break
			}
			h.Minutes = s.minute & minutesBetween(sp.lo-h.Wall, sp.hi-h.Wall)
			if made.Minutes != 0 {
				if h.Wall == made.Wall {
					h.Minutes |= made.Minutes
				} else if !yield(made) {
					return false
				}
				made.Minutes = 0
			}
			if h.Minutes != 0 && !yield(h) {
				return false
			}
		}
	}
	return made.Minutes == 0 || yield(made)
}

// minutesBetween has the minutes of an hour whose first second lies in
// [lo, hi), both counted from the beginning of the hour.
func minutesBetween(lo, hi int64) uint64 {
	set := uint64(1<<60 - 1)
	if lo > 0 {
		set &= ^uint64(0) << min((lo+59)/60, 63)
	}
	if hi < 3600 {
		set &= 1<<max((hi+59)/60, 0) - 1
	}
	return set
}
