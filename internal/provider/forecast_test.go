package provider_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
)

const forecastAddress = "data.envbackup_forecast.f"

// forecast is a forecast with attributes of the test's choice.
func forecast(attributes string) string {
	return "data \"envbackup_forecast\" \"f\" {\n" + attributes + "\n}\n"
}

// noDaemon is a provider that is to do without one.
const noDaemon = "provider \"envbackup\" {\n  plan_checks = \"skip\"\n}\n"

// says checks one output of the forecast.
func says(want knownvalue.Check, attribute string, more ...any) statecheck.StateCheck {
	at := tfjsonpath.New(attribute)
	for _, step := range more {
		switch step := step.(type) {
		case int:
			at = at.AtSliceIndex(step)
		case string:
			at = at.AtMapKey(step)
		}
	}
	return statecheck.ExpectKnownValue(forecastAddress, at, want)
}

// TestForecastWithoutADaemon (SEMANTICS section 4, "From a given instant"):
// next runs, runs per day and restore points over time, with no daemon.
func TestForecastWithoutADaemon(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	null, text, number := knownvalue.Null(), knownvalue.StringExact, knownvalue.Int64Exact
	none := knownvalue.ListSizeExact(0)
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{
			Config: noDaemon + forecast(`
  cron      = "30 2 * * *"
  timezone  = "Europe/Berlin"
  retention = { period = "30d", keep_monthly = 12 }
  max_rpo   = "26h"
  from      = "2026-10-23T12:00:00Z"
  limit     = 3`),
			ConfigStateChecks: []statecheck.StateCheck{
				says(knownvalue.Bool(true), "valid"),
				says(none, "findings"),
				says(text("every day at 02:30 Europe/Berlin; keeps at most 42 backups, the oldest about 12 months"), "summary"),
				says(text("25h"), "worst_case_gap"),
				says(number(42), "max_backups"),
				says(knownvalue.Float64Exact(1), "runs_per_day"),
				says(knownvalue.ListSizeExact(3), "next_runs"),
				says(text("2026-10-24T02:30:00+02:00"), "next_runs", 0, "at"),
				says(text("2026-10-25T02:30:00+02:00"), "next_runs", 1, "at"), // the first of two 02:30
				says(text("2026-10-26T02:30:00+01:00"), "next_runs", 2, "nominal_at"),
				says(knownvalue.Bool(false), "restore_points", "unbounded"),
			},
		},
		{ // the default number of runs, from now on
			Config: noDaemon + forecast("  cron = \"@hourly\"\n  retention = { keep_all = true }"),
			ConfigStateChecks: []statecheck.StateCheck{
				says(knownvalue.ListSizeExact(5), "next_runs"),
				says(null, "max_backups"),
				says(knownvalue.Float64Exact(24), "runs_per_day"),
				says(knownvalue.Bool(true), "restore_points", "unbounded"),
			},
		},
		{ // what is wrong is a finding, and what follows from it is not said
			Config: noDaemon + forecast("  cron = \"61 * * * *\"\n  retention = {\n    keep_daily = 14\n    keep_weekly = 2\n  }\n  timezone = \"berlin\""),
			ConfigStateChecks: []statecheck.StateCheck{
				says(knownvalue.Bool(false), "valid"),
				says(knownvalue.ListSizeExact(2), "findings"),
				says(text("error"), "findings", 0, "severity"),
				says(null, "findings", 0, "rule"),
				says(text("cron"), "findings", 0, "path"),
				says(text("Invalid cron minute"), "findings", 0, "summary"),
				says(text("timezone"), "findings", 1, "path"),
				says(none, "next_runs"),
				says(null, "summary"), says(null, "worst_case_gap"), says(null, "max_backups"), says(null, "runs_per_day"), says(null, "restore_points"),
			},
		},
		{ // errors come before warnings, and lint_ignore silences only those
			Config: noDaemon + forecast("  cron = \"0 3 13 * 5\"\n  retention = { keep_daily = 30 }\n  max_rpo = \"1d\"\n  lint_ignore = [\"retention-tier-covered\"]"),
			ConfigStateChecks: []statecheck.StateCheck{
				says(knownvalue.ListSizeExact(2), "findings"),
				says(text("max_rpo"), "findings", 0, "path"),
				says(text("cron-day-or"), "findings", 1, "rule"),
				says(text("warning"), "findings", 1, "severity"),
			},
		},
	}})
}

// TestForecastRefuses: what the forecast itself is asked wrongly is an error at
// its attribute.
func TestForecastRefuses(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	for name, test := range map[string]struct{ attributes, want string }{
		"no instant":     {"  from = \"tomorrow\" #!", "Invalid instant"},
		"no run":         {"  limit = 0 #!", "Invalid Attribute Value.*between 1 and 1000"},
		"too many":       {"  limit = 1001 #!", "Invalid Attribute Value.*between 1 and 1000"},
		"empty zone":     {"  timezone = \"\" #!", "Empty value"},
		"empty schedule": {"  schedule = \"\" #!", "Empty value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantUnderlined(t, noDaemon+forecast("  cron = \"@daily\"\n  retention = { keep_daily = 30 }\n"+test.attributes), test.want)
		})
	}
}

// TestForecastAsksTheDaemon: with a real daemon its limits count, and what it
// knows of names and backups; without one the forecast is made all the same.
func TestForecastAsksTheDaemon(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	d := daemontest.Start(t, daemontest.Config(func(c *daemon.Config) { c.Limits.MinInterval = "5m" }))
	config := realConfig(d, t.TempDir(), filepath.Join(t.TempDir(), "backups"), "  cron = \"30 2 * * *\"\n  retention = { keep_daily = 30 }")
	text := knownvalue.StringExact
	often := forecast("  cron = \"* * * * *\"\n  retention = { period = \"30d\" }")
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{
			Config: providerConfig(d.Endpoint, d.Token) + often,
			ConfigStateChecks: []statecheck.StateCheck{
				says(knownvalue.Bool(false), "valid"), // under the daemon's limit
				says(knownvalue.ListSizeExact(1), "findings"),
				says(text("cron"), "findings", 0, "path"),
				says(text("Schedule runs too often"), "findings", 0, "summary"),
				says(knownvalue.ListSizeExact(5), "next_runs"), // said nevertheless
			},
		},
		{
			Config:            providerConfig("http://127.0.0.1:1", d.Token) + often,
			ConfigStateChecks: []statecheck.StateCheck{says(knownvalue.Bool(true), "valid")},
		},
		{
			Config: providerConfig(d.Endpoint, d.Token) + forecast("  cron = \"@daily\"\n  retention = { keep_daily = 30 }\n  environment = \"shpo\"\n  destinations = [\"local\", \"nas\"]"),
			ConfigStateChecks: []statecheck.StateCheck{
				says(knownvalue.Bool(true), "valid"), // they may exist by then
				says(knownvalue.ListPartial(map[int]knownvalue.Check{
					0: knownvalue.ObjectPartial(map[string]knownvalue.Check{"path": text("environment"), "rule": text("not-found")}),
					1: knownvalue.ObjectPartial(map[string]knownvalue.Check{"path": text("destinations[1]"), "rule": text("not-found")}),
				}), "findings"),
			},
		},
		{Config: config, Check: func(*terraform.State) error { return waitForRun(t, d) }},
		{ // an edit of what exists: nothing is said of its name, which is taken by itself
			Config: config + forecast("  cron = \"@daily\"\n  retention = { keep_daily = 60 }\n  schedule = \"shop/nightly\""),
			ConfigStateChecks: []statecheck.StateCheck{
				says(knownvalue.Bool(true), "valid"),
				says(knownvalue.ListSizeExact(0), "findings"),
			},
		},
		{
			Config:      config + forecast("  cron = \"@daily\"\n  retention = { keep_daily = 60 }\n  schedule = \"shop/nightyl\""),
			ExpectError: regexp.MustCompile(`(?s)Schedule does not exist.*\n\s*\d+:\s+schedule = .*shop/nightyl.*envbackup\s+schedules\s+list`),
		},
		{Config: config},
	}})
}

// TestForecastOfAnEdit: the forecast says what the plan would say about
// existing backups, through one preflight call with the schedule's id, name
// and destinations.
func TestForecastOfAnEdit(t *testing.T) {
	t.Parallel()
	d, w := newFakeDaemon(t), wire6(t)
	s := fakeSchedule("sch_1", "shop", "nightly")
	d.change(func() { d.schedules[s.ID] = s })
	wantSaid(t, w.configure(t, d.URL, fakeToken, nil))
	typ := w.schemas.DataSourceSchemas["envbackup_forecast"].ValueType()
	keep := object(t, typ.(tftypes.Object).AttributeTypes["retention"], map[string]tftypes.Value{"keep_daily": number(14)})
	config := object(t, typ, map[string]tftypes.Value{"cron": text("@daily"), "retention": keep, "schedule": text("sch_1")})
	resp, err := w.ReadDataSource(t.Context(), &tfprotov6.ReadDataSourceRequest{TypeName: "envbackup_forecast", Config: dynamic(t, config)})
	if err != nil {
		t.Fatal(err)
	}
	wantSaid(t, resp.Diagnostics)
	if len(d.preflights) != 1 {
		t.Fatalf("the daemon was asked %d times, want once", len(d.preflights))
	}
	asked := d.preflights[0]
	if got, want := fmt.Sprint(asked.ID, asked.Schedule.Reference(), asked.Schedule.Destinations, asked.Schedule.Cron), "sch_1shop/nightly[disk]@daily"; strings.ReplaceAll(got, " ", "") != want {
		t.Errorf("asked about %s, want %s", got, want)
	}
}

// TestForecastWithoutAnswer: a daemon that does not answer is one warning,
// however many forecasts there are; unless nobody wanted to ask it.
func TestForecastWithoutAnswer(t *testing.T) {
	t.Parallel()
	for checks, want := range map[string][]string{
		"auto": {"warning: Cannot reach the envbackup daemon"}, "skip": nil,
	} {
		w := wire6(t)
		wantSaid(t, w.configure(t, "http://127.0.0.1:1", fakeToken, map[string]tftypes.Value{"plan_checks": text(checks)}))
		typ := w.schemas.DataSourceSchemas["envbackup_forecast"].ValueType()
		keep := object(t, typ.(tftypes.Object).AttributeTypes["retention"], map[string]tftypes.Value{"keep_daily": number(14)})
		var diags []*tfprotov6.Diagnostic
		for range 3 {
			resp, err := w.ReadDataSource(t.Context(), &tfprotov6.ReadDataSourceRequest{
				TypeName: "envbackup_forecast", Config: dynamic(t, object(t, typ, map[string]tftypes.Value{"cron": text("@daily"), "retention": keep})),
			})
			if err != nil {
				t.Fatal(err)
			}
			diags = append(diags, resp.Diagnostics...)
			state, err := resp.State.Unmarshal(typ)
			if err != nil || state.IsNull() {
				t.Errorf("%s: no forecast (%v)", checks, err)
			}
		}
		wantSaid(t, diags, want...)
	}
}
