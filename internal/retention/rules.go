package retention

import (
	"fmt"
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

func bucketOf(k kind, t time.Time) int64 {
	_, offset := t.Zone()
	return k.bucket(t.Unix()+int64(offset), int64(offset))
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

// selectKept calls keep for each rule that keeps one of the times, which are in
// loc and sorted from the newest to the oldest. It is the one place where the
// rules of a policy are applied to real backups; see also reach in this
// package, which predicts them.
func (p Policy) selectKept(times []time.Time, loc *time.Location, keep func(i int, reason string)) {
	if len(times) == 0 {
		return
	}
	for i := range times[:min(p.Last, len(times))] {
		keep(i, fmt.Sprintf("last %d", p.Last))
	}
	if !p.Period.IsZero() {
		edge := p.Period.Before(times[0], loc)
		for i, t := range times {
			if !t.After(edge) {
				keep(i, "first beyond "+p.Period.String())
				break
			}
			keep(i, "within "+p.Period.String())
		}
	}
	for k, n := range p.counts() {
		var current int64
		for i, t := range times {
			b := bucketOf(kind(k), t)
			if i > 0 && b == current {
				continue
			}
			if n == 0 {
				break
			}
			n--
			current = b
			keep(i, kind(k).reason(t))
		}
	}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
