package cron_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

func date(t testing.TB, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// C7: the two rules where the clock changes, on named days.
func TestNextWhereTheClockChanges(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		expr, zone, after string
		want              []string
	}{
		"a skipped time runs once at the end of the gap": {
			"30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z",
			[]string{"2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"},
		},
		"several skipped times make one run": {
			"0,15,30,45 2 * * *", "Europe/Berlin", "2026-03-28T23:59:00Z",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"},
		},
		"a made up run merges with a regular one": {
			"0 2,3 * * *", "Europe/Berlin", "2026-03-28T23:59:00Z",
			[]string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00", "2026-03-30T03:00:00+02:00"},
		},
		"a repeated time runs the first time only": {
			"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z",
			[]string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"},
		},
		"every hour runs through a repeated hour": {
			"0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z",
			[]string{"2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00", "2026-10-25T03:00:00+01:00"},
		},
		"every hour makes up nothing after a gap": {
			"30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"},
		},
		"a gap at midnight west of UTC": {
			"0 0 * * 0", "America/Havana", "2026-03-07T12:00:00Z",
			[]string{"2026-03-08T01:00:00-04:00", "2026-03-15T00:00:00-04:00"},
		},
		"a first of the month beyond a midnight gap": {
			"0 3 1 * *", "Atlantic/Azores", "2026-03-05T00:00:00Z",
			[]string{"2026-04-01T03:00:00Z"},
		},
		"a day that never was": {
			"0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z",
			[]string{"2011-12-31T00:00:00+14:00", "2012-12-30T12:00:00+14:00"},
		},
		"half an hour": {
			"45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z",
			[]string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"},
		},
		"leap days": {
			"0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z",
			[]string{"2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"},
		},
		"no leap day in 2100": {
			"0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z",
			[]string{"2104-02-29T00:00:00Z"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := parse(t, test.expr)
			loc := zone(t, test.zone)
			runs, err := s.NextN(date(t, test.after), loc, len(test.want))
			if err != nil {
				t.Fatal(err)
			}
			got := make([]string, len(runs))
			for i, run := range runs {
				// Offsets of zero print as Z; compare instants for those.
				got[i] = run.Format(time.RFC3339)
				if date(t, test.want[i]).Equal(run) && test.zone == "Atlantic/Azores" {
					got[i] = test.want[i]
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("NextN(%s) (-want +got):\n%s", test.expr, diff)
			}
		})
	}
}

func parse(t testing.TB, expr string) *cron.Schedule {
	t.Helper()
	s, err := cron.Parse(expr)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// C4: the calendar against the oracle, in UTC, sparse ones included.
func TestNextEqualsOracleInUTC(t *testing.T) {
	t.Parallel()
	r := source(t)
	for range cases(3000, 300000) {
		s, o := randomSchedule(t, r)
		after := time.Unix(r.Int64N(4e9), r.Int64N(1e9)).UTC()
		want, ok := o.nextUTC(after)
		if !ok {
			t.Fatalf("the oracle finds no run of %q after %s", s, after)
		}
		got, err := s.Next(after, time.UTC)
		if err != nil || !got.Equal(want) {
			t.Fatalf("Next(%q, %s) = %s, %v; the oracle says %s", s, after, got, err, want)
		}
	}
}

// C7, C8: whole sequences around every change of the clock from 2000 to 2040,
// and the structural Hours, against the minute by minute oracle.
func TestSequencesEqualOracleAroundChanges(t *testing.T) {
	t.Parallel()
	r := source(t)
	type place struct {
		loc *time.Location
		at  time.Time
	}
	var places []place
	for _, name := range zones[1:] {
		loc := zone(t, name)
		for _, at := range changes(loc, time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC)) {
			places = append(places, place{loc, at})
		}
	}
	if len(zones) != 28 || len(places) < 1000 {
		t.Fatalf("%d zones with %d changes: the list no longer covers what it did", len(zones), len(places))
	}
	for range cases(1, 12) {
		for _, p := range places {
			s, o := randomSchedule(t, r)
			from := p.at.Add(-time.Duration(r.IntN(48*60)) * time.Minute)
			compareRuns(t, r, s, o, from, from.Add(60*time.Hour), p.loc)
		}
	}
	t.Logf("%d changes of the clock in %d zones", len(places), len(zones))
}

func compareRuns(t *testing.T, r *rand.Rand, s *cron.Schedule, o oracle, from, to time.Time, loc *time.Location) {
	t.Helper()
	want := o.runs(from, to, loc)
	after := from
	for _, run := range want {
		got, err := s.Next(after, loc)
		if err != nil || !got.Equal(run) {
			t.Fatalf("Next(%q, %s) = %s, %v; the oracle says %s", s, after.In(loc), got, err, run)
		}
		// C8: the same from anywhere before it, in any zone.
		between := after.Add(time.Duration(r.Int64N(int64(run.Sub(after)))))
		if again, err := s.Next(between.In(time.FixedZone("x", r.IntN(86400)-43200)), loc); err != nil || !again.Equal(run) {
			t.Fatalf("Next(%q, %s) = %s, %v; from %s it was %s", s, between, again, err, after, run)
		}
		if run.Second() != 0 || got.Location() != loc {
			t.Fatalf("Next(%q) = %s: not a whole minute in %s", s, got, loc)
		}
		after = run
	}
	if got, err := s.Next(after, loc); err != nil || !got.After(to) {
		t.Fatalf("Next(%q, %s) = %s, %v; the oracle has none until %s", s, after.In(loc), got, err, to)
	}
	var structural []time.Time
	for h := range s.Hours(from.Add(1), to.Add(1), loc) {
		for m := range 60 {
			if h.Minutes&(1<<m) != 0 {
				structural = append(structural, time.Unix(h.Start()+int64(m)*60, 0).In(loc))
			}
		}
		if h.First() > h.Last() || h.N() == 0 {
			t.Fatalf("Hours(%q) yields %+v", s, h)
		}
	}
	if diff := cmp.Diff(want, structural); diff != "" {
		t.Fatalf("Hours(%q, %s to %s, %s) (-oracle +got):\n%s", s, from, to, loc, diff)
	}
}

// C7 with long waits: the run after a sparse date in a zone.
func TestSparseSchedulesInZones(t *testing.T) {
	t.Parallel()
	r := source(t)
	sparse := []string{"30 2 29 2 *", "30 2 * * 0L", "0 0 * 3 0#2", "15 1 L 10 *", "0 * 29 2 *", "30 2 31W * *", "*/20 * * 3 0L"}
	for range cases(400, 30000) {
		expr := sparse[r.IntN(len(sparse))]
		s, o := parse(t, expr), newOracle(expr)
		loc := zone(t, zones[r.IntN(len(zones))])
		after := time.Unix(946684800+r.Int64N(1.1e9), 0).Truncate(time.Minute)
		got, err := s.Next(after, loc)
		if err != nil {
			t.Fatal(err)
		}
		// The oracle walks only the last three days, and the two before the
		// first candidate of the calendar.
		if want := o.runs(got.Add(-72*time.Hour), got, loc); len(want) == 0 || !want[len(want)-1].Equal(got) {
			t.Fatalf("Next(%q, %s, %s) = %s, which the oracle does not know: %v", expr, after, loc, got, want)
		}
		civil, _ := o.nextUTC(time.Date(after.In(loc).Year(), after.In(loc).Month(), after.In(loc).Day()-2, 0, 0, 0, 0, time.UTC))
		for _, run := range o.runs(civil.Add(-50*time.Hour), civil.Add(50*time.Hour), loc) {
			if run.After(after) && run.Before(got) {
				t.Fatalf("Next(%q, %s, %s) = %s, but the oracle has %s", expr, after, loc, got, run)
			}
		}
	}
}

// C8: a fixed offset only shifts.
func TestNextCommutesWithFixedOffsets(t *testing.T) {
	t.Parallel()
	r := source(t)
	for range cases(500, 25000) {
		s, _ := randomSchedule(t, r)
		minutes := r.IntN(1440) - 720
		loc := time.FixedZone("fixed", minutes*60)
		after := time.Unix(r.Int64N(4e9), 0)
		inUTC, err := s.Next(after, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		shift := time.Duration(minutes) * time.Minute
		shifted, err := s.Next(after.Add(-shift), loc)
		if err != nil || !shifted.Equal(inUTC.Add(-shift)) {
			t.Fatalf("Next(%q, %s) in %s = %s, %v; want %s", s, after.Add(-shift), loc, shifted, err, inUTC.Add(-shift))
		}
	}
}

// golang/go#81583: on the last day of some leap years time.ZoneBounds is wrong.
// Nothing here may loop or lose a run on such a day.
func TestLastDayOfLeapYears(t *testing.T) {
	t.Parallel()
	for _, year := range []int{2028, 2032, 2036, 2040} {
		for _, name := range zones {
			t.Run(fmt.Sprint(year, " ", name), func(t *testing.T) {
				t.Parallel()
				from := time.Date(year, 12, 30, 12, 0, 0, 0, time.UTC)
				for _, expr := range []string{"*/30 * * * *", "30 2 * * *"} {
					compareRuns(t, rand.New(rand.NewPCG(1, 2)), parse(t, expr), newOracle(expr), from, from.Add(60*time.Hour), zone(t, name))
				}
			})
		}
	}
}

func BenchmarkNext(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	after := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	for _, expr := range []string{"*/15 * * * *", "0 3 * * *", "30 2 * * 1-5", "0 0 1 * *", "0 3 * * 1#2", "0 0 29 2 *", "0 0 * 2 1#5"} {
		b.Run(expr, func(b *testing.B) {
			s := parse(b, expr)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Next(after, loc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGaps(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	for _, expr := range []string{"* * * * *", "0 3 * * *", "0 0 29 2 *"} {
		b.Run(expr, func(b *testing.B) {
			s := parse(b, expr)
			for b.Loop() {
				s.FindGaps(loc)
			}
		})
	}
}
