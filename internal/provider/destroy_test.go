package provider_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// destroyed applies one schedule with on_destroy, takes its first backup and
// destroys everything.
func destroyed(t *testing.T, onDestroy string) (d *daemontest.Daemon, source, target string) {
	t.Helper()
	needTerraform(t)
	d = daemontest.Start(t)
	source, target = t.TempDir(), filepath.Join(t.TempDir(), "backups")
	if err := os.WriteFile(filepath.Join(source, "orders.txt"), []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorkspace(t, realConfig(d, source, target, `
  cron       = "30 2 * * *"
  retention  = { period = "30d" }
  `+onDestroy))
	w.run(t, "apply", "-no-color", "-auto-approve")
	if err := waitForRun(t, d); err != nil {
		t.Fatal(err)
	}
	out := w.run(t, "destroy", "-no-color", "-auto-approve")
	if !strings.Contains(out, "Destroy complete! Resources: 3 destroyed") {
		t.Fatalf("destroy says:\n%s", out)
	}
	return d, source, target
}

// R11: destroying schedule, environment and destination keeps the backups.
// They are still listed; stock restic opens them with the recovery password;
// and once the destination is there again, the daemon restores them with the
// password that it has kept, although the environment is gone.
func TestDestroyKeepsBackupsThatCanStillBeRestored(t *testing.T) {
	t.Parallel()
	d, source, target := destroyed(t, "")
	page, err := d.Client.Backups(t.Context(), wire.BackupsQuery{Environment: "shop"})
	if err != nil || page.Total != 1 {
		t.Fatalf("%d backups are listed (%v), want the one that was taken", page.Total, err)
	}
	if why := strings.Join(page.Items[0].KeptBecause, "; "); !page.Items[0].Kept || why != "its schedule is gone, so nothing prunes it" {
		t.Errorf("kept %t because %q", page.Items[0].Kept, why)
	}
	restic := referee.New(t, filepath.Join(target, "shop"), "correct horse battery")
	restic.Check()
	if got := len(restic.Snapshots()); got != 1 {
		t.Errorf("restic finds %d snapshots, want 1", got)
	}

	to := filepath.Join(t.TempDir(), "restored")
	request := wire.RestoreRequest{Backup: page.Items[0].ID, Target: to}
	_, err = d.Client.CreateRestore(t.Context(), request)
	if envbackup.CodeOf(err) != envbackup.CodeConflict || !strings.Contains(err.Error(), `"disk", which was deleted`) {
		t.Errorf("with the destination gone: %v, want a refusal that names it", err)
	}
	_, err = d.Client.CreateDestination(t.Context(), wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{
		Name: "disk", Local: &envbackup.LocalPlace{Path: target},
	}})
	if err != nil {
		t.Fatal(err)
	}
	restore, err := d.Client.CreateRestore(t.Context(), request)
	if err == nil {
		restore, err = d.Client.WatchRestore(t.Context(), restore.ID, nil)
	}
	if err != nil || restore.State != envbackup.RunSucceeded {
		t.Fatalf("restore is %s: %+v (%v)", restore.State, restore.Failure, err)
	}
	referee.CompareTrees(t, source, filepath.Join(to, source))
}

// R11: only on_destroy = "delete" deletes the backups with their schedule, the
// last good one included (R1's exception).
func TestDestroyDeletesBackupsWhenItSaysSo(t *testing.T) {
	t.Parallel()
	d, _, target := destroyed(t, `on_destroy = "delete"`)
	page, err := d.Client.Backups(t.Context(), wire.BackupsQuery{})
	if err != nil || page.Total != 0 {
		t.Errorf("%d backups are listed (%v), want none", page.Total, err)
	}
	restic := referee.New(t, filepath.Join(target, "shop"), "correct horse battery")
	restic.Check()
	if got := len(restic.Snapshots()); got != 0 {
		t.Errorf("restic finds %d snapshots, want none", got)
	}
}

// R11: a destination that a schedule uses is not deleted, and the refusal names
// the schedule.
func TestADestinationInUseIsNotDeleted(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	config := realConfig(d, t.TempDir(), filepath.Join(t.TempDir(), "backups"), "  cron = \"30 2 * * *\"\n  retention = { period = \"30d\" }\n  run_on_create = false\n")
	w := newWorkspace(t, config)
	w.run(t, "apply", "-no-color", "-auto-approve")
	begin, end := strings.Index(config, `resource "envbackup_destination"`), strings.Index(config, `resource "envbackup_schedule"`)
	without := config[:begin] + strings.Replace(config[end:], "envbackup_destination.disk.name", `"disk"`, 1)
	w.write(t, "terraform {\n  required_providers {\n    envbackup = { source = \"envbackup/envbackup\" }\n  }\n}\n"+without)
	out, err := w.try(t, "apply", "-no-color", "-auto-approve")
	if err == nil || !strings.Contains(out, "Cannot delete the destination") || !strings.Contains(out, "shop/nightly") {
		t.Errorf("apply (%v) says:\n%s", err, out)
	}
}
