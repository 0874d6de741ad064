package slots_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

var policies = []retention.Spec{
	{Period: "3d"}, {Period: "36h", KeepDaily: number(4)}, {KeepLast: number(5)}, {KeepHourly: number(12), KeepDaily: number(5), KeepWeekly: number(3)},
	{KeepDaily: number(7), KeepWeekly: number(2), KeepMonthly: number(2)}, {KeepAtLeast: number(2)}, {Period: "1mo", MaxAge: "9d", KeepAtLeast: number(2)}, {KeepAll: true},
}

func number(n int64) *int64 { return &n }

func policyOf(t testing.TB, s retention.Spec) retention.Policy {
	t.Helper()
	p, err := s.Policy()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// R3, S8, S11: what the forecast says exists at an instant is what is left when
// Decide makes each run, and Plan prunes after each.
func TestReplayIsWhatDecideAndPlanLeave(t *testing.T) {
	t.Parallel()
	r := randomly(t)
	for range cases(50) {
		timing, s := randomTiming(t, r)
		spec := policies[r.IntN(len(policies))]
		policy := policyOf(t, spec)
		from := aroundChange(r, timing.Loc).Add(time.Duration(r.IntN(2)*123456) * time.Microsecond)
		days := min(40, int(700*timing.Cron.MinInterval()/(24*time.Hour)))
		end := from.Add(time.Duration(days+1) * 24 * time.Hour)
		created := r.IntN(2) == 0
		rhythm := timing.Rhythm()
		replay := retention.Replay{
			Policy: policy, Runs: rhythm, Zone: timing.Loc, From: from, Created: created,
			Start: func(nominal time.Time) time.Time { start, _ := rhythm.Start(nominal, timing.Loc); return start },
		}
		name := fmt.Sprintf("%q in %s, offset %s, windows %+v, from %s, created %v, policy %+v", s.Cron, s.Timezone, timing.Offset, s.Blackout, from, created, spec)

		var left []retention.Point
		runs := ticked(t, timing, from, end)
		if created {
			runs = append([]slots.Run{{Nominal: from, Start: from}}, runs...)
		}
		check := func(now time.Time) {
			left = planned(left, policy, timing.Loc, now) // as max_age does between runs
			var want []string
			for _, p := range left {
				want = append(want, p.Nominal.UTC().Format(time.RFC3339Nano))
			}
			var got []string
			for _, at := range replay.KeptAt(now) {
				got = append(got, at.UTC().Format(time.RFC3339Nano))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s, at %s (-Decide and Plan +Replay):\n%s", name, now, diff)
			}
			point := replay.At(now)
			if point.Backups != len(left) || len(left) > 0 && !point.Oldest.Equal(left[len(left)-1].Nominal) {
				t.Fatalf("%s, at %s: %+v, want %d since %v", name, now, point, len(left), want)
			}
		}
		checks := 12
		for i, run := range runs {
			left = append(left, retention.Point{ID: fmt.Sprintf("%06d", i), Nominal: run.Nominal, Completed: run.Start, Trigger: retention.TriggerSchedule, Status: retention.StatusComplete})
			left = planned(left, policy, timing.Loc, run.Start)
			if i%max(1, len(runs)/checks) == 0 {
				check(run.Start)
				before := end
				if i+1 < len(runs) {
					before = runs[i+1].Start.Add(-time.Nanosecond)
				}
				if spec.MaxAge == "" {
					check(before)
				}
			}
		}
		check(end)
	}
}

func planned(points []retention.Point, p retention.Policy, loc *time.Location, now time.Time) []retention.Point {
	var left []retention.Point
	for _, it := range retention.Plan(points, p, loc, now).Kept() {
		left = append(left, it.Point)
	}
	return left
}

// MaxBackups holds whatever the windows, the share of the jitter and the moment
// of the creation, and is reached where the windows are simple.
func TestMaxBackupsBoundsEveryReplay(t *testing.T) {
	t.Parallel()
	r := randomly(t)
	for range cases(20) {
		timing, s := randomTiming(t, r)
		windows, err := slots.ParseWindows(s.Blackout)
		if err != nil {
			t.Fatal(err)
		}
		spec := policies[r.IntN(len(policies)-1)] // without keep_all
		policy := policyOf(t, spec)
		jitter := min(timing.Cron.MinInterval()/2-time.Second, 90*time.Minute)
		bound := slots.MaxBackups(policy, timing.Cron, timing.Loc, windows, jitter)
		from := aroundChange(r, timing.Loc)
		for range 4 {
			share := time.Duration(r.Int64N(int64(jitter/time.Second)+1)) * time.Second
			share = min(share, max(0, jitter-time.Second))
			rhythm := slots.RhythmOf(timing.Cron, windows, share)
			replay := retention.Replay{Policy: policy, Runs: rhythm, Zone: timing.Loc, From: from, Created: r.IntN(2) == 0}
			for range 25 {
				at := from.Add(time.Duration(r.IntN(70*24*3600)) * time.Second)
				if point := replay.At(at); point.Backups > bound.Backups {
					t.Fatalf("%q in %s, share %s, windows %+v, from %s, policy %+v: %d backups at %s, MaxBackups says %d", s.Cron, s.Timezone, share, s.Blackout, from, spec, point.Backups, at, bound.Backups)
				}
			}
		}
	}
}

// The bound is no guess: simple schedules come to it.
func TestMaxBackupsIsReached(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cron, zone, blackout string
		policy               retention.Spec
		want                 int
	}{
		"the example of the manual":     {"30 2 * * *", "Europe/Berlin", `{}`, retention.Spec{Period: "30d", KeepMonthly: number(12)}, 42},
		"no weekends":                   {"30 2 * * *", "Europe/Berlin", `{"w":{"days":"SAT,SUN","from":"00:00","to":"24:00","action":"skip"}}`, retention.Spec{Period: "30d"}, 24},
		"no office hours":               {"0 * * * *", "UTC", `{"w":{"days":"MON-FRI","from":"09:00","to":"17:00","action":"skip"}}`, retention.Spec{Period: "7d"}, 129},
		"after office hours":            {"0 * * * *", "UTC", `{"w":{"days":"MON-FRI","from":"08:30","to":"17:30"}}`, retention.Spec{Period: "7d"}, 129},
		"nights deferred":               {"*/30 * * * *", "UTC", `{"w":{"from":"22:00","to":"06:00"}}`, retention.Spec{KeepHourly: number(48), KeepDaily: number(14)}, 59},
		"an autumn night in the window": {"0 * * * *", "Europe/Berlin", `{"w":{"from":"04:00","to":"02:00","action":"skip"}}`, retention.Spec{Period: "1d"}, 4},
		"cut by max_age":                {"0 0 * * *", "UTC", `{"w":{"days":"SUN","from":"00:00","to":"01:00","action":"skip"}}`, retention.Spec{KeepDaily: number(100), MaxAge: "10d"}, 10},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, loc, windows := parsed(t, test.cron, test.zone, test.blackout)
			policy := policyOf(t, test.policy)
			if got := slots.MaxBackups(policy, s, loc, windows, 0); got.Backups != test.want {
				t.Errorf("MaxBackups = %d, want %d", got.Backups, test.want)
			}
			rhythm := slots.RhythmOf(s, windows, 0)
			most := 0
			for month := range 15 {
				from := time.Date(2025, time.Month(1+month), 3, 12, 0, 0, 0, time.UTC)
				replay := retention.Replay{Policy: policy, Runs: rhythm, Zone: loc, From: from.AddDate(-1, -2, 0), Created: month%2 == 0}
				runs, err := rhythm.NextN(from, loc, 70)
				if err != nil {
					t.Fatal(err)
				}
				for _, run := range runs {
					most = max(most, replay.At(run.Start).Backups)
				}
			}
			if most != test.want {
				t.Errorf("at most %d were kept, want %d", most, test.want)
			}
		})
	}
}
