package slots

import (
	"slices"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// Gaps returns what lies between the starts of the runs, over the fixed window
// of package cron. Its Runs counts them.
func (r *Rhythm) Gaps(loc *time.Location) cron.Gaps {
	if r.windows.None() {
		return r.cron.Gaps(loc)
	}
	return gaps.of(gapKey{r.Canonical(), loc, 0}, func() WorstGap {
		return WorstGap{Gaps: r.walk(loc)}
	}).Gaps
}

// walk computes Gaps anew.
func (r *Rhythm) walk(loc *time.Location) cron.Gaps { return r.cron.GapsMoved(loc, r.move(loc)) }

// WorstGap is what a schedule promises whatever its id.
type WorstGap struct {
	// Gaps are those of the share of the jitter with the largest gap.
	cron.Gaps
	// Longest is the largest distance between two backups: Max and the jitter,
	// which also lies between the backup at the creation of a schedule and its
	// first slot. Meaningless when Few.
	Longest time.Duration
	// NoRun: with some share of the jitter, the windows leave no run at all.
	NoRun bool
}

// Text says Longest as a person would: "25h", or "over 24 years".
func (w WorstGap) Text() string {
	if w.Few() {
		return w.String()
	}
	return cron.FormatGap(w.Longest)
}

// WorstCase returns the worst gaps of an expression under windows, which may be
// nil, and a jitter of which a schedule's share is not known: the worst over
// all shares (S7). Plan, API, console and daemon all take it from here.
//
// The latest answers are remembered.
func WorstCase(s *cron.Schedule, loc *time.Location, windows *Windows, jitter time.Duration) WorstGap {
	key := ""
	if !windows.None() {
		key = windows.key
	}
	return gaps.of(gapKey{s.Canonical() + " " + key, loc, jitter}, func() WorstGap {
		return worstCase(s, loc, windows, jitter)
	})
}

// WorstGap is WorstCase of the schedule.
func (t *Timing) WorstGap() WorstGap { return WorstCase(t.Cron, t.Loc, t.windows, t.jitter) }

func worstCase(s *cron.Schedule, loc *time.Location, windows *Windows, jitter time.Duration) WorstGap {
	if windows.None() {
		// Jitter moves every start alike.
		g := s.Gaps(loc)
		return WorstGap{Gaps: g, Longest: g.Max + jitter}
	}
	var worst WorstGap
	for i, share := range shares(s, loc, windows, jitter) {
		g := RhythmOf(s, windows, share).walk(loc)
		noRun := worst.NoRun || g.Runs == 0
		if i == 0 || g.Few() && !worst.Few() || g.Few() == worst.Few() && g.Max > worst.Max {
			worst.Gaps = g
		}
		worst.NoRun = noRun
	}
	worst.Longest = worst.Max + jitter
	return worst
}

// shares returns the shares of a jitter between which nothing new happens: the
// first and the last second of every stretch of shares with which the same
// slots are skipped, deferred and coalesced. Within such a stretch the starts
// move evenly, so that its ends have the largest gaps.
func shares(s *cron.Schedule, loc *time.Location, windows *Windows, jitter time.Duration) []time.Duration {
	list := []time.Duration{0}
	last := jitter - time.Second // the largest share
	if last <= 0 {
		return list
	}
	add := func(seconds int64) {
		for _, share := range []time.Duration{time.Duration(seconds-1) * time.Second, time.Duration(seconds) * time.Second, time.Duration(seconds+1) * time.Second} {
			if share >= 0 && share <= last {
				list = append(list, share)
			}
		}
	}
	// A slot crosses an edge of a window, or a change of the clock beyond which
	// the windows lie elsewhere.
	const dayMinutes = 24 * 60
	edges, moved := map[int]bool{}, map[int]bool{0: true}
	for minute := range week {
		if windows.differ(minute, (minute+week-1)%week) {
			edges[minute%dayMinutes] = true
		}
	}
	slots := map[int]bool{}
	for minute := range s.MinutesOfDay() {
		slots[minute] = true
	}
	for _, c := range cron.Changes(loc) {
		before, after := minuteOfWeek(c.At, c.Before), minuteOfWeek(c.At, c.After)
		moved[int(c.After-c.Before)/60] = true
		// A start that crosses the change leaps from one reading to the other.
		if windows.differ((before+week-1)%week, after) {
			edges[before%dayMinutes], edges[after%dayMinutes] = true, true
		}
		// What the clock skips runs at the end of the gap.
		for minute := before; minute < after; minute++ {
			if slots[minute%dayMinutes] {
				slots[after%dayMinutes] = true
				break
			}
		}
	}
	for edge := range edges {
		for slot := range slots {
			for by := range moved {
				share := ((edge-slot-by)%dayMinutes + dayMinutes) % dayMinutes
				for ; time.Duration(share)*time.Minute <= jitter; share += dayMinutes {
					add(int64(share) * 60)
				}
			}
		}
	}
	add(int64(last / time.Second))
	slices.Sort(list)
	return slices.Compact(list)
}

// differ reports whether something else becomes of a start in one minute of the
// week than of one in another.
func (w *Windows) differ(a, b int) bool {
	return w.deferred.has(a) != w.deferred.has(b) || w.skipped.has(a) != w.skipped.has(b)
}

// move is the rhythm as package cron walks it.
func (r *Rhythm) move(loc *time.Location) cron.Move {
	w, c := r.windows, clock{loc: loc}
	var end int64 // of the windows in which the last slot waited
	return cron.Move{
		Reach: time.Duration(r.offset)*time.Second + w.Longest(),
		Weekly: func(run int64) (int64, bool) {
			at := run + r.offset
			if wait := w.deferred.run(int(at / 60 % week)); wait == week {
				return 0, false
			} else if wait > 0 {
				at = (at/60 + int64(wait)) * 60
			}
			return at, !w.skipped.has(int(at / 60 % week))
		},
		Exact: func(run int64) (int64, bool) {
			at := run + r.offset
			if at < end {
				return end, true
			}
			minute := minuteOfWeek(at, c.ahead(at))
			if !w.deferred.has(minute) {
				return at, !w.skipped.has(minute)
			}
			at, ok := w.Start(at, loc)
			if ok {
				end = at
			}
			return at, ok
		},
		Even: func(first, last int64) (int64, bool) {
			first, last = first+r.offset, last+r.offset
			if first < end || c.ahead(first) != c.ahead(last) {
				return 0, false
			}
			a, b := minuteOfWeek(first, c.offset)/60, minuteOfWeek(last, c.offset)/60
			return r.offset, w.deferred[a]|w.skipped[a]|w.deferred[b]|w.skipped[b] == 0
		},
	}
}

// clock remembers the offset of the zone where it was last asked for.
type clock struct {
	loc                 *time.Location
	from, until, offset int64
}

func (c *clock) ahead(at int64) int64 {
	if at < c.from || at >= c.until {
		c.from = at
		c.offset, c.until = cron.OffsetAt(c.loc, at)
	}
	return c.offset
}

// longest returns the most minutes in a row, 0 when all are in m: nothing ever
// starts then.
func (m *minutesOfWeek) longest() int {
	most := 0
	for minute := range week {
		if m.has(minute) && !m.has((minute+week-1)%week) {
			most = max(most, m.run(minute))
		}
	}
	return most
}

// gapKey is all that gaps depend on.
type gapKey struct {
	rhythm string
	loc    *time.Location
	jitter time.Duration
}

// gapMemory remembers gaps. It forgets everything when it is full, which keeps
// it small without keeping an order.
type gapMemory struct {
	mu    sync.Mutex
	known map[gapKey]WorstGap
}

const mostGaps = 4096

var gaps gapMemory

func (m *gapMemory) of(key gapKey, compute func() WorstGap) WorstGap {
	m.mu.Lock()
	w, known := m.known[key]
	m.mu.Unlock()
	if known {
		return w
	}
	w = compute()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= mostGaps {
		m.known = map[gapKey]WorstGap{}
	}
	m.known[key] = w
	return w
}
