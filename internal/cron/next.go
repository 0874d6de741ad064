package cron

import (
	"fmt"
	"time"

	"github.com/adhocore/gronx"
)

const (
	// probe is how often the clock is looked at near an instant. No zone ever
	// changed twice within three hours.
	probe = 3 * 3600
	// around is how far the real time of a wall clock can lie from the same
	// reading in UTC, and the longest change of the clock, with room.
	around = 40 * 3600
	// longestChange is more than the clock ever changed at once: Samoa left out
	// a day, in summer time.
	longestChange = 30 * 3600
)

// Next returns the first run strictly after the given instant, on a whole
// minute and in loc. Where the clock changes:
//
// A schedule whose hour field does not select all 24 hours follows the wall
// clock. A time that the clock skips runs once, at the first instant after the
// gap, however many such times there are; a time that occurs twice runs the
// first time only.
//
// Any other schedule runs at every real minute whose wall clock matches, so
// that a repeated hour loses nothing and a gap makes up nothing.
//
// Next takes no clock and does not depend on the zone of after. An error is
// ErrNoNext, a defect.
func (s *Schedule) Next(after time.Time, loc *time.Location) (time.Time, error) {
	// Instants before the epoch's second floor towards the past as well.
	t := after.Unix()
	var next int64
	var err error
	if s.everyHour() {
		next, err = s.nextRunning(t, loc)
	} else {
		next, err = s.nextWall(t, loc)
	}
	if err == nil && next <= t {
		err = ErrNoNext
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("compute next run of %s after %s: %w", quote(s.canonical), after.UTC().Format(time.RFC3339), err)
	}
	return time.Unix(next, 0).In(loc), nil
}

// NextN returns the first n runs strictly after the given instant, as Next
// finds them.
func (s *Schedule) NextN(after time.Time, loc *time.Location, n int) ([]time.Time, error) {
	runs := make([]time.Time, 0, max(n, 0))
	for range n {
		next, err := s.Next(after, loc)
		if err != nil {
			return nil, err
		}
		runs = append(runs, next)
		after = next
	}
	return runs, nil
}

// nextWall is Next for schedules of the wall clock. A time runs when the
// furthest reading that the clock has had reaches it.
func (s *Schedule) nextWall(after int64, loc *time.Location) (int64, error) {
	high := after + offsetAt(loc, after)
	for _, seg := range segments(loc, after-back, after+1, probe) {
		// The last reading before a change; the clock may be behind it now.
		high = max(high, min(seg.to, after+1)-1+seg.offset)
	}
	due, err := s.civilAfter(high)
	if err != nil {
		return 0, err
	}
	for _, seg := range segments(loc, max(after, due-around), due+around, probe) {
		if at := max(due-seg.offset, seg.from); at < seg.to {
			return at, nil
		}
	}
	return 0, ErrNoNext
}

// nextRunning is Next for schedules that follow real time.
func (s *Schedule) nextRunning(after int64, loc *time.Location) (int64, error) {
	// The first round covers the hour that may just be repeating. Later ones
	// begin shortly before the next match of the calendar, since no reading in
	// between matches; it may fall into a gap, and then the search goes on.
	for range 100 {
		var at int64
		list := segments(loc, after, after+around, probe)
		for i, seg := range list {
			from := after
			if i > 0 {
				from = seg.from - 1
			}
			due, err := s.civilAfter(from + seg.offset)
			if err != nil {
				return 0, err
			}
			if at = due - seg.offset; at < seg.to {
				return at, nil
			}
		}
		after = max(list[len(list)-1].to-1, at-longestChange)
	}
	return 0, ErrNoNext
}

// civilAfter returns the first match of the calendar strictly after a wall
// clock. gronx computes it, in UTC.
func (s *Schedule) civilAfter(wall int64) (int64, error) {
	wall = floorDiv(wall, 60) * 60
	day := floorDiv(wall, 86400)
	if wall-day*86400 >= int64(s.lastMinute())*60 {
		day++
	}
	// gronx walks day by day through a sparse calendar, which costs half a
	// millisecond for a fifth Monday in February. It is told where to begin.
	for first := range s.matchingDays(int(day)) {
		wall = max(wall, int64(first)*86400-60)
		break
	}
	next, err := gronx.NextTickAfter(s.canonical, time.Unix(wall, 0).UTC(), false)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrNoNext, err)
	}
	if next.Unix() <= wall {
		return 0, ErrNoNext
	}
	return next.Unix(), nil
}
