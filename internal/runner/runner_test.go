package runner_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// bench is a runner on a real store and a real vault, with one environment
// over a directory that the test fills.
type bench struct {
	t      *testing.T
	store  *store.Store
	vault  *vault.Vault
	runner *runner.Runner
	source string
	env    envbackup.Environment
	now    time.Time // the runner's wall clock

	vaultConfig vault.Config
	keyFile     string
}

// benchOption changes how a bench is made.
type benchOption func(b *bench, state *runner.Store, c *runner.Config)

// start is the wall clock's beginning in tests of retention: a day after which
// months and years are round.
var start = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

func newBench(t *testing.T, options ...benchOption) *bench {
	t.Helper()
	return newBenchWith(t, vault.Config{}, options...)
}

func newBenchWith(t *testing.T, v vault.Config, options ...benchOption) *bench {
	t.Helper()
	b := &bench{t: t, source: filepath.Join(t.TempDir(), "source"), now: start, vaultConfig: v}
	var err error
	if b.store, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "state.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	b.keyFile = filepath.Join(t.TempDir(), "master.key")
	b.vault, err = vault.Open(b.keyFile, b.store, b.vaultConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.vault.Close(); err != nil {
			t.Errorf("close vault: %v", err)
		}
	})
	everything := func(string) error { return nil }
	c := runner.Config{
		AllowRead: everything, AllowRestore: everything, Hostname: "db1", Version: "test",
		Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return b.now },
	}
	var state runner.Store = b.store
	for _, o := range options {
		o(b, &state, &c)
	}
	b.runner = runner.New(state, b.vault, c)

	b.write("etc/app.conf", "listen = 8080\n")
	b.write("data/big.bin", strings.Repeat("0123456789abcdef", 1<<16))
	b.env = envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: "shop", Files: map[string]envbackup.FilesSource{"app": {Path: b.source, Exclude: []string{"*.tmp"}}},
	}}
	if err := b.store.CreateEnvironment(t.Context(), &b.env); err != nil {
		t.Fatal(err)
	}
	return b
}

// write puts a file into the source.
func (b *bench) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.source, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// local makes a destination in a directory of its own.
func (b *bench) local(name string) envbackup.Destination {
	b.t.Helper()
	d := envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{
		Name: name, Local: &envbackup.LocalPlace{Path: filepath.Join(b.t.TempDir(), name)},
	}}
	b.create(&d)
	return d
}

// s3 makes a destination in a bucket.
func (b *bench) s3(name string, server *s3test.Server, bucket string, change ...func(*envbackup.S3Place)) envbackup.Destination {
	b.t.Helper()
	place := envbackup.S3Place{
		Bucket: bucket, Region: server.Region, Prefix: "backups", Endpoint: server.Endpoint,
		ForcePathStyle: true, AccessKeyID: server.AccessKey,
	}
	for _, c := range change {
		c(&place)
	}
	sealed, err := b.vault.Seal(b.t.Context(), secret.New(server.SecretKey))
	if err != nil {
		b.t.Fatal(err)
	}
	d := envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{Name: name, S3: &place}, SealedSecretKey: sealed}
	b.create(&d)
	return d
}

func (b *bench) create(d *envbackup.Destination) {
	b.t.Helper()
	if err := b.store.CreateDestination(b.t.Context(), d); err != nil {
		b.t.Fatal(err)
	}
}

// schedule makes a schedule with this retention.
func (b *bench) schedule(name string, keep retention.Spec, destinations ...envbackup.Destination) envbackup.Schedule {
	b.t.Helper()
	s := envbackup.Schedule{ScheduleSpec: envbackup.ScheduleSpec{
		Name: name, Environment: b.env.Name, Cron: "0 * * * *", Retention: keep,
	}}
	for _, d := range destinations {
		s.Destinations = append(s.Destinations, d.Name)
	}
	if err := b.store.Tx(b.t.Context(), func(tx *store.Tx) error { return tx.InsertSchedule(b.t.Context(), &s, b.now) }); err != nil {
		b.t.Fatal(err)
	}
	return s
}

// edit changes a schedule's retention as the API does.
func (b *bench) edit(s *envbackup.Schedule, keep retention.Spec) {
	b.t.Helper()
	s.Retention, s.PolicyEditedAt = keep, b.now
	if err := b.store.Tx(b.t.Context(), func(tx *store.Tx) error { return tx.UpdateSchedule(b.t.Context(), s, 0, b.now) }); err != nil {
		b.t.Fatal(err)
	}
}

// newRun makes the run of the slot at b.now.
func (b *bench) newRun(s envbackup.Schedule, trigger envbackup.Trigger) envbackup.Run {
	b.t.Helper()
	run := envbackup.Run{
		ScheduleID: s.ID, Schedule: s.Name, Environment: s.Environment, EnvironmentID: s.EnvironmentID,
		Trigger: trigger, Nominal: b.now, State: envbackup.RunQueued,
	}
	if err := b.store.Tx(b.t.Context(), func(tx *store.Tx) error { return tx.InsertRun(b.t.Context(), &run) }); err != nil {
		b.t.Fatal(err)
	}
	return run
}

// run executes a run of the slot at b.now, and fails the test unless it ends
// in the wanted state.
func (b *bench) run(s envbackup.Schedule, trigger envbackup.Trigger, want envbackup.RunState) envbackup.Outcome {
	b.t.Helper()
	run := b.newRun(s, trigger)
	out, err := b.runner.ExecuteRun(b.t.Context(), run, func(envbackup.Progress) {})
	b.end(run, out.State)
	if err != nil && want != envbackup.RunFailed {
		b.t.Fatalf("run at %s: %v", b.now, err)
	}
	if out.State != want {
		b.t.Fatalf("run at %s ended %s, want %s: %+v", b.now, out.State, want, out)
	}
	return out
}

// end records how a run ended, as the queue does.
func (b *bench) end(run envbackup.Run, state envbackup.RunState) {
	b.t.Helper()
	run.State = state
	err := b.store.Tx(b.t.Context(), func(tx *store.Tx) error {
		_, err := tx.SaveRun(b.t.Context(), run, run.JobID)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// repository is the row of the environment's repository.
func (b *bench) repository(d envbackup.Destination) envbackup.Repository {
	b.t.Helper()
	row, err := b.store.Repository(b.t.Context(), d.ID, b.env.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return row
}

// hours runs n slots, an hour apart, and changes the source for each.
func (b *bench) hours(n int, s envbackup.Schedule) {
	b.t.Helper()
	for range n {
		b.now = b.now.Add(time.Hour)
		b.write("data/clock.txt", b.now.String())
		b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	}
}

// nominals lists the hours since start of the backups in the store, newest
// first, and fails the test when the repository has others.
func (b *bench) nominals(s envbackup.Schedule, d envbackup.Destination) []int {
	b.t.Helper()
	rows, err := b.store.AllBackups(b.t.Context(), s.ID, d.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	repo, err := b.vault.Repository(b.t.Context(), b.env.ID, d.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	snapshots, err := repo.Snapshots(b.t.Context(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	var stored []string
	for _, sn := range snapshots {
		if id, _ := sn.Tags.Value("schedule-id"); id == s.ID {
			stored = append(stored, sn.ID.String())
		}
	}
	var listed []string
	var hours []int
	for _, row := range rows {
		listed = append(listed, row.SnapshotID)
		hours = append(hours, int(row.Nominal.Sub(start)/time.Hour))
	}
	slices.Sort(stored)
	slices.Sort(listed)
	if !slices.Equal(stored, listed) {
		b.t.Errorf("the store lists snapshots %v, the repository has %v", listed, stored)
	}
	return hours
}

// password is the repository's, as `key show` prints it.
func (b *bench) password(d envbackup.Destination) string {
	b.t.Helper()
	password, err := b.vault.Password(b.t.Context(), b.env.ID, d.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return password.Reveal()
}

// restic is stock restic on the environment's repository.
func (b *bench) restic(d envbackup.Destination, environ ...string) *referee.Restic {
	b.t.Helper()
	return referee.New(b.t, vault.Address(d, b.env), b.password(d), environ...)
}

// wait lets the daemon run for this long, in ticks of up to three minutes: the
// longest that count as running time.
func (b *bench) wait(d time.Duration) {
	b.t.Helper()
	// The first tick after a jump of the clock does not count.
	for step := min(d, time.Minute); d > 0; step = min(d, 3*time.Minute) {
		d -= step
		b.now = b.now.Add(step)
		if err := b.runner.Tick(b.t.Context(), b.now, step); err != nil {
			b.t.Fatal(err)
		}
	}
}

// last keeps the newest n.
func last(n int64) retention.Spec { return retention.Spec{KeepLast: &n} }

func wantCode(t *testing.T, err error, want envbackup.Code) {
	t.Helper()
	if got := envbackup.CodeOf(err); got != want {
		t.Errorf("got code %q (%v), want %q", got, err, want)
	}
}

// storeWith is a store one of whose methods fails.
type storeWith struct {
	runner.Store
	addBackup func(ctx context.Context, b *envbackup.Backup) error
}

func (s storeWith) AddBackup(ctx context.Context, b *envbackup.Backup) error {
	if s.addBackup != nil {
		if err := s.addBackup(ctx, b); err != nil {
			return err
		}
	}
	return s.Store.AddBackup(ctx, b)
}

var errCrash = errors.New("the power is gone")

func join(list []string) string { return fmt.Sprint(strings.Join(list, "\n")) }

func (b *bench) dropSchedule(s envbackup.Schedule) {
	b.t.Helper()
	if err := b.store.Tx(b.t.Context(), func(tx *store.Tx) error { return tx.DeleteSchedule(b.t.Context(), s.ID, 0) }); err != nil {
		b.t.Fatal(err)
	}
}

// fresh fills the source with n bytes that no repository has.
func (b *bench) fresh(n int) {
	b.t.Helper()
	data := make([]byte, n)
	_, _ = rand.Read(data) // never fails
	b.write("data/fresh.bin", string(data))
}

// nextAt moves the schedule's next slot.
func (b *bench) nextAt(s envbackup.Schedule, at time.Time) {
	b.t.Helper()
	err := b.store.Tx(b.t.Context(), func(tx *store.Tx) error { return tx.DecideUntil(b.t.Context(), s.ID, at, at, at) })
	if err != nil {
		b.t.Fatal(err)
	}
}
