package queue

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// life is a schedule that lives through two years.
type life struct {
	specs []envbackup.ScheduleSpec
	// dense lives are cut, except in a soak, to the stretches where the clock
	// changes or the year ends.
	dense []stretch
	// exact lives are long enough to reach the bounds that the plan states:
	// worst_case_gap and max_backups.
	exact bool
	// happens adds what people do.
	happens func(w *world, from, until time.Time)
}

// stretch is a part of the two years.
type stretch struct{ from, until string }

// The two years have a leap day and four changes of the clock in each zone.
const firstDay, lastDay = "2027-02-01", "2029-02-01"

func n(count int64) *int64 { return &count }

func lives() map[string]life {
	no := false
	european := []stretch{{"2027-03-25", "2027-03-30"}, {"2027-10-28", "2027-11-02"}, {"2027-12-29", "2028-01-04"}}
	return map[string]life{
		"every night, with a clock that changes": {specs: []envbackup.ScheduleSpec{{
			Cron: "30 2 * * *", Timezone: "Europe/Berlin", RunOnCreate: &no,
			Retention: retention.Spec{Period: "30d", KeepMonthly: n(12)},
		}}, exact: true},
		"every hour, with a clock that changes by half an hour": {specs: []envbackup.ScheduleSpec{{
			Cron: "0 * * * *", Timezone: "Australia/Lord_Howe", RunOnCreate: &no,
			Retention: retention.Spec{KeepHourly: n(24), KeepDaily: n(7), KeepWeekly: n(4)},
		}}, dense: []stretch{{"2027-04-01", "2027-04-07"}, {"2027-09-30", "2027-10-06"}, {"2027-12-29", "2028-01-03"}}},
		"every quarter of an hour in the office": {specs: []envbackup.ScheduleSpec{{
			Cron: "*/15 9-17 * * 1-5", Timezone: "Europe/London",
			Retention: retention.Spec{KeepLast: n(8), KeepHourly: n(24), KeepDaily: n(14)},
		}}, dense: european},
		"every week": {specs: []envbackup.ScheduleSpec{{
			Cron: "0 4 * * 0", Timezone: "America/New_York", RunOnCreate: &no,
			Retention: retention.Spec{KeepWeekly: n(8), KeepMonthly: n(12), KeepYearly: n(3)},
		}}},
		"on the last day of the long months": {specs: []envbackup.ScheduleSpec{{
			Cron: "0 0 31 * *", Timezone: "America/Sao_Paulo", RunOnCreate: &no,
			Retention: retention.Spec{KeepLast: n(3), Period: "6mo"},
		}}, exact: true},
		"in a burst once a month": {specs: []envbackup.ScheduleSpec{{
			Cron: "*/5 22-23 1 * *", Timezone: "Europe/Berlin", RunOnCreate: &no,
			Retention: retention.Spec{Period: "1h"},
		}}, dense: []stretch{{"2027-09-01", "2028-04-02"}}, exact: true},
		"with a window that skips": {specs: []envbackup.ScheduleSpec{{
			Cron: "10 */2 * * *", Timezone: "Europe/Berlin", RunOnCreate: &no,
			Blackout:  map[string]envbackup.Blackout{"office": {Days: "1-5", From: "09:00", To: "17:00", Action: "skip"}},
			Retention: retention.Spec{KeepDaily: n(10), KeepLast: n(4)},
		}}, happens: describedAnew, dense: []stretch{{"2027-03-21", "2027-04-03"}, {"2027-10-23", "2027-11-05"}, {"2027-12-24", "2028-01-07"}}},
		"with windows that defer": {specs: []envbackup.ScheduleSpec{{
			Cron: "*/30 * * * *", Timezone: "Europe/Berlin", RunOnCreate: &no,
			Blackout: map[string]envbackup.Blackout{
				"office": {Days: "1-5", From: "09:00", To: "17:00"},
				"report": {From: "16:45", To: "18:15", Action: "defer"},
			},
			Retention: retention.Spec{KeepHourly: n(30), KeepWeekly: n(3)},
		}}, dense: european},
		"with jitter": {specs: []envbackup.ScheduleSpec{{
			Cron: "15 3,15 * * *", Timezone: "America/New_York", RunOnCreate: &no, Jitter: "2h",
			Retention: retention.Spec{KeepLast: n(5), KeepDaily: n(20)},
		}}, dense: []stretch{{"2027-10-20", "2028-01-20"}}},
		"with runs by hand between, and an age that nothing exceeds": {specs: []envbackup.ScheduleSpec{{
			Cron: "0 5 * * *", Timezone: "Asia/Kathmandu",
			Retention: retention.Spec{Period: "40d", KeepMonthly: n(12), MaxAge: "70d", ManualPeriod: "9d"},
		}}, happens: byHand, dense: []stretch{{"2027-12-01", "2028-04-01"}}},
		"two at the same time, one of them to two places": {specs: []envbackup.ScheduleSpec{
			{
				Name: "both", Destinations: []string{"near", "far"}, Cron: "0 2 * * *", Timezone: "Europe/Berlin", RunOnCreate: &no,
				Retention: retention.Spec{KeepDaily: n(7), KeepWeekly: n(5)},
			},
			{
				Name: "far", Destinations: []string{"far"}, Cron: "0 2,14 * * *", Timezone: "Europe/Berlin", RunOnCreate: &no,
				Retention: retention.Spec{KeepLast: n(6)},
			},
		}, dense: []stretch{{"2027-10-15", "2028-01-01"}}, exact: true},
		"paused for some months": {specs: []envbackup.ScheduleSpec{{
			Cron: "40 22 * * *", Timezone: "Europe/Lisbon",
			Retention: retention.Spec{Period: "20d", KeepWeekly: n(6)},
		}}, happens: pausedForMonths, dense: []stretch{{"2027-02-01", "2028-02-01"}}},
		"edited in between": {specs: []envbackup.ScheduleSpec{{
			Cron: "0 1 * * *", Timezone: "Europe/Berlin", RunOnCreate: &no,
			Retention: retention.Spec{KeepDaily: n(30)},
		}}, happens: editedInBetween, dense: []stretch{{"2027-09-01", "2028-04-01"}}},
	}
}

// byHand makes runs by hand at random instants, about one in three days.
func byHand(w *world, from, until time.Time) {
	for at := from; ; {
		at = at.Add(time.Duration(w.random.Int64N(int64(6 * 24 * time.Hour))))
		if !at.Before(until) {
			return
		}
		w.actions = append(w.actions, action{at, func(w *world) {
			p := w.plans[0]
			p.carryOn(w)
			r, err := w.scheduler.RunNow(w.ctx, p.sched.ID, true, "ann", time.Now())
			if err != nil {
				w.t.Fatal(err)
			}
			w.work()
			p.started = r.Nominal
			p.add(r.Nominal, envbackup.TriggerManual)
			p.judge(w, manualRan)
			w.check()
		}})
	}
}

func pausedForMonths(w *world, from, _ time.Time) {
	pause := func(w *world) {
		w.plans[0].change(w, func(s envbackup.Schedule, now time.Time) error { return w.scheduler.Pause(w.ctx, s.ID, now) })
	}
	resume := func(w *world) {
		w.plans[0].change(w, func(s envbackup.Schedule, now time.Time) error { return w.scheduler.Resume(w.ctx, s.ID, now) })
	}
	w.actions = append(w.actions,
		action{from.AddDate(0, 5, 3).Add(7 * time.Hour), pause},
		action{from.AddDate(0, 9, 11).Add(20 * time.Hour), resume})
}

// describedAnew edits what no forecast depends on: no run follows from it, also
// within a window (S8, S11).
func describedAnew(w *world, from, until time.Time) {
	for i := range 12 {
		at := from.Add(time.Duration(w.random.Int64N(int64(until.Sub(from)))))
		w.actions = append(w.actions, action{at, func(w *world) {
			w.plans[0].change(w, func(s envbackup.Schedule, now time.Time) error {
				s.Description = fmt.Sprintf("described for the %dth time", i)
				return w.scheduler.Update(w.ctx, &s, 0, now)
			})
		}})
	}
}

// editedInBetween changes rhythm, zone and retention.
func editedInBetween(w *world, from, until time.Time) {
	edits := []func(*envbackup.ScheduleSpec){
		func(s *envbackup.ScheduleSpec) { s.Retention = retention.Spec{KeepDaily: n(5), KeepWeekly: n(4)} },
		func(s *envbackup.ScheduleSpec) { s.Cron = "30 */12 * * *" },
		func(s *envbackup.ScheduleSpec) { s.Timezone = "America/New_York" },
		func(s *envbackup.ScheduleSpec) {
			s.Retention = retention.Spec{Period: "25d", KeepMonthly: n(6), PruneGrace: "3d"}
		},
		func(s *envbackup.ScheduleSpec) { s.Retention.Period = "4d" },
	}
	for i, edit := range edits {
		w.actions = append(w.actions, action{from.Add(time.Duration(i+1) * until.Sub(from) / time.Duration(len(edits)+1)).Truncate(24 * time.Hour).Add(13 * time.Hour), func(w *world) {
			w.plans[0].change(w, func(s envbackup.Schedule, now time.Time) error {
				edit(&s.ScheduleSpec)
				return w.scheduler.Update(w.ctx, &s, 0, now)
			})
		}})
	}
}

// The forecast of a schedule and what its daemon does over two years of a
// simulated clock are the same: the slots that run, the backups that are there
// at every instant, the bounds that the plan states (issue 3; S1, S2, S7 to S11,
// R3, R4, section 4).
func TestTwoYearsAreAsForetold(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	soak := os.Getenv("ENVBACKUP_SOAK") != ""
	base := seed(t)
	for name, l := range lives() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stretches := l.dense
			if soak || len(stretches) == 0 {
				stretches = []stretch{{firstDay, lastDay}}
			}
			for i, s := range stretches {
				began, worked := time.Now(), 0
				synctest.Test(t, func(t *testing.T) {
					worked = l.live(t, s, rand.New(rand.NewPCG(base, uint64(i)+hash(name))))
				})
				t.Logf("%s to %s: %d attempts in %s", s.from, s.until, worked, time.Since(began).Round(time.Millisecond))
			}
		})
	}
}

// seed is that of the random histories: ENVBACKUP_SEED, or another each time.
// Ids and waits between attempts are random beside it.
func seed(t *testing.T) uint64 {
	base := uint64(time.Now().UnixNano())
	if text := os.Getenv("ENVBACKUP_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &base); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ENVBACKUP_SEED=%d", base)
	return base
}

// hash makes the lives differ.
func hash(name string) (sum uint64) {
	for _, c := range name {
		sum = sum*31 + uint64(c)
	}
	return sum
}

// live lets the schedules live through a stretch and returns the number of
// attempts.
func (l life) live(t *testing.T, s stretch, random *rand.Rand) int {
	from, err := time.Parse(time.DateOnly, s.from)
	if err != nil {
		t.Fatal(err)
	}
	until, err := time.Parse(time.DateOnly, s.until)
	if err != nil {
		t.Fatal(err)
	}
	// Not on a whole minute, as nobody does.
	from = from.Add(time.Duration(random.Int64N(int64(3 * time.Hour))))
	time.Sleep(time.Until(from))
	w := newWorld(t, random, nil)
	if l.happens != nil {
		l.happens(w, from, until)
	}
	for range 60 { // looks between the runs
		at := from.Add(time.Duration(random.Int64N(int64(until.Sub(from)))))
		w.actions = append(w.actions, action{at, func(w *world) {
			w.nextHour = time.Now() // what is beyond max_age goes before the look
			w.looks = true
		}})
	}
	slices.SortStableFunc(w.actions, func(a, b action) int { return a.at.Compare(b.at) })
	for _, spec := range l.specs {
		if spec.Name == "" {
			spec.Name, spec.Destinations = "only", []string{"near"}
		}
		w.create(spec)
	}
	w.live(until)
	w.finish(l.exact)
	return w.worked
}
