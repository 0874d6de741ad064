package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// barName is the row of a figure that has no peer: nobody else foresees what a
// schedule will keep, so the bar itself stands there.
const barName = "the bar"

// simulateBar is the longest that ten years of a schedule of every five minutes
// may take.
const simulateBar = 5 * time.Second

// simulate measures how long it takes to foresee ten years of a schedule of
// every five minutes, in a process of its own.
func simulate(b *bench, ctx context.Context, _ discipline, r *result) error {
	for round := range b.extent.Rounds {
		settle()
		s, _, err := run(ctx, b.self("simulate"))
		if err != nil {
			return err
		}
		r.files = 1
		r.add(oursName, s)
		r.add(barName, sample{Wall: simulateBar, CPU: simulateBar})
		b.progress("  round %d of %d: %s", round+1, b.extent.Rounds, oursName)
	}
	return nil
}

// foresee is the work of simulate: one schedule without and one with blackout
// windows, with a policy in which every kind of rule counts.
func foresee(out io.Writer) error {
	number := func(n int64) *int64 { return &n }
	spec := envbackup.ScheduleSpec{
		Cron: "*/5 * * * *", Timezone: "Europe/Berlin", Jitter: "2m",
		Retention: retention.Spec{
			Period: "30d", KeepLast: number(2000), KeepHourly: number(24 * 60), KeepDaily: number(400), KeepWeekly: number(104),
			KeepMonthly: number(60), KeepYearly: number(10), MaxAge: "10y",
		},
	}
	from := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for _, windows := range []map[string]envbackup.Blackout{nil, {
		"office": {Days: "MON-FRI", From: "09:10", To: "17:00"}, "night": {From: "23:30", To: "01:15", Action: "skip"},
	}} {
		spec.Blackout = windows
		p := preflight.Of(spec)
		p.ID = "sch_bench"
		replay, ok := preflight.ReplayOf(p, from)
		if !ok {
			return fmt.Errorf("the schedule of the benchmark is not valid")
		}
		if err := json.NewEncoder(out).Encode(replay.Simulate(retention.Duration{Months: 120})); err != nil {
			return err
		}
	}
	return nil
}
