package preflight_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

// spec is a schedule about which nothing is to be said, changed by JSON.
func spec(t testing.TB, change string) envbackup.ScheduleSpec {
	t.Helper()
	s := envbackup.ScheduleSpec{
		Name: "nightly", Environment: "shop", Destinations: []string{"primary"},
		Cron: "30 2 * * *", Timezone: "Europe/Berlin", Retention: retention.Spec{Period: "30d"},
	}
	if change != "" {
		if strings.Contains(change, `"retention"`) {
			s.Retention = retention.Spec{}
		}
		if err := json.Unmarshal([]byte(change), &s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// lines writes findings one a line.
func lines(findings []envbackup.Finding) []string {
	var list []string
	for _, f := range findings {
		list = append(list, fmt.Sprintf("%s %s [%s] %s | %s", f.Severity, f.Path, f.Rule, f.Summary, f.Detail))
	}
	return list
}

// SEMANTICS section 4: each finding with its exact words.
func TestFindings(t *testing.T) {
	t.Parallel()
	limits := &envbackup.Limits{MaxRetention: "10y", MinInterval: "5m"}
	tests := map[string]struct {
		change string
		limits *envbackup.Limits
		want   []string
	}{
		"nothing to say": {``, limits, nil},
		"cron: a value out of range": {`{"cron":"61 * * * *"}`, nil, []string{
			`error cron [] Invalid cron minute | "61 * * * *": field 1 (minute) "61": 61 is out of range 0-59.`}},
		"cron: never": {`{"cron":"0 0 30 2 *"}`, nil, []string{
			`error cron [] Schedule never runs | "0 0 30 2 *": field 3 (day-of-month) "30": this schedule never runs: none of the selected months has such a day; for the last day of the month write L.`}},
		"cron: six fields": {`{"cron":"0 0 */5 * * *"}`, nil, []string{
			`error cron [] Cron expression does not have five fields | "0 0 */5 * * *": has 6 fields, expected 5 (minute hour day-of-month month day-of-week); seconds, years, users and comments are not supported; without the first field it is 0 */5 * * *.`}},
		"cron: an interval": {`{"cron":"@every 6h"}`, nil, []string{
			`error cron [] Unsupported cron syntax | "@every 6h": unknown macro "@every 6h"; intervals are not cron; write 0 */6 * * *.`}},
		"cron: a zone": {`{"cron":"CRON_TZ=UTC 0 3 * * *"}`, nil, []string{
			`error cron [] Unsupported cron syntax | "CRON_TZ=UTC 0 3 * * *": a time zone prefix is not supported; set the schedule's time zone instead.`}},
		"cron: empty": {`{"cron":""}`, nil, []string{
			`error cron [] Invalid cron expression | "": is empty; write five fields (minute hour day-of-month month day-of-week), e.g. 30 2 * * *.`}},
		"windows that skip every run": {`{"max_rpo":"26h","blackout":{"a":{"from":"02:00","to":"03:30","action":"skip"}}}`, nil, []string{
			`error blackout [] Blackout leaves no run | Every run of "30 2 * * *" in Europe/Berlin falls into a blackout window that skips it or never ends, so no backup would ever be taken. Move the runs or the windows apart, or let one of the windows defer runs to its end.`}},
		"a window without an end": {`{"blackout":{"a":{"from":"00:00","to":"24:00"}}}`, nil, []string{
			`error blackout [] Blackout leaves no run | Every run of "30 2 * * *" in Europe/Berlin falls into a blackout window that skips it or never ends, so no backup would ever be taken. Move the runs or the windows apart, or let one of the windows defer runs to its end.`}},
		"jitter into a window": {`{"jitter":"30m","blackout":{"a":{"from":"02:45","to":"08:00","action":"skip"}}}`, nil, []string{
			`error blackout [] Blackout can leave no run | jitter = "30m" can move every run of "30 2 * * *" in Europe/Berlin into a blackout window that skips it, so that no backup would ever be taken. Move the runs or the windows apart, or let one of the windows defer runs to its end.`}},
		"an unknown zone": {`{"timezone":"berlin"}`, nil, []string{
			`error timezone [] Unknown time zone | "berlin" is not an IANA time zone. Did you mean "Europe/Berlin"?`}},
		"the local zone": {`{"timezone":"Local"}`, nil, []string{
			`error timezone [] Unknown time zone | "Local" is not an IANA time zone. What is local depends on the machine. Name the zone, for example timezone = "Europe/Berlin".`}},
		"an abbreviation": {`{"timezone":"CEST"}`, nil, []string{
			`error timezone [] Unknown time zone | "CEST" is not an IANA time zone. An abbreviation says nothing about daylight saving time. Name the zone by a city, for example timezone = "Europe/Berlin".`}},
		"a zone like several": {`{"timezone":"Europe/Berlni"}`, nil, []string{
			`error timezone [] Unknown time zone | "Europe/Berlni" is not an IANA time zone. Did you mean "Europe/Berlin", "Europe/Dublin" or "Europe/Jersey"?`}},
		"no zone is UTC": {`{"timezone":"","max_rpo":"24h"}`, nil, nil},
		"retention keeps nothing": {`{"retention":{"keep_daily":0}}`, nil, []string{
			`error retention [] Retention keeps nothing | Nothing in this block keeps anything, so every backup but the last would be deleted. Set for example period = "30d" or keep_daily = 14, or keep_all = true to never delete.`}},
		"retention values": {`{"retention":{"period":"30x","keep_at_least":0}}`, nil, []string{
			`error retention.period [] Invalid retention value | period = "30x": unknown unit "x". Units are m (minutes), h, d, w, mo (months) or y.`,
			`error retention.keep_at_least [] Invalid retention value | keep_at_least = 0: the floor cannot be 0: the last good backup is never deleted by a rule. Write 1 or leave it out.`}},
		"names": {`{"name":"Nightly","environment":"a b","destinations":["ok","ok","-x"]}`, nil, []string{
			`error name [] Invalid name | "Nightly" is not a valid name: use 1 to 63 lower-case letters, digits, dots, underscores and hyphens, beginning with a letter or a digit.`,
			`error environment [] Invalid name | "a b" is not a valid name: use 1 to 63 lower-case letters, digits, dots, underscores and hyphens, beginning with a letter or a digit.`,
			`error destinations[1] [] Destination is listed twice | "ok" is in the list already. Remove one of them.`,
			`error destinations[2] [] Invalid name | "-x" is not a valid name: use 1 to 63 lower-case letters, digits, dots, underscores and hyphens, beginning with a letter or a digit.`}},
		"no destination": {`{"destinations":[]}`, nil, []string{
			`error destinations [] No destination | A schedule needs at least one destination. Write for example destinations = ["local"].`}},
		"durations": {`{"jitter":"5","timeout":"0h","verify":{"every":"7x","max_duration":"-1h"}}`, nil, []string{
			`error jitter [] Invalid duration | jitter = "5": the unit is missing. Write e.g. 5d; units are m (minutes), h, d, w, mo (months) or y.`,
			`error timeout [] Invalid duration | timeout = "0h": it must be longer than zero. Leave it out for the default.`,
			`error verify.every [] Invalid duration | verify.every = "7x": unknown unit "x". Units are m (minutes), h, d, w, mo (months) or y.`,
			`error verify.max_duration [] Invalid duration | verify.max_duration = "-1h": it is negative. Write it without the minus sign.`}},
		"words and numbers": {`{"overlap":"wait","on_destroy":"purge","retries":-1,"verify":{"level":"look"}}`, nil, []string{
			`error retries [] Invalid number of retries | retries = -1 is not between 0 and 100.`,
			`error overlap [] Unknown value | overlap = "wait" is not one of "skip" or "queue".`,
			`error on_destroy [] Unknown value | on_destroy = "purge" is not one of "keep" or "delete".`,
			`error verify.level [] Unknown value | verify.level = "look" is not one of "read" or "restore".`}},
		"verify with its defaults": {`{"verify":{}}`, nil, nil},
		"blackout windows": {`{"blackout":{"b":{"from":"25:00","to":"9:00","action":"stop"},"a":{"days":"MON-XYZ","from":"09:00","to":"24:00"}}}`, nil, []string{
			`error blackout["a"].days [] Invalid blackout window | "MON-XYZ" is not a list of weekdays. Write for example days = "MON-FRI".`,
			`error blackout["b"].from [] Invalid blackout window | from = "25:00" is not a time of day. Write for example from = "09:00".`,
			`error blackout["b"].to [] Invalid blackout window | to = "9:00" is not a time of day. Write for example to = "17:00".`,
			`error blackout["b"].action [] Unknown value | blackout["b"].action = "stop" is not one of "defer" or "skip".`}},
		"too often": {`{"cron":"*/2 * * * *"}`, limits, []string{
			`error cron [] Schedule runs too often | "*/2 * * * *" runs every 2m, and this daemon allows no interval under 5m. Run it less often, or ask the operator to lower limits.min_interval.`}},
		"as often as allowed": {`{"cron":"*/5 * * * *"}`, limits, nil},
		"jitter": {`{"cron":"0 * * * *","jitter":"30m"}`, nil, []string{
			`error jitter [] Jitter is too long | jitter = "30m" must be smaller than half the smallest distance between two runs, which is 1h. Use less than 30m.`}},
		"jitter below half": {`{"cron":"0 * * * *","jitter":"29m"}`, nil, nil},
		"max_rpo": {`{"cron":"30 2 * * 1-5","max_rpo":"26h"}`, nil, []string{
			`error max_rpo [] Schedule cannot meet max_rpo | The longest time between two runs of "30 2 * * 1-5" in Europe/Berlin is 73h (for example Fri 2000-10-27 02:30 to Mon 02:30, when the clock is set back), and max_rpo is 26h. Run it more often, or set max_rpo to at least 73h.`}},
		"max_rpo of a day and the autumn": {`{"max_rpo":"24h"}`, nil, []string{
			`error max_rpo [] Schedule cannot meet max_rpo | The longest time between two runs of "30 2 * * *" in Europe/Berlin is 25h (for example Sun 2000-10-29 02:30 to Mon 02:30, when the clock is set back), and max_rpo is 24h. Run it more often, or set max_rpo to at least 25h.`}},
		"max_rpo with jitter": {`{"max_rpo":"25h","jitter":"1h"}`, nil, []string{
			`error max_rpo [] Schedule cannot meet max_rpo | The longest time between two runs of "30 2 * * *" in Europe/Berlin is 26h (for example Sun 2000-10-29 02:30 to Mon 02:30, when the clock is set back; jitter adds up to 1h), and max_rpo is 25h. Run it more often, or set max_rpo to at least 26h.`}},
		"max_rpo that holds": {`{"max_rpo":"25h"}`, nil, nil},
		"max_rpo and a skipping blackout": {`{"timezone":"UTC","max_rpo":"26h","blackout":{"weekend":{"days":"SAT,SUN","from":"00:00","to":"24:00","action":"skip"}}}`, nil, []string{
			`error max_rpo [] Schedule cannot meet max_rpo | The longest time between two runs of "30 2 * * *" in UTC with its blackout windows is 72h (for example Fri 2000-01-07 02:30 to Mon 02:30), and max_rpo is 26h. Run it more often, or set max_rpo to at least 72h.`}},
		"max_rpo and no runs": {`{"cron":"0 0 * 2 1#5","max_rpo":"1y","retention":{"keep_last":3,"max_age":"1y"},"lint_ignore":["cron-skips-months"]}`, nil, []string{
			`error max_rpo [] Schedule cannot meet max_rpo | "0 0 * 2 1#5" has fewer than two runs from 2000 to 2040, and max_rpo is 1y. Run it more often.`,
			`error retention.max_age [] max_age is shorter than the schedule | "0 0 * 2 1#5" has fewer than two runs from 2000 to 2040, and max_age is 1y: each backup would expire before the next exists.`}},
		"max_age": {`{"retention":{"keep_last":99,"max_age":"12h"},"lint_ignore":["retention-short"]}`, nil, []string{
			`error retention.max_age [] max_age is shorter than the schedule | Backups are up to 25h apart and max_age is 12h: each one would expire before the next exists. Use at least 50h.`}},
		"retention above the limit": {`{"retention":{"period":"11y","keep_daily":4000,"keep_monthly":121,"keep_yearly":11,"manual_period":"12y"},"lint_ignore":["retention-tier-covered"]}`, limits, []string{
			`error retention.manual_period [] Retention is longer than allowed | manual_period = 12y keeps backups longer than 10y, the longest that this daemon allows. Lower it, or ask the operator to raise limits.max_retention.`,
			`error retention.period [] Retention is longer than allowed | period = 11y keeps backups longer than 10y, the longest that this daemon allows. Lower it, or ask the operator to raise limits.max_retention.`,
			`error retention.keep_daily [] Retention is longer than allowed | keep_daily = 4000 keeps backups longer than 10y, the longest that this daemon allows. Lower it, or ask the operator to raise limits.max_retention.`,
			`error retention.keep_monthly [] Retention is longer than allowed | keep_monthly = 121 keeps backups longer than 10y, the longest that this daemon allows. Lower it, or ask the operator to raise limits.max_retention.`,
			`error retention.keep_yearly [] Retention is longer than allowed | keep_yearly = 11 keeps backups longer than 10y, the longest that this daemon allows. Lower it, or ask the operator to raise limits.max_retention.`}},
		"retention at the limit": {`{"retention":{"keep_yearly":10}}`, limits, nil},
		"cut by max_age":         {`{"retention":{"period":"11y","max_age":"9y"}}`, limits, nil},
		"keep_all and a limit": {`{"retention":{"keep_all":true}}`, limits, []string{
			`error retention.keep_all [] Retention is longer than allowed | keep_all keeps backups without end, and 10y is the longest that this daemon allows. Write for example period = "10y", or ask the operator to raise limits.max_retention.`}},
		"both day fields": {`{"cron":"0 3 13 * 5"}`, nil, []string{
			`warning cron [cron-day-or] Both day fields are set | "0 3 13 * 5" runs on the 13th of the month and also on Friday, whichever matches: cron joins the two day fields with "or". That is about 62 runs a year. Set one of them to * to have only the other. Silence it with lint_ignore = ["cron-day-or"].`}},
		"uneven steps": {`{"cron":"*/40 * * * *"}`, nil, []string{
			`warning cron [cron-uneven-step] Uneven steps | "*/40" selects minutes 0 and 40, so the runs are 40 minutes apart and, at the end of each hour, only 20. A step that divides 60 is even. Silence it with lint_ignore = ["cron-uneven-step"].`}},
		"skipped months": {`{"cron":"0 3 31 * *","retention":{"keep_last":12}}`, nil, []string{
			`warning cron [cron-skips-months] Schedule skips some months | "0 3 31 * *" does not run in February, April, June, September and November; the longest gap is 61 days. Use day 28, or L for the last day of the month. Silence it with lint_ignore = ["cron-skips-months"].`}},
		"a rule finer than the schedule": {`{"retention":{"keep_hourly":24}}`, nil, []string{
			`warning retention.keep_hourly [retention-tier-finer] Retention rule is finer than the schedule | The runs of "30 2 * * *" are at least 24h apart, so keep_hourly = 24 keeps the last 24 backups, not 24 hours. Say what you mean: keep_last = 24, or cron = "0 * * * *". Silence it with lint_ignore = ["retention-tier-finer"].`}},
		"a rule that adds nothing": {`{"retention":{"keep_daily":14,"keep_weekly":2}}`, nil, []string{
			`warning retention.keep_weekly [retention-tier-covered] Retention rule adds nothing | Every backup that keep_weekly = 2 selects is already kept by keep_daily = 14. Raise it, or remove it. Silence it with lint_ignore = ["retention-tier-covered"].`}},
		"a rule within the period": {`{"retention":{"period":"30d","keep_daily":31}}`, nil, []string{
			`warning retention.keep_daily [retention-tier-covered] Retention rule adds nothing | Every backup that keep_daily = 31 selects is already kept by period = 30d. Raise it, or remove it. Silence it with lint_ignore = ["retention-tier-covered"].`}},
		"two rules that are the same": {`{"retention":{"keep_last":20,"keep_daily":20}}`, nil, []string{
			`warning retention.keep_daily [retention-tier-covered] Retention rule adds nothing | Every backup that keep_daily = 20 selects is already kept by keep_last = 20. Raise it, or remove it. Silence it with lint_ignore = ["retention-tier-covered"].`}},
		"tiers that add up": {`{"retention":{"keep_daily":7,"keep_weekly":4,"keep_monthly":12,"keep_yearly":3}}`, nil, nil},
		"a short period": {`{"retention":{"period":"12h","keep_monthly":12}}`, nil, []string{
			`warning retention.period [retention-period-short] Period is shorter than one interval | Backups are up to 25h apart and period is 12h, so between runs no backup but the newest lies within it. Use at least 50h, or keep_last. Silence it with lint_ignore = ["retention-period-short"].`}},
		"a short history": {`{"retention":{"keep_last":3}}`, nil, []string{
			`warning retention [retention-short] History is short | The oldest backup would be 4 days old. Damage that is noticed later cannot be undone. Add for example keep_weekly = 4. Silence it with lint_ignore = ["retention-short"].`}},
		"a long timeout": {`{"cron":"0 * * * *","timeout":"6h"}`, nil, []string{
			`warning timeout [timeout-exceeds-interval] Timeout is longer than the interval | timeout = "6h" is longer than the longest time between two runs, which is 1h, so one run that hangs makes later ones be skipped. Use less than 1h. Silence it with lint_ignore = ["timeout-exceeds-interval"].`}},
		"a rule that does not exist": {`{"lint_ignore":["retention-shrot"]}`, nil, []string{
			`warning lint_ignore[0] [lint-unknown] Unknown lint rule | "retention-shrot" is no rule and silences nothing. The rules are ` + strings.Join(preflight.Rules(), ", ") + `. Silence it with lint_ignore = ["lint-unknown"].`}},
		"errors come first": {`{"cron":"0 3 13 * 5","max_rpo":"1d"}`, nil, []string{
			`error max_rpo [] Schedule cannot meet max_rpo | The longest time between two runs of "0 3 13 * 5" in Europe/Berlin is 7d1h (for example 2000-10-27 03:00 to 2000-11-03 03:00, when the clock is set back), and max_rpo is 1d. Run it more often, or set max_rpo to at least 7d1h.`,
			`warning cron [cron-day-or] Both day fields are set | "0 3 13 * 5" runs on the 13th of the month and also on Friday, whichever matches: cron joins the two day fields with "or". That is about 62 runs a year. Set one of them to * to have only the other. Silence it with lint_ignore = ["cron-day-or"].`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := preflight.Of(spec(t, test.change))
			got := preflight.Check(p, test.limits, nil)
			if diff := cmp.Diff(test.want, lines(got)); diff != "" {
				t.Errorf("Check (-want +got):\n%s", diff)
			}
			if again := preflight.Check(p, test.limits, nil); !slices.Equal(lines(got), lines(again)) {
				t.Error("a second check says something else")
			}
			// Every warning has a rule that is listed and that silences it.
			for _, f := range got {
				if f.Severity != envbackup.SeverityWarning {
					continue
				}
				if !slices.Contains(preflight.Rules(), f.Rule) {
					t.Errorf("rule %q is not listed", f.Rule)
				}
				quiet := p
				quiet.LintIgnore = append(slices.Clone(p.LintIgnore), f.Rule)
				for _, left := range preflight.Check(quiet, test.limits, nil) {
					if left.Rule == f.Rule {
						t.Errorf("lint_ignore does not silence %q", f.Rule)
					}
				}
			}
		})
	}
}

// Values that only apply will know are skipped, one by one and all together.
func TestUnknownValuesAreSkipped(t *testing.T) {
	t.Parallel()
	limits := &envbackup.Limits{MaxRetention: "1d", MinInterval: "2d"}
	if got := preflight.Check(preflight.Proposal{}, limits, &preflight.Existing{Now: time.Unix(0, 0), RunTimes: []time.Duration{time.Hour}}); len(got) != 0 {
		t.Errorf("nothing is known, and Check says %v", lines(got))
	}
	bad := spec(t, `{"cron":"61 * * * *","timezone":"x/y","retention":{},"jitter":"x","timeout":"x","max_rpo":"x","name":"-","environment":"-","overlap":"-","on_destroy":"-","start_deadline":"x","catch_up_within":"x"}`)
	forget := map[string]func(*preflight.Proposal){
		"cron": func(p *preflight.Proposal) { p.Cron = nil }, "timezone": func(p *preflight.Proposal) { p.Timezone = nil },
		"retention": func(p *preflight.Proposal) { p.Retention = nil }, "jitter": func(p *preflight.Proposal) { p.Jitter = nil },
		"timeout": func(p *preflight.Proposal) { p.Timeout = nil }, "max_rpo": func(p *preflight.Proposal) { p.MaxRPO = nil },
		"name": func(p *preflight.Proposal) { p.Name = nil }, "environment": func(p *preflight.Proposal) { p.Environment = nil },
		"overlap": func(p *preflight.Proposal) { p.Overlap = nil }, "on_destroy": func(p *preflight.Proposal) { p.OnDestroy = nil },
		"start_deadline":  func(p *preflight.Proposal) { p.StartDeadline = nil },
		"catch_up_within": func(p *preflight.Proposal) { p.CatchUpWithin = nil },
	}
	all := preflight.Check(preflight.Of(bad), nil, nil)
	if len(all) != len(forget) {
		t.Fatalf("%d findings, want one for each of %d attributes: %v", len(all), len(forget), lines(all))
	}
	for path, change := range forget {
		p := preflight.Of(bad)
		change(&p)
		got := preflight.Check(p, nil, nil)
		if len(got) != len(all)-1 || slices.ContainsFunc(got, func(f envbackup.Finding) bool { return f.Path == path }) {
			t.Errorf("%s is unknown, and Check says %v", path, lines(got))
		}
	}
	// What depends on several values waits for all of them.
	tight := preflight.Of(spec(t, `{"max_rpo":"1h"}`))
	tight.BlackoutUnknown = true
	if got := preflight.Check(tight, nil, nil); len(got) != 0 {
		t.Errorf("the blackout windows are unknown, and Check says %v", lines(got))
	}
	if _, ok := preflight.Describe(tight); ok {
		t.Error("Describe knows a gap without the blackout windows")
	}
}

// The pure forecast.
func TestDescribe(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change string
		want   preflight.Forecast
	}{
		"the example of the manual": {`{"retention":{"period":"30d","keep_monthly":12}}`,
			preflight.Forecast{Summary: "every day at 02:30 Europe/Berlin; keeps at most 42 backups, the oldest about 12 months", WorstCaseGap: "25h", MaxBackups: 42}},
		"every minute": {`{"cron":"* * * * *","timezone":"","retention":{"keep_last":2}}`,
			preflight.Forecast{Summary: "every minute (UTC); keeps at most 2 backups, the oldest about 2 minutes", WorstCaseGap: "1m", MaxBackups: 2}},
		"keep_all": {`{"timezone":"UTC","retention":{"keep_all":true}}`,
			preflight.Forecast{Summary: "every day at 02:30 UTC; keeps every backup", WorstCaseGap: "24h"}},
		"one": {`{"timezone":"UTC","retention":{"keep_last":1}}`,
			preflight.Forecast{Summary: "every day at 02:30 UTC; keeps 1 backup", WorstCaseGap: "24h", MaxBackups: 1}},
		"hardly ever": {`{"cron":"0 0 * 2 1#5","timezone":"UTC","retention":{"keep_last":3}}`,
			preflight.Forecast{Summary: "on the 5th Monday of the month in February at 00:00 UTC; keeps at most 3 backups", WorstCaseGap: "over 24 years", MaxBackups: 3}},
		"jitter": {`{"timezone":"UTC","jitter":"1h","retention":{"keep_last":1}}`,
			preflight.Forecast{Summary: "every day at 02:30 UTC; keeps 1 backup", WorstCaseGap: "25h", MaxBackups: 1}},
		"deferred to the end of a window": {`{"cron":"0 * * * *","timezone":"UTC","retention":{"keep_last":1},"blackout":{"office":{"days":"MON-FRI","from":"08:30","to":"17:15"}}}`,
			preflight.Forecast{Summary: "every hour (UTC), outside of blackout windows; keeps 1 backup", WorstCaseGap: "9h15m", MaxBackups: 1}},
		"windows over midnight that meet": {`{"cron":"0 3 * * *","timezone":"UTC","retention":{"keep_last":1},"blackout":{"a":{"from":"22:00","to":"04:00"},"b":{"days":"MON","from":"04:00","to":"06:00"}}}`,
			preflight.Forecast{Summary: "every day at 03:00 UTC, outside of blackout windows; keeps 1 backup", WorstCaseGap: "26h", MaxBackups: 1}},
		"a slot that some share of the jitter moves into a window": {`{"cron":"55 8 * * *","timezone":"UTC","jitter":"10m","retention":{"keep_last":1},"blackout":{"a":{"days":"FRI","from":"09:00","to":"17:00","action":"skip"}}}`,
			preflight.Forecast{Summary: "every day at 08:55 UTC, outside of blackout windows; keeps 1 backup", WorstCaseGap: "48h10m", MaxBackups: 1}},
		"skipped for ever": {`{"timezone":"UTC","retention":{"keep_last":1},"blackout":{"a":{"from":"02:00","to":"03:00","action":"skip"}}}`,
			preflight.Forecast{Summary: "every day at 02:30 UTC, outside of blackout windows; keeps 1 backup", WorstCaseGap: "over 24 years", MaxBackups: 1}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := preflight.Describe(preflight.Of(spec(t, test.change)))
			if diff := cmp.Diff(test.want, got); diff != "" || !ok {
				t.Errorf("Describe = %v (-want +got):\n%s", ok, diff)
			}
		})
	}
	for _, change := range []string{`{"cron":"x"}`, `{"timezone":"x"}`, `{"retention":{}}`, `{"jitter":"x"}`, `{"blackout":{"a":{}}}`} {
		if f, ok := preflight.Describe(preflight.Of(spec(t, change))); ok {
			t.Errorf("Describe(%s) = %+v", change, f)
		}
	}
}

// The forecast from an instant.
func TestPreview(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC)
	o, ok, err := preflight.Preview(preflight.Of(spec(t, `{"cron":"30 2,14 * * *"}`)), from, 3)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	var runs []string
	for _, run := range o.NextRuns {
		runs = append(runs, run.Start.Format(time.RFC3339))
	}
	if diff := cmp.Diff([]string{"2026-10-24T14:30:00+02:00", "2026-10-25T02:30:00+02:00", "2026-10-25T14:30:00+01:00"}, runs); diff != "" {
		t.Errorf("NextRuns (-want +got):\n%s", diff)
	}
	if o.RunsPerDay != 2 || !o.Created || o.Points.Day.Backups != 3 || o.Points.Steady.Backups < 60 || o.Points.Steady.Backups > 62 {
		t.Errorf("Preview = %+v", o)
	}
	if _, ok, err := preflight.Preview(preflight.Of(spec(t, `{"cron":"x"}`)), from, 3); ok || err != nil {
		t.Errorf("Preview of a wrong expression: %v, %v", ok, err)
	}
}

// S7, S8, S9, S11: the forecast takes the options of the schedule into account.
func TestPreviewTakesTheOptionsIntoAccount(t *testing.T) {
	t.Parallel()
	from := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC) // a Wednesday
	no := false
	tests := map[string]struct {
		change string
		id     string
		edit   func(*preflight.Proposal)
		runs   []string // start, and the nominal time where it differs
		perDay float64
		points [3]int // after a day, 30 days, a year
	}{
		"plain": {`{"retention":{"keep_all":true}}`, "", nil,
			[]string{"26 01:30:00", "27 01:30:00"}, 1, [3]int{2, 31, 366}},
		"no backup at the creation": {`{"retention":{"keep_all":true},"run_on_create":false}`, "", nil,
			[]string{"26 01:30:00", "27 01:30:00"}, 1, [3]int{1, 30, 365}},
		"a schedule that exists has none": {`{"retention":{"keep_all":true}}`, "sch_1", nil,
			[]string{"26 01:30:00", "27 01:30:00"}, 1, [3]int{1, 30, 365}},
		"paused": {`{"retention":{"keep_all":true},"paused":true}`, "", nil, nil, 0, [3]int{}},
		"not known whether it is paused": {`{"retention":{"keep_all":true},"paused":true}`, "",
			func(p *preflight.Proposal) { p.Paused, p.RunOnCreate = nil, &no },
			[]string{"26 01:30:00", "27 01:30:00"}, 1, [3]int{1, 30, 365}},
		"skipped on two days of the week": {`{"retention":{"keep_all":true},"blackout":{"a":{"days":"THU,FRI","from":"00:00","to":"24:00","action":"skip"}}}`, "sch_1", nil,
			[]string{"28 01:30:00", "29 01:30:00"}, 5. / 7, [3]int{0, 20, 260}},
		"deferred, and coalesced into the newest": {`{"cron":"0 * * * *","timezone":"UTC","retention":{"keep_all":true},"blackout":{"a":{"from":"13:30","to":"17:15"}}}`, "sch_1", nil,
			[]string{"25 13:00:00", "25 17:15:00 for 17:00", "25 18:00:00"}, 21, [3]int{21, 630, 7665}},
		"its share of the jitter": {`{"retention":{"keep_all":true},"jitter":"30m"}`, "sch_1", nil,
			[]string{"26 01:42:34 for 01:30", "27 01:42:34 for 01:30"}, 1, [3]int{1, 30, 365}},
		"no share is known yet": {`{"retention":{"keep_all":true},"jitter":"30m","run_on_create":false}`, "", nil,
			[]string{"26 01:30:00", "27 01:30:00"}, 1, [3]int{1, 30, 365}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := preflight.Of(spec(t, test.change))
			p.ID = test.id
			if test.edit != nil {
				test.edit(&p)
			}
			o, ok, err := preflight.Preview(p, from, max(1, len(test.runs)))
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			var runs []string
			for _, run := range o.NextRuns {
				line := run.Start.UTC().Format("02 15:04:05")
				if !run.Nominal.Equal(run.Start) {
					line += run.Nominal.UTC().Format(" for 15:04")
				}
				runs = append(runs, line)
			}
			if diff := cmp.Diff(test.runs, runs); diff != "" {
				t.Errorf("NextRuns (-want +got):\n%s", diff)
			}
			points := [3]int{o.Points.Day.Backups, o.Points.Month.Backups, o.Points.Year.Backups}
			if points != test.points || o.RunsPerDay != test.perDay {
				t.Errorf("%v runs a day and %v, want %v and %v", o.RunsPerDay, points, test.perDay, test.points)
			}
		})
	}
	unknown := preflight.Of(spec(t, ""))
	unknown.BlackoutUnknown = true
	if _, ok, err := preflight.Preview(unknown, from, 1); ok || err != nil {
		t.Errorf("Preview without the blackout windows: %v, %v", ok, err)
	}
}

// An edit that would remove backups: a warning, and above R4's threshold an
// error until it is acknowledged.
func TestRemovals(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	daily := func(days int) []retention.Point {
		var points []retention.Point
		for i := range days {
			at := time.Date(2026, 11, 25-i, 1, 30, 0, 0, time.UTC)
			points = append(points, retention.Point{
				ID: fmt.Sprint(i), Nominal: at, Completed: at, Trigger: retention.TriggerSchedule, Status: retention.StatusComplete, Size: 1 << 30,
			})
		}
		return points
	}
	failing := func(days int) []retention.Point { // one good, then partial ones only
		points := daily(days + 1)
		for i := range days {
			points[i].Status = retention.StatusPartial
		}
		return points
	}
	existing := func(at map[string][]retention.Point) preflight.Existing {
		return preflight.Existing{Now: now, Before: retention.Spec{Period: "30d"}, Timezone: "Europe/Berlin", Points: func(yield func(string, []retention.Point) bool) {
			for _, name := range slices.Sorted(maps.Keys(at)) {
				if !yield(name, at[name]) {
					return
				}
			}
		}}
	}
	at := func(points []retention.Point) map[string][]retention.Point {
		return map[string][]retention.Point{"primary": points}
	}
	const silence = ` Until they are deleted, undoing the change keeps them. Silence it with lint_ignore = ["retention-removes"].`
	const many = `error retention [] This change removes many backups | It would remove 29 of 31 backups at "primary": the oldest of 2026-10-26 02:30 CET, the newest of 2026-11-23 02:30 CET, together 29.0 GiB. Those include more than half of the good backups at "primary". If that is intended, add: acknowledge_removal = 29. The prune after the next good backup sets them aside for prune_grace (1d).`
	tests := map[string]struct {
		change   string
		existing map[string][]retention.Point
		want     []string
	}{
		"no edit":    {`{}`, at(daily(60)), nil},
		"keeps more": {`{"retention":{"period":"60d"}}`, at(daily(60)), nil},
		"removes some": {`{"retention":{"period":"25d"}}`, at(daily(20 + 11)), []string{
			`warning retention [retention-removes] This change removes backups | It would remove 5 of 31 backups at "primary": the oldest of 2026-10-26 02:30 CET, the newest of 2026-10-30 02:30 CET, together 5.0 GiB. The prune after the next good backup sets them aside for prune_grace (1d).` + silence}},
		"removes one": {`{"retention":{"period":"29d"}}`, at(daily(20 + 11)), []string{
			`warning retention [retention-removes] This change removes backups | It would remove 1 of 31 backups at "primary": that of 2026-10-26 02:30 CET, 1.0 GiB. The prune after the next good backup sets it aside for prune_grace (1d). Until it is deleted, undoing the change keeps it. Silence it with lint_ignore = ["retention-removes"].`}},
		"no grace": {`{"retention":{"period":"29d","prune_grace":"0m"}}`, at(daily(20 + 11)), []string{
			`warning retention [retention-removes] This change removes backups | It would remove 1 of 31 backups at "primary": that of 2026-10-26 02:30 CET, 1.0 GiB. prune_grace is 0, so the prune after the next good backup deletes it. Until it is deleted, undoing the change keeps it. Silence it with lint_ignore = ["retention-removes"].`}},
		"each destination by itself": {`{"retention":{"period":"25d"}}`, map[string][]retention.Point{"nas": daily(27), "primary": daily(20 + 11), "small": daily(3)}, []string{
			`warning retention [retention-removes] This change removes backups | It would remove 6 backups: 1 of 27 backups at "nas" (that of 2026-10-30 02:30 CET, 1.0 GiB) and 5 of 31 backups at "primary" (the oldest of 2026-10-26 02:30 CET, the newest of 2026-10-30 02:30 CET, together 5.0 GiB). The prune after the next good backup sets them aside for prune_grace (1d).` + silence}},
		"removes many":         {`{"retention":{"keep_last":2},"lint_ignore":["retention-short"]}`, at(daily(31)), []string{many}},
		"too few acknowledged": {`{"retention":{"keep_last":2},"lint_ignore":["retention-short"],"acknowledge_removal":28}`, at(daily(31)), []string{many}},
		"acknowledged": {`{"retention":{"keep_last":2,"prune_grace":"6h"},"lint_ignore":["retention-short"],"acknowledge_removal":29}`, at(daily(31)), []string{
			`warning retention [retention-removes] This change removes backups | It would remove 29 of 31 backups at "primary": the oldest of 2026-10-26 02:30 CET, the newest of 2026-11-23 02:30 CET, together 29.0 GiB. The prune after the next good backup sets them aside for prune_grace (6h).` + silence}},
		"many at one of two": {`{"retention":{"keep_last":20},"lint_ignore":["retention-short"]}`, map[string][]retention.Point{"nas": daily(22), "primary": failing(26)}, []string{
			`warning retention [retention-removes] This change removes backups | It would remove 8 backups: 2 of 22 backups at "nas" (the oldest of 2026-11-04 02:30 CET, the newest of 2026-11-05 02:30 CET, together 2.0 GiB) and 6 of 27 backups at "primary" (the oldest of 2026-10-31 02:30 CET, the newest of 2026-11-05 02:30 CET, together 6.0 GiB). The prune after the next good backup sets them aside for prune_grace (1d).` + silence}},
		"many of the second list": {`{"retention":{"keep_last":2},"lint_ignore":["retention-short"]}`, at(failing(8)), []string{
			`error retention [] This change removes many backups | It would remove 6 of 9 backups at "primary": the oldest of 2026-11-18 02:30 CET, the newest of 2026-11-23 02:30 CET, together 6.0 GiB. Those include more than half of the partial, suspect and damaged backups at "primary". If that is intended, add: acknowledge_removal = 6. The prune after the next good backup sets them aside for prune_grace (1d).`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			findings, removals := preflight.CheckEdit(preflight.Of(spec(t, test.change)), nil, existing(test.existing))
			if diff := cmp.Diff(test.want, lines(findings)); diff != "" {
				t.Errorf("CheckEdit (-want +got):\n%s", diff)
			}
			if (removals != nil) != (len(test.want) > 0) {
				t.Errorf("removals %+v beside %q", removals, lines(findings))
			}
		})
	}
	inherited := func(change string, points []retention.Point) []string {
		e := existing(at(points))
		e.Inherited, e.Before = true, retention.Spec{KeepAll: true}
		findings, _ := preflight.CheckEdit(preflight.Of(spec(t, change)), nil, e)
		return lines(findings)
	}
	for change, want := range map[string][]string{
		`{"retention":{"period":"90d"}}`:                                  nil,
		`{"retention":{"period":"30d"}}`:                                  {`warning retention [retention-removes] Backups of an earlier schedule would be removed | A schedule of this name was here before, and the new one takes over its backups. It would remove 9 of 40 backups at "primary": the oldest of 2026-10-17 03:30 CEST, the newest of 2026-10-25 02:30 CET, together 9.0 GiB. The prune after the first good backup deletes them. Until they are deleted, a longer retention keeps them. Silence it with lint_ignore = ["retention-removes"].`},
		`{"retention":{"keep_last":2},"lint_ignore":["retention-short"]}`: {`warning retention [retention-removes] Backups of an earlier schedule would be removed | A schedule of this name was here before, and the new one takes over its backups. It would remove 38 of 40 backups at "primary": the oldest of 2026-10-17 03:30 CEST, the newest of 2026-11-23 02:30 CET, together 38.0 GiB. Those include more than half of the good backups at "primary". The prune after the first good backup sets them aside for prune_grace (1d). Until they are deleted, a longer retention keeps them. Silence it with lint_ignore = ["retention-removes"].`},
	} {
		if diff := cmp.Diff(want, inherited(change, daily(40))); diff != "" {
			t.Errorf("what a new schedule inherits, %s (-want +got):\n%s", change, diff)
		}
	}
	_, r := preflight.CheckEdit(preflight.Of(spec(t, `{"retention":{"keep_last":2}}`)), nil, existing(map[string][]retention.Point{"nas": daily(3), "primary": daily(31)}))
	if r == nil || r.Count != 30 || r.Total != 34 || !r.Large || r.Size != 30<<30 || !r.Newest.After(r.Oldest) ||
		len(r.ByDestination) != 2 || r.ByDestination[0].Large || !r.ByDestination[1].Large || r.ByDestination[1].Count != 29 {
		t.Errorf("removals = %+v", r)
	}

	slow := &preflight.Existing{Now: now, Before: retention.Spec{Period: "30d"}, Timezone: "Europe/Berlin", RunTimes: []time.Duration{40 * time.Minute, 44 * time.Minute}}
	want := []string{`warning cron [run-overlaps] Runs may overlap | The last 2 runs took 42m on average, the schedule runs every 30m, and it will skip most of those that come too early. Run it less often. Silence it with lint_ignore = ["run-overlaps"].`}
	if diff := cmp.Diff(want, lines(preflight.Check(preflight.Of(spec(t, `{"cron":"*/30 * * * *"}`)), nil, slow))); diff != "" {
		t.Errorf("overlap (-want +got):\n%s", diff)
	}
}

// retention-tier-covered is said of no rule that does keep something: taking
// the rule away leaves every plan as it was.
func TestCoveredTiersAddNothing(t *testing.T) {
	t.Parallel()
	berlin, err := cron.LoadZone("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	said := 0
	for _, expr := range []string{"30 2 * * *", "0 */6 * * *", "0 3 * * 1-5", "0 3 * * 0", "0 0 1 * *"} {
		s, err := cron.Parse(expr)
		if err != nil {
			t.Fatal(err)
		}
		for _, blackout := range []string{
			`{}`, `{"weekend":{"days":"SAT,SUN","from":"00:00","to":"24:00","action":"skip"}}`, `{"week":{"days":"TUE-FRI","from":"00:00","to":"24:00"}}`,
			`{"night":{"from":"22:00","to":"06:00"},"monday":{"days":"1","from":"01:00","to":"05:00","action":"skip"}}`,
		} {
			var windows map[string]envbackup.Blackout
			if err := json.Unmarshal([]byte(blackout), &windows); err != nil {
				t.Fatal(err)
			}
			parsed, err := slots.ParseWindows(windows)
			if err != nil {
				t.Fatal(err)
			}
			var points []retention.Point
			for h := range slots.RhythmOf(s, parsed, 0).Hours(time.Date(2025, 1, 1, 0, 0, 0, 0, berlin), time.Date(2027, 1, 1, 0, 0, 0, 0, berlin), berlin) {
				at := time.Unix(h.First(), 0)
				points = append(points, retention.Point{ID: at.UTC().Format(time.RFC3339), Nominal: at, Completed: at, Trigger: retention.TriggerSchedule, Status: retention.StatusComplete})
			}
			for _, block := range []string{
				`{"keep_last":10,"keep_daily":9}`, `{"keep_last":8,"keep_daily":2,"keep_weekly":2}`, `{"keep_daily":8,"keep_weekly":2}`, `{"keep_daily":32,"keep_monthly":2}`,
				`{"keep_daily":14,"keep_weekly":3}`, `{"period":"30d","keep_daily":31}`, `{"period":"30d","keep_daily":30,"keep_weekly":5,"keep_monthly":2}`,
				`{"period":"1mo","keep_daily":29}`, `{"keep_monthly":13,"keep_yearly":2}`, `{"keep_weekly":8,"keep_monthly":2}`, `{"period":"21d","keep_last":4,"keep_weekly":4}`, `{"period":"5d","keep_last":5}`, `{"period":"7d","keep_last":3}`,
			} {
				proposal := preflight.Of(spec(t, fmt.Sprintf(`{"cron":%q,"retention":%s,"blackout":%s}`, expr, block, blackout)))
				for _, f := range preflight.Check(proposal, nil, nil) {
					if f.Rule != preflight.RuleTierCovered {
						continue
					}
					said++
					var values map[string]any
					if err := json.Unmarshal([]byte(block), &values); err != nil {
						t.Fatal(err)
					}
					delete(values, strings.TrimPrefix(f.Path, "retention."))
					rest, err := json.Marshal(values)
					if err != nil {
						t.Fatal(err)
					}
					with, err := spec(t, `{"retention":`+block+`}`).Retention.Policy()
					if err != nil {
						t.Fatal(err)
					}
					without, err := spec(t, `{"retention":`+string(rest)+`}`).Retention.Policy()
					if err != nil {
						t.Fatal(err)
					}
					for n := len(points); n > len(points)/2; n -= 1 + len(points)/24 {
						now := points[n-1].Nominal
						a, b := retention.Plan(points[:n], with, berlin, now).Kept(), retention.Plan(points[:n], without, berlin, now).Kept()
						if len(a) != len(b) {
							t.Fatalf("%s, %s, %s at %s: %s is said to add nothing, but keeps %d more", expr, block, blackout, now, f.Path, len(a)-len(b))
						}
					}
				}
			}
		}
	}
	if said < 15 {
		t.Errorf("only %d rules were called covered", said)
	}
}

func TestWorstCaseGap(t *testing.T) {
	t.Parallel()
	s, err := cron.Parse("30 2 * * *")
	if err != nil {
		t.Fatal(err)
	}
	if text, gap, few := preflight.WorstCaseGap(s, time.UTC); text != "24h" || gap != 24*time.Hour || few {
		t.Errorf("WorstCaseGap = %s, %s, %v", text, gap, few)
	}
}

func BenchmarkCheckAndDescribe(b *testing.B) {
	p := preflight.Of(spec(b, `{"retention":{"period":"30d","keep_monthly":12},"max_rpo":"26h"}`))
	for b.Loop() {
		preflight.Check(p, nil, nil)
		preflight.Describe(p)
	}
}
