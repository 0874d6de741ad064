package provider_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// R8 in real HCL: a bucket with object lock is applied and plans nothing more;
// one without is named at apply with what to do; half a lock is an error at its
// line; and a lock that outlasts the retention is a warning of the schedule's
// plan.
func TestObjectLockInTerraform(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	server := s3test.Start(t)
	d := daemontest.Start(t)
	config := func(bucket, lock string) string {
		return providerConfig(d.Endpoint, d.Token) + fmt.Sprintf(`
resource "envbackup_destination" "vault" {
  name = "vault"
  s3 = {
    bucket                       = %q
    region                       = %q
    endpoint                     = %q
    force_path_style             = true
    access_key_id                = %q
    secret_access_key_wo         = %q
    secret_access_key_wo_version = 1
    %s
  }
}
`, bucket, server.Region, server.Endpoint, server.AccessKey, server.SecretKey, lock)
	}
	head := "terraform {\n  required_providers {\n    envbackup = { source = \"envbackup/envbackup\" }\n  }\n}\n"
	locked, plain := server.Bucket(t, s3test.Locked()), server.Bucket(t)
	const lock = `object_lock_mode = "COMPLIANCE"
    object_lock_days = 30`
	w := newWorkspace(t, config(locked, lock))
	out := w.run(t, "apply", "-no-color", "-auto-approve")
	if strings.Contains(out, "Warning") {
		t.Errorf("apply warns:\n%s", out)
	}
	if out, err := w.try(t, "plan", "-no-color", "-detailed-exitcode"); err != nil {
		t.Errorf("the plan after apply is not empty: %v\n%s", err, out)
	}

	for _, tt := range []struct{ lock, says string }{
		{`object_lock_mode = "COMPLIANCE"`, "Object lock has no time"},
		{`object_lock_days = 30`, "Object lock has no mode"},
		{`object_lock_mode = "compliance"` + "\n" + `object_lock_days = 30`, "Invalid Attribute Value Match"},
		{`object_lock_mode = "COMPLIANCE"` + "\n" + `object_lock_days = 0`, "Invalid Attribute Value"},
	} {
		w.write(t, head+config(locked, tt.lock))
		if out, err := w.try(t, "validate", "-no-color"); err == nil || !strings.Contains(out, tt.says) || !strings.Contains(out, "object_lock_") {
			t.Errorf("%s: validate (%v) says:\n%s\nwant %q", tt.lock, err, out, tt.says)
		}
	}

	w.write(t, head+config(locked, lock)+fmt.Sprintf(`
resource "envbackup_environment" "shop" {
  name  = "shop"
  files = { app = { path = %q } }
}

resource "envbackup_schedule" "nightly" {
  name          = "nightly"
  environment   = envbackup_environment.shop.name
  destinations  = [envbackup_destination.vault.name]
  cron          = "30 2 * * *"
  retention     = { period = "14d" }
  run_on_create = false
}
`, filepath.Join(t.TempDir(), "source")))
	out = unwrapped(w.run(t, "plan", "-no-color"))
	for _, want := range []string{"Warning: Object lock outlasts the retention", `"vault" locks each for 30 days`, "object-lock-longer"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan does not say %q:\n%s", want, out)
		}
	}

	w.write(t, head+config(plain, lock))
	out = unwrapped(w.run(t, "apply", "-no-color", "-auto-approve"))
	for _, want := range []string{"Warning: Destination cannot be used yet", "was made without object lock", "object_lock_mode"} {
		if !strings.Contains(out, want) {
			t.Errorf("apply does not say %q:\n%s", want, out)
		}
	}
}
