package retention_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// good is a complete backup of a slot.
func good(id string, nominal time.Time) retention.Point {
	return retention.Point{ID: id, Nominal: nominal, Completed: nominal.Add(5 * time.Minute),
		Trigger: retention.TriggerSchedule, Status: retention.StatusComplete, Size: 1 << 30}
}

// days makes one good backup a day at 02:30, the last on the given day.
func days(n int, last time.Time) []retention.Point {
	var points []retention.Point
	for i := range n {
		day := last.AddDate(0, 0, i-n+1)
		points = append(points, good("p"+day.Format("20060102"), time.Date(day.Year(), day.Month(), day.Day(), 2, 30, 0, 0, last.Location())))
	}
	return points
}

// verdict writes a decision as one line a backup.
func verdict(d retention.Decision) []string {
	var lines []string
	for _, it := range d.Items {
		mark := "-"
		if it.Keep {
			mark = "+"
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s", mark, it.Point.ID, strings.Join(it.Reasons, ", ")))
	}
	return lines
}

// The rules of SEMANTICS section 3 one by one, with the reasons.
func TestPlanReasons(t *testing.T) {
	t.Parallel()
	berlin := zone(t, "Europe/Berlin")
	now := at(t, "2026-11-25T03:00:00+01:00")
	with := func(p retention.Point, change func(*retention.Point)) retention.Point {
		change(&p)
		return p
	}
	manual := func(id string, nominal time.Time) retention.Point {
		return with(good(id, nominal), func(p *retention.Point) { p.Trigger = retention.TriggerManual })
	}
	week := days(5, now)
	tests := map[string]struct {
		policy string
		points []retention.Point
		want   []string
	}{
		"last": {`{"keep_last":2}`, week, []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, last 2",
			"+ p20261124: last 2",
			"- p20261123: no rule keeps it", "- p20261122: no rule keeps it", "- p20261121: no rule keeps it"}},
		"a period keeps one beyond its edge": {`{"period":"36h"}`, week, []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, within 1d12h",
			"+ p20261124: within 1d12h",
			"+ p20261123: first beyond 1d12h",
			"- p20261122: no rule keeps it; outside period 1d12h", "- p20261121: no rule keeps it; outside period 1d12h"}},
		"at the edge is beyond": {`{"period":"24h"}`, week[2:], []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, within 1d",
			"+ p20261124: first beyond 1d",
			"- p20261123: no rule keeps it; outside period 1d"}},
		"calendar units": {`{"keep_daily":1,"keep_weekly":2,"keep_monthly":1,"keep_yearly":1}`, week, []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, daily 2026-11-25, weekly 2026-W48, monthly 2026-11, yearly 2026",
			"- p20261124: no rule keeps it", "- p20261123: no rule keeps it",
			"+ p20261122: weekly 2026-W47",
			"- p20261121: no rule keeps it"}},
		"empty units cost nothing": {`{"keep_daily":2}`, []retention.Point{week[0], week[4]}, []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, daily 2026-11-25",
			"+ p20261121: daily 2026-11-21"}},
		"the hours of an autumn fold are two": {`{"keep_hourly":2}`, []retention.Point{
			good("a", at(t, "2026-10-25T02:30:00+02:00")), good("b", at(t, "2026-10-25T02:30:00+01:00")), good("c", at(t, "2026-10-25T02:45:00+01:00"))}, []string{
			"+ c: floor (keep_at_least 1), newest good backup, hourly 2026-10-25 02h +01:00",
			"- b: no rule keeps it",
			"+ a: hourly 2026-10-25 02h +02:00"}},
		"the zone's days": {`{"keep_daily":2}`, []retention.Point{
			good("a", at(t, "2026-11-23T22:30:00Z")), good("b", at(t, "2026-11-23T23:30:00Z")), good("c", at(t, "2026-11-24T00:30:00Z"))}, []string{
			"+ c: floor (keep_at_least 1), newest good backup, daily 2026-11-24",
			"- b: no rule keeps it",
			"+ a: daily 2026-11-23"}},
		"floor": {`{"keep_at_least":2}`, week[2:], []string{
			"+ p20261125: floor (keep_at_least 2), newest good backup",
			"+ p20261124: floor (keep_at_least 2)",
			"- p20261123: no rule keeps it"}},
		"held, locked, in use, verified": {`{"keep_last":1}`, []retention.Point{
			with(week[0], func(p *retention.Point) { p.Held = true }),
			with(week[1], func(p *retention.Point) { p.LockedUntil = now.Add(time.Hour); p.Verified = true }),
			with(week[2], func(p *retention.Point) { p.InUse, p.Verified = true, true }),
			with(week[3], func(p *retention.Point) { p.LockedUntil = now }),
			week[4]}, []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, last 1",
			"- p20261124: no rule keeps it",
			"+ p20261123: in use, newest verified",
			"+ p20261122: retained by lock until 2026-11-25T03:00:00Z",
			"+ p20261121: held"}},
		"manual ones are kept by age": {`{"keep_last":1,"manual_period":"2d"}`, []retention.Point{
			week[3], week[4],
			manual("m1", now.Add(-time.Hour)), manual("m2", now.Add(-48*time.Hour)),
			with(manual("m3", now.Add(-30*time.Hour)), func(p *retention.Point) { p.Trigger = retention.TriggerSafety })}, []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, last 1",
			"+ m1: manual, younger than 2d",
			"- p20261124: no rule keeps it",
			"+ m3: safety, younger than 2d",
			"- m2: manual, not younger than 2d"}},
		"the only good one is manual and old": {`{"keep_last":1}`, []retention.Point{manual("m", now.AddDate(-1, 0, 0))}, []string{
			"+ m: newest good backup"}},
		"a second list of its own": {`{"keep_daily":1}`, []retention.Point{
			week[0], week[1],
			with(week[2], func(p *retention.Point) { p.Status = retention.StatusSuspect }),
			with(week[3], func(p *retention.Point) { p.Status = retention.StatusDamaged }),
			with(week[4], func(p *retention.Point) { p.Status = retention.StatusPartial })}, []string{
			"+ p20261125: partial: floor (keep_at_least 1), partial: daily 2026-11-25",
			"- p20261124: damaged: no rule keeps it",
			"- p20261123: suspect: no rule keeps it",
			"+ p20261122: floor (keep_at_least 1), newest good backup, daily 2026-11-22",
			"- p20261121: no rule keeps it"}},
		"dated in the future": {`{"keep_last":1}`, []retention.Point{
			week[4], good("soon", now.Add(5*time.Minute)), good("late", now.Add(6*time.Minute))}, []string{
			"+ late: dated in the future",
			"+ soon: floor (keep_at_least 1), newest good backup, last 1",
			"- p20261125: no rule keeps it"}},
		"max_age stops at the floor": {`{"keep_last":9,"keep_at_least":2,"max_age":"36h"}`, week, []string{
			"+ p20261125: floor (keep_at_least 2), newest good backup, last 9",
			"+ p20261124: floor (keep_at_least 2), last 9",
			"- p20261123: older than max_age 1d12h", "- p20261122: older than max_age 1d12h", "- p20261121: older than max_age 1d12h"}},
		"max_age spares held, locked and the newest verified": {`{"keep_last":1,"max_age":"1h"}`, []retention.Point{
			with(week[0], func(p *retention.Point) { p.Held = true }),
			with(week[1], func(p *retention.Point) { p.LockedUntil = now.Add(1) }),
			with(week[2], func(p *retention.Point) { p.InUse = true }),
			with(week[3], func(p *retention.Point) { p.Verified = true }),
			with(manual("m", now.Add(-2*time.Hour)), func(p *retention.Point) { p.Status = retention.StatusPartial }),
			week[4]}, []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, last 1",
			"- m: older than max_age 1h",
			"+ p20261124: newest verified",
			"- p20261123: older than max_age 1h",
			"+ p20261122: retained by lock until 2026-11-25T02:00:00Z",
			"+ p20261121: held"}},
		"max_age asks the store about the future": {`{"keep_last":1,"max_age":"30d"}`, []retention.Point{
			week[4], with(good("f", now.AddDate(4, 0, 0)), func(p *retention.Point) { p.Stored = now.AddDate(0, 0, -31) })}, []string{
			"- f: older than max_age 30d",
			"+ p20261125: floor (keep_at_least 1), newest good backup, last 1"}},
		"keep_all": {`{"keep_all":true}`, []retention.Point{week[0], week[4], manual("m", now.AddDate(-9, 0, 0))}, []string{
			"+ p20261125: floor (keep_at_least 1), newest good backup, keep_all",
			"+ p20261121: keep_all",
			"+ m: keep_all"}},
		"nothing": {`{"keep_last":1}`, nil, nil},
		"equal times are ordered by completion and id": {`{"keep_last":1}`, []retention.Point{
			good("a", now), good("b", now), with(good("0", now), func(p *retention.Point) { p.Completed = now.Add(time.Hour) })}, []string{
			"+ 0: floor (keep_at_least 1), newest good backup, last 1", "- b: no rule keeps it", "- a: no rule keeps it"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := verdict(retention.Plan(test.points, policy(t, test.policy), berlin, now))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("Plan (-want +got):\n%s", diff)
			}
		})
	}
}

const usual = `{"keep_daily":7,"keep_weekly":4,"keep_monthly":12,"keep_yearly":3}`

// pruneDaily replays a history the way it happens: a plan after every run.
func pruneDaily(t testing.TB, points []retention.Point, p retention.Policy) []retention.Point {
	t.Helper()
	var left []retention.Point
	for _, pt := range points {
		left = append(left, pt)
		left = keptPoints(retention.Plan(left, p, time.UTC, pt.Completed))
	}
	return left
}

func keptPoints(d retention.Decision) []retention.Point {
	var points []retention.Point
	for _, it := range d.Kept() {
		points = append(points, it.Point)
	}
	return points
}

// The histories H1 to H7 at which other programs lose backups: what we keep.
func TestHistories(t *testing.T) {
	t.Parallel()
	today := at(t, "2026-11-25T03:00:00Z")
	healthy := pruneDaily(t, days(800, today), policy(t, usual))

	// protected holds the good backups of slots that are kept against their days.
	protected := func(t *testing.T, points []retention.Point, want ...string) {
		t.Helper()
		var got []string
		for _, p := range points {
			if p.Status == retention.StatusComplete && p.Trigger == retention.TriggerSchedule && !p.Nominal.After(today) {
				got = append(got, p.Nominal.Format(time.DateOnly))
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("good backups (-want +got):\n%s", diff)
		}
	}
	// last names the days up to today.
	last := func(n int) (names []string) {
		for i := range n {
			names = append(names, today.AddDate(0, 0, -i).Format(time.DateOnly))
		}
		return names
	}
	// Seven days, the ends of four weeks, of twelve months and of three years;
	// today and the Sunday of this week are among the days.
	usualDays := append(last(7), "2026-11-15", "2026-11-08",
		"2026-10-31", "2026-09-30", "2026-08-31", "2026-07-31", "2026-06-30", "2026-05-31", "2026-04-30", "2026-03-31", "2026-02-28", "2026-01-31", "2025-12-31", "2024-12-31")

	t.Run("H1 healthy daily runs", func(t *testing.T) {
		t.Parallel()
		protected(t, healthy, usualDays...)
	})
	t.Run("H2 then forty days of failures", func(t *testing.T) {
		t.Parallel()
		later := today.AddDate(0, 0, 40)
		protected(t, keptPoints(retention.Plan(healthy, policy(t, usual), time.UTC, later)), usualDays...)
		protected(t, keptPoints(retention.Plan(days(60, today), policy(t, `{"period":"30d"}`), time.UTC, later)), last(31)...)
	})
	t.Run("H3 one stamped four years ahead", func(t *testing.T) {
		t.Parallel()
		points := append(days(69, today), good("ahead", today.AddDate(4, 0, 0)))
		for _, p := range []string{usual, `{"period":"30d"}`, `{"keep_last":10,"keep_hourly":48,"keep_daily":7,"keep_weekly":4,"keep_monthly":24,"keep_yearly":3}`} {
			with := keptPoints(retention.Plan(points, policy(t, p), time.UTC, today))
			var names []string
			for _, pt := range keptPoints(retention.Plan(points[:69], policy(t, p), time.UTC, today)) {
				names = append(names, pt.Nominal.Format(time.DateOnly))
			}
			protected(t, with, names...)
			if len(with) != len(names)+1 || with[0].ID != "ahead" {
				t.Errorf("%s: kept %d with the one ahead, %d without", p, len(with), len(names))
			}
		}
	})
	t.Run("H4 twenty manual runs in an hour", func(t *testing.T) {
		t.Parallel()
		points := days(30, today)
		for i := range 20 {
			m := good(fmt.Sprint("m", i), today.Add(time.Duration(i)*time.Minute))
			m.Trigger = retention.TriggerManual
			points = append(points, m)
		}
		d := retention.Plan(points, policy(t, `{"keep_last":10}`), time.UTC, today.Add(time.Hour))
		protected(t, keptPoints(d), last(10)...)
		if len(d.Kept()) != 30 {
			t.Errorf("kept %d in all, want the twenty manual ones as well", len(d.Kept()))
		}
	})
	t.Run("H5 a rule finer than the schedule", func(t *testing.T) {
		t.Parallel()
		protected(t, keptPoints(retention.Plan(days(60, today), policy(t, `{"keep_hourly":24}`), time.UTC, today)), last(24)...)
	})
	t.Run("H6 three empty dumps", func(t *testing.T) {
		t.Parallel()
		points := days(10, today)
		sizes := []int64{1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30, 1 << 30}
		for i := 7; i < 10; i++ {
			points[i].Size = 0
			if retention.Suspect(0, sizes) {
				points[i].Status = retention.StatusSuspect
			}
		}
		protected(t, keptPoints(retention.Plan(points, policy(t, `{"keep_daily":3}`), time.UTC, today)), last(6)[3:]...)
	})
	t.Run("H7 a mistaken edit", func(t *testing.T) {
		t.Parallel()
		protected(t, healthy, usualDays...)
		d := retention.Plan(healthy, policy(t, `{"keep_daily":2}`), time.UTC, today)
		protected(t, keptPoints(d), last(2)...)
		if got := len(d.Removed()); got != 19 {
			t.Fatalf("would remove %d, want 19", got)
		}
		// R4: they wait, edited just now or not.
		for _, edited := range []bool{true, false} {
			if wait, why := retention.NeedsGrace(d, edited); !wait || why != "would remove 19 of 21 good backups, more than half" {
				t.Errorf("NeedsGrace = %v, %q", wait, why)
			}
		}
	})
}

// R4: which removals wait.
func TestNeedsGrace(t *testing.T) {
	t.Parallel()
	decision := func(candidates, candidatesGone, second, secondGone, manualGone int) retention.Decision {
		var d retention.Decision
		add := func(list retention.List, n, gone int) {
			for i := range n {
				d.Items = append(d.Items, retention.Item{List: list, Keep: i >= gone})
			}
		}
		add(retention.ListCandidates, candidates, candidatesGone)
		add(retention.ListSecond, second, secondGone)
		add(retention.ListOther, manualGone, manualGone)
		return d
	}
	tests := map[string]struct {
		d      retention.Decision
		edited bool
		want   string
	}{
		"nothing goes":               {decision(9, 0, 0, 0, 0), true, ""},
		"one of many":                {decision(9, 1, 0, 0, 0), false, ""},
		"half":                       {decision(8, 4, 0, 0, 0), false, ""},
		"more than half":             {decision(7, 4, 0, 0, 0), false, "would remove 4 of 7 good backups, more than half"},
		"three are few":              {decision(4, 3, 0, 0, 0), false, ""},
		"the second list":            {decision(9, 0, 5, 4, 0), false, "would remove 4 of 5 partial, suspect and damaged backups, more than half"},
		"the lists do not add up":    {decision(100, 3, 5, 3, 0), false, ""},
		"manual ones do not count":   {decision(2, 0, 0, 0, 9), false, ""},
		"the first after an edit":    {decision(9, 1, 0, 0, 0), true, "would remove 1 backup, the first removals after an edit of the retention or the time zone"},
		"a manual one after an edit": {decision(9, 0, 0, 0, 1), true, "would remove 1 backup, the first removals after an edit of the retention or the time zone"},
	}
	for name, test := range tests {
		if wait, why := retention.NeedsGrace(test.d, test.edited); why != test.want || wait != (test.want != "") {
			t.Errorf("%s: NeedsGrace = %v, %q; want %q", name, wait, why, test.want)
		}
	}
}

// R9: which complete backups look too small.
func TestSuspect(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		size int64
		last []int64
		want bool
	}{
		"a first backup":                    {100, nil, false},
		"a first backup that is empty":      {0, nil, false},
		"an empty second one":               {0, []int64{100}, true},
		"two say nothing about small":       {1, []int64{100, 100}, false},
		"a fifth":                           {20, []int64{100, 100, 100}, false},
		"less than a fifth":                 {19, []int64{100, 100, 100}, true},
		"the median, not the mean":          {19, []int64{90, 1 << 40, 80}, false},
		"an even number":                    {19, []int64{50, 100, 100, 150}, true},
		"between the two in the middle":     {19, []int64{1, 90, 98, 1 << 40}, false},
		"only the last seven":               {15, []int64{50, 50, 50, 50, 50, 50, 50, 900, 900, 900, 900, 900, 900, 900, 900}, false},
		"sizes that would overflow in sums": {1 << 59, []int64{1 << 62, 1 << 62, 1 << 62, 1 << 62}, true},
	}
	for name, test := range tests {
		if got := retention.Suspect(test.size, test.last); got != test.want {
			t.Errorf("%s: Suspect(%d, %v) = %v", name, test.size, test.last, got)
		}
	}
}
