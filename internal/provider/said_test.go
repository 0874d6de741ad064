package provider_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// proposal is a schedule in HCL and what Terraform says about it: each message
// as "severity `underlined line`: summary | detail".
type proposal struct {
	attributes string
	want       []string
}

// nightly is a proposal about which nothing is to be said, with other
// attributes in their places.
func nightly(attributes string) string {
	text := ""
	for name, line := range map[string]string{
		"cron": `cron = "30 2 * * *"`, "retention": `retention = { period = "30d" }`, "timezone": `timezone = "Europe/Berlin"`,
		"environment": `environment = "shop"`, "destinations": `destinations = ["disk"]`,
	} {
		if !strings.Contains(attributes, name+" =") {
			text += "  " + line + "\n"
		}
	}
	for _, line := range strings.Split(attributes, "\n") {
		text += "  " + line + "\n"
	}
	return text
}

// TestSectionFour (SEMANTICS section 4): each error and each warning, provoked
// in HCL with the real Terraform and a real daemon: the words, and the line
// that is underlined.
func TestSectionFour(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t, daemontest.Config(func(c *daemon.Config) { c.Limits.MinInterval = "5m" }))
	head := providerConfig(d.Endpoint, d.Token)
	w := newWorkspace(t, head+fmt.Sprintf(`
resource "envbackup_environment" "shop" {
  name  = "shop"
  files = { app = { path = %q } }
}
resource "envbackup_destination" "disk" {
  name                         = "disk"
  local                        = { path = %q }
  recovery_password_wo         = "correct horse battery"
  recovery_password_wo_version = 1
}
`, t.TempDir(), filepath.Join(t.TempDir(), "backups")))
	w.run(t, "apply", "-no-color", "-auto-approve")
	head = "terraform {\n  required_providers {\n    envbackup = { source = \"envbackup/envbackup\" }\n  }\n}\n" + head +
		"removed {\n  from = envbackup_environment.shop\n  lifecycle {\n    destroy = false\n  }\n}\n" +
		"removed {\n  from = envbackup_destination.disk\n  lifecycle {\n    destroy = false\n  }\n}\n"
	for group, rows := range map[string]map[string]proposal{
		"the configuration alone, errors": offlineErrors, "the configuration alone, warnings": offlineWarnings, "the daemon": daemonFindings,
	} {
		// All rows of a group are planned at once. The errors of the first
		// group are found before the daemon is asked, so the groups are apart.
		config, want := head, map[string][]string{}
		for i, name := range slices.Sorted(maps.Keys(rows)) {
			label := fmt.Sprintf("r%02d", i)
			config += fmt.Sprintf("# %s\nresource \"envbackup_schedule\" %q {\n  name = %q\n%s}\n", name, label, label, nightly(rows[name].attributes))
			want[name] = rows[name].want
		}
		w.write(t, config)
		got := map[string][]string{}
		said := w.diagnosticsByAddress(t, "plan")
		for i, name := range slices.Sorted(maps.Keys(rows)) {
			got[name] = said[fmt.Sprintf("envbackup_schedule.r%02d", i)]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: what Terraform says (-want +got):\n%s", group, diff)
		}
		for _, name := range slices.Sorted(maps.Keys(got)) {
			for _, text := range got[name] {
				if t.Failed() { // to be read, and to be copied below when it reads well
					t.Logf("GOT\t%s\t%s", name, text)
				}
			}
		}
	}
}

var offlineErrors = map[string]proposal{
	"C2 six fields": {`cron = "0 */5 * * * *"`, []string{
		"error `cron = \"0 */5 * * * *\"`: Cron expression does not have five fields | \"0 */5 * * * *\": has 6 fields, expected 5 (minute hour day-of-month month day-of-week); seconds, years, users and comments are not supported; without the first field it is */5 * * * *.",
	}},
	"C2 seven fields": {`cron = "0 30 2 * * * 2026"`, []string{
		"error `cron = \"0 30 2 * * * 2026\"`: Cron expression does not have five fields | \"0 30 2 * * * 2026\": has 7 fields, expected 5 (minute hour day-of-month month day-of-week); seconds, years, users and comments are not supported.",
	}},
	"C2 four fields": {`cron = "0 2 * *"`, []string{
		"error `cron = \"0 2 * *\"`: Cron expression does not have five fields | \"0 2 * *\": has 4 fields, expected 5 (minute hour day-of-month month day-of-week).",
	}},
	"C2 no field": {`cron = ""`, []string{
		"error `cron = \"\"`: Invalid cron expression | \"\": is empty; write five fields (minute hour day-of-month month day-of-week), e.g. 30 2 * * *.",
	}},
	"C2 minute out of range": {`cron = "60 2 * * *"`, []string{
		"error `cron = \"60 2 * * *\"`: Invalid cron minute | \"60 2 * * *\": field 1 (minute) \"60\": 60 is out of range 0-59.",
	}},
	"C2 hour out of range": {`cron = "0 24 * * *"`, []string{
		"error `cron = \"0 24 * * *\"`: Invalid cron hour | \"0 24 * * *\": field 2 (hour) \"24\": 24 is out of range 0-23.",
	}},
	"C2 day of month out of range": {`cron = "0 2 32 * *"`, []string{
		"error `cron = \"0 2 32 * *\"`: Invalid cron day-of-month | \"0 2 32 * *\": field 3 (day-of-month) \"32\": 32 is out of range 1-31.",
	}},
	"C2 month out of range": {`cron = "0 2 1 13 *"`, []string{
		"error `cron = \"0 2 1 13 *\"`: Invalid cron month | \"0 2 1 13 *\": field 4 (month) \"13\": 13 is out of range 1-12.",
	}},
	"C2 day of week out of range": {`cron = "0 2 * * 8"`, []string{
		"error `cron = \"0 2 * * 8\"`: Invalid cron day-of-week | \"0 2 * * 8\": field 5 (day-of-week) \"8\": 8 is out of range 0-7.",
	}},
	"C2 a backward range": {`cron = "0 17-8 * * *"`, []string{
		"error `cron = \"0 17-8 * * *\"`: Invalid cron hour | \"0 17-8 * * *\": field 2 (hour) \"17-8\": the range runs backwards; write 17-23,0-8.",
	}},
	"C2 a step of zero": {`cron = "*/0 * * * *"`, []string{
		"error `cron = \"*/0 * * * *\"`: Invalid cron minute | \"*/0 * * * *\": field 1 (minute) \"*/0\": the step must be at least 1.",
	}},
	"C2 a step larger than the range": {`cron = "*/60 * * * *"`, []string{
		"error `cron = \"*/60 * * * *\"`: Invalid cron minute | \"*/60 * * * *\": field 1 (minute) \"*/60\": step 60 is larger than the range 0-59 and would select only 0; write 0.",
	}},
	"C2 an empty list item": {`cron = "0,,30 2 * * *"`, []string{
		"error `cron = \"0,,30 2 * * *\"`: Invalid cron minute | \"0,,30 2 * * *\": field 1 (minute) \"0,,30\": has an empty list item.",
	}},
	"C2 a name in the wrong field": {`cron = "0 2 MON * *"`, []string{
		"error `cron = \"0 2 MON * *\"`: Invalid cron day-of-month | \"0 2 MON * *\": field 3 (day-of-month) \"MON\": MON is a day-of-week name.",
	}},
	"C2 LW": {`cron = "0 2 LW * *"`, []string{
		"error `cron = \"0 2 LW * *\"`: Invalid cron day-of-month | \"0 2 LW * *\": field 3 (day-of-month) \"LW\": only plain L (last day of the month) is supported.",
	}},
	"C2 L-n": {`cron = "0 2 L-3 * *"`, []string{
		"error `cron = \"0 2 L-3 * *\"`: Invalid cron day-of-month | \"0 2 L-3 * *\": field 3 (day-of-month) \"L-3\": only plain L (last day of the month) is supported.",
	}},
	"C2 a sixth weekday": {`cron = "0 2 * * 1#6"`, []string{
		"error `cron = \"0 2 * * 1#6\"`: Invalid cron day-of-week | \"0 2 * * 1#6\": field 5 (day-of-week) \"1#6\": the week after # must be 1 to 5.",
	}},
	"C2 a step from one weekday": {`cron = "0 2 * * 1/2"`, []string{
		"error `cron = \"0 2 * * 1/2\"`: Invalid cron day-of-week | \"0 2 * * 1/2\": field 5 (day-of-week) \"1/2\": a step needs a range here; write e.g. 1-6/2.",
	}},
	"C2 CRON_TZ": {`cron = "CRON_TZ=Asia/Tokyo 0 2 * * *"`, []string{
		"error `cron = \"CRON_TZ=Asia/Tokyo 0 2 * * *\"`: Unsupported cron syntax | \"CRON_TZ=Asia/Tokyo 0 2 * * *\": a time zone prefix is not supported; set the schedule's time zone instead.",
	}},
	"C2 TZ": {`cron = "TZ=UTC 0 2 * * *"`, []string{
		"error `cron = \"TZ=UTC 0 2 * * *\"`: Unsupported cron syntax | \"TZ=UTC 0 2 * * *\": a time zone prefix is not supported; set the schedule's time zone instead.",
	}},
	"C2 @reboot": {`cron = "@reboot"`, []string{
		"error `cron = \"@reboot\"`: Unsupported cron syntax | \"@reboot\": unknown macro \"@reboot\"; there is no boot event to run on.",
	}},
	"C2 @every": {`cron = "@every 6h"`, []string{
		"error `cron = \"@every 6h\"`: Unsupported cron syntax | \"@every 6h\": unknown macro \"@every 6h\"; intervals are not cron; write 0 */6 * * *.",
	}},
	"C2 another tag": {`cron = "@5minutes"`, []string{
		"error `cron = \"@5minutes\"`: Unsupported cron syntax | \"@5minutes\": unknown macro \"@5minutes\"; intervals are not cron; write e.g. */15 * * * *.",
	}},
	"C2 a line break": {`cron = "0 2 * *\n*"`, []string{
		"error `cron = \"0 2 * *\\n*\"`: Invalid cron expression | \"0 2 * *\\n*\": contains control character 0x0a at byte 8; write the expression on one line.",
	}},
	"C2 a star in a list": {`cron = "*,5 2 * * *"`, []string{
		"error `cron = \"*,5 2 * * *\"`: Invalid cron minute | \"*,5 2 * * *\": field 1 (minute) \"*,5\": * cannot be part of a list.",
	}},
	"C2 a day step and a weekday": {`cron = "0 2 */2 * 1"`, []string{
		"error `cron = \"0 2 */2 * 1\"`: Invalid cron day-of-month | \"0 2 */2 * 1\": field 3 (day-of-month) \"*/2\": a */n step cannot be combined with a restricted day-of-week field (cron implementations disagree whether both or either must match); write the days out, e.g. 1-31/2.",
	}},
	"C2 too long": {`cron = "` + strings.Repeat("1,", 130) + `1 2 * * *"`, []string{
		"error `cron = \"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1 2 * * *\"`: Invalid cron expression | \"1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,...\": is 269 bytes long, at most 256 are allowed.",
	}},
	"C5 never": {`cron = "0 0 30 2 *"`, []string{
		"error `cron = \"0 0 30 2 *\"`: Schedule never runs | \"0 0 30 2 *\": field 3 (day-of-month) \"30\": this schedule never runs: none of the selected months has such a day; for the last day of the month write L.",
	}},
	"C5 never, 31 in short months": {`cron = "0 0 31 4,6 *"`, []string{
		"error `cron = \"0 0 31 4,6 *\"`: Schedule never runs | \"0 0 31 4,6 *\": field 3 (day-of-month) \"31\": this schedule never runs: none of the selected months has such a day; for the last day of the month write L.",
	}},
	"C6 a typo": {`timezone = "Europe/Berlni"`, []string{
		"error `timezone = \"Europe/Berlni\"`: Unknown time zone | \"Europe/Berlni\" is not an IANA time zone. Did you mean \"Europe/Berlin\", \"Europe/Dublin\" or \"Europe/Jersey\"?",
	}},
	"C6 an abbreviation": {`timezone = "CEST"`, []string{
		"error `timezone = \"CEST\"`: Unknown time zone | \"CEST\" is not an IANA time zone. An abbreviation says nothing about daylight saving time. Name the zone by a city, for example timezone = \"Europe/Berlin\".",
	}},
	"C6 Local": {`timezone = "Local"`, []string{
		"error `timezone = \"Local\"`: Unknown time zone | \"Local\" is not an IANA time zone. What is local depends on the machine. Name the zone, for example timezone = \"Europe/Berlin\".",
	}},
	"C6 empty": {`timezone = ""`, []string{
		"error `timezone = \"\"`: Empty value | The value is the empty text. Leave the attribute out (or set it to null) for its default.",
	}},
	"retention empty": {`retention = {}`, []string{
		"error `retention = {}`: Retention keeps nothing | Nothing in this block keeps anything, so every backup but the last would be deleted. Set for example period = \"30d\" or keep_daily = 14, or keep_all = true to never delete.",
	}},
	"retention of zero": {`retention = { keep_daily = 0 }`, []string{
		"error `retention = { keep_daily = 0 }`: Retention keeps nothing | Nothing in this block keeps anything, so every backup but the last would be deleted. Set for example period = \"30d\" or keep_daily = 14, or keep_all = true to never delete.",
	}},
	"retention with a wrong unit": {"retention = {\n  period = \"30 days\"\n}", []string{
		"error `period = \"30 days\"`: Invalid retention value | period = \"30 days\": unknown unit \" days\". Write 30d.",
	}},
	"retention without a unit": {"retention = {\n  period = \"30\"\n}", []string{
		"error `period = \"30\"`: Invalid retention value | period = \"30\": the unit is missing. Write e.g. 30d; units are m (minutes), h, d, w, mo (months) or y.",
	}},
	"retention with a floor of zero": {"retention = {\n  keep_daily = 30\n  keep_at_least = 0\n}", []string{
		"error `keep_at_least = 0`: Invalid retention value | keep_at_least = 0: the floor cannot be 0: the last good backup is never deleted by a rule. Write 1 or leave it out.",
	}},
	"retention that is negative": {"retention = {\n  keep_last = 30\n  keep_daily = -1\n}", []string{
		"error `keep_daily = -1`: Invalid retention value | keep_daily = -1: it cannot be negative. Leave it out for no such rule, or keep_all = true to never delete.",
	}},
	"retention of everything and 3": {"retention = {\n  keep_all = true\n  keep_daily = 3\n}", []string{
		"error `keep_all = true`: Invalid retention value | keep_all = true: keep_all excludes every other rule, and keep_daily is given too. Remove keep_all, or everything else.",
	}},
	"max_rpo over a weekend": {"cron = \"30 2 * * 1-5\"\nmax_rpo = \"26h\"", []string{
		"error `max_rpo = \"26h\"`: Schedule cannot meet max_rpo | The longest time between two runs of \"30 2 * * 1-5\" in Europe/Berlin is 73h (for example Fri 2000-10-27 02:30 to Mon 02:30, when the clock is set back), and max_rpo is 26h. Run it more often, or set max_rpo to at least 73h.",
	}},
	"max_rpo of a day, in autumn": {`max_rpo = "24h"`, []string{
		"error `max_rpo = \"24h\"`: Schedule cannot meet max_rpo | The longest time between two runs of \"30 2 * * *\" in Europe/Berlin is 25h (for example Sun 2000-10-29 02:30 to Mon 02:30, when the clock is set back), and max_rpo is 24h. Run it more often, or set max_rpo to at least 25h.",
	}},
	"max_rpo and day 31": {"cron = \"0 3 31 * *\"\nlint_ignore = [\"cron-skips-months\", \"retention-period-short\"]\nmax_rpo = \"31d\"", []string{
		"error `max_rpo = \"31d\"`: Schedule cannot meet max_rpo | The longest time between two runs of \"0 3 31 * *\" in Europe/Berlin is 61d1h (for example 2000-08-31 03:00 to 2000-10-31 03:00, when the clock is set back), and max_rpo is 31d. Run it more often, or set max_rpo to at least 61d1h.",
	}},
	"max_rpo and leap years": {"cron = \"0 0 29 2 *\"\nlint_ignore = [\"cron-skips-months\"]\nretention = { keep_last = 3 }\nmax_rpo = \"3y\"", []string{
		"error `max_rpo = \"3y\"`: Schedule cannot meet max_rpo | The longest time between two runs of \"0 0 29 2 *\" in Europe/Berlin is 1461d (for example 2000-02-29 00:00 to 2004-02-29 00:00), and max_rpo is 3y. Run it more often, or set max_rpo to at least 1461d.",
	}},
	"max_rpo and hardly ever": {"cron = \"0 0 * 2 1#5\"\nretention = { keep_last = 3 }\nmax_rpo = \"10y\"", []string{
		"error `max_rpo = \"10y\"`: Schedule cannot meet max_rpo | \"0 0 * 2 1#5\" has fewer than two runs from 2000 to 2040, and max_rpo is 10y. Run it more often.",
	}},
	"max_rpo and blackout": {"max_rpo = \"26h\"\nblackout = {\n  weekend = { days = \"SAT,SUN\", from = \"00:00\", to = \"24:00\", action = \"skip\" }\n}", []string{
		"error `max_rpo = \"26h\"`: Schedule cannot meet max_rpo | The longest time between two runs of \"30 2 * * *\" in Europe/Berlin with its blackout windows is 73h (for example Fri 2000-10-27 02:30 to Mon 02:30, when the clock is set back), and max_rpo is 26h. Run it more often, or set max_rpo to at least 73h.",
	}},
	"blackout of every run": {"blackout = {\n  night = { from = \"02:00\", to = \"04:00\", action = \"skip\" }\n}", []string{
		"error `blackout = {`: Blackout leaves no run | Every run of \"30 2 * * *\" in Europe/Berlin falls into a blackout window that skips it or never ends, so no backup would ever be taken. Move the runs or the windows apart, or let one of the windows defer runs to its end.",
	}},
	"blackout with jitter": {"jitter = \"30m\"\nblackout = {\n  night = { from = \"02:45\", to = \"04:00\", action = \"skip\" }\n}", []string{
		"error `blackout = {`: Blackout can leave no run | jitter = \"30m\" can move every run of \"30 2 * * *\" in Europe/Berlin into a blackout window that skips it, so that no backup would ever be taken. Move the runs or the windows apart, or let one of the windows defer runs to its end.",
	}},
	"blackout without an end": {"blackout = {\n  always = { from = \"00:00\", to = \"24:00\" }\n}", []string{
		"error `blackout = {`: Blackout leaves no run | Every run of \"30 2 * * *\" in Europe/Berlin falls into a blackout window that skips it or never ends, so no backup would ever be taken. Move the runs or the windows apart, or let one of the windows defer runs to its end.",
	}},
	"max_rpo and jitter": {"max_rpo = \"25h\"\njitter = \"1h\"", []string{
		"error `max_rpo = \"25h\"`: Schedule cannot meet max_rpo | The longest time between two runs of \"30 2 * * *\" in Europe/Berlin is 26h (for example Sun 2000-10-29 02:30 to Mon 02:30, when the clock is set back; jitter adds up to 1h), and max_rpo is 25h. Run it more often, or set max_rpo to at least 26h.",
	}},
	"jitter of half the gap": {"cron = \"0 * * * *\"\njitter = \"30m\"", []string{
		"error `jitter = \"30m\"`: Jitter is too long | jitter = \"30m\" must be smaller than half the smallest distance between two runs, which is 1h. Use less than 30m.",
	}},
	"max_age under the gap": {"retention = {\n  keep_daily = 30\n  max_age = \"12h\"\n}\nlint_ignore = [\"retention-short\"]", []string{
		"error `max_age = \"12h\"`: max_age is shorter than the schedule | Backups are up to 25h apart and max_age is 12h: each one would expire before the next exists. Use at least 50h.",
	}},
	"a duration without a unit": {`timeout = "90"`, []string{
		"error `timeout = \"90\"`: Invalid duration | timeout = \"90\": the unit is missing. Write e.g. 90d; units are m (minutes), h, d, w, mo (months) or y.",
	}},
	"a timeout of nothing": {`timeout = "0h"`, []string{
		"error `timeout = \"0h\"`: Invalid duration | timeout = \"0h\": it must be longer than zero. Leave it out for the default.",
	}},
	"an unknown word": {`overlap = "wait"`, []string{
		"error `overlap = \"wait\"`: Unknown value | overlap = \"wait\" is not one of \"skip\" or \"queue\".",
	}},
	"a wrong blackout": {"blackout = {\n  office = { from = \"9:00\", to = \"17:00\" }\n}", []string{
		"error `office = { from = \"9:00\", to = \"17:00\" }`: Invalid blackout window | from = \"9:00\" is not a time of day. Write for example from = \"09:00\".",
	}},
	"a wrong blackout day": {"blackout = {\n  office = { days = \"Mo-Fr\", from = \"09:00\", to = \"17:00\" }\n}", []string{
		"error `office = { days = \"Mo-Fr\", from = \"09:00\", to = \"17:00\" }`: Invalid blackout window | \"Mo-Fr\" is not a list of weekdays. Write for example days = \"MON-FRI\".",
	}},
	"no destination": {`destinations = []`, []string{
		"error `destinations = []`: No destination | A schedule needs at least one destination. Write for example destinations = [\"local\"].",
	}},
	"a destination twice": {`destinations = ["disk", "disk"]`, []string{
		"error `destinations = [\"disk\", \"disk\"]`: Destination is listed twice | \"disk\" is in the list already. Remove one of them.",
	}},
	"a wrong name": {`environment = "Shop Staging"`, []string{
		"error `environment = \"Shop Staging\"`: Invalid name | \"Shop Staging\" is not a valid name: use 1 to 63 lower-case letters, digits, dots, underscores and hyphens, beginning with a letter or a digit.",
	}},
	"a verification of no level": {"verify = {\n  level = \"deep\"\n  every = \"7d\"\n}", []string{
		"error `level = \"deep\"`: Unknown value | verify.level = \"deep\" is not one of \"read\" or \"restore\".",
	}},
	"a verification without a unit": {"verify = {\n  level = \"read\"\n  every = \"7\"\n}", []string{
		"error `every = \"7\"`: Invalid duration | verify.every = \"7\": the unit is missing. Write e.g. 7d; units are m (minutes), h, d, w, mo (months) or y.",
	}},
	"too many retries": {`retries = 101`, []string{
		"error `retries = 101`: Invalid number of retries | retries = 101 is not between 0 and 100.",
	}},
}

var offlineWarnings = map[string]proposal{
	"both day fields": {`cron = "0 3 13 * 5"`, []string{
		"warning `cron = \"0 3 13 * 5\"`: Both day fields are set | \"0 3 13 * 5\" runs on the 13th of the month and also on Friday, whichever matches: cron joins the two day fields with \"or\". That is about 62 runs a year. Set one of them to * to have only the other. Silence it with lint_ignore = [\"cron-day-or\"].",
	}},
	"uneven steps": {`cron = "*/40 * * * *"`, []string{
		"warning `cron = \"*/40 * * * *\"`: Uneven steps | \"*/40\" selects minutes 0 and 40, so the runs are 40 minutes apart and, at the end of each hour, only 20. A step that divides 60 is even. Silence it with lint_ignore = [\"cron-uneven-step\"].",
	}},
	"uneven steps, hours": {`cron = "0 */5 * * *"`, []string{
		"warning `cron = \"0 */5 * * *\"`: Uneven steps | \"*/5\" selects hours 0, 5, 10, 15 and 20, so the runs are 5 hours apart and, at the end of each day, only 4. A step that divides 24 is even. Silence it with lint_ignore = [\"cron-uneven-step\"].",
	}},
	"a day above 28": {`cron = "0 3 31 * *"` + "\nretention = { keep_last = 12 }", []string{
		"warning `cron = \"0 3 31 * *\"`: Schedule skips some months | \"0 3 31 * *\" does not run in February, April, June, September and November; the longest gap is 61 days. Use day 28, or L for the last day of the month. Silence it with lint_ignore = [\"cron-skips-months\"].",
	}},
	"a day above 28, only February": {`cron = "0 3 30 * *"` + "\nretention = { keep_last = 12 }", []string{
		"warning `cron = \"0 3 30 * *\"`: Schedule skips some months | \"0 3 30 * *\" does not run in February; the longest gap is 60 days. Use day 28, or L for the last day of the month. Silence it with lint_ignore = [\"cron-skips-months\"].",
	}},
	"a rule finer than the schedule": {"retention = {\n  keep_hourly = 24\n}", []string{
		"warning `keep_hourly = 24`: Retention rule is finer than the schedule | The runs of \"30 2 * * *\" are at least 24h apart, so keep_hourly = 24 keeps the last 24 backups, not 24 hours. Say what you mean: keep_last = 24, or cron = \"0 * * * *\". Silence it with lint_ignore = [\"retention-tier-finer\"].",
	}},
	"a rule that another covers": {"retention = {\n  keep_daily = 14\n  keep_weekly = 2\n}", []string{
		"warning `keep_weekly = 2`: Retention rule adds nothing | Every backup that keep_weekly = 2 selects is already kept by keep_daily = 14. Raise it, or remove it. Silence it with lint_ignore = [\"retention-tier-covered\"].",
	}},
	"a rule that the period covers": {"retention = {\n  period = \"30d\"\n  keep_daily = 14\n}", []string{
		"warning `keep_daily = 14`: Retention rule adds nothing | Every backup that keep_daily = 14 selects is already kept by period = 30d. Raise it, or remove it. Silence it with lint_ignore = [\"retention-tier-covered\"].",
	}},
	"a period under one interval": {"retention = {\n  period = \"12h\"\n  keep_monthly = 12\n}", []string{
		"warning `period = \"12h\"`: Period is shorter than one interval | Backups are up to 25h apart and period is 12h, so between runs no backup but the newest lies within it. Use at least 50h, or keep_last. Silence it with lint_ignore = [\"retention-period-short\"].",
	}},
	"a short history": {"retention = {\n  keep_daily = 3\n}", []string{
		"warning `retention = {`: History is short | The oldest backup would be 4 days old. Damage that is noticed later cannot be undone. Add for example keep_weekly = 4. Silence it with lint_ignore = [\"retention-short\"].",
	}},
	"a long timeout": {"cron = \"0 * * * *\"\ntimeout = \"6h\"", []string{
		"warning `timeout = \"6h\"`: Timeout is longer than the interval | timeout = \"6h\" is longer than the longest time between two runs, which is 1h, so one run that hangs makes later ones be skipped. Use less than 1h. Silence it with lint_ignore = [\"timeout-exceeds-interval\"].",
	}},
	"a rule that does not exist": {`lint_ignore = ["cron-day-xor"]`, []string{
		"warning `lint_ignore = [\"cron-day-xor\"]`: Unknown lint rule | \"cron-day-xor\" is no rule and silences nothing. The rules are cron-day-or, cron-skips-months, cron-uneven-step, destination-moved, lint-unknown, not-found, object-lock-longer, recovery-key-missing, retention-period-short, retention-removes, retention-short, retention-tier-covered, retention-tier-finer, run-overlaps, timeout-exceeds-interval. Silence it with lint_ignore = [\"lint-unknown\"].",
	}},
	"silenced":       {"cron = \"0 3 13 * 5\"\nlint_ignore = [\"cron-day-or\"]", nil},
	"nothing to say": {"", nil},
}

var daemonFindings = map[string]proposal{
	"too often": {`cron = "* * * * *"`, []string{
		"error `cron = \"* * * * *\"`: Schedule runs too often | \"* * * * *\" runs every 1m, and this daemon allows no interval under 5m. Run it less often, or ask the operator to lower limits.min_interval.",
	}},
	"a period above the limit": {"retention = {\n  period = \"11y\"\n}", []string{
		"error `period = \"11y\"`: Retention is longer than allowed | period = 11y keeps backups longer than 10y, the longest that this daemon allows. Lower it, or ask the operator to raise limits.max_retention.",
	}},
	"years above the limit": {"retention = {\n  keep_yearly = 11\n}", []string{
		"error `keep_yearly = 11`: Retention is longer than allowed | keep_yearly = 11 keeps backups longer than 10y, the longest that this daemon allows. Lower it, or ask the operator to raise limits.max_retention.",
	}},
	"keep_all": {"retention = {\n  keep_all = true\n}", []string{
		"error `keep_all = true`: Retention is longer than allowed | keep_all keeps backups without end, and 10y is the longest that this daemon allows. Write for example period = \"10y\", or ask the operator to raise limits.max_retention.",
	}},
	"an unknown environment": {`environment = "shpo"`, []string{
		"warning `environment = \"shpo\"`: Environment does not exist | The daemon does not know \"shpo\". Did you mean \"shop\"? It knows \"shop\". Apply fails unless it exists by then. To create it in the same apply, refer to it: envbackup_environment.NAME.name. Silence it with lint_ignore = [\"not-found\"].",
	}},
	"an unknown destination": {`destinations = ["disk", "dsik"]`, []string{
		"warning `destinations = [\"disk\", \"dsik\"]`: Destination does not exist | The daemon does not know \"dsik\". Did you mean \"disk\"? It knows \"disk\", \"local\". Apply fails unless it exists by then. To create it in the same apply, refer to it: envbackup_destination.NAME.name. Silence it with lint_ignore = [\"not-found\"].",
	}},
	"nobody else can open it": {`destinations = ["local"]`, []string{
		"warning `destinations = [\"local\"]`: Only this daemon can open the backups | The destination has no recovery password, and the password of the repository there was never shown: if this daemon's host is lost, so are the backups. Set recovery_password_wo on the destination, or keep what this prints after the first run: envbackup key show --environment shop --destination local. Silence it with lint_ignore = [\"recovery-key-missing\"].",
	}},
}

// TestUnknownValuesAtApply (SEMANTICS section 4): what only apply knows is no
// error at plan. At apply it is refused in the words that a plan has for it,
// at its line, before anything of the schedule is made.
func TestUnknownValuesAtApply(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	rows := []struct{ line, value string }{ // %s is the value
		{`cron = %s`, `"61 * * * *"`},
		{`timezone = %s`, `"Europe/Berlni"`},
		{`retention = { period = %s }`, `"30 days"`},
		{`retention = { keep_daily = %s }`, `0`},
		{`jitter = %s`, `"20h"`},
		{`catch_up_within = %s`, `"soon"`},
		{`overlap = %s`, `"wait"`},
		{`start_deadline = %s`, `"2"`},
		{`timeout = %s`, `"0h"`},
		{`retries = %s`, `101`},
		{`blackout = { office = { from = %s, to = "17:00" } }`, `"9:00"`},
		{`max_rpo = %s`, `"24h"`},
		{`on_destroy = %s`, `"purge"`},
		{`environment = %s`, `"No Name"`},
		{`destinations = [%s]`, `"No Name"`},
		{`verify = { level = %s, every = "7d" }`, `"deep"`},
		{`verify = { level = "read", every = %s }`, `"7"`},
	}
	config := func(value func(i int) string) string {
		text := "terraform {\n  required_providers {\n    envbackup = { source = \"envbackup/envbackup\" }\n  }\n}\n" + providerConfig(d.Endpoint, d.Token)
		for i, row := range rows {
			text += fmt.Sprintf("resource \"envbackup_schedule\" \"r%02d\" {\n  name = \"r%02d\"\n%s}\n", i, i, nightly(fmt.Sprintf(row.line, value(i))))
		}
		return text
	}
	values := ""
	for i, row := range rows {
		values += fmt.Sprintf("resource \"terraform_data\" \"v%02d\" {\n  input = %s\n}\n", i, row.value)
	}
	w := newWorkspace(t, "")
	w.write(t, config(func(i int) string { return rows[i].value }))
	known := w.said(t, "plan")

	w.write(t, values+config(func(i int) string { return fmt.Sprintf("terraform_data.v%02d.output", i) }))
	w.run(t, "init", "-no-color") // terraform_data is a provider of its own
	if said := w.said(t, "plan"); len(errorsOf(said)) != 0 {
		t.Errorf("the plan says %v, want no error", errorsOf(said))
	}
	late := w.said(t, "apply", "-auto-approve")
	for i, row := range rows {
		address := fmt.Sprintf("envbackup_schedule.r%02d", i)
		want, got := errorsOf(about(known, address)), errorsOf(about(late, address))
		if len(want) == 0 {
			t.Errorf("%s = %s is no error at plan", row.line, row.value)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, at plan and at apply (-plan +apply):\n%s", fmt.Sprintf(row.line, row.value), diff)
		}
		for _, d := range about(late, address) {
			if line := fmt.Sprintf(row.line, fmt.Sprintf("terraform_data.v%02d.output", i)); d.Severity == "error" && (d.Snippet == nil || strings.TrimSpace(d.Snippet.Code) != line) {
				t.Errorf("at apply %s is underlined at %v", line, d.Snippet)
			}
		}
	}
	if page, err := d.Client.Schedules(t.Context(), wire.SchedulesQuery{}); err != nil || len(page.Items) != 0 {
		t.Errorf("%d schedules were made (%v), want none", len(page.Items), err)
	}
}

// TestUnknownNamesAtApply (SEMANTICS section 4): a name that the daemon does not
// know is a warning at plan, because it may exist by then, and an error at
// apply, at its line and before anything is made.
func TestUnknownNamesAtApply(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	backUpShop(t, d)
	w := newWorkspace(t, providerConfig(d.Endpoint, d.Token)+
		"resource \"envbackup_schedule\" \"a\" {\n  name = \"a\"\n"+nightly(`environment = "shpo"`+"\n"+`destinations = ["local"]`+"\nlint_ignore = [\"recovery-key-missing\"]")+"}\n"+
		"resource \"envbackup_schedule\" \"b\" {\n  name = \"b\"\n"+nightly(`destinations = ["locale"]`)+"}\n")
	want := map[string][]string{
		"envbackup_schedule.a": {"error `environment = \"shpo\"`: Environment does not exist | " +
			"The daemon does not know \"shpo\". Did you mean \"shop\"? It knows \"shop\". To create it in the same apply, refer to it: envbackup_environment.NAME.name."},
		"envbackup_schedule.b": {"error `destinations = [\"locale\"]`: Destination does not exist | " +
			"The daemon does not know \"locale\". Did you mean \"local\"? It knows \"local\". To create it in the same apply, refer to it: envbackup_destination.NAME.name."},
	}
	atPlan := map[string][]string{}
	for address, texts := range want {
		for _, text := range texts {
			atPlan[address] = append(atPlan[address], strings.NewReplacer("error `", "warning `", " To create", " Apply fails unless it exists by then. To create").Replace(text)+" Silence it with lint_ignore = [\"not-found\"].")
		}
	}
	if diff := cmp.Diff(atPlan, w.diagnosticsByAddress(t, "plan")); diff != "" {
		t.Errorf("the plan says (-want +got):\n%s", diff)
	}
	applied := w.diagnosticsByAddress(t, "apply", "-auto-approve")
	for address, texts := range applied {
		applied[address] = slices.DeleteFunc(texts, func(text string) bool { return strings.HasPrefix(text, "warning") })
	}
	if diff := cmp.Diff(want, applied); diff != "" {
		t.Errorf("apply says (-want +got):\n%s", diff)
	}
	if page, err := d.Client.Schedules(t.Context(), wire.SchedulesQuery{}); err != nil || len(page.Items) != 1 {
		t.Errorf("%d schedules (%v), want the one that was there", len(page.Items), err)
	}
}

// errorsOf returns "summary | detail" of each error.
func errorsOf(said []diagnostic) []string {
	var texts []string
	for _, d := range said {
		if d.Severity == "error" {
			texts = append(texts, d.Summary+" | "+d.Detail)
		}
	}
	return texts
}

// about returns what is said about one resource.
func about(said []diagnostic, address string) []diagnostic {
	return slices.DeleteFunc(slices.Clone(said), func(d diagnostic) bool { return d.Address != address })
}

// TestForecastSaysWhatThePlanSays: the findings of envbackup_forecast are those
// of the plan of such a schedule, word by word.
func TestForecastSaysWhatThePlanSays(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	config, outputs, want := noDaemon, "", map[string]knownvalue.Check{}
	for group, rows := range map[string]map[string]proposal{"e": offlineErrors, "w": offlineWarnings} {
		for i, name := range slices.Sorted(maps.Keys(rows)) {
			row := rows[name]
			if strings.Contains(row.attributes, "retries") || strings.Contains(row.attributes, "verify") || name == "C6 empty" {
				continue // no attribute of a forecast; an error of the data source itself
			}
			label, shown := fmt.Sprintf("%s%02d", group, i), ""
			if group == "e" { // an error ends the plan before its warnings are said
				shown = ` if f.severity == "error"`
			}
			config += fmt.Sprintf("data \"envbackup_forecast\" %q {\n%s}\n", label, nightly(row.attributes))
			outputs += fmt.Sprintf("    %q = join(\"\\n\", [for f in data.envbackup_forecast.%s.findings : \"${f.severity}: ${f.summary} | ${f.detail}\"%s])\n", name, label, shown)
			var texts []string
			for _, said := range row.want {
				severity, rest, _ := strings.Cut(said, " `")
				_, text, _ := strings.Cut(rest, "`: ")
				texts = append(texts, severity+": "+text)
			}
			want[name] = knownvalue.StringExact(strings.Join(texts, "\n"))
		}
	}
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{{
		Config:            config + "output \"said\" {\n  value = {\n" + outputs + "  }\n}\n",
		ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownOutputValue("said", knownvalue.ObjectExact(want))},
	}}})
}
