package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// S14 as its users see it: a backup in a bucket of a real S3 server is proven
// at both levels, a flipped byte in the bucket is found by both and named, the
// exit codes tell scripts, and mending the bucket mends the backup.
func TestVerifyFromTheCommandLine(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.start()
	source := filepath.Join(t.TempDir(), "source")
	writeTree(t, source, 1)
	bucket, server := in.declare(t.Context(), source, retention.Spec{KeepLast: ptr(int64(2))})
	in.run("runs", "show", "latest", "--schedule", "shop/nightly", "--follow")

	var shown wire.Backup
	in.runJSON(&shown, "backups", "show", "latest", "--environment", "shop")
	if shown.VerifiedAt != nil {
		t.Errorf("verified without a verification: %+v", shown)
	}
	for _, level := range envbackup.VerifyLevels() {
		if out := in.run("backups", "verify", "latest", "--environment", "shop", "--level", string(level)); !strings.Contains(out, shown.ID) || !strings.Contains(out, "is verified ("+string(level)+")") {
			t.Errorf("%s says %q", level, out)
		}
	}
	var v wire.Verification
	in.runJSON(&v, "backups", "verify", "latest", "--schedule", "shop/nightly", "--destination", "primary", "--json")
	if v.State != envbackup.RunSucceeded || v.BackupID != shown.ID || v.BytesDone != shown.Size {
		t.Errorf("as JSON: %+v", v)
	}
	if out := in.run("schedules", "list"); !strings.Contains(out, "VERIFIED") || !strings.Contains(out, "ago") {
		t.Errorf("schedules list says %q", out)
	}
	if out := in.run("backups", "list", "--verified", "-q"); strings.TrimSpace(out) != shown.ID {
		t.Errorf("verified backups: %q", out)
	}
	in.run("backups", "verify", shown.ID, "--no-wait")
	var list []wire.Verification
	in.runJSON(&list, "verifications", "list", "--backup", shown.ID, "--json")
	if len(list) != 4 {
		t.Errorf("%d verifications are listed, want 4", len(list))
	}

	client := server.Client()
	for _, key := range server.Keys(t, bucket, "backups/shop/data/") {
		object, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		whole, err := io.ReadAll(object.Body)
		if err != nil {
			t.Fatal(err)
		}
		write := func(data []byte) {
			t.Helper()
			if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)}); err != nil {
				t.Fatal(err)
			}
		}
		bad := bytes.Clone(whole)
		bad[50] ^= 0x80
		for _, level := range envbackup.VerifyLevels() {
			write(bad)
			r := in.try("backups", "verify", shown.ID, "--level", string(level))
			pack := filepath.Base(key)
			if r.code != 1 || !strings.Contains(r.stdout, "is damaged") || !strings.Contains(r.stdout, pack[:8]) || !strings.Contains(r.stdout, source[1:4]) || !strings.Contains(r.stdout, "envbackup repair --environment shop --destination ") {
				t.Errorf("%s of a damaged %s: exit code %d\n%s%s", level, pack, r.code, r.stdout, r.stderr)
			}
			var row wire.Backup
			in.runJSON(&row, "backups", "show", shown.ID)
			if row.Status != envbackup.BackupDamaged || row.VerifiedAt != nil {
				t.Errorf("the backup is %s, verified at %v", row.Status, row.VerifiedAt)
			}
			if out := in.run("schedules", "list"); !strings.Contains(out, "shop/nightly (damaged): backup "+shown.ID) {
				t.Errorf("schedules list says %q", out)
			}
			if r := in.try("backups", "verify", "latest", "--environment", "shop"); r.code != 3 {
				t.Errorf("no complete backup: exit code %d %s", r.code, r.stderr)
			}
			write(whole)
			in.run("backups", "verify", shown.ID)
		}
	}
	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"latest of what":       {[]string{"backups", "verify", "latest"}, 2, "--environment"},
		"a level that is none": {[]string{"backups", "verify", shown.ID, "--level", "look"}, 2, "neither read nor restore"},
		"an unknown backup":    {[]string{"backups", "verify", "bkp_none"}, 3, "bkp_none"},
		"nothing to show":      {[]string{"backups", "show", "latest", "--environment", "elsewhere"}, 3, "elsewhere"},
		"cancel what is over":  {[]string{"verifications", "cancel", v.ID}, 1, "is over"},
	} {
		if r := in.try(test.args...); r.code != test.code || !strings.Contains(r.stdout+r.stderr, test.says) {
			t.Errorf("%s: exit code %d, want %d: %s%s", name, r.code, test.code, r.stdout, r.stderr)
		}
	}

	// Slow enough to be cancelled.
	c := in.client()
	destination := must[wire.Destination](t)(c.Destination(t.Context(), "primary"))
	destination.BandwidthLimit = 50_000
	must[wire.Destination](t)(c.UpdateDestination(t.Context(), "primary", wire.DestinationInput{DestinationSpec: destination.DestinationSpec}, destination.Version))
	if err := json.Unmarshal([]byte(in.run("backups", "verify", shown.ID, "--level", "restore", "--no-wait", "--json")), &v); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("it goes on")
	if _, err := c.WatchVerification(t.Context(), v.ID, func(v wire.Verification) error {
		if v.State == envbackup.RunRunning {
			return enough
		}
		return nil
	}); !errors.Is(err, enough) {
		t.Fatalf("it is over before it is cancelled: %v", err)
	}
	in.run("verifications", "cancel", v.ID)
	if r := in.try("verifications", "show", v.ID, "--follow"); r.code != 1 || !strings.Contains(r.stdout, "cancelled by request") {
		t.Errorf("cancelled: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	var row wire.Backup
	in.runJSON(&row, "backups", "show", shown.ID)
	if row.Status != envbackup.BackupComplete || row.VerifiedAt == nil {
		t.Errorf("a cancelled verification leaves the backup %s, verified at %v", row.Status, row.VerifiedAt)
	}
	if code := in.terminate(); code != 0 {
		t.Errorf("SIGTERM ended the daemon with exit code %d, want 0", code)
	}
	if left, _ := os.ReadDir(filepath.Join(in.dir, "scratch")); len(left) > 0 {
		t.Logf("the stop left %d directories to the next start", len(left))
	}
}
