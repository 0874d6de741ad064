package queue

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

// plan is a schedule, and what was foretold of it.
type plan struct {
	sched   envbackup.Schedule // as it stands
	created time.Time
	eras    []era
	// kept is what the policy keeps at each destination if every foretold run
	// succeeds and everything else goes at once.
	kept map[string][]retention.Point
	// started is when the newest backup was.
	started time.Time
	// upTo is the instant up to which kept was carried on.
	upTo     time.Time
	foretold []foretelling
	// aside is what waited at the last look, by destination.
	aside map[string]waitingList
	// pruned is set when a run pruned since the last look.
	pruned bool
	// extra are the slots that no expression has: of the creation (S11), and of
	// edits that opened a gap.
	extra []time.Time
	// most is the largest number of own backups at a destination.
	most int64
	// simulated is true until somebody changes what the forecast depends on: a
	// simulation begins with the creation.
	simulated bool
}

// era is a stretch between two edits.
type era struct {
	spec  envbackup.ScheduleSpec
	since time.Time
	until time.Time // zero for the present one
}

// foretelling is what was said at an instant about the next runs.
type foretelling struct {
	at   time.Time
	runs []slots.Run
}

// waitingList is a list that R4 set aside.
type waitingList struct {
	ids   []string
	since time.Time
	grace time.Duration
}

// fire is what is foretold of a slot.
type fire struct {
	nominal, start time.Time
	outcome        envbackup.SlotOutcome
}

// lookahead is how many runs are foretold at each look.
const lookahead = 5

// longestWait is longer than any slot waits for its start.
const longestWait = 48 * time.Hour

// create creates a schedule and foretells.
func (w *world) create(spec envbackup.ScheduleSpec) *plan {
	w.t.Helper()
	p := &plan{
		sched: envbackup.Schedule{ScheduleSpec: spec}, kept: map[string][]retention.Point{}, aside: map[string]waitingList{},
	}
	p.sched.Environment = "shop"
	p.created = stamp(time.Now())
	for _, f := range preflight.Check(preflight.Of(p.sched.ScheduleSpec), nil, nil) {
		if f.Severity == envbackup.SeverityError {
			w.t.Fatalf("the schedule does not pass preflight: %s: %s", f.Summary, f.Detail)
		}
	}
	if err := w.scheduler.Create(w.ctx, &p.sched, time.Now()); err != nil {
		w.t.Fatal(err)
	}
	p.upTo = p.created
	p.simulated = true
	p.eras = []era{{spec: p.sched.ScheduleSpec, since: p.created}}
	w.plans = append(w.plans, p)
	if spec.Retention.MaxAge != "" {
		w.hourly, w.nextHour = true, time.Now().Add(time.Hour)
	}
	if p.sched.RunsOnCreate() {
		w.work()
		p.extra, p.started = append(p.extra, p.created), p.created
		p.add(p.created, envbackup.TriggerCreate)
		p.judge(w, slotRan)
	}
	w.check()
	return p
}

// change lets a person change the schedule: the present era ends, and another
// begins with what is there. Where the next run then lies further from the
// last backup than the worst-case gap, one is foretold at once (S11).
func (p *plan) change(w *world, do func(s envbackup.Schedule, now time.Time) error) {
	w.t.Helper()
	p.carryOn(w)
	now := stamp(time.Now())
	if err := do(p.sched, now); err != nil {
		w.t.Fatal(err)
	}
	p.eras[len(p.eras)-1].until = now
	p.sched = w.schedule(p)
	p.eras = append(p.eras, era{spec: p.sched.ScheduleSpec, since: now})
	before := p.eras[len(p.eras)-2].spec
	before.Description = p.sched.Description
	p.simulated = p.simulated && reflect.DeepEqual(before, p.sched.ScheduleSpec)
	if p.sched.Paused || p.started.IsZero() { // a gap needs two ends
		return
	}
	_, loc := w.parse(p.sched.ScheduleSpec)
	if dark, _ := darkness(p.sched.Blackout, now.In(loc)); dark {
		return
	}
	gap, _ := p.bounds(w, p.sched.ScheduleSpec)
	next := fires(w, p.sched, now, now.Add(gap+longestWait))[0]
	if next.start.Sub(p.started) > gap {
		p.extra = append(p.extra, now)
		p.started = now
		p.add(now, envbackup.TriggerCatchUp)
		p.judge(w, slotRan)
	}
}

// bounds are the worst-case gap and the most backups that the plan states.
func (p *plan) bounds(w *world, spec envbackup.ScheduleSpec) (time.Duration, int64) {
	w.t.Helper()
	f, ok := preflight.Describe(p.proposal(spec))
	if !ok {
		w.t.Fatalf("no summary of %s", p.sched.Reference())
	}
	gap, err := retention.ParseDuration(f.WorstCaseGap)
	if err != nil {
		w.t.Fatalf("worst_case_gap %q: %v", f.WorstCaseGap, err)
	}
	return gap.Approx(), f.MaxBackups
}

// unfold foretells every slot that a specification has after an instant and
// that is decided by another: written from SEMANTICS S2, S7, S8 and S9, one
// slot after another, without a look at how package slots or preflight do it.
func unfold(w *world, s envbackup.Schedule, after, until time.Time) []fire {
	w.t.Helper()
	expression, loc := w.parse(s.ScheduleSpec)
	timing, err := slots.Of(s)
	if err != nil {
		w.t.Fatal(err)
	}
	jitter, _ := retention.ParseDuration(s.Jitter)
	if timing.Offset < 0 || timing.Offset > 0 && timing.Offset >= jitter.Approx() {
		w.t.Fatalf("the offset %s is not within the jitter %s (S7)", timing.Offset, s.Jitter)
	}
	var all []fire
	for at := after; ; {
		next, err := expression.Next(at, loc)
		if err != nil {
			w.t.Fatal(err)
		}
		if next.After(until) {
			return all
		}
		at = next
		f := fire{nominal: next.UTC(), start: next.UTC().Add(timing.Offset), outcome: envbackup.SlotRan}
		for {
			inside, action := darkness(s.Blackout, f.start.In(loc))
			if inside && action == "skip" {
				f.outcome = envbackup.SlotSkippedBlackout
			}
			if !inside || action == "skip" {
				break
			}
			f.start = f.start.Truncate(time.Minute).Add(time.Minute)
		}
		if s.Paused {
			f.outcome = envbackup.SlotPaused
		}
		if f.start.After(until) {
			continue
		}
		if n := len(all); n > 0 && f.outcome == envbackup.SlotRan && all[n-1].outcome == f.outcome && all[n-1].start.Equal(f.start) {
			all[n-1].outcome = envbackup.SlotCoalesced
		}
		all = append(all, f)
	}
}

// fires are the slots of unfold that run.
func fires(w *world, s envbackup.Schedule, after, until time.Time) []fire {
	w.t.Helper()
	return slices.DeleteFunc(unfold(w, s, after, until), func(f fire) bool { return f.outcome != envbackup.SlotRan })
}

// darkness reports whether a wall clock stands in a window that does not reach
// over midnight, and what it does; a window that skips wins.
func darkness(windows map[string]envbackup.Blackout, wall time.Time) (bool, string) {
	found := ""
	for _, b := range windows {
		clock := wall.Format("15:04")
		if clock < b.From || clock >= b.To || b.Days == "1-5" && (wall.Weekday() == time.Saturday || wall.Weekday() == time.Sunday) {
			continue
		}
		if b.Action == "skip" {
			return true, "skip"
		}
		found = "defer"
	}
	return found != "", found
}

func (w *world) parse(s envbackup.ScheduleSpec) (*cron.Schedule, *time.Location) {
	w.t.Helper()
	expression, err := cron.Parse(s.Cron)
	if err != nil {
		w.t.Fatal(err)
	}
	loc, err := cron.LoadZone(s.Zone())
	if err != nil {
		w.t.Fatal(err)
	}
	return expression, loc
}

// add gives the forecast a backup at every destination.
func (p *plan) add(nominal time.Time, trigger envbackup.Trigger) {
	for _, d := range p.sched.DestinationIDs {
		p.kept[d] = append(p.kept[d], retention.Point{
			ID: fmt.Sprintf("%d-%s", len(p.kept[d]), nominal.Format(time.RFC3339Nano)), Nominal: nominal, Completed: nominal,
			Trigger: retention.Trigger(trigger), Status: retention.StatusComplete,
		})
	}
}

// occasion is what a removal may follow (R3).
type occasion int

const (
	hourPassed occasion = iota // what is beyond max_age goes
	manualRan                  // and manual and bad backups
	slotRan                    // and candidates
)

// judge removes from the forecast what the policy lets go now.
func (p *plan) judge(w *world, after occasion) {
	policy, err := p.sched.Retention.Policy()
	if err != nil {
		w.t.Fatal(err)
	}
	_, loc := w.parse(p.sched.ScheduleSpec)
	now := time.Now()
	p.pruned = p.pruned || after == slotRan
	for d, points := range p.kept {
		var left []retention.Point
		for _, it := range retention.Plan(points, policy, loc, now).Items {
			goes := !policy.MaxAge.IsZero() && it.Point.Nominal.Before(policy.MaxAge.Before(now, loc)) ||
				after == slotRan || after == manualRan && it.List != retention.ListCandidates
			if it.Keep || !goes {
				left = append(left, it.Point)
			}
		}
		p.kept[d] = left
	}
}

// carryOn lets the forecast reach the present: every foretold run succeeds.
func (p *plan) carryOn(w *world) {
	now := stamp(time.Now())
	from := p.eras[len(p.eras)-1].since
	if recent := p.upTo.Add(-longestWait); recent.After(from) {
		from = recent
	}
	for _, f := range fires(w, p.sched, from, now) {
		if f.start.After(p.upTo) {
			p.started = f.start
			p.add(f.nominal, envbackup.TriggerSchedule)
			p.judge(w, slotRan)
		}
	}
	p.upTo = now
	if p.sched.Retention.MaxAge != "" {
		p.judge(w, hourPassed)
	}
}

// foretell notes what the plan would say now about the next runs.
func (p *plan) foretell(w *world) {
	w.t.Helper()
	now := time.Now()
	outlook, ok, err := preflight.Preview(p.proposal(p.sched.ScheduleSpec), now, lookahead)
	if err != nil || !ok {
		w.t.Fatalf("no forecast of %s: %v", p.sched.Reference(), err)
	}
	p.foretold = append(p.foretold, foretelling{at: now, runs: outlook.NextRuns})
}

// proposal is what the plan looks at.
func (p *plan) proposal(spec envbackup.ScheduleSpec) preflight.Proposal {
	proposal := preflight.Of(spec)
	proposal.ID = p.sched.ID
	return proposal
}

// names renders instants, for messages.
func names(times []time.Time) string {
	texts := make([]string, len(times))
	for i, t := range times {
		texts[i] = t.UTC().Format("2006-01-02T15:04:05Z")
	}
	return strings.Join(texts, " ")
}

// sorted returns the nominal times, oldest first.
func sorted[T any](items []T, nominal func(T) time.Time) []time.Time {
	times := make([]time.Time, len(items))
	for i, it := range items {
		times[i] = nominal(it).UTC()
	}
	slices.SortFunc(times, func(a, b time.Time) int { return cmp.Compare(a.UnixMicro(), b.UnixMicro()) })
	return times
}
