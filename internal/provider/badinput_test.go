package provider_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
)

// TestFact4BadInputIsUnderlined: what is wrong is an error at plan, at the line of
// its attribute, with the oldest supported Terraform as with the newest. The
// marker "#!" in a configuration says which line must be underlined.
func TestFact4BadInputIsUnderlined(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	const good = "  cron      = \"30 2 * * *\"\n"
	const keep = "  retention = { keep_daily = 14 }\n"
	tests := map[string]struct {
		config string
		want   string // a regexp of summary and detail
	}{
		"a minute out of range":             {scheduleConfig("  cron = \"61 * * * *\" #!\n" + keep), `Invalid cron minute.*61`},
		"a day that does not exist":         {scheduleConfig("  cron = \"0 0 30 2 *\" #!\n" + keep), `Schedule never runs`},
		"an interval of the parser library": {scheduleConfig("  cron = \"@every 5m\" #!\n" + keep), `Unsupported cron syntax`},
		"six fields":                        {scheduleConfig("  cron = \"0 */5 * * * *\" #!\n" + keep), `Cron expression does not have five fields`},
		"a zone with a typo":                {scheduleConfig(good + "  timezone = \"Europe/Berlni\" #!\n" + keep), `Unknown time zone.*Did you mean "Europe/Berlin"`},
		"the zone Local":                    {scheduleConfig(good + "  timezone = \"Local\" #!\n" + keep), `Unknown time zone`},
		"the empty zone":                    {scheduleConfig(good + "  timezone = \"\" #!\n" + keep), `Empty value`},
		"retention that keeps nothing":      {scheduleConfig(good + "  retention = {} #!"), `Retention keeps nothing`},
		"retention with a floor of 0": {
			scheduleConfig(good + "  retention = {\n    keep_daily = 7\n    keep_at_least = 0 #!\n  }"), `Invalid retention value.*keep_at_least`,
		},
		"retention with an unknown unit": {
			scheduleConfig(good + "  retention = {\n    keep_daily = 7\n    period = \"30 days\" #!\n  }"), `Invalid retention value.*period`,
		},
		"a tier that is negative": {
			scheduleConfig(good + "  retention = {\n    keep_last = 3\n    keep_weekly = -1 #!\n  }"), `Invalid retention value.*keep_weekly`,
		},
		"keep_all and another rule": {
			scheduleConfig(good + "  retention = { keep_all = true, keep_daily = 3 } #!"), `Retention|Invalid retention value.*keep_all`,
		},
		"an assertion that cannot hold": {scheduleConfig(good + "  timezone = \"Europe/Berlin\"\n  max_rpo = \"24h\" #!\n" + keep), `cannot meet max_rpo.*25h`},
		"jitter of half the gap":        {scheduleConfig(good + "  jitter = \"12h\" #!\n" + keep), `[Jj]itter`},
		"a duration without a unit":     {scheduleConfig(good + "  timeout = \"90\" #!\n" + keep), `Invalid duration.*unit`},
		"an unknown overlap":            {scheduleConfig(good + "  overlap = \"both\" #!\n" + keep), `Unknown value.*overlap`},
		"a window with a wrong time": {
			scheduleConfig(good + keep + "  blackout = {\n    office = { from = \"9:00\", to = \"17:00\" } #!\n  }"), `Invalid blackout window`,
		},
		"a name with capitals": {
			strings.Replace(scheduleConfig(good+keep), `name         = "nightly"`, `name = "Nightly" #!`, 1), `Invalid name`,
		},
		"an environment's relative path": {
			strings.Replace(thingsConfig, `files = { app = { path = "/srv/shop"`, "files = {\n app = { #!\n path = \"srv/shop\"", 1), `Path is not absolute`,
		},
		"an exclude pattern that is wrong": {
			"resource \"envbackup_environment\" \"e\" {\n  name = \"e\"\n  files = {\n    a = { path = \"/srv\", exclude = [\"[a-\"] } #!\n  }\n}", `Invalid exclude pattern`,
		},
		"a destination without a place": {
			"resource \"envbackup_destination\" \"d\" {\n  name = \"d\" #!\n}", `Destination has no place`,
		},
		"a destination with two places": {
			"resource \"envbackup_destination\" \"d\" {\n  name = \"d\"\n  local = { path = \"/mnt\" } #!\n  s3 = { bucket = \"acme\" }\n}", `Destination has two places`,
		},
		"a secret without a version": {
			"resource \"envbackup_destination\" \"d\" {\n  name = \"d\"\n  s3 = {\n    bucket = \"acme\"\n    access_key_id = \"AK\"\n    secret_access_key_wo = \"s\" #!\n  }\n}", `Secret needs a version`,
		},
		"a secret without its id": {
			"resource \"envbackup_destination\" \"d\" {\n  name = \"d\"\n  s3 = {\n    bucket = \"acme\"\n    secret_access_key_wo = \"s\" #!\n    secret_access_key_wo_version = 1\n  }\n}", `Secret key without its id`,
		},
		"a stock validator in a nested attribute": {
			"resource \"envbackup_destination\" \"d\" {\n  name = \"d\"\n  s3 = {\n    bucket = \"a\" #!\n  }\n}", `Invalid Attribute Value Length.*bucket`,
		},
		"a provider setting": {
			"provider \"envbackup\" {\n  endpoint = \"ftp://backups\" #!\n}\n" + thingsConfig, `Invalid endpoint`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantUnderlined(t, test.config, test.want)
		})
	}
}

// wantUnderlined plans the configuration and wants an error with the line that
// ends with the marker "#!" underlined. want is a summary, ".*" and a detail,
// both regexps.
func wantUnderlined(t *testing.T, config, want string) {
	t.Helper()
	if strings.Count(config, "#!") != 1 {
		t.Fatal("the configuration does not mark one line")
	}
	// Terraform wraps what it says, so any white space may stand for a space.
	summary, detail, _ := strings.Cut(want, ".*")
	spaced := strings.NewReplacer(" ", `\s+`).Replace
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{{
		Config: config, PlanOnly: true,
		ExpectError: regexp.MustCompile(fmt.Sprintf(`(?s)%s.*\n\s*\d+:[^\n]*#!\n.*%s`, spaced(summary), spaced(detail))),
	}}})
}
