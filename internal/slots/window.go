package slots

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// window is a blackout window (S8).
type window struct {
	name     string
	skip     bool           // record the slot instead of deferring it
	days     *cron.Schedule // midnights of the days on which it begins, nil for every day
	from, to int            // minutes of the day; to is above from, perhaps above 24 h
}

func parseWindow(name string, b envbackup.Blackout) (window, error) {
	w := window{name: name}
	switch b.Action {
	case "", "defer":
	case "skip":
		w.skip = true
	default:
		return w, fmt.Errorf("action: %q is not an action; write defer or skip", b.Action)
	}
	var err error
	if w.from, err = clockTime(b.From); err != nil {
		return w, fmt.Errorf("from: %w", err)
	}
	if w.to, err = clockTime(b.To); err != nil {
		return w, fmt.Errorf("to: %w", err)
	}
	if w.to <= w.from {
		w.to += 24 * 60
	}
	if days := strings.TrimSpace(b.Days); days != "" && days != "*" {
		if w.days, err = cron.Parse("0 0 * * " + days); err != nil {
			return w, fmt.Errorf("days: %w", err)
		}
	}
	return w, nil
}

func sortWindows(windows []window) {
	slices.SortFunc(windows, func(a, b window) int { return strings.Compare(a.name, b.name) })
}

// around returns the stretch of the window that holds t, if one does. It
// begins at its from, included, and ends at its to.
func (w window) around(t time.Time, loc *time.Location) (from, to time.Time, ok bool) {
	year, month, day := t.In(loc).Date()
	// A window that goes over midnight may have begun the day before.
	for _, d := range []int{day, day - 1} {
		if !w.beginsOn(year, month, d) {
			continue
		}
		from = time.Date(year, month, d, 0, w.from, 0, 0, loc)
		to = time.Date(year, month, d, 0, w.to, 0, 0, loc)
		if !t.Before(from) && t.Before(to) {
			return from, to, true
		}
	}
	return time.Time{}, time.Time{}, false
}

// beginsOn asks the calendar in UTC, where every day has one midnight.
func (w window) beginsOn(year int, month time.Month, day int) bool {
	if w.days == nil {
		return true
	}
	midnight := time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
	next, err := w.days.Next(midnight.Add(-time.Second), time.UTC)
	return err == nil && next.Equal(midnight)
}

// deferred returns when a start at t is allowed as far as deferring windows
// are concerned: t itself, or the end of the windows around it.
func (t *Timing) deferred(start time.Time) time.Time {
	// Windows that touch are left one after another; a week of them is no
	// window any more but a schedule that never runs, and the loop ends.
	limit := start.AddDate(0, 0, 8)
	for start.Before(limit) {
		moved := false
		for _, w := range t.windows {
			if _, to, ok := w.around(start, t.Loc); ok && !w.skip {
				start, moved = to, true
			}
		}
		if !moved {
			break
		}
	}
	return start.UTC()
}

// silenced returns the skipping window around t, if there is one.
func (t *Timing) silenced(at time.Time) (from time.Time, name string, ok bool) {
	for _, w := range t.windows {
		if from, _, ok := w.around(at, t.Loc); ok && w.skip {
			return from, w.name, true
		}
	}
	return time.Time{}, "", false
}
