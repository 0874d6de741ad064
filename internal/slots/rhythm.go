package slots

import (
	"fmt"
	"iter"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// Rhythm is when a schedule takes its backups if all goes well: its slots
// without those that a blackout window skips or that are coalesced into a newer
// one while they wait for the end of a window (S2, S7, S8). It is what
// Timing.Decide makes of the slots when it is asked at each instant that it
// names, for ever. Each run keeps the nominal time of its slot, by which
// retention sorts; Start says when it starts.
//
// It is package retention's Runs. Values are immutable and safe for concurrent
// use.
type Rhythm struct {
	cron    *cron.Schedule
	windows *Windows
	offset  int64 // the schedule's share of its jitter, in seconds
}

// RhythmOf returns the rhythm of an expression under windows, which may be nil.
// offset is the schedule's share of its jitter, see Offset.
func RhythmOf(s *cron.Schedule, windows *Windows, offset time.Duration) *Rhythm {
	if windows == nil {
		windows = &Windows{}
	}
	return &Rhythm{cron: s, windows: windows, offset: int64(offset / time.Second)}
}

// Rhythm returns the rhythm of the schedule, as if it was not paused.
func (t *Timing) Rhythm() *Rhythm { return RhythmOf(t.Cron, t.windows, t.Offset) }

// Canonical returns a text that is the same for rhythms that are the same.
func (r *Rhythm) Canonical() string {
	if r.windows.None() {
		// Jitter alone moves every start alike, and no nominal time.
		return r.cron.Canonical()
	}
	return fmt.Sprint(r.cron.Canonical(), " +", r.offset, " ", r.windows.key)
}

// Start returns when the run of a nominal time starts. It reports false for a
// slot that never does; one that is coalesced has the start of the newer one.
func (r *Rhythm) Start(nominal time.Time, loc *time.Location) (time.Time, bool) {
	at, ok := r.windows.Start(nominal.Unix()+r.offset, loc)
	return time.Unix(at, 0).In(loc), ok
}

// Run is one run to come.
type Run struct {
	Nominal, Start time.Time // in the zone that was asked for
}

// rarest is longer than any schedule rests between two slots: a fifth Monday in
// February comes back after 28 years, or 40 around a year like 2100.
const rarest = 41 * 366 * 24 * time.Hour

// NextN returns the first n runs of the slots after an instant. They are fewer
// where windows leave none for decades.
func (r *Rhythm) NextN(after time.Time, loc *time.Location, n int) ([]Run, error) {
	const stretch = 32 * 24 * time.Hour
	runs := make([]Run, 0, max(0, n))
	from := after.Add(1)
	for last := from; len(runs) < n && from.Sub(last) < rarest; {
		to := from.Add(stretch)
		for h := range r.Hours(from, to, loc) {
			for ; h.Minutes != 0 && len(runs) < n; h.Minutes &= h.Minutes - 1 {
				last = time.Unix(h.First(), 0).In(loc)
				start, _ := r.Start(last, loc)
				runs = append(runs, Run{last, start})
			}
			if len(runs) == n {
				return runs, nil
			}
		}
		// What is rare is looked for from its next slot on.
		next, err := r.cron.Next(to.Add(-1), loc)
		if err != nil {
			return nil, fmt.Errorf("find next runs of %q: %w", r.cron.Canonical(), err)
		}
		from = next
	}
	return runs, nil
}

// Hours yields the runs whose nominal time lies in [from, to), hour by hour as
// package cron does. Slots before from are no part of it, so that none of them
// is coalesced into a run.
func (r *Rhythm) Hours(from, to time.Time, loc *time.Location) iter.Seq[cron.Hour] {
	hours := r.cron.Hours(from, to, loc)
	if r.windows.None() {
		return hours
	}
	return func(yield func(cron.Hour) bool) {
		f := filter{r: r, loc: loc, table: r.windows.table(r.offset)}
		for h := range hours {
			if !f.add(h, yield) {
				return
			}
		}
		if !f.waits {
			return
		}
		// Whether the last one runs depends on the slot after it.
		next, err := r.cron.Next(time.Unix(f.nominal, 0), loc)
		if err != nil || next.Unix()+r.offset > f.start {
			f.held.Minutes |= f.bit
		}
		if f.held.Minutes != 0 {
			yield(f.held)
		}
	}
}

// filter drops the slots that do not run, in order.
type filter struct {
	r     *Rhythm
	loc   *time.Location
	table *hourTable

	quietUntil int64 // the clock does not change before

	// start is the end of the windows in which the last deferred slot waits,
	// and starts is whether it is allowed to start then.
	start  int64
	starts bool
	// waits: the last slot so far, which is bit of the hour held, waits and runs
	// if none comes after it before start.
	waits   bool
	held    cron.Hour
	bit     uint64
	nominal int64
}

func (f *filter) add(h cron.Hour, yield func(cron.Hour) bool) bool {
	if f.waits {
		f.waits = false
		if h.First()+f.r.offset > f.start {
			f.held.Minutes |= f.bit
		}
		if f.held.Minutes != 0 && !yield(f.held) {
			return false
		}
	}
	slots := h.Minutes
	hour := ((h.Wall/3600+4*24)%168 + 168) % 168
	late := h.Start() + 3600 + f.r.offset
	if late > f.quietUntil {
		_, f.quietUntil = cron.OffsetAt(f.loc, h.Start())
	}
	var deferred uint64
	if late <= f.quietUntil {
		h.Minutes = slots & f.table.free[hour]
		deferred = slots & f.table.deferred[hour]
	} else {
		// The clock changes close by: each minute is looked at by itself.
		h.Minutes, deferred = 0, 0
		for set := slots; set != 0; set &= set - 1 {
			one := cron.Hour{Wall: h.Wall, Offset: h.Offset, Minutes: set}
			bit := set & -set
			due := one.First() + f.r.offset
			minute := minuteOfWeek(due, aheadOf(f.loc, due))
			switch w := f.r.windows; {
			case w.deferred.has(minute):
				deferred |= bit
			case !w.skipped.has(minute):
				h.Minutes |= bit
			}
		}
	}
	for deferred != 0 {
		bit := deferred & -deferred
		deferred &^= bit
		nominal := cron.Hour{Wall: h.Wall, Offset: h.Offset, Minutes: bit}.First()
		due := nominal + f.r.offset
		// The slots that wait in a row have one end.
		if due >= f.start {
			f.start, f.starts = f.r.windows.Start(due, f.loc)
		}
		if !f.starts {
			continue
		}
		f.nominal, f.bit = nominal, bit
		newer := slots &^ (bit - 1) &^ bit
		if newer == 0 {
			f.waits, f.held = true, h
			return true
		}
		if (cron.Hour{Wall: h.Wall, Offset: h.Offset, Minutes: newer}).First()+f.r.offset > f.start {
			h.Minutes |= bit
		}
	}
	return h.Minutes == 0 || yield(h)
}

// hourTable is what becomes of each minute of the week by the windows, for
// slots that are due a number of seconds after it.
type hourTable struct{ free, deferred [week / 60]uint64 }

func (w *Windows) table(offset int64) *hourTable {
	t := &hourTable{}
	shift := int(floorDiv(offset, 60) % week)
	for hour := range t.free {
		for minute := range 60 {
			at := (hour*60 + minute + shift) % week
			bit := uint64(1) << minute
			switch {
			case w.deferred.has(at):
				t.deferred[hour] |= bit
			case !w.skipped.has(at):
				t.free[hour] |= bit
			}
		}
	}
	return t
}
