package api_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// request is one request of a test; an empty token sends none.
type request struct {
	method, path, token string
	body                any // a string is sent as it is
	header              map[string]string
}

// response is what came back.
type response struct {
	status int
	header http.Header
	body   string
}

func send(t *testing.T, s *apitest.Server, r request) response {
	t.Helper()
	var body io.Reader
	switch b := r.body.(type) {
	case nil:
	case string:
		body = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, s.URL+r.path, body)
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for k, v := range r.header {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp.StatusCode, resp.Header, string(data)}
}

// must sends a request that has to succeed and decodes its answer.
func must[T any](t *testing.T, s *apitest.Server, r request) (T, response) {
	t.Helper()
	if r.token == "" {
		r.token = s.Admin
	}
	resp := send(t, s, r)
	var out T
	if resp.status < 200 || resp.status > 299 {
		t.Fatalf("%s %s = %d %s", r.method, r.path, resp.status, resp.body)
	}
	if resp.body != "" {
		if err := json.Unmarshal([]byte(resp.body), &out); err != nil {
			t.Fatalf("%s %s: %v in %s", r.method, r.path, err, resp.body)
		}
	}
	return out, resp
}

// problemIn decodes a problem document and checks what all of them promise.
func problemIn(t *testing.T, resp response) wire.Problem {
	t.Helper()
	var p wire.Problem
	if err := json.Unmarshal([]byte(resp.body), &p); err != nil {
		t.Fatalf("%d is no problem document: %v in %q", resp.status, err, resp.body)
	}
	if got := resp.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type = %q, want application/problem+json", got)
	}
	if p.Status != resp.status || p.Code == "" || p.Title == "" || p.Detail == "" {
		t.Errorf("incomplete problem document: %s", resp.body)
	}
	return p
}

func environment(name string) wire.EnvironmentInput {
	return wire.EnvironmentInput{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: name, Files: map[string]envbackup.FilesSource{"app": {Path: "/srv/" + name, Exclude: []string{"*.tmp"}}},
	}}
}

func local(name string) wire.DestinationInput {
	return wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{
		Name: name, Local: &envbackup.LocalPlace{Path: "/mnt/" + name},
	}}
}

func schedule(name, environment string, destinations ...string) wire.ScheduleInput {
	in := wire.ScheduleInput{ScheduleSpec: envbackup.ScheduleSpec{
		Name: name, Environment: environment, Destinations: destinations, Cron: "30 2 * * *", Timezone: "Europe/Berlin",
	}}
	in.Retention.Period = "30d"
	return in
}

// shop is a server with the environment shop, the destination disk and the
// schedule shop/nightly.
func shop(t *testing.T) (*apitest.Server, wire.Schedule) {
	t.Helper()
	s := apitest.Start(t)
	must[wire.Environment](t, s, request{method: "POST", path: "/api/v1/environments", body: environment("shop")})
	must[wire.Destination](t, s, request{method: "POST", path: "/api/v1/destinations", body: local("disk")})
	sch, _ := must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules", body: schedule("nightly", "shop", "disk")})
	return s, sch
}

// addBackups stores n complete backups of a schedule, a day apart, the newest
// at the newest instant given.
func addBackups(t *testing.T, s *apitest.Server, sch wire.Schedule, n int, newest time.Time) []envbackup.Backup {
	t.Helper()
	e, err := s.Store.Environment(t.Context(), sch.Environment)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Store.Destination(t.Context(), sch.Destinations[0])
	if err != nil {
		t.Fatal(err)
	}
	var all []envbackup.Backup
	for i := range n {
		at := newest.AddDate(0, 0, -i)
		b := envbackup.Backup{
			SnapshotID: snapshotID(i), RunID: "run_" + snapshotID(i)[:8], ScheduleID: sch.ID, Schedule: sch.Name,
			EnvironmentID: e.ID, Environment: e.Name, DestinationID: d.ID, Destination: d.Name,
			Trigger: envbackup.TriggerSchedule, Status: envbackup.BackupComplete,
			Nominal: at, StartedAt: at, CompletedAt: at.Add(time.Minute), Size: 1 << 20, Added: 1 << 10, Files: 7,
		}
		if err := s.Store.AddBackup(t.Context(), &b); err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func snapshotID(i int) string {
	const hex = "0123456789abcdef"
	id := make([]byte, 64)
	for j := range id {
		id[j] = hex[(i>>(4*(j%4))+j*j)&15]
	}
	return string(id)
}
