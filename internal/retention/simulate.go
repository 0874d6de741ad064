package retention

import (
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

// Simulate replays the runs of a schedule from an instant on, all of them
// successful, and returns what the policy keeps over time. Runs strictly after
// from count; a backup taken at the creation of the schedule does not.
//
// It does not judge runs one by one. The rules keep either the newest runs
// without a hole (keep_last, period, the floor) or the newest run of some
// calendar unit, none of which is smaller than an hour. So the history is
// walked hour by hour: within the newest runs it is only counted, and beyond
// them only the last run of an hour can be kept. Two years of an every-minute
// schedule are 17,520 steps.
func Simulate(p Policy, s *cron.Schedule, loc *time.Location, from time.Time, horizon Duration) Simulation {
	days := func(n int) time.Time { return from.Add(time.Duration(n) * day) }
	year := days(365)
	steady, bounded := p.steadyAfter(s, loc, from)
	if !bounded {
		steady = year
	}
	end := horizon.After(from, loc)
	until := slices.MaxFunc([]time.Time{year, steady, end}, time.Time.Compare)
	hours := slices.Collect(s.Hours(from.Add(1), until.Add(1), loc))
	at := func(t time.Time) SimPoint { return p.simPoint(hours, t, loc) }
	return Simulation{
		Day: at(days(1)), Month: at(days(30)), Year: at(year),
		Steady: at(steady), Unbounded: !bounded,
		Horizon: at(end),
	}
}

// steadyAfter returns an instant after which every rule has all it can keep.
func (p Policy) steadyAfter(s *cron.Schedule, loc *time.Location, from time.Time) (time.Time, bool) {
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

// simPoint returns the state at t. hours begins before t.
func (p Policy) simPoint(hours []cron.Hour, t time.Time, loc *time.Location) SimPoint {
	n, _ := slices.BinarySearchFunc(hours, t.Unix(), func(h cron.Hour, at int64) int {
		if h.First() <= at {
			return -1
		}
		return 1
	})
	point := SimPoint{At: t.In(loc)}
	if n == 0 {
		return point
	}
	past := append([]cron.Hour{}, hours[max(0, n-1):n]...)
	past[0].Minutes &= upTo(past[0], t.Unix())
	var oldest int64
	point.Backups, oldest = p.keptOf(hours[:n-1], past[0], t, loc)
	point.Oldest = time.Unix(oldest, 0).In(loc)
	return point
}

// upTo has the minutes of h that are not after t.
func upTo(h cron.Hour, t int64) uint64 {
	minutes := floorDiv(t-h.Start(), 60) + 1
	return 1<<max(0, min(minutes, 63)) - 1
}

// keptOf counts what is kept of the runs in past and the hour after them, and
// returns the oldest.
func (p Policy) keptOf(past []cron.Hour, latest cron.Hour, now time.Time, loc *time.Location) (int, int64) {
	hour := func(i int) cron.Hour { // 0 is the latest
		if i == 0 {
			return latest
		}
		return past[len(past)-i]
	}
	count := len(past) + 1
	if p.KeepAll {
		n := 0
		for i := range count {
			n += hour(i).N()
		}
		return n, hour(count - 1).First()
	}
	edge, limit := int64(1<<62), int64(-1<<62)
	if !p.Period.IsZero() {
		edge = p.Period.Before(time.Unix(latest.Last(), 0), loc).Unix()
	}
	if !p.MaxAge.IsZero() {
		limit = ceilSecond(p.MaxAge.Before(now, loc))
	}

	// The newest runs without a hole, from the newest back: the floor, keep_last,
	// and the period with the first run beyond its edge.
	kept, start := 0, int64(0)
	beyond := p.Period.IsZero()
	stop := false
	for i := 0; i < count && !stop; i++ {
		h := hour(i)
		whole := kept+h.N() <= p.AtLeast || h.First() >= limit && (kept+h.N() <= p.Last || h.First() > edge)
		if whole {
			beyond = beyond || h.First() <= edge
			kept, start = kept+h.N(), h.First()
			continue
		}
		for h.Minutes != 0 && !stop {
			t := h.Last()
			if stop = kept >= p.AtLeast && (t < limit || kept >= p.Last && t <= edge && beyond); !stop {
				beyond = beyond || t <= edge
				kept, start = kept+1, t
				h.Minutes &^= 1 << ((t - h.Start()) / 60)
			}
		}
	}

	// The newest run of each unit, beyond those.
	left := p.counts()
	var current [kinds]int64
	oldest := start
	for i := range count {
		h := hour(i)
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
		if t := h.Last(); keep && t < start && t >= limit {
			kept++
			oldest = t
		}
		if !open {
			break
		}
	}
	return kept, oldest
}

func ceilSecond(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}
