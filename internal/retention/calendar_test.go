package retention_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// units name the calendar unit of an instant as a clock on the wall shows it,
// the two hours of an autumn fold apart.
var units = map[string]func(time.Time) string{
	"hourly": func(t time.Time) string { return t.Format("2006-01-02 15 -0700") },
	"daily":  func(t time.Time) string { return t.Format(time.DateOnly) },
	"weekly": func(t time.Time) string {
		year, week := t.ISOWeek()
		return fmt.Sprint(year, week)
	},
	"monthly": func(t time.Time) string { return t.Format("2006-01") },
	"yearly":  func(t time.Time) string { return t.Format("2006") },
}

// TestCalendarRulesFollowTheClockOnTheWall (R10): each calendar rule keeps the
// newest backup of each of the latest units that have one, whatever the clock
// does in between. The expectation is made from formatted times alone.
func TestCalendarRulesFollowTheClockOnTheWall(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		loc := zoneGen(t)
		kind := rapid.SampledFrom([]string{"hourly", "daily", "weekly", "monthly", "yearly"}).Draw(t, "kind")
		n := rapid.Int64Range(1, 12).Draw(t, "n")
		var spec retention.Spec
		*map[string]**int64{
			"hourly": &spec.KeepHourly, "daily": &spec.KeepDaily, "weekly": &spec.KeepWeekly, "monthly": &spec.KeepMonthly, "yearly": &spec.KeepYearly,
		}[kind] = &n
		policy, err := spec.Policy()
		if err != nil {
			t.Fatal(err)
		}
		// Close together, so that many lie within an hour of a midnight or of a
		// change of the clock, and of every season.
		end := time.Date(2026, time.Month(rapid.IntRange(1, 12).Draw(t, "month")), rapid.IntRange(1, 31).Draw(t, "day"), 0, 0, 0, 0, time.UTC)
		step := rapid.SampledFrom([]time.Duration{13 * time.Minute, 37 * time.Minute, 5 * time.Hour, 23*time.Hour + 30*time.Minute, 29 * 24 * time.Hour}).Draw(t, "step")
		var points []retention.Point
		var want []string
		var seen []string
		for i := range rapid.IntRange(1, 200).Draw(t, "points") {
			at := end.Add(-time.Duration(i) * step)
			id := fmt.Sprint(i)
			points = append(points, retention.Point{
				ID: id, Nominal: at, Completed: at, Trigger: retention.TriggerSchedule, Status: retention.StatusComplete,
			})
			unit := units[kind](at.In(loc))
			if !slices.Contains(seen, unit) && len(seen) < int(n) {
				seen = append(seen, unit)
				want = append(want, id)
			}
		}
		var got []string
		for _, it := range retention.Plan(points, policy, loc, end).Kept() {
			got = append(got, it.Point.ID)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("keep_%s = %d in %s kept %v, want %v", kind, n, loc, got, want)
		}
	})
}
