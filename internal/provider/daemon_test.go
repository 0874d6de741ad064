package provider_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// realConfig is an environment over a real directory, a real destination and
// a schedule, for a real daemon.
func realConfig(d *daemontest.Daemon, source, target, schedule string) string {
	return providerConfig(d.Endpoint, d.Token, `owner = "acceptance"`) + fmt.Sprintf(`
resource "envbackup_environment" "shop" {
  name  = "shop"
  files = { app = { path = %q, exclude = ["*.tmp"] } }
}

resource "envbackup_destination" "disk" {
  name                         = "disk"
  local                        = { path = %q }
  recovery_password_wo         = "correct horse battery"
  recovery_password_wo_version = 1
}

resource "envbackup_schedule" "nightly" {
  name         = "nightly"
  environment  = envbackup_environment.shop.name
  destinations = [envbackup_destination.disk.name]
%s
}
`, source, target, schedule)
}

// waitForRun waits until the newest run of the schedule is over. It follows
// the daemon's events and never sleeps.
func waitForRun(t *testing.T, d *daemontest.Daemon) error {
	t.Helper()
	page, err := d.Client.Runs(t.Context(), wire.RunsQuery{Schedule: "shop/nightly"})
	if err != nil || len(page.Items) == 0 {
		return fmt.Errorf("%d runs: %w", len(page.Items), err)
	}
	run, err := d.Client.WatchRun(t.Context(), page.Items[0].ID, nil)
	if err != nil {
		return err
	}
	if run.State != envbackup.RunSucceeded {
		return fmt.Errorf("run %s is %s: %+v", run.ID, run.State, run.Failure)
	}
	return nil
}

// TestAgainstADaemon: everything from the first apply to a destruction that
// keeps the backups, against a real daemon with real backups.
func TestAgainstADaemon(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	source, target := t.TempDir(), filepath.Join(t.TempDir(), "backups")
	if err := os.WriteFile(filepath.Join(source, "orders.txt"), []byte("one\ntwo\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := realConfig(d, source, target, `
  cron      = "30 2 * * *"
  timezone  = "Europe/Berlin"
  retention = { period = "30d", keep_monthly = 12 }
  max_rpo   = "26h"`)
	const list = `
data "envbackup_backups" "latest" {
  environment = "shop"
  schedule    = "nightly"
  status      = "complete"
  max_age     = "26h"
  limit       = 1
}
`
	const backups = "data.envbackup_backups.latest"
	edited := strings.NewReplacer(`"30 2 * * *"`, `"30 3 * * *"`, `name         = "nightly"`, `name = "nightly"
  blackout = { office = { days = "1-5", from = "09:00", to = "17:00" } }`).Replace(config)
	respelled := strings.NewReplacer(`"30d"`, `"720h"`, `"30 2 * * *"`, `"30 02 * * *"`).Replace(config)
	resource.UnitTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		CheckDestroy: func(*terraform.State) error { // R11: nothing is deleted
			page, err := d.Client.Backups(t.Context(), wire.BackupsQuery{})
			if err != nil || page.Total == 0 {
				return fmt.Errorf("%d backups after destroy (%w), want them kept", page.Total, err)
			}
			return nil
		},
		Steps: []resource.TestStep{
			{
				Config: config,
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("worst_case_gap"), knownvalue.StringExact("25h")),
				}},
				Check: func(*terraform.State) error { return waitForRun(t, d) },
			},
			empty(config),
			empty(respelled),
			{
				Config: config + list,
				ConfigStateChecks: []statecheck.StateCheck{
					statecheck.ExpectKnownValue(backups, tfjsonpath.New("total"), knownvalue.Int64Exact(1)),
					statecheck.ExpectKnownValue(backups, tfjsonpath.New("latest").AtMapKey("trigger"), knownvalue.StringExact("create")),
					statecheck.ExpectKnownValue(backups, tfjsonpath.New("latest").AtMapKey("kept"), knownvalue.Bool(true)),
					statecheck.ExpectKnownValue(backups, tfjsonpath.New("backups"), knownvalue.ListSizeExact(1)),
				},
			},
			{
				Config: edited,
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(scheduleAddress, plancheck.ResourceActionUpdate),
				}},
			},
			empty(edited),
			{ResourceName: scheduleAddress, ImportState: true, ImportStateVerify: true, ImportStateId: "shop/nightly"},
			{ResourceName: "envbackup_environment.shop", ImportState: true, ImportStateVerify: true, ImportStateId: "shop"},
			{ResourceName: "envbackup_destination.disk", ImportState: true, ImportStateVerify: true, ImportStateId: "disk"},
			{
				PreConfig: func() { // deleted behind Terraform's back
					if err := d.Client.DeleteSchedule(t.Context(), "shop/nightly", 0); err != nil {
						t.Error(err)
					}
				},
				Config: edited,
				ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
					plancheck.ExpectResourceAction(scheduleAddress, plancheck.ResourceActionCreate),
				}},
				Check: func(*terraform.State) error { return waitForRun(t, d) },
			},
			empty(edited),
		},
	})
}

// TestDaemonRefuses: what a real daemon refuses comes out at the attribute, or
// says what to do.
func TestDaemonRefuses(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t)
	good := "  cron      = \"30 2 * * *\"\n  retention = { keep_daily = 14 }\n  run_on_create = false\n"
	config := realConfig(d, t.TempDir(), filepath.Join(t.TempDir(), "backups"), good)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{ // beyond the operator's limit, known at plan
			Config:      strings.Replace(config, `{ keep_daily = 14 }`, `{ period = "11y" } #!`, 1),
			PlanOnly:    true,
			ExpectError: regexp.MustCompile(`(?s)\n\s*\d+:[^\n]*#!\n.*11y`),
		},
		{ // a name that nothing makes is an error at apply
			Config:      strings.Replace(config, `environment  = envbackup_environment.shop.name`, `environment = "shpo" #!`, 1),
			ExpectError: regexp.MustCompile(`(?s)\n\s*\d+:[^\n]*#!\n.*shpo`),
		},
		{Config: config},
		{ // an environment that a schedule uses
			Config: regexp.MustCompile(`(?s)resource "envbackup_environment" "shop" \{.*?\n\}\n`).ReplaceAllString(
				strings.Replace(config, `environment  = envbackup_environment.shop.name`, `environment = "shop"`, 1), ""),
			ExpectError: regexp.MustCompile(`(?s)Cannot delete the environment.*shop/nightly`),
		},
		{Config: config},
		{
			Config: strings.Replace(config, d.Token, "not-a-token", 1), PlanOnly: true,
			ExpectError: regexp.MustCompile(`(?s)The daemon refused the token.*admin\.token`),
		},
		empty(config),
	}})
}

// TestUnreachableBucketIsAWarning: applying a destination whose bucket cannot
// be reached succeeds, and says so at once.
func TestUnreachableBucketIsAWarning(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	w := newWorkspace(t, providerConfig(d.Endpoint, d.Token)+`
resource "envbackup_destination" "s3" {
  name = "primary"
  s3 = {
    bucket                       = "acme-backups"
    region                       = "eu-central-1"
    endpoint                     = "http://127.0.0.1:1"
    force_path_style             = true
    access_key_id                = "AKIA"
    secret_access_key_wo         = "open-sesame"
    secret_access_key_wo_version = 1
  }
}
`)
	out := w.run(t, "apply", "-no-color", "-auto-approve")
	for _, want := range []string{"Warning: ", "127.0.0.1:1", "Apply complete! Resources: 1 added"} {
		if !strings.Contains(out, want) {
			t.Errorf("apply does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(mustRead(t, filepath.Join(w.dir, "terraform.tfstate"))), "open-sesame") {
		t.Error("the state holds the secret")
	}
	if out, err := w.try(t, "plan", "-no-color", "-detailed-exitcode"); err != nil {
		t.Errorf("the plan after apply is not empty: %v\n%s", err, out)
	}
}
