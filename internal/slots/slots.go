// Package slots decides which nominal instants of a schedule are due and what
// becomes of each: run, catch up, coalesce, miss, or be silenced by a blackout
// window or a pause (SEMANTICS S2, S4, S7, S8, S9). It is pure: every instant
// comes in as an argument, and nothing is stored.
//
// What needs the state of other runs is left to others: the claim of a slot
// and overlap (S1, S3) to scheduler, attempts and retries (S5, S6) to queue.
//
// Stretches of slots are counted from the structure of the cron expression, a
// few nanoseconds for each hour, so years of missed minutes cost milliseconds.
package slots

import (
	"fmt"
	"hash/fnv"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// The defaults of a schedule.
const (
	DefaultStartDeadline = 2 * time.Hour
	DefaultTimeout       = 6 * time.Hour
)

// lateAfter is how late a slot may be decided and still count as on time: the
// scheduler's poll, a slow database and the restart of a daemon fit in it.
// Beyond it the slot is late by downtime (S2).
const lateAfter = time.Minute

// Timing is a schedule as far as time is concerned, parsed. It is immutable
// and safe for concurrent use.
type Timing struct {
	Cron *cron.Schedule
	Loc  *time.Location
	// Offset is the schedule's share of its jitter (S7).
	Offset        time.Duration
	StartDeadline time.Duration // S4
	Timeout       time.Duration // S5, of one attempt
	Retries       int64         // S6
	QueueOverlap  bool          // S3: "queue" rather than "skip"
	Paused        bool

	jitter  time.Duration
	catchUp bool
	within  retention.Duration // zero for the default
	windows *Windows
}

// Of parses what a schedule says about time. The error names the attribute;
// a schedule that passed preflight has none.
func Of(s envbackup.Schedule) (*Timing, error) {
	expression, err := cron.Parse(s.Cron)
	if err != nil {
		return nil, fmt.Errorf("cron: %w", err)
	}
	loc, err := cron.LoadZone(s.Zone())
	if err != nil {
		return nil, fmt.Errorf("timezone: %w", err)
	}
	t := &Timing{
		Cron: expression, Loc: loc, Retries: s.RetryCount(), Paused: s.Paused, catchUp: s.CatchesUp(),
		QueueOverlap: s.Overlap == "queue",
	}
	jitter, err := fixed("jitter", s.Jitter, 0)
	if err != nil {
		return nil, err
	}
	t.jitter, t.Offset = jitter, Offset(s.ID, jitter)
	if t.StartDeadline, err = fixed("start_deadline", s.StartDeadline, DefaultStartDeadline); err != nil {
		return nil, err
	}
	if t.Timeout, err = fixed("timeout", s.Timeout, DefaultTimeout); err != nil {
		return nil, err
	}
	if s.CatchUpWithin != "" {
		if t.within, err = retention.ParseDuration(s.CatchUpWithin); err != nil {
			return nil, fmt.Errorf("catch_up_within: %w", err)
		}
	}
	t.windows, err = ParseWindows(s.Blackout)
	return t, err
}

// fixed parses a duration in which a month has the length of an average one;
// jitter, deadlines and timeouts are shorter than that.
func fixed(attribute, text string, absent time.Duration) (time.Duration, error) {
	if text == "" {
		return absent, nil
	}
	d, err := retention.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", attribute, err)
	}
	return d.Approx(), nil
}

// Offset is a schedule's share of its jitter (S7): a stable number in [0,
// jitter), in whole seconds, spread evenly over schedules.
func Offset(scheduleID string, jitter time.Duration) time.Duration {
	seconds := int64(jitter / time.Second)
	if seconds <= 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(scheduleID)) // never fails
	// FNV's low bits of similar ids are similar; a multiplication by the
	// golden ratio spreads them.
	mixed := h.Sum64() * 0x9e3779b97f4a7c15
	return time.Duration(mixed>>1%uint64(seconds)) * time.Second
}

// Next returns the first slot after the given instant, and when it is due but
// for deferring windows.
func (t *Timing) Next(after time.Time) (nominal, due time.Time, err error) {
	nominal, err = t.Cron.Next(after, t.Loc)
	if err != nil {
		return time.Time{}, time.Time{}, fmt.Errorf("find next slot of %q: %w", t.Cron.Canonical(), err)
	}
	nominal = nominal.UTC()
	return nominal, nominal.Add(t.Offset), nil
}

// Stretch is a row of slots.
type Stretch struct {
	First, Last time.Time // zero when Count is 0
	Count       int64
}

// Between returns the slots after one instant, up to and including another.
func (t *Timing) Between(after, until time.Time) Stretch {
	var s Stretch
	if !after.Before(until) {
		return s
	}
	lo, hi := after.Unix(), until.Unix() // slots are on whole minutes
	for h := range t.Cron.Hours(after, until.Add(time.Minute), t.Loc) {
		if h.First() > lo && h.Last() <= hi {
			s.add(h.First(), h.Last(), int64(h.N()))
			continue
		}
		for minute := range int64(64) {
			if at := h.Start() + minute*60; h.Minutes>>minute&1 == 1 && at > lo && at <= hi {
				s.add(at, at, 1)
			}
		}
	}
	return s
}

func (s *Stretch) add(first, last, n int64) {
	if s.Count == 0 {
		s.First = time.Unix(first, 0).UTC()
	}
	s.Last = time.Unix(last, 0).UTC()
	s.Count += n
}

// CatchesUp reports whether a slot that is or was due may still be run, or
// tried again, at an instant (S2): younger than catch_up_within or, without
// one, than half the gap to the next slot and at least the smaller of that gap
// and 24 h.
func (t *Timing) CatchesUp(nominal, due, at time.Time) bool {
	return t.catchUp && at.Before(t.catchUpEnd(nominal, due))
}

func (t *Timing) catchUpEnd(nominal, due time.Time) time.Time {
	if !t.within.IsZero() {
		return t.within.After(due, t.Loc)
	}
	next, _, err := t.Next(nominal)
	if err != nil {
		return due
	}
	gap := next.Sub(nominal)
	return due.Add(max(gap/2, min(gap, 24*time.Hour)))
}
