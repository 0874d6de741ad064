// Package cron decides what a cron expression means: which expressions are
// valid, when they fire in a time zone, how far apart two runs can lie, and how
// to say all that in words. Terraform's plan, the API, the console and the
// daemon use it alike, so what a plan shows is what the daemon does.
//
// It leaves to others what a firing time leads to (slots, catch-up, blackout
// windows, jitter). It has no clock and does no I/O: every instant comes in as
// an argument, and the time zone database is compiled in.
//
// The calendar of Next is computed by gronx, which is exact in UTC for the
// grammar accepted here and unusable outside of it (it accepts invalid input
// depending on the time of day, and loses runs around changes of the clock).
// So it only ever sees a canonical expression and UTC. What is computed from
// the structure of an expression (Gaps, Hours, MinInterval) does not ask gronx;
// the tests hold both against an independent oracle.
//
// All values are immutable after Parse and safe for concurrent use.
package cron

import (
	"math/bits"
)

// Version names the firing semantics. It changes when an upgrade changes the
// instants at which some expression fires; stored next runs are then stale.
const Version = "1"

// MaxLen is the longest expression that Parse accepts, in bytes.
const MaxLen = 256

// Schedule is a valid expression. The zero value is not one; use Parse.
type Schedule struct {
	expr      string
	canonical string

	minute uint64 // bit 0..59
	hour   uint32 // bit 0..23
	month  uint16 // bit 1..12
	dom    daysOfMonth
	dow    daysOfWeek

	// steps holds the items with a step that are alone in their field, for the
	// warning about uneven ones.
	steps []step
}

// daysOfMonth is the third field.
type daysOfMonth struct {
	star    bool   // "*" or "?": the field restricts nothing
	days    uint32 // bit 1..31
	last    bool   // L
	nearest uint32 // bit v for vW
}

// daysOfWeek is the fifth field; Sunday is 0.
type daysOfWeek struct {
	star bool
	days uint8    // bit 0..6
	last uint8    // bit v for vL
	nth  [6]uint8 // nth[k] has bit v for v#k, k from 1 to 5
}

// step is one item with a step, as it counts: from lo to hi in strides of n.
type step struct {
	field     int
	text      string
	lo, hi, n int
}

// String returns the expression as it was given to Parse.
func (s *Schedule) String() string { return s.expr }

// Canonical returns the expression in digits only: macros, names, 7 for Sunday
// and "?" are replaced, items are sorted and free of duplicates, everything
// else is as written. Parse accepts it and finds the same sets.
func (s *Schedule) Canonical() string { return s.canonical }

// Equal reports whether s and o fire at the same instants in every zone,
// judged by their sets and their rule for the two day fields.
func (s *Schedule) Equal(o *Schedule) bool {
	return s.minute == o.minute && s.hour == o.hour && s.month == o.month &&
		s.days() == o.days()
}

// Same reports whether a and b are valid and equal as in Schedule.Equal, so
// that "@daily" and "0 0 * * *" are no change. Anything unparsable is not the
// same as anything.
func Same(a, b string) bool {
	x, err := Parse(a)
	if err != nil {
		return false
	}
	y, err := Parse(b)
	return err == nil && x.Equal(y)
}

// everyHour reports whether the hour field selects all 24 hours. Such a
// schedule follows real time through a change of the clock; any other follows
// the wall clock (see Next).
func (s *Schedule) everyHour() bool { return s.hour == 1<<24-1 }

// times returns the number of runs on a day without a change of the clock.
func (s *Schedule) times() int { return bits.OnesCount64(s.minute) * bits.OnesCount32(s.hour) }

// firstMinute and lastMinute return the first and the last minute of the day
// at which s fires, 0 to 1439.
func (s *Schedule) firstMinute() int {
	return bits.TrailingZeros32(s.hour)*60 + bits.TrailingZeros64(s.minute)
}

func (s *Schedule) lastMinute() int {
	return (31-bits.LeadingZeros32(s.hour))*60 + 63 - bits.LeadingZeros64(s.minute)
}
