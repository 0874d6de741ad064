package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// seen notes which operations of the OpenAPI document were called.
type seen struct {
	mux     *http.ServeMux
	mu      sync.Mutex
	pattern map[string]bool
}

// watchRoutes serves the API and notes its routes, by the document's patterns.
func watchRoutes(t *testing.T, s *apitest.Server) (*seen, string) {
	t.Helper()
	resp, err := http.Get(s.URL + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var doc struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	w := &seen{mux: http.NewServeMux(), pattern: map[string]bool{}}
	for path, methods := range doc.Paths {
		for method := range methods {
			pattern := strings.ToUpper(method) + " " + path
			w.pattern[pattern] = false
			w.mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
				w.mu.Lock()
				w.pattern[pattern] = true
				w.mu.Unlock()
				s.Handler.ServeHTTP(rw, r)
			})
		}
	}
	server := httptest.NewServer(w.mux)
	t.Cleanup(server.Close)
	return w, server.URL
}

// The client has a method for every operation of the document, and each one
// works against the handlers.
func TestEveryOperationHasAMethod(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	routes, url := watchRoutes(t, s)
	c := connect(t, client.Config{Endpoint: url, Token: secret.New(s.Admin)})
	ctx := t.Context()

	same(t, "findings about an environment", len(ok(c.PreflightEnvironment(ctx, wire.EnvironmentPreflight{Environment: envbackup.EnvironmentSpec{Name: "shop"}})).Findings), 1)
	same(t, "findings about a destination", len(ok(c.PreflightDestination(ctx, wire.DestinationPreflight{Destination: envbackup.DestinationSpec{Name: "disk"}})).Findings), 1)
	env := ok(c.CreateEnvironment(ctx, wire.EnvironmentInput{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: "shop", Files: map[string]envbackup.FilesSource{"app": {Path: "/srv/shop"}},
	}}))
	dest := ok(c.CreateDestination(ctx, wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{
		Name: "disk", Local: &envbackup.LocalPlace{Path: "/mnt/disk"},
	}}))
	in := wire.ScheduleInput{ScheduleSpec: envbackup.ScheduleSpec{
		Name: "nightly", Environment: "shop", Destinations: []string{"disk"}, Cron: "30 2 * * *",
	}}
	in.Retention.Period = "30d"
	check := ok(c.Preflight(ctx, wire.Preflight{Schedule: in.ScheduleSpec}))
	if check.Forecast == nil || len(check.NextRuns) == 0 {
		t.Errorf("preflight = %+v", check)
	}
	sch := ok(c.CreateSchedule(ctx, in))

	same(t, "environment", ok(c.Environment(ctx, "shop")), env)
	same(t, "destination", ok(c.Destination(ctx, "disk")).ID, dest.ID)
	same(t, "schedule", ok(c.Schedule(ctx, "shop/nightly")).ID, sch.ID)
	same(t, "environments", len(ok(c.Environments(ctx, wire.Page{})).Items), 1)
	same(t, "destinations", len(ok(c.Destinations(ctx, wire.Page{})).Items), 1)
	same(t, "schedules", len(ok(c.Schedules(ctx, wire.SchedulesQuery{Environment: "shop"})).Items), 1)
	same(t, "updated environment", ok(c.UpdateEnvironment(ctx, "shop", wire.EnvironmentInput{EnvironmentSpec: env.EnvironmentSpec}, env.Version)).Version, env.Version+1)
	same(t, "updated destination", ok(c.UpdateDestination(ctx, "disk", wire.DestinationInput{DestinationSpec: dest.DestinationSpec}, dest.Version)).Version, dest.Version+1)
	same(t, "updated schedule", ok(c.UpdateSchedule(ctx, sch.ID, in, sch.Version)).Version, sch.Version+1)
	_, err := c.UpdateSchedule(ctx, sch.ID, in, sch.Version)
	same(t, "update of an old version", envbackup.CodeOf(err), envbackup.CodeStale)
	same(t, "paused", ok(c.PauseSchedule(ctx, "shop/nightly")).Paused, true)
	same(t, "resumed", ok(c.ResumeSchedule(ctx, "shop/nightly")).Paused, false)
	same(t, "slots", len(ok(c.Slots(ctx, "shop/nightly", wire.Page{Limit: 5})).Items), 0)
	same(t, "prune", ok(c.PruneSchedule(ctx, "shop/nightly", true)).DryRun, true)
	s.Pruner.Report.Lists = []envbackup.SetAside{{Destination: "disk", BackupIDs: []string{"bkp_1"}}}
	same(t, "confirmed prune", ok(c.ConfirmPrune(ctx, "shop/nightly")).Decision, envbackup.DecisionConfirmed)
	same(t, "cancelled prune", ok(c.CancelPrune(ctx, "shop/nightly")).Decision, envbackup.DecisionCancelled)

	run := ok(c.RunSchedule(ctx, "shop/nightly", false))
	_, err = c.RunSchedule(ctx, "shop/nightly", false)
	same(t, "a second run", envbackup.CodeOf(err), envbackup.CodeBusy)
	same(t, "runs", ok(c.Runs(ctx, wire.RunsQuery{Schedule: "shop/nightly", State: []string{"queued", "running"}})).Items[0].ID, run.ID)
	same(t, "run", ok(c.Run(ctx, run.ID)).ID, run.ID)
	same(t, "cancelled run", ok(c.CancelRun(ctx, run.ID)).State, envbackup.RunCancelled)
	same(t, "watched run", ok(c.WatchRun(ctx, run.ID, nil)).State, envbackup.RunCancelled)

	now := time.Now().UTC().Truncate(time.Second)
	for i, id := range []string{strings.Repeat("ab", 32), strings.Repeat("cd", 32)} {
		b := envbackup.Backup{
			SnapshotID: id, ScheduleID: sch.ID, Schedule: "nightly", EnvironmentID: env.ID, Environment: "shop", DestinationID: dest.ID, Destination: "disk",
			Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete, Nominal: now.Add(-time.Duration(i) * time.Hour), CompletedAt: now,
		}
		if err := s.Store.AddBackup(ctx, &b); err != nil {
			t.Fatal(err)
		}
	}
	page := ok(c.Backups(ctx, wire.BackupsQuery{
		Page: wire.Page{Limit: 1}, Environment: "shop", Schedule: "nightly", Destination: "disk", Status: "complete", Verified: "false",
		Trigger: "schedule", Since: now.Add(-2 * time.Hour), Until: now.Add(time.Hour), MaxAge: "26h",
	}))
	same(t, "backups", []int64{int64(len(page.Items)), page.Total}, []int64{1, 2})
	backup := ok(c.Backup(ctx, "abab"))
	same(t, "backup", backup.ID, page.Items[0].ID)
	same(t, "held", ok(c.HoldBackup(ctx, backup.ID, "audit")).HoldReason, "audit")
	same(t, "deleting what is held", envbackup.CodeOf(c.DeleteBackup(ctx, backup.ID)), envbackup.CodeConflict)
	_, err = c.AcknowledgeBackup(ctx, backup.ID)
	same(t, "acknowledging a good one", envbackup.CodeOf(err), envbackup.CodeConflict)
	same(t, "missing", len(ok(c.ForgetMissing(ctx, "shop/nightly", true)).Backups), 0)
	same(t, "reclaimed", ok(c.ReclaimSchedule(ctx, "shop/nightly")).Note, "window")
	same(t, "released", ok(c.ReleaseBackup(ctx, backup.ID)).Held, false)
	restore := ok(c.CreateRestore(ctx, wire.RestoreRequest{Backup: "latest", Environment: "shop", Target: "/restore"}))
	same(t, "restores", ok(c.Restores(ctx, wire.RestoresQuery{Environment: "shop", State: []string{"queued"}})).Items[0].ID, restore.ID)
	same(t, "restore", ok(c.Restore(ctx, restore.ID)).BackupID, backup.ID)
	same(t, "cancelled restore", ok(c.CancelRestore(ctx, restore.ID)).State, envbackup.RunCancelled)
	same(t, "watched restore", ok(c.WatchRestore(ctx, restore.ID, nil)).State, envbackup.RunCancelled)
	proof := ok(c.VerifyBackup(ctx, backup.ID, envbackup.VerifyRestore))
	same(t, "level", proof.Level, envbackup.VerifyRestore)
	same(t, "default level", ok(c.VerifyBackup(ctx, backup.ID, "")).Level, envbackup.VerifyRead)
	query := wire.VerificationsQuery{Page: wire.Page{Limit: 5}, Environment: "shop", Backup: backup.ID, Schedule: "shop/nightly", State: []string{"queued"}}
	same(t, "verifications", len(ok(c.Verifications(ctx, query)).Items), 2)
	same(t, "verification", ok(c.Verification(ctx, proof.ID)).BackupID, backup.ID)
	same(t, "cancelled verification", ok(c.CancelVerification(ctx, proof.ID)).State, envbackup.RunCancelled)
	same(t, "watched verification", ok(c.WatchVerification(ctx, proof.ID, nil)).State, envbackup.RunCancelled)
	same(t, "check", ok(c.CheckRepository(ctx, wire.CheckRequest{Environment: "shop", Destination: "disk", Share: "2/9"})).Level, envbackup.CheckShare(2, 9))
	same(t, "repair", ok(c.RepairRepository(ctx, wire.RepairRequest{Environment: "shop", Destination: "disk", ReadData: true, DryRun: true})).Level, envbackup.RepairData.DryRun())
	done(t, c.DeleteBackup(ctx, backup.ID))

	same(t, "limits", ok(c.Limits(ctx)).MaxRetention, "10y")
	same(t, "version", ok(c.Version(ctx)).Version, "test")
	same(t, "key", ok(c.Key(ctx, "shop", "disk")).Password, apitest.Password)
	token := ok(c.CreateToken(ctx, wire.TokenInput{Name: "ci", Role: envbackup.RoleViewer}))
	if token.Token == "" {
		t.Error("a new token has no text")
	}
	same(t, "tokens", len(ok(c.Tokens(ctx)).Items), 4)
	done(t, c.DeleteToken(ctx, "ci"))
	if len(ok(c.Audit(ctx, wire.Page{Limit: 3})).Items) != 3 {
		t.Error("the audit log is short")
	}
	done(t, c.DeleteSchedule(ctx, "shop/nightly", 0))
	done(t, c.DeleteDestination(ctx, "disk", 0))
	done(t, c.DeleteEnvironment(ctx, "shop", 0))

	var missed []string
	for pattern, called := range routes.pattern {
		if !called {
			missed = append(missed, pattern)
		}
	}
	slices.Sort(missed)
	if len(missed) > 0 {
		t.Errorf("operations without a method: %v", missed)
	}
}

// ok returns a value that has to come without an error.
func ok[T any](v T, err error) T {
	if err != nil {
		panic(err) // in a test that cannot go on
	}
	return v
}

func same[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func done(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	if r, err := connect(t, client.Config{Endpoint: s.URL}).Ready(t.Context()); err != nil || !r.Ready || r.Checks[0].Name != "database" {
		t.Errorf("ready = %+v, %v", r, err)
	}
	if err := s.Store.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := connect(t, client.Config{Endpoint: s.URL}).Ready(t.Context())
	if err != nil || r.Ready || r.Checks[0].Error == "" {
		t.Errorf("with the database gone = %+v, %v; want an answer that says so, not an error", r, err)
	}
}

// Findings of a refusal reach the caller whole: the provider puts them at
// their attributes.
func TestFindingsArrive(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	c := connect(t, client.Config{Endpoint: s.URL, Token: secret.New(s.Operator)})
	_, err := c.CreateSchedule(t.Context(), wire.ScheduleInput{ScheduleSpec: envbackup.ScheduleSpec{
		Name: "n", Environment: "e", Destinations: []string{"d"}, Cron: "61 * * * *",
	}})
	var e *envbackup.Error
	if !errors.As(err, &e) || e.Code != envbackup.CodeInvalid || len(e.Findings) < 3 || e.Findings[0].Path != "cron" {
		t.Errorf("refusal = %#v, want the findings, cron's first", err)
	}
	_, err = connect(t, client.Config{Endpoint: s.URL, Token: secret.New("envb_wrong")}).Limits(t.Context())
	if !errors.As(err, &e) || e.Code != envbackup.CodeUnauthenticated || !strings.Contains(e.Hint, "envbackup token create") {
		t.Errorf("a wrong token = %#v, want unauthenticated and where to get one", err)
	}
}

func TestAllCollectsEveryPage(t *testing.T) {
	t.Parallel()
	calls := 0
	got, err := client.All(t.Context(), func(_ context.Context, p wire.Page) ([]int, string, error) {
		calls++
		switch p.Cursor {
		case "":
			return []int{1, 2}, "a", nil
		case "a":
			return []int{3}, "b", nil
		default:
			return nil, "", nil
		}
	})
	if diff := cmp.Diff([]int{1, 2, 3}, got); err != nil || diff != "" || calls != 3 {
		t.Errorf("%d calls, %v (-want +got):\n%s", calls, err, diff)
	}
	broken := errors.New("gone")
	if _, err := client.All(t.Context(), func(context.Context, wire.Page) ([]int, string, error) { return nil, "", broken }); !errors.Is(err, broken) {
		t.Errorf("a page that fails = %v", err)
	}
}

// A watch sees each change and survives a stream that breaks.
func TestWatchRun(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	run := envbackup.Run{Schedule: "nightly", Environment: "shop", Trigger: envbackup.TriggerManual, State: envbackup.RunQueued, Nominal: time.Now()}
	done(t, s.Store.Tx(t.Context(), func(tx *store.Tx) error { return tx.InsertRun(t.Context(), &run) }))
	set := func(state envbackup.RunState) error {
		return s.Store.Tx(t.Context(), func(tx *store.Tx) error {
			run.State = state
			_, err := tx.SaveRun(t.Context(), run, 0)
			return err
		})
	}
	// Each stream is cut after its first event.
	streams := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		streams++
		s.Handler.ServeHTTP(&cutWriter{ResponseWriter: w}, r)
	}))
	t.Cleanup(server.Close)
	c := connect(t, client.Config{Endpoint: server.URL, Token: secret.New(s.Viewer)})
	var states []envbackup.RunState
	last, err := c.WatchRun(t.Context(), run.ID, func(r wire.Run) error {
		states = append(states, r.State)
		if r.State == envbackup.RunQueued {
			return set(envbackup.RunRunning)
		}
		return set(envbackup.RunSucceeded)
	})
	want := []envbackup.RunState{envbackup.RunQueued, envbackup.RunRunning, envbackup.RunSucceeded}
	if diff := cmp.Diff(want, states); err != nil || diff != "" || last.State != envbackup.RunSucceeded || streams != 3 {
		t.Errorf("%d streams, last %s, %v (-want +got):\n%s", streams, last.State, err, diff)
	}
	stop := errors.New("enough")
	if _, err := c.WatchRun(t.Context(), run.ID, func(wire.Run) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("a watcher that has enough = %v, want its own error", err)
	}
	if _, err := c.WatchRun(t.Context(), "run_none", nil); envbackup.CodeOf(err) != envbackup.CodeNotFound {
		t.Errorf("an unknown run = %v, want not found at once", err)
	}
}

// cutWriter breaks the connection at the second write of a stream.
type cutWriter struct {
	http.ResponseWriter
	writes int
}

func (c *cutWriter) Write(b []byte) (int, error) {
	if c.writes++; c.writes > 1 {
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(b)
}

func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
