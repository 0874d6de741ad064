// Package retention decides which backups are kept and which go, and says why
// for each. Plan, console, API and daemon call it alike.
//
// It promises that the newest good backup is never among those to be removed,
// that backups which are not good never push out good ones, and that the same
// input gives the same output whatever the zone or the locale of the process.
// Everything is a pure function of its arguments: no clock, no I/O.
//
// It does not know where backups lie, when a prune may run, or which backups
// belong to a schedule: callers pass the backups of one schedule at one
// destination.
package retention

import (
	"errors"
	"fmt"
	"strings"
)

// Spec is a policy as a person writes it. Empty strings and nil mean that the
// value is not given.
type Spec struct {
	Period       string `json:"period,omitempty"`
	KeepLast     *int64 `json:"keep_last,omitempty"`
	KeepHourly   *int64 `json:"keep_hourly,omitempty"`
	KeepDaily    *int64 `json:"keep_daily,omitempty"`
	KeepWeekly   *int64 `json:"keep_weekly,omitempty"`
	KeepMonthly  *int64 `json:"keep_monthly,omitempty"`
	KeepYearly   *int64 `json:"keep_yearly,omitempty"`
	KeepAtLeast  *int64 `json:"keep_at_least,omitempty"`
	MaxAge       string `json:"max_age,omitempty"`
	ManualPeriod string `json:"manual_period,omitempty"`
	PruneGrace   string `json:"prune_grace,omitempty"`
	KeepAll      bool   `json:"keep_all,omitempty"`
}

// Policy is a valid Spec with its defaults filled in. Policies compare with
// ==. Build one with Spec.Policy.
type Policy struct {
	// KeepAll keeps everything; all other rules are then at their defaults.
	KeepAll bool
	// Period keeps what is newer than the newest backup by less than this;
	// zero is no such rule.
	Period Duration
	// How many backups, or calendar units with a backup, each rule keeps; 0
	// is no such rule.
	Last, Hourly, Daily, Weekly, Monthly, Yearly int
	// AtLeast is the floor, 1 or more.
	AtLeast int
	// MaxAge removes what is older, down to the floor; zero is no limit.
	MaxAge Duration
	// ManualPeriod is how long manual and safety backups are kept.
	ManualPeriod Duration
	// PruneGrace is how long removals wait that may not have been meant.
	PruneGrace Duration
}

// The defaults of Spec.
const (
	DefaultAtLeast      = 1
	DefaultManualPeriod = "30d"
	DefaultPruneGrace   = "24h"
)

// maxCount bounds the keep_* numbers: every minute of 200 years.
const maxCount = 200 * 366 * 1440

// FieldError is one thing that is wrong with a Spec. Field is the attribute's
// name, empty for the block as a whole.
type FieldError struct {
	Field string
	Value string // as given, empty for the block
	Msg   string
	Hint  string // what to write instead
}

func (e FieldError) Error() string {
	text := e.Msg
	if e.Field != "" {
		text = fmt.Sprintf("%s = %s: %s", e.Field, e.Value, e.Msg)
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// FieldErrors is all that is wrong with a Spec, in the order of its fields.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	texts := make([]string, len(e))
	for i, f := range e {
		texts[i] = f.Error()
	}
	return "invalid retention: " + strings.Join(texts, "; ")
}

// Policy checks s and fills in the defaults. The error is FieldErrors.
func (s Spec) Policy() (Policy, error) {
	var c checker
	p := Policy{KeepAll: s.KeepAll}
	p.Period = c.duration("period", s.Period, "", false)
	p.Last = c.count("keep_last", s.KeepLast, 0)
	p.Hourly = c.count("keep_hourly", s.KeepHourly, 0)
	p.Daily = c.count("keep_daily", s.KeepDaily, 0)
	p.Weekly = c.count("keep_weekly", s.KeepWeekly, 0)
	p.Monthly = c.count("keep_monthly", s.KeepMonthly, 0)
	p.Yearly = c.count("keep_yearly", s.KeepYearly, 0)
	p.AtLeast = c.count("keep_at_least", s.KeepAtLeast, DefaultAtLeast)
	if s.KeepAtLeast != nil && *s.KeepAtLeast == 0 {
		c.add("keep_at_least", "0", "the floor cannot be 0: the last good backup is never deleted by a rule", "write 1 or leave it out")
	}
	p.MaxAge = c.duration("max_age", s.MaxAge, "", false)
	p.ManualPeriod = c.duration("manual_period", s.ManualPeriod, DefaultManualPeriod, true)
	p.PruneGrace = c.duration("prune_grace", s.PruneGrace, DefaultPruneGrace, true)

	if given := s.given(); s.KeepAll && len(given) > 0 {
		c.add("keep_all", "true", "keep_all excludes every other rule, and "+strings.Join(given, ", ")+" is given too",
			"remove keep_all, or everything else")
	}
	if len(c.errs) == 0 && !s.KeepAll && !p.keepsAnything() && s.KeepAtLeast == nil {
		c.add("", "", "nothing in this block keeps anything, so every backup but the last would be deleted",
			`set for example period = "30d" or keep_daily = 14, or keep_all = true to never delete`)
	}
	if len(c.errs) > 0 {
		return Policy{}, c.errs
	}
	return p, nil
}

func (p Policy) keepsAnything() bool {
	return !p.Period.IsZero() || p.Last+p.Hourly+p.Daily+p.Weekly+p.Monthly+p.Yearly > 0
}

// given names the attributes that are set besides keep_all.
func (s Spec) given() []string {
	var names []string
	for _, f := range s.texts() {
		if f.value != "" {
			names = append(names, f.name)
		}
	}
	for _, f := range s.counts() {
		if f.value != nil {
			names = append(names, f.name)
		}
	}
	return names
}

type textField struct{ name, value string }

type countField struct {
	name  string
	value *int64
}

func (s Spec) texts() []textField {
	return []textField{
		{"period", s.Period}, {"max_age", s.MaxAge},
		{"manual_period", s.ManualPeriod}, {"prune_grace", s.PruneGrace},
	}
}

func (s Spec) counts() []countField {
	return []countField{
		{"keep_last", s.KeepLast}, {"keep_hourly", s.KeepHourly}, {"keep_daily", s.KeepDaily},
		{"keep_weekly", s.KeepWeekly}, {"keep_monthly", s.KeepMonthly}, {"keep_yearly", s.KeepYearly},
		{"keep_at_least", s.KeepAtLeast},
	}
}

// Equal reports whether s and o are the same policy: "24h" equals "1d", and a
// default equals the same value written out. Specs that are not valid are
// equal only when they are written alike.
func (s Spec) Equal(o Spec) bool {
	p, err := s.Policy()
	q, errO := o.Policy()
	if err == nil && errO == nil {
		return p == q
	}
	return s.writtenLike(o)
}

func (s Spec) writtenLike(o Spec) bool {
	for i, f := range s.counts() {
		a, b := f.value, o.counts()[i].value
		if (a == nil) != (b == nil) || a != nil && *a != *b {
			return false
		}
	}
	for i, f := range s.texts() {
		if f != o.texts()[i] {
			return false
		}
	}
	return s.KeepAll == o.KeepAll
}

// checker reads single fields and collects what is wrong.
type checker struct{ errs FieldErrors }

func (c *checker) add(field, value, msg, hint string) {
	c.errs = append(c.errs, FieldError{Field: field, Value: value, Msg: msg, Hint: hint})
}

func (c *checker) duration(field, value, fallback string, zero bool) Duration {
	if value == "" {
		value = fallback
	}
	if value == "" {
		return Duration{}
	}
	d, err := ParseDuration(value)
	if err != nil {
		var e *DurationError
		if !errors.As(err, &e) {
			panic("ParseDuration returned another kind of error") // its contract
		}
		c.add(field, fmt.Sprintf("%q", e.Value), e.Msg, e.Hint)
		return Duration{}
	}
	if d.IsZero() && !zero {
		c.add(field, fmt.Sprintf("%q", shortened(value)), "it must be longer than zero", "leave it out for no such rule, or write e.g. 30d")
	}
	return d
}

func (c *checker) count(field string, value *int64, fallback int) int {
	switch {
	case value == nil:
		return fallback
	case *value < 0:
		c.add(field, fmt.Sprint(*value), "it cannot be negative", "leave it out for no such rule, or keep_all = true to never delete")
	case *value > maxCount:
		c.add(field, fmt.Sprint(*value), fmt.Sprintf("it is larger than %d", maxCount), "write keep_all = true to never delete")
	default:
		return int(*value)
	}
	return 0
}
