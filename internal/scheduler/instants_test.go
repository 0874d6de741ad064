package scheduler

import (
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// instants walks the slots of a schedule one by one, which the code under
// test never does.
func instants(t *testing.T, s envbackup.Schedule, after, until time.Time) []time.Time {
	t.Helper()
	expression, err := cron.Parse(s.Cron)
	if err != nil {
		t.Fatal(err)
	}
	loc, err := cron.LoadZone(s.Zone())
	if err != nil {
		t.Fatal(err)
	}
	var found []time.Time
	for at := after; ; {
		next, err := expression.Next(at, loc)
		if err != nil {
			t.Fatal(err)
		}
		if next.After(until) {
			return found
		}
		found, at = append(found, next.UTC()), next
	}
}
