package e2e

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// client connects to the installation's daemon.
func (in *installation) client() *client.Client {
	in.t.Helper()
	token, err := os.ReadFile(filepath.Join(in.dir, "admin.token"))
	if err != nil {
		in.t.Fatal(err)
	}
	c, err := client.New(client.Config{Endpoint: in.endpoint, Token: secret.New(strings.TrimSpace(string(token)))})
	if err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(c.Close)
	return c
}

// must fails the test on an error of a call that returns a value.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// declare makes the environment "shop" over source, a destination in a fresh
// bucket of a real S3 server, and the schedule "shop/nightly", which runs once
// on creation and then, as far as the test is concerned, never.
func (in *installation) declare(ctx context.Context, source string, policy retention.Spec) (bucket string, server *s3test.Server) {
	t := in.t
	t.Helper()
	server = s3test.Start(t)
	bucket = server.Bucket(t)
	c := in.client()
	must[wire.Environment](t)(c.CreateEnvironment(ctx, wire.EnvironmentInput{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: "shop", Files: map[string]envbackup.FilesSource{"app": {Path: source, Exclude: []string{"*.tmp"}}},
	}}))
	key := server.SecretKey
	destination := must[wire.Destination](t)(c.CreateDestination(ctx, wire.DestinationInput{
		DestinationSpec: envbackup.DestinationSpec{Name: "primary", S3: &envbackup.S3Place{
			Bucket: bucket, Prefix: "backups", Region: server.Region, Endpoint: server.Endpoint, ForcePathStyle: true, AccessKeyID: server.AccessKey,
		}},
		SecretAccessKey: &key, SecretAccessKeyVersion: 1,
	}))
	if envbackup.HasError(destination.Findings) {
		t.Fatalf("the destination has findings: %+v", destination.Findings)
	}
	must[wire.Schedule](t)(c.CreateSchedule(ctx, wire.ScheduleInput{ScheduleSpec: envbackup.ScheduleSpec{
		Name: "nightly", Environment: "shop", Destinations: []string{"primary"}, Cron: "0 3 1 1 *", Retention: policy,
	}}))
	return bucket, server
}

func TestMainJobFromTheCommandLine(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.start()
	source := filepath.Join(t.TempDir(), "source")
	writeTree(t, source, 1)
	if err := os.WriteFile(filepath.Join(source, "scratch.tmp"), []byte("excluded"), 0o644); err != nil {
		t.Fatal(err)
	}
	bucket, server := in.declare(t.Context(), source, retention.Spec{KeepLast: ptr(int64(2))})

	// run_on_create took the first backup; two more by hand after changes.
	in.run("runs", "show", "latest", "--schedule", "shop/nightly", "--follow")
	for generation := 2; generation <= 3; generation++ {
		writeTree(t, source, generation)
		in.run("schedules", "run", "shop/nightly", "--wait")
	}
	var backups []wire.Backup
	in.runJSON(&backups, "backups", "list", "--environment", "shop")
	if len(backups) != 3 {
		t.Fatalf("%d backups are listed, want 3 (manual ones do not displace the slot's): %+v", len(backups), backups)
	}
	for _, b := range backups {
		if !b.Kept || len(b.KeptBecause) == 0 {
			t.Errorf("backup %s has no reason why it is kept: %+v", b.ID, b)
		}
	}

	t.Run("restore through the daemon is identical and refuses a full directory", func(t *testing.T) {
		target := filepath.Join(t.TempDir(), "restored")
		in.run("restore", "latest", "--environment", "shop", "--target", target)
		differences := must[[]string](t)(referee.DiffTrees(source, filepath.Join(target, source)))
		if len(differences) != 1 || !strings.Contains(differences[0], "scratch.tmp") {
			t.Errorf("the restored tree differs from the source in more than the excluded file: %q", differences)
		}
		if r := in.try("restore", "latest", "--environment", "shop", "--target", target); r.code == 0 {
			t.Error("a second restore into the same directory was not refused")
		} else if !strings.Contains(r.stderr+r.stdout, "--overwrite") {
			t.Errorf("the refusal does not name --overwrite: %s%s", r.stdout, r.stderr)
		}
		in.run("restore", "latest", "--environment", "shop", "--target", target, "--overwrite")
	})

	var key wire.Key
	in.runJSON(&key, "key", "show", "--environment", "shop", "--destination", "primary")
	if got := strings.TrimSpace(in.run("key", "show", "--environment", "shop", "--destination", "primary")); got != key.Password {
		t.Errorf("key show prints %q, want the password and nothing else", got)
	}
	if want := server.ResticURL(bucket, "backups/shop"); key.Repository != want {
		t.Errorf("the repository's address is %s, want %s", key.Repository, want)
	}

	t.Run("restore without the daemon", func(t *testing.T) {
		passwordFile := filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(passwordFile, []byte(key.Password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		target := filepath.Join(t.TempDir(), "restored")
		in.extraEnv = append(in.extraEnv, server.Environ()...)
		in.run("restore", "latest", "--repository", key.Repository, "--password-file", passwordFile, "--target", target, "--include", "stable/**")
		referee.CompareTrees(t, filepath.Join(source, "stable"), filepath.Join(target, source, "stable"))
		if _, err := os.Stat(filepath.Join(target, source, "big.bin")); !os.IsNotExist(err) {
			t.Errorf("a file that was not included was restored (%v)", err)
		}
	})

	t.Run("stock restic finds the repository clean", func(t *testing.T) {
		restic := referee.New(t, key.Repository, key.Password, server.Environ()...)
		restic.Check()
		if snapshots := restic.Snapshots(); len(snapshots) != 3 {
			t.Errorf("restic lists %d snapshots, want 3", len(snapshots))
		}
	})

	if code := in.terminate(); code != 0 {
		t.Errorf("SIGTERM ended the daemon with exit code %d, want 0", code)
	}
}

func TestExitCodesAndMessages(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.start()

	for name, test := range map[string]struct {
		args []string
		code int
		says string
	}{
		"cron next prints instants in the zone": {[]string{"cron", "next", "--count", "2", "--timezone", "Europe/Berlin", "--after", "2026-03-28T00:00:00Z", "30 2 * * *"}, 0, "2026-03-28T02:30:00+01:00\n2026-03-29T03:00:00+02:00\n"},
		"cron next prints UTC as Z":             {[]string{"cron", "next", "--count", "1", "--after", "2026-03-28T00:00:00Z", "30 2 * * *"}, 0, "2026-03-28T02:30:00Z\n"},
		"wrong cron is invalid input":           {[]string{"cron", "next", "61 * * * *"}, 2, "61 is out of range 0-59"},
		"unknown zone names the nearest":        {[]string{"cron", "next", "--timezone", "Europe/Berlni", "0 0 * * *"}, 2, "Europe/Berlin"},
		"unknown command":                       {[]string{"bakcups"}, 2, "--help"},
		"missing argument":                      {[]string{"schedules", "run"}, 2, "--help"},
		"unknown flag":                          {[]string{"backups", "list", "--colour"}, 2, "--colour"},
		"unknown schedule is not found":         {[]string{"schedules", "run", "shop/nightly"}, 3, "shop/nightly"},
		"unknown backup is not found":           {[]string{"backups", "show", "bkp_absent"}, 3, "bkp_absent"},
		"wrong token is not allowed":            {[]string{"runs", "list", "--token-file", writeFile(t, "wrong-token\n")}, 4, "admin.token"},
		"no daemon is unreachable":              {[]string{"runs", "list", "--endpoint", "http://127.0.0.1:1"}, 5, "http://127.0.0.1:1"},
		"empty list is no failure":              {[]string{"backups", "list"}, 0, "BACKUP"},
	} {
		t.Run(name, func(t *testing.T) {
			r := in.try(test.args...)
			if r.code != test.code || !strings.Contains(r.stdout+r.stderr, test.says) {
				t.Errorf("envbackup %s: exit code %d, want %d; it says\n%s%s\nwant %q in it", strings.Join(test.args, " "), r.code, test.code, r.stdout, r.stderr, test.says)
			}
		})
	}

	t.Run("cron explain --json", func(t *testing.T) {
		for expression, want := range map[string]string{
			"@daily":     `{"valid":true,"canonical":"0 0 * * *"`,
			"61 * * * *": `{"valid":false,"error":{"field":1,"value":"61","message":`,
			"* * * *":    `{"valid":false,"error":{"field":0,"value":`,
		} {
			r := in.try("cron", "explain", "--json", expression)
			var compact strings.Builder
			if err := compactJSON(&compact, r.stdout); err != nil {
				t.Fatalf("%q: %v in %q", expression, err, r.stdout)
			}
			wantCode := 0
			if strings.Contains(want, "false") {
				wantCode = 2
			}
			if !strings.HasPrefix(compact.String(), want) || r.code != wantCode {
				t.Errorf("explain %q: exit code %d and %s, want %s...", expression, r.code, compact.String(), want)
			}
			if r.code == 0 && !strings.Contains(compact.String(), `"warnings":[`) {
				t.Errorf("explain %q has no list of warnings: %s", expression, compact.String())
			}
		}
	})
}

func TestSecondDaemonOnOneDataDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.start()
	r := in.try("daemon", "--dev", "--data-dir", in.dir, "--listen", "127.0.0.1:0")
	if r.code == 0 {
		t.Fatal("a second daemon started on the same data directory")
	}
	if pid := strconv.Itoa(in.cmd.Process.Pid); !strings.Contains(r.stderr, pid) {
		t.Errorf("the refusal does not name the pid %s of the first daemon: %s", pid, r.stderr)
	}
}

func ptr[T any](v T) *T { return &v }

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func compactJSON(w *strings.Builder, text string) error {
	var value json.RawMessage
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return err
	}
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		w.WriteString(strings.Replace(line, `": `, `":`, 1))
	}
	return nil
}
