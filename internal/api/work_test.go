package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

type depsOf = api.Deps

type countingStore struct {
	*store.Store
	all, points atomic.Int64
}

func (c *countingStore) Points(ctx context.Context, scheduleID, destinationID string, since, now time.Time) ([]retention.Point, error) {
	c.points.Add(1)
	return c.Store.Points(ctx, scheduleID, destinationID, since, now)
}

func (c *countingStore) AllBackups(ctx context.Context, scheduleID, destinationID string) ([]envbackup.Backup, error) {
	c.all.Add(1)
	return c.Store.AllBackups(ctx, scheduleID, destinationID)
}

func TestManualRun(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	run, resp := must[wire.Run](t, s, request{method: "POST", path: "/api/v1/schedules/shop%2Fnightly/run"})
	if resp.status != 202 || run.State != envbackup.RunQueued || run.Trigger != envbackup.TriggerManual || run.ScheduleID != sch.ID ||
		resp.header.Get("Location") != "/api/v1/runs/"+run.ID {
		t.Errorf("run = %d %+v", resp.status, run)
	}
	p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/schedules/shop%2Fnightly/run", token: s.Operator}))
	if p.Status != 409 || p.Code != envbackup.CodeBusy {
		t.Errorf("a second one (S10) = %+v, want 409 busy", p)
	}
	must[wire.Run](t, s, request{method: "POST", path: "/api/v1/schedules/shop%2Fnightly/run", body: wire.RunRequest{Wait: true}})
	list, _ := must[wire.RunPage](t, s, request{method: "GET", path: "/api/v1/runs?schedule=shop%2Fnightly&state=queued,running"})
	if len(list.Items) != 2 {
		t.Errorf("queued runs = %d, want 2", len(list.Items))
	}
	cancelled, _ := must[wire.Run](t, s, request{method: "POST", path: "/api/v1/runs/" + run.ID + "/cancel"})
	if cancelled.State != envbackup.RunCancelled {
		t.Errorf("cancelled = %+v", cancelled)
	}
	p = problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/runs/" + run.ID + "/cancel", token: s.Operator}))
	if p.Code != envbackup.CodeConflict {
		t.Errorf("cancelling what is over = %+v, want a conflict", p)
	}
}

func TestRestores(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 3, time.Now())
	if err := s.Store.SetStatus(t.Context(), backups[0].ID, envbackup.BackupDamaged); err != nil {
		t.Fatal(err)
	}
	made, resp := must[wire.Restore](t, s, request{method: "POST", path: "/api/v1/restores", body: wire.RestoreRequest{
		Backup: "latest", Environment: "shop", Target: "/restore/shop", Include: []string{"*.conf"}, Overwrite: true,
	}})
	if resp.status != 201 || made.BackupID != backups[1].ID || made.State != envbackup.RunQueued || !made.Overwrite || made.Include[0] != "*.conf" {
		t.Errorf("latest = %d %+v, want the newest complete backup %s", resp.status, made, backups[1].ID)
	}
	byID, _ := must[wire.Restore](t, s, request{method: "POST", path: "/api/v1/restores", body: wire.RestoreRequest{Backup: backups[2].SnapshotID, Target: "/x"}})
	if byID.BackupID != backups[2].ID {
		t.Errorf("by snapshot = %+v", byID)
	}
	list, _ := must[wire.RestorePage](t, s, request{method: "GET", path: "/api/v1/restores?environment=shop"})
	if len(list.Items) != 2 {
		t.Errorf("restores = %d, want 2", len(list.Items))
	}
	cancelled, _ := must[wire.Restore](t, s, request{method: "POST", path: "/api/v1/restores/" + made.ID + "/cancel"})
	if cancelled.State != envbackup.RunCancelled {
		t.Errorf("cancelled = %+v", cancelled)
	}
	for name, tt := range map[string]struct {
		in   wire.RestoreRequest
		want int
		path string
	}{
		"no backup":                  {wire.RestoreRequest{Target: "/x"}, 422, "backup"},
		"latest of nothing":          {wire.RestoreRequest{Backup: "latest", Target: "/x"}, 422, "environment"},
		"a relative target":          {wire.RestoreRequest{Backup: backups[1].ID, Target: "x"}, 422, "target"},
		"a target with dots":         {wire.RestoreRequest{Backup: backups[1].ID, Target: "/srv/../etc"}, 422, "target"},
		"a pattern that is wrong":    {wire.RestoreRequest{Backup: backups[1].ID, Target: "/x", Include: []string{"a", "[b"}}, 422, "include[1]"},
		"a backup that is not there": {wire.RestoreRequest{Backup: "bkp_x", Target: "/x"}, 404, ""},
		"latest of an empty one":     {wire.RestoreRequest{Backup: "latest", Environment: "shop", Destination: "tape", Target: "/x"}, 404, ""},
	} {
		p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/restores", token: s.Operator, body: tt.in}))
		if p.Status != tt.want || tt.path != "" && (len(p.Findings) != 1 || p.Findings[0].Path != tt.path) {
			t.Errorf("%s = %+v, want %d at %q", name, p, tt.want, tt.path)
		}
	}
}

// The stream begins with the run as it is, goes on with each change and ends
// with the final one.
func TestRunEvents(t *testing.T) {
	t.Parallel()
	s, _ := shop(t)
	run, _ := must[wire.Run](t, s, request{method: "POST", path: "/api/v1/schedules/shop%2Fnightly/run"})
	req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+"/api/v1/runs/"+run.ID+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Viewer)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("Content-Type = %q", got)
	}
	var states []string
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var r wire.Run
		if err := json.Unmarshal([]byte(data), &r); err != nil {
			t.Fatal(err)
		}
		states = append(states, string(r.State))
		if r.Progress != nil {
			states[len(states)-1] += "/" + string(r.Progress.Phase)
		}
		switch len(states) {
		case 1:
			change(t, s, run.ID, func(r *envbackup.Run) {
				r.State, r.Progress = envbackup.RunRunning, envbackup.Progress{Phase: envbackup.PhaseBackup, BytesDone: 1}
			})
		case 2:
			change(t, s, run.ID, func(r *envbackup.Run) { r.State, r.FinishedAt = envbackup.RunSucceeded, time.Now() })
		}
	}
	if got, want := strings.Join(states, " "), "queued running/backup succeeded/backup"; got != want {
		t.Errorf("events = %q, want %q and the end of the stream", got, want)
	}
	p := problemIn(t, send(t, s, request{method: "GET", path: "/api/v1/runs/run_x/events", token: s.Viewer}))
	if p.Status != 404 {
		t.Errorf("events of an unknown run = %+v, want 404", p)
	}
}

func change(t *testing.T, s *apitest.Server, id string, edit func(*envbackup.Run)) {
	t.Helper()
	err := s.Store.Tx(t.Context(), func(tx *store.Tx) error {
		run, err := tx.Run(t.Context(), id)
		if err != nil {
			return err
		}
		edit(&run)
		_, err = tx.SaveRun(t.Context(), run, run.JobID)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The same request with the same key is answered once; ten at once make one.
func TestIdempotencyKey(t *testing.T) {
	t.Parallel()
	s, _ := shop(t)
	r := request{
		method: "POST", path: "/api/v1/schedules/shop%2Fnightly/run", token: s.Operator,
		body: wire.RunRequest{Wait: true}, header: map[string]string{"Idempotency-Key": "k1"},
	}
	var wg sync.WaitGroup
	bodies := make([]string, 10)
	for i := range bodies {
		wg.Go(func() { bodies[i] = send(t, s, r).body })
	}
	wg.Wait()
	for _, b := range bodies {
		if b != bodies[0] {
			t.Errorf("answers differ: %s and %s", b, bodies[0])
		}
	}
	again := send(t, s, r)
	if again.status != 202 || again.body != bodies[0] || again.header.Get("Idempotency-Replayed") != "true" ||
		again.header.Get("Location") == "" || again.header.Get("Content-Type") != "application/json" {
		t.Errorf("repeated = %d %v %s, want the first answer with its headers", again.status, again.header, again.body)
	}
	runs := func() int {
		list, _ := must[wire.RunPage](t, s, request{method: "GET", path: "/api/v1/runs"})
		return len(list.Items)
	}
	if got := runs(); got != 1 {
		t.Errorf("eleven requests with one key made %d runs, want 1", got)
	}

	r.body = wire.RunRequest{}
	if p := problemIn(t, send(t, s, r)); p.Status != 422 || !strings.Contains(p.Detail, "Idempotency-Key") {
		t.Errorf("the key with another body = %+v, want 422", p)
	}
	r.token = s.Admin
	r.body = wire.RunRequest{Wait: true}
	if resp := send(t, s, r); resp.status != 202 || runs() != 2 {
		t.Errorf("the key of somebody else = %d with %d runs, want a run of its own", resp.status, runs())
	}
	s.Clock.Advance(25 * time.Hour)
	if resp := send(t, s, r); resp.header.Get("Idempotency-Replayed") != "" || runs() != 3 {
		t.Errorf("a day later = %v with %d runs, want a new run", resp.header, runs())
	}
}

// A failure of the daemon is not repeated: the second try may succeed.
func TestIdempotencyKeyAfterAFailure(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	s := apitest.Start(t, func(d *api.Deps) {
		d.AllowRead = func(string) error {
			if broken.Load() {
				panic("out of order")
			}
			return nil
		}
	})
	r := request{method: "POST", path: "/api/v1/environments", token: s.Operator, body: environment("shop"), header: map[string]string{"Idempotency-Key": "k"}}
	if got := send(t, s, r).status; got != 500 {
		t.Fatalf("broken = %d, want 500", got)
	}
	broken.Store(false)
	if got := send(t, s, r).status; got != 201 {
		t.Errorf("repeated after the repair = %d, want 201", got)
	}
}
