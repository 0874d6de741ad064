package e2e

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// Issue 4, item 5, as its users see it: bytes are flipped in a bucket of a real
// S3 server; the check names pack, backup and files, with the daemon and
// without it; the next backup heals; stock restic finds nothing wrong, and the
// damaged backup is complete again.
func TestCheckAndHealFromTheCommandLine(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.start()
	source := filepath.Join(t.TempDir(), "source")
	writeTree(t, source, 1)
	bucket, server := in.declare(t.Context(), source, retention.Spec{KeepLast: ptr(int64(5))})
	in.run("runs", "show", "latest", "--schedule", "shop/nightly", "--follow")
	var shown wire.Backup
	in.runJSON(&shown, "backups", "show", "latest", "--environment", "shop")
	in.extraEnv = append(in.extraEnv, server.Environ()...)
	repository := "s3:" + server.Endpoint + "/" + bucket + "/backups/shop"
	password := filepath.Join(t.TempDir(), "password")
	key := strings.TrimSpace(in.run("key", "show", "--environment", "shop", "--destination", "primary"))
	if err := os.WriteFile(password, []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := []string{"--environment", "shop", "--destination", "primary"}
	alone := []string{"--repository", repository, "--password-file", password, "--region", server.Region}
	for _, args := range [][]string{whole, alone} {
		for _, how := range [][]string{{"--structure"}, {"--share", "1/1"}, {"--read-data"}} {
			if out := in.run(append(append([]string{"check"}, args...), how...)...); !strings.Contains(out, "is clean") {
				t.Errorf("check %v %v says %q", args, how, out)
			}
		}
	}

	client := server.Client()
	var packs []string
	for _, key := range server.Keys(t, bucket, "backups/shop/data/") {
		object, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(object.Body)
		if err != nil {
			t.Fatal(err)
		}
		data[50] ^= 0x80
		if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)}); err != nil {
			t.Fatal(err)
		}
		packs = append(packs, filepath.Base(key)[:8])
	}
	for _, args := range [][]string{whole, alone} {
		r := in.try(append([]string{"check", "--read-data"}, args...)...)
		if r.code != 1 || !strings.Contains(r.stdout, "is damaged") || !strings.Contains(r.stdout, shown.SnapshotID[:8]) && !strings.Contains(r.stdout, shown.ID) {
			t.Errorf("check %v of what is damaged: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
		for _, pack := range packs {
			if !strings.Contains(r.stdout, pack) {
				t.Errorf("check %v does not name pack %s:\n%s", args, pack, r.stdout)
			}
		}
	}
	for _, args := range [][]string{whole, alone} {
		if out := in.run(append([]string{"repair", "--dry-run", "--read-data"}, args...)...); !strings.Contains(out, "would be listed no more") {
			t.Errorf("repair --dry-run %v says %q", args, out)
		}
	}
	if out := in.run("schedules", "list"); !strings.Contains(out, "(damaged): backup "+shown.ID) {
		t.Errorf("schedules list says %q", out)
	}

	in.run("schedules", "run", "shop/nightly", "--wait")
	in.run("runs", "show", "latest", "--schedule", "shop/nightly", "--follow")
	// The look at the damaged backup that the run asked for, or this one.
	in.run(append([]string{"check", "--read-data"}, whole...)...)
	var row wire.Backup
	in.runJSON(&row, "backups", "show", shown.ID)
	if row.Status != envbackup.BackupComplete {
		t.Errorf("the backup is %s after the next one, want complete", row.Status)
	}
	referee.New(t, repository, key, server.Environ()...).Check()

	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"of what":                  {[]string{"check"}, 2, "--environment and --destination"},
		"two ways at once":         {append([]string{"check", "--read-data", "--share", "1/2"}, whole...), 2, "write one of"},
		"a share that is none":     {append([]string{"check", "--share", "3/2"}, whole...), 2, "N/M"},
		"both kinds of repository": {append([]string{"repair", "--environment", "shop"}, alone...), 2, "no meaning with --repository"},
		"an unknown destination":   {[]string{"repair", "--environment", "shop", "--destination", "nowhere"}, 3, "nowhere"},
	} {
		if r := in.try(test.args...); r.code != test.code || !strings.Contains(r.stderr, test.says) {
			t.Errorf("%s: exit code %d, %q; want %d and %q", name, r.code, r.stderr, test.code, test.says)
		}
	}
}
