package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func TestKeyIsShownToAnAdminAndNoted(t *testing.T) {
	t.Parallel()
	s, _ := shop(t)
	key, _ := must[wire.Key](t, s, request{method: "POST", path: "/api/v1/key", body: wire.KeyRequest{Environment: "shop", Destination: "disk"}})
	if diff := cmp.Diff(wire.Key{Repository: "/repositories/disk/shop", Password: apitest.Password}, key); diff != "" {
		t.Errorf("key (-want +got):\n%s", diff)
	}
	audit, resp := must[wire.AuditPage](t, s, request{method: "GET", path: "/api/v1/audit"})
	newest := audit.Items[0]
	if newest.Action != "key show" || newest.Actor != "test admin" || newest.Name != "shop at disk" || newest.At.IsZero() {
		t.Errorf("audit = %+v, want who asked for which key", newest)
	}
	if strings.Contains(resp.body, "PLANTED") || strings.Contains(s.Log.String(), "PLANTED") {
		t.Error("the password is in the audit log or the daemon's")
	}
	for _, in := range []wire.KeyRequest{{Environment: "shopp", Destination: "disk"}, {Environment: "shop", Destination: "disc"}} {
		if p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/key", token: s.Admin, body: in})); p.Status != 404 {
			t.Errorf("%+v = %+v, want 404", in, p)
		}
	}
}

// Every change is in the audit log with its actor; reading is not.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 2, time.Now())
	for _, r := range []request{
		{method: "PUT", path: "/api/v1/environments/shop", body: environment("shop")},
		{method: "PUT", path: "/api/v1/destinations/disk", body: local("disk")},
		{method: "PUT", path: "/api/v1/schedules/shop%2Fnightly", body: schedule("nightly", "shop", "disk")},
		{method: "POST", path: "/api/v1/schedules/shop%2Fnightly/pause"},
		{method: "POST", path: "/api/v1/schedules/shop%2Fnightly/resume"},
		{method: "POST", path: "/api/v1/schedules/shop%2Fnightly/run"},
		{method: "POST", path: "/api/v1/backups/" + backups[0].ID + "/hold"},
		{method: "POST", path: "/api/v1/backups/" + backups[0].ID + "/release"},
		{method: "POST", path: "/api/v1/restores", body: wire.RestoreRequest{Backup: backups[0].ID, Target: "/x"}},
		{method: "GET", path: "/api/v1/schedules"},
		{method: "DELETE", path: "/api/v1/schedules/shop%2Fnightly"},
		{method: "DELETE", path: "/api/v1/environments/shop"},
		{method: "DELETE", path: "/api/v1/destinations/disk"},
	} {
		r.token = s.Operator
		if resp := send(t, s, r); resp.status > 299 {
			t.Fatalf("%s %s = %d %s", r.method, r.path, resp.status, resp.body)
		}
	}
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/backups/" + backups[1].ID})
	must[wire.Token](t, s, request{method: "POST", path: "/api/v1/tokens", body: wire.TokenInput{Name: "ci", Role: envbackup.RoleViewer}})
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/tokens/ci"})

	var got []string
	for cursor := ""; ; {
		page, _ := must[wire.AuditPage](t, s, request{method: "GET", path: "/api/v1/audit?limit=5&cursor=" + cursor})
		for _, e := range page.Items {
			got = append(got, strings.TrimPrefix(e.Actor, "test ")+" "+e.Action+" "+e.Kind)
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	want := []string{
		"admin delete token", "admin create token", "admin delete backup",
		"operator delete destination", "operator delete environment", "operator delete schedule", "operator restore backup",
		"operator release backup", "operator hold backup", "operator run schedule", "operator resume schedule", "operator pause schedule",
		"operator update schedule", "operator update destination", "operator update environment",
		"admin create schedule", "admin create destination", "admin create environment",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("audit log, newest first (-want +got):\n%s", diff)
	}
}

// No answer holds a secret that was sent, whatever is asked and whether it is
// right or wrong. The answers to a key request and to a token's creation are
// the two that exist to show one.
func TestSecretsNeverComeBack(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 1, time.Now())
	secretKey, recovery := "PLANTED-secret-key", "PLANTED-recovery"
	in := bucket(envbackup.S3Place{Bucket: "b", AccessKeyID: "AK"}, &secretKey)
	in.RecoveryPassword, in.RecoveryPasswordVer = &recovery, 1
	must[wire.Destination](t, s, request{method: "POST", path: "/api/v1/destinations", body: in})
	must[wire.Key](t, s, request{method: "POST", path: "/api/v1/key", body: wire.KeyRequest{Environment: "shop", Destination: "disk"}})
	token, _ := must[wire.Token](t, s, request{method: "POST", path: "/api/v1/tokens", body: wire.TokenInput{Name: "ci", Role: envbackup.RoleViewer}})

	planted := []string{"PLANTED", token.Token, s.Admin, s.Operator, s.Viewer}
	check := func(what, text string) {
		for _, p := range planted {
			if strings.Contains(text, p) {
				t.Errorf("%s holds a secret: %.300s", what, text)
			}
		}
	}
	wrong := `{"name":"d2","s3":{"bucket":"b","region":7},"secret_access_key":"PLANTED","recovery_password":"PLANTED","surprise":"PLANTED"}`
	broken := `{"name":"d2","secret_access_key":"PLANTED`
	requests := []request{
		{method: "PUT", path: "/api/v1/destinations/d", body: in},
		{method: "POST", path: "/api/v1/destinations", body: in},
		{method: "POST", path: "/api/v1/destinations", body: wrong},
		{method: "POST", path: "/api/v1/destinations", body: broken},
		{method: "POST", path: "/api/v1/environments", body: wrong},
		{method: "POST", path: "/api/v1/key", body: wire.KeyRequest{Environment: "x", Destination: "disk"}},
	}
	for path, methods := range openapi(t, s).Paths {
		for method := range methods {
			if method == "get" {
				for _, id := range []string{"shop", "d", sch.ID, backups[0].ID, "none"} {
					requests = append(requests, request{method: "GET", path: strings.ReplaceAll(path, "{id}", id)})
				}
			}
		}
	}
	for _, r := range requests {
		r.token = s.Admin
		resp := send(t, s, r)
		check(r.method+" "+r.path, resp.body)
		for name, values := range resp.header {
			check("header "+name+" of "+r.path, strings.Join(values, " "))
		}
	}
	check("the log", s.Log.String())
}
