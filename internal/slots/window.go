package slots

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Windows are the blackout windows of a schedule (S8). They stand on the wall
// clock: an hour that it repeats is in a window both times, and one that it
// leaves out takes its windows with it. The zero value has none. Windows are
// immutable and safe for concurrent use.
type Windows struct {
	list []window
	// deferred and skipped are the minutes of the week in some window of that
	// kind.
	deferred, skipped minutesOfWeek
	// key is the same text for the same windows, whatever they are called.
	key string
}

// window is one of them: from a minute of the selected weekdays on, for a
// number of minutes up to a day. It may reach into the next day.
type window struct {
	name    string
	skip    bool // record the slot instead of deferring it
	minutes minutesOfWeek
}

// ParseWindows reads the blackout windows, in the order of their names so that
// reasons are the same every time. The error names the window and its
// attribute.
func ParseWindows(blackout map[string]envbackup.Blackout) (*Windows, error) {
	w := &Windows{}
	var keys []string
	for name, b := range blackout {
		one, key, err := parseWindow(name, b)
		if err != nil {
			return nil, fmt.Errorf("blackout.%s.%w", name, err)
		}
		w.list, keys = append(w.list, one), append(keys, key)
		if one.skip {
			w.skipped.join(&one.minutes)
		} else {
			w.deferred.join(&one.minutes)
		}
	}
	slices.SortFunc(w.list, func(a, b window) int { return strings.Compare(a.name, b.name) })
	slices.Sort(keys)
	w.key = strings.Join(slices.Compact(keys), ";")
	return w, nil
}

// None reports whether there is no window at all.
func (w *Windows) None() bool { return w == nil || len(w.list) == 0 }

// Longest returns how long a run can wait for the end of deferring windows;
// zero when they have none.
func (w *Windows) Longest() time.Duration {
	if w.None() {
		return 0
	}
	return time.Duration(w.deferred.longest()) * time.Minute
}

func parseWindow(name string, b envbackup.Blackout) (w window, key string, err error) {
	w.name = name
	switch b.Action {
	case "", "defer":
	case "skip":
		w.skip = true
	default:
		return w, "", fmt.Errorf("action: %q is not an action; write defer or skip", b.Action)
	}
	from, err := TimeOfDay(b.From)
	if err != nil {
		return w, "", fmt.Errorf("from: %w", err)
	}
	to, err := TimeOfDay(b.To)
	if err != nil {
		return w, "", fmt.Errorf("to: %w", err)
	}
	days, err := Weekdays(b.Days)
	if err != nil {
		return w, "", fmt.Errorf("days: %w", err)
	}
	length := to - from
	if length <= 0 {
		length += 24 * 60
	}
	for day, on := range days {
		if on {
			w.minutes.set(day*24*60+from, length)
		}
	}
	return w, fmt.Sprint(w.skip, days, from, length), nil
}

// TimeOfDay reads "HH:MM", or "24:00" for the end of the day, as minutes.
func TimeOfDay(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return 0, fmt.Errorf("%q is not a time of day; write HH:MM", text)
	}
	return t.Hour()*60 + t.Minute(), nil
}

// Weekdays reads a day-of-week field of cron: Sunday is 0, and no text is every
// day.
func Weekdays(text string) ([7]bool, error) {
	var days [7]bool
	if text = strings.TrimSpace(text); text == "" {
		text = "*"
	}
	s, err := cron.Parse("0 0 * * " + text)
	if err != nil {
		return days, err
	}
	for day := range days {
		sunday := time.Date(2024, 1, 7+day, 0, 0, 0, 0, time.UTC) // or the days after it
		next, err := s.Next(sunday.Add(-time.Minute), time.UTC)
		days[day] = err == nil && next.Equal(sunday)
	}
	return days, nil
}

// Start returns when a run that is due at an instant starts: then, or at the
// end of the deferring windows around it, which may touch or overlap. It
// reports false where a skipping window lies at that instant, or where the
// deferring windows leave no minute of the week. Times are in Unix seconds.
func (w *Windows) Start(due int64, loc *time.Location) (int64, bool) {
	if w.None() {
		return due, true
	}
	at, ok := w.end(due, loc)
	return at, ok && !w.skipped.has(minuteOfWeek(at, aheadOf(loc, at)))
}

// end returns the end of the deferring windows around an instant, or the
// instant itself outside of all. Windows without an end report false and an
// instant that lies more than a week away.
func (w *Windows) end(at int64, loc *time.Location) (int64, bool) {
	if w.None() {
		return at, true
	}
	const never = 9 * 24 * 3600
	for limit := at + never; at < limit; {
		ahead, until := cron.OffsetAt(loc, at)
		minutes := w.deferred.run(minuteOfWeek(at, ahead))
		switch minutes {
		case 0:
			return at, true
		case week:
			return at + never, false
		}
		// Where the clock changes within the window, the window is looked at
		// again from there.
		at = min(floorDiv(at+ahead, 60)*60-ahead+int64(minutes)*60, until)
	}
	return at, false
}

// silencing returns the skipping window at an instant, the first by name, and
// an instant from which on until then it, or another, skips everything.
func (w *Windows) silencing(at int64, loc *time.Location) (from int64, name string, ok bool) {
	if w.None() {
		return 0, "", false
	}
	minute := minuteOfWeek(at, aheadOf(loc, at))
	if !w.skipped.has(minute) {
		return 0, "", false
	}
	for _, one := range w.list {
		if one.skip && one.minutes.has(minute) {
			name = one.name
			break
		}
	}
	return w.since(&w.skipped, at, loc), name, true
}

// waiting returns an instant from which on until then deferring windows leave
// no minute free; false outside of them.
func (w *Windows) waiting(at int64, loc *time.Location) (from int64, ok bool) {
	if w.None() || !w.deferred.has(minuteOfWeek(at, aheadOf(loc, at))) {
		return 0, false
	}
	return w.since(&w.deferred, at, loc), true
}

// since goes back from an instant in m as far as m holds all and the clock does
// not change.
func (w *Windows) since(m *minutesOfWeek, at int64, loc *time.Location) int64 {
	ahead := aheadOf(loc, at)
	from := (floorDiv(at+ahead, 60)-int64(m.runBack(minuteOfWeek(at, ahead)))+1)*60 - ahead
	for {
		_, until := cron.OffsetAt(loc, from)
		if until > at {
			return from
		}
		from = until
	}
}

func aheadOf(loc *time.Location, at int64) int64 {
	ahead, _ := cron.OffsetAt(loc, at)
	return ahead
}

// week is a week in minutes.
const week = 7 * 24 * 60

// minuteOfWeek returns the minute since the last Sunday's midnight on a wall
// clock that is ahead of UTC by so many seconds.
func minuteOfWeek(at, ahead int64) int {
	const thursday = 4 * 24 * 60 // 1970-01-01
	minute := (floorDiv(at+ahead, 60) + thursday) % week
	if minute < 0 {
		minute += week
	}
	return int(minute)
}

// minutesOfWeek is a set of minutes, by the hours of the week from Sunday on.
type minutesOfWeek [week / 60]uint64

const wholeHour = 1<<60 - 1

func (m *minutesOfWeek) has(minute int) bool { return m[minute/60]>>(minute%60)&1 == 1 }

// set adds a number of minutes in a row; the week is a circle.
func (m *minutesOfWeek) set(from, length int) {
	for k := range length {
		minute := (from + k) % week
		m[minute/60] |= 1 << (minute % 60)
	}
}

func (m *minutesOfWeek) join(o *minutesOfWeek) {
	for i := range m {
		m[i] |= o[i]
	}
}

// run returns how many minutes from one on, itself included, are in m without
// a hole; week when all are.
func (m *minutesOfWeek) run(minute int) int {
	hour, skip := minute/60, minute%60
	n := min(bits.TrailingZeros64(^(m[hour] >> skip)), 60-skip)
	if n < 60-skip {
		return n
	}
	for k := 1; k <= len(m); k++ {
		next := m[(hour+k)%len(m)]
		if next != wholeHour {
			return n + bits.TrailingZeros64(^next)
		}
		n += 60
	}
	return week
}

// runBack returns how many minutes back from one, itself included, are in m
// without a hole; week when all are.
func (m *minutesOfWeek) runBack(minute int) int {
	n := 0
	for n < week && m.has((minute-n+week)%week) {
		n++
	}
	return n
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
