package retention

import (
	"iter"
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// SimPoint is what exists at one instant if every run succeeds.
type SimPoint struct {
	At      time.Time
	Backups int
	Oldest  time.Time // zero when there is none yet
}

// Age returns how old the oldest backup is, 0 when there is none.
func (s SimPoint) Age() time.Duration {
	if s.Oldest.IsZero() {
		return 0
	}
	return s.At.Sub(s.Oldest)
}

// Simulation is how the backups of a schedule grow at one destination.
type Simulation struct {
	Day, Month, Year SimPoint // 1, 30 and 365 days after the beginning
	// Steady is the state from which nothing changes but by the rhythm of the
	// calendar. Unbounded says that there is none (keep_all); Steady is then
	// the state after the year.
	Steady    SimPoint
	Unbounded bool
	// Horizon is the state at the end of the horizon that was asked for.
	Horizon SimPoint
}

// Runs is when a schedule takes its backups, by their nominal times: a
// *cron.Schedule takes one at each of its instants; package slots leaves out
// what blackout windows do.
type Runs interface {
	// Hours yields the runs in [from, to), as cron.Schedule.Hours does.
	Hours(from, to time.Time, loc *time.Location) iter.Seq[cron.Hour]
	// Gaps returns what lies between runs over the fixed window of package
	// cron; Runs counts them.
	Gaps(loc *time.Location) cron.Gaps
	// Canonical is the same text for the same runs.
	Canonical() string
}

// Replay is a schedule that begins at an instant, all of whose runs succeed. It
// says which of its backups exist at any later instant.
//
// A run's backup exists from the start of the run on, and each run is followed
// by its prune at once (R3); what max_age lets go, goes as soon as it is that
// old. R4's grace is left out: after an edit, or where one prune removes more
// than half, what is kept less here still lies there for a while. So are
// manual, held, locked and failed backups.
type Replay struct {
	Policy Policy
	Runs   Runs
	Zone   *time.Location
	// From is the beginning: runs strictly after it count.
	From time.Time
	// Created: a backup is taken at From as well (run_on_create).
	Created bool
	// Start returns when the run of a nominal time starts; it never turns the
	// order of runs around. nil is at the nominal time.
	Start func(nominal time.Time) time.Time
	// None: no run takes place at all (paused).
	None bool
}

// Simulate replays the runs of a schedule from an instant on, as Replay does,
// without a backup at the creation and with each run at its nominal time.
func Simulate(p Policy, s Runs, loc *time.Location, from time.Time, horizon Duration) Simulation {
	return Replay{Policy: p, Runs: s, Zone: loc, From: from}.Simulate(horizon)
}

// Simulate returns the states that a forecast shows, and the one at the end of
// a horizon.
//
// It does not judge runs one by one. The rules keep either the newest runs
// without a hole (keep_last, period, the floor) or the newest run of some
// calendar unit, none of which is smaller than an hour. So the history is
// walked hour by hour: within the newest runs it is only counted, and beyond
// them only the last run of an hour can be kept. Two years of an every-minute
// schedule are 17,520 steps.
func (r Replay) Simulate(horizon Duration) Simulation {
	days := func(n int) time.Time { return r.From.Add(time.Duration(n) * day) }
	year := days(365)
	steady, bounded := year, true
	if !r.None {
		if steady, bounded = r.Policy.steadyAfter(r.Runs, r.Zone, r.From); !bounded {
			steady = year
		}
	}
	end := horizon.After(r.From, r.Zone)
	hours := r.hours(slices.MaxFunc([]time.Time{year, steady, end}, time.Time.Compare))
	at := func(t time.Time) SimPoint { return r.at(hours, t) }
	return Simulation{
		Day: at(days(1)), Month: at(days(30)), Year: at(year),
		Steady: at(steady), Unbounded: !bounded,
		Horizon: at(end),
	}
}

// At returns the state at an instant.
func (r Replay) At(t time.Time) SimPoint { return r.at(r.hours(t), t) }

// KeptAt returns the nominal times of the backups that exist at an instant,
// newest first, in the zone. The one of the creation has From itself.
func (r Replay) KeptAt(t time.Time) []time.Time {
	var kept []time.Time
	r.walk(r.hours(t), t, func(at int64) { kept = append(kept, time.Unix(at, 0).In(r.Zone)) })
	slices.SortFunc(kept, func(a, b time.Time) int { return b.Compare(a) })
	if n := len(kept); n > 0 && r.Created && kept[n-1].Unix() == r.From.Unix() {
		kept[n-1] = r.From.In(r.Zone)
	}
	return kept
}

// hours collects the runs after From that can have started by an instant.
func (r Replay) hours(until time.Time) []cron.Hour {
	if r.None {
		return nil
	}
	return slices.Collect(r.Runs.Hours(r.From.Add(1), until.Add(1), r.Zone))
}

func (r Replay) at(hours []cron.Hour, t time.Time) SimPoint {
	point := SimPoint{At: t.In(r.Zone)}
	var oldest int64
	point.Backups, oldest = r.walk(hours, t, nil)
	if point.Backups > 0 {
		point.Oldest = time.Unix(oldest, 0).In(r.Zone)
		if r.Created && oldest == r.From.Unix() {
			point.Oldest = r.From.In(r.Zone)
		}
	}
	return point
}

// steadyAfter returns an instant after which every rule has all it can keep.
func (p Policy) steadyAfter(s Runs, loc *time.Location, from time.Time) (time.Time, bool) {
	if p.KeepAll {
		return time.Time{}, false
	}
	// No run is further from the one before than this. A schedule with fewer
	// than two runs in the window comes back after 40 years at the latest.
	gap := 40 * 366 * day
	if g := s.Gaps(loc); !g.Few() {
		gap = g.Max
	}
	reach := max(p.Period.Approx()*11/10, time.Duration(max(p.Last, p.AtLeast))*gap) + gap
	lengths := [kinds]time.Duration{time.Hour, day, 7 * day, 31 * day, 366 * day}
	for k, n := range p.counts() {
		if n > 0 {
			reach = max(reach, time.Duration(n+1)*max(lengths[k], gap))
		}
	}
	const farthest = 250 * 366 * day // about what a time.Duration can hold
	if reach < 0 || reach > farthest {
		reach = farthest
	}
	return from.Add(reach), true
}

// walk counts the backups that exist at t, tells each of them where somebody
// asks, in no order, and returns the oldest. hours are the runs after From up
// to t or later.
func (r Replay) walk(hours []cron.Hour, t time.Time, tell func(nominal int64)) (kept int, oldest int64) {
	if r.None || t.Before(r.From) {
		return 0, 0
	}
	n, _ := slices.BinarySearchFunc(hours, t.Unix(), func(h cron.Hour, at int64) int {
		if h.First() <= at {
			return -1
		}
		return 1
	})
	past := slices.Clone(hours[max(0, n-1):n])
	hours = hours[:max(0, n-1)]
	if n > 0 {
		past[0].Minutes &= upTo(past[0], t.Unix())
	}
	// The last runs may not have started.
	for r.Start != nil && len(past) > 0 {
		if at := past[0].Last(); r.Start(time.Unix(at, 0)).After(t) {
			past[0].Minutes &^= 1 << ((at - past[0].Start()) / 60)
		} else {
			break
		}
		if past[0].Minutes == 0 {
			past = slices.Clone(hours[max(0, len(hours)-1):])
			hours = hours[:max(0, len(hours)-1)]
		}
	}
	w := keptWalk{Policy: r.Policy, past: hours, now: t, loc: r.Zone, tell: tell}
	if len(past) > 0 {
		w.latest, w.count = past[0], len(hours)+1
	}
	if r.Created {
		w.created, w.createdAt = 1, r.From
	}
	return w.run()
}

// upTo has the minutes of h that are not after t.
func upTo(h cron.Hour, t int64) uint64 {
	minutes := floorDiv(t-h.Start(), 60) + 1
	return 1<<max(0, min(minutes, 63)) - 1
}

// keptWalk applies a policy to runs that it meets as hours. created is 1 where
// one more run lies before all of them, on any second.
type keptWalk struct {
	Policy
	past      []cron.Hour
	latest    cron.Hour // after them, when count is not 0
	count     int       // of hours, the latest one included
	created   int
	createdAt time.Time
	now       time.Time
	loc       *time.Location
	tell      func(nominal int64)

	kept   int
	oldest int64
}

// hour returns an hour, from the latest, which is 0, back; the run of the
// creation is one by itself.
func (w *keptWalk) hour(i int) cron.Hour {
	switch {
	case i >= w.count:
		return w.creation()
	case i == 0:
		return w.latest
	}
	return w.past[len(w.past)-i]
}

// creation is the run at the creation as an hour whose minute 0 is that
// second.
func (w *keptWalk) creation() cron.Hour {
	_, offset := w.createdAt.In(w.loc).Zone()
	at := w.createdAt.Unix()
	return cron.Hour{Wall: at + int64(offset), Offset: int64(offset), Minutes: 1}
}

// ofCreation moves the edge of the period and the limit of max_age, which are
// for runs on whole minutes, to where they give the right answer for the
// creation, whose fraction of a second is left out.
func (w *keptWalk) ofCreation(edge, limit int64) (int64, int64) {
	if w.createdAt.Nanosecond() == 0 {
		return edge, limit
	}
	if w.count > 0 {
		edge-- // alone it is the newest, and at the edge of no period
	}
	if !w.MaxAge.IsZero() && !w.createdAt.Before(w.MaxAge.Before(w.now, w.loc)) {
		limit = min(limit, w.createdAt.Unix())
	}
	return edge, limit
}

func (w *keptWalk) keep(at int64) {
	w.kept, w.oldest = w.kept+1, at
	if w.tell != nil {
		w.tell(at)
	}
}

func (w *keptWalk) keepAll(h cron.Hour) {
	if w.tell != nil {
		for rest := h; rest.Minutes != 0; rest.Minutes &= rest.Minutes - 1 {
			w.tell(rest.First())
		}
	}
	w.kept, w.oldest = w.kept+h.N(), h.First()
}

// run returns how many are kept, and the oldest of them.
func (w *keptWalk) run() (int, int64) {
	count := w.count + w.created
	if count == 0 {
		return 0, 0
	}
	if w.KeepAll {
		for i := range count {
			w.keepAll(w.hour(i))
		}
		return w.kept, w.oldest
	}
	edge, limit := int64(1<<62), int64(-1<<62)
	if !w.Period.IsZero() {
		newest := w.createdAt
		if w.count > 0 {
			newest = time.Unix(w.latest.Last(), 0)
		}
		edge = w.Period.Before(newest, w.loc).Unix()
	}
	if !w.MaxAge.IsZero() {
		limit = ceilSecond(w.MaxAge.Before(w.now, w.loc))
	}
	start := w.newest(count, edge, limit)
	w.units(count, start, limit)
	return w.kept, w.oldest
}

// newest keeps the newest runs without a hole, from the newest back: the
// floor, keep_last, and the period with the first run beyond its edge. It
// returns the oldest of them.
func (w *keptWalk) newest(count int, edge, limit int64) (start int64) {
	beyond := w.Period.IsZero()
	for i := range count {
		h := w.hour(i)
		if i >= w.count {
			edge, limit = w.ofCreation(edge, limit)
		}
		whole := w.kept+h.N() <= w.AtLeast || h.First() >= limit && (w.kept+h.N() <= w.Last || h.First() > edge)
		if whole {
			beyond = beyond || h.First() <= edge
			w.keepAll(h)
			continue
		}
		for h.Minutes != 0 {
			t := h.Last()
			if w.kept >= w.AtLeast && (t < limit || w.kept >= w.Last && t <= edge && beyond) {
				return w.oldest
			}
			beyond = beyond || t <= edge
			w.keep(t)
			h.Minutes &^= 1 << ((t - h.Start()) / 60)
		}
	}
	return w.oldest
}

// units keeps the newest run of each unit, beyond start.
func (w *keptWalk) units(count int, start, limit int64) {
	left := w.counts()
	var current [kinds]int64
	for i := range count {
		h := w.hour(i)
		keep, open := false, false
		for k := range kinds {
			b := k.bucket(h.Wall, h.Offset)
			if left[k] > 0 && (i == 0 || b != current[k]) {
				left[k]--
				keep = true
			}
			current[k] = b
			open = open || left[k] > 0
		}
		if i >= w.count {
			_, limit = w.ofCreation(0, limit)
		}
		if t := h.Last(); keep && t < start && t >= limit {
			w.keep(t)
		}
		if !open {
			break
		}
	}
}

func ceilSecond(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}
