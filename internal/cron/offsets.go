package cron

import (
	"sync"
	"time"
)

// A wall clock is carried as the Unix seconds that UTC would show the same
// time at. Between two changes of the clock it is real time plus a constant.

// segment is a stretch of real time [from, to) with one offset, in Unix
// seconds.
type segment struct {
	from, to int64
	offset   int64
}

// back is how far before an instant a turned back clock can still matter: it
// never was turned back by more than a day (Kwajalein and Manila came close).
const back = 26 * 3600

func offsetAt(loc *time.Location, t int64) int64 {
	_, offset := time.Unix(t, 0).In(loc).Zone()
	return int64(offset)
}

// segments returns the segments of [from, to), looking at the clock every
// stride seconds; two changes within one stride would be missed. It asks only
// for offsets: time.ZoneBounds returns an end before its own start on the last
// day of some leap years (golang/go#81583).
func segments(loc *time.Location, from, to, stride int64) []segment {
	list := []segment{{from: from, to: to, offset: offsetAt(loc, from)}}
	for at := from; at < to-1; {
		next := min(at+stride, to-1)
		cur := &list[len(list)-1]
		if offsetAt(loc, next) == cur.offset {
			at = next
			continue
		}
		lo, hi := at, next // the offset changes in (lo, hi]
		for hi-lo > 1 {
			if mid := lo + (hi-lo)/2; offsetAt(loc, mid) == cur.offset {
				lo = mid
			} else {
				hi = mid
			}
		}
		cur.to = hi
		list = append(list, segment{from: hi, to: to, offset: offsetAt(loc, hi)})
		at = hi
	}
	return list
}

// The fixed window over which gaps and bounds are computed: whole years in
// which every kind of year follows every other, so that nothing that a plan
// shows depends on the day on which it is made.
const (
	firstYear = 2000
	lastYear  = 2040
)

// Window returns the fixed window in loc: from the beginning of 2000 to the
// end of 2040.
func Window(loc *time.Location) (from, to time.Time) {
	return time.Date(firstYear, 1, 1, 0, 0, 0, 0, loc), time.Date(lastYear+1, 1, 1, 0, 0, 0, 0, loc)
}

var windows sync.Map // *time.Location to []segment

// windowSegments returns the segments of the window and the day before it.
// They are kept per zone: finding them costs more than all else. LoadZone
// hands out one pointer a name, so that the map stays small.
func windowSegments(loc *time.Location) []segment {
	if known, ok := windows.Load(loc); ok {
		return known.([]segment) //nolint:forcetypeassert // nothing else is stored
	}
	from, to := Window(loc)
	list := segments(loc, from.Unix()-back, to.Unix(), 24*3600)
	windows.Store(loc, list)
	return list
}

// spansBetween returns the segments of [from, to) and of the day before it.
func spansBetween(loc *time.Location, from, to int64) []segment {
	first, final := Window(loc)
	if from < first.Unix() || to > final.Unix() {
		return segments(loc, from-back, to, 24*3600)
	}
	var list []segment
	for _, seg := range windowSegments(loc) {
		seg.from, seg.to = max(seg.from, from-back), min(seg.to, to)
		if seg.from < seg.to {
			list = append(list, seg)
		}
	}
	return list
}
