package cron_test

import (
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// SEMANTICS section 4: the gaps that the structure gives are those of the runs
// themselves.
func TestGapsEqualTheWalkOfEveryRun(t *testing.T) {
	t.Parallel()
	r := source(t)
	for range cases(60, 3000) {
		s, _ := randomSchedule(t, r)
		loc := zone(t, zones[r.IntN(len(zones))])
		from, to := cron.Window(loc)
		var want cron.Gaps
		var last int64
		for h := range s.Hours(from, to, loc) {
			for set := h.Minutes; set != 0; set &= set - 1 {
				h.Minutes = set
				at := h.First()
				if gap := time.Duration(at-last) * time.Second; want.Runs > 0 {
					if want.Runs == 1 || gap < want.Min {
						want.Min = gap
					}
					if gap > want.Max {
						want.Max, want.MaxFrom, want.MaxTo = gap, time.Unix(last, 0), time.Unix(at, 0)
					}
				}
				last = at
				want.Runs++
			}
		}
		got := s.Gaps(loc)
		if got.Runs != want.Runs || got.Few() != (want.Runs < 2) {
			t.Fatalf("Gaps(%q, %s) counts %d runs, the walk %d", s, loc, got.Runs, want.Runs)
		}
		if got.Min != want.Min || got.Max != want.Max || want.Runs > 1 && (!got.MaxFrom.Equal(want.MaxFrom) || !got.MaxTo.Equal(want.MaxTo)) {
			t.Fatalf("Gaps(%q, %s) = %+v, the walk says %+v", s, loc, got, want)
		}
		if m := s.MinInterval(); want.Runs > 1 && loc == time.UTC && m > got.Min {
			t.Fatalf("MinInterval(%q) = %s, but two runs are %s apart", s, m, got.Min)
		}
	}
}

func TestGapsOfNamedSchedules(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		expr, zone string
		want       string
		min        time.Duration
	}{
		"a day of 25 hours":          {"30 2 * * *", "Europe/Berlin", "25h", 23*time.Hour + 30*time.Minute},
		"no change of the clock":     {"30 2 * * *", "UTC", "24h", 24 * time.Hour},
		"a weekend":                  {"30 2 * * 1-5", "UTC", "72h", 24 * time.Hour},
		"a long weekend":             {"30 2 * * 1-5", "Europe/Berlin", "73h", 24 * time.Hour},
		"every hour loses nothing":   {"0 * * * *", "Europe/Berlin", "1h", time.Hour},
		"a gap of half an hour":      {"0 * * * *", "Australia/Lord_Howe", "1h30m", time.Hour},
		"uneven steps":               {"*/40 * * * *", "UTC", "40m", 20 * time.Minute},
		"the 31st":                   {"0 0 31 * *", "UTC", "61d", 31 * 24 * time.Hour},
		"leap years":                 {"0 0 29 2 *", "UTC", "1461d", 1461 * 24 * time.Hour},
		"once in the window":         {"0 0 * 2 1#5", "UTC", "over 24 years", 0},
		"every minute, a lost day":   {"* * * * *", "Pacific/Apia", "1m", time.Minute},
		"a fixed time on a lost day": {"0 12 * * *", "Pacific/Apia", "25h", 12 * time.Hour},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := parse(t, test.expr).Gaps(zone(t, test.zone))
			if g.String() != test.want || g.Min != test.min {
				t.Errorf("Gaps(%q, %s) = %s, least %s; want %s, least %s", test.expr, test.zone, g, g.Min, test.want, test.min)
			}
		})
	}
}

func TestMinInterval(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]time.Duration{
		"* * * * *": time.Minute, "*/7 * * * *": 4 * time.Minute, "59,0 * * * *": time.Minute,
		"0 0 * * *": 24 * time.Hour, "0 0 31 * *": 31 * 24 * time.Hour, "0 0 29 2 *": 1461 * 24 * time.Hour,
		"0 0 28,1 2,3 *": 24 * time.Hour, "59 23 31 12 *": 365 * 24 * time.Hour, "0 0 1 * 1": 24 * time.Hour,
	} {
		if got := parse(t, expr).MinInterval(); got != want {
			t.Errorf("MinInterval(%q) = %s, want %s", expr, got, want)
		}
	}
}

func TestWindowIsTheSameInAnyYear(t *testing.T) {
	t.Parallel()
	from, to := cron.Window(time.UTC)
	if from.Year() != 2000 || to.Year() != 2041 {
		t.Errorf("Window = %s to %s", from, to)
	}
}

// Every zone: the daily look at the clock finds each change that the hourly
// one finds.
func TestNoChangeOfTheClockIsMissed(t *testing.T) {
	t.Parallel()
	s := parse(t, "30 2 * * *")
	names := cron.Zones()
	step := cases(12, 1)
	for i := 0; i < len(names); i += step {
		loc := zone(t, names[i])
		from, to := cron.Window(loc)
		for _, at := range changes(loc, from.Add(48*time.Hour), to.Add(-48*time.Hour)) {
			hours := map[int64]bool{}
			for h := range s.Hours(at.Add(-30*time.Hour), at.Add(30*time.Hour), loc) {
				hours[h.Last()] = true
			}
			for run := at.Add(-30 * time.Hour); run.Before(at.Add(30 * time.Hour)); {
				next, err := s.Next(run.Add(-1), loc)
				if err != nil {
					t.Fatal(err)
				}
				if next.Before(at.Add(30*time.Hour)) && !hours[next.Unix()] {
					t.Fatalf("%s: Hours lacks %s", names[i], next)
				}
				run = next.Add(time.Minute)
			}
		}
	}
}
