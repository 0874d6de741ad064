package slots_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

// runByRun computes gaps from every start in the fixed window.
func runByRun(r *slots.Rhythm, loc *time.Location) cron.Gaps {
	var g cron.Gaps
	var last time.Time
	from, to := cron.Window(loc)
	for h := range r.Hours(from, to, loc) {
		for ; h.Minutes != 0; h.Minutes &= h.Minutes - 1 {
			start, _ := r.Start(time.Unix(h.First(), 0), loc)
			if gap := start.Sub(last); g.Runs > 0 {
				if g.Runs == 1 || gap < g.Min {
					g.Min = gap
				}
				if gap > g.Max {
					g.Max, g.MaxFrom, g.MaxTo = gap, last, start
				}
			}
			last = start
			g.Runs++
		}
	}
	if g.Few() {
		return cron.Gaps{Runs: g.Runs}
	}
	return g
}

// S8: the gaps that are found by days are those of every run, around changes
// of the clock too.
func TestGapsAreThoseOfEveryRun(t *testing.T) {
	t.Parallel()
	r := randomly(t)
	for i := range cases(50) {
		timing, s := randomTiming(t, r)
		if len(s.Blackout) == 0 || timing.Cron.MinInterval() < time.Hour && i%10 != 0 {
			continue // dense ones take long, and do not differ
		}
		got, want := timing.Rhythm().Gaps(timing.Loc), runByRun(timing.Rhythm(), timing.Loc)
		// Coalesced with a run beyond the window, the last one may be missing.
		if got.Max != want.Max || got.Min != want.Min || !got.MaxFrom.Equal(want.MaxFrom) || !got.MaxTo.Equal(want.MaxTo) || got.Runs-want.Runs > 1 || got.Runs < want.Runs {
			t.Fatalf("%q in %s, jitter %s, windows %+v: %#v, run by run %#v", s.Cron, s.Timezone, timing.Offset, s.Blackout, got, want)
		}
	}
}

// S7, S8: the worst case knows no id and bounds every share of the jitter, and
// some share comes to it.
func TestWorstCaseBoundsEveryShareOfTheJitter(t *testing.T) {
	t.Parallel()
	r := randomly(t)
	sparse := []string{"30 2 * * *", "0 0 * * *", "0 */3 * * *", "15 1,13 * * 1-5", "0 4 1,15 * *", "45 23 15W * *", "7 * * * *"}
	for range cases(40) {
		expr, zone := sparse[r.IntN(len(sparse))], zones[r.IntN(len(zones))]
		expression, err := cron.Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		loc, err := cron.LoadZone(zone)
		if err != nil {
			t.Fatal(err)
		}
		blackout := randomWindows(r)
		windows, err := slots.ParseWindows(blackout)
		if err != nil {
			t.Fatal(err)
		}
		jitter := time.Duration(1+r.IntN(min(120, int(expression.MinInterval()/time.Minute/2)))) * time.Minute
		worst := slots.WorstCase(expression, loc, windows, jitter)
		name := fmt.Sprintf("%q in %s, jitter %s, windows %+v", expr, zone, jitter, blackout)
		if worst.Longest != worst.Max+jitter {
			t.Fatalf("%s: %+v", name, worst)
		}
		// Windows lie on whole minutes, so that all happens there or a second
		// before or after.
		most, none := cron.Gaps{}, false
		for second := time.Duration(0); second < jitter; second += time.Second {
			if edge := second % time.Minute; edge > time.Second && edge < 59*time.Second {
				continue
			}
			g := slots.RhythmOf(expression, windows, second).Gaps(loc)
			none = none || g.Runs == 0
			if g.Few() && !worst.Few() {
				t.Fatalf("%s: %+v, with the share %s %+v", name, worst, second, g)
			}
			if g.Max > most.Max {
				most = g
			}
		}
		if none != worst.NoRun || !worst.Few() && most.Max != worst.Max {
			t.Fatalf("%s: %#v, over all shares %#v and none %v", name, worst, most, none)
		}
	}
}

// The expressions, zones and windows that cost the most.
func BenchmarkWorstCase(b *testing.B) {
	for _, expr := range []string{"* * * * *", "*/5 * * * *", "0 * * * *", "30 2 * * *", "7,23 1,9,17 * * *", "0 0 29 2 *", "0 12 L,15W * *", "30 9 * * 1#1,5L", "* * 1-31/2 * *", "0-58 * * * 1-5"} {
		for name, blackout := range map[string]string{
			"plain":  `{}`,
			"office": `{"office":{"days":"MON-FRI","from":"09:00","to":"17:00"}}`,
			"many":   `{"a":{"days":"1-5","from":"09:10","to":"17:00"},"b":{"from":"22:00","to":"06:05","action":"skip"},"c":{"days":"SUN","from":"05:00","to":"13:37"}}`,
		} {
			for _, jitter := range []time.Duration{0, time.Hour} {
				s, loc, windows := parsed(b, expr, "Europe/Berlin", blackout)
				if jitter > 0 && (name == "plain" || s.MinInterval() < 2*time.Hour) {
					continue
				}
				b.Run(fmt.Sprint(expr, "/", name, "/", jitter), func(b *testing.B) {
					i := 0
					for b.Loop() {
						i++ // another jitter, so that it is no remembered answer
						slots.WorstCase(s, loc, windows, jitter+time.Duration(i))
					}
				})
			}
		}
	}
}
