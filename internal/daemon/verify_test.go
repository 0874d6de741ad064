package daemon_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// proven waits for the newest verification of the schedule's backups.
func proven(t *testing.T, c *client.Client) wire.Verification {
	t.Helper()
	page, err := c.Verifications(t.Context(), wire.VerificationsQuery{Schedule: "shop/nightly"})
	if err != nil || len(page.Items) == 0 {
		t.Fatalf("verifications = %+v, %v; want one", page.Items, err)
	}
	v, err := c.WatchVerification(t.Context(), page.Items[0].ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A schedule that asks for it has its first backup verified by itself; the
// schedule, the backup, the filter and the metrics say so.
func TestScheduleVerifiesByItself(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	source := filepath.Join(t.TempDir(), "source")
	fill(t, source, 20)
	declare(t, d.Client, source, func(in *wire.ScheduleInput) {
		in.Verify = &envbackup.VerifySpec{Level: "restore", Every: "7d", MaxDuration: "1h"}
	})
	run := finished(t, d.Client, envbackup.RunSucceeded)
	v := proven(t, d.Client)
	if v.State != envbackup.RunSucceeded || v.Level != envbackup.VerifyRestore || v.Trigger != envbackup.TriggerSchedule || v.MaxDuration != "1h" ||
		v.BackupID != run.Destinations[0].BackupID || v.FilesDone != 20 {
		t.Errorf("verification = %+v, failure %+v", v, v.Failure)
	}
	page, err := d.Client.Backups(t.Context(), wire.BackupsQuery{Environment: "shop", Verified: "true", Status: "complete"})
	if err != nil || page.Total != 1 || page.Items[0].VerifiedAt == nil || !strings.Contains(strings.Join(page.Items[0].KeptBecause, ","), "newest verified") {
		t.Errorf("verified backups = %+v, %v", page, err)
	}
	s, err := d.Client.Schedule(t.Context(), "shop/nightly")
	if err != nil || s.LastVerifiedAt == nil || s.LastVerification == nil || s.LastVerification.ID != v.ID || s.Verify == nil || s.Verify.Every != "7d" {
		t.Errorf("schedule = %+v, %v", s, err)
	}
	if left, err := os.ReadDir(filepath.Join(d.Dir, "scratch")); err != nil || len(left) > 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
	for _, want := range []string{
		`envbackup_attempts_total{kind="verification",result="succeeded"} 1`, `envbackup_schedule_damaged{environment="shop",schedule="nightly"} 0`,
		`envbackup_last_verified_timestamp_seconds{environment="shop",schedule="nightly"}`,
	} {
		if !strings.Contains(get(t, d, "/metrics"), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	// The next run finds it young enough.
	if _, err := d.Client.RunSchedule(t.Context(), "shop/nightly", true); err != nil {
		t.Fatal(err)
	}
	finished(t, d.Client, envbackup.RunSucceeded)
	if again := proven(t, d.Client); again.ID != v.ID {
		t.Errorf("verified again: %+v", again)
	}
}

// A daemon that is killed in the middle of a verification verifies after its
// next start, and leaves nothing of the first attempt.
func TestKilledInTheMiddleOfAVerification(t *testing.T) {
	t.Parallel()
	dir, source := t.TempDir(), filepath.Join(t.TempDir(), "source")
	fill(t, source, 2000)
	c := startChild(t, dir)
	declare(t, c.client, source)
	finished(t, c.client, envbackup.RunSucceeded)
	b, err := c.client.Backups(t.Context(), wire.BackupsQuery{Environment: "shop"})
	if err != nil || len(b.Items) != 1 {
		t.Fatal(b, err)
	}
	// A destination that answers slowly gives the time to kill.
	limit := func(c *client.Client, bandwidth int64) {
		t.Helper()
		local, err := c.Destination(t.Context(), "local")
		if err != nil {
			t.Fatal(err)
		}
		local.BandwidthLimit = bandwidth
		if _, err := c.UpdateDestination(t.Context(), "local", wire.DestinationInput{DestinationSpec: local.DestinationSpec}, local.Version); err != nil {
			t.Fatal(err)
		}
	}
	limit(c.client, 20_000)
	v, err := c.client.VerifyBackup(t.Context(), b.Items[0].ID, envbackup.VerifyRestore)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.client.WatchVerification(t.Context(), v.ID, func(v wire.Verification) error {
		if v.Progress != nil && v.Progress.Phase == envbackup.PhaseVerify {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("the verification ended before it was killed: %v", err)
	}
	c.kill()
	if left, err := os.ReadDir(filepath.Join(dir, "scratch")); err != nil || len(left) != 1 {
		t.Errorf("in the scratch directory of the killed one: %v, %v", left, err)
	}

	d := daemontest.Start(t, daemontest.InDir(dir))
	// The attempt that began before this makes way like any other.
	limit(d.Client, 0)
	if _, err := d.Client.RunSchedule(t.Context(), "shop/nightly", true); err != nil {
		t.Fatal(err)
	}
	got, err := d.Client.WatchVerification(t.Context(), v.ID, nil)
	if err != nil || got.State != envbackup.RunSucceeded || got.FilesDone != 2000 {
		t.Errorf("after the next start: %+v %+v, %v", got, got.Failure, err)
	}
	if row, err := d.Client.Backup(t.Context(), v.BackupID); err != nil || row.VerifiedAt == nil {
		t.Errorf("backup = %+v, %v", row, err)
	}
	d.Stop(t)
	if left, err := os.ReadDir(filepath.Join(dir, "scratch")); err != nil || len(left) > 0 {
		t.Errorf("left in the scratch directory: %v, %v", left, err)
	}
}
