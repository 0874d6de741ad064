package cron

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrNever is in the chain of a ParseError whose expression is well formed but
// selects no day that exists, like the 30th of February.
var ErrNever = errors.New("schedule never runs")

// ErrNoNext reports that the calendar found no run after a given instant. A
// parsed schedule always has one, so this is a defect to be reported, never a
// reason to run or to disable a schedule.
var ErrNoNext = errors.New("no next run found")

// ParseError says why an expression is refused. Its text is one printable
// line, whatever the expression holds.
type ParseError struct {
	Expr  string // as given
	Field int    // 1 to 5 in the order of the expression, 0 for the whole
	Value string // the part of the field that is wrong, empty for the whole
	Msg   string // what is wrong
	Hint  string // what to write instead, may be empty

	never bool
}

// maxQuoted bounds what an error repeats of the input, so that a line stays a
// line.
const maxQuoted = 80

// Error returns the whole sentence: expression, field, value, fault and hint.
func (e *ParseError) Error() string {
	return "invalid cron expression " + quote(e.Expr) + ": " + e.Reason()
}

// Reason returns the sentence without the expression, for places that show the
// expression themselves.
func (e *ParseError) Reason() string {
	var b strings.Builder
	if e.Field != 0 {
		fmt.Fprintf(&b, "field %d (%s) %s: ", e.Field, FieldName(e.Field), quote(e.Value))
	}
	b.WriteString(e.Msg)
	if e.Hint != "" {
		b.WriteString("; ")
		b.WriteString(e.Hint)
	}
	return b.String()
}

// Is reports ErrNever for an expression that selects no existing day.
func (e *ParseError) Is(target error) bool { return target == ErrNever && e.never }

// FieldName returns the name of field i, 1 to 5, and "expression" otherwise.
func FieldName(i int) string {
	if i < 1 || i > len(fields) {
		return "expression"
	}
	return fields[i-1].name
}

// quote returns s in double quotes, ASCII only and of bounded length.
func quote(s string) string {
	if len(s) > maxQuoted {
		return strconv.QuoteToASCII(s[:maxQuoted]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// valid reports whether an expression is one.
func valid(expr string) bool {
	_, err := Parse(expr)
	return err == nil
}

// everyAsCron returns the expression for an interval such as "@every 6h" where
// there is one of even steps, and an example otherwise.
func everyAsCron(macro string) string {
	d, err := time.ParseDuration(strings.TrimSpace(strings.TrimPrefix(macro, "@every")))
	switch {
	case err != nil || d < time.Minute || d%time.Minute != 0:
	case d == time.Minute:
		return "* * * * *"
	case d < time.Hour && time.Hour%d == 0:
		return fmt.Sprintf("*/%d * * * *", d/time.Minute)
	case d == time.Hour:
		return "0 * * * *"
	case d == 24*time.Hour:
		return "0 0 * * *"
	case d < 24*time.Hour && d%time.Hour == 0 && 24*time.Hour%d == 0:
		return fmt.Sprintf("0 */%d * * *", d/time.Hour)
	}
	return "e.g. */15 * * * *"
}
