package retention

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Trigger is why a backup was taken.
type Trigger string

// The triggers. The first three belong to a slot of the schedule.
const (
	TriggerSchedule Trigger = "schedule"
	TriggerCatchUp  Trigger = "catch_up"
	TriggerCreate   Trigger = "create"
	TriggerManual   Trigger = "manual"
	TriggerSafety   Trigger = "safety"
)

// Status is what a backup is worth.
type Status string

// The statuses. Only a complete backup is good.
const (
	StatusComplete Status = "complete"
	StatusPartial  Status = "partial"
	StatusSuspect  Status = "suspect"
	StatusDamaged  Status = "damaged"
)

// Point is one backup of the schedule at the destination.
type Point struct {
	ID        string
	Nominal   time.Time // of the slot; of the request for a manual one
	Completed time.Time
	// Stored is when the destination says that it got the backup; zero if it
	// does not say. Only max_age asks, for backups dated in the future.
	Stored      time.Time
	Trigger     Trigger
	Status      Status
	Verified    bool      // passed a read or restore verification
	Held        bool      // a person holds it
	LockedUntil time.Time // by the object store; zero for no lock
	InUse       bool      // being restored, verified or downloaded
	Size        int64     // bytes
}

func (p *Point) good() bool { return p.Status == StatusComplete }

func (p *Point) ofSlot() bool {
	return p.Trigger == TriggerSchedule || p.Trigger == TriggerCatchUp || p.Trigger == TriggerCreate
}

// List is which of the separate lists a backup is judged in.
type List string

// The lists. What is in none of them is kept by its age alone.
const (
	ListCandidates List = "candidates" // good backups of slots
	ListSecond     List = "second"     // partial, suspect and damaged ones
	ListOther      List = "other"      // manual and safety ones, and those dated in the future
)

// Item is what is decided about one backup.
type Item struct {
	Point Point
	List  List
	Keep  bool
	// Reasons says why it is kept, or why it goes; never empty.
	Reasons []string
}

// Decision is what is decided about all backups, newest first.
type Decision struct {
	Items []Item
}

// Kept returns the backups that stay, newest first.
func (d Decision) Kept() []Item { return d.filter(true) }

// Removed returns the backups that go, newest first.
func (d Decision) Removed() []Item { return d.filter(false) }

func (d Decision) filter(keep bool) []Item {
	var items []Item
	for _, it := range d.Items {
		if it.Keep == keep {
			items = append(items, it)
		}
	}
	return items
}

// skew is how far in the future a backup may be dated and still count: clocks
// of daemons differ a little.
const skew = 5 * time.Minute

// Plan decides for each point whether it stays. The points are those of one
// schedule at one destination, in any order; loc is the schedule's zone. The
// points are not changed.
//
// Candidates are kept by the rules of the policy. Partial, suspect and damaged
// ones are judged by the same rules among themselves and never displace a
// candidate. Manual and safety ones, and those dated in the future, are kept by
// age. MaxAge then removes what is older, but for the floor, the newest good
// and the newest verified backup, and what is held or locked.
func Plan(points []Point, p Policy, loc *time.Location, now time.Time) Decision {
	points = slices.Clone(points)
	j := judge{policy: p, loc: loc, now: now, points: points, reasons: make([][]string, len(points))}
	j.decide()
	j.explain()
	items := make([]Item, len(points))
	for i, pt := range points {
		items[i] = Item{Point: pt, List: j.lists[i], Keep: j.kept[i], Reasons: j.reasons[i]}
	}
	return Decision{Items: items}
}

// Sift decides as Plan does, without saying why, which for many points is most
// of the work. It sorts the points, newest first, and returns for each whether
// it stays.
func Sift(points []Point, p Policy, loc *time.Location, now time.Time) ([]bool, Tally) {
	j := judge{policy: p, loc: loc, now: now, points: points}
	j.decide()
	var t Tally
	for i, keep := range j.kept {
		t.add(j.lists[i], keep)
	}
	return j.kept, t
}

func newestFirst(a, b *Point) int {
	if by := b.Nominal.Compare(a.Nominal); by != 0 {
		return by
	}
	return cmp.Or(b.Completed.Compare(a.Completed), cmp.Compare(b.ID, a.ID))
}

// judge carries one call of Plan or Sift.
type judge struct {
	policy Policy
	loc    *time.Location
	now    time.Time
	latest time.Time // what is dated later is dated in the future
	// What follows has one element for each backup, newest first.
	points  []Point
	lists   []List
	kept    []bool
	reasons [][]string // nil when nobody asks
	// Indexes into points that max_age must not remove; -1 for none.
	newestGood, newestVerified int
	floor                      map[int]bool
}

// decide does everything but to give reasons for what goes.
func (j *judge) decide() {
	j.latest = j.now.Add(skew)
	// What comes from a database is sorted already.
	for i := 1; i < len(j.points); i++ {
		if newestFirst(&j.points[i-1], &j.points[i]) > 0 {
			slices.SortStableFunc(j.points, func(a, b Point) int { return newestFirst(&a, &b) })
			break
		}
	}
	j.lists, j.kept = make([]List, len(j.points)), make([]bool, len(j.points))
	for i := range j.points {
		j.lists[i] = j.list(&j.points[i])
	}
	j.protect()
	if j.policy.KeepAll {
		for i := range j.points {
			j.keep(i, always("keep_all"))
		}
		return
	}
	j.byRules(ListCandidates)
	j.byRules(ListSecond)
	j.byAge()
	j.limitAge()
}

func (j *judge) future(p *Point) bool { return p.Nominal.After(j.latest) }

func (j *judge) list(p *Point) List {
	switch {
	case j.future(p):
		return ListOther
	case !p.good():
		return ListSecond
	case p.ofSlot():
		return ListCandidates
	}
	return ListOther
}

// keep keeps a backup; reason is called only where somebody wants to know.
func (j *judge) keep(i int, reason func() string) {
	j.kept[i] = true
	if j.reasons != nil {
		j.reasons[i] = append(j.reasons[i], reason())
	}
}

// always is a reason that is the same for every backup.
func always(reason string) func() string { return func() string { return reason } }

// protect keeps what no rule of a policy may remove.
func (j *judge) protect() {
	j.newestGood, j.newestVerified, j.floor = -1, -1, map[int]bool{}
	inFuture := -1
	for i := range j.points {
		p := &j.points[i]
		if p.good() {
			switch {
			case j.future(p):
				if inFuture < 0 {
					inFuture = i
				}
			case j.newestGood < 0:
				j.newestGood = i
			}
		}
		if j.lists[i] == ListCandidates {
			if len(j.floor) < j.policy.AtLeast {
				j.floor[i] = true
				j.keep(i, j.floorReason)
			}
			if p.Verified && j.newestVerified < 0 {
				j.newestVerified = i
			}
		}
		if p.Held {
			j.keep(i, always("held"))
		}
		if p.LockedUntil.After(j.now) {
			j.keep(i, func() string { return "retained by lock until " + p.LockedUntil.UTC().Format(time.RFC3339) })
		}
		if p.InUse {
			j.keep(i, always("in use"))
		}
	}
	// One dated in the future is the newest good backup only for want of any
	// other: nobody knows how old it is.
	if j.newestGood < 0 {
		j.newestGood = inFuture
	}
	if j.newestGood >= 0 {
		j.keep(j.newestGood, always("newest good backup"))
	}
	if j.newestVerified >= 0 {
		j.keep(j.newestVerified, always("newest verified"))
	}
}

func (j *judge) floorReason() string {
	return fmt.Sprintf("floor (keep_at_least %d)", j.policy.AtLeast)
}

// byRules applies the policy to one list by itself.
func (j *judge) byRules(list List) {
	n := 0
	for _, l := range j.lists {
		if l == list {
			n++
		}
	}
	times, index := make([]time.Time, 0, n), make([]int, 0, n)
	for i, l := range j.lists {
		if l == list {
			times = append(times, j.points[i].Nominal.In(j.loc))
			index = append(index, i)
		}
	}
	because := func(i int, text string) string {
		if list == ListSecond {
			return string(j.points[i].Status) + ": " + text
		}
		return text
	}
	if list == ListSecond {
		for _, i := range index[:min(j.policy.AtLeast, len(index))] {
			j.keep(i, func() string { return because(i, j.floorReason()) })
		}
	}
	j.policy.selectKept(times, j.loc, func(k int, r rule) {
		i := index[k]
		j.keep(i, func() string { return because(i, j.policy.reason(r, times[k])) })
	})
}

// byAge keeps manual and safety backups, whatever their status, for the manual
// period, and what is dated in the future until it is not.
func (j *judge) byAge() {
	since := j.policy.ManualPeriod.Before(j.now, j.loc)
	for i := range j.points {
		switch p := &j.points[i]; {
		case j.future(p):
			j.keep(i, always("dated in the future"))
		case !p.ofSlot() && p.Nominal.After(since):
			j.keep(i, func() string { return fmt.Sprintf("%s, younger than %s", p.Trigger, j.policy.ManualPeriod) })
		}
	}
}

// limitAge takes back what the rules kept beyond max_age.
func (j *judge) limitAge() {
	if j.policy.MaxAge.IsZero() {
		return
	}
	limit := j.policy.MaxAge.Before(j.now, j.loc)
	for i := range j.points {
		p := &j.points[i]
		safe := p.Held || p.LockedUntil.After(j.now) || j.floor[i] || i == j.newestGood || i == j.newestVerified
		if j.born(p).Before(limit) && !safe {
			j.kept[i] = false
			if j.reasons != nil {
				j.reasons[i] = []string{"older than max_age " + j.policy.MaxAge.String()}
			}
		}
	}
}

// born is the instant from which a backup's age counts.
func (j *judge) born(p *Point) time.Time {
	switch {
	case !j.future(p):
		return p.Nominal
	case !p.Stored.IsZero():
		return p.Stored
	case !p.Completed.IsZero() && !p.Completed.After(j.now):
		return p.Completed
	}
	return p.Nominal
}

// explain says why the others go.
func (j *judge) explain() {
	for i := range j.points {
		if j.kept[i] || len(j.reasons[i]) > 0 {
			continue
		}
		p := &j.points[i]
		reason := "no rule keeps it"
		switch {
		case !p.ofSlot() && p.good():
			reason = fmt.Sprintf("%s, not younger than %s", p.Trigger, j.policy.ManualPeriod)
		case !j.policy.Period.IsZero():
			reason += "; outside period " + j.policy.Period.String()
		}
		if j.lists[i] == ListSecond {
			reason = string(p.Status) + ": " + reason
		}
		j.reasons[i] = append(j.reasons[i], reason)
	}
}
