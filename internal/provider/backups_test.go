package provider_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// history is a server with backups whose snapshot ids begin with a letter each,
// and the hour that they are counted from. Newest first they are a, e, b, c,
// d, f.
func history(t *testing.T) (*apitest.Server, time.Time) {
	t.Helper()
	s := apitest.Start(t)
	now := time.Now().UTC().Truncate(time.Hour)
	destinations := map[string]string{}
	for _, name := range []string{"disk", "nas"} {
		d := envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{Name: name, Local: &envbackup.LocalPlace{Path: "/mnt/" + name}}}
		if err := s.Store.CreateDestination(t.Context(), &d); err != nil {
			t.Fatal(err)
		}
		destinations[name] = d.ID
	}
	schedules := map[string]envbackup.Schedule{}
	for _, environment := range []string{"shop", "blog"} {
		e := envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{Name: environment, Files: map[string]envbackup.FilesSource{"app": {Path: "/srv"}}}}
		if err := s.Store.CreateEnvironment(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"nightly", "weekly"} {
			sch := envbackup.Schedule{
				ScheduleSpec: envbackup.ScheduleSpec{
					Name: name, Environment: environment, Destinations: []string{"disk", "nas"}, Cron: "@daily", Timezone: "UTC", Retention: retention.Spec{KeepAll: true},
				},
				EnvironmentID: e.ID, DestinationIDs: []string{destinations["disk"], destinations["nas"]},
			}
			if err := s.Store.Tx(t.Context(), func(tx *store.Tx) error { return tx.InsertSchedule(t.Context(), &sch, now) }); err != nil {
				t.Fatal(err)
			}
			schedules[environment+"/"+name] = sch
		}
	}
	for _, b := range []struct {
		letter, schedule, destination string
		status                        envbackup.BackupStatus
		verified                      bool
		trigger                       envbackup.Trigger
		hours                         int
	}{
		{"a", "shop/nightly", "disk", envbackup.BackupComplete, true, envbackup.TriggerSchedule, 1},
		{"b", "shop/nightly", "disk", envbackup.BackupPartial, false, envbackup.TriggerSchedule, 25},
		{"c", "shop/nightly", "nas", envbackup.BackupComplete, true, envbackup.TriggerCatchUp, 49},
		{"d", "shop/weekly", "disk", envbackup.BackupSuspect, false, envbackup.TriggerManual, 73},
		{"e", "blog/nightly", "disk", envbackup.BackupComplete, false, envbackup.TriggerCreate, 2},
		{"f", "blog/nightly", "nas", envbackup.BackupDamaged, false, envbackup.TriggerSafety, 200},
	} {
		sch, at := schedules[b.schedule], now.Add(-time.Duration(b.hours)*time.Hour)
		stored := envbackup.Backup{
			SnapshotID: strings.Repeat(b.letter, 64), ScheduleID: sch.ID, Schedule: sch.Name, EnvironmentID: sch.EnvironmentID, Environment: sch.Environment,
			DestinationID: destinations[b.destination], Destination: b.destination, Status: b.status, Trigger: b.trigger,
			Nominal: at, StartedAt: at, CompletedAt: at.Add(time.Minute), Size: 1 << 20,
		}
		if b.verified {
			stored.VerifiedAt = now
		}
		if err := s.Store.AddBackup(t.Context(), &stored); err != nil {
			t.Fatal(err)
		}
	}
	return s, now
}

// TestBackupsFilters (issue 3, data sources): each filter alone, at its
// borders, and together with others, over the API and a real store. `total`
// and `latest` do not depend on `limit`.
func TestBackupsFilters(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	s, now := history(t)
	at := func(hours int) string { return now.Add(-time.Duration(hours) * time.Hour).Format(time.RFC3339) }
	elsewhere := now.Add(-25 * time.Hour).In(time.FixedZone("", 5*3600+1800)).Format(time.RFC3339)
	tests := map[string]struct {
		filters, want string
		total         int
	}{
		"none":                           {``, "aebcdf", 6},
		"environment":                    {`environment = "blog"`, "ef", 2},
		"an environment that is unknown": {`environment = "blgo"`, "", 0},
		"schedule by reference":          {`schedule = "shop/nightly"`, "abc", 3},
		"schedule by name":               {"environment = \"blog\"\nschedule = \"nightly\"", "ef", 2},
		"schedule without backups":       {`schedule = "blog/weekly"`, "", 0},
		"destination":                    {`destination = "nas"`, "cf", 2},
		"complete":                       {`status = "complete"`, "aec", 3},
		"partial":                        {`status = "partial"`, "b", 1},
		"suspect":                        {`status = "suspect"`, "d", 1},
		"damaged":                        {`status = "damaged"`, "f", 1},
		"verified":                       {`verified = true`, "ac", 2},
		"not verified":                   {`verified = false`, "ebdf", 4},
		"of the schedule":                {`trigger = "schedule"`, "ab", 2},
		"caught up":                      {`trigger = "catch_up"`, "c", 1},
		"at creation":                    {`trigger = "create"`, "e", 1},
		"manual":                         {`trigger = "manual"`, "d", 1},
		"safety":                         {`trigger = "safety"`, "f", 1},
		"since, the instant included":    {`since = "` + at(25) + `"`, "aeb", 3},
		"until, the instant left out":    {`until = "` + at(25) + `"`, "cdf", 3},
		"since in another zone":          {`since = "` + elsewhere + `"`, "aeb", 3},
		"a span of time":                 {"since = \"" + at(73) + "\"\nuntil = \"" + at(25) + "\"", "cd", 2},
		"max_age":                        {`max_age = "3d12h"`, "aebcd", 5},
		"max_age in other words":         {`max_age = "84h"`, "aebcd", 5},
		"max_age and since":              {"max_age = \"3d12h\"\nsince = \"" + at(25) + "\"", "aeb", 3},
		"limit":                          {`limit = 2`, "ae", 6},
		"limit and a filter":             {"limit = 1\nstatus = \"complete\"\nenvironment = \"shop\"", "a", 2},
		"everything together": {
			"environment = \"shop\"\nschedule = \"nightly\"\ndestination = \"nas\"\nstatus = \"complete\"\nverified = true\n" +
				"trigger = \"catch_up\"\nmax_age = \"30d\"\nsince = \"" + at(50) + "\"\nuntil = \"" + at(48) + "\"\nlimit = 10", "c", 1,
		},
	}
	config, outputs, want := providerConfig(s.URL, s.Viewer), "", map[string]knownvalue.Check{}
	i := 0
	for name, test := range tests {
		i++
		config += fmt.Sprintf("data \"envbackup_backups\" \"d%d\" {\n%s\n}\n", i, test.filters)
		outputs += fmt.Sprintf("    %q = \"${join(\"\", [for b in data.envbackup_backups.d%d.backups : substr(b.snapshot_id, 0, 1)])} of ${data.envbackup_backups.d%d.total}, "+
			"latest ${try(substr(data.envbackup_backups.d%d.latest.snapshot_id, 0, 1), \"none\")}\"\n", name, i, i, i)
		latest := "none"
		if test.want != "" {
			latest = test.want[:1]
		}
		want[name] = knownvalue.StringExact(fmt.Sprintf("%s of %d, latest %s", test.want, test.total, latest))
	}
	resource.UnitTest(t, resource.TestCase{ProtoV6ProviderFactories: factories, Steps: []resource.TestStep{{
		Config:            config + "output \"found\" {\n  value = {\n" + outputs + "  }\n}\n",
		ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownOutputValue("found", knownvalue.ObjectExact(want))},
	}}})
}

// TestBackupsRefuses: a filter with a wrong value is an error at its attribute,
// and never an empty list, which would look like having no backups.
func TestBackupsRefuses(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	s, _ := history(t)
	for name, test := range map[string]struct{ filters, want string }{
		"an empty environment":  {`environment = "" #!`, `Empty value`},
		"an empty schedule":     {`schedule = "" #!`, `Empty value`},
		"another's schedule":    {"environment = \"blog\"\nschedule = \"shop/nightly\" #!", `Schedule of another environment`},
		"an empty destination":  {`destination = "" #!`, `Empty value`},
		"an unknown status":     {`status = "ok" #!`, `Invalid Attribute Value Match.*"complete" "partial" "suspect" "damaged"`},
		"verified of a word":    {`verified = "maybe" #!`, `Incorrect attribute value type.*bool`},
		"an unknown trigger":    {`trigger = "cron" #!`, `Invalid Attribute Value Match.*"catch_up"`},
		"since of a day":        {`since = "2026-03-28" #!`, `Invalid instant.*RFC 3339`},
		"until of a word":       {`until = "now" #!`, `Invalid instant.*RFC 3339`},
		"a span of no time":     {"since = \"2026-03-28T00:00:00Z\"\nuntil = \"2026-03-28T01:00:00+02:00\" #!", `Empty span of time.*Exchange them`},
		"max_age without unit":  {`max_age = "26" #!`, `Invalid duration.*the unit is missing`},
		"max_age of no time":    {`max_age = "0d" #!`, `Invalid duration.*no time at all`},
		"a negative max_age":    {`max_age = "-1d" #!`, `Invalid duration.*negative`},
		"a limit of none":       {`limit = 0 #!`, `Invalid Attribute Value.*between 1 and 10000`},
		"a limit that is large": {`limit = 10001 #!`, `Invalid Attribute Value.*between 1 and 10000`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantUnderlined(t, providerConfig(s.URL, s.Viewer)+"data \"envbackup_backups\" \"d\" {\n"+test.filters+"\n}\n", test.want)
		})
	}
}
