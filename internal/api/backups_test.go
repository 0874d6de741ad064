package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func TestBackupFilters(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	newest := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	backups := addBackups(t, s, sch, 10, newest)
	if err := s.Store.MarkVerified(t.Context(), backups[3].ID, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.SetStatus(t.Context(), backups[4].ID, envbackup.BackupSuspect); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		query string
		want  int
	}{
		"no filter":                                {"", 10},
		"the environment by name":                  {"environment=shop", 10},
		"another environment":                      {"environment=store", 0},
		"the schedule by id":                       {"schedule=" + sch.ID, 10},
		"the schedule by reference":                {"schedule=shop%2Fnightly", 10},
		"the schedule by name in its environment":  {"environment=shop&schedule=nightly", 10},
		"another schedule":                         {"environment=shop&schedule=weekly", 0},
		"a schedule that is gone, by id":           {"schedule=sch_00000000-0000-7000-8000-000000000000", 0},
		"the destination":                          {"destination=disk", 10},
		"complete ones":                            {"status=complete", 9},
		"suspect ones":                             {"status=suspect", 1},
		"verified ones":                            {"verified=true", 1},
		"unverified ones":                          {"verified=false", 9},
		"manual ones":                              {"trigger=manual", 0},
		"since, which is included":                 {"since=" + newest.AddDate(0, 0, -2).Format(time.RFC3339), 3},
		"until, which is not":                      {"until=" + newest.Format(time.RFC3339), 9},
		"the age":                                  {"max_age=26h", 2},
		"the age and since, of which the narrower": {"max_age=1y&since=" + newest.Format(time.RFC3339), 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _ := must[wire.BackupPage](t, s, request{method: "GET", path: "/api/v1/backups?" + tt.query, token: s.Viewer})
			if len(got.Items) != tt.want || got.Total != int64(tt.want) {
				t.Errorf("%d items of %d, want %d", len(got.Items), got.Total, tt.want)
			}
		})
	}
	t.Run("a schedule of another environment is refused", func(t *testing.T) {
		t.Parallel()
		p := problemIn(t, send(t, s, request{method: "GET", path: "/api/v1/backups?environment=shop&schedule=store%2Fx", token: s.Viewer}))
		if p.Status != 422 || p.Findings[0].Path != "schedule" {
			t.Errorf("answer = %+v", p)
		}
	})
	t.Run("pages hold all, newest first, with the total of all", func(t *testing.T) {
		t.Parallel()
		var ids []string
		for cursor := ""; ; {
			page, _ := must[wire.BackupPage](t, s, request{method: "GET", path: "/api/v1/backups?limit=4&cursor=" + cursor, token: s.Viewer})
			if page.Total != 10 {
				t.Fatalf("total = %d, want 10", page.Total)
			}
			for _, b := range page.Items {
				ids = append(ids, b.ID)
			}
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
		var want []string
		for _, b := range backups {
			want = append(want, b.ID)
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("pages (-want +got):\n%s", diff)
		}
	})
}

// Each backup says why it is kept, or that it goes (SEMANTICS section 3).
func TestBackupsCarryTheirReasons(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 40, time.Now().Add(-time.Hour))
	list := func() map[string]wire.Backup {
		page, _ := must[wire.BackupPage](t, s, request{method: "GET", path: "/api/v1/backups?limit=100"})
		byID := map[string]wire.Backup{}
		for _, b := range page.Items {
			byID[b.ID] = b
		}
		return byID
	}
	got := list()
	if b := got[backups[0].ID]; !b.Kept || len(b.KeptBecause) == 0 {
		t.Errorf("the newest = %+v, want kept with a reason (R1)", b)
	}
	if b := got[backups[39].ID]; b.Kept || len(b.KeptBecause) == 0 {
		t.Errorf("one 39 days old under period 30d = %+v, want that it goes, with a reason", b)
	}

	held, _ := must[wire.Backup](t, s, request{method: "POST", path: "/api/v1/backups/" + backups[39].ID + "/hold", body: wire.HoldRequest{Reason: "audit 2026"}})
	if !held.Held || !held.Kept || held.HoldReason != "audit 2026" || !slices.Contains(held.KeptBecause, "held") {
		t.Errorf("held = %+v, want kept because it is held", held)
	}
	p := problemIn(t, send(t, s, request{method: "DELETE", path: "/api/v1/backups/" + backups[39].ID, token: s.Admin}))
	if p.Code != envbackup.CodeConflict || !strings.Contains(p.Detail, "audit 2026") {
		t.Errorf("deleting a held backup = %+v, want a conflict with the reason", p)
	}
	released, _ := must[wire.Backup](t, s, request{method: "POST", path: "/api/v1/backups/" + backups[39].ID + "/release"})
	if released.Held || released.Kept {
		t.Errorf("released = %+v, want that it goes again", released)
	}

	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/backups/" + backups[39].ID})
	if _, still := list()[backups[39].ID]; still {
		t.Error("a deleted backup is still listed")
	}
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/schedules/" + sch.ID})
	if b := list()[backups[38].ID]; !b.Kept || !strings.Contains(strings.Join(b.KeptBecause, ";"), "schedule is gone") {
		t.Errorf("without its schedule = %+v, want kept: nothing prunes it (R11)", b)
	}
}

// SEMANTICS section 4: what lies where a destination was before its place
// changed stays listed, as detached, and counts for nothing.
func TestBackupsLeftBehindAreDetached(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	newest := time.Now().Add(-time.Hour).Truncate(time.Second)
	backups := addBackups(t, s, sch, 4, newest)
	if err := s.Store.SaveRepository(t.Context(), &envbackup.Repository{
		DestinationID: backups[0].DestinationID, EnvironmentID: backups[0].EnvironmentID, SealedPassword: []byte("x"),
		CreatedAt: newest.AddDate(0, 0, -1),
	}); err != nil {
		t.Fatal(err)
	}
	page, _ := must[wire.BackupPage](t, s, request{method: "GET", path: "/api/v1/backups"})
	if page.Total != 4 {
		t.Fatalf("%d backups are listed, want all 4", page.Total)
	}
	for i, b := range page.Items {
		if left := i > 1; b.Detached != left || !b.Kept || strings.HasPrefix(b.KeptBecause[0], "detached: ") != left {
			t.Errorf("backup %d = detached %t, kept %t because %q; want detached %t", i, b.Detached, b.Kept, b.KeptBecause, left)
		}
	}
	if one, _ := must[wire.Backup](t, s, request{method: "GET", path: "/api/v1/backups/" + backups[3].ID}); !one.Detached {
		t.Errorf("asked for by itself it is %+v, want detached", one)
	}
}

// The page's verdicts are made once for a schedule, not once for a page.
func TestBackupPagesAreCheapOnceJudged(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	addBackups(t, s, sch, 30, time.Now())
	counted := &countingStore{Store: s.Store}
	again := apitest.Start(t, func(d *depsOf) { d.Store = counted })
	for i := range 6 {
		must[wire.BackupPage](t, again, request{method: "GET", path: fmt.Sprintf("/api/v1/backups?limit=%d", i+1), token: s.Viewer})
	}
	if got := counted.all.Load(); got != 1 {
		t.Errorf("six pages within a second read all backups %d times, want once", got)
	}
	again.Clock.Advance(3 * time.Second)
	must[wire.BackupPage](t, again, request{method: "GET", path: "/api/v1/backups", token: s.Viewer})
	if got := counted.all.Load(); got != 2 {
		t.Errorf("after three seconds they were read %d times, want twice", got)
	}
}

func TestBackupBySnapshotID(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 3, time.Now())
	got, _ := must[wire.Backup](t, s, request{method: "GET", path: "/api/v1/backups/" + backups[1].SnapshotID[:8]})
	if got.ID != backups[1].ID {
		t.Errorf("by the beginning of the snapshot id = %s, want %s", got.ID, backups[1].ID)
	}
}

// on_destroy = "delete" is the only way that destroying a schedule removes
// backups (R11).
func TestScheduleDeletionAndItsBackups(t *testing.T) {
	t.Parallel()
	count := func(s *apitest.Server) int64 {
		page, _ := must[wire.BackupPage](t, s, request{method: "GET", path: "/api/v1/backups?environment=shop"})
		return page.Total
	}
	t.Run("keep is the default", func(t *testing.T) {
		s, sch := shop(t)
		addBackups(t, s, sch, 3, time.Now())
		must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/schedules/" + sch.ID})
		if got := count(s); got != 3 {
			t.Errorf("%d backups after deletion, want 3", got)
		}
	})
	t.Run("delete removes them", func(t *testing.T) {
		s, sch := shop(t)
		addBackups(t, s, sch, 3, time.Now())
		in := wire.ScheduleInput{ScheduleSpec: sch.ScheduleSpec}
		in.OnDestroy = "delete"
		must[wire.Schedule](t, s, request{method: "PUT", path: "/api/v1/schedules/" + sch.ID, body: in})
		must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/schedules/" + sch.ID})
		if got := count(s); got != 0 {
			t.Errorf("%d backups after deletion, want none", got)
		}
	})
	t.Run("a held one stops it, and the schedule stays", func(t *testing.T) {
		s, sch := shop(t)
		backups := addBackups(t, s, sch, 3, time.Now())
		in := wire.ScheduleInput{ScheduleSpec: sch.ScheduleSpec}
		in.OnDestroy = "delete"
		must[wire.Schedule](t, s, request{method: "PUT", path: "/api/v1/schedules/" + sch.ID, body: in})
		must[wire.Backup](t, s, request{method: "POST", path: "/api/v1/backups/" + backups[1].ID + "/hold"})
		p := problemIn(t, send(t, s, request{method: "DELETE", path: "/api/v1/schedules/" + sch.ID, token: s.Operator}))
		if p.Code != envbackup.CodeConflict || count(s) != 3 {
			t.Errorf("answer = %+v with %d backups, want a conflict and all three", p, count(s))
		}
		must[wire.Schedule](t, s, request{method: "GET", path: "/api/v1/schedules/" + sch.ID})
	})
	t.Run("deletion_protection refuses", func(t *testing.T) {
		s, sch := shop(t)
		in := wire.ScheduleInput{ScheduleSpec: sch.ScheduleSpec}
		in.DeletionProtection = true
		must[wire.Schedule](t, s, request{method: "PUT", path: "/api/v1/schedules/" + sch.ID, body: in})
		p := problemIn(t, send(t, s, request{method: "DELETE", path: "/api/v1/schedules/" + sch.ID, token: s.Operator}))
		if p.Code != envbackup.CodeConflict || !strings.Contains(p.Hint, "deletion_protection") {
			t.Errorf("answer = %+v, want a conflict that names the attribute", p)
		}
	})
}

func TestPruneReportsEveryBackup(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 2, time.Now())
	s.Pruner.Report = envbackup.PruneReport{
		Verdicts: []envbackup.Verdict{
			{Backup: backups[0], Keep: true, Reasons: []string{"newest good backup"}},
			{Backup: backups[1], Reasons: []string{"no rule keeps it"}},
		},
		Removed: 1, SetAside: 2, Reclaimed: 3, Note: "held back",
	}
	dry, _ := must[wire.PruneResult](t, s, request{method: "POST", path: "/api/v1/schedules/" + sch.ID + "/prune", body: wire.PruneRequest{DryRun: true}})
	if !dry.DryRun || len(dry.Backups) != 2 || !dry.Backups[0].Kept || dry.Backups[1].Kept ||
		dry.Backups[1].KeptBecause[0] != "no rule keeps it" || dry.Removed != 1 || dry.SetAside != 2 || dry.Reclaimed != 3 || dry.Note != "held back" {
		t.Errorf("dry run = %+v", dry)
	}
	done, _ := must[wire.PruneResult](t, s, request{method: "POST", path: "/api/v1/schedules/" + sch.ID + "/prune"})
	if done.DryRun {
		t.Error("a prune without a body was a dry run")
	}
	audit, _ := must[wire.AuditPage](t, s, request{method: "GET", path: "/api/v1/audit?limit=1"})
	if len(audit.Items) != 1 || audit.Items[0].Action != "prune" {
		t.Errorf("audit = %+v, want the prune and not the dry run", audit.Items)
	}
}

// A schedule is late when its last good backup is older than the worst-case
// gap and the timeout together; its health says why, in words that a plan can
// show.
func TestScheduleHealth(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	health := func() string {
		t.Helper()
		got, _ := must[wire.Schedule](t, s, request{method: "GET", path: "/api/v1/schedules/" + sch.ID})
		return got.Health + ": " + got.HealthDetail
	}
	want := func(when, words string) {
		t.Helper()
		if got := health(); got != words {
			t.Errorf("%s = %q, want %q", when, got, words)
		}
	}
	run := envbackup.Run{ScheduleID: sch.ID, Schedule: sch.Name, Environment: "shop", Trigger: envbackup.TriggerCreate, Nominal: s.Clock.Now()}
	save := func(change func()) {
		t.Helper()
		if err := s.Store.Tx(t.Context(), func(tx *store.Tx) error {
			change()
			if run.ID == "" {
				return tx.InsertRun(t.Context(), &run)
			}
			_, err := tx.SaveRun(t.Context(), run, run.JobID)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	want("fresh", "new: it has no good backup yet")
	save(func() { run.State = envbackup.RunRunning })
	want("in its first run", "new: it has no good backup yet; a run is running")
	save(func() { run.State = envbackup.RunSucceeded }) // and its backup is not good, such as a suspect one
	want("after a run without a good backup", "new: it has no good backup yet; its last run, less than a minute ago, ended as succeeded")
	failure := &envbackup.Failure{Code: envbackup.CodeNotAllowed, Message: "the bucket refuses the key", Hint: "check the policy"}
	save(func() { run.State, run.Failure = envbackup.RunQueued, failure })
	want("between two attempts", "failed: it has no good backup yet; its run has failed so far and is tried again: the bucket refuses the key (check the policy)")
	save(func() { run.State, run.FinishedAt = envbackup.RunFailed, s.Clock.Now() })
	want("after its first run", "failed: it has no good backup yet; its last run failed less than a minute ago: the bucket refuses the key (check the policy)")
	s.Clock.Advance(32 * time.Hour)
	want("long after it", "late: it has had no good backup since its creation 32h ago; one should never take longer than 31h (25h between two runs and 6h for one)"+
		"; its last run failed 32h ago: the bucket refuses the key (check the policy)")

	addBackups(t, s, sch, 1, s.Clock.Now())
	want("with a backup", "ok: ")
	s.Clock.Advance(30*time.Hour + 58*time.Minute)
	want("within gap 25h and timeout 6h", "ok: ")
	s.Clock.Advance(5 * time.Minute)
	want("beyond them", "late: its last good backup is 31h3m old; it should never be older than 31h (25h between two runs and 6h for one)"+
		"; its last run failed 63h3m ago: the bucket refuses the key (check the policy)")
	must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules/" + sch.ID + "/pause"})
	want("paused", "paused: no slot runs until it is resumed")
}

// Without any run a late schedule says where to look.
func TestHealthWithoutRuns(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	s.Clock.Advance(100 * time.Hour)
	got, _ := must[wire.Schedule](t, s, request{method: "GET", path: "/api/v1/schedules/" + sch.ID})
	if got.Health != "late" || !strings.HasSuffix(got.HealthDetail, "; no run has been made since, so look whether the daemon was running") {
		t.Errorf("%s: %s", got.Health, got.HealthDetail)
	}
}

// S7, S8, S9: the next run is one that starts, when it starts.
func TestNextRunIsOneThatStarts(t *testing.T) {
	t.Parallel()
	s, _ := shop(t)
	now := s.Clock.Now().UTC()
	// What the scheduler does when a schedule is made.
	decide := func(id string, next time.Time) wire.Schedule {
		t.Helper()
		if err := s.Store.Tx(t.Context(), func(tx *store.Tx) error { return tx.DecideUntil(t.Context(), id, now, next, next) }); err != nil {
			t.Fatal(err)
		}
		got, _ := must[wire.Schedule](t, s, request{method: "GET", path: "/api/v1/schedules/" + id})
		return got
	}
	// The schedule runs every hour; the next two fall into the window.
	hour := func(n int) string { return now.Add(time.Duration(n)*time.Hour).Format("15") + ":00" }
	in := schedule("hourly", "shop", "disk")
	in.Cron, in.Timezone, in.Jitter = "0 * * * *", "UTC", "20m"
	next := func(name, action string) time.Duration {
		t.Helper()
		in.Name = name
		if action != "" {
			in.Blackout = map[string]envbackup.Blackout{"w": {From: hour(0), To: hour(3), Action: action}}
		}
		got, _ := must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules", body: in})
		if got = decide(got.ID, now.Truncate(time.Hour).Add(time.Hour)); got.NextRunAt == nil {
			t.Fatalf("%s has no next run", name)
		}
		return got.NextRunAt.Sub(now.Truncate(time.Hour))
	}
	if got := next("plain", ""); got < time.Hour || got >= time.Hour+20*time.Minute || got == time.Hour {
		t.Errorf("without windows the next run is after %s, want its share of the jitter after the hour", got)
	}
	if got := next("skipping", "skip"); got < 3*time.Hour || got >= 3*time.Hour+20*time.Minute {
		t.Errorf("the next run that is not skipped is after %s, want one after three hours", got)
	}
	if got := next("deferred", "defer"); got != 3*time.Hour {
		t.Errorf("deferred runs start after %s, want the window's end after three hours", got)
	}
	in.Name, in.Paused = "paused", true
	got, _ := must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules", body: in})
	if got = decide(got.ID, time.Time{}); got.NextRunAt != nil {
		t.Errorf("a paused schedule runs next at %s", got.NextRunAt)
	}
}
