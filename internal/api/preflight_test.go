package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func ask(t *testing.T, s *apitest.Server, in wire.Preflight) wire.PreflightResult {
	t.Helper()
	got, _ := must[wire.PreflightResult](t, s, request{method: "POST", path: "/api/v1/schedules/preflight", token: s.Viewer, body: in})
	return got
}

// brief writes findings as "severity path: summary" lines.
func brief(findings []envbackup.Finding) []string {
	out := []string{}
	for _, f := range findings {
		out = append(out, string(f.Severity)+" "+f.Path+": "+f.Summary)
	}
	return out
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	s, _ := shop(t)
	quiet := func(change func(*envbackup.ScheduleSpec)) envbackup.ScheduleSpec {
		spec := schedule("weekly", "shop", "disk").ScheduleSpec
		spec.LintIgnore = []string{"recovery-key-missing"}
		change(&spec)
		return spec
	}
	tests := map[string]struct {
		in   wire.Preflight
		want []string
	}{
		"nothing to say": {wire.Preflight{Schedule: quiet(func(*envbackup.ScheduleSpec) {})}, []string{}},
		"unknown names are warnings at plan, with the likely ones": {
			wire.Preflight{Schedule: quiet(func(s *envbackup.ScheduleSpec) { s.Environment, s.Destinations = "shopp", []string{"disc"} })},
			[]string{"warning environment: Environment does not exist", "warning destinations[0]: Destination does not exist"},
		},
		"names that the same plan makes are none": {
			wire.Preflight{
				Schedule:            quiet(func(s *envbackup.ScheduleSpec) { s.Environment, s.Destinations = "new", []string{"disk", "nas"} }),
				PlannedEnvironments: []string{"new"}, PlannedDestinations: []string{"nas"},
			},
			[]string{},
		},
		"several names are one finding": {
			wire.Preflight{Schedule: quiet(func(s *envbackup.ScheduleSpec) { s.Destinations = []string{"disc", "disk", "nas"} })},
			[]string{"warning destinations: Destination does not exist"},
		},
		"lint_ignore silences what the daemon finds": {
			wire.Preflight{Schedule: quiet(func(s *envbackup.ScheduleSpec) {
				s.Environment, s.LintIgnore = "shopp", append(s.LintIgnore, "not-found")
			})},
			[]string{},
		},
		"a name that is taken": {
			wire.Preflight{Schedule: quiet(func(s *envbackup.ScheduleSpec) { s.Name = "nightly" })},
			[]string{"error name: Schedule name already taken"},
		},
		"the same name for the schedule itself": {
			wire.Preflight{ID: "shop/nightly", Schedule: quiet(func(s *envbackup.ScheduleSpec) { s.Name = "nightly" })}, []string{},
		},
		"an id that is gone is a new schedule": {
			wire.Preflight{ID: "sch_00000000-0000-7000-8000-000000000000", Schedule: quiet(func(*envbackup.ScheduleSpec) {})}, []string{},
		},
		"errors of the shared rules come first": {
			wire.Preflight{Schedule: quiet(func(s *envbackup.ScheduleSpec) { s.Environment, s.Cron = "shopp", "0 0 30 2 *" })},
			[]string{"error cron: Schedule never runs", "warning environment: Environment does not exist"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ask(t, s, tt.in)
			if diff := cmp.Diff(tt.want, brief(got.Findings)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// A destination that the same plan makes, or changes, is judged by what it will
// be.
func TestPreflightKnowsThePlannedRecoveryPasswords(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	spec := sch.ScheduleSpec
	spec.Destinations = []string{"disk", "new", "other"}
	in := wire.Preflight{ID: sch.ID, Schedule: spec, PlannedDestinations: []string{"disk", "new", "other"}}
	if got := brief(ask(t, s, in).Findings); len(got) != 0 {
		t.Errorf("all get a password: %q", got)
	}
	in.PlannedWithoutRecovery = []string{"new", "other"}
	got := ask(t, s, in).Findings
	if diff := cmp.Diff([]string{"warning destinations: Only this daemon can open the backups"}, brief(got)); diff != "" {
		t.Fatalf("two get none (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(got[0].Detail, `Each of "new", "other" has no recovery password`) {
		t.Errorf("detail = %q", got[0].Detail)
	}
	in.PlannedWithoutRecovery = []string{"other"}
	if diff := cmp.Diff([]string{"warning destinations[2]: Only this daemon can open the backups"}, brief(ask(t, s, in).Findings)); diff != "" {
		t.Errorf("one gets none (-want +got):\n%s", diff)
	}
}

func TestPreflightWordsSayWhatToWrite(t *testing.T) {
	t.Parallel()
	s, _ := shop(t)
	spec := schedule("weekly", "shopp", "disk").ScheduleSpec
	got := ask(t, s, wire.Preflight{Schedule: spec})
	if d := got.Findings[0].Detail; !strings.Contains(d, `Did you mean "shop"?`) || !strings.Contains(d, `lint_ignore = ["not-found"]`) {
		t.Errorf("detail = %q, want the likely name and how to silence it", d)
	}
	if got.Forecast == nil || got.Outlook == nil || len(got.NextRuns) != 5 {
		t.Fatalf("result = %+v, want forecast, outlook and five runs although the environment is unknown", got)
	}
	for i, r := range got.NextRuns {
		if r.Hour() != 2 || r.Minute() != 30 || i > 0 && !r.After(got.NextRuns[i-1]) {
			t.Errorf("next runs %v: want 02:30 in the schedule's zone, in order", got.NextRuns)
		}
	}
	spec.Cron = "nonsense"
	if got := ask(t, s, wire.Preflight{Schedule: spec}); got.Forecast != nil || got.NextRuns != nil {
		t.Errorf("an invalid expression has no forecast: %+v", got)
	}
}

// What is a warning in a plan is an error when it is applied.
func TestUnknownNamesAreErrorsAtApply(t *testing.T) {
	t.Parallel()
	s, _ := shop(t)
	p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/schedules", token: s.Operator, body: schedule("x", "shopp", "disk", "disc")}))
	want := []string{"error environment: Environment does not exist", "error destinations[1]: Destination does not exist"}
	if diff := cmp.Diff(want, brief(p.Findings)[:2]); p.Status != 422 || diff != "" {
		t.Errorf("%d (-want +got):\n%s", p.Status, diff)
	}
}

func TestPreflightHoldsToTheLimits(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t, func(d *api.Deps) { d.Limits.MinInterval = "1h" })
	must[wire.Environment](t, s, request{method: "POST", path: "/api/v1/environments", body: environment("shop")})
	must[wire.Destination](t, s, request{method: "POST", path: "/api/v1/destinations", body: local("disk")})
	in := schedule("x", "shop", "disk")
	in.Cron = "*/10 * * * *"
	p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/schedules", token: s.Operator, body: in}))
	if p.Status != 422 || p.Findings[0].Path != "cron" {
		t.Errorf("every ten minutes with an hour's limit = %+v, want an error at cron", p)
	}
}

// An edit that would remove backups says so, and many need an acknowledgement.
func TestEditThatRemovesBackups(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	addBackups(t, s, sch, 20, time.Now().Add(-time.Hour).Truncate(time.Second))
	spec := sch.ScheduleSpec
	spec.LintIgnore = []string{"recovery-key-missing", "retention-short", "retention-period-short"}

	spec.Retention.Period = "17d"
	few := ask(t, s, wire.Preflight{ID: sch.ID, Schedule: spec})
	if few.Removals == nil || few.Removals.Count != 2 || few.Removals.Size != 2<<20 || !few.Removals.Oldest.Before(few.Removals.Newest) {
		t.Errorf("removals of a small cut = %+v, want 2 backups of 1 MiB", few.Removals)
	}
	if diff := cmp.Diff([]string{"warning retention: This change removes backups"}, brief(few.Findings)); diff != "" {
		t.Errorf("findings of a small cut (-want +got):\n%s", diff)
	}

	spec.Retention.Period = "2d"
	many := request{method: "PUT", path: "/api/v1/schedules/" + sch.ID, token: s.Operator, body: wire.ScheduleInput{ScheduleSpec: spec}}
	p := problemIn(t, send(t, s, many))
	if p.Status != 422 || p.Findings[0].Summary != "This change removes many backups" {
		t.Fatalf("a large cut = %+v, want an error", p)
	}
	count := ask(t, s, wire.Preflight{ID: sch.ID, Schedule: spec}).Removals.Count
	spec.AcknowledgeRemoval = &count
	many.body = wire.ScheduleInput{ScheduleSpec: spec}
	if resp := send(t, s, many); resp.status != 200 {
		t.Errorf("acknowledged = %d %s, want 200", resp.status, resp.body)
	}
}

// Each destination's backups are judged by themselves, and where an edit takes
// the destination away nothing is pruned any more.
func TestEditThatRemovesBackupsAtTwoDestinations(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	must[wire.Destination](t, s, request{method: "POST", path: "/api/v1/destinations", body: local("nas")})
	newest := time.Now().Add(-time.Hour).Truncate(time.Second)
	addBackups(t, s, sch, 20, newest)
	both, _ := must[wire.Schedule](t, s, request{method: "PUT", path: "/api/v1/schedules/" + sch.ID, body: wire.ScheduleInput{ScheduleSpec: func() envbackup.ScheduleSpec {
		spec := sch.ScheduleSpec
		spec.Destinations = []string{"nas", "disk"}
		return spec
	}()}})
	stored, err := s.Store.Schedule(t.Context(), both.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 19 {
		at := newest.AddDate(0, 0, -i)
		if err := s.Store.AddBackup(t.Context(), &envbackup.Backup{
			SnapshotID: fmt.Sprintf("%064x", 1000+i), ScheduleID: sch.ID, Schedule: "nightly", Environment: "shop", EnvironmentID: stored.EnvironmentID,
			DestinationID: stored.DestinationIDs[0], Destination: "nas", Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete,
			Nominal: at, StartedAt: at, CompletedAt: at, Size: 1 << 20,
		}); err != nil {
			t.Fatal(err)
		}
	}
	spec := both.ScheduleSpec
	spec.Retention.Period = "17d"
	r := ask(t, s, wire.Preflight{ID: sch.ID, Schedule: spec}).Removals
	if r == nil || r.Count != 3 || r.Grace != "1d" || len(r.Destinations) != 2 {
		t.Fatalf("removals = %+v, want 3 at two destinations", r)
	}
	for i, want := range []wire.RemovedAt{{Destination: "nas", Count: 1, Total: 19}, {Destination: "disk", Count: 2, Total: 20}} {
		if got := r.Destinations[i]; got.Destination != want.Destination || got.Count != want.Count || got.Total != want.Total || got.Large {
			t.Errorf("removals %d = %+v, want %+v", i, got, want)
		}
	}
	// The repository at nas is new: what is older lies elsewhere.
	if err := s.Store.SaveRepository(t.Context(), &envbackup.Repository{
		DestinationID: stored.DestinationIDs[0], EnvironmentID: stored.EnvironmentID, SealedPassword: []byte("x"), CreatedAt: newest.AddDate(0, 0, -10),
	}); err != nil {
		t.Fatal(err)
	}
	if r := ask(t, s, wire.Preflight{ID: sch.ID, Schedule: spec}).Removals; r == nil || r.Count != 2 || len(r.Destinations) != 1 || r.Total != 20+11 {
		t.Errorf("removals after nas has moved = %+v, want those at disk only", r)
	}
	spec.Destinations = []string{"disk"}
	if r := ask(t, s, wire.Preflight{ID: sch.ID, Schedule: spec}).Removals; r == nil || r.Count != 2 || len(r.Destinations) != 1 || r.Destinations[0].Destination != "disk" {
		t.Errorf("removals without nas = %+v, want those at disk only", r)
	}
}

// A schedule that is made under a name that had one takes over its backups
// (S16), and hears which of them it would remove.
func TestNewScheduleThatInheritsBackups(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	addBackups(t, s, sch, 20, time.Now().Add(-time.Hour).Truncate(time.Second))
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/schedules/" + sch.ID})
	spec := sch.ScheduleSpec
	spec.LintIgnore, spec.Retention.Period = []string{"recovery-key-missing"}, "17d"
	got := ask(t, s, wire.Preflight{Schedule: spec})
	if got.Removals == nil || got.Removals.Count != 2 || got.Removals.Total != 20 {
		t.Errorf("removals = %+v, want 2 of 20", got.Removals)
	}
	if diff := cmp.Diff([]string{"warning retention: Backups of an earlier schedule would be removed"}, brief(got.Findings)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	spec.Name = "another"
	if got := ask(t, s, wire.Preflight{Schedule: spec}); got.Removals != nil || len(got.Findings) != 0 {
		t.Errorf("another name: %+v, %+v", got.Removals, got.Findings)
	}
	spec.Name = sch.Name
	must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules", body: wire.ScheduleInput{ScheduleSpec: spec}})
}

func TestRecoveryWarningEndsWhenAPasswordIsSetOrShown(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	warned := func() bool {
		return strings.Contains(strings.Join(brief(ask(t, s, wire.Preflight{ID: sch.ID, Schedule: sch.ScheduleSpec}).Findings), "\n"), "Only this daemon")
	}
	if !warned() {
		t.Fatal("no warning although nobody else can open the repository")
	}
	e, err := s.Store.Environment(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Store.Destination(t.Context(), "disk")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Store.SaveRepository(t.Context(), &envbackup.Repository{
		DestinationID: d.ID, EnvironmentID: e.ID, SealedPassword: []byte("x"), KeyShownAt: time.Now(),
	}); err != nil {
		t.Fatal(err)
	}
	if warned() {
		t.Error("still warned after the key was shown")
	}
	if err := s.Store.SaveRepository(t.Context(), &envbackup.Repository{DestinationID: d.ID, EnvironmentID: e.ID, SealedPassword: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	recovery := "correct horse battery"
	in := local("disk")
	in.RecoveryPassword, in.RecoveryPasswordVer = &recovery, 1
	must[wire.Destination](t, s, request{method: "PUT", path: "/api/v1/destinations/disk", body: in})
	if warned() {
		t.Error("still warned after a recovery password was set")
	}
}

// Backups are read only for an edit that can remove some.
func TestPreflightReadsBackupsOnlyForANewPolicy(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	counted := &countingStore{Store: s.Store}
	again := apitest.Start(t, func(d *api.Deps) { d.Store = counted })
	spec := sch.ScheduleSpec
	spec.Cron, spec.Retention.Period = "0 4 * * *", "4w2d"
	must[wire.PreflightResult](t, again, request{method: "POST", path: "/api/v1/schedules/preflight", token: s.Viewer, body: wire.Preflight{ID: sch.ID, Schedule: spec}})
	if got := counted.points.Load(); got != 0 {
		t.Errorf("30d written as 4w2d read the backups %d times, want never", got)
	}
	spec.Timezone = "Asia/Tokyo"
	must[wire.PreflightResult](t, again, request{method: "POST", path: "/api/v1/schedules/preflight", token: s.Viewer, body: wire.Preflight{ID: sch.ID, Schedule: spec}})
	if got := counted.points.Load(); got != 1 {
		t.Errorf("another zone read the backups %d times, want once", got)
	}
}
