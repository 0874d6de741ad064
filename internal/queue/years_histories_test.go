package queue

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// Whatever goes wrong over a year, nothing goes that R1 to R4 and R7 protect,
// and each slot has one outcome (S1, S2, S6, S9, S12): attempts that fail,
// partial and suspect backups, a store that is away, lists wrongly or does not
// delete, power cuts between snapshot and row, a daemon that is off for days,
// clocks that jump, edits, pauses, prunes and decisions at random.
func TestWhateverGoesWrongNothingGoodGoes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	seeds, steps := 6, 150
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		seeds, steps = 200, 1000
	}
	base := seed(t)
	for i := range seeds {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				troubled(t, rand.New(rand.NewPCG(base, uint64(i))), steps, i%2 == 1)
			})
		})
	}
}

// troubled lets a schedule live through a random history. jumps are those of
// the clock.
func troubled(t *testing.T, random *rand.Rand, steps int, jumps bool) {
	time.Sleep(time.Until(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(random.Int64N(int64(365 * 24 * time.Hour))))))
	w := newWorld(t, random, &trouble{})
	policies := []retention.Spec{
		{KeepLast: n(6)}, {KeepDaily: n(5), KeepWeekly: n(3), PruneGrace: "6h"}, {Period: "5d"},
		{KeepLast: n(2), KeepHourly: n(10), MaxAge: "20d"}, {KeepDaily: n(2), KeepAtLeast: n(2), ManualPeriod: "3d"},
	}
	crons := []string{"0 */6 * * *", "30 2 * * *", "*/20 */4 * * *"}
	spec := envbackup.ScheduleSpec{
		Name: "only", Destinations: []string{"near"}, Cron: crons[random.IntN(len(crons))], Timezone: "Europe/Berlin",
		Retention: policies[random.IntN(len(policies))],
	}
	p := &plan{sched: envbackup.Schedule{ScheduleSpec: spec}, created: stamp(time.Now())}
	p.sched.Environment = "shop"
	if err := w.scheduler.Create(w.ctx, &p.sched, w.now()); err != nil {
		t.Fatal(err)
	}
	w.plans = append(w.plans, p)
	told := map[string]int{}
	for range steps {
		if t.Failed() {
			return
		}
		told[w.happen(p, policies, jumps)]++
	}
	w.settle(p)
	if !jumps {
		w.checkCount(p)
	}
	t.Logf("%d attempts, %d backups removed; %v", w.worked, w.removed, told)
}

// happen lets one thing happen, and names it.
func (w *world) happen(p *plan, policies []retention.Spec, jumps bool) string {
	w.t.Helper()
	r := w.random
	switch pick := r.IntN(100); {
	case pick < 50:
		w.step(w.untilDue(p))
		return "due"
	case pick < 58:
		w.step(time.Duration(r.Int64N(int64(3 * time.Hour))))
		return "time"
	case pick < 63: // off, and started again
		time.Sleep(time.Duration(r.Int64N(int64(9 * 24 * time.Hour))))
		w.ticked = time.Time{}
		w.start()
		w.step(0)
		return "off"
	case pick < 68:
		w.trouble.unreachable = &envbackup.Error{Code: envbackup.CodeUnreachable, Message: "no answer"}
		return "unreachable"
	case pick < 70:
		w.trouble.unreachable = &envbackup.Error{Code: envbackup.CodeCredentials, Message: "wrong key"}
		return "refused"
	case pick < 73:
		w.trouble.lists = []string{"fail", "empty"}[r.IntN(2)]
		return "lists"
	case pick < 76:
		w.trouble.deletes = 1 + r.IntN(3)
		return "deletes"
	case pick < 78:
		w.trouble.crashes = 1
		return "crash"
	case pick < 86:
		w.trouble.calm()
		w.setSource(false, false)
		return "calm"
	case pick < 88:
		w.setSource(true, false)
		return "partial"
	case pick < 90:
		w.setSource(false, true)
		return "shrunk"
	case pick < 93:
		w.person(p, policies)
		return "person"
	case pick < 95 && jumps:
		w.jump()
		return "jump"
	case pick < 97:
		must(w, w.runner.ConfirmClock(w.ctx))
		return "confirmed clock"
	default:
		w.watch(true, func() {
			// A store that is away is an error, and then nothing is removed.
			_, _ = w.runner.Prune(w.ctx, p.sched.ID, false, "ann")
		})
		return "prune"
	}
}

// person edits, pauses, runs, holds or decides.
func (w *world) person(p *plan, policies []retention.Spec) {
	w.t.Helper()
	s := w.schedule(p)
	switch w.random.IntN(5) {
	case 0:
		s.Retention = policies[w.random.IntN(len(policies))]
		must(w, w.scheduler.Update(w.ctx, &s, 0, w.now()))
	case 1:
		if s.Paused {
			must(w, w.scheduler.Resume(w.ctx, s.ID, w.now()))
		} else {
			must(w, w.scheduler.Pause(w.ctx, s.ID, w.now()))
		}
	case 2:
		_, err := w.scheduler.RunNow(w.ctx, s.ID, true, "ann", w.now())
		must(w, err)
	case 3:
		for _, b := range w.holding(p).rows {
			if w.random.IntN(8) == 0 && !b.Held {
				if err := w.store.Hold(w.ctx, b.ID, "audit"); err != nil && envbackup.CodeOf(err) != envbackup.CodeConflict {
					w.t.Error(err)
				}
			} else if b.Held {
				must(w, w.store.Release(w.ctx, b.ID))
			}
		}
	case 4:
		decision := []envbackup.Decision{envbackup.DecisionConfirmed, envbackup.DecisionCancelled}[w.random.IntN(2)]
		if _, err := w.runner.Decide(w.ctx, s.ID, decision, "ann"); err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
			w.t.Error(err)
		}
	}
	w.step(0)
}

// jump moves the host's clock days ahead, or back to the truth.
func (w *world) jump() {
	if w.trouble.ahead > 0 {
		w.trouble.ahead = 0
	} else {
		w.trouble.ahead = time.Duration(w.random.Int64N(int64(4 * 24 * time.Hour)))
	}
	w.step(0)
}

// untilDue is how long it is until the next slot or attempt, and a bit.
func (w *world) untilDue(p *plan) time.Duration {
	w.t.Helper()
	wait := w.schedule(p).DueAt.Sub(w.now())
	for _, r := range w.open() {
		if !r.NextAttemptAt.IsZero() {
			wait = min(wait, time.Until(r.NextAttemptAt))
		}
	}
	return max(0, wait) + time.Duration(w.random.Int64N(int64(2*time.Second)))
}

// step lets time pass and does what is due then.
func (w *world) step(d time.Duration) {
	w.t.Helper()
	for end := time.Now().Add(d); ; {
		// Lists wait in ticks; an hour a day of them is enough here.
		time.Sleep(min(time.Until(end), tickEvery*20))
		w.tickTroubled()
		if !time.Now().Before(end) {
			break
		}
	}
	must(w, w.scheduler.Tick(w.ctx, w.now()))
	must(w, w.queue.Sweep(w.ctx, time.Now()))
	w.work()
	w.watch(false, func() { _ = w.runner.RemoveAged(w.ctx) }) // fails where the store is away
}

// tickTroubled lets the runner know a time that may have jumped: what really
// passed is what the bubble says.
func (w *world) tickTroubled() {
	w.t.Helper()
	var elapsed time.Duration
	if !w.ticked.IsZero() {
		elapsed = max(time.Since(w.ticked), time.Millisecond)
	}
	w.ticked = time.Now()
	must(w, w.runner.Tick(w.ctx, w.now(), elapsed))
	if elapsed > tickEvery {
		must(w, w.store.AddWaited(w.ctx, elapsed)) // as the ticks between would have
	}
}

// setSource makes the source one of which something cannot be read, or one
// that lost nearly everything.
func (w *world) setSource(unreadable, shrunk bool) {
	w.t.Helper()
	e, err := w.store.Environment(w.ctx, "shop")
	must(w, err)
	delete(e.Files, "memory")
	if unreadable {
		e.Files["memory"] = envbackup.FilesSource{Path: "/proc/self/mem"}
	}
	must(w, w.store.UpdateEnvironment(w.ctx, &e, 0))
	for i := range 4 {
		text := ""
		if !shrunk {
			text = strings.Repeat(fmt.Sprintf("line of file %d\n", i), 50)
		}
		w.write(fmt.Sprintf("dir%d/steady.txt", i), text)
	}
}

// settle ends all trouble; then store and repository agree again.
func (w *world) settle(p *plan) {
	w.t.Helper()
	*w.trouble = trouble{}
	w.setSource(false, false)
	must(w, w.runner.ConfirmClock(w.ctx))
	s := w.schedule(p)
	if s.Paused {
		must(w, w.scheduler.Resume(w.ctx, s.ID, w.now()))
	}
	for range 4 {
		w.step(w.untilDue(p))
	}
	h := w.holding(p)
	rows, err := w.store.AllBackups(w.ctx, s.ID, s.DestinationIDs[0])
	must(w, err)
	if n := len(w.listed(h.sched)); n != len(rows) {
		w.t.Errorf("in the end the store lists %d backups and the repository has %d", len(rows), n)
	}
	if !slices.ContainsFunc(h.rows, func(b envbackup.Backup) bool {
		return b.Status == envbackup.BackupComplete && w.now().Sub(b.Nominal) < 3*24*time.Hour
	}) {
		w.t.Errorf("in the end there is no fresh good backup among %d", len(h.rows))
	}
}

// checkCount: every slot since the creation has exactly one outcome.
func (w *world) checkCount(p *plan) {
	w.t.Helper()
	s := w.schedule(p)
	expression, loc := w.parse(s.ScheduleSpec)
	want := int64(0)
	for at := p.created; ; want++ {
		next, err := expression.Next(at, loc)
		must(w, err)
		if next.After(s.DecidedUntil) {
			break
		}
		at = next
	}
	rows := pages(w.t, func(page envbackup.Page) ([]envbackup.Slot, string, error) {
		return w.store.Slots(w.ctx, s.ID, page)
	})
	slices.Reverse(rows)
	got, last := int64(0), time.Time{}
	for _, row := range rows {
		if !row.Nominal.After(last) || row.Until.Before(row.Nominal) {
			w.t.Errorf("the slots %s to %s overlap those until %s", row.Nominal, row.Until, last)
		}
		last = row.Until
		if row.Outcome == "" && !slices.ContainsFunc(w.open(), func(r envbackup.Run) bool { return r.ID == row.RunID }) {
			w.t.Errorf("the slot %s has no outcome", row.Nominal)
		}
		if row.Nominal.Second() == 0 && row.Nominal.Nanosecond() == 0 { // others are of the creation or an edit
			got += row.Count
		}
	}
	if got != want {
		w.t.Errorf("%d slots in the ledger, want %d", got, want)
	}
}

func must(w *world, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}
