package api_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Every refusal is a problem document with a code, and says what is wrong.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	wrongCron := schedule("weekly", "shop", "disk")
	wrongCron.Cron = "61 * * * *"
	tooOften := schedule("weekly", "shop", "disk")
	tooOften.Retention.Period = "40y"
	tests := map[string]struct {
		request
		status int
		code   envbackup.Code
		says   string // in the body
	}{
		"an unknown path": {
			request{method: "GET", path: "/api/v1/bakups"}, 404, envbackup.CodeNotFound, "/docs",
		},
		"an unknown thing": {
			request{method: "GET", path: "/api/v1/environments/shopp"}, 404, envbackup.CodeNotFound, `environment \"shopp\" does not exist`,
		},
		"a method that the path does not have": {
			request{method: "PATCH", path: "/api/v1/environments/shop"}, 405, envbackup.CodeInvalid, "allowed: DELETE, GET, HEAD, PUT",
		},
		"a name that is taken": {
			request{method: "POST", path: "/api/v1/environments", body: environment("shop")}, 409, envbackup.CodeConflict, `shop`,
		},
		"deleting what a schedule uses (R11)": {
			request{method: "DELETE", path: "/api/v1/environments/shop"}, 409, envbackup.CodeConflict, "nightly",
		},
		"deleting a destination that a schedule uses (R11)": {
			request{method: "DELETE", path: "/api/v1/destinations/disk"}, 409, envbackup.CodeConflict, "nightly",
		},
		"an old version": {
			request{method: "PUT", path: "/api/v1/environments/shop", body: environment("shop"), header: map[string]string{"If-Match": `"7"`}},
			412, envbackup.CodeStale, "",
		},
		"an old version of a schedule": {
			request{method: "PUT", path: "/api/v1/schedules/" + sch.ID, body: schedule("nightly", "shop", "disk"), header: map[string]string{"If-Match": `"7"`}},
			412, envbackup.CodeStale, "nothing was written",
		},
		"an ETag that we never made": {
			request{method: "DELETE", path: "/api/v1/schedules/" + sch.ID, header: map[string]string{"If-Match": `W/"x"`}}, 412, envbackup.CodeStale, "If-Match",
		},
		"a body over a mebibyte": {
			request{method: "POST", path: "/api/v1/environments", body: `{"name":"` + strings.Repeat("x", 1<<20) + `"}`},
			413, envbackup.CodeInvalid, "1048576 bytes",
		},
		"a body that is not JSON by its type": {
			request{method: "POST", path: "/api/v1/environments", body: "name: shop", header: map[string]string{"Content-Type": "application/yaml"}},
			415, envbackup.CodeInvalid, "application/json",
		},
		"a body that is not JSON": {
			request{method: "POST", path: "/api/v1/environments", body: "{"}, 400, envbackup.CodeInvalid, "not valid JSON",
		},
		"no body": {
			request{method: "POST", path: "/api/v1/environments"}, 400, envbackup.CodeInvalid, "required",
		},
		"an unknown attribute": {
			request{method: "POST", path: "/api/v1/environments", body: `{"name":"a","files":{},"surprise":1}`}, 422, envbackup.CodeInvalid, `"path":"surprise"`,
		},
		"a missing attribute": {
			request{method: "POST", path: "/api/v1/environments", body: `{"files":{}}`}, 422, envbackup.CodeInvalid, `"path":"name"`,
		},
		"a wrong type deep inside": {
			request{method: "POST", path: "/api/v1/environments", body: `{"name":"a","files":{"app":{"path":5}}}`}, 422, envbackup.CodeInvalid, `"path":"files.app.path"`,
		},
		"an unknown filter": {
			request{method: "GET", path: "/api/v1/backups?env=shop"}, 422, envbackup.CodeInvalid, "unknown query parameter",
		},
		"a page that is too large": {
			request{method: "GET", path: "/api/v1/runs?limit=1001"}, 422, envbackup.CodeInvalid, `"path":"limit"`,
		},
		"a cursor that we never made": {
			request{method: "GET", path: "/api/v1/runs?cursor=%21%21"}, 422, envbackup.CodeInvalid, `"path":"cursor"`,
		},
		"a wrong cron expression (C2)": {
			request{method: "POST", path: "/api/v1/schedules", body: wrongCron}, 422, envbackup.CodeInvalid, `"path":"cron"`,
		},
		"a retention above the limit": {
			request{method: "POST", path: "/api/v1/schedules", body: tooOften}, 422, envbackup.CodeInvalid, `"path":"retention`,
		},
		"a duration of a filter": {
			request{method: "GET", path: "/api/v1/backups?max_age=soon"}, 422, envbackup.CodeInvalid, `"path":"max_age"`,
		},
		"a role that does not exist": {
			request{method: "POST", path: "/api/v1/tokens", body: `{"name":"x","role":"root"}`}, 422, envbackup.CodeInvalid, `"path":"role"`,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.token = s.Admin
			resp := send(t, s, tt.request)
			p := problemIn(t, resp)
			if p.Status != tt.status || p.Code != tt.code || !strings.Contains(resp.body, tt.says) {
				t.Errorf("answer = %s\nwant %d, code %s, with %q", resp.body, tt.status, tt.code, tt.says)
			}
			if tt.status == 422 && len(p.Findings) == 0 {
				t.Errorf("422 without findings: %s", resp.body)
			}
		})
	}
}

// Who calls the API is not who operates the daemon: an unknown cause is in the
// log only.
func TestUnknownCausesStayInTheLog(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t, func(d *api.Deps) {
		d.Store = brokenStore{d.Store}
	})
	resp := send(t, s, request{method: "GET", path: "/api/v1/limits", token: s.Admin})
	p := problemIn(t, resp)
	if p.Status != 500 || p.Code != envbackup.CodeInternal || p.Detail != "internal error" {
		t.Errorf("answer = %s, want 500 internal error", resp.body)
	}
	if strings.Contains(resp.body, "disk I/O") || !strings.Contains(s.Log.String(), "disk I/O") {
		t.Errorf("the cause must be in the log and not in the answer %s", resp.body)
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t, func(d *api.Deps) { d.AllowRead = func(string) error { panic("allow-list is a lie") } })
	resp := send(t, s, request{method: "POST", path: "/api/v1/environments", token: s.Admin, body: environment("shop")})
	if p := problemIn(t, resp); p.Status != 500 || strings.Contains(resp.body, "lie") {
		t.Errorf("answer = %s, want 500 without the cause", resp.body)
	}
	if !strings.Contains(s.Log.String(), "allow-list is a lie") {
		t.Error("the panic is not in the log")
	}
	if got := send(t, s, request{method: "GET", path: "/healthz"}).status; got != 200 {
		t.Errorf("after a panic healthz = %d, want 200", got)
	}
}

func TestPathsThatAreNotAllowed(t *testing.T) {
	t.Parallel()
	refuse := func(path string) error {
		return &envbackup.Error{Code: envbackup.CodeNotAllowed, Message: path + " is not in allow_read", Hint: "add it to the daemon's configuration"}
	}
	s := apitest.Start(t, func(d *api.Deps) { d.AllowRead, d.AllowRestore = refuse, refuse })
	for name, r := range map[string]request{
		`files["app"].path`: {method: "POST", path: "/api/v1/environments", body: environment("shop")},
		"target":            {method: "POST", path: "/api/v1/restores", body: `{"backup":"x","target":"/etc"}`},
	} {
		r.token = s.Admin
		p := problemIn(t, send(t, s, r))
		if p.Status != 422 || len(p.Findings) != 1 || p.Findings[0].Path != name || !strings.Contains(p.Findings[0].Detail, "add it to") {
			t.Errorf("%s: %+v, want one finding there with the line to add", name, p)
		}
	}
}

// brokenStore fails as a database on a bad disk does.
type brokenStore struct{ api.Store }

func (brokenStore) TokenByHash(context.Context, [32]byte) (envbackup.Token, error) {
	return envbackup.Token{}, errors.New("disk I/O error")
}
