package retention_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// TestMain raises the number of random cases with ENVBACKUP_SOAK=1. A failure
// prints its seed and how to repeat it.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		if err := flag.Set("rapid.checks", "20000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

var propertyZones = []string{"UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Pacific/Kiritimati"}

// zoneGen draws one of the zones.
func zoneGen(t *rapid.T) *time.Location {
	loc, err := cron.LoadZone(rapid.SampledFrom(propertyZones).Draw(t, "zone"))
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

var base = time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)

// policyGen draws a policy in which something keeps.
func policyGen(t *rapid.T) retention.Policy {
	count := func(name string) *int64 {
		n := rapid.Int64Range(0, 6).Draw(t, name)
		if n == 0 {
			return nil
		}
		return &n
	}
	length := func(name string) string {
		return rapid.SampledFrom([]string{"", "", "1h", "36h", "5d", "3w", "1mo", "2mo3d", "1y"}).Draw(t, name)
	}
	s := retention.Spec{
		Period: length("period"), KeepLast: count("last"), KeepHourly: count("hourly"), KeepDaily: count("daily"),
		KeepWeekly: count("weekly"), KeepMonthly: count("monthly"), KeepYearly: count("yearly"), KeepAtLeast: count("floor"),
		MaxAge: length("max_age"), ManualPeriod: length("manual_period"),
	}
	p, err := s.Policy()
	if err != nil {
		one := int64(1)
		s.KeepLast = &one
		if p, err = s.Policy(); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// pointGen draws a backup of any kind near the end of a history: around
// changes of the clock, with failures, skewed clocks and gaps.
func pointGen(t *rapid.T, id string) retention.Point {
	// The distance is drawn by magnitude, so that hours and years both occur.
	unit := rapid.SampledFrom([]time.Duration{time.Minute, time.Hour, 24 * time.Hour, 31 * 24 * time.Hour}).Draw(t, "unit")
	nominal := base.Add(-time.Duration(rapid.IntRange(-3, 40).Draw(t, "back")) * unit)
	p := retention.Point{
		ID: id, Nominal: nominal, Completed: nominal.Add(time.Minute),
		Trigger: rapid.SampledFrom([]retention.Trigger{
			retention.TriggerSchedule, retention.TriggerSchedule, retention.TriggerSchedule, retention.TriggerCatchUp,
			retention.TriggerCreate, retention.TriggerManual, retention.TriggerSafety,
		}).Draw(t, "trigger"),
		Status: rapid.SampledFrom([]retention.Status{
			retention.StatusComplete, retention.StatusComplete, retention.StatusComplete, retention.StatusComplete,
			retention.StatusPartial, retention.StatusSuspect, retention.StatusDamaged,
		}).Draw(t, "status"),
	}
	p.Verified = rapid.IntRange(0, 4).Draw(t, "verified") == 0
	p.Held = rapid.IntRange(0, 9).Draw(t, "held") == 0
	if rapid.IntRange(0, 9).Draw(t, "locked") == 0 {
		p.LockedUntil = base.Add(time.Hour)
	}
	return p
}

func historyGen(t *rapid.T) []retention.Point {
	points := make([]retention.Point, rapid.IntRange(0, 30).Draw(t, "points"))
	for i := range points {
		points[i] = pointGen(t, fmt.Sprintf("p%02d", i))
	}
	return points
}

func isFuture(p retention.Point) bool { return p.Nominal.After(base.Add(5 * time.Minute)) }

func isCandidate(p retention.Point) bool {
	slot := p.Trigger != retention.TriggerManual && p.Trigger != retention.TriggerSafety
	return slot && p.Status == retention.StatusComplete && !isFuture(p)
}

func keptIDs(d retention.Decision) map[string]bool {
	ids := map[string]bool{}
	for _, it := range d.Kept() {
		ids[it.Point.ID] = true
	}
	return ids
}

// R1: the newest good backup always stays, and so does the floor.
func TestNewestGoodBackupStays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points, p := historyGen(t), policyGen(t)
		d := retention.Plan(points, p, zoneGen(t), base)
		if len(d.Items) != len(points) {
			t.Fatalf("%d of %d points are judged", len(d.Items), len(points))
		}
		candidates, goodMet, futureOnly := 0, false, true
		for _, it := range d.Items {
			if len(it.Reasons) == 0 {
				t.Fatalf("%s has no reason", it.Point.ID)
			}
			if it.Point.Held && !it.Keep {
				t.Fatalf("%s is held and goes", it.Point.ID)
			}
			if it.Point.Status == retention.StatusComplete && !isFuture(it.Point) {
				if !goodMet && !it.Keep {
					t.Fatalf("the newest good backup %s goes: %v", it.Point.ID, it.Reasons)
				}
				goodMet, futureOnly = true, false
			}
			if isCandidate(it.Point) {
				if candidates++; candidates <= p.AtLeast && !it.Keep {
					t.Fatalf("%s is within the floor and goes: %v", it.Point.ID, it.Reasons)
				}
			}
		}
		if futureOnly {
			for _, it := range d.Items {
				if it.Point.Status == retention.StatusComplete {
					if !it.Keep {
						t.Fatalf("the only good backups lie in the future and %s goes", it.Point.ID)
					}
					break
				}
			}
		}
	})
}

// R2: one more backup that is no candidate removes no candidate.
func TestOthersNeverDisplaceCandidates(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points, p, loc := historyGen(t), policyGen(t), zoneGen(t)
		intruder := pointGen(t, "intruder")
		if isCandidate(intruder) {
			intruder.Status = retention.StatusPartial
		}
		before := keptIDs(retention.Plan(points, p, loc, base))
		after := keptIDs(retention.Plan(append(slices.Clone(points), intruder), p, loc, base))
		for _, pt := range points {
			if isCandidate(pt) && before[pt.ID] && !after[pt.ID] {
				t.Fatalf("%s goes because of %+v", pt.ID, intruder)
			}
			if isCandidate(pt) && !before[pt.ID] && after[pt.ID] {
				t.Fatalf("%s stays because of %+v", pt.ID, intruder)
			}
		}
	})
}

// R10: the order of the input, the process's zone and a second look change
// nothing.
func TestPlanIsDeterministicAndIdempotent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		points, p, loc := historyGen(t), policyGen(t), zoneGen(t)
		first := retention.Plan(points, p, loc, base)

		elsewhere := slices.Clone(points)
		slices.Reverse(elsewhere)
		for i := range elsewhere {
			elsewhere[i].Nominal = elsewhere[i].Nominal.In(time.FixedZone("elsewhere", 5*3600+1800))
		}
		again := retention.Plan(elsewhere, p, loc, base.In(time.FixedZone("other", -7*3600)))
		if diff := cmp.Diff(verdict(first), verdict(again)); diff != "" {
			t.Fatalf("another order or zone of the input (-first +again):\n%s", diff)
		}

		var left []retention.Point
		for _, it := range first.Kept() {
			left = append(left, it.Point)
		}
		if removed := retention.Plan(left, p, loc, base).Removed(); len(removed) > 0 {
			t.Fatalf("a second plan removes %s: %v\nfirst: %v", removed[0].Point.ID, removed[0].Reasons, verdict(first))
		}
	})
}

// Pruning after every run and pruning once at the end come to the same, so
// that a forecast may look at the end alone.
func TestPruningStepByStepIsPruningAtOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, loc := policyGen(t), zoneGen(t)
		var all, left []retention.Point
		now := base
		for i := range rapid.IntRange(1, 60).Draw(t, "runs") {
			now = now.Add(time.Duration(rapid.IntRange(1, 4000).Draw(t, "minutes")) * time.Minute)
			all = append(all, good(fmt.Sprintf("p%02d", i), now))
			left = append(left, all[i])
			left = keptPoints(retention.Plan(left, p, loc, now))
		}
		atOnce := keptPoints(retention.Plan(all, p, loc, now))
		if diff := cmp.Diff(atOnce, left); diff != "" {
			t.Fatalf("(-at once +step by step):\n%s", diff)
		}
	})
}

var forecastExprs = []string{"0 3 * * *", "30 2 * * 1-5", "0 */6 * * *", "0 0 1 * *", "15,45 * * * *", "0 8,9,20 * * 1,4", "7 * * * *", "0 0 29 2 *", "*/20 9-17 * * *"}

// runsOf makes a good backup of every run in (from, to].
func runsOf(t *rapid.T, s *cron.Schedule, loc *time.Location, from, to time.Time) []retention.Point {
	var points []retention.Point
	for h := range s.Hours(from.Add(1), to.Add(1), loc) {
		for set := h.Minutes; set != 0; set &= set - 1 {
			h.Minutes = set
			points = append(points, good(fmt.Sprintf("p%06d", len(points)), time.Unix(h.First(), 0)))
		}
	}
	return points
}

// Simulate says what Plan would keep of the same runs.
func TestSimulateEqualsPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, loc := policyGen(t), zoneGen(t)
		s, err := cron.Parse(rapid.SampledFrom(forecastExprs).Draw(t, "cron"))
		if err != nil {
			t.Fatal(err)
		}
		from := base.Add(-time.Duration(rapid.IntRange(0, 400*1440).Draw(t, "minutes")) * time.Minute)
		horizon := retention.Duration{Fixed: time.Duration(rapid.IntRange(0, 100*1440).Draw(t, "horizon")) * time.Minute}
		sim := retention.Simulate(p, s, loc, from, horizon)
		for _, point := range []retention.SimPoint{sim.Day, sim.Month, sim.Horizon} {
			kept := retention.Plan(runsOf(t, s, loc, from, point.At), p, loc, point.At).Kept()
			oldest := time.Time{}
			if len(kept) > 0 {
				oldest = kept[len(kept)-1].Point.Nominal
			}
			if len(kept) != point.Backups || !oldest.Equal(point.Oldest) {
				t.Fatalf("at %s: Simulate says %d, oldest %s; Plan keeps %d, oldest %s", point.At, point.Backups, point.Oldest, len(kept), oldest)
			}
		}
	})
}

// TestSiftIsPlanWithoutReasons: the variant for many backups keeps and counts
// what Plan does, in the same order, whatever the order of its input (R10).
func TestSiftIsPlanWithoutReasons(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		policy, loc, points := policyGen(t), zoneGen(t), historyGen(t)
		if rapid.IntRange(0, 9).Draw(t, "everything") == 0 {
			policy = retention.Policy{KeepAll: true, AtLeast: 1}
		}
		now := base.Add(time.Duration(rapid.IntRange(-2, 2).Draw(t, "now")) * 24 * time.Hour)
		plan := retention.Plan(points, policy, loc, now)
		sifted := slices.Clone(points)
		kept, tally := retention.Sift(sifted, policy, loc, now)
		for i, it := range plan.Items {
			if sifted[i] != it.Point || kept[i] != it.Keep {
				t.Fatalf("Sift keeps %v as number %d: %v; Plan keeps %v: %v because %q", sifted[i].ID, i, kept[i], it.Point.ID, it.Keep, it.Reasons)
			}
		}
		if tally.Removed() != len(plan.Removed()) {
			t.Fatalf("the tally has %d removals, Plan %d", tally.Removed(), len(plan.Removed()))
		}
		for _, edited := range []bool{false, true} {
			wait, why := retention.NeedsGrace(plan, edited)
			if w, y := tally.NeedsGrace(edited); w != wait || y != why {
				t.Fatalf("NeedsGrace(%v) of the tally = %v, %q; of Plan %v, %q", edited, w, y, wait, why)
			}
		}
	})
}

// MaxBackups bounds what Plan keeps after any run, and is close to it.
func TestMaxBackupsBoundsPlan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, loc := policyGen(t), zoneGen(t)
		s, err := cron.Parse(rapid.SampledFrom(forecastExprs).Draw(t, "cron"))
		if err != nil {
			t.Fatal(err)
		}
		bound := retention.MaxBackups(p, s, loc)
		from := base.Add(-time.Duration(rapid.IntRange(0, 5*365).Draw(t, "day")) * 24 * time.Hour)
		points := runsOf(t, s, loc, from, from.Add(150*24*time.Hour))
		// Dense schedules are looked at a while before their end.
		points = points[:min(len(points), 600)]
		for i := len(points); i > 0; i -= 1 + len(points)/7 {
			now := points[i-1].Nominal
			kept := retention.Plan(points[:i], p, loc, now).Kept()
			if len(kept) > bound.Backups {
				t.Fatalf("Plan keeps %d at %s, MaxBackups says %d", len(kept), now, bound.Backups)
			}
			if age := now.Sub(kept[len(kept)-1].Point.Nominal); age > bound.Oldest+24*time.Hour {
				t.Fatalf("at %s the oldest is %s old, MaxBackups says %s", now, age, bound.Oldest)
			}
		}
	})
}
