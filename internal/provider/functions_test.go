package provider_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPolicyExample (issue 3, functions): the suite of examples/cron-policy
// runs with `terraform test` and no daemon, no provider block and no network;
// the functions hold in check, validation and test. A suite that expects
// something else fails, so it does test.
func TestPolicyExample(t *testing.T) {
	t.Parallel()
	w := exampleWorkspace(t, "cron-policy")
	out := w.run(t, "test", "-no-color")
	if !strings.Contains(out, "6 passed, 0 failed") {
		t.Errorf("terraform test:\n%s", out)
	}
	config := string(mustRead(t, w.dir+"/main.tf")) + string(mustRead(t, w.dir+"/tests/policy.tftest.hcl"))
	for _, name := range []string{"cron_next", "cron_describe", "cron_normalize", "worst_case_gap", "simulate_retention"} {
		if !strings.Contains(config, "provider::envbackup::"+name) {
			t.Errorf("the example does not use %s", name)
		}
	}
	w.write(t, strings.Replace(string(mustRead(t, w.dir+"/main.tf")), `default = "30 2 * * *"`, `default = "30 3 * * *"`, 1))
	if out, err := w.try(t, "test", "-no-color"); err == nil || !strings.Contains(out, "every day at 03:30") {
		t.Errorf("terraform test of another policy: %v\n%s", err, out)
	}
}

// TestFunctionErrors (issue 3, functions): each error of a function is blamed
// on its argument, for each argument of each function, on one line that
// Terraform ends with its own full stop.
func TestFunctionErrors(t *testing.T) {
	t.Parallel()
	const instant, zone = `"2026-03-28T00:00:00Z"`, `"UTC"`
	tests := []struct{ call, parameter, reason string }{
		{`cron_next("61 * * * *", ` + zone + `, ` + instant + `, 1)`, "expression", `field 1 (minute) "61": 61 is out of range 0-59`},
		{`cron_next("@daily", "Europe/Berlni", ` + instant + `, 1)`, "timezone", `"Europe/Berlni" is not an IANA time zone; perhaps it is meant to be Europe/Berlin or Europe/Dublin or Europe/Jersey`},
		{`cron_next("@daily", ` + zone + `, "tomorrow", 1)`, "after", `it is not an RFC 3339 instant such as 2026-03-28T00:00:00Z`},
		{`cron_next("@daily", ` + zone + `, ` + instant + `, 0)`, "count", `it must be between 1 and 1000`},
		{`cron_next("@daily", ` + zone + `, ` + instant + `, 1001)`, "count", `it must be between 1 and 1000`},
		{`cron_describe("0 0 30 2 *")`, "expression", `field 3 (day-of-month) "30": this schedule never runs: none of the selected months has such a day; for the last day of the month write L`},
		{`cron_normalize("@every 5m")`, "expression", `unknown macro "@every 5m"; intervals are not cron; write */5 * * * *`},
		{`worst_case_gap("0 0 * *", ` + zone + `)`, "expression", `has 4 fields, expected 5 (minute hour day-of-month month day-of-week)`},
		{`worst_case_gap("@daily", "Local")`, "timezone", `what is local depends on the machine; name the zone, such as Europe/Berlin`},
		{`worst_case_gap("@daily", "")`, "timezone", `time zone name is empty; write an IANA name such as UTC or Europe/Berlin`},
		{`simulate_retention({ keep_dayly = 3 }, "@daily", ` + zone + `, ` + instant + `, "1y")`, "retention", `there is no rule "keep_dayly"; rules are keep_all, keep_at_least, keep_daily, keep_hourly, keep_last, keep_monthly, keep_weekly, keep_yearly, manual_period, max_age, period, prune_grace`},
		{`simulate_retention({ period = "30 days" }, "@daily", ` + zone + `, ` + instant + `, "1y")`, "retention", `period = "30 days": unknown unit " days"; write 30d`},
		{`simulate_retention({ keep_daily = "many" }, "@daily", ` + zone + `, ` + instant + `, "1y")`, "retention", `keep_daily = "many" is not a whole number`},
		{`simulate_retention({ keep_daily = 1.5 }, "@daily", ` + zone + `, ` + instant + `, "1y")`, "retention", `keep_daily = "1.5" is not a whole number`},
		{`simulate_retention({ keep_all = "perhaps" }, "@daily", ` + zone + `, ` + instant + `, "1y")`, "retention", `keep_all = "perhaps" is neither true nor false`},
		{`simulate_retention({}, "@daily", ` + zone + `, ` + instant + `, "1y")`, "retention", `nothing in this block keeps anything, so every backup but the last would be deleted; set for example period = "30d" or keep_daily = 14, or keep_all = true to never delete`},
		{`simulate_retention({ keep_last = 3 }, "* * * * * *", ` + zone + `, ` + instant + `, "1y")`, "expression", `has 6 fields, expected 5 (minute hour day-of-month month day-of-week); seconds, years, users and comments are not supported`},
		{`simulate_retention({ keep_last = 3 }, "@daily", "Berlin", ` + instant + `, "1y")`, "timezone", `"Berlin" is not an IANA time zone; perhaps it is meant to be Europe/Berlin`},
		{`simulate_retention({ keep_last = 3 }, "@daily", ` + zone + `, "2026-03-28", "1y")`, "after", `it is not an RFC 3339 instant such as 2026-03-28T00:00:00Z`},
		{`simulate_retention({ keep_last = 3 }, "@daily", ` + zone + `, ` + instant + `, "0d")`, "horizon", `it must be longer than 0 and at most 50y`},
		{`simulate_retention({ keep_last = 3 }, "@daily", ` + zone + `, ` + instant + `, "51y")`, "horizon", `it must be longer than 0 and at most 50y`},
		{`simulate_retention({ keep_last = 3 }, "@daily", ` + zone + `, ` + instant + `, "long")`, "horizon", `invalid duration "long": a number is missing before "long"; write e.g. 30d or 1y6mo`},
	}
	config, want := "", []string{}
	for i, test := range tests {
		line := fmt.Sprintf("output \"o%02d\" { value = provider::envbackup::%s }", i, test.call)
		config += line + "\n"
		want = append(want, fmt.Sprintf("error `%s`: Invalid function argument | Invalid value for %q parameter: %s.", line, test.parameter, test.reason))
	}
	got := newWorkspace(t, config).diagnostics(t, "plan")
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what Terraform says (-want +got):\n%s", diff)
	}
}
