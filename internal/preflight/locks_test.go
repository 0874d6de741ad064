package preflight_test

import (
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// The first backups go when the last rule lets go that keeps every backup, or
// with the shortest tier.
func TestFirstToGo(t *testing.T) {
	t.Parallel()
	n := func(v int64) *int64 { return &v }
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		cron string
		keep retention.Spec
		rule string
		age  time.Duration
	}{
		"a period":                                {"30 2 * * *", retention.Spec{Period: "30d", KeepMonthly: n(12)}, `period = "30d"`, 30 * day},
		"a tier that the period covers":           {"30 2 * * *", retention.Spec{Period: "30d", KeepDaily: n(7)}, `period = "30d"`, 30 * day},
		"each day has one run":                    {"30 2 * * *", retention.Spec{KeepDaily: n(7), KeepMonthly: n(12)}, "keep_daily = 7", 7 * day},
		"each day has many":                       {"0 * * * *", retention.Spec{KeepDaily: n(7), KeepMonthly: n(12)}, "keep_daily = 7", 7 * day},
		"the last ones":                           {"0 * * * *", retention.Spec{KeepLast: n(48), KeepDaily: n(7)}, "keep_last = 48", 2 * day},
		"the finest tier, several runs in a unit": {"*/15 * * * *", retention.Spec{KeepHourly: n(24), KeepDaily: n(7)}, "keep_hourly = 24", day},
		"everything stays":                        {"0 * * * *", retention.Spec{KeepAll: true}, "", 0},
		"a wrong expression":                      {"61 * * * *", retention.Spec{KeepLast: n(1)}, "", 0},
	} {
		rule, age, ok := preflight.FirstToGo(preflight.Of(envbackup.ScheduleSpec{Cron: tt.cron, Retention: tt.keep}))
		if rule != tt.rule || age != tt.age || ok != (tt.rule != "") {
			t.Errorf("%s: %q after %s, %t; want %q after %s", name, rule, age, ok, tt.rule, tt.age)
		}
	}
}
