package slots

import (
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Decision is what becomes of the slots that are due.
type Decision struct {
	// Rows are the slots without a run, oldest first, but for their schedule
	// and the time of decision.
	Rows []envbackup.Slot
	// Run is the one slot that runs, nil for none.
	Run *Due
	// DecidedUntil is the newest slot that has its outcome now.
	DecidedUntil time.Time
	// NextAt is the next slot, DueAt when to decide again.
	NextAt, DueAt time.Time
}

// Due is a slot that runs.
type Due struct {
	Nominal time.Time
	// At is when it was due: nominal plus jitter, the end of a deferring
	// window, or the decision to catch up (S4).
	At      time.Time
	CatchUp bool
}

// Decide decides every slot after decidedUntil that is due at now. Several are
// never run one after another: the newest runs, the others are coalesced into
// it or, where they are too old to be caught up, missed (S2).
func (t *Timing) Decide(decidedUntil, now time.Time) (Decision, error) {
	d := Decision{DecidedUntil: decidedUntil}
	due := t.Between(decidedUntil, now.Add(-t.Offset))
	switch {
	case due.Count == 0:
		return d, t.next(&d)
	case t.Paused:
		d.row(due, envbackup.SlotPaused, "the schedule was paused")
		d.DecidedUntil = due.Last
		return d, t.next(&d)
	}
	if end := t.deferred(now); end.After(now) {
		d.NextAt, d.DueAt = due.First, end
		return d, nil
	}
	t.decideDue(&d, decidedUntil, due, now)
	d.DecidedUntil = due.Last
	return d, t.next(&d)
}

// next fills when there is something to decide again.
func (t *Timing) next(d *Decision) error {
	next, due, err := t.Next(d.DecidedUntil)
	d.NextAt, d.DueAt = next, due
	return err
}

func (d *Decision) row(s Stretch, outcome envbackup.SlotOutcome, reason string) {
	if s.Count > 0 {
		d.Rows = append(d.Rows, envbackup.Slot{Nominal: s.First, Until: s.Last, Count: s.Count, Outcome: outcome, Reason: reason})
	}
}

// decideDue finds the newest slot that no skipping window silences, decides
// it, and then what is older and newer.
func (t *Timing) decideDue(d *Decision, after time.Time, due Stretch, now time.Time) {
	newest, silencedBy := due.Last, ""
	for {
		start := t.deferred(newest.Add(t.Offset))
		from, name, ok := t.silenced(start)
		if !ok {
			break
		}
		silencedBy = name
		// What was due within the same windows meets the same silence.
		before := t.Between(after, earlier(from, t.waitingSince(newest.Add(t.Offset))).Add(-t.Offset-time.Second))
		if before.Count == 0 {
			d.row(due, envbackup.SlotSkippedBlackout, blackoutReason(name))
			return
		}
		newest = before.Last
		if !t.CatchesUp(newest, t.deferred(newest.Add(t.Offset)), now) {
			break // it will be missed, and so is everything before it
		}
	}
	dueAt := t.deferred(newest.Add(t.Offset))
	late := now.Sub(dueAt) > lateAfter
	reason := "the daemon did not run then"
	runs := !late || t.CatchesUp(newest, dueAt, now)
	if _, name, silent := t.silenced(now); late && silent {
		runs, reason = false, reason+", and the blackout window "+name+" forbids to start it now"
	}
	if runs {
		boundary := t.coalesceFrom(after, newest, now)
		d.row(t.Between(after, later(after, boundary)), envbackup.SlotMissed, reason)
		d.row(t.Between(later(after, boundary), newest.Add(-time.Second)), envbackup.SlotCoalesced,
			"covered by the slot of "+newest.Format(time.RFC3339))
		d.Run = &Due{Nominal: newest, At: dueAt, CatchUp: late}
		if late {
			d.Run.At = now
		}
	} else {
		d.row(t.Between(after, newest), envbackup.SlotMissed, reason)
	}
	d.row(t.Between(newest, due.Last), envbackup.SlotSkippedBlackout, blackoutReason(silencedBy))
}

func blackoutReason(name string) string {
	return fmt.Sprintf("the blackout window %s", name)
}

// coalesceFrom returns the instant after which the slots before newest are
// covered by it: those that would still have been caught up by themselves, and
// those that waited for the end of the same window.
func (t *Timing) coalesceFrom(after, newest, now time.Time) time.Time {
	boundary := earlier(newest.Add(-time.Second), now.Add(-lateAfter-t.Offset))
	if t.catchUp && !t.within.IsZero() {
		boundary = earlier(boundary, t.within.Before(now, t.Loc).Add(-t.Offset))
	}
	older := t.Between(after, newest.Add(-time.Second))
	if older.Count == 0 {
		return boundary
	}
	waited := older.Last.Add(t.Offset)
	if to := t.deferred(waited); to.After(waited) && (now.Sub(to) <= lateAfter || newest.Add(t.Offset).Before(to)) {
		boundary = earlier(boundary, t.waitingSince(waited).Add(-t.Offset-time.Second))
	}
	return boundary
}

// deferred returns when a start at an instant is allowed as far as deferring
// windows are concerned: then, or at their end; days later where they have none.
func (t *Timing) deferred(start time.Time) time.Time {
	at, _ := t.windows.end(start.Unix(), t.Loc)
	if at == start.Unix() {
		return start.UTC()
	}
	return time.Unix(at, 0).UTC()
}

// waitingSince returns the instant since which deferring windows hold a start
// at the given one, which is itself outside of them.
func (t *Timing) waitingSince(start time.Time) time.Time {
	if from, ok := t.windows.waiting(start.Unix(), t.Loc); ok {
		return time.Unix(from, 0).UTC()
	}
	return start.UTC()
}

// Allows reports whether the blackout windows let a run start at an instant.
func (t *Timing) Allows(at time.Time) bool {
	start, ok := t.windows.Start(at.Unix(), t.Loc)
	return ok && start == at.Unix()
}

// silenced returns the skipping window around an instant, if there is one, and
// since when everything is skipped.
func (t *Timing) silenced(at time.Time) (from time.Time, name string, ok bool) {
	since, name, ok := t.windows.silencing(at.Unix(), t.Loc)
	return time.Unix(since, 0).UTC(), name, ok
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
