package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func auditOf(t *testing.T, s *apitest.Server) (actions []string) {
	t.Helper()
	audit, _ := must[wire.AuditPage](t, s, request{method: "GET", path: "/api/v1/audit?limit=100"})
	for _, e := range audit.Items {
		actions = append(actions, strings.TrimSpace(e.Action+" "+e.Kind+": "+e.Detail))
	}
	return actions
}

// R9: an operator acknowledges a suspect backup and no other, and it stands in
// the audit log.
func TestAcknowledging(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 2, time.Now().Add(-time.Hour))
	if err := s.Store.SetStatus(t.Context(), backups[0].ID, envbackup.BackupSuspect); err != nil {
		t.Fatal(err)
	}
	path := func(i int) string { return "/api/v1/backups/" + backups[i].ID + "/acknowledge" }
	if p := problemIn(t, send(t, s, request{method: "POST", path: path(0), token: s.Viewer})); p.Status != 403 {
		t.Errorf("a viewer = %+v, want 403", p)
	}
	if p := problemIn(t, send(t, s, request{method: "POST", path: path(1), token: s.Operator})); p.Status != 409 ||
		!strings.Contains(p.Detail, "is complete, not suspect") || !strings.Contains(p.Hint, "--status suspect") {
		t.Errorf("a good one = %+v, want a conflict that says so", p)
	}
	got, _ := must[wire.Backup](t, s, request{method: "POST", path: path(0), token: s.Operator})
	if got.Status != envbackup.BackupComplete || !got.Kept {
		t.Errorf("acknowledged = %+v, want a good backup", got)
	}
	if p := problemIn(t, send(t, s, request{method: "POST", path: path(0), token: s.Operator})); p.Status != 409 {
		t.Errorf("twice = %+v, want 409", p)
	}
	if newest := auditOf(t, s)[0]; newest != "acknowledge backup: 1048576 bytes" {
		t.Errorf("the audit log says %q", newest)
	}
}

// R7: only an admin takes backups off the list that are gone, each is in the
// audit log, and a dry run does nothing.
func TestForgettingWhatIsMissing(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	s.Pruner.Missing = addBackups(t, s, sch, 3, time.Now().Add(-time.Hour))[1:2]
	path := "/api/v1/schedules/" + sch.ID + "/forget-missing"
	if p := problemIn(t, send(t, s, request{method: "POST", path: path, token: s.Operator})); p.Status != 403 {
		t.Errorf("an operator = %+v, want 403", p)
	}
	listed := func() int64 {
		page, _ := must[wire.BackupPage](t, s, request{method: "GET", path: "/api/v1/backups"})
		return page.Total
	}
	dry, _ := must[wire.Forgotten](t, s, request{method: "POST", path: path, body: wire.ForgetRequest{DryRun: true}})
	if !dry.DryRun || len(dry.Backups) != 1 || dry.Backups[0].Kept || listed() != 3 {
		t.Errorf("a dry run = %+v of %d", dry, listed())
	}
	got, _ := must[wire.Forgotten](t, s, request{method: "POST", path: path})
	if got.DryRun || len(got.Backups) != 1 || listed() != 2 {
		t.Errorf("forgot %+v, %d are listed", got, listed())
	}
	if newest := auditOf(t, s)[0]; !strings.HasPrefix(newest, "forget backup: ") || !strings.HasSuffix(newest, "is gone from disk") {
		t.Errorf("the audit log says %q", newest)
	}
}

// R12: a window is asked for by itself, and is a word of its own in the audit
// log.
func TestAReclaimWindow(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	path := "/api/v1/schedules/" + sch.ID + "/prune"
	got, _ := must[wire.PruneResult](t, s, request{method: "POST", path: path, body: wire.PruneRequest{Reclaim: true}})
	if got.Note != "window" {
		t.Errorf("answer = %+v, want that of a window", got)
	}
	if newest := auditOf(t, s)[0]; !strings.HasPrefix(newest, "prune reclaim schedule") {
		t.Errorf("the audit log says %q", newest)
	}
	if p := problemIn(t, send(t, s, request{method: "POST", path: path, token: s.Admin, body: wire.PruneRequest{Reclaim: true, DryRun: true}})); p.Status != 422 {
		t.Errorf("a dry window = %+v, want 422", p)
	}
}

// R4, R7, R12: what is in the way of removals stands in the schedule's health,
// alone and in lists, and goes when it is over.
func TestObstaclesStandInTheHealth(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	addBackups(t, s, sch, 3, time.Now().Add(-time.Hour))
	stored, err := s.Store.Schedule(t.Context(), sch.ID)
	if err != nil {
		t.Fatal(err)
	}
	dest := stored.DestinationIDs[0]
	health := func() (string, string) {
		t.Helper()
		s.Clock.Advance(time.Minute) // beyond what is remembered
		one, _ := must[wire.Schedule](t, s, request{method: "GET", path: "/api/v1/schedules/" + sch.ID})
		all, _ := must[wire.SchedulePage](t, s, request{method: "GET", path: "/api/v1/schedules"})
		if all.Items[0].Health != one.Health || all.Items[0].HealthDetail != one.HealthDetail {
			t.Errorf("the list says %q, the schedule %q", all.Items[0].HealthDetail, one.HealthDetail)
		}
		return one.Health, one.HealthDetail
	}
	want := func(what, verdict, detail string) {
		t.Helper()
		if v, d := health(); v != verdict || d != detail {
			t.Errorf("%s: %s: %q\nwant %s: %q", what, v, d, verdict, detail)
		}
	}
	want("nothing", "ok", "")

	if err := s.Store.NoteRetention(t.Context(), sch.ID, dest, "nothing is removed at disk because the clock jumped"); err != nil {
		t.Fatal(err)
	}
	want("a doubt", "attention", "nothing is removed at disk because the clock jumped")
	if err := s.Store.NoteRetention(t.Context(), sch.ID, dest, ""); err != nil {
		t.Fatal(err)
	}

	aside := storeSetAside(sch.ID, dest, "bkp_1")
	if err := s.Store.SaveSetAside(t.Context(), aside); err != nil {
		t.Fatal(err)
	}
	want("a list", "ok", "1 removal at disk is set aside: the prune would remove most; decide sooner with: envbackup prune confirm shop/nightly, or prune cancel")
	if err := s.Store.ClearSetAside(t.Context(), sch.ID, dest); err != nil {
		t.Fatal(err)
	}

	repo := envbackup.Repository{DestinationID: dest, EnvironmentID: stored.EnvironmentID, Location: "x"}
	if err := s.Store.SaveRepository(t.Context(), &repo); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ago     time.Duration
		verdict string
	}{{6 * 24 * time.Hour, "ok"}, {8 * 24 * time.Hour, "attention"}} {
		since := time.Now().Add(-tt.ago)
		if err := s.Store.NoteReclaim(t.Context(), dest, stored.EnvironmentID, since, "backups came in between"); err != nil {
			t.Fatal(err)
		}
		detail := ""
		if tt.verdict != "ok" {
			detail = "space at disk could not be reclaimed since " + since.UTC().Format(time.DateOnly) +
				", because backups came in between; grant a window, in which backups wait, with: envbackup prune --reclaim shop/nightly"
		}
		want("data that wait for "+tt.ago.String(), tt.verdict, detail)
	}
}

// R8, R11: destroying a schedule with on_destroy = "delete" leaves what the
// object store retains, says how many in the audit log, and fails for nothing.
func TestDestroyLeavesWhatIsLocked(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 3, time.Now().Add(-time.Hour))
	s.Pruner.Retained = []string{backups[1].ID}
	in := schedule("nightly", "shop", "disk")
	in.OnDestroy = "delete"
	must[wire.Schedule](t, s, request{method: "PUT", path: "/api/v1/schedules/" + sch.ID, body: in})
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/schedules/" + sch.ID})
	left, _ := must[wire.BackupPage](t, s, request{method: "GET", path: "/api/v1/backups"})
	if left.Total != 1 || left.Items[0].ID != backups[1].ID {
		t.Errorf("%d backups are left, want the locked one", left.Total)
	}
	if diff := cmp.Diff("delete backups: 2 backups, on_destroy delete; retained by lock: 1", auditOf(t, s)[1]); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
}

// R8: a lock is shown, and is a reason.
func TestALockIsShown(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	b := addBackups(t, s, sch, 40, time.Now().Add(-time.Hour))[39]
	until := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	if err := s.Store.SetLocks(t.Context(), map[string]time.Time{b.ID: until}); err != nil {
		t.Fatal(err)
	}
	got, _ := must[wire.Backup](t, s, request{method: "GET", path: "/api/v1/backups/" + b.ID})
	if got.LockedUntil == nil || !got.LockedUntil.Equal(until) || !got.Kept {
		t.Errorf("locked = %+v", got)
	}
	if diff := cmp.Diff([]string{"retained by lock until " + until.Format(time.RFC3339)}, got.KeptBecause); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

// The object lock of a destination is checked, and the warning
// object-lock-longer says what it does to the retention, in a plan and at apply.
func TestObjectLocksOfDestinations(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	bucket := func(mode string, days int64) wire.DestinationInput {
		return wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{
			Name: "vault", S3: &envbackup.S3Place{Bucket: "acme", ObjectLockMode: mode, ObjectLockDays: days},
		}}
	}
	for _, tt := range []struct {
		mode string
		days int64
		path string
	}{
		{"governance", 3, "s3.object_lock_mode"}, {"COMPLIANCE", 0, "s3.object_lock_mode"}, {"", 3, "s3.object_lock_days"},
		{"COMPLIANCE", -1, "s3.object_lock_days"}, {"COMPLIANCE", 36501, "s3.object_lock_days"},
	} {
		p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/destinations", token: s.Admin, body: bucket(tt.mode, tt.days)}))
		if p.Status != 422 || len(p.Findings) != 1 || p.Findings[0].Path != tt.path {
			t.Errorf("%q for %d days = %+v, want one finding at %s", tt.mode, tt.days, p, tt.path)
		}
	}
	must[wire.Environment](t, s, request{method: "POST", path: "/api/v1/environments", body: environment("shop")})
	must[wire.Destination](t, s, request{method: "POST", path: "/api/v1/destinations", body: bucket("COMPLIANCE", 30)})

	in := schedule("nightly", "shop", "vault")
	in.Retention.Period = "7d"
	find := func(findings []envbackup.Finding) (found []envbackup.Finding) {
		for _, f := range findings {
			if f.Rule == "object-lock-longer" {
				found = append(found, f)
			}
		}
		return found
	}
	want := []envbackup.Finding{{
		Severity: envbackup.SeverityWarning, Rule: "object-lock-longer", Path: "destinations[0]", Summary: "Object lock outlasts the retention",
		Detail: `period = "7d" lets backups go after 7d, but "vault" locks each for 30 days (object_lock_days = 30). Until its lock ends a backup stays, ` +
			`so there will be more of them, and more to pay for, than the forecast says. Lower object_lock_days on the destination, ` +
			`or keep backups longer. Silence it with lint_ignore = ["object-lock-longer"].`,
	}}
	check, _ := must[wire.PreflightResult](t, s, request{method: "POST", path: "/api/v1/schedules/preflight", body: wire.Preflight{Schedule: in.ScheduleSpec}})
	if diff := cmp.Diff(want, find(check.Findings)); diff != "" {
		t.Errorf("preflight (-want +got):\n%s", diff)
	}
	made, _ := must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules", body: in})
	if diff := cmp.Diff(want, find(made.Findings)); diff != "" {
		t.Errorf("create (-want +got):\n%s", diff)
	}
	in.LintIgnore = []string{"object-lock-longer"}
	check, _ = must[wire.PreflightResult](t, s, request{method: "POST", path: "/api/v1/schedules/preflight", body: wire.Preflight{Schedule: in.ScheduleSpec}})
	if got := find(check.Findings); len(got) != 0 {
		t.Errorf("ignored, it still says %+v", got)
	}
	in.LintIgnore, in.Retention.Period = nil, "30d"
	check, _ = must[wire.PreflightResult](t, s, request{method: "POST", path: "/api/v1/schedules/preflight", body: wire.Preflight{Schedule: in.ScheduleSpec}})
	if got := find(check.Findings); len(got) != 0 {
		t.Errorf("as long as the retention, it says %+v", got)
	}
}

func storeSetAside(schedule, destination string, ids ...string) store.SetAside {
	return store.SetAside{
		ScheduleID: schedule, DestinationID: destination, IDs: ids, Reason: "would remove most", Since: time.Now(), JudgedAt: time.Now(),
	}
}
