package retention_test

import (
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

func schedule(t testing.TB, expr string) *cron.Schedule {
	t.Helper()
	s, err := cron.Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// SEMANTICS section 4: the most backups that are ever kept.
func TestMaxBackupsOfNamedPolicies(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		policy, expr, zone string
		want               int
	}{
		"the example of the manual":   {`{"period":"30d","keep_monthly":12}`, "30 2 * * *", "Europe/Berlin", 42},
		"every minute, the last two":  {`{"keep_last":2}`, "* * * * *", "UTC", 2},
		"hourly for a month":          {`{"period":"30d"}`, "0 * * * *", "Europe/Berlin", 721},
		"every minute for half a day": {`{"period":"12h"}`, "* * * * *", "UTC", 721},
		"the usual tiers":             {usual, "0 3 * * *", "UTC", 23},
		"all hours and days":          {`{"keep_hourly":24,"keep_daily":7}`, "*/5 * * * *", "UTC", 30},
		"only the floor":              {`{"keep_at_least":3}`, "0 0 * * *", "UTC", 3},
		"cut by max_age":              {`{"keep_daily":100,"max_age":"10d"}`, "0 0 * * *", "UTC", 11},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := retention.MaxBackups(policy(t, test.policy), schedule(t, test.expr), zone(t, test.zone))
			if b.Backups != test.want || b.Unbounded {
				t.Errorf("MaxBackups = %+v, want %d", b, test.want)
			}
		})
	}
	if b := retention.MaxBackups(policy(t, `{"keep_all":true}`), schedule(t, "@daily"), time.UTC); b != (retention.Bound{Unbounded: true}) {
		t.Errorf("keep_all: %+v", b)
	}
}

// Simulate over time: it grows to a steady state.
func TestSimulateGrows(t *testing.T) {
	t.Parallel()
	from := at(t, "2026-01-01T12:00:00Z")
	sim := retention.Simulate(policy(t, `{"period":"30d","keep_monthly":12}`), schedule(t, "30 2 * * *"), zone(t, "Europe/Berlin"), from, retention.Duration{})
	if sim.Day.Backups != 1 || sim.Month.Backups != 30 || sim.Year.Backups < 40 || sim.Steady.Backups < 40 || sim.Steady.Backups > 42 || sim.Horizon.Backups != 0 {
		t.Errorf("Simulate = %+v", sim)
	}
	if age := sim.Steady.Age(); age < 300*24*time.Hour || age > 366*24*time.Hour {
		t.Errorf("the oldest is %s old", age)
	}
	all := retention.Simulate(policy(t, `{"keep_all":true}`), schedule(t, "0 * * * *"), time.UTC, from, retention.Duration{Months: 24})
	if !all.Unbounded || all.Year.Backups != 8760 || all.Horizon.Backups != 17520 {
		t.Errorf("keep_all: %+v", all)
	}
	rare := retention.Simulate(policy(t, `{"keep_last":2}`), schedule(t, "0 0 * 2 1#5"), time.UTC, from, retention.Duration{})
	if rare.Year.Backups != 0 || rare.Steady.Backups != 2 {
		t.Errorf("every fifth Monday in February: %+v", rare)
	}
}

func BenchmarkMaxBackups(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	for _, expr := range []string{"* * * * *", "0 * * * *", "30 2 * * *"} {
		b.Run(expr, func(b *testing.B) {
			s, p := schedule(b, expr), policy(b, `{"period":"30d","keep_hourly":48,"keep_weekly":8,"keep_monthly":12}`)
			for b.Loop() {
				// Another grace, so that it is no remembered answer.
				p.PruneGrace.Fixed += time.Minute
				retention.MaxBackups(p, s, loc)
			}
		})
	}
}

func BenchmarkSimulate(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	s, p := schedule(b, "* * * * *"), policy(b, `{"period":"1y","keep_monthly":24}`)
	from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		retention.Simulate(p, s, loc, from, retention.Duration{Months: 24})
	}
}

func BenchmarkPlan(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	p := policy(b, usual)
	last := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	points := days(1000, last)
	for b.Loop() {
		retention.Plan(points, p, loc, last.AddDate(0, 0, 1))
	}
}
