package provider_test

import (
	"regexp"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// TestScheduleVerify: verify comes and goes in place; defaults and other
// spellings plan nothing, from either side; the wrong is refused at its place;
// what state never had is no change.
func TestScheduleVerify(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	const plain = `
  cron      = "@daily"
  retention = { keep_daily = 14 }`
	config := func(verify string) string { return providerConfig(d.URL, fakeToken) + scheduleConfig(plain+verify) }
	updated := func(config string, state ...statecheck.StateCheck) resource.TestStep {
		return resource.TestStep{Config: config, ConfigStateChecks: state, ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
			plancheck.ExpectResourceAction(scheduleAddress, plancheck.ResourceActionUpdate),
		}}}
	}
	field := tfjsonpath.New("verify")
	fill := func() { // a daemon that writes its defaults, its own way
		d.change(func() {
			d.spell = func(s *envbackup.ScheduleSpec) {
				if s.Verify != nil {
					filled := s.Verify.WithDefaults()
					if filled.Every == "7d" {
						filled.Every = "168h"
					}
					s.Verify = &filled
				}
			}
		})
	}
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{Config: config(""), ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownValue(scheduleAddress, field, knownvalue.Null())}},
		empty(config("")),
		updated(config("\n  verify = {}"), statecheck.ExpectKnownValue(scheduleAddress, field.AtMapKey("level"), knownvalue.Null())),
		empty(config("\n  verify = {}")),
		updated(config("\n  verify = { level = \"restore\", every = \"7d\", max_duration = \"2h\" }"),
			statecheck.ExpectKnownValue(scheduleAddress, field.AtMapKey("level"), knownvalue.StringExact("restore"))),
		{PreConfig: fill, Config: config("\n  verify = { level = \"restore\", every = \"7d\", max_duration = \"2h\" }"),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}},
		empty(config("\n  verify = { level = \"restore\", every = \"1w\", max_duration = \"120m\" }")),
		updated(config("\n  verify = { every = \"1d\" }")),
		{ResourceName: scheduleAddress, ImportState: true, ImportStateId: "shop/nightly"},
		updated(config("\n  verify = {}")),
		empty(config("\n  verify = {}")),
		{Config: config("\n  verify = { level = \"look\" }"), ExpectError: regexp.MustCompile(`(?s)verify\.level\s+=\s+"look"\s+is\s+not\s+one\s+of\s+"read"\s+or\s+"restore"`)},
		{Config: config("\n  verify = { every = \"often\" }"), ExpectError: regexp.MustCompile(`(?s)verify\.every`)},
		updated(config(""), statecheck.ExpectKnownValue(scheduleAddress, field, knownvalue.Null())),
		empty(config("")),
	}})
	d.change(func() {
		for _, s := range d.schedules {
			if s.Verify != nil {
				t.Errorf("the daemon still verifies: %+v", s.Verify)
			}
		}
	})
}

// TestDamagedScheduleWarns: each plan says that a backup is damaged, and
// changes nothing.
func TestDamagedScheduleWarns(t *testing.T) {
	t.Parallel()
	d, w := newFakeDaemon(t), wire6(t)
	wantSaid(t, w.configure(t, d.URL, fakeToken, nil))
	s := fakeSchedule("sch_1", "shop", "nightly")
	s.Health, s.HealthDetail = "damaged", "backup bkp_1 is damaged"
	d.change(func() { d.schedules[s.ID] = s })
	resp := w.read(t, "envbackup_schedule", w.schedule(t, map[string]tftypes.Value{"id": text("sch_1")}))
	wantSaid(t, resp.Diagnostics, `warning AttributeName("retention"): A backup is damaged`)
}
