package slots_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

// randomly returns a source of random cases whose seed is logged.
func randomly(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// cases is how many random cases to try; many more with ENVBACKUP_SOAK=1.
func cases(n int) int {
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		return 40 * n
	}
	return n
}

var zones = []string{"UTC", "Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kolkata", "Africa/Casablanca"}

var crons = []string{
	"* * * * *", "*/5 * * * *", "7 * * * *", "0 * * * *", "30 2 * * *", "0 0 * * *", "0 */3 * * *", "15 1,13 * * 1-5",
	"0 4 1,15 * *", "30 9 L * *", "45 23 15W * *", "0 12 * * 1#2", "*/20 9-17 * * *", "59 23 * * *", "15,45 0,2,23 * * *",
}

// randomWindows draws up to three windows: over midnight, overlapping, with
// edges on runs, of either kind.
func randomWindows(r *rand.Rand) map[string]envbackup.Blackout {
	windows := map[string]envbackup.Blackout{}
	for i := range r.IntN(4) {
		minute := func() int {
			if r.IntN(2) == 0 {
				return r.IntN(24) * 60
			}
			return r.IntN(1440)
		}
		days := []string{"", "*", "1-5", "0,6", "MON", "5L"}[r.IntN(5)]
		from, to := minute(), minute()
		windows[fmt.Sprint("w", i)] = envbackup.Blackout{
			Days: days, Action: []string{"", "defer", "skip"}[r.IntN(3)],
			From: fmt.Sprintf("%02d:%02d", from/60, from%60), To: fmt.Sprintf("%02d:%02d", to/60, to%60),
		}
	}
	return windows
}

func randomTiming(t testing.TB, r *rand.Rand) (*slots.Timing, envbackup.Schedule) {
	t.Helper()
	s := envbackup.Schedule{Meta: envbackup.Meta{ID: fmt.Sprint("sch_", r.IntN(1000))}, ScheduleSpec: envbackup.ScheduleSpec{
		Cron: crons[r.IntN(len(crons))], Timezone: zones[r.IntN(len(zones))], Blackout: randomWindows(r),
	}}
	if expression, err := cron.Parse(s.Cron); err == nil && r.IntN(2) == 0 {
		half := int(expression.MinInterval()/time.Second) / 2
		s.Jitter = fmt.Sprintf("%dm", min(half/60, 12*60)*r.IntN(100)/100)
	}
	timing, err := slots.Of(s)
	if err != nil {
		t.Fatal(err)
	}
	return timing, s
}

// ticked asks Decide at each instant that it names, and returns the runs that
// start by the end.
func ticked(t testing.TB, timing *slots.Timing, after, end time.Time) []slots.Run {
	t.Helper()
	var runs []slots.Run
	decided := after
	for now := after; !now.After(end); {
		d, err := timing.Decide(decided, now)
		if err != nil {
			t.Fatal(err)
		}
		if d.Run != nil {
			if !d.Run.At.Equal(now) {
				t.Fatalf("decided at %s, due at %s", now, d.Run.At)
			}
			runs = append(runs, slots.Run{Nominal: d.Run.Nominal.UTC(), Start: now.UTC()})
		}
		decided = d.DecidedUntil
		if !d.DueAt.After(now) {
			t.Fatalf("%+v is not after %s", d, now)
		}
		now = d.DueAt
	}
	return runs
}

// aroundChange is an instant, often shortly before a change of the clock.
func aroundChange(r *rand.Rand, loc *time.Location) time.Time {
	at := time.Date(2001+r.IntN(38), 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(r.IntN(366*24*3600)) * time.Second)
	if changes := cron.Changes(loc); len(changes) > 0 && r.IntN(3) > 0 {
		at = time.Unix(changes[r.IntN(len(changes))].At, 0).Add(-time.Duration(r.IntN(5*24*3600)) * time.Second)
	}
	return at.UTC()
}

// S2, S7, S8: the forecast's runs are those that Decide makes.
func TestRhythmIsWhatDecideDoes(t *testing.T) {
	t.Parallel()
	r := randomly(t)
	for range cases(120) {
		timing, s := randomTiming(t, r)
		after := aroundChange(r, timing.Loc)
		// Some hundred slots are enough.
		days := min(12, int(400*timing.Cron.MinInterval()/(24*time.Hour)))
		end := after.Add(time.Duration(days+1) * 24 * time.Hour)
		want := ticked(t, timing, after, end)
		var got []slots.Run
		next, err := timing.Rhythm().NextN(after, timing.Loc, len(want)+1)
		if err != nil {
			t.Fatal(err)
		}
		for _, run := range next {
			if !run.Start.After(end) {
				got = append(got, slots.Run{Nominal: run.Nominal.UTC(), Start: run.Start.UTC()})
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q in %s, jitter %q (%s), windows %+v, after %s (-Decide +Rhythm):\n%s", s.Cron, s.Timezone, s.Jitter, timing.Offset, s.Blackout, after.Format(time.RFC3339), diff)
		}
	}
}

// parsed reads an expression, a zone and windows in JSON.
func parsed(t testing.TB, expr, zone, blackout string) (*cron.Schedule, *time.Location, *slots.Windows) {
	t.Helper()
	s, err := cron.Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	loc, err := cron.LoadZone(zone)
	if err != nil {
		t.Fatal(err)
	}
	var windows map[string]envbackup.Blackout
	if err := json.Unmarshal([]byte(blackout), &windows); err != nil {
		t.Fatal(err)
	}
	w, err := slots.ParseWindows(windows)
	if err != nil {
		t.Fatal(err)
	}
	return s, loc, w
}
