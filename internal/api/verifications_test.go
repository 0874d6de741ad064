package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func TestVerifications(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 2, time.Now())
	made, resp := must[wire.Verification](t, s, request{method: "POST", path: "/api/v1/backups/" + backups[0].ID + "/verify", body: wire.VerifyRequest{Level: "restore"}})
	if resp.status != 202 || made.State != envbackup.RunQueued || made.Level != envbackup.VerifyRestore || made.BackupID != backups[0].ID ||
		made.Trigger != envbackup.TriggerManual || resp.header.Get("Location") != "/api/v1/verifications/"+made.ID {
		t.Errorf("made = %d %+v", resp.status, made)
	}
	plain, _ := must[wire.Verification](t, s, request{method: "POST", path: "/api/v1/backups/" + backups[1].ID + "/verify"})
	if plain.Level != envbackup.VerifyRead {
		t.Errorf("without a body = %+v, want level read", plain)
	}
	got, _ := must[wire.Verification](t, s, request{method: "GET", path: "/api/v1/verifications/" + made.ID})
	if got.ID != made.ID || got.Environment != "shop" {
		t.Errorf("got = %+v", got)
	}
	list, _ := must[wire.VerificationPage](t, s, request{method: "GET", path: "/api/v1/verifications?environment=shop&schedule=shop%2Fnightly&state=queued"})
	if len(list.Items) != 2 {
		t.Errorf("listed = %d, want 2", len(list.Items))
	}
	cancelled, _ := must[wire.Verification](t, s, request{method: "POST", path: "/api/v1/verifications/" + made.ID + "/cancel"})
	if cancelled.State != envbackup.RunCancelled {
		t.Errorf("cancelled = %+v", cancelled)
	}
	for what, tt := range map[string]struct {
		path string
		body any
		code envbackup.Code
	}{
		"a level that is none":  {"/api/v1/backups/" + backups[0].ID + "/verify", map[string]string{"level": "look"}, envbackup.CodeInvalid},
		"an unknown backup":     {"/api/v1/backups/bkp_none/verify", nil, envbackup.CodeNotFound},
		"cancelling what ended": {"/api/v1/verifications/" + made.ID + "/cancel", nil, envbackup.CodeConflict},
	} {
		if p := problemIn(t, send(t, s, request{method: "POST", path: tt.path, token: s.Operator, body: tt.body})); p.Code != tt.code {
			t.Errorf("%s = %+v, want %s", what, p, tt.code)
		}
	}
	audit, _ := must[wire.AuditPage](t, s, request{method: "GET", path: "/api/v1/audit"})
	var told []string
	for _, e := range audit.Items {
		told = append(told, e.Action+" "+e.Kind)
	}
	if text := strings.Join(told, ","); !strings.Contains(text, "cancel verification") || strings.Count(text, "verify backup") != 2 {
		t.Errorf("audit = %s", text)
	}
}

// S14: a schedule says when it was verified last; one whose newest verified
// backup is damaged says so until a newer one is verified.
func TestScheduleSaysWhatVerificationsFound(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	backups := addBackups(t, s, sch, 3, time.Now())
	show := func() wire.Schedule {
		t.Helper()
		got, _ := must[wire.Schedule](t, s, request{method: "GET", path: "/api/v1/schedules/" + sch.ID})
		list, _ := must[wire.SchedulePage](t, s, request{method: "GET", path: "/api/v1/schedules"})
		if len(list.Items) != 1 || list.Items[0].Health != got.Health || list.Items[0].HealthDetail != got.HealthDetail ||
			(list.Items[0].LastVerifiedAt == nil) != (got.LastVerifiedAt == nil) || list.Items[0].LastVerification != nil {
			t.Errorf("the list says %+v of %+v", list.Items, got)
		}
		return got
	}
	if got := show(); got.LastVerifiedAt != nil || got.LastVerification != nil || got.Health != "ok" {
		t.Errorf("never verified: %+v", got)
	}
	at := time.Now().UTC().Truncate(time.Millisecond)
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ok(s.Store.MarkVerified(t.Context(), backups[2].ID, at))
	v := envbackup.Verification{BackupID: backups[2].ID, ScheduleID: sch.ID, State: envbackup.RunSucceeded, MaxDuration: 2 * time.Hour}
	ok(s.Store.Tx(t.Context(), func(tx *store.Tx) error { return tx.InsertVerification(t.Context(), &v) }))
	if got := show(); got.LastVerifiedAt == nil || !got.LastVerifiedAt.Equal(at) || got.LastVerification.ID != v.ID || got.LastVerification.MaxDuration != "2h" || got.Health != "ok" {
		t.Errorf("verified: %+v", got)
	}
	ok(s.Store.SetStatus(t.Context(), backups[1].ID, envbackup.BackupDamaged))
	if got := show(); got.Health != "damaged" || !strings.Contains(got.HealthDetail, backups[1].ID) {
		t.Errorf("a damaged one: %s: %s", got.Health, got.HealthDetail)
	}
	s.Clock.Advance(100 * time.Hour)
	if got := show(); got.Health != "late" || !strings.Contains(got.HealthDetail, backups[1].ID) {
		t.Errorf("late and damaged: %s: %s", got.Health, got.HealthDetail)
	}
	s.Clock.Advance(-100 * time.Hour)
	ok(s.Store.MarkVerified(t.Context(), backups[0].ID, at))
	if got := show(); got.Health != "ok" {
		t.Errorf("a newer one is verified: %s: %s", got.Health, got.HealthDetail)
	}
}
