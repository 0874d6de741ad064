package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func TestEnvironmentLifecycle(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	in := environment("shop")
	in.Owner, in.Worker = "shop-infra", "db1"
	if _, err := s.Store.Heartbeat(t.Context(), "node-1", "db1"); err != nil {
		t.Fatal(err)
	}
	made, resp := must[wire.Environment](t, s, request{method: "POST", path: "/api/v1/environments", body: in})
	if resp.status != 201 || resp.header.Get("ETag") != `"1"` || resp.header.Get("Location") != "/api/v1/environments/"+made.ID {
		t.Errorf("create = %d, ETag %q, Location %q", resp.status, resp.header.Get("ETag"), resp.header.Get("Location"))
	}
	for _, key := range []string{"shop", made.ID} {
		got, resp := must[wire.Environment](t, s, request{method: "GET", path: "/api/v1/environments/" + key})
		if diff := cmp.Diff(made, got); diff != "" || resp.header.Get("ETag") != `"1"` {
			t.Errorf("read by %s differs (-made +read), ETag %q:\n%s", key, resp.header.Get("ETag"), diff)
		}
	}
	in.Files["db"] = envbackup.FilesSource{Path: "/srv/db"}
	changed, resp := must[wire.Environment](t, s, request{
		method: "PUT", path: "/api/v1/environments/shop", body: in, header: map[string]string{"If-Match": `"1"`},
	})
	if changed.ID != made.ID || changed.Version != 2 || resp.header.Get("ETag") != `"2"` || len(changed.Files) != 2 {
		t.Errorf("update = %+v, ETag %q", changed, resp.header.Get("ETag"))
	}
	in.Name = "store"
	p := problemIn(t, send(t, s, request{method: "PUT", path: "/api/v1/environments/shop", body: in, token: s.Operator}))
	if p.Status != 422 || p.Findings[0].Path != "name" {
		t.Errorf("a new name = %+v, want a finding at name", p)
	}
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/environments/shop", header: map[string]string{"If-Match": `"2"`}})
	if got := send(t, s, request{method: "GET", path: "/api/v1/environments/shop", token: s.Viewer}).status; got != 404 {
		t.Errorf("after deletion = %d, want 404", got)
	}
}

func TestEnvironmentFindings(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	in := wire.EnvironmentInput{EnvironmentSpec: envbackup.EnvironmentSpec{Name: "Shop", Files: map[string]envbackup.FilesSource{
		"a":   {Path: "srv/a"},
		"b":   {Path: "/srv/../etc"},
		"c":   {Path: "", Exclude: []string{"ok", "[a"}},
		"D d": {Path: "/srv/d"},
	}}}
	p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/environments", token: s.Operator, body: in}))
	var got []string
	for _, f := range p.Findings {
		got = append(got, f.Path+": "+f.Summary)
	}
	want := []string{
		"name: Invalid name",
		`files["D d"]: Invalid name`,
		`files["a"].path: Invalid path`,
		`files["b"].path: Invalid path`,
		`files["c"].path: Invalid path`,
		`files["c"].exclude[1]: Invalid exclude pattern`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
	if !strings.Contains(p.Findings[3].Detail, `"/etc"`) {
		t.Errorf("detail %q does not say what to write instead", p.Findings[3].Detail)
	}
}

// What a plan says about an environment is what apply says, but for a worker
// that may be there by then: that one is an error at apply.
func TestEnvironmentPreflight(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t, func(d *api.Deps) {
		d.AllowRead = func(path string) error {
			if strings.HasPrefix(path, "/srv/") {
				return nil
			}
			return &envbackup.Error{Code: envbackup.CodeNotAllowed, Message: "the daemon's operator does not allow it to back up " + path, Hint: "Add to the daemon's configuration file: allow_read: [" + path + "]"}
		}
	})
	spec := func(worker, path string) envbackup.EnvironmentSpec {
		return envbackup.EnvironmentSpec{Name: "shop", Worker: worker, Files: map[string]envbackup.FilesSource{"app": {Path: path}}}
	}
	forbidden := envbackup.Finding{
		Severity: envbackup.SeverityError, Path: `files["app"].path`, Summary: "Path is not allowed",
		Detail: "The daemon's operator does not allow it to back up /etc. Add to the daemon's configuration file: allow_read: [/etc]",
	}
	unknown := envbackup.Finding{
		Severity: envbackup.SeverityError, Path: "worker", Summary: "Worker does not exist",
		Detail: `No daemon named "test-walker" works here; the only one is "test-worker". Did you mean "test-worker"? Leave worker out to let any of them ` +
			`read the environment, or first start a daemon on the same database with --worker test-walker.`,
	}
	warned := unknown
	warned.Severity, warned.Rule, warned.Detail = envbackup.SeverityWarning, "not-found", unknown.Detail+" Apply refuses it as long as it is not there."
	for name, tt := range map[string]struct {
		spec        envbackup.EnvironmentSpec
		plan, apply []envbackup.Finding
	}{
		"nothing to say":              {spec("", "/srv/shop"), nil, nil},
		"this daemon's own name":      {spec("test-worker", "/srv/shop"), nil, nil},
		"a forbidden path":            {spec("", "/etc"), []envbackup.Finding{forbidden}, []envbackup.Finding{forbidden}},
		"an unknown worker":           {spec("test-walker", "/srv/shop"), []envbackup.Finding{warned}, []envbackup.Finding{unknown}},
		"another worker's allow-list": {spec("test-walker", "/etc"), []envbackup.Finding{warned}, []envbackup.Finding{unknown}},
	} {
		planned, _ := must[wire.Findings](t, s, request{method: "POST", path: "/api/v1/environments/preflight", token: s.Viewer, body: wire.EnvironmentPreflight{Environment: tt.spec}})
		if diff := cmp.Diff(tt.plan, planned.Findings, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: at plan (-want +got):\n%s", name, diff)
		}
		if tt.apply == nil {
			continue
		}
		p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/environments", token: s.Operator, body: wire.EnvironmentInput{EnvironmentSpec: tt.spec}}))
		if diff := cmp.Diff(tt.apply, p.Findings); p.Status != 422 || diff != "" {
			t.Errorf("%s: at apply %d (-want +got):\n%s", name, p.Status, diff)
		}
	}

	// A worker that was accepted and is down now does not stand in the way.
	if _, err := s.Store.Heartbeat(t.Context(), "node-1", "db1"); err != nil {
		t.Fatal(err)
	}
	made, _ := must[wire.Environment](t, s, request{method: "POST", path: "/api/v1/environments", body: wire.EnvironmentInput{EnvironmentSpec: spec("db1", "/srv/shop")}})
	if err := s.Store.StopNode(t.Context(), "node-1"); err != nil {
		t.Fatal(err)
	}
	changed := spec("db1", "/srv/other")
	planned, _ := must[wire.Findings](t, s, request{method: "POST", path: "/api/v1/environments/preflight", body: wire.EnvironmentPreflight{ID: made.ID, Environment: changed}})
	if len(planned.Findings) != 0 {
		t.Errorf("a change of what is pinned to a worker that is down: %+v", planned.Findings)
	}
	must[wire.Environment](t, s, request{method: "PUT", path: "/api/v1/environments/shop", body: wire.EnvironmentInput{EnvironmentSpec: changed}})
}

// An endpoint that the operator does not allow is an error at plan and apply.
func TestEndpointOutsideTheAllowList(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t, func(d *api.Deps) {
		d.AllowEndpoint = func(endpoint string) error {
			return &envbackup.Error{Code: envbackup.CodeNotAllowed, Message: "the daemon's operator does not allow the endpoint " + endpoint, Hint: "Add it."}
		}
	})
	in := bucket(envbackup.S3Place{Bucket: "b", Endpoint: "https://other:9000"}, nil)
	planned, _ := must[wire.Findings](t, s, request{method: "POST", path: "/api/v1/destinations/preflight", token: s.Viewer, body: wire.DestinationPreflight{Destination: in.DestinationSpec}})
	p := problemIn(t, send(t, s, request{method: "POST", path: "/api/v1/destinations", token: s.Operator, body: in}))
	if diff := cmp.Diff(planned.Findings, p.Findings); diff != "" || len(p.Findings) != 1 || p.Findings[0].Path != "s3.endpoint" {
		t.Errorf("at apply %+v; against the plan (-plan +apply):\n%s", p.Findings, diff)
	}
}

func TestDestinationFindings(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	key := "k"
	tests := map[string]struct {
		in   wire.DestinationInput
		path string
	}{
		"no place":                   {wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{Name: "d"}}, ""},
		"two places":                 {wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{Name: "d", S3: &envbackup.S3Place{Bucket: "b"}, Local: &envbackup.LocalPlace{Path: "/x"}}}, ""},
		"a relative directory":       {wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{Name: "d", Local: &envbackup.LocalPlace{Path: "x"}}}, "local.path"},
		"a bucket with a slash":      {bucket(envbackup.S3Place{Bucket: "b/p"}, nil), "s3.bucket"},
		"a prefix with slashes":      {bucket(envbackup.S3Place{Bucket: "b", Prefix: "/p/"}, nil), "s3.prefix"},
		"an endpoint with a path":    {bucket(envbackup.S3Place{Bucket: "b", Endpoint: "https://h/b"}, nil), "s3.endpoint"},
		"an endpoint with a user":    {bucket(envbackup.S3Place{Bucket: "b", Endpoint: "https://PLANTED:PLANTED@h"}, nil), "s3.endpoint"},
		"an access key alone":        {bucket(envbackup.S3Place{Bucket: "b", AccessKeyID: "AK"}, nil), "s3.access_key_id"},
		"a class to wait for":        {bucket(envbackup.S3Place{Bucket: "b", StorageClass: "deep_archive"}, nil), "s3.storage_class"},
		"an unknown encryption":      {bucket(envbackup.S3Place{Bucket: "b", ServerSideEncryption: "rot13"}, nil), "s3.server_side_encryption"},
		"two kinds of encryption":    {bucket(envbackup.S3Place{Bucket: "b", ServerSideEncryption: "AES256", SSEKMSKeyID: "k"}, nil), "s3.server_side_encryption"},
		"a secret alone":             {bucket(envbackup.S3Place{Bucket: "b"}, &key), "s3.access_key_id"},
		"an unknown way of checking": {wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{Name: "d", Local: &envbackup.LocalPlace{Path: "/x"}, VerifyWrites: "maybe"}}, "verify_writes"},
		"a negative bandwidth":       {wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{Name: "d", Local: &envbackup.LocalPlace{Path: "/x"}, BandwidthLimit: -1}}, "bandwidth_limit"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp := send(t, s, request{method: "POST", path: "/api/v1/destinations", token: s.Operator, body: tt.in})
			p := problemIn(t, resp)
			if p.Status != 422 || len(p.Findings) != 1 || p.Findings[0].Path != tt.path {
				t.Errorf("answer = %s, want one finding at %q", resp.body, tt.path)
			}
			if strings.Contains(resp.body, "PLANTED") {
				t.Errorf("the answer repeats a password: %s", resp.body)
			}
		})
	}
}

func bucket(p envbackup.S3Place, secretKey *string) wire.DestinationInput {
	return wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{Name: "d", S3: &p}, SecretAccessKey: secretKey, SecretAccessKeyVersion: 1}
}

// An absent secret keeps the stored one, an empty one removes it, and none is
// ever shown.
func TestDestinationSecrets(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	planted, recovery, none := "PLANTED-secret-key", "PLANTED-recovery", ""
	in := bucket(envbackup.S3Place{Bucket: "b", AccessKeyID: "AK"}, &planted)
	in.RecoveryPassword, in.RecoveryPasswordVer = &recovery, 3
	made, resp := must[wire.Destination](t, s, request{method: "POST", path: "/api/v1/destinations", body: in})
	if !made.SecretAccessKeySet || made.SecretAccessKeyVersion != 1 || !made.RecoveryPasswordSet || made.RecoveryPasswordVer != 3 {
		t.Errorf("made = %+v, want both secrets set", made)
	}
	stored, err := s.Store.Destination(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}

	in.SecretAccessKey, in.RecoveryPassword, in.SecretAccessKeyVersion, in.BandwidthLimit = nil, nil, 9, 5
	kept, again := must[wire.Destination](t, s, request{method: "PUT", path: "/api/v1/destinations/d", body: in})
	after, err := s.Store.Destination(t.Context(), "d")
	if err != nil {
		t.Fatal(err)
	}
	if string(after.SealedSecretKey) != string(stored.SealedSecretKey) || kept.SecretAccessKeyVersion != 1 || kept.BandwidthLimit != 5 {
		t.Errorf("an absent secret changed the stored one, or its version: %+v", kept)
	}
	in.RecoveryPassword = &none
	removed, third := must[wire.Destination](t, s, request{method: "PUT", path: "/api/v1/destinations/d", body: in})
	if removed.RecoveryPasswordSet || removed.RecoveryPasswordVer != 0 || !removed.SecretAccessKeySet {
		t.Errorf("after removing the recovery password: %+v", removed)
	}
	for _, body := range []string{resp.body, again.body, third.body, s.Log.String()} {
		if strings.Contains(body, "PLANTED") {
			t.Errorf("a secret came back: %s", body)
		}
	}
}

// A destination that cannot be reached is stored and says so at once.
func TestDestinationIsProbed(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	warning := envbackup.Finding{Severity: envbackup.SeverityWarning, Path: "s3.bucket", Summary: "Bucket does not exist", Detail: "Create it."}
	s.Vault.Unreachable(warning)
	made, _ := must[wire.Destination](t, s, request{method: "POST", path: "/api/v1/destinations", body: bucket(envbackup.S3Place{Bucket: "b"}, nil)})
	if diff := cmp.Diff([]envbackup.Finding{warning}, made.Findings); diff != "" {
		t.Errorf("findings of the creation (-want +got):\n%s", diff)
	}
	to := bucket(envbackup.S3Place{Bucket: "c"}, nil)
	ask := request{method: "POST", path: "/api/v1/destinations/preflight", token: s.Viewer, body: wire.DestinationPreflight{ID: made.ID, Destination: to.DestinationSpec}}
	if planned, _ := must[wire.Findings](t, s, ask); len(planned.Findings) != 0 {
		t.Errorf("findings of a move that leaves nothing behind = %+v", planned.Findings)
	}
	if err := s.Store.AddBackup(t.Context(), &envbackup.Backup{
		SnapshotID: snapshotID(1), DestinationID: made.ID, Destination: "d", Status: envbackup.BackupComplete, Nominal: time.Now(),
	}); err != nil {
		t.Fatal(err)
	}
	planned, _ := must[wire.Findings](t, s, ask)
	moved, _ := must[wire.Destination](t, s, request{method: "PUT", path: "/api/v1/destinations/d", body: to})
	want := envbackup.Finding{
		Severity: envbackup.SeverityWarning, Rule: "destination-moved", Path: "s3", Summary: "Destination moves",
		Detail: `Backups of "d" have gone to s3:b and go to s3:c from now on. The one backup at the old place stays there and in the lists, as detached, ` +
			`but this daemon no longer restores, verifies or prunes there. To take everything along, copy what lies below the old place to the new one before you apply.`,
	}
	if diff := cmp.Diff([]envbackup.Finding{want}, planned.Findings); diff != "" {
		t.Errorf("findings of a planned move (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]envbackup.Finding{want, warning}, moved.Findings); diff != "" {
		t.Errorf("findings of the move (-want +got):\n%s", diff)
	}
	if got := s.Vault.Probed(); len(got) != 2 {
		t.Errorf("probed %v, want once at the creation and once at the update", got)
	}
	read, _ := must[wire.Destination](t, s, request{method: "GET", path: "/api/v1/destinations/d"})
	if len(read.Findings) != 0 {
		t.Errorf("reading probes: %+v", read.Findings)
	}
}

func TestPaging(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	var want []string
	for i := range 7 {
		name := fmt.Sprintf("env-%d", i)
		want = append(want, name)
		must[wire.Environment](t, s, request{method: "POST", path: "/api/v1/environments", body: environment(name)})
	}
	var got []string
	path, pages := "/api/v1/environments?limit=3", 0
	for cursor := ""; pages == 0 || cursor != ""; pages++ {
		page, _ := must[wire.EnvironmentPage](t, s, request{method: "GET", path: path + "&cursor=" + cursor})
		for _, e := range page.Items {
			got = append(got, e.Name)
		}
		cursor = page.Cursor
	}
	if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
		t.Errorf("%d pages (-want +got):\n%s", pages, diff)
	}
	empty, resp := must[wire.DestinationPage](t, s, request{method: "GET", path: "/api/v1/destinations"})
	if len(empty.Items) != 0 || !strings.Contains(resp.body, `"items":[]`) {
		t.Errorf("an empty page = %s, want an empty list, never null", resp.body)
	}
}

func TestScheduleLifecycle(t *testing.T) {
	t.Parallel()
	s, made := shop(t)
	if made.Summary == "" || made.WorstCaseGap != "25h" || made.MaxBackups == 0 || made.Health != "new" {
		t.Errorf("made = %+v, want the forecast and health new", made)
	}
	for _, key := range []string{made.ID, "shop%2Fnightly"} {
		got, _ := must[wire.Schedule](t, s, request{method: "GET", path: "/api/v1/schedules/" + key})
		if diff := cmp.Diff(made, got, cmpopts.IgnoreFields(wire.Schedule{}, "Findings")); diff != "" {
			t.Errorf("read by %s differs (-made +read):\n%s", key, diff)
		}
	}
	in := schedule("weekly", "shop", "disk")
	in.Cron = "0 3 * * 0"
	changed, resp := must[wire.Schedule](t, s, request{
		method: "PUT", path: "/api/v1/schedules/shop%2Fnightly", body: in, header: map[string]string{"If-Match": `"1"`},
	})
	if changed.ID != made.ID || changed.Name != "weekly" || changed.Version != 2 || resp.header.Get("ETag") != `"2"` ||
		changed.Summary == made.Summary {
		t.Errorf("update = %+v, want the new name and a new forecast under the same id", changed)
	}
	must[wire.Environment](t, s, request{method: "POST", path: "/api/v1/environments", body: environment("store")})
	in.Environment = "store"
	p := problemIn(t, send(t, s, request{method: "PUT", path: "/api/v1/schedules/" + made.ID, token: s.Operator, body: in}))
	if p.Status != 422 || p.Findings[len(p.Findings)-1].Path != "environment" && p.Findings[0].Path != "environment" {
		t.Errorf("another environment = %+v, want a finding at environment", p)
	}
	paused, _ := must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules/" + made.ID + "/pause"})
	again, _ := must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules/" + made.ID + "/pause"})
	if !paused.Paused || paused.Health != "paused" || again.Version != paused.Version {
		t.Errorf("paused = %+v, again version %d: want paused, and nothing the second time", paused, again.Version)
	}
	resumed, _ := must[wire.Schedule](t, s, request{method: "POST", path: "/api/v1/schedules/" + made.ID + "/resume"})
	if resumed.Paused {
		t.Error("resume left it paused")
	}
	must[struct{}](t, s, request{method: "DELETE", path: "/api/v1/schedules/" + made.ID})
	list, _ := must[wire.SchedulePage](t, s, request{method: "GET", path: "/api/v1/schedules?environment=shop"})
	if len(list.Items) != 0 {
		t.Errorf("after deletion = %+v", list.Items)
	}
}
