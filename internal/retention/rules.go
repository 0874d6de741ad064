package retention

import (
	"fmt"
	"math"
	"time"
)

// kind is a calendar unit of which a rule keeps the newest backup.
type kind int

const (
	hourly kind = iota
	daily
	weekly
	monthly
	yearly
	kinds
)

func (p Policy) counts() [kinds]int {
	return [kinds]int{p.Hourly, p.Daily, p.Weekly, p.Monthly, p.Yearly}
}

// bucket numbers the calendar unit of an instant whose wall clock is wall
// (Unix seconds of the same reading in UTC) and whose zone is offset seconds
// ahead: equal numbers are the same unit, and a later unit has a larger one. An
// hour that the clock repeats is two units.
func (k kind) bucket(wall, offset int64) int64 {
	dayNumber := floorDiv(wall, 86400)
	switch k {
	case hourly:
		return floorDiv(wall, 3600)*3600 - offset
	case daily:
		return dayNumber
	case weekly:
		return floorDiv(dayNumber+3, 7) // day 0 was a Thursday, ISO weeks begin on Monday
	}
	year, month, _ := time.Unix(wall, 0).UTC().Date()
	if k == monthly {
		return int64(year)*12 + int64(month) - 1
	}
	return int64(year)
}

// reason names the unit that a backup stands for; t is in the schedule's zone.
func (k kind) reason(t time.Time) string {
	switch k {
	case hourly:
		return "hourly " + t.Format("2006-01-02 15h -07:00")
	case daily:
		return "daily " + t.Format(time.DateOnly)
	case weekly:
		year, week := t.ISOWeek()
		return fmt.Sprintf("weekly %d-W%02d", year, week)
	case monthly:
		return "monthly " + t.Format("2006-01")
	}
	return "yearly " + t.Format("2006")
}

// rule is what of a policy keeps a backup: a kind, or one of those below.
type rule int

const (
	ruleLast rule = iota + rule(kinds)
	rulePeriod
	ruleBeyond // the first backup at or beyond the edge of the period
)

// reason says that a rule of the policy keeps the backup of t, which is in the
// schedule's zone.
func (p Policy) reason(r rule, t time.Time) string {
	switch r {
	case ruleLast:
		return fmt.Sprintf("last %d", p.Last)
	case rulePeriod:
		return "within " + p.Period.String()
	case ruleBeyond:
		return "first beyond " + p.Period.String()
	}
	return kind(r).reason(t)
}

// selectKept calls keep for each rule that keeps one of the times, which are in
// loc and sorted from the newest to the oldest. It is the one place where the
// rules of a policy are applied to real backups; see also reach in this
// package, which predicts them.
func (p Policy) selectKept(times []time.Time, loc *time.Location, keep func(i int, r rule)) {
	if len(times) == 0 {
		return
	}
	for i := range times[:min(p.Last, len(times))] {
		keep(i, ruleLast)
	}
	if !p.Period.IsZero() {
		edge := p.Period.Before(times[0], loc)
		for i, t := range times {
			if !t.After(edge) {
				keep(i, ruleBeyond)
				break
			}
			keep(i, rulePeriod)
		}
	}
	for k, n := range p.counts() {
		if n == 0 {
			continue
		}
		c := calendar{kind: kind(k), loc: loc}
		var current int64
		for i, t := range times {
			b := c.bucket(t)
			if i > 0 && b == current {
				continue
			}
			if n == 0 {
				break
			}
			n--
			current = b
			keep(i, rule(k))
		}
	}
}

// calendar numbers the units of one kind for instants of a zone. Of a hundred
// thousand times most share the offset and the day of the one before, and
// finding those is most of the work.
type calendar struct {
	kind kind
	loc  *time.Location
	// The offset that holds from one instant until before another.
	from, until, offset int64
	// The bucket of a day.
	day, ofDay int64
	known      bool
}

func (c *calendar) bucket(t time.Time) int64 {
	at := t.Unix()
	if at < c.from || at >= c.until {
		c.turn(t)
	}
	wall := at + c.offset
	if c.kind == hourly {
		return hourly.bucket(wall, c.offset)
	}
	if day := floorDiv(wall, 86400); !c.known || day != c.day {
		c.day, c.ofDay, c.known = day, c.kind.bucket(wall, c.offset), true
	}
	return c.ofDay
}

// turn finds the offset of t and how long it holds.
func (c *calendar) turn(t time.Time) {
	t = t.In(c.loc)
	start, end := t.ZoneBounds()
	_, offset := t.Zone()
	c.offset, c.from, c.until = int64(offset), math.MinInt64, math.MaxInt64
	if !start.IsZero() {
		c.from = start.Unix()
	}
	if !end.IsZero() {
		c.until = end.Unix()
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
