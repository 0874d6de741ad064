package queue

import (
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// check compares what was foretold with what there is now, for every schedule.
func (w *world) check() {
	w.t.Helper()
	for _, p := range w.plans {
		p.carryOn(w)
		p.foretell(w)
		for i, d := range p.sched.DestinationIDs {
			w.checkKept(p, d, p.sched.Destinations[i])
		}
		p.pruned = false
		if p.simulated && w.random.IntN(3) == 0 {
			w.checkSimulation(p)
		}
	}
}

// checkKept compares the backups that the forecast keeps with those in the
// store and those in the repository. What is there beyond the forecast is what
// waits for R4's grace, to the last one, and no longer than that.
func (w *world) checkKept(p *plan, destination, name string) {
	w.t.Helper()
	rows, err := w.store.AllBackups(w.ctx, p.sched.ID, destination)
	if err != nil {
		w.t.Fatal(err)
	}
	aside, err := w.store.SetAside(w.ctx, p.sched.ID, destination)
	if err != nil {
		w.t.Fatal(err)
	}
	var present []envbackup.Backup
	own := int64(0)
	for _, b := range rows {
		if slices.Contains(aside.IDs, b.ID) {
			continue
		}
		present = append(present, b)
		if b.Trigger.OfSlot() {
			own++
		}
	}
	want := sorted(p.kept[destination], func(pt retention.Point) time.Time { return pt.Nominal })
	got := sorted(present, func(b envbackup.Backup) time.Time { return b.Nominal })
	if !slices.EqualFunc(want, got, time.Time.Equal) {
		w.t.Fatalf("%s at %s, %s: the forecast keeps\n  %s\nand there are, beside %d that wait (R4),\n  %s",
			p.sched.Reference(), name, time.Now().UTC(), names(want), len(aside.IDs), names(got))
	}
	p.most = max(p.most, own)
	w.checkAside(p, destination, aside, rows)

	repo, err := w.vault.Repository(w.ctx, p.sched.EnvironmentID, destination)
	if err != nil {
		w.t.Fatal(err)
	}
	snapshots, err := repo.Snapshots(w.ctx, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	var stored, listed []string
	for _, s := range snapshots {
		if id, _ := s.Tags.Value("schedule-id"); id == p.sched.ID {
			slot, _ := s.Tags.Value("slot")
			stored = append(stored, s.ID.String()+" "+slot)
		}
	}
	for _, b := range rows {
		listed = append(listed, b.SnapshotID+" "+b.Nominal.UTC().Format(time.RFC3339Nano))
	}
	slices.Sort(stored)
	slices.Sort(listed)
	if !slices.Equal(stored, listed) {
		w.t.Fatalf("%s at %s, %s: the store lists\n  %s\nand the repository has\n  %s", p.sched.Reference(), name, time.Now().UTC(), listed, stored)
	}
}

// checkAside follows a list that waits: what is on it goes with the first prune
// after the grace, and not before. The grace is counted in ticks.
func (w *world) checkAside(p *plan, destination string, aside store.SetAside, rows []envbackup.Backup) {
	w.t.Helper()
	policy, err := p.sched.Retention.Policy()
	if err != nil {
		w.t.Fatal(err)
	}
	now, grace, before := time.Now(), policy.PruneGrace.Approx(), p.aside[destination]
	for _, id := range before.ids {
		there := slices.ContainsFunc(rows, func(b envbackup.Backup) bool { return b.ID == id })
		waited := now.Sub(before.since)
		if there && p.pruned && waited > before.grace+tickEvery || !there && waited < before.grace-tickEvery {
			w.t.Errorf("%s at %s: the backup %s was set aside at %s for %s; still there: %t (R4)", p.sched.Reference(), now, id, before.since, before.grace, there)
		}
	}
	if len(aside.IDs) == 0 {
		delete(p.aside, destination)
		return
	}
	if !slices.Equal(before.ids, aside.IDs) {
		before = waitingList{ids: slices.Clone(aside.IDs), since: now.Add(-aside.Waited), grace: grace}
		p.aside[destination] = before
	}
	if end := before.since.Add(grace + 2*tickEvery); end.After(w.waits) {
		w.waits = end
	}
}

// checkSimulation compares the forecast of the plan with what there is: the
// backups one by one, their number and the oldest.
func (w *world) checkSimulation(p *plan) {
	w.t.Helper()
	now := time.Now()
	replay, ok := preflight.ReplayOf(p.proposal(p.sched.ScheduleSpec), p.created)
	if !ok {
		w.t.Fatalf("no replay of %s", p.sched.Reference())
	}
	replay.Created = p.sched.RunsOnCreate()
	said, state := replay.KeptAt(now), replay.At(now)
	slices.Reverse(said)
	for _, d := range p.sched.DestinationIDs {
		own := sorted(slices.DeleteFunc(slices.Clone(p.kept[d]), func(pt retention.Point) bool {
			return pt.Trigger == retention.TriggerManual
		}), func(pt retention.Point) time.Time { return pt.Nominal })
		if !slices.EqualFunc(said, own, time.Time.Equal) {
			w.t.Fatalf("%s at %s: the forecast of the plan keeps\n  %s\nand there are\n  %s", p.sched.Reference(), now.UTC(), names(said), names(own))
		}
		if state.Backups != len(own) || len(own) > 0 && !state.Oldest.Equal(own[0]) {
			w.t.Fatalf("%s at %s: the forecast says %d backups, the oldest of %s; there are\n  %s", p.sched.Reference(), now.UTC(), state.Backups, state.Oldest, names(own))
		}
	}
}

// finish compares what is known only at the end: which runs came, the
// distances between them, and the ledger. exact says that the bounds of the
// plan were reached.
func (w *world) finish(exact bool) {
	w.t.Helper()
	for _, p := range w.plans {
		p.eras[len(p.eras)-1].until = stamp(time.Now())
		runs := w.runsOf(p)
		w.checkRuns(p, runs)
		w.checkForetold(p, runs)
		w.checkBounds(p, runs, exact)
		w.checkLedger(p)
	}
}

// runsOf returns the runs of slots of the cron expression, oldest first.
func (w *world) runsOf(p *plan) []envbackup.Run {
	w.t.Helper()
	runs := pages(w.t, func(page envbackup.Page) ([]envbackup.Run, string, error) {
		return w.store.Runs(w.ctx, envbackup.RunFilter{Schedule: p.sched.ID}, page)
	})
	runs = slices.DeleteFunc(runs, func(r envbackup.Run) bool {
		return r.Trigger == envbackup.TriggerManual || slices.ContainsFunc(p.extra, r.Nominal.Equal)
	})
	slices.SortFunc(runs, func(a, b envbackup.Run) int { return a.Nominal.Compare(b.Nominal) })
	return runs
}

// unfoldAll foretells all slots of a whole life.
func (w *world) unfoldAll(p *plan) []fire {
	w.t.Helper()
	var all []fire
	for _, e := range p.eras {
		s := p.sched
		s.ScheduleSpec = e.spec
		all = append(all, unfold(w, s, e.since, e.until)...)
	}
	return all
}

// checkRuns: the slots that ran are those foretold, each at its time, and every
// run succeeded.
func (w *world) checkRuns(p *plan, runs []envbackup.Run) {
	w.t.Helper()
	want := slices.DeleteFunc(w.unfoldAll(p), func(f fire) bool { return f.outcome != envbackup.SlotRan })
	if len(want) == 0 || len(runs) != len(want) {
		w.t.Fatalf("%s: %d runs, foretold were %d", p.sched.Reference(), len(runs), len(want))
	}
	for i, r := range runs {
		late := r.StartedAt.Sub(want[i].start)
		if !r.Nominal.Equal(want[i].nominal) || late < 0 || late > startTolerance || r.State != envbackup.RunSucceeded || warned(r) {
			w.t.Fatalf("%s: the run of %s started %s and %s (%v); foretold was the slot %s at %s",
				p.sched.Reference(), r.Nominal, r.StartedAt, r.State, r.Warnings, want[i].nominal, want[i].start)
		}
	}
}

// warned reports whether a run said anything but that removals wait.
func warned(r envbackup.Run) bool {
	return slices.ContainsFunc(r.Warnings, func(text string) bool { return !strings.Contains(text, "envbackup prune confirm") })
}

// startTolerance is how late a run may start: the daemon looks once a second,
// and another run of the environment may go first.
const startTolerance = 5 * time.Second

// checkForetold: what was said at each instant about the next runs came true,
// as far as the schedule was not changed meanwhile.
func (w *world) checkForetold(p *plan, runs []envbackup.Run) {
	w.t.Helper()
	compared := 0
	for _, f := range p.foretold {
		e := p.eras[slices.IndexFunc(p.eras, func(e era) bool { return f.at.Before(e.until) || e.until.Equal(stamp(f.at)) })]
		from, _ := slices.BinarySearchFunc(runs, f.at, func(r envbackup.Run, at time.Time) int {
			if r.Nominal.After(at) {
				return 1
			}
			return -1
		})
		if e.spec.Paused {
			if len(f.runs) != 0 {
				w.t.Fatalf("%s is paused, and at %s runs were foretold: %v", p.sched.Reference(), f.at, f.runs)
			}
			continue
		}
		for i, want := range f.runs {
			if want.Start.After(e.until) {
				break
			}
			if from+i >= len(runs) || !runs[from+i].Nominal.Equal(want.Nominal) || !runs[from+i].DueAt.Equal(want.Start) {
				w.t.Fatalf("%s: at %s the next runs were to be\n  %v\nand then came\n  %s", p.sched.Reference(), f.at.UTC(), f.runs,
					names(sorted(runs[from:min(len(runs), from+len(f.runs))], func(r envbackup.Run) time.Time { return r.Nominal })))
			}
			compared++
		}
	}
	if compared < len(runs) {
		w.t.Errorf("%s: only %d foretold instants were compared for %d runs", p.sched.Reference(), compared, len(runs))
	}
}

// checkBounds: no two runs were further apart than worst_case_gap, and there
// were never more backups than max_backups.
func (w *world) checkBounds(p *plan, runs []envbackup.Run, exact bool) {
	w.t.Helper()
	for _, e := range p.eras {
		bound, most := p.bounds(w, e.spec)
		longest := time.Duration(0)
		var last envbackup.Run
		for _, r := range runs {
			if !r.Nominal.After(e.since) || r.Nominal.After(e.until) {
				continue
			}
			if !last.DueAt.IsZero() {
				longest = max(longest, r.DueAt.Sub(last.DueAt))
			}
			last = r
		}
		if longest > bound {
			w.t.Errorf("%s: two runs are %s apart, worst_case_gap is %s", p.sched.Reference(), longest, bound)
		}
		if len(p.eras) == 1 && p.most > most || exact && (p.most != most || longest != bound) {
			w.t.Errorf("%s: there were %d backups at once, max_backups is %d; two runs were %s apart, worst_case_gap is %s (exact: %t)",
				p.sched.Reference(), p.most, most, longest, bound, exact)
		}
		if len(p.eras) == 1 {
			w.t.Logf("%s: %d runs; longest distance %s, worst_case_gap %s; most backups %d, max_backups %d",
				p.sched.Reference(), len(runs), longest, bound, p.most, most)
		}
	}
}

// checkLedger: every slot has exactly one outcome, and the numbers add up (S1).
func (w *world) checkLedger(p *plan) {
	w.t.Helper()
	rows := pages(w.t, func(page envbackup.Page) ([]envbackup.Slot, string, error) {
		return w.store.Slots(w.ctx, p.sched.ID, page)
	})
	slices.SortFunc(rows, func(a, b envbackup.Slot) int { return a.Nominal.Compare(b.Nominal) })
	want := w.unfoldAll(p)
	i := 0
	for _, row := range rows {
		if slices.ContainsFunc(p.extra, row.Nominal.Equal) && row.Outcome == envbackup.SlotRan {
			continue // of no minute of the expression
		}
		for n := int64(0); n < row.Count; n++ {
			if i >= len(want) || want[i].nominal.Before(row.Nominal) || want[i].nominal.After(row.Until) {
				w.t.Fatalf("%s: the ledger has %d slots from %s to %s, and its slot %d is none of them", p.sched.Reference(), row.Count, row.Nominal, row.Until, i)
			}
			if row.Outcome != want[i].outcome {
				w.t.Fatalf("%s: the slot %s is %s, want %s", p.sched.Reference(), want[i].nominal, row.Outcome, want[i].outcome)
			}
			i++
		}
		if !want[i-1].nominal.Equal(row.Until) {
			w.t.Fatalf("%s: a row of %d slots ends at %s, want %s", p.sched.Reference(), row.Count, row.Until, want[i-1].nominal)
		}
	}
	if i < len(want) {
		w.t.Fatalf("%s: the slot %s has no outcome, and %d others", p.sched.Reference(), want[i].nominal, len(want)-i-1)
	}
}
