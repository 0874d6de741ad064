package retention_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// life is the history of one schedule at one destination as it happens: runs
// that succeed, fail or are partial, manual ones, clocks that are wrong for a
// while, edits, long silences, and a prune when R3 allows one.
type life struct {
	t      *rapid.T
	loc    *time.Location
	policy retention.Policy
	now    time.Time
	points []retention.Point
	sizes  []int64 // of candidates, newest first (R9)
	edited bool
}

// live draws a life and calls after with what was there before each step.
func live(t *rapid.T, after func(l *life, before []retention.Point, candidate bool)) {
	l := &life{t: t, loc: zoneGen(t), policy: policyGen(t), now: base.Add(-time.Duration(rapid.IntRange(0, 300).Draw(t, "start")) * 24 * time.Hour)}
	s, err := cron.Parse(rapid.SampledFrom(forecastExprs).Draw(t, "cron"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
		before := slices.Clone(l.points)
		candidate := l.step(s, fmt.Sprintf("p%03d", i))
		after(l, before, candidate)
	}
}

// step is one slot of the schedule, or what comes between two.
func (l *life) step(s *cron.Schedule, id string) (candidate bool) {
	next, err := s.Next(l.now, l.loc)
	if err != nil {
		l.t.Fatal(err)
	}
	l.now = next
	p := good(id, next)
	p.Size = rapid.SampledFrom([]int64{1000, 1100, 900, 0, 150}).Draw(l.t, "size")
	switch rapid.SampledFrom([]string{"good", "good", "good", "good", "fails", "partial", "manual", "ahead", "edit", "silence"}).Draw(l.t, "what") {
	case "fails":
		return false
	case "partial":
		p.Status = retention.StatusPartial
	case "manual":
		p.Trigger = retention.TriggerManual
	case "ahead":
		p.Nominal = next.AddDate(4, 0, 0) // the clock was wrong when it was taken
	case "edit":
		l.policy, l.edited = policyGen(l.t), true
		return false
	case "silence":
		l.now = next.Add(time.Duration(rapid.IntRange(1, 100*24).Draw(l.t, "hours")) * time.Hour)
		return false
	default:
		if retention.Suspect(p.Size, l.sizes) {
			p.Status = retention.StatusSuspect
			break
		}
		l.sizes = append([]int64{p.Size}, l.sizes...)
		candidate = true
	}
	l.points = append(l.points, p)
	if candidate {
		l.prune()
	}
	return candidate
}

// prune removes what R3 and R4 let go at once.
func (l *life) prune() {
	d := retention.Plan(l.points, l.policy, l.loc, l.now)
	wait, _ := retention.NeedsGrace(d, l.edited)
	l.edited = false
	if !wait {
		l.points = keptPoints(d)
	}
}

// lost are the good backups of slots that were there and are not.
func lost(before, after []retention.Point) []string {
	var ids []string
	for _, p := range before {
		if isSlotGood(p) && !slices.ContainsFunc(after, func(q retention.Point) bool { return q.ID == p.ID }) {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

// isSlotGood leaves out what was taken while the clock was years ahead.
func isSlotGood(p retention.Point) bool {
	return p.Status == retention.StatusComplete && p.Trigger == retention.TriggerSchedule && p.Completed.Sub(p.Nominal) > 0
}

// R1, R3, R4 over whole histories: the newest good backup is always there, a
// run that makes no candidate costs none, and one prune never takes more than
// half of the good ones, nor any at the first prune after an edit.
func TestALifeLosesNothingThatIsProtected(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		edited := false
		live(t, func(l *life, before []retention.Point, candidate bool) {
			newest := retention.Point{}
			for _, p := range before {
				if isSlotGood(p) && !p.Nominal.After(l.now) && p.Nominal.After(newest.Nominal) {
					newest = p
				}
			}
			gone := lost(before, l.points)
			switch {
			case !candidate && len(gone) > 0:
				t.Fatalf("R3: no candidate was made, and %v went", gone)
			case !candidate && newest.ID != "" && slices.Contains(gone, newest.ID):
				t.Fatalf("R1: the newest good backup %s went", newest.ID)
			case candidate && edited && len(gone) > 0:
				t.Fatalf("R4: the first prune after an edit took %v at once", gone)
			}
			goodBefore := 0
			for _, p := range before {
				if isSlotGood(p) {
					goodBefore++
				}
			}
			if len(gone) > 3 && 2*len(gone) > goodBefore+1 {
				t.Fatalf("R4: one prune took %d of %d", len(gone), goodBefore+1)
			}
			if candidate && !slices.ContainsFunc(l.points, func(p retention.Point) bool { return isSlotGood(p) && p.Nominal.Equal(l.now) }) {
				t.Fatalf("R1: the backup that was just made is gone")
			}
			edited = l.edited
		})
	})
}

// R3: time alone lets no candidate go, however long nothing succeeds, but for
// max_age.
func TestTimeAloneRemovesNoCandidate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points, p, loc := historyGen(t), policyGen(t), zoneGen(t)
		p.MaxAge = retention.Duration{}
		for i := range points { // what lies in the future would arrive
			if isFuture(points[i]) {
				points[i].Nominal = base
			}
		}
		left := keptPoints(retention.Plan(points, p, loc, base))
		later := base.Add(time.Duration(rapid.IntRange(1, 5000*24).Draw(t, "hours")) * time.Hour)
		for _, it := range retention.Plan(left, p, loc, later).Removed() {
			// What only its use, its lock or its hold kept was no candidate's right.
			if it.List == retention.ListCandidates && it.Point.LockedUntil.IsZero() {
				t.Fatalf("%s goes %s later: %v", it.Point.ID, later.Sub(base), it.Reasons)
			}
		}
	})
}

// R5, R8: what is held or locked stays, whatever else is said of it.
func TestHeldAndLockedStay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points, p := historyGen(t), policyGen(t)
		for _, it := range retention.Plan(points, p, zoneGen(t), base).Removed() {
			if it.Point.Held || it.Point.LockedUntil.After(base) {
				t.Fatalf("%+v goes: %v", it.Point, it.Reasons)
			}
		}
	})
}

// R6: a plan speaks of the backups that it was given, of each once, and changes
// none.
func TestPlanSpeaksOfWhatItWasGiven(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points, p := historyGen(t), policyGen(t)
		given := map[string]retention.Point{}
		for _, pt := range points {
			given[pt.ID] = pt
		}
		for _, it := range retention.Plan(points, p, zoneGen(t), base).Items {
			if pt, ok := given[it.Point.ID]; !ok || pt != it.Point {
				t.Fatalf("%+v is not what was given, or comes twice", it.Point)
			}
			delete(given, it.Point.ID)
		}
		if len(given) > 0 {
			t.Fatalf("nothing is said of %v", given)
		}
	})
}

// R7: a clock that is behind lets nothing go that it takes for the future.
func TestAClockThatIsBehindKeepsWhatLiesAhead(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points, p, loc := historyGen(t), policyGen(t), zoneGen(t)
		behind := base.Add(-time.Duration(rapid.IntRange(1, 60*24).Draw(t, "hours")) * time.Hour)
		for _, it := range retention.Plan(points, p, loc, behind).Removed() {
			if it.Point.Nominal.After(behind.Add(5 * time.Minute)) {
				t.Fatalf("%s goes: %v", it.Point.ID, it.Reasons)
			}
		}
	})
}

// R4: the grace is for more than half and more than three, of either list, and
// for the first removals after an edit; for nothing else.
func TestGraceIsForWhatNobodyMayHaveMeant(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := retention.Plan(historyGen(t), policyGen(t), zoneGen(t), base)
		total, gone := map[retention.List]int{}, map[retention.List]int{}
		for _, it := range d.Items {
			total[it.List]++
			if !it.Keep {
				gone[it.List]++
			}
		}
		large := false
		for _, list := range []retention.List{retention.ListCandidates, retention.ListSecond} {
			large = large || gone[list] > 3 && 2*gone[list] > total[list]
		}
		for _, edited := range []bool{false, true} {
			wait, why := retention.NeedsGrace(d, edited)
			if want := large || edited && len(d.Removed()) > 0; wait != want || wait != (why != "") {
				t.Fatalf("edited %v, %v of %v: NeedsGrace = %v, %q", edited, gone, total, wait, why)
			}
		}
	})
}

// R9: a first backup is never suspect, an empty one after it always; a larger
// one is never more so, and only proportions count.
func TestSuspectIsAboutProportions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 1<<40).Draw(t, "size")
		last := rapid.SliceOfN(rapid.Int64Range(1, 1<<40), 0, 12).Draw(t, "last")
		suspect := retention.Suspect(size, last)
		switch {
		case len(last) == 0 && suspect:
			t.Fatal("a first backup is suspect")
		case len(last) > 0 && !retention.Suspect(0, last):
			t.Fatal("an empty backup is not suspect")
		case len(last) < 3 && size > 0 && suspect:
			t.Fatalf("%d is suspect after %v, which are too few", size, last)
		case !suspect && retention.Suspect(size+rapid.Int64Range(0, 1<<40).Draw(t, "more"), last):
			t.Fatalf("a larger one than %d is suspect after %v", size, last)
		case len(last) > 7 && suspect != retention.Suspect(size, last[:7]):
			t.Fatal("more than the last seven count")
		}
		double := make([]int64, len(last))
		for i := range last {
			double[i] = 2 * last[i]
		}
		if retention.Suspect(2*size, double) != suspect {
			t.Fatalf("%d after %v is judged otherwise than the double of all", size, last)
		}
	})
}
