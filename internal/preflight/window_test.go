package preflight

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
)

// S8: the gaps with windows in force are those of the runs moved one by one.
func TestGapsWithinWindowsEqualTheWalkOfEveryRun(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Havana"} {
		loc, err := cron.LoadZone(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, expr := range []string{"30 2 * * *", "0 */3 * * *", "15 1,13 * * 1-5", "0 4 1,15 * *"} {
			s, err := cron.Parse(expr)
			if err != nil {
				t.Fatal(err)
			}
			// One window that defers and one that skips, apart from each other.
			windows := []window{{from: r.IntN(1440), length: 1 + r.IntN(600)}, {from: r.IntN(1440), length: 1 + r.IntN(300), skip: true}}
			for i := range windows {
				for day := range 7 {
					windows[i].days[day] = r.IntN(2) == 0
				}
			}
			got, want := gapsWithin(s, loc, windows), naiveGaps(s, loc, windows)
			if got.Runs != want.Runs || got.Max != want.Max || got.Min != want.Min {
				t.Errorf("%s in %s, windows %+v: %+v, run by run %+v", expr, name, windows, got, want)
			}
		}
	}
}

// inside returns how many minutes after wall the window ends, 0 outside.
func inside(w window, wall time.Time) int {
	for back := range 2 {
		day := wall.AddDate(0, 0, -back)
		if !w.days[day.Weekday()] {
			continue
		}
		start := time.Date(day.Year(), day.Month(), day.Day(), 0, w.from, 0, 0, time.UTC)
		if end := start.Add(time.Duration(w.length) * time.Minute); !wall.Before(start) && wall.Before(end) {
			return int(end.Sub(wall) / time.Minute)
		}
	}
	return 0
}

func naiveGaps(s *cron.Schedule, loc *time.Location, windows []window) cron.Gaps {
	from, to := cron.Window(loc)
	runs := map[int64]bool{}
	for h := range s.Hours(from, to, loc) {
		for m := range 60 {
			if h.Minutes&(1<<m) == 0 {
				continue
			}
			wall := time.Unix(h.Wall+int64(m)*60, 0).UTC()
			if inside(windows[1], wall) > 0 {
				continue
			}
			at := h.Start() + int64(m)*60
			for wait := inside(windows[0], wall); wait > 0; wait = inside(windows[0], wall) {
				wall = wall.Add(time.Duration(wait) * time.Minute)
				at = time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), 0, 0, loc).Unix()
			}
			runs[at] = true
		}
	}
	var g cron.Gaps
	var last int64
	for _, at := range slices.Sorted(maps.Keys(runs)) {
		if gap := time.Duration(at-last) * time.Second; g.Runs > 0 {
			if g.Runs == 1 || gap < g.Min {
				g.Min = gap
			}
			g.Max = max(g.Max, gap)
		}
		last = at
		g.Runs++
	}
	return g
}
