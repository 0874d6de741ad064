package retention_test

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// BenchmarkSift100k judges the backups of ten weeks at one a minute.
func BenchmarkSift100k(b *testing.B) {
	loc, err := cron.LoadZone("Europe/Berlin")
	if err != nil {
		b.Fatal(err)
	}
	days := int64(30)
	policy, err := retention.Spec{Period: "30d", KeepHourly: &days, KeepDaily: &days, KeepMonthly: &days}.Policy()
	if err != nil {
		b.Fatal(err)
	}
	history := make([]retention.Point, 100_000)
	for i := range history {
		nominal := base.Add(-time.Duration(i) * time.Minute)
		history[i] = retention.Point{
			ID: strconv.Itoa(i), Nominal: nominal, Completed: nominal, Trigger: retention.TriggerSchedule, Status: retention.StatusComplete, Size: 1 << 30,
		}
	}
	points := slices.Clone(history)
	b.ReportAllocs()
	for b.Loop() {
		retention.Sift(points, policy, loc, base)
	}
}
