package provider_test

import (
	"fmt"
	"math/big"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
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

// TestForecastTakesOptions (S7, S8, S9, S11): blackout windows skip and defer
// runs, a pause leaves none, and a new schedule has a backup at its creation.
func TestForecastTakesOptions(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	text, number := knownvalue.StringExact, knownvalue.Int64Exact
	with := func(more string) string { // from a Wednesday at noon on
		return noDaemon + forecast("  cron = \"0 * * * *\"\n  retention = { keep_all = true }\n  from = \"2026-11-25T12:00:00Z\"\n"+more)
	}
	points := func(day, month int64) []statecheck.StateCheck {
		return []statecheck.StateCheck{says(number(day), "restore_points", "day", "backups"), says(number(month), "restore_points", "month", "backups")}
	}
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{Config: with(""), ConfigStateChecks: append(points(25, 721), says(text("24h"), "restore_points", "day", "oldest_age"))},
		{Config: with("  run_on_create = false"), ConfigStateChecks: append(points(24, 720), says(text("23h"), "restore_points", "day", "oldest_age"))},
		{
			Config: with("  run_on_create = false\n  blackout = { lunch = { days = \"MON-FRI\", from = \"12:30\", to = \"14:15\" } }"),
			ConfigStateChecks: append(points(23, 720-22), // 22 working days in those 30
				says(text("2026-11-25T14:15:00Z"), "next_runs", 0, "at"), says(text("2026-11-25T14:00:00Z"), "next_runs", 0, "nominal_at"),
				says(text("2026-11-25T15:00:00Z"), "next_runs", 1, "at")),
		},
		{
			Config: with("  run_on_create = false\n  blackout = { wednesdays = { days = \"WED\", from = \"00:00\", to = \"24:00\", action = \"skip\" } }"),
			ConfigStateChecks: append(points(13, 720-11-4*24),
				says(text("2026-11-26T00:00:00Z"), "next_runs", 0, "at"), says(knownvalue.Float64Exact(24.*6/7), "runs_per_day")),
		},
		{
			Config: with("  paused = true"),
			ConfigStateChecks: append(points(0, 0), says(knownvalue.ListSizeExact(0), "next_runs"), says(knownvalue.Float64Exact(0), "runs_per_day"),
				says(knownvalue.Null(), "restore_points", "day", "oldest_age"), says(knownvalue.Bool(true), "valid")),
		},
	}})
}

// TestForecastIsTheDaemons: what the data source says of an existing schedule is
// what POST /schedules/preflight answers, its share of the jitter included.
func TestForecastIsTheDaemons(t *testing.T) {
	t.Parallel()
	d, w := daemontest.Start(t), wire6(t)
	backUpShop(t, d)
	wantSaid(t, w.configure(t, d.Endpoint, d.Token, nil))
	spec := envbackup.ScheduleSpec{
		Name: "nightly", Environment: "shop", Destinations: []string{"local"}, Cron: "0 0 1 1 *", Timezone: "Europe/Berlin", Jitter: "8h",
		Retention: retention.Spec{Period: "3y"},
	}
	schedule, err := d.Client.Schedule(t.Context(), "shop/nightly")
	if err != nil {
		t.Fatal(err)
	}
	answer, err := d.Client.Preflight(t.Context(), wire.Preflight{ID: schedule.ID, Schedule: spec})
	if err != nil {
		t.Fatal(err)
	}
	typ := w.schemas.DataSourceSchemas["envbackup_forecast"].ValueType()
	keep := object(t, typ.(tftypes.Object).AttributeTypes["retention"], map[string]tftypes.Value{"period": text("3y")})
	resp, err := w.ReadDataSource(t.Context(), &tfprotov6.ReadDataSourceRequest{TypeName: "envbackup_forecast", Config: dynamic(t, object(t, typ, map[string]tftypes.Value{
		"schedule": text("shop/nightly"), "cron": text(spec.Cron), "timezone": text(spec.Timezone), "jitter": text(spec.Jitter), "retention": keep,
	}))})
	if err != nil {
		t.Fatal(err)
	}
	wantSaid(t, resp.Diagnostics)
	state, err := resp.State.Unmarshal(typ)
	if err != nil {
		t.Fatal(err)
	}
	var said struct {
		runs   []tftypes.Value
		first  map[string]tftypes.Value
		points map[string]tftypes.Value
		values map[string]tftypes.Value
	}
	mustAs(t, state, &said.values)
	mustAs(t, said.values["next_runs"], &said.runs)
	mustAs(t, said.runs[0], &said.first)
	mustAs(t, said.values["restore_points"], &said.points)
	var at, nominal, gap string
	mustAs(t, said.first["at"], &at)
	mustAs(t, said.first["nominal_at"], &nominal)
	mustAs(t, said.values["worst_case_gap"], &gap)
	if len(said.runs) != len(answer.NextRuns) || at != answer.NextRuns[0].Format(time.RFC3339) || at == nominal || !strings.HasSuffix(nominal, "-01-01T00:00:00+01:00") {
		t.Errorf("the data source says %s for %s, the daemon %v", at, nominal, answer.NextRuns)
	}
	if gap != answer.Forecast.WorstCaseGap {
		t.Errorf("the data source says a gap of %s, the daemon %s", gap, answer.Forecast.WorstCaseGap)
	}
	for name, want := range map[string]wire.RestorePoints{
		"day": answer.Outlook.Day, "month": answer.Outlook.Month, "year": answer.Outlook.Year, "steady": answer.Outlook.Steady,
	} {
		var points map[string]tftypes.Value
		mustAs(t, said.points[name], &points)
		var backups big.Float
		mustAs(t, points["backups"], &backups)
		if got, _ := backups.Int64(); got != want.Backups {
			t.Errorf("%s: the data source says %d backups, the daemon %d", name, got, want.Backups)
		}
	}
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

// TestForecastOfRemovals: the forecast of an edit says which existing backups it
// would remove, and is not valid until that is acknowledged.
func TestForecastOfRemovals(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	s, now := history(t)
	sch, err := s.Store.Schedule(t.Context(), "blog/weekly")
	if err != nil {
		t.Fatal(err)
	}
	for day := range 31 {
		at := now.AddDate(0, 0, -day)
		b := envbackup.Backup{
			SnapshotID: fmt.Sprintf("%064x", day+1), ScheduleID: sch.ID, Schedule: sch.Name, EnvironmentID: sch.EnvironmentID, Environment: sch.Environment,
			DestinationID: sch.DestinationIDs[0], Destination: "disk", Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete,
			Nominal: at, StartedAt: at, CompletedAt: at, Size: 1 << 30,
		}
		if err := s.Store.AddBackup(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
	}
	edit := func(more string) string {
		return providerConfig(s.URL, s.Viewer) + forecast("  schedule = \"blog/weekly\"\n  cron = \"@daily\"\n  retention = { keep_last = 2 }\n  lint_ignore = [\"retention-short\"]\n"+more)
	}
	finding := func(severity, summary string) []statecheck.StateCheck {
		return []statecheck.StateCheck{
			says(knownvalue.Bool(severity == "warning"), "valid"),
			says(knownvalue.ListSizeExact(1), "findings"),
			says(knownvalue.StringExact(severity), "findings", 0, "severity"),
			says(knownvalue.StringExact("retention"), "findings", 0, "path"),
			says(knownvalue.StringRegexp(regexp.MustCompile(summary)), "findings", 0, "summary"),
			says(knownvalue.StringRegexp(regexp.MustCompile("29 of 31 backups")), "findings", 0, "detail"),
		}
	}
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{
		{Config: edit(""), ConfigStateChecks: finding("error", "many backups")},
		{Config: edit("  acknowledge_removal = 28"), ConfigStateChecks: finding("error", "many backups")},
		{Config: edit("  acknowledge_removal = 29"), ConfigStateChecks: finding("warning", "This change removes backups")},
	}})
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
