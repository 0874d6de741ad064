package cron

import (
	"sync"
	"time"
)

// Gaps is what lies between the runs of a schedule in one zone, over the fixed
// window from 2000 to 2040.
type Gaps struct {
	// Runs is the number of runs in the window. With fewer than two, there is
	// no gap in it and all else is zero.
	Runs int
	// Min and Max are the smallest and the largest real time between two runs
	// in a row, changes of the clock included.
	Min, Max time.Duration
	// MaxFrom and MaxTo are the two runs around the first gap as long as Max,
	// in the zone.
	MaxFrom, MaxTo time.Time
}

// Few reports that the window holds fewer than two runs.
func (g Gaps) Few() bool { return g.Runs < 2 }

// Gaps computes the gaps of s in loc from the structure of the expression: it
// looks at the days of the window and at the changes of the clock, not at the
// single runs. The latest answers are remembered.
func (s *Schedule) Gaps(loc *time.Location) Gaps {
	key := gapsKey{s.canonical, loc}
	if g, known := remembered.get(key); known {
		return g
	}
	g := s.findGaps(loc)
	remembered.put(key, g)
	return g
}

// gapsKey is all that gaps depend on.
type gapsKey struct {
	canonical string
	loc       *time.Location
}

// gapsMemory remembers gaps. It forgets everything when it is full, which keeps
// it small without keeping an order.
type gapsMemory struct {
	mu    sync.Mutex
	known map[gapsKey]Gaps
}

const mostGaps = 4096

var remembered gapsMemory

func (m *gapsMemory) get(key gapsKey) (Gaps, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, known := m.known[key]
	return g, known
}

func (m *gapsMemory) put(key gapsKey, g Gaps) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= mostGaps {
		m.known = map[gapsKey]Gaps{}
	}
	m.known[key] = g
}

// findGaps computes Gaps anew.
func (s *Schedule) findGaps(loc *time.Location) Gaps {
	from, to := Window(loc)
	w := gapWalk{min: 1<<62 - 1, day: s.dayGaps(0, 1440)}
	for _, sp := range s.spans(from.Unix(), to.Unix(), loc) {
		if sp.madeUp {
			w.run(sp.lo - sp.offset)
		}
		for day := range s.matchingDays(int(floorDiv(sp.lo, 86400))) {
			midnight := int64(day) * 86400
			if midnight >= sp.hi {
				break
			}
			gaps := w.day
			if midnight < sp.lo || midnight+86400 > sp.hi {
				gaps = s.dayGaps((max(sp.lo-midnight, 0)+59)/60, (min(sp.hi-midnight, 86400)+59)/60)
			}
			w.add(midnight-sp.offset, gaps)
		}
	}
	return w.gaps(loc)
}

// gaps says what was met.
func (w *gapWalk) gaps(loc *time.Location) Gaps {
	g := Gaps{Runs: w.runs}
	if g.Few() {
		return g
	}
	g.Min, g.Max = time.Duration(w.min)*time.Second, time.Duration(w.max)*time.Second
	g.MaxFrom = time.Unix(w.maxFrom, 0).In(loc)
	g.MaxTo = g.MaxFrom.Add(g.Max)
	return g
}

// MinInterval returns the shortest distance between two runs on the wall
// clock, over all years of the calendar. Where the clock goes forward, two
// runs can lie closer by the gap; see Gaps.
func (s *Schedule) MinInterval() time.Duration {
	w := gapWalk{min: 1<<62 - 1, day: s.dayGaps(0, 1440)}
	// From the last run of one day to the first of the next; no two days that
	// run lie closer.
	overnight := 86400 + w.day.first - w.day.last
	switch {
	case w.day.min <= overnight:
		return time.Duration(w.day.min) * time.Second
	case s.days().every && s.month == 1<<13-2:
		return time.Duration(overnight) * time.Second
	}
	// The calendar repeats after 400 years, which are whole weeks.
	const cycle = 146097
	first := int64(-1)
	for day := range s.matchingDays(0) {
		if day >= cycle {
			break
		}
		if first < 0 {
			first = int64(day)
		}
		w.add(int64(day)*86400, w.day)
	}
	w.add((first+cycle)*86400, w.day)
	return time.Duration(w.min) * time.Second
}

// gapWalk collects the distances between runs that are met in order.
type gapWalk struct {
	runs     int
	last     int64 // the latest run
	min, max int64
	maxFrom  int64
	day      dayGaps // of a whole day
}

// dayGaps sums up the runs of one day, in seconds from its beginning.
type dayGaps struct {
	runs        int
	first, last int64
	min, max    int64
	maxFrom     int64 // where the largest gap within the day begins
}

// dayGaps returns the runs of a matching day in the minutes [lo, hi).
func (s *Schedule) dayGaps(lo, hi int64) dayGaps {
	g := dayGaps{min: 1<<62 - 1}
	for m := range s.minutesOfDay(lo*60, hi*60) {
		g.run(int64(m) * 60)
	}
	return g
}

// run adds a run that is not before the last; one at the same instant is the
// same.
func (g *dayGaps) run(at int64) {
	switch {
	case g.runs == 0:
		g.first = at
	case at == g.last:
		return
	default:
		gap := at - g.last
		g.min = min(g.min, gap)
		if gap > g.max {
			g.max, g.maxFrom = gap, g.last
		}
	}
	g.last = at
	g.runs++
}

// run adds a single run. One at the same instant as the last is the same run.
func (w *gapWalk) run(at int64) {
	if w.runs > 0 {
		if at == w.last {
			return
		}
		gap := at - w.last
		w.min = min(w.min, gap)
		if gap > w.max {
			w.max, w.maxFrom = gap, w.last
		}
	}
	w.last = at
	w.runs++
}

// add adds the runs of one day that begins at the given instant.
func (w *gapWalk) add(midnight int64, g dayGaps) {
	if g.runs == 0 {
		return
	}
	w.run(midnight + g.first)
	if g.runs == 1 {
		return
	}
	w.min = min(w.min, g.min)
	if g.max > w.max {
		w.max, w.maxFrom = g.max, midnight+g.maxFrom
	}
	w.last = midnight + g.last
	w.runs += g.runs - 1
}
