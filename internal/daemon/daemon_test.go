package daemon_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// fill makes a source tree.
func fill(t *testing.T, dir string, files int) {
	t.Helper()
	for i := range files {
		path := filepath.Join(dir, strconv.Itoa(i%7), "file-"+strconv.Itoa(i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.Repeat(strconv.Itoa(i), 1000)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// declare makes the environment "shop" over dir and its schedule "nightly" to
// the destination that --dev offers.
func declare(t *testing.T, c *client.Client, dir string, change ...func(*wire.ScheduleInput)) wire.Schedule {
	t.Helper()
	_, err := c.CreateEnvironment(t.Context(), wire.EnvironmentInput{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: "shop", Files: map[string]envbackup.FilesSource{"app": {Path: dir}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	in := wire.ScheduleInput{ScheduleSpec: envbackup.ScheduleSpec{
		Name: "nightly", Environment: "shop", Destinations: []string{"local"}, Cron: "30 2 * * *",
		Retention: retention.Spec{Period: "30d"},
	}}
	for _, f := range change {
		f(&in)
	}
	s, err := c.CreateSchedule(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// finished waits for the newest run of the schedule and wants it in a state.
func finished(t *testing.T, c *client.Client, want envbackup.RunState) wire.Run {
	t.Helper()
	page, err := c.Runs(t.Context(), wire.RunsQuery{Schedule: "shop/nightly"})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Items) == 0 {
		t.Fatal("there is no run")
	}
	run, err := c.WatchRun(t.Context(), page.Items[0].ID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if run.State != want {
		t.Fatalf("the run ended %s, want %s: %+v", run.State, want, run.Failure)
	}
	return run
}

// --dev takes a person from nothing to a restored backup with no bucket and no
// configuration; stock restic opens the repository with the key it shows.
func TestDevDaemonFromNothingToARestore(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	source := filepath.Join(t.TempDir(), "source")
	fill(t, source, 50)
	declare(t, d.Client, source)
	run := finished(t, d.Client, envbackup.RunSucceeded)
	if run.Trigger != envbackup.TriggerCreate {
		t.Errorf("the first run's trigger is %s, want create (S11)", run.Trigger)
	}

	page, err := d.Client.Backups(t.Context(), wire.BackupsQuery{Environment: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	if page.Total != 1 || page.Items[0].Status != envbackup.BackupComplete || page.Items[0].Files != 50 {
		t.Fatalf("got backups %+v, want one complete one of 50 files", page)
	}
	target := filepath.Join(t.TempDir(), "target")
	restore, err := d.Client.CreateRestore(t.Context(), wire.RestoreRequest{Backup: "latest", Environment: "shop", Target: target})
	if err != nil {
		t.Fatal(err)
	}
	restore, err = d.Client.WatchRestore(t.Context(), restore.ID, nil)
	if err != nil || restore.State != envbackup.RunSucceeded {
		t.Fatalf("the restore ended %s: %v %+v", restore.State, err, restore.Failure)
	}
	referee.CompareTrees(t, source, filepath.Join(target, source))

	key, err := d.Client.Key(t.Context(), "shop", "local")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(d.Dir, "destinations", "local", "shop"); key.Repository != want {
		t.Errorf("the repository lies at %s, want %s", key.Repository, want)
	}
	referee.New(t, key.Repository, key.Password).Check()

	metrics := get(t, d, "/metrics")
	for _, want := range []string{
		`envbackup_runs{state="queued"} 0`, `envbackup_attempts_total{kind="run",result="succeeded"} 1`,
		`envbackup_attempts_total{kind="restore",result="succeeded"} 1`,
		`envbackup_last_good_backup_timestamp_seconds{environment="shop",schedule="nightly"}`,
		`envbackup_next_run_timestamp_seconds{environment="shop",schedule="nightly"}`,
		`envbackup_backups{destination="local",environment="shop"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if ready := get(t, d, "/readyz"); !strings.Contains(ready, `"ready":true`) {
		t.Errorf("/readyz says %s", ready)
	}
}

// get asks with the admin's token.
func get(t *testing.T, d *daemontest.Daemon, path string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.Endpoint+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+d.Token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Everything of a daemon is still there after a restart: the token, the key,
// the backups.
func TestARestartLosesNothing(t *testing.T) {
	t.Parallel()
	source := filepath.Join(t.TempDir(), "source")
	fill(t, source, 5)
	first := daemontest.Start(t)
	declare(t, first.Client, source)
	finished(t, first.Client, envbackup.RunSucceeded)
	first.Stop(t)

	second := daemontest.Start(t, daemontest.InDir(first.Dir))
	if second.Token != first.Token {
		t.Error("the admin's token changed")
	}
	if _, err := second.Client.RunSchedule(t.Context(), "shop/nightly", false); err != nil {
		t.Fatal(err)
	}
	finished(t, second.Client, envbackup.RunSucceeded)
	page, err := second.Client.Backups(t.Context(), wire.BackupsQuery{Environment: "shop"})
	if err != nil || page.Total != 2 {
		t.Errorf("%d backups (%v), want 2", page.Total, err)
	}
	for name, mode := range map[string]os.FileMode{"admin.token": 0o600, "master.key": 0o600, "state.db": 0o600, "daemon.pid": 0o600} {
		info, err := os.Stat(filepath.Join(first.Dir, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v (%v), want mode %v", name, info, err, mode)
		}
	}
}

func TestASecondDaemonOnTheDirectoryIsRefused(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	c := daemon.Default()
	c.Dev, c.DataDir, c.Listen, c.Stdout, c.Stderr = true, d.Dir, "127.0.0.1:0", io.Discard, io.Discard
	err := daemon.Run(t.Context(), c)
	if envbackup.CodeOf(err) != envbackup.CodeConflict || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v, want a refusal with the process id of the first", err)
	}
}

// Without --dev nothing may be read or restored to until the operator says so.
func TestTheAllowListsAreTheOperators(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	allowed := filepath.Join(base, "srv")
	fill(t, allowed, 3)
	d := daemontest.Start(t, daemontest.Config(func(c *daemon.Config) {
		c.Dev, c.AllowRead, c.AllowRestore = false, []string{allowed}, []string{filepath.Join(base, "restore")}
	}))
	_, err := d.Client.CreateEnvironment(t.Context(), wire.EnvironmentInput{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: "etc", Files: map[string]envbackup.FilesSource{"etc": {Path: "/etc"}},
	}})
	if err == nil || !strings.Contains(details(err), "allow_read") {
		t.Errorf("an environment over /etc: got %v, want the line to add", err)
	}
	if _, err := d.Client.CreateDestination(t.Context(), wire.DestinationInput{DestinationSpec: envbackup.DestinationSpec{
		Name: "local", Local: &envbackup.LocalPlace{Path: filepath.Join(base, "destination")},
	}}); err != nil {
		t.Fatal(err)
	}
	declare(t, d.Client, allowed)
	finished(t, d.Client, envbackup.RunSucceeded)
	restore, err := d.Client.CreateRestore(t.Context(), wire.RestoreRequest{Backup: "latest", Environment: "shop", Target: filepath.Join(base, "elsewhere")})
	if err == nil {
		restore, err = d.Client.WatchRestore(t.Context(), restore.ID, nil)
		if err == nil && restore.Failure != nil {
			err = &envbackup.Error{Code: restore.Failure.Code, Message: restore.Failure.Message, Hint: restore.Failure.Hint}
		}
	}
	if err == nil || !strings.Contains(details(err), "allow_restore") {
		t.Errorf("a restore elsewhere: got %v, want the line to add", err)
	}
	if _, err := os.Stat(filepath.Join(base, "elsewhere")); !os.IsNotExist(err) {
		t.Errorf("the refused target was made: %v", err)
	}
}

// details is everything that an error tells a person.
func details(err error) string {
	text := err.Error()
	var e *envbackup.Error
	if errors.As(err, &e) {
		text += " " + e.Hint
		for _, f := range e.Findings {
			text += " " + f.Summary + " " + f.Detail
		}
	}
	return text
}

// A unix socket is reached by those whom the file system allows.
func TestListenOnAUnixSocket(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "eb") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	d := daemontest.Start(t, daemontest.Config(func(c *daemon.Config) { c.Listen = "unix://" + path }))
	if d.Endpoint != "unix://"+path {
		t.Errorf("the endpoint is %s", d.Endpoint)
	}
	nobody, err := client.New(client.Config{Endpoint: d.Endpoint}) // no token
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	if _, err := nobody.Tokens(t.Context()); err != nil {
		t.Errorf("the socket's owner is not the administrator: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v (%v), want mode 0600", info, err)
	}
}

func TestListenWithTLS(t *testing.T) {
	t.Parallel()
	certificate, key := selfSigned(t)
	d := daemontest.Start(t, daemontest.Config(func(c *daemon.Config) { c.TLSCertFile, c.TLSKeyFile = certificate, key }))
	if !strings.HasPrefix(d.Endpoint, "https://127.0.0.1:") {
		t.Fatalf("the endpoint is %s", d.Endpoint)
	}
	trusting, err := client.New(client.Config{Endpoint: d.Endpoint, Token: secret.New(d.Token), CAFile: certificate})
	if err != nil {
		t.Fatal(err)
	}
	defer trusting.Close()
	if _, err := trusting.Environments(t.Context(), wire.Page{}); err != nil {
		t.Error(err)
	}
}

// selfSigned makes a certificate for 127.0.0.1 and returns its files.
func selfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "envbackup test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// A configuration that Load would refuse is refused by Run, too.
func TestRunRefusesAWrongConfiguration(t *testing.T) {
	t.Parallel()
	c := daemon.Default()
	c.Listen = "0.0.0.0:0"
	if err := daemon.Run(context.Background(), c); envbackup.CodeOf(err) != envbackup.CodeInvalid {
		t.Errorf("got %v, want a refusal", err)
	}
}
