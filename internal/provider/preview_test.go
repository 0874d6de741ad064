package provider_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// unwrapped returns what Terraform printed without its frames and line breaks, so
// that a sentence can be looked for as it is read.
func unwrapped(out string) string {
	return strings.Join(strings.Fields(strings.NewReplacer("│", " ", "╷", " ", "╵", " ").Replace(out)), " ")
}

// wantText reports each text that Terraform did not say.
func wantText(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if !strings.Contains(unwrapped(out), want) {
			t.Errorf("Terraform does not say %q:\n%s", want, out)
		}
	}
}

// wantAtMark reports a message that does not stand at the line marked with "#!".
func wantAtMark(t *testing.T, out, title string) {
	t.Helper()
	if !regexp.MustCompile(`(?s)` + regexp.QuoteMeta(title) + `[^╵]*?\n[│ ]*\d+:[^\n]*#!\n`).MatchString(out) {
		t.Errorf("%q does not stand at the marked line:\n%s", title, out)
	}
}

// previewConfig is a schedule at the destinations, with real ones.
func previewConfig(d *daemontest.Daemon, dir string, destinations []string, schedule string) string {
	config := providerConfig(d.Endpoint, d.Token) + fmt.Sprintf(`
resource "envbackup_environment" "shop" {
  name  = "shop"
  files = { app = { path = %q } }
}
`, filepath.Join(dir, "source"))
	var names []string
	for _, name := range destinations {
		names = append(names, "envbackup_destination."+name+".name")
		config += fmt.Sprintf(`
resource "envbackup_destination" %q {
  name                         = %q
  local                        = { path = %q }
  recovery_password_wo         = "correct horse battery"
  recovery_password_wo_version = 1
}
`, name, name, filepath.Join(dir, name))
	}
	return config + fmt.Sprintf(`
resource "envbackup_schedule" "nightly" {
  name         = "nightly"
  environment  = envbackup_environment.shop.name
  destinations = [%s]
  cron         = "30 2 * * *"
  lint_ignore  = ["retention-short", "retention-period-short"]
%s
}
`, strings.Join(names, ", "), schedule)
}

// TestChangePreviewOfRealBackups: an edit that would remove backups which real
// runs made says which, is refused until it is acknowledged when they are many
// (R4), and removes nothing before the grace.
func TestChangePreviewOfRealBackups(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "source"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "source", "orders.txt"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	config := func(keep int, more string) string {
		return previewConfig(d, dir, []string{"disk"}, fmt.Sprintf("  retention = { keep_last = %d } #!\n%s", keep, more))
	}
	w := newWorkspace(t, config(5, ""))
	w.run(t, "apply", "-no-color", "-auto-approve")
	// Each creation takes a backup that counts for the retention; a schedule
	// that is made again is the same one to them (S16).
	again, err := d.Client.Schedule(t.Context(), "shop/nightly")
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if err := waitForRun(t, d); err != nil {
			t.Fatal(err)
		}
		if err := d.Client.DeleteSchedule(t.Context(), "shop/nightly", 0); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Client.CreateSchedule(t.Context(), wire.ScheduleInput{ScheduleSpec: again.ScheduleSpec}); err != nil {
			t.Fatal(err)
		}
	}
	if err := waitForRun(t, d); err != nil {
		t.Fatal(err)
	}
	count := func() int64 {
		t.Helper()
		page, err := d.Client.Backups(t.Context(), wire.BackupsQuery{Schedule: "nightly"})
		if err != nil {
			t.Fatal(err)
		}
		return page.Total
	}
	if n := count(); n != 5 {
		t.Fatalf("%d backups, want 5", n)
	}

	w.rewrite(t, config(4, ""))
	out := w.run(t, "plan", "-no-color")
	wantText(t, out, `Warning: This change removes backups`, `It would remove 1 of 5 backups at "disk": that of 20`,
		`The prune after the next good backup sets it aside for prune_grace (1d). Until it is deleted, undoing the change keeps it.`)
	wantAtMark(t, out, "This change removes backups")

	w.rewrite(t, config(1, ""))
	out, err = w.try(t, "plan", "-no-color")
	if err == nil {
		t.Errorf("a plan that removes most backups is not refused:\n%s", out)
	}
	wantText(t, out, `Error: This change removes many backups`, `It would remove 4 of 5 backups at "disk": the oldest of 20`, `the newest of 20`,
		`Those include more than half of the good backups at "disk". If that is intended, add: acknowledge_removal = 4.`)
	wantAtMark(t, out, "This change removes many backups")

	w.rewrite(t, config(1, "  acknowledge_removal = 3"))
	if out, err = w.try(t, "plan", "-no-color"); err == nil {
		t.Errorf("acknowledging fewer than go is enough:\n%s", out)
	}

	w.rewrite(t, config(1, "  acknowledge_removal = 4"))
	out = w.run(t, "apply", "-no-color", "-auto-approve")
	wantText(t, out, `Warning: This change removes backups`, `It would remove 4 of 5 backups`, `Apply complete!`)
	pruned, err := d.Client.PruneSchedule(t.Context(), "shop/nightly", false)
	if err != nil {
		t.Fatal(err)
	}
	if pruned.Removed != 0 || pruned.SetAside != 4 || len(pruned.SetAsideLists) != 1 || count() != 5 {
		t.Errorf("a prune within the grace removed %d and set %d aside (%+v), and %d backups are left; want 4 set aside, 5 left",
			pruned.Removed, pruned.SetAside, pruned.SetAsideLists, count())
	}
	if out, err := w.try(t, "plan", "-no-color", "-detailed-exitcode"); err != nil {
		t.Errorf("the plan after apply: %v\n%s", err, out)
	}
}

// TestChangePreviewAtTwoDestinations: each destination is counted by itself,
// over a history of months.
func TestChangePreviewAtTwoDestinations(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	dir := t.TempDir()
	config := func(retention string) string {
		return previewConfig(d, dir, []string{"disk", "nas"}, "  timezone = \"Europe/Berlin\"\n  run_on_create = false\n  retention = { "+retention+" } #!\n")
	}
	w := newWorkspace(t, config(`period = "90d"`))
	w.run(t, "apply", "-no-color", "-auto-approve")
	addHistory(t, d, time.Now(), map[string]int{"disk": 60, "nas": 41})

	w.rewrite(t, config(`period = "40d"`))
	out := w.run(t, "plan", "-no-color")
	// The period keeps the first backup beyond it, too.
	wantText(t, out, `It would remove 19 of 60 backups at "disk": the oldest of `, `, together 19.0 GiB.`)
	if strings.Contains(unwrapped(out), `at "nas"`) {
		t.Errorf("nas is named although nothing goes there:\n%s", out)
	}
	w.rewrite(t, config(`period = "20d", prune_grace = "6h"`))
	out, err := w.try(t, "plan", "-no-color")
	if err == nil {
		t.Errorf("a plan that removes most backups is not refused:\n%s", out)
	}
	wantText(t, out, `It would remove 59 backups: 39 of 60 backups at "disk" (the oldest of `, `and 20 of 41 backups at "nas" (the oldest of `,
		`together 20.0 GiB)`, `more than half of the good backups at "disk". If that is intended, add: acknowledge_removal = 59.`, `prune_grace (6h)`)
}

// addHistory gives the schedule a backup of 1 GiB a day at each destination up
// to newest, as many as are said, which no run made.
func addHistory(t *testing.T, d *daemontest.Daemon, newest time.Time, days map[string]int) {
	t.Helper()
	state, err := store.Open(t.Context(), filepath.Join(d.Dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := state.Close(); err != nil {
			t.Error(err)
		}
	}()
	schedule, err := state.Schedule(t.Context(), "shop/nightly")
	if err != nil {
		t.Fatal(err)
	}
	newest = newest.UTC().Truncate(24 * time.Hour)
	for i, name := range schedule.Destinations {
		for day := range days[name] {
			at := newest.AddDate(0, 0, -day)
			if err := state.AddBackup(t.Context(), &envbackup.Backup{
				SnapshotID: fmt.Sprintf("%064x", 1000*i+day+1), ScheduleID: schedule.ID, Schedule: schedule.Name,
				EnvironmentID: schedule.EnvironmentID, Environment: schedule.Environment, DestinationID: schedule.DestinationIDs[i], Destination: name,
				Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete, Nominal: at, StartedAt: at, CompletedAt: at, Size: 1 << 30,
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestReplacedSchedule: a schedule that is made anew under its name takes its
// backups over (S16), so its plan is that of an edit: the name is no clash, and
// what its retention would remove is said.
func TestReplacedSchedule(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	dir := t.TempDir()
	config := func(period string) string {
		return previewConfig(d, dir, []string{"disk"}, "  run_on_create = false\n  retention = { period = \""+period+"\" } #!\n")
	}
	w := newWorkspace(t, config("90d"))
	w.run(t, "apply", "-no-color", "-auto-approve")
	addHistory(t, d, time.Now(), map[string]int{"disk": 60})
	out := w.run(t, "plan", "-no-color", "-replace=envbackup_schedule.nightly")
	if strings.Contains(unwrapped(out), "would remove") {
		t.Errorf("the same retention removes backups:\n%s", out)
	}
	w.rewrite(t, config("40d"))
	out = w.run(t, "plan", "-no-color", "-replace=envbackup_schedule.nightly")
	wantText(t, out, `It would remove 19 of 60 backups at "disk"`)
	wantAtMark(t, out, "This change removes backups")
}

// TestForbiddenPathAndUnknownWorker: what the daemon knows about an environment
// is said at plan, at its line: a path outside the allow-list is an error, a
// worker that nobody knows a warning, and an error at apply.
func TestForbiddenPathAndUnknownWorker(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	allowed := t.TempDir()
	d := daemontest.Start(t, daemontest.Config(func(c *daemon.Config) { c.Dev, c.AllowRead, c.Worker = false, []string{allowed}, "db1" }))
	config := func(app, more string) string {
		return providerConfig(d.Endpoint, d.Token) + "resource \"envbackup_environment\" \"shop\" {\n  name = \"shop\"\n" + more +
			"\n  files = {\n    app = { path = " + app + "\n    conf = { path = \"" + allowed + "\" }\n  }\n}\n"
	}
	w := newWorkspace(t, config(`"/etc" } #!`, ""))
	out, err := w.try(t, "plan", "-no-color")
	if err == nil {
		t.Errorf("a forbidden path is planned:\n%s", out)
	}
	wantText(t, out, "Error: Path is not allowed", "The daemon's operator does not allow it to back up /etc. Add to the daemon's configuration file: allow_read: [/etc]")
	wantAtMark(t, out, "Path is not allowed")

	good := fmt.Sprintf("%q }", allowed)
	w.rewrite(t, config(good, "  worker = \"db2\" #!"))
	out = w.run(t, "plan", "-no-color")
	wantText(t, out, "Warning: Worker does not exist", `No daemon named "db2" works here; the only one is "db1". Did you mean "db1"?`, "Apply refuses it as long as it is not there.")
	wantAtMark(t, out, "Warning: Worker does not exist")
	out, err = w.try(t, "apply", "-no-color", "-auto-approve")
	if err == nil {
		t.Errorf("an unknown worker is applied:\n%s", out)
	}
	wantText(t, out, "Error: Worker does not exist")
	wantAtMark(t, out, "Error: Worker does not exist")

	w.rewrite(t, config(good, "  worker = \"db1\""))
	w.run(t, "apply", "-no-color", "-auto-approve")
	w.rewrite(t, config(`"/etc" } #!`, "  worker = \"db1\""))
	if out, err = w.try(t, "plan", "-no-color"); err == nil {
		t.Errorf("an edit to a forbidden path is planned:\n%s", out)
	}
	wantAtMark(t, out, "Path is not allowed")

	// Another name is another environment, not a change of this one.
	w.rewrite(t, strings.Replace(config(good, ""), `name = "shop"`, `name = "shop-2"`, 1))
	wantText(t, w.run(t, "plan", "-no-color"), "Plan: 1 to add, 0 to change, 1 to destroy.")
}

// TestMovedDestination: moving a destination that has backups says what becomes
// of them, with the same words at plan and at apply; one without has nothing to
// say.
func TestMovedDestination(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	dir := t.TempDir()
	schedule := "  run_on_create = false\n  retention = { period = \"90d\" }\n"
	config := func(place string) string {
		return strings.Replace(previewConfig(d, dir, []string{"disk"}, schedule), fmt.Sprintf("{ path = %q }\n  recovery", filepath.Join(dir, "disk")),
			fmt.Sprintf("{ path = %q } #!\n  recovery", filepath.Join(dir, place)), 1)
	}
	w := newWorkspace(t, config("disk"))
	w.run(t, "apply", "-no-color", "-auto-approve")
	w.rewrite(t, config("two"))
	if out := w.run(t, "plan", "-no-color"); strings.Contains(out, "Destination moves") {
		t.Errorf("nothing is left behind, and it is said:\n%s", out)
	}
	addHistory(t, d, time.Now(), map[string]int{"disk": 2})
	words := fmt.Sprintf(`Backups of "disk" have gone to %s and go to %s from now on. The 2 backups at the old place stay there and in the lists, as detached,`,
		filepath.Join(dir, "disk"), filepath.Join(dir, "two"))
	out := w.run(t, "plan", "-no-color")
	wantText(t, out, "Warning: Destination moves", words)
	wantAtMark(t, out, "Destination moves")
	wantText(t, w.run(t, "apply", "-no-color", "-auto-approve"), "Warning: Destination moves", words)
}

// TestManyBadDestinationsAreOneWarning: Terraform folds warnings of one title
// and shows only the first, so that one names them all.
func TestManyBadDestinationsAreOneWarning(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	config := strings.Replace(previewConfig(d, t.TempDir(), nil, "  retention = { period = \"90d\" }\n"),
		"destinations = []", `destinations = ["one", "two", "three", "four", "five", "six"] #!`, 1)
	out := newWorkspace(t, config).run(t, "plan", "-no-color")
	wantText(t, out, `The daemon does not know "one", "two", "three", "four", "five", "six".`)
	wantAtMark(t, out, "Destination does not exist")
	if strings.Contains(out, "more similar") {
		t.Errorf("some are folded away:\n%s", out)
	}
}

// TestFindingsOfTheDaemonStandAtTheirLine: what the daemon says about a nested
// attribute is shown at the line of that attribute, or of the element of the
// map or list that it is in.
func TestFindingsOfTheDaemonStandAtTheirLine(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	for path, config := range map[string]string{
		"retention.keep_daily": `
  destinations = ["local"]
  retention = {
    period     = "30d"
    keep_daily = 3 #!
  }`,
		`blackout["x"].from`: `
  destinations = ["local"]
  retention = { keep_daily = 3 }
  blackout = {
    w = { from = "01:00", to = "01:30" }
    x = { from = "05:00", to = "06:00" } #!
  }`,
		"destinations[1]": `
  retention = { keep_daily = 3 }
  destinations = ["local", "other"] #!`,
		"timezone": `
  destinations = ["local"]
  retention = { keep_daily = 3 }
  timezone = "UTC" #!`,
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			d := newFakeDaemon(t)
			d.findings = []envbackup.Finding{{Severity: envbackup.SeverityError, Path: path, Summary: "Found by the daemon", Detail: "It is so."}}
			w := newWorkspace(t, providerConfig(d.URL, fakeToken)+"\nresource \"envbackup_schedule\" \"s\" {\n  name = \"s\"\n  environment = \"shop\"\n  cron = \"@daily\""+config+"\n}\n")
			out, err := w.try(t, "plan", "-no-color")
			if err == nil {
				t.Errorf("the plan is not refused:\n%s", out)
			}
			wantAtMark(t, out, "Found by the daemon")
		})
	}
}

// TestHealthInEveryPlan: a plan that changes nothing still warns when the last
// good backup is older than it should be, or when the first run failed; it says
// how old, how old it may be, why, and what to do. New and paused schedules are
// left alone.
func TestHealthInEveryPlan(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	dir := t.TempDir() // without the source that the environment names
	config := func(more string) string {
		return previewConfig(d, dir, []string{"disk"}, "  retention = { period = \"90d\" }\n"+more)
	}
	unchanged := func(w workspace) string {
		t.Helper()
		out, err := w.try(t, "plan", "-no-color", "-detailed-exitcode")
		if err != nil {
			t.Errorf("the plan is not empty: %v\n%s", err, out)
		}
		return out
	}
	w := newWorkspace(t, config("  run_on_create = false"))
	w.run(t, "apply", "-no-color", "-auto-approve")
	if out := unchanged(w); strings.Contains(out, "Warning") {
		t.Errorf("a new schedule is warned of:\n%s", out)
	}

	run, err := d.Client.RunSchedule(t.Context(), "shop/nightly", true)
	if err != nil {
		t.Fatal(err)
	}
	if run, err = d.Client.WatchRun(t.Context(), run.ID, nil); err != nil || run.State != envbackup.RunFailed {
		t.Fatalf("run without a source = %s, %v", run.State, err)
	}
	failed := "its last run failed less than a minute ago: " + run.Failure.Message
	wantText(t, unchanged(w), "Warning: No good backup yet", "shop/nightly: it has no good backup yet; "+failed,
		"See its runs with: envbackup runs list --schedule shop/nightly")

	addHistory(t, d, time.Now().AddDate(0, 0, -10), map[string]int{"disk": 1})
	wantText(t, unchanged(w), "Warning: No good backup within the expected time", "shop/nightly: its last good backup is 10d",
		"it should never be older than 30h (24h between two runs and 6h for one); "+failed, "Take a backup now with: envbackup schedules run shop/nightly")

	w.rewrite(t, config("  run_on_create = false\n  paused = true"))
	w.run(t, "apply", "-no-color", "-auto-approve")
	if out := unchanged(w); strings.Contains(out, "Warning") {
		t.Errorf("a paused schedule is warned of:\n%s", out)
	}
}
