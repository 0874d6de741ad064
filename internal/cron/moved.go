package cron

import (
	"iter"
	"math"
	"math/bits"
	"slices"
	"time"
)

// Move says when the runs of a schedule really start. Package cron does not
// know why: blackout windows and jitter are for others to decide.
type Move struct {
	// Reach is the farthest that a start lies after its run, not negative.
	Reach time.Duration
	// Weekly maps a run to its start, both in seconds of the wall clock from a
	// Sunday's midnight on; the start may lie beyond the week. It reports false
	// for a run that never starts. It holds where the clock does not change
	// between the two.
	Weekly func(run int64) (start int64, ok bool)
	// Exact does the same for any run, in Unix seconds.
	Exact func(run int64) (start int64, ok bool)
	// Even reports whether every run between two, at most an hour apart, starts
	// with one and the same delay, in seconds. It may say no for want of
	// looking closely.
	Even func(first, last int64) (delay int64, ok bool)
}

// GapsMoved is Gaps of the starts, in the order of their runs; starts must not
// come in another order than their runs, and those at the same instant are one.
//
// Like Gaps it looks at days, not at runs: away from the changes of the clock,
// days of the same weekday are alike.
func (s *Schedule) GapsMoved(loc *time.Location, m Move) Gaps {
	from, to := Window(loc)
	reach := int64((m.Reach + time.Second - 1) / time.Second)
	w := gapWalk{min: 1<<62 - 1}
	days := s.movedDays(m)
	hour := dayGaps{min: 1<<62 - 1}
	for set := s.minute; set != 0; set &= set - 1 {
		hour.run(int64(bits.TrailingZeros64(set)) * 60)
	}
	done := from.Unix() // everything before it has been walked
	walkEach := func(until int64) {
		for h := range s.Hours(time.Unix(done, 0), time.Unix(until, 0), loc) {
			if h.Minutes == s.minute {
				if delay, ok := m.Even(h.First(), h.Last()); ok {
					w.add(h.Start()+delay, hour)
					continue
				}
			}
			for ; h.Minutes != 0; h.Minutes &= h.Minutes - 1 {
				if at, ok := m.Exact(h.First()); ok {
					w.run(at)
				}
			}
		}
		done = max(done, until)
	}
	high := int64(math.MinInt64) // where the wall clock has been
	for _, seg := range spansBetween(loc, from.Unix(), to.Unix()) {
		// The quiet days of the segment: no change of the clock can reach them,
		// neither by the time that it skipped or repeated nor by a late start. A
		// run that makes up for skipped time falls on the change itself, so a day
		// that begins with one is not quiet.
		lo, hi := max(seg.from, done)+seg.offset, seg.to+seg.offset
		first := floorDiv(max(lo, high), 86400) + 1
		end := floorDiv(hi-reach, 86400)
		high = max(high, hi)
		if first >= end {
			continue
		}
		walkEach(first*86400 - seg.offset)
		for day := range s.matchingDays(int(first)) {
			if int64(day) >= end {
				break
			}
			w.add(int64(day)*86400-seg.offset, days[weekday(day)])
		}
		done = end*86400 - seg.offset
	}
	walkEach(to.Unix())
	return w.gaps(loc)
}

// movedDays sums up the starts of a matching day, for each weekday.
func (s *Schedule) movedDays(m Move) [7]dayGaps {
	var days [7]dayGaps
	minutes := slices.Collect(s.minutesOfDay(0, 86400))
	for wd := range days {
		g := dayGaps{min: 1<<62 - 1}
		midnight := int64(wd) * 86400
		for _, minute := range minutes {
			if at, ok := m.Weekly(midnight + int64(minute)*60); ok {
				g.run(at - midnight)
			}
		}
		days[wd] = g
	}
	return days
}

// OffsetAt returns the offset of a zone at an instant, in seconds ahead of UTC,
// and an instant until which it is known to stay the same, at most some days
// later.
func OffsetAt(loc *time.Location, at int64) (offset, until int64) {
	const ahead = 10 * 86400
	first, final := windowBounds(loc)
	if at < first || at >= final {
		seg := segments(loc, at, at+ahead, 24*3600)[0]
		return seg.offset, seg.to
	}
	list := windowSegments(loc)
	i, found := slices.BinarySearchFunc(list, at, func(seg segment, at int64) int {
		switch {
		case seg.to <= at:
			return -1
		case seg.from > at:
			return 1
		}
		return 0
	})
	if !found {
		return offsetAt(loc, at), at + 1 // cannot be: the segments leave no hole
	}
	return list[i].offset, list[i].to
}

// windowBounds is Window in Unix seconds.
func windowBounds(loc *time.Location) (from, to int64) {
	list := windowSegments(loc)
	return list[0].from + back, list[len(list)-1].to
}

// Change is a change of the clock.
type Change struct {
	At            int64 // Unix seconds
	Before, After int64 // the offsets, in seconds ahead of UTC
}

// Changes returns the changes of the clock in the fixed window.
func Changes(loc *time.Location) []Change {
	var list []Change
	segs := windowSegments(loc)
	for i, seg := range segs[1:] {
		list = append(list, Change{At: seg.from, Before: segs[i].offset, After: seg.offset})
	}
	return list
}

// MinutesOfDay yields the minutes, 0 to 1439, at which s fires on a day that it
// selects and on which the clock does not change.
func (s *Schedule) MinutesOfDay() iter.Seq[int] { return s.minutesOfDay(0, 24*3600) }
