package provider_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// TestFreshBackupExample (issue 3, data sources): with a real daemon, the gate
// of examples/fresh-backup is red while no fresh verified backup exists, in
// each of the three ways that it offers, and green with one.
func TestFreshBackupExample(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	dir := d.Dir
	w := exampleWorkspace(t, "fresh-backup")
	gate := func(when string, open bool) {
		t.Helper()
		w.env = []string{"ENVBACKUP_ENDPOINT=" + d.Endpoint, "ENVBACKUP_TOKEN=" + d.Token, "TF_VAR_environment=shop"}
		for _, way := range [][]string{{"test", "-no-color"}, {"plan", "-no-color", "-var", "strict=true"}} {
			out, err := w.try(t, way...)
			if (err == nil) != open {
				t.Errorf("%s: terraform %s: %v\n%s", when, strings.Join(way, " "), err, out)
			}
			if said := strings.Contains(strings.Join(strings.Fields(out), " "), "no verified backup of the last 26h."); said == open {
				t.Errorf("%s: terraform %s says\n%s", when, strings.Join(way, " "), out)
			}
		}
		// The plan itself only warns: it must, or nothing could be repaired.
		plan := w.run(t, "plan", "-no-color", "-out=gate.tfplan")
		if warned := strings.Contains(plan, "Warning: Check block assertion failed"); warned == open {
			t.Errorf("%s: the plan says\n%s", when, plan)
		}
		var shown struct{ Checks []struct{ Status string } }
		if err := json.Unmarshal([]byte(w.run(t, "show", "-json", "gate.tfplan")), &shown); err != nil {
			t.Fatal(err)
		}
		passed := len(shown.Checks) > 0
		for _, check := range shown.Checks {
			passed = passed && check.Status == "pass"
		}
		if passed != open {
			t.Errorf("%s: the plan's checks are %+v", when, shown.Checks)
		}
	}

	gate("nothing exists", false)

	first := backUpShop(t, d)
	gate("a backup that nobody verified", false)

	// Verified, but of three days ago: no daemon makes that on demand, so it is
	// put into the store while none runs.
	d.Stop(t)
	st, err := store.Open(t.Context(), filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	old, err := st.Backup(t.Context(), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	old.SnapshotID, old.Nominal, old.VerifiedAt = strings.Repeat("0a", 32), old.Nominal.Add(-72*time.Hour), time.Now()
	if err := st.AddBackup(t.Context(), &old); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	d = daemontest.Start(t, daemontest.InDir(dir))
	gate("an old verified backup", false)

	asked, err := d.Client.VerifyBackup(t.Context(), first.ID, envbackup.VerifyRead)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := d.Client.WatchVerification(t.Context(), asked.ID, nil); err != nil || done.State != envbackup.RunSucceeded {
		t.Fatalf("the verification is %s (%v)", done.State, err)
	}
	gate("a fresh verified backup", true)
}

// backUpShop makes a schedule shop/nightly over a real directory, waits for
// its first backup and returns it.
func backUpShop(t *testing.T, d *daemontest.Daemon) wire.Backup {
	t.Helper()
	source := t.TempDir()
	if err := os.WriteFile(filepath.Join(source, "orders.txt"), []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Client.CreateEnvironment(t.Context(), wire.EnvironmentInput{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: "shop", Files: map[string]envbackup.FilesSource{"app": {Path: source}},
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Client.CreateSchedule(t.Context(), wire.ScheduleInput{ScheduleSpec: envbackup.ScheduleSpec{
		Name: "nightly", Environment: "shop", Destinations: []string{"local"}, Cron: "30 2 * * *", Retention: retention.Spec{Period: "30d"},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := waitForRun(t, d); err != nil {
		t.Fatal(err)
	}
	page, err := d.Client.Backups(t.Context(), wire.BackupsQuery{Environment: "shop"})
	if err != nil || len(page.Items) != 1 {
		t.Fatalf("%d backups: %v", len(page.Items), err)
	}
	return page.Items[0]
}
