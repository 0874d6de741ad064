package retention

import (
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// Bound is the most that a policy will ever keep of a schedule's own backups,
// at each destination.
type Bound struct {
	// Backups is the most backups at once; 0 when Unbounded.
	Backups int
	// Oldest is about the greatest age that the oldest of them reaches before
	// the next run lets it go; exact to a day.
	Oldest time.Duration
	// Unbounded is keep_all.
	Unbounded bool
}

// MaxBackups computes the bound over the fixed window of package cron, so that
// it depends on nothing but its arguments. Every run succeeds in it; manual
// backups, held ones and the second list come on top.
//
// For schedules of more than a few runs a day, a state is looked at only after
// the last run of each stretch of hours, where the count is largest, and a part
// of the window where all hours are alike; one is added where the period's edge
// can fall between two such looks.
//
// It costs a few milliseconds, and one plan asks for the same several times, so
// the latest answers are remembered.
func MaxBackups(p Policy, s Runs, loc *time.Location) Bound {
	if p.KeepAll {
		return Bound{Unbounded: true}
	}
	key := boundKey{p, s.Canonical(), loc}
	if b, known := bounds.get(key); known {
		return b
	}
	b := maxBackups(p, s, loc)
	bounds.put(key, b)
	return b
}

func maxBackups(p Policy, s Runs, loc *time.Location) Bound {
	b := newBounder(p, s, loc)
	if b == nil {
		// Fewer than two runs in four decades, each the only one of its unit;
		// a period keeps the newest and the first beyond.
		n := max(p.AtLeast, p.Last)
		for _, count := range p.counts() {
			n = max(n, count)
		}
		if !p.Period.IsZero() {
			n = max(n, 2)
		}
		return Bound{Backups: n}
	}
	return b.bound()
}

// boundKey is all that a bound depends on.
type boundKey struct {
	policy Policy
	cron   string
	loc    *time.Location
}

// boundMemory remembers bounds. It forgets everything when it is full, which
// keeps it small without keeping an order.
type boundMemory struct {
	mu    sync.Mutex
	known map[boundKey]Bound
}

const mostBounds = 4096

var bounds boundMemory

func (m *boundMemory) get(key boundKey) (Bound, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, known := m.known[key]
	return b, known
}

func (m *boundMemory) put(key boundKey, b Bound) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil || len(m.known) >= mostBounds {
		m.known = map[boundKey]Bound{}
	}
	m.known[key] = b
}

// manyRuns is the number of runs in the window from which on not every run is
// looked at: about four a day.
const manyRuns = 60000

// bounder holds the runs of the window and the units' last runs.
type bounder struct {
	policy Policy
	loc    *time.Location
	hours  []cron.Hour
	before []int // runs before each hour
	runs   int
	units  [kinds]unitRuns
	dense  bool
	slack  int
}

// unitRuns lists the last run of every unit of one kind, in order.
type unitRuns struct {
	used  bool
	last  []int64
	first []int // the hour in which each begins
	// For weeks: how many of the first i are also the last of a month, or of
	// a year.
	months, years []int
}

func newBounder(p Policy, s Runs, loc *time.Location) *bounder {
	b := &bounder{policy: p, loc: loc}
	runs := s.Gaps(loc).Runs
	if runs < 2 {
		return nil
	}
	b.dense = runs > manyRuns
	from, to := cron.Window(loc)
	if b.dense && sameEveryHour(s, loc, from, to, runs) {
		// The time that the rules reach back and eight years with two leap days
		// show all there is.
		steady, _ := p.steadyAfter(s, loc, from)
		if end := steady.AddDate(8, 0, 0); end.Before(to) {
			to = end
		}
	}
	size := min(runs, int(to.Sub(from)/time.Hour)+1)
	b.hours, b.before = make([]cron.Hour, 0, size), make([]int, 0, size)
	odd := p.Period.Fixed%time.Hour != 0
	for h := range s.Hours(from, to, loc) {
		if n := len(b.hours); n > 0 && (h.Offset-b.hours[n-1].Offset)%3600 != 0 {
			odd = true
		}
		b.hours = append(b.hours, h)
		b.before = append(b.before, b.runs)
		b.runs += h.N()
	}
	if b.dense && odd && !p.Period.IsZero() {
		b.slack = 1
	}
	b.findUnits()
	return b
}

// sameEveryHour reports whether every hour of the window has the same runs, so
// that no change of the clock and no day makes a difference.
func sameEveryHour(s Runs, loc *time.Location, from, to time.Time, runs int) bool {
	for h := range s.Hours(from, from.Add(24*time.Hour), loc) {
		return int64(runs)*3600 == int64(h.N())*(to.Unix()-from.Unix())
	}
	return false
}

// findUnits collects the last runs of the units that the policy counts.
func (b *bounder) findUnits() {
	counts := b.policy.counts()
	var current [kinds]int64
	day := int64(math.MinInt64)
	for i, h := range b.hours {
		sameDay := floorDiv(h.Wall, 86400) == day
		day = floorDiv(h.Wall, 86400)
		for k := range kinds {
			if counts[k] == 0 {
				continue
			}
			u := &b.units[k]
			if k == hourly || !sameDay {
				if n := k.bucket(h.Wall, h.Offset); i == 0 || n != current[k] {
					current[k] = n
					u.last, u.first = append(u.last, 0), append(u.first, i)
				}
			}
			u.last[len(u.last)-1] = h.Last()
		}
	}
	for k := range kinds {
		b.units[k].used = counts[k] > 0
	}
	w := &b.units[weekly]
	w.months, w.years = b.shared(monthly), b.shared(yearly)
}

// beyond is what rules may keep that reach further back than the window does:
// it is added to what was seen in it.
func (b *bounder) beyond() int {
	n := max(0, max(b.policy.Last, b.policy.AtLeast)-b.runs)
	for k, count := range b.policy.counts() {
		n += max(0, count-len(b.units[k].last))
	}
	first, last := b.hours[0].First(), b.hours[len(b.hours)-1].Last()
	seen := float64(last - first)
	if more := b.policy.Period.Approx().Seconds() - seen; more > 0 {
		n += int(more/seen*float64(b.runs)) + 1
	}
	return n
}

// shared counts, for every prefix of the weeks, those whose last run is the
// last run of a unit of kind k too.
func (b *bounder) shared(k kind) []int {
	weeks, others := b.units[weekly].last, b.units[k].last
	counts := make([]int, len(weeks)+1)
	j := 0
	for i, t := range weeks {
		for j < len(others) && others[j] < t {
			j++
		}
		counts[i+1] = counts[i]
		if j < len(others) && others[j] == t {
			counts[i+1]++
		}
	}
	return counts
}

// bound looks at the state after each run, or after the last of each stretch
// of hours.
func (b *bounder) bound() Bound {
	var best Bound
	var position [kinds]int // the unit of each kind that is current
	edgeHour := 0
	for i, h := range b.hours {
		if b.dense && i+1 < len(b.hours) && b.hours[i+1].Wall == h.Wall+3600 && h.Wall%86400 != 23*3600 {
			continue
		}
		for k := range kinds {
			for u := &b.units[k]; position[k]+1 < len(u.first) && u.first[position[k]+1] <= i; {
				position[k]++
			}
		}
		next := int64(0)
		if i+1 < len(b.hours) {
			next = b.hours[i+1].First()
		}
		for set := h.Minutes; set != 0; {
			state := cron.Hour{Wall: h.Wall, Offset: h.Offset, Minutes: set}
			t := state.Last()
			n, oldest := b.at(i, state, &edgeHour, position)
			best.Backups = max(best.Backups, n)
			if next != 0 {
				best.Oldest = max(best.Oldest, time.Duration(next-oldest)*time.Second)
			}
			if b.dense {
				break
			}
			next = t
			set &^= 1 << ((t - h.Start()) / 60)
		}
	}
	best.Backups += b.slack + b.beyond()
	return best
}

// at returns how many runs are kept right after the last run of state, which
// is hour i up to some minute, and the oldest of them.
func (b *bounder) at(i int, state cron.Hour, edgeHour *int, position [kinds]int) (n int, oldest int64) {
	p := b.policy
	now := state.Last()
	runs := b.before[i] + state.N()

	// The newest runs without a hole.
	kept := max(p.Last, p.AtLeast)
	if !p.Period.IsZero() {
		edge := p.Period.Before(time.Unix(now, 0), b.loc).Unix()
		kept = max(kept, runs-b.runsUntil(edge, edgeHour)+1)
	}
	limit := int64(math.MinInt64)
	if !p.MaxAge.IsZero() {
		limit = p.MaxAge.Before(time.Unix(now, 0), b.loc).Unix()
		hour, _ := slices.BinarySearchFunc(b.hours, limit, func(h cron.Hour, at int64) int { return int(h.Last() - at) })
		// The backup at the creation may lie anywhere after the limit, with
		// nothing before it.
		kept = min(kept, max(runs-b.runsUntil(limit, &hour)+1, p.AtLeast))
	}
	unitLimit := limit
	if b.dense && !p.MaxAge.IsZero() {
		unitLimit -= 86400 // as it was at any earlier run of the stretch
	}
	kept = min(kept, runs)
	start := b.run(runs - kept)
	oldest = start

	// The last runs of units, each counted by the first rule that has it. The
	// last run of a larger unit is also the last one of its smaller units, but
	// a week may end in the middle of a month.
	upper := start
	var from [kinds]int64
	for k, count := range p.counts() {
		from[k] = math.MaxInt64
		if u := &b.units[k]; u.used {
			from[k] = max(unitLimit, u.last[max(0, position[k]+1-count)])
			if k := kind(k); k == hourly || k == daily {
				n += u.between(from[k], upper)
				upper = min(upper, from[k])
			}
			if m := u.atOrAfter(from[k]); m < len(u.last) {
				oldest = min(oldest, u.last[m])
			}
		}
	}
	months := &b.units[monthly]
	if months.used {
		n += months.between(from[monthly], upper)
	}
	belowMonths := min(upper, from[monthly])
	if u := &b.units[yearly]; u.used {
		n += u.between(from[yearly], belowMonths)
	}
	if u := &b.units[weekly]; u.used {
		n += u.between(from[weekly], upper)
		n -= u.sharedBetween(u.months, max(from[weekly], from[monthly]), upper)
		n -= u.sharedBetween(u.years, max(from[weekly], from[yearly]), belowMonths)
	}
	return n + kept, oldest
}

// runsUntil returns the number of runs at or before t. hint is the hour at
// which the search begins, and is left at the first whose last run is after t.
func (b *bounder) runsUntil(t int64, hint *int) int {
	i := min(*hint, len(b.hours)-1)
	for i > 0 && b.hours[i-1].Last() > t {
		i--
	}
	for i < len(b.hours) && b.hours[i].Last() <= t {
		i++
	}
	*hint = i
	if i == len(b.hours) {
		return b.before[i-1] + b.hours[i-1].N()
	}
	h := b.hours[i]
	h.Minutes &= upTo(h, t)
	return b.before[i] + h.N()
}

// run returns the instant of run number n, from 0 on.
func (b *bounder) run(n int) int64 {
	i := sort.SearchInts(b.before, n+1) - 1
	h := b.hours[i]
	for skip := n - b.before[i]; skip > 0; skip-- {
		h.Minutes &= h.Minutes - 1
	}
	return h.First()
}

// atOrAfter returns the index of the first unit whose last run is not before t.
func (u *unitRuns) atOrAfter(t int64) int {
	i, _ := slices.BinarySearch(u.last, t)
	return i
}

// between counts the units whose last run is in [from, to).
func (u *unitRuns) between(from, to int64) int {
	return max(0, u.atOrAfter(to)-u.atOrAfter(from))
}

// sharedBetween counts by one of the sums of shared.
func (u *unitRuns) sharedBetween(sums []int, from, to int64) int {
	return max(0, sums[max(u.atOrAfter(to), u.atOrAfter(from))]-sums[u.atOrAfter(from)])
}
