package api_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func TestAuthentication(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		header map[string]string
		want   int
	}{
		"no token is 401":             {nil, 401},
		"an unknown token is 401":     {map[string]string{"Authorization": "Bearer envb_WRONG"}, 401},
		"basic authentication is 401": {map[string]string{"Authorization": "Basic YWRtaW46YWRtaW4="}, 401},
		"an empty token is 401":       {map[string]string{"Authorization": "Bearer "}, 401},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := apitest.Start(t)
			resp := send(t, s, request{method: "GET", path: "/api/v1/schedules", header: tt.header})
			p := problemIn(t, resp)
			if p.Status != tt.want || p.Code != envbackup.CodeUnauthenticated {
				t.Errorf("answer = %s, want %d unauthenticated", resp.body, tt.want)
			}
			if !strings.Contains(p.Hint, "envbackup token create") || resp.header.Get("WWW-Authenticate") == "" {
				t.Errorf("a 401 must say where tokens come from: hint %q, WWW-Authenticate %q", p.Hint, resp.header.Get("WWW-Authenticate"))
			}
		})
	}
	t.Run("with --dev the hint names the file", func(t *testing.T) {
		t.Parallel()
		s := apitest.Start(t, func(d *api.Deps) { d.DevMode = true })
		p := problemIn(t, send(t, s, request{method: "GET", path: "/api/v1/limits"}))
		if !strings.Contains(p.Hint, "admin.token") {
			t.Errorf("hint = %q, want the file admin.token", p.Hint)
		}
	})
}

// Each role is tried on one route below, at and above it.
func TestRoles(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 2, time.Now())
	tests := map[string]struct {
		request request
		needs   envbackup.Role
	}{
		"reading needs a viewer":      {request{method: "GET", path: "/api/v1/schedules"}, envbackup.RoleViewer},
		"preflight needs a viewer":    {request{method: "POST", path: "/api/v1/schedules/preflight", body: wire.Preflight{Schedule: schedule("x", "shop", "disk").ScheduleSpec}}, envbackup.RoleViewer},
		"pausing needs an operator":   {request{method: "POST", path: "/api/v1/schedules/shop%2Fnightly/pause"}, envbackup.RoleOperator},
		"restoring needs an operator": {request{method: "POST", path: "/api/v1/restores", body: wire.RestoreRequest{Backup: backups[0].ID, Target: "/tmp/x"}}, envbackup.RoleOperator},
		"a key needs an admin":        {request{method: "POST", path: "/api/v1/key", body: wire.KeyRequest{Environment: "shop", Destination: "disk"}}, envbackup.RoleAdmin},
		"tokens need an admin":        {request{method: "GET", path: "/api/v1/tokens"}, envbackup.RoleAdmin},
		"the audit log needs one":     {request{method: "GET", path: "/api/v1/audit"}, envbackup.RoleAdmin},
		"removing needs an admin":     {request{method: "DELETE", path: "/api/v1/backups/" + backups[1].ID}, envbackup.RoleAdmin},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for role, token := range map[envbackup.Role]string{
				envbackup.RoleViewer: s.Viewer, envbackup.RoleOperator: s.Operator, envbackup.RoleAdmin: s.Admin,
			} {
				tt.request.token = token
				resp := send(t, s, tt.request)
				if role.Allows(tt.needs) {
					if resp.status > 299 {
						t.Errorf("%s got %d %s, want success", role, resp.status, resp.body)
					}
					continue
				}
				if p := problemIn(t, resp); p.Status != 403 || p.Code != envbackup.CodeForbidden || !strings.Contains(p.Hint, string(tt.needs)) {
					t.Errorf("%s got %s, want 403 with a hint of %s", role, resp.body, tt.needs)
				}
			}
		})
	}
}

func TestFailedLoginsAreLimited(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	try := func(token string) response {
		return send(t, s, request{method: "GET", path: "/api/v1/limits", token: token})
	}

	for range 20 {
		if got := send(t, s, request{method: "GET", path: "/api/v1/limits"}).status; got != 401 {
			t.Fatalf("without a token = %d, want 401: it is no guess", got)
		}
	}
	for i := range 10 {
		if got := try("envb_guess").status; got != 401 {
			t.Fatalf("guess %d = %d, want 401", i, got)
		}
	}
	resp := try("envb_guess")
	if p := problemIn(t, resp); p.Status != 429 || p.Code != envbackup.CodeRateLimited || resp.header.Get("Retry-After") == "" {
		t.Errorf("eleventh guess = %s, Retry-After %q, want 429 with a time", resp.body, resp.header.Get("Retry-After"))
	}
	if got := try(s.Admin).status; got != 200 {
		t.Errorf("a valid token from the limited peer = %d, want 200: a broken script must not lock the operator out", got)
	}
	s.Clock.Advance(7 * time.Second)
	if got := try("envb_guess").status; got != 401 {
		t.Errorf("a guess after the wait = %d, want 401", got)
	}
	if got := try("envb_guess").status; got != 429 {
		t.Errorf("the next one = %d, want 429: one each six seconds", got)
	}
	if got := strings.Count(s.Log.String(), "login failed"); got != 11 {
		t.Errorf("%d failed logins in the log, want the 11 that were not limited", got)
	}
	if !strings.Contains(s.Log.String(), "login failed") {
		t.Error("failed logins are not in the log")
	}
	if strings.Contains(s.Log.String(), "envb_guess") {
		t.Error("the log holds a token that was tried")
	}
}

func TestRevokedTokenEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	made, _ := must[wire.Token](t, s, request{method: "POST", path: "/api/v1/tokens", body: wire.TokenInput{Name: "ci", Role: envbackup.RoleViewer}})
	if got := send(t, s, request{method: "GET", path: "/api/v1/limits", token: made.Token}).status; got != 200 {
		t.Fatalf("new token = %d, want 200", got)
	}
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/tokens/ci"})
	if got := send(t, s, request{method: "GET", path: "/api/v1/limits", token: made.Token}).status; got != 401 {
		t.Errorf("revoked token = %d, want 401", got)
	}
}

func TestLastAdminStays(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	p := problemIn(t, send(t, s, request{method: "DELETE", path: "/api/v1/tokens/test%20admin", token: s.Admin}))
	if p.Code != envbackup.CodeConflict {
		t.Errorf("deleting the last admin = %+v, want a conflict", p)
	}
	must[wire.Token](t, s, request{method: "POST", path: "/api/v1/tokens", body: wire.TokenInput{Name: "second", Role: envbackup.RoleAdmin}})
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/tokens/test%20admin"})
}

func TestTokensAreStoredHashed(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	stored, err := s.Store.TokenByHash(t.Context(), api.HashToken(s.Admin))
	if err != nil || stored.Role != envbackup.RoleAdmin {
		t.Fatalf("token by its hash = %+v, %v", stored, err)
	}
	a, b := textOf(t), textOf(t)
	if a == b || len(a) < len("envb_")+52 || !strings.HasPrefix(a, "envb_") {
		t.Errorf("tokens %q and %q: want two different ones with 256 random bits", a, b)
	}
}

func textOf(t *testing.T) string {
	t.Helper()
	_, text := api.NewToken("x", envbackup.RoleViewer)
	return text.Reveal()
}

// A listener that only the operator reaches needs no token.
func TestTrustedConnection(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	server := httptest.NewUnstartedServer(s.Handler)
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { return api.TrustConn(ctx) }
	server.Start()
	t.Cleanup(server.Close)
	resp, err := http.Get(server.URL + "/api/v1/tokens")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != 200 {
		t.Errorf("tokens over the trusted connection = %d, want 200", resp.StatusCode)
	}
}

func TestProbesAndMetrics(t *testing.T) {
	t.Parallel()
	figures := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("envbackup_runs 1\n")) })
	s := apitest.Start(t, func(d *api.Deps) { d.Metrics = figures })
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/openapi.json": 200, "/docs": 200, "/metrics": 401} {
		if got := send(t, s, request{method: "GET", path: path}).status; got != want {
			t.Errorf("GET %s without a token = %d, want %d", path, got, want)
		}
	}
	if got := send(t, s, request{method: "GET", path: "/metrics", token: s.Viewer}); got.body != "envbackup_runs 1\n" {
		t.Errorf("metrics with a token = %d %q", got.status, got.body)
	}
	open := apitest.Start(t, func(d *api.Deps) { d.Metrics, d.OpenMetrics = figures, true })
	if got := send(t, open, request{method: "GET", path: "/metrics"}).status; got != 200 {
		t.Errorf("open metrics without a token = %d, want 200", got)
	}
}

func TestReadinessNamesWhatDoesNotWork(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t, func(d *api.Deps) {
		d.Checks = map[string]func(context.Context) error{
			"scheduler": func(context.Context) error { return context.DeadlineExceeded },
			"queue":     func(context.Context) error { return nil },
		}
	})
	resp := send(t, s, request{method: "GET", path: "/readyz"})
	want := `{"ready":false,"checks":[{"name":"database"},{"name":"queue"},` +
		`{"name":"scheduler","error":"does not work; the daemon's log has the cause"}]}`
	if resp.status != 503 || strings.TrimSpace(resp.body) != want {
		t.Errorf("readyz = %d %s\nwant 503 %s", resp.status, resp.body, want)
	}
	if !strings.Contains(s.Log.String(), "deadline exceeded") {
		t.Error("the cause is not in the log")
	}
}
