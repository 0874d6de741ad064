package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// window is a blackout window: from a minute of the selected weekdays on, for
// a number of minutes. It may reach into the next day.
type window struct {
	days   [7]bool
	from   int
	length int
	skip   bool // otherwise runs are deferred to its end
}

// blackouts reads the blackout windows.
func (c *checker) blackouts() {
	c.windowsKnown = !c.p.BlackoutUnknown
	for _, name := range slices.Sorted(maps.Keys(c.p.Blackout)) {
		b := c.p.Blackout[name]
		path := fmt.Sprintf("blackout[%s]", strconv.Quote(name))
		w, ok := window{skip: b.Action == "skip"}, true
		days := b.Days
		if days == "" {
			days = "*"
		}
		if sched, err := cron.Parse("0 0 * * " + days); err != nil {
			c.fail(path+".days", "Invalid blackout window", "%s is not a list of weekdays. Write for example days = \"MON-FRI\".", quote(b.Days))
			ok = false
		} else {
			for day := range w.days {
				// The first week of 2024 began on a Monday.
				sunday := time.Date(2024, 1, 7+day, 0, 0, 0, 0, time.UTC)
				next, err := sched.Next(sunday.Add(-time.Minute), time.UTC)
				w.days[day] = err == nil && next.Equal(sunday)
			}
		}
		from, okFrom := timeOfDay(b.From)
		if !okFrom {
			c.fail(path+".from", "Invalid blackout window", "from = %s is not a time of day. Write for example from = \"09:00\".", quote(b.From))
		}
		to, okTo := timeOfDay(b.To)
		if !okTo {
			c.fail(path+".to", "Invalid blackout window", "to = %s is not a time of day. Write for example to = \"17:00\".", quote(b.To))
		}
		action := b.Action
		before := len(c.findings)
		c.choice(path+".action", &action, "defer", "skip")
		if !ok || !okFrom || !okTo || len(c.findings) > before {
			c.windowsKnown = false
			continue
		}
		w.from, w.length = from, to-from
		if w.length <= 0 {
			w.length += 1440
		}
		c.windows = append(c.windows, w)
	}
}

// timeOfDay reads "HH:MM" as a minute of the day; "24:00" is the end of it.
func timeOfDay(text string) (int, bool) {
	if text == "24:00" {
		return 1440, true
	}
	t, err := time.Parse("15:04", text)
	return t.Hour()*60 + t.Minute(), err == nil && len(text) == 5
}

// gapsWithin is cron's Gaps with the blackout windows in force: skipped runs
// are missing, deferred ones run once at the end of their window.
func gapsWithin(s *cron.Schedule, loc *time.Location, windows []window) cron.Gaps {
	w := newWalk(windows, loc)
	from, to := cron.Window(loc)
	for h := range s.Hours(from, to, loc) {
		w.hour(h)
	}
	w.release(1 << 62)
	return w.gaps()
}

// walk goes through the runs in order and drops or defers those in a window.
type walk struct {
	loc *time.Location
	// allowed has, for each hour of the week from Sunday on, the minutes
	// outside of every window; deferred has those whose runs wait.
	allowed, deferred [168]uint64
	// ends is how many minutes after a deferred minute of the week its last
	// window ends.
	ends map[int]int

	due []int64 // ends of windows at which a deferred run starts, sorted

	g    cron.Gaps
	last int64
}

func newWalk(windows []window, loc *time.Location) *walk {
	w := &walk{loc: loc, ends: map[int]int{}}
	const week = 7 * 1440
	// skipped wins over deferred, and a deferred run waits for every window
	// that it would fall into.
	skipped := make([]bool, week)
	wait := make([]int, week)
	for _, win := range windows {
		for day, on := range win.days {
			for k := range win.length {
				if m := (day*1440 + win.from + k) % week; on && win.skip {
					skipped[m] = true
				} else if on {
					wait[m] = max(wait[m], win.length-k)
				}
			}
		}
	}
	for m := range week {
		hour, bit := m/60, uint64(1)<<(m%60)
		switch {
		case skipped[m]:
		case wait[m] > 0:
			total := 0
			// Windows that overlap or touch defer again; a week is the most.
			for at := m; wait[at] > 0 && total < week; at = (m + total) % week {
				total += wait[at]
			}
			w.deferred[hour] |= bit
			w.ends[m] = total
		default:
			w.allowed[hour] |= bit
		}
	}
	return w
}

func (w *walk) hour(h cron.Hour) {
	weekHour := int(((h.Wall/3600+4*24)%168 + 168) % 168) // 1970-01-01 was a Thursday
	if w.deferred[weekHour]&h.Minutes == 0 && len(w.due) == 0 {
		for set := h.Minutes & w.allowed[weekHour]; set != 0; set &= set - 1 {
			h.Minutes = set
			w.run(h.First())
		}
		return
	}
	for set := h.Minutes; set != 0; set &= set - 1 {
		h.Minutes = set
		at := h.First()
		minute := int(at-h.Start()) / 60
		w.release(at)
		switch bit := uint64(1) << minute; {
		case w.allowed[weekHour]&bit != 0:
			w.run(at)
		case w.deferred[weekHour]&bit != 0:
			end := h.Wall + int64(minute+w.ends[weekHour*60+minute])*60
			w.wait(w.instant(end))
		}
	}
}

// instant returns the real time of a wall clock.
func (w *walk) instant(wall int64) int64 {
	t := time.Unix(wall, 0).UTC()
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, w.loc).Unix()
}

func (w *walk) wait(end int64) {
	if i, known := slices.BinarySearch(w.due, end); !known {
		w.due = slices.Insert(w.due, i, end)
	}
}

// release runs what waited until t.
func (w *walk) release(t int64) {
	for len(w.due) > 0 && w.due[0] <= t {
		w.run(w.due[0])
		w.due = w.due[1:]
	}
}

func (w *walk) run(at int64) {
	if w.g.Runs > 0 {
		if at == w.last {
			return
		}
		gap := time.Duration(at-w.last) * time.Second
		if w.g.Runs == 1 || gap < w.g.Min {
			w.g.Min = gap
		}
		if gap > w.g.Max {
			w.g.Max = gap
			w.g.MaxFrom, w.g.MaxTo = time.Unix(w.last, 0), time.Unix(at, 0)
		}
	}
	w.last = at
	w.g.Runs++
}

func (w *walk) gaps() cron.Gaps {
	g := w.g
	if g.Few() {
		return cron.Gaps{Runs: g.Runs}
	}
	g.MaxFrom, g.MaxTo = g.MaxFrom.In(w.loc), g.MaxTo.In(w.loc)
	return g
}
