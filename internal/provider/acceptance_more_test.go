package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

const nightlyConfig = `
  cron      = "@daily"
  retention = { keep_daily = 14, max_age = "400d" }
  timeout   = "24h"`

func empty(config string) resource.TestStep {
	return resource.TestStep{Config: config, ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectEmptyPlan()}}}
}

// TestSpellingIsNoChange: other words for the same cron expression, duration
// or default plan nothing, whether they are written in the configuration or
// come from the daemon; another meaning is a change.
func TestSpellingIsNoChange(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	d.spell = func(s *envbackup.ScheduleSpec) { // a daemon that writes its own way
		s.Cron, s.Timeout, s.Overlap = "0 0 * * *", "1d", "skip"
		retries := int64(3)
		s.Retries = &retries
	}
	base := providerConfig(d.URL, fakeToken)
	respelled := strings.NewReplacer(`"@daily"`, `"0 0 * * *"`, `"24h"`, `"1d"`, `"400d"`, `"9600h"`).Replace(nightlyConfig)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{
			Config: base + scheduleConfig(nightlyConfig),
			ConfigStateChecks: []statecheck.StateCheck{ // as it was typed
				statecheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("cron"), knownvalue.StringExact("@daily")),
				statecheck.ExpectKnownValue(scheduleAddress, tfjsonpath.New("timeout"), knownvalue.StringExact("24h")),
			},
		},
		empty(base + scheduleConfig(nightlyConfig)),
		empty(base + scheduleConfig(respelled)),
		{
			PreConfig: func() { // somebody changes what it means
				d.change(func() {
					for id, s := range d.schedules {
						s.Cron = "30 4 * * *"
						d.schedules[id] = s
					}
				})
			},
			Config: base + scheduleConfig(nightlyConfig),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(scheduleAddress, plancheck.ResourceActionUpdate),
			}},
		},
	}})
}

// TestFact2EveryAttributeCanBeRespelled (facts of Terraform, findings 2 and 6.3):
// the framework asks for semantic equality when the daemon answers, never when
// the configuration changes. In each attribute that holds a cron expression,
// weekdays or a duration, other words for the same plan nothing, one by one and
// all together, against a daemon that answers as it was asked.
func TestFact2EveryAttributeCanBeRespelled(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	spellings := map[string][2]string{
		"cron":                    {`cron = "0 0 * * 7"`, `cron = "0 0 * * SUN"`},
		"jitter":                  {`jitter = "90m"`, `jitter = "1h30m"`},
		"catch_up_within":         {`catch_up_within = "48h"`, `catch_up_within = "2d"`},
		"start_deadline":          {`start_deadline = "120m"`, `start_deadline = "2h"`},
		"timeout":                 {`timeout = "24h"`, `timeout = "1d"`},
		"max_rpo":                 {`max_rpo = "2w"`, `max_rpo = "336h"`},
		"retention.period":        {`period = "4w"`, `period = "28d"`},
		"retention.max_age":       {`max_age = "12mo"`, `max_age = "1y"`},
		"retention.manual_period": {`manual_period = "30d"`, `manual_period = "720h"`},
		"retention.prune_grace":   {`prune_grace = "36h"`, `prune_grace = "1d12h"`},
		"blackout.days":           {`days = "MON-FRI"`, `days = "1-5"`},
		"verify.every":            {`every = "1w"`, `every = "7d"`},
		"verify.max_duration":     {`max_duration = "120m"`, `max_duration = "2h"`},
	}
	named := map[string]bool{}
	for name := range spellings {
		named[name] = true
	}
	if diff := cmp.Diff(provider.SpelledAttributes(), named); diff != "" {
		t.Errorf("attributes that can be spelled in several ways (-schema +test):\n%s", diff)
	}
	config := func(respelled func(name string) bool) string {
		text := func(name string) string {
			if respelled(name) {
				return spellings[name][1]
			}
			return spellings[name][0]
		}
		attributes, nested := "", map[string]string{}
		for name := range spellings {
			if block, _, ok := strings.Cut(name, "."); ok {
				nested[block] += "    " + text(name) + "\n"
				continue
			}
			attributes += "  " + text(name) + "\n"
		}
		return providerConfig(d.URL, fakeToken) + scheduleConfig(attributes+
			"  retention = {\n"+nested["retention"]+"  }\n"+
			"  verify = {\n    level = \"read\"\n"+nested["verify"]+"  }\n"+
			"  blackout = {\n    office = { from = \"09:00\", to = \"17:00\", "+strings.TrimSpace(nested["blackout"])+" }\n  }\n")
	}
	steps := []resource.TestStep{{Config: config(func(string) bool { return false })}}
	for name := range spellings {
		steps = append(steps, resource.TestStep{Config: config(func(other string) bool { return other == name }), PlanOnly: true})
	}
	steps = append(steps, resource.TestStep{Config: config(func(string) bool { return true }), PlanOnly: true})
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: steps})
}

// TestDeletedElsewhereIsPlannedAnew: what was deleted behind Terraform's back
// leaves the state and is made again.
func TestDeletedElsewhereIsPlannedAnew(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	config := providerConfig(d.URL, fakeToken) + scheduleConfig(nightlyConfig)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{Config: config},
		{
			PreConfig: func() { d.change(func() { clear(d.schedules) }) },
			Config:    config,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(scheduleAddress, plancheck.ResourceActionCreate),
				plancheck.ExpectResourceAction("envbackup_environment.shop", plancheck.ResourceActionNoop),
			}},
		},
		empty(config),
	}})
}

// TestReplaceOrUpdate: a schedule's environment and the names of environments
// and destinations replace; everything else changes in place.
func TestReplaceOrUpdate(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	base := providerConfig(d.URL, fakeToken)
	config := base + scheduleConfig(nightlyConfig)
	action := func(address string, a plancheck.ResourceActionType) plancheck.PlanCheck {
		return plancheck.ExpectResourceAction(address, a)
	}
	step := func(config string, checks ...plancheck.PlanCheck) resource.TestStep {
		return resource.TestStep{Config: config, ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: checks}}
	}
	renamed := strings.Replace(config, `name         = "nightly"`, `name = "every-night"`, 1)
	moved := strings.Replace(renamed, `"/mnt/backups"`, `"/mnt/other"`, 1)
	other := strings.Replace(moved, `name  = "shop"`, `name  = "shop-2"`, 1)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		step(config),
		step(renamed, action(scheduleAddress, plancheck.ResourceActionUpdate)),
		step(moved, action("envbackup_destination.disk", plancheck.ResourceActionUpdate), action(scheduleAddress, plancheck.ResourceActionNoop)),
		step(other, action("envbackup_environment.shop", plancheck.ResourceActionReplace), action(scheduleAddress, plancheck.ResourceActionReplace)),
		step(strings.Replace(other, `name  = "disk"`, `name = "disk-2"`, 1),
			action("envbackup_destination.disk", plancheck.ResourceActionReplace), action(scheduleAddress, plancheck.ResourceActionUpdate)),
	}})
}

// TestSecretsStayOut: a write-only secret is sent when its version changes and
// at no other time, and is never in the state.
func TestSecretsStayOut(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	config := func(secret string, version int, recovery, class string) string {
		return providerConfig(d.URL, fakeToken) + fmt.Sprintf(`
resource "envbackup_destination" "s3" {
  name = "primary"
  s3 = {
    bucket                       = "acme-backups"
    storage_class                = %q
    access_key_id                = "AKIA"
    secret_access_key_wo         = %q
    secret_access_key_wo_version = %d
  }
%s
}`, class, secret, version, recovery)
	}
	const recovery = "  recovery_password_wo = \"correct horse battery\"\n  recovery_password_wo_version = 1\n"
	const address = "envbackup_destination.s3"
	sent := func(i int, key, recovery string) resource.TestCheckFunc {
		return func(*terraform.State) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if len(d.inputs) != i+1 {
				return fmt.Errorf("%d writes, want %d", len(d.inputs), i+1)
			}
			got := d.inputs[i]
			if show(got.SecretAccessKey) != key || show(got.RecoveryPassword) != recovery {
				return fmt.Errorf("write %d sent secrets %s and %s, want %s and %s", i, show(got.SecretAccessKey), show(got.RecoveryPassword), key, recovery)
			}
			return nil
		}
	}
	withoutSecrets := resource.TestCheckFunc(func(s *terraform.State) error {
		for name, value := range s.RootModule().Resources[address].Primary.Attributes {
			if strings.Contains(value, "sesame") || strings.Contains(value, "horse") {
				return fmt.Errorf("the state holds a secret in %s", name)
			}
		}
		return nil
	})
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{
			Config: config("sesame-1", 1, recovery, "STANDARD"),
			Check:  resource.ComposeTestCheckFunc(sent(0, "sesame-1", "correct horse battery"), withoutSecrets),
			ConfigStateChecks: []statecheck.StateCheck{
				statecheck.ExpectKnownValue(address, tfjsonpath.New("s3").AtMapKey("secret_access_key_wo"), knownvalue.Null()),
				statecheck.ExpectKnownValue(address, tfjsonpath.New("recovery_password_wo"), knownvalue.Null()),
			},
		},
		empty(config("sesame-2", 1, recovery, "STANDARD")), // the version says that nothing changed
		{ResourceName: address, ImportState: true, ImportStateVerify: true},
		{Config: config("sesame-2", 1, recovery, "GLACIER_IR"), Check: sent(1, "(kept)", "(kept)")},
		{Config: config("sesame-2", 2, recovery, "GLACIER_IR"), Check: resource.ComposeTestCheckFunc(sent(2, "sesame-2", "(kept)"), withoutSecrets)},
		{Config: config("sesame-2", 2, "", "GLACIER_IR"), Check: sent(3, "(kept)", "")}, // taken out: removed
	}})
}

// show tells a kept secret from a removed one.
func show(secret *string) string {
	if secret == nil {
		return "(kept)"
	}
	return *secret
}

// TestFact3StrangeGrammarDoesNotBlock: state may hold what another release of the
// daemon accepts and this provider does not. That is a difference like any
// other, and destroy works.
func TestFact3StrangeGrammarDoesNotBlock(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	config := providerConfig(d.URL, fakeToken) + scheduleConfig(nightlyConfig)
	strange := func() {
		d.change(func() {
			for id, s := range d.schedules {
				s.Cron, s.Timeout = "0 0 * * MON#9", "3fortnights"
				d.schedules[id] = s
			}
		})
	}
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{Config: config},
		{
			PreConfig: strange, Config: config,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(scheduleAddress, plancheck.ResourceActionUpdate),
			}},
		},
		{PreConfig: strange, Config: config, Destroy: true},
	}})
}

// TestChangedInBetween: a change between plan and apply is an error and
// nothing is written.
func TestChangedInBetween(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	base := providerConfig(d.URL, fakeToken)
	touched := false
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{Config: base + scheduleConfig(nightlyConfig)},
		{
			Config: base + scheduleConfig(strings.Replace(nightlyConfig, `"@daily"`, `"@hourly"`, 1)),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{planHook(func() {
				d.change(func() {
					for id, s := range d.schedules {
						s.Version += 7
						d.schedules[id] = s
					}
				})
				touched = true
			})}},
			ExpectError: regexp.MustCompile(`(?s)Schedule changed since it was read.*Nothing was\s+written`),
		},
		{Config: base + scheduleConfig(strings.Replace(nightlyConfig, `"@daily"`, `"@weekly"`, 1))}, // planned again, it goes
	}})
	if !touched {
		t.Error("the plan check did not run, so the test proves nothing")
	}
}

// TestNameTaken: a name that the daemon has already is an error at plan, with
// the import block that takes it over.
func TestNameTaken(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	d.environments["id_900"] = wire.Environment{Meta: wire.Meta{ID: "id_900", Version: 1, Owner: "other-team"}, EnvironmentSpec: envbackup.EnvironmentSpec{Name: "shop"}}
	d.destinations["id_901"] = wire.Destination{Meta: wire.Meta{ID: "id_901", Version: 1}, DestinationSpec: envbackup.DestinationSpec{Name: "disk"}}
	s := fakeSchedule("id_902", "blog", "nightly")
	d.schedules[s.ID] = s
	for want, config := range map[string]string{
		`(?s)Environment name already taken.*other-team.*import \{.*id\s+= "shop"`: thingsConfig,
		`(?s)Destination name already taken.*import \{.*id\s+= "disk"`:             thingsConfig,
		`(?s)Schedule name already taken.*import \{.*id\s+= "blog/nightly"`: `
resource "envbackup_schedule" "s" {
  name         = "nightly"
  environment  = "blog"
  destinations = ["disk"]
  cron         = "@daily"
  retention    = { keep_daily = 14 }
}`,
	} {
		resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
			{Config: providerConfig(d.URL, fakeToken) + config, PlanOnly: true, ExpectError: regexp.MustCompile(want)},
		}})
	}
}

// TestTaintedIsNoClash: making a thing anew under its own name is no clash.
func TestTaintedIsNoClash(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	config := providerConfig(d.URL, fakeToken) + scheduleConfig(nightlyConfig)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{Config: config},
		{
			Taint: []string{scheduleAddress, "envbackup_environment.shop"}, Config: config,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction("envbackup_environment.shop", plancheck.ResourceActionReplace),
			}},
		},
	}})
}

// TestDaemonFindings: what only the daemon knows is an error at plan at its
// attribute; it is asked with the schedule's id and the names that the same
// plan makes.
func TestDaemonFindings(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	base := providerConfig(d.URL, fakeToken)
	edited := strings.Replace(scheduleConfig(nightlyConfig), "keep_daily = 14", "keep_daily = 2", 1)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{
			Config: base + scheduleConfig(nightlyConfig),
			Check: func(*terraform.State) error {
				d.mu.Lock()
				defer d.mu.Unlock()
				if len(d.preflights) == 0 {
					return fmt.Errorf("the daemon was not asked")
				}
				first := d.preflights[0]
				if first.ID != "" || fmt.Sprint(first.PlannedEnvironments, first.PlannedDestinations) != "[shop] [disk]" {
					return fmt.Errorf("asked about id %q with planned %v and %v", first.ID, first.PlannedEnvironments, first.PlannedDestinations)
				}
				d.findings = []envbackup.Finding{{
					Severity: envbackup.SeverityError, Path: "retention.keep_daily", Summary: "This change deletes many backups",
					Detail: "19 of 21 backups would be deleted. If that is intended, add: acknowledge_removal = 19",
				}}
				d.preflights = nil
				return nil
			},
		},
		{
			Config: base + edited, PlanOnly: true,
			ExpectError: regexp.MustCompile(`(?s)This change deletes many backups.*\n\s*\d+:\s+retention = \{ keep_daily = 2.*acknowledge_removal = 19`),
		},
		{
			PreConfig: func() {
				d.change(func() {
					if len(d.preflights) != 1 || d.preflights[0].ID == "" {
						t.Errorf("asked %d times, first about id %q; want once with the schedule's id", len(d.preflights), d.preflights[0].ID)
					}
					d.findings = nil
				})
			},
			Config: base + edited,
		},
	}})
}

// TestDeletionProtection: a protected schedule is neither destroyed nor
// replaced until the protection is taken off.
func TestDeletionProtection(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	config := providerConfig(d.URL, fakeToken) + scheduleConfig(nightlyConfig+"\n  deletion_protection = true")
	protected := regexp.MustCompile(`(?s)Schedule is protected from deletion.*shop/nightly`)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{Config: config},
		{Config: config, Destroy: true, ExpectError: protected},
		{Config: strings.Replace(config, `name  = "shop"`, `name  = "shop-2"`, 1), PlanOnly: true, ExpectError: protected},
		{Config: strings.Replace(config, "deletion_protection = true", "", 1)},
	}})
}

// TestFact11DaemonDownIsOneError: with existing resources and no daemon there is one
// message with the address and what to start, not one for each resource.
func TestFact11DaemonDownIsOneError(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	config := providerConfig(d.URL, fakeToken) + scheduleConfig(nightlyConfig)
	down := strings.Replace(config, d.URL, "http://127.0.0.1:1", 1)
	resource.UnitTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		ErrorCheck: func(err error) error {
			if err == nil {
				return nil
			}
			if n := strings.Count(err.Error(), "Error: "); n != 1 {
				return fmt.Errorf("%d errors, want 1: %w", n, err)
			}
			return err
		},
		Steps: []resource.TestStep{
			{Config: config},
			{Config: down, PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)Cannot reach the envbackup daemon.*127\.0\.0\.1:1.*envbackup daemon`)},
			{ // offline checks still run, and their errors show
				Config: strings.Replace(down, `"@daily"`, `"61 * * * *"`, 1), PlanOnly: true, ExpectError: regexp.MustCompile(`Invalid cron minute`),
			},
			{
				Config: strings.Replace(config, fakeToken, "wrong", 1), PlanOnly: true,
				ExpectError: regexp.MustCompile(`(?s)The daemon refused the token.*envbackup token create`),
			},
			empty(config),
		},
	})
}
