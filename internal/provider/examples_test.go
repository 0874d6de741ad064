package provider_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/config"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

const examples = "../../examples"

// TestExamplesApply: every example of the documentation is a configuration
// that applies, and plans nothing afterwards.
func TestExamplesApply(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	var files []string
	for _, pattern := range []string{"resources/*/resource.tf", "data-sources/*/data-source.tf", "functions/*/function.tf"} {
		found, err := filepath.Glob(filepath.Join(examples, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) != 12 {
		t.Fatalf("%d examples, want one for each of 3 resources, 4 data sources and 5 functions: %v", len(files), files)
	}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			t.Parallel()
			d := newFakeDaemon(t)
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text := providerConfig(d.URL, fakeToken) + string(raw)
			variables := config.Variables{}
			for _, name := range []string{"s3_secret_access_key", "recovery_password"} {
				if strings.Contains(text, "var."+name) {
					variables[name] = config.StringVariable("a long enough secret")
				}
			}
			resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
				{Config: text, ConfigVariables: variables},
				{Config: text, ConfigVariables: variables, PlanOnly: true},
			}})
		})
	}
}

// TestExamplesImport: the import blocks and commands of the documentation name
// what the examples make.
func TestExamplesImport(t *testing.T) {
	t.Parallel()
	address := regexp.MustCompile(`envbackup_\w+\.\w+`)
	for _, kind := range []string{"environment", "destination", "schedule"} {
		dir := filepath.Join(examples, "resources", "envbackup_"+kind)
		made := string(mustRead(t, filepath.Join(dir, "resource.tf")))
		for _, name := range []string{"import.sh", "import-by-string-id.tf", "import-by-identity.tf"} {
			target := strings.SplitN(address.FindString(string(mustRead(t, filepath.Join(dir, name)))), ".", 2)
			if len(target) != 2 || !strings.Contains(made, fmt.Sprintf("resource %q %q", target[0], target[1])) {
				t.Errorf("%s of %s imports %v, which the example does not make", name, kind, target)
			}
		}
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestEveryLintIsDocumented: the schedule's page lists the names that
// lint_ignore takes, and no others.
func TestEveryLintIsDocumented(t *testing.T) {
	t.Parallel()
	page := string(mustRead(t, "../../templates/resources/schedule.md.tmpl"))
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(page, -1) {
		listed[row[1]] = true
	}
	for _, rule := range preflight.Rules() {
		if !listed[rule] {
			t.Errorf("rule %s is not in the schedule's page", rule)
		}
		delete(listed, rule)
	}
	for rule := range listed {
		t.Errorf("the schedule's page lists %s, which lint_ignore does not take", rule)
	}
}

// TestFunctions: what the functions return, with no daemon anywhere.
func TestFunctions(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	output := func(call string) string {
		return "provider \"envbackup\" {\n  plan_checks = \"skip\"\n}\noutput \"o\" {\n  value = provider::envbackup::" + call + "\n}\n"
	}
	texts := func(s ...string) knownvalue.Check {
		var checks []knownvalue.Check
		for _, text := range s {
			checks = append(checks, knownvalue.StringExact(text))
		}
		return knownvalue.ListExact(checks)
	}
	for name, test := range map[string]struct {
		call  string
		want  knownvalue.Check
		fails string
	}{
		"next across a gap":     {call: `cron_next("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3)`, want: texts("2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00")},
		"next in UTC":           {call: `cron_next("@yearly", "UTC", "2026-03-28T00:00:00Z", 1)`, want: texts("2027-01-01T00:00:00Z")},
		"in words":              {call: `cron_describe("30 2 * * *")`, want: knownvalue.StringExact("every day at 02:30")},
		"canonical":             {call: `cron_normalize("0 0 ? jan sun")`, want: knownvalue.StringExact("0 0 * 1 0")},
		"gap with a long night": {call: `worst_case_gap("30 2 * * *", "Europe/Berlin")`, want: knownvalue.StringExact("25h")},
		"simulation": {
			call: `simulate_retention({ keep_daily = 14, keep_monthly = null }, "30 2 * * *", "UTC", "2026-01-01T00:00:00Z", "2y").year.backups`,
			want: knownvalue.Int64Exact(14),
		},
		"no end of growth": {
			call: `simulate_retention({ keep_all = true }, "@daily", "UTC", "2026-01-01T12:00:00Z", "10d").horizon`,
			want: knownvalue.ObjectPartial(map[string]knownvalue.Check{"backups": knownvalue.Int64Exact(10), "oldest": knownvalue.StringExact("2026-01-02T00:00:00Z")}),
		},
		"a wrong expression": {call: `cron_describe("61 * * * *")`, fails: `"expression"\s+parameter:.*61`},
		"a wrong zone":       {call: `worst_case_gap("@daily", "Europe/Berlni")`, fails: `"timezone"\s+parameter:.*Europe/Berlin`},
		"a wrong instant":    {call: `cron_next("@daily", "UTC", "tomorrow", 1)`, fails: `"after"\s+parameter:.*RFC`},
		"a wrong count":      {call: `cron_next("@daily", "UTC", "2026-03-28T00:00:00Z", 0)`, fails: `"count"\s+parameter:.*between`},
		"a wrong rule":       {call: `simulate_retention({ keep_dayly = 3 }, "@daily", "UTC", "2026-01-01T00:00:00Z", "1y")`, fails: `"retention"\s+parameter:.*keep_dayly`},
		"nothing is kept":    {call: `simulate_retention({}, "@daily", "UTC", "2026-01-01T00:00:00Z", "1y")`, fails: `"retention"\s+parameter:`},
		"a wrong horizon":    {call: `simulate_retention({ keep_last = 3 }, "@daily", "UTC", "2026-01-01T00:00:00Z", "0d")`, fails: `"horizon"\s+parameter:`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := resource.TestStep{Config: output(test.call)}
			if test.fails != "" {
				step.ExpectError = regexp.MustCompile(`(?s)Invalid\s+value\s+for\s+` + test.fails)
			} else {
				step.ConfigStateChecks = []statecheck.StateCheck{statecheck.ExpectKnownOutputValue("o", test.want)}
			}
			resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{step}})
		})
	}
}

// TestSchedulesDataSource: state, health and last success of each schedule.
func TestSchedulesDataSource(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := newFakeDaemon(t)
	late, fresh := fakeSchedule("id_1", "shop", "nightly"), fakeSchedule("id_2", "blog", "hourly")
	late.Health, late.HealthDetail = "late", "3 days old"
	at0 := time.Date(2026, 11, 25, 2, 30, 0, 0, time.UTC)
	fresh.LastVerifiedAt = &at0
	fresh.LastRun = &wire.Run{State: envbackup.RunSucceeded}
	d.schedules["id_1"], d.schedules["id_2"] = late, fresh
	const address = "data.envbackup_schedules.all"
	at := func(i int, name string) tfjsonpath.Path {
		return tfjsonpath.New("schedules").AtSliceIndex(i).AtMapKey(name)
	}
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{{
		Config: providerConfig(d.URL, fakeToken) + "data \"envbackup_schedules\" \"all\" {}\n",
		ConfigStateChecks: []statecheck.StateCheck{
			statecheck.ExpectKnownValue(address, at(0, "environment"), knownvalue.StringExact("blog")),
			statecheck.ExpectKnownValue(address, at(0, "last_run_state"), knownvalue.StringExact("succeeded")),
			statecheck.ExpectKnownValue(address, at(0, "last_verified_at"), knownvalue.StringExact("2026-11-25T02:30:00Z")),
			statecheck.ExpectKnownValue(address, at(1, "last_verified_at"), knownvalue.Null()),
			statecheck.ExpectKnownValue(address, at(1, "health"), knownvalue.StringExact("late")),
			statecheck.ExpectKnownValue(address, at(1, "last_success_at"), knownvalue.Null()),
		},
		Check: func(*terraform.State) error {
			if n := d.count("GET /api/v1/schedules"); n == 0 {
				return fmt.Errorf("the daemon was not asked")
			}
			return nil
		},
	}}})
}

// TestGuideIsValid: the configurations of the guide about checks are valid as
// they stand, all of them together.
func TestGuideIsValid(t *testing.T) {
	t.Parallel()
	page := string(mustRead(t, "../../templates/guides/checks.md"))
	blocks := regexp.MustCompile("(?s)```terraform\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) < 3 {
		t.Fatalf("the guide has %d configurations", len(blocks))
	}
	config := ""
	for _, block := range blocks {
		config += block[1]
	}
	newWorkspace(t, config).run(t, "validate", "-no-color")
	for _, name := range regexp.MustCompile("`examples/([a-z-]+)`").FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(filepath.Join(examples, name[1], "main.tf")); err != nil {
			t.Errorf("the guide names an example that is not there: %v", err)
		}
	}
}
