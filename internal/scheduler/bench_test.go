package scheduler

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/queue"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// BenchmarkTick10000 is the burst of issue 5: ten thousand schedules due in
// the same minute, each getting its slot, run and job, on SQLite.
func BenchmarkTick10000(b *testing.B) {
	const count = 10_000
	ctx := context.Background()
	st, err := store.Open(ctx, filepath.Join(b.TempDir(), "state.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	if err := st.CreateDestination(ctx, &envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{Name: "s3"}}); err != nil {
		b.Fatal(err)
	}
	if err := st.CreateEnvironment(ctx, &envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{Name: "shop"}}); err != nil {
		b.Fatal(err)
	}
	q, err := queue.New(st, idle{}, queue.Config{})
	if err != nil {
		b.Fatal(err)
	}
	service := New(st, q, Config{})
	err = st.Tx(ctx, func(tx *store.Tx) error {
		for i := range count {
			s := envbackup.Schedule{ScheduleSpec: spec(func(s *envbackup.ScheduleSpec) { s.Name, s.Overlap = fmt.Sprintf("s%d", i), "queue" })}
			s.DecidedUntil, s.DueAt = day(8, 0), day(9, 0)
			if err := tx.InsertSchedule(ctx, &s, day(8, 0)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	hour := 9
	for b.Loop() {
		if err := service.Tick(ctx, day(0, 0).Add(time.Duration(hour)*time.Hour)); err != nil {
			b.Fatal(err)
		}
		hour++
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/count, "ms/schedule")
}
