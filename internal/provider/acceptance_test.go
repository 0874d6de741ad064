package provider_test

import (
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
)

const scheduleAddress = "envbackup_schedule.nightly"

// TestScheduleLifecycle: create with everything known at plan, an empty second
// plan, update in place, import by id and by name.
func TestScheduleLifecycle(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	base := providerConfig(d.URL, fakeToken)
	first := base + scheduleConfig(`
  cron      = "30 2 * * *"
  timezone  = "Europe/Berlin"
  retention = { period = "30d", keep_monthly = 12 }
  max_rpo   = "26h"`)
	second := base + scheduleConfig(`
  cron      = "30 3 * * *"
  timezone  = "Europe/Berlin"
  retention = { period = "30d", keep_monthly = 12 }
  timeout   = "90m"
  paused    = true`)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{
			Config: first,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(scheduleAddress, plancheck.ResourceActionCreate),
				plancheck.ExpectUnknownValue(scheduleAddress, tfjsonpath.New("id")),
				plancheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("summary"), knownvalue.StringRegexp(regexp.MustCompile(`^every day at 02:30 Europe/Berlin; keeps at most \d+ backups`))),
				plancheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("worst_case_gap"), knownvalue.StringExact("25h")),
				plancheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("max_backups"), knownvalue.NotNull()),
			}},
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("id"), knownvalue.NotNull()),
				statecheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("retention").AtMapKey("keep_monthly"), knownvalue.Int64Exact(12)),
				statecheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("overlap"), knownvalue.Null()),
			},
		},
		{Config: first, ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}},
		{
			Config: second,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(scheduleAddress, plancheck.ResourceActionUpdate),
				plancheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("id"), knownvalue.NotNull()),
				plancheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("summary"), knownvalue.StringRegexp(regexp.MustCompile(`03:30`))),
			}},
		},
		{ResourceName: scheduleAddress, ImportState: true, ImportStateVerify: true},
		{ResourceName: scheduleAddress, ImportState: true, ImportStateVerify: true, ImportStateId: "shop/nightly"},
		{ResourceName: scheduleAddress, ImportState: true, ImportStateKind: resource.ImportBlockWithID, ImportStateId: "shop/nightly"},
		{ResourceName: "envbackup_environment.shop", ImportState: true, ImportStateVerify: true, ImportStateId: "shop"},
		{ResourceName: "envbackup_destination.disk", ImportState: true, ImportStateVerify: true, ImportStateId: "disk"},
		{
			ResourceName: scheduleAddress, ImportState: true, ImportStateId: "shop/weekly",
			ExpectError: regexp.MustCompile(`(?s)Nothing to import under this id.*shop/weekly`),
		},
	}})
}
