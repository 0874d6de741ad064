package slots_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

func timing(t *testing.T, spec envbackup.ScheduleSpec) *slots.Timing {
	t.Helper()
	got, err := slots.Of(envbackup.Schedule{Meta: envbackup.Meta{ID: "sch_1"}, ScheduleSpec: spec})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	v, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// told renders a decision, so that a case is one line.
func told(d slots.Decision) []string {
	var lines []string
	for _, r := range d.Rows {
		lines = append(lines, fmt.Sprintf("%s %s..%s x%d", r.Outcome, r.Nominal.Format("02 15:04"), r.Until.Format("02 15:04"), r.Count))
	}
	if d.Run != nil {
		how := "run"
		if d.Run.CatchUp {
			how = "catch up"
		}
		lines = append(lines, fmt.Sprintf("%s %s due %s", how, d.Run.Nominal.Format("02 15:04"), d.Run.At.Format("02 15:04:05")))
	}
	return append(lines, "next "+d.NextAt.Format("02 15:04")+" at "+d.DueAt.Format("02 15:04:05"))
}

func TestDecide(t *testing.T) {
	t.Parallel()
	no := false
	office := func(action string) map[string]envbackup.Blackout {
		return map[string]envbackup.Blackout{"office": {Days: "1-5", From: "09:00", To: "17:00", Action: action}}
	}
	// 2026-03-02 is a Monday.
	tests := map[string]struct {
		rule       string
		spec       envbackup.ScheduleSpec
		after, now string
		want       []string
	}{
		"nothing is due": {"S1", envbackup.ScheduleSpec{Cron: "0 * * * *"}, "2026-03-02 08:00:00", "2026-03-02 08:59:59",
			[]string{"next 02 09:00 at 02 09:00:00"}},
		"a slot is due on its minute": {"S1", envbackup.ScheduleSpec{Cron: "0 * * * *"}, "2026-03-02 08:00:00", "2026-03-02 09:00:00",
			[]string{"run 02 09:00 due 02 09:00:00", "next 02 10:00 at 02 10:00:00"}},
		"downtime: the newest is caught up, older ones are missed": {"S2", envbackup.ScheduleSpec{Cron: "0 * * * *"}, "2026-03-02 00:00:00", "2026-03-02 09:30:00",
			[]string{"missed 02 01:00..02 08:00 x8", "catch up 02 09:00 due 02 09:30:00", "next 02 10:00 at 02 10:00:00"}},
		"downtime: what would have been caught up is coalesced": {"S2", envbackup.ScheduleSpec{Cron: "0 * * * *", CatchUpWithin: "4h"}, "2026-03-02 00:00:00", "2026-03-02 09:30:00",
			[]string{"missed 02 01:00..02 05:00 x5", "coalesced 02 06:00..02 08:00 x3", "catch up 02 09:00 due 02 09:30:00", "next 02 10:00 at 02 10:00:00"}},
		"downtime without catch-up runs nothing": {"S2", envbackup.ScheduleSpec{Cron: "0 * * * *", CatchUp: &no}, "2026-03-02 00:00:00", "2026-03-02 09:30:00",
			[]string{"missed 02 01:00..02 09:00 x9", "next 02 10:00 at 02 10:00:00"}},
		"without catch-up a restart within a minute loses nothing": {"S2", envbackup.ScheduleSpec{Cron: "0 * * * *", CatchUp: &no}, "2026-03-02 08:00:00", "2026-03-02 09:00:59",
			[]string{"run 02 09:00 due 02 09:00:00", "next 02 10:00 at 02 10:00:00"}},
		"a weekly slot is caught up for half the week": {"S2", envbackup.ScheduleSpec{Cron: "0 0 * * 1"}, "2026-02-23 00:00:00", "2026-03-05 11:59:00",
			[]string{"catch up 02 00:00 due 05 11:59:00", "next 09 00:00 at 09 00:00:00"}},
		"and missed after it": {"S2", envbackup.ScheduleSpec{Cron: "0 0 * * 1"}, "2026-02-23 00:00:00", "2026-03-05 12:01:00",
			[]string{"missed 02 00:00..02 00:00 x1", "next 09 00:00 at 09 00:00:00"}},
		"a pause records and runs nothing": {"S9", envbackup.ScheduleSpec{Cron: "0 * * * *", Paused: true}, "2026-03-02 00:00:00", "2026-03-02 09:30:00",
			[]string{"paused 02 01:00..02 09:00 x9", "next 02 10:00 at 02 10:00:00"}},
		"a deferring window waits for its end": {"S8", envbackup.ScheduleSpec{Cron: "*/30 * * * *", Blackout: office("defer")}, "2026-03-02 08:30:00", "2026-03-02 09:00:01",
			[]string{"next 02 09:00 at 02 17:00:00"}},
		"at its end the newest runs, due then, and covers the others": {"S4 S8", envbackup.ScheduleSpec{Cron: "*/30 * * * *", Blackout: office("")}, "2026-03-02 08:30:00", "2026-03-02 17:00:00",
			[]string{"coalesced 02 09:00..02 16:30 x16", "run 02 17:00 due 02 17:00:00", "next 02 17:30 at 02 17:30:00"}},
		"windows that overlap or touch are one": {"S2 S8", envbackup.ScheduleSpec{Cron: "*/30 * * * *", Blackout: map[string]envbackup.Blackout{
			"a": {From: "17:45", To: "19:00"}, "office": {From: "09:00", To: "17:00"}, "report": {From: "16:45", To: "17:45"},
		}}, "2026-03-02 08:30:00", "2026-03-02 19:00:00",
			[]string{"coalesced 02 09:00..02 18:30 x20", "run 02 19:00 due 02 19:00:00", "next 02 19:30 at 02 19:30:00"}},
		"a daily slot in the window is due at its end": {"S4 S8", envbackup.ScheduleSpec{Cron: "0 12 * * *", Blackout: office("defer")}, "2026-03-01 12:00:00", "2026-03-02 17:00:20",
			[]string{"run 02 12:00 due 02 17:00:00", "next 03 12:00 at 03 12:00:00"}},
		"a skipping window records": {"S8", envbackup.ScheduleSpec{Cron: "0 * * * *", Blackout: office("skip")}, "2026-03-02 08:00:00", "2026-03-02 09:00:00",
			[]string{"skipped_blackout 02 09:00..02 09:00 x1", "next 02 10:00 at 02 10:00:00"}},
		"on a Sunday the window is none": {"S8", envbackup.ScheduleSpec{Cron: "0 * * * *", Blackout: office("skip")}, "2026-03-01 08:00:00", "2026-03-01 09:00:00",
			[]string{"run 01 09:00 due 01 09:00:00", "next 01 10:00 at 01 10:00:00"}},
		"after downtime over a skipping window nothing of it is caught up": {"S2 S8", envbackup.ScheduleSpec{Cron: "0 * * * *", CatchUpWithin: "1d", Blackout: office("skip")}, "2026-03-02 07:00:00", "2026-03-02 16:30:00",
			[]string{"missed 02 08:00..02 08:00 x1", "skipped_blackout 02 09:00..02 16:00 x8", "next 02 17:00 at 02 17:00:00"}},
		"deferred into a skipping window is skipped": {"S8", envbackup.ScheduleSpec{Cron: "30 * * * *", Blackout: map[string]envbackup.Blackout{
			"a": {From: "09:00", To: "12:00"}, "b": {From: "11:00", To: "13:00", Action: "skip"}}}, "2026-03-02 08:30:00", "2026-03-02 12:00:00",
			[]string{"skipped_blackout 02 09:30..02 11:30 x3", "next 02 12:30 at 02 12:30:00"}},
		"and what came before the windows is caught up": {"S2 S8", envbackup.ScheduleSpec{Cron: "30 * * * *", CatchUpWithin: "1d", Blackout: map[string]envbackup.Blackout{
			"a": {From: "09:00", To: "12:00"}, "b": {From: "12:00", To: "13:00", Action: "skip"}}}, "2026-03-02 06:30:00", "2026-03-02 13:10:00",
			[]string{"coalesced 02 07:30..02 07:30 x1", "skipped_blackout 02 09:30..02 12:30 x4", "catch up 02 08:30 due 02 13:10:00", "next 02 13:30 at 02 13:30:00"}},
		"windows without an end run nothing": {"S8", envbackup.ScheduleSpec{Cron: "0 * * * *", Blackout: map[string]envbackup.Blackout{"a": {From: "00:00", To: "24:00"}}}, "2026-03-02 08:00:00", "2026-03-02 09:00:00",
			[]string{"next 02 09:00 at 11 09:00:00"}},
		"a window over midnight": {"S8", envbackup.ScheduleSpec{Cron: "0 * * * *", Blackout: map[string]envbackup.Blackout{"night": {From: "22:00", To: "06:00"}}}, "2026-03-02 01:00:00", "2026-03-02 02:00:00",
			[]string{"next 02 02:00 at 02 06:00:00"}},
		"an autumn night has 25 hourly slots in UTC": {"S2", envbackup.ScheduleSpec{Cron: "0 * * * *", Timezone: "Europe/Berlin", Paused: true}, "2026-10-24 22:00:00", "2026-10-25 23:00:00",
			[]string{"paused 24 23:00..25 23:00 x25", "next 26 00:00 at 26 00:00:00"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := timing(t, tt.spec).Decide(at(t, tt.after), at(t, tt.now))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, told(d)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.rule, diff)
			}
		})
	}
}

func TestJitterIsStableAndSpread(t *testing.T) { // S7
	t.Parallel()
	seen := map[time.Duration]int{}
	for i := range 1000 {
		s := envbackup.Schedule{Meta: envbackup.Meta{ID: fmt.Sprintf("sch_%d", i)}, ScheduleSpec: envbackup.ScheduleSpec{Cron: "0 0 * * *", Jitter: "10m"}}
		a, err := slots.Of(s)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := slots.Of(s)
		if a.Offset != b.Offset || a.Offset < 0 || a.Offset >= 10*time.Minute {
			t.Fatalf("offsets %s and %s", a.Offset, b.Offset)
		}
		seen[a.Offset/time.Minute]++
	}
	for minute := range time.Duration(10) {
		if n := seen[minute]; n < 60 || n > 140 {
			t.Errorf("minute %d has %d of 1000 schedules, want about 100", minute, n)
		}
	}
	s := timing(t, envbackup.ScheduleSpec{Cron: "0 0 * * *", Jitter: "10m"})
	nominal, due, err := s.Next(at(t, "2026-03-02 00:00:00"))
	if err != nil || !nominal.Equal(at(t, "2026-03-03 00:00:00")) || due.Sub(nominal) != s.Offset {
		t.Errorf("Next() = %s, %s, %v", nominal, due, err)
	}
	before, err := s.Decide(at(t, "2026-03-02 00:00:00"), due.Add(-time.Second))
	if err != nil || before.Run != nil {
		t.Errorf("ran before its jitter: %+v, %v", before.Run, err)
	}
}

func TestBetweenCountsWhatNextFinds(t *testing.T) { // S2: counted, never walked
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 1))
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo"}
	expressions := []string{"* * * * *", "*/7 * * * *", "30 2 * * *", "0 */3 * * 1-5", "15,45 0,2,23 L * *", "0 0 29 2 *", "59 23 31 12 0"}
	for i := range 300 {
		s := timing(t, envbackup.ScheduleSpec{Cron: expressions[i%len(expressions)], Timezone: zones[random.IntN(len(zones))]})
		after := time.Date(2015, 1, 1, 0, 0, random.IntN(60), random.IntN(1e9), time.UTC).Add(time.Duration(random.IntN(10*365*24*60)) * time.Minute)
		until := after.Add(time.Duration(random.IntN(4*24*3600)) * time.Second)
		var want slots.Stretch
		for next := after; ; {
			n, err := s.Cron.Next(next, s.Loc)
			if err != nil {
				t.Fatal(err)
			}
			if n.After(until) {
				break
			}
			if want.Count++; want.Count == 1 {
				want.First = n.UTC()
			}
			want.Last, next = n.UTC(), n
		}
		if got := s.Between(after, until); got != want {
			t.Fatalf("seed %d: %q in %s after %s until %s: %+v, want %+v", seed, s.Cron, s.Loc, after, until, got, want)
		}
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	for name, spec := range map[string]envbackup.ScheduleSpec{
		"cron":              {Cron: "61 * * * *"},
		"timezone":          {Cron: "* * * * *", Timezone: "Mars/Olympus"},
		"jitter":            {Cron: "* * * * *", Jitter: "much"},
		"timeout":           {Cron: "* * * * *", Timeout: "-"},
		"catch_up_within":   {Cron: "* * * * *", CatchUpWithin: "x"},
		"blackout.a.from":   {Cron: "* * * * *", Blackout: map[string]envbackup.Blackout{"a": {From: "25:00", To: "1:00"}}},
		"blackout.a.to":     {Cron: "* * * * *", Blackout: map[string]envbackup.Blackout{"a": {From: "20:00", To: "noon"}}},
		"blackout.a.action": {Cron: "* * * * *", Blackout: map[string]envbackup.Blackout{"a": {From: "20:00", To: "21:00", Action: "kill"}}},
		"blackout.a.days":   {Cron: "* * * * *", Blackout: map[string]envbackup.Blackout{"a": {From: "20:00", To: "21:00", Days: "someday"}}},
	} {
		_, err := slots.Of(envbackup.Schedule{ScheduleSpec: spec})
		if err == nil || len(err.Error()) <= len(name) || err.Error()[:len(name)] != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func BenchmarkAYearOfMissedMinutes(b *testing.B) {
	s, err := slots.Of(envbackup.Schedule{ScheduleSpec: envbackup.ScheduleSpec{Cron: "* * * * *", Timezone: "Europe/Berlin"}})
	if err != nil {
		b.Fatal(err)
	}
	from := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		if got := s.Between(from, from.AddDate(1, 0, 0)); got.Count != 525600 {
			b.Fatal(got.Count)
		}
	}
}
