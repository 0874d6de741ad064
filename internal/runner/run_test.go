package runner_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// The main road: a run leaves a snapshot with our tags, which the store lists,
// stock restic calls sound and restores byte for byte. A second run stores
// what changed and no more.
func TestRunLeavesABackupThatStockResticRestores(t *testing.T) {
	t.Parallel()
	places := map[string]func(b *bench) (envbackup.Destination, []string){
		"a local directory": func(b *bench) (envbackup.Destination, []string) { return b.local("disk"), nil },
		"a bucket": func(b *bench) (envbackup.Destination, []string) {
			server := s3test.Start(b.t)
			return b.s3("bucket", server, server.Bucket(b.t)), server.Environ()
		},
	}
	for name, place := range places {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d, environ := place(b)
			s := b.schedule("hourly", last(5), d)
			b.write("cache/x.tmp", "left out")
			out := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded)
			if out.FilesDone != 2 || out.BytesDone != 1<<20+14 {
				t.Errorf("the run counts %d files and %d bytes, want 2 and %d", out.FilesDone, out.BytesDone, 1<<20+14)
			}
			backup, err := b.store.Backup(t.Context(), out.Destinations[0].BackupID)
			if err != nil {
				t.Fatal(err)
			}

			restic := b.restic(d, environ...)
			restic.Check()
			snapshots := restic.Snapshots()
			if len(snapshots) != 1 {
				t.Fatalf("restic lists %d snapshots, want 1", len(snapshots))
			}
			want := []string{
				"envbackup", "environment=shop", "schedule=hourly", "schedule-id=" + s.ID, "run=" + backup.RunID,
				"slot=2027-01-01T00:00:00Z", "trigger=create", "status=complete",
			}
			if diff := cmp.Diff(want, snapshots[0].Tags); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
			if snapshots[0].ID != backup.SnapshotID || backup.Size != 1<<20+14 || backup.Files != 2 {
				t.Errorf("the store has %+v, restic has %+v", backup, snapshots[0])
			}
			target := t.TempDir()
			restic.Restore(backup.SnapshotID, target)
			if err := os.RemoveAll(filepath.Join(b.source, "cache")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(target, b.source, "cache")); err != nil {
				t.Fatal(err)
			}
			referee.CompareTrees(t, filepath.Join(b.source, "data"), filepath.Join(target, b.source, "data"))
			referee.CompareTrees(t, filepath.Join(b.source, "etc"), filepath.Join(target, b.source, "etc"))

			b.write("etc/app.conf", "listen = 9090\n")
			b.now = b.now.Add(time.Hour)
			out = b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
			second, err := b.store.Backup(t.Context(), out.Destinations[0].BackupID)
			if err != nil {
				t.Fatal(err)
			}
			if second.Added > 1<<16 {
				t.Errorf("the second backup added %d bytes for a change of one line", second.Added)
			}
			restic.Check()
		})
	}
}

// The bad-input table: each way in which a bucket cannot be used fails the run
// with its own code and one sentence, and nothing is removed.
func TestUnusableBucketsAreNamed(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t)
	tests := map[string]struct {
		server *s3test.Server
		bucket string
		change func(*envbackup.S3Place)
		code   envbackup.Code
		says   string
	}{
		"a wrong secret":        {server.As(server.AccessKey, "wrong-secret"), bucket, nil, envbackup.CodeCredentials, "access key id"},
		"an unknown access key": {server.As("nobody", server.SecretKey), bucket, nil, envbackup.CodeCredentials, "access key id"},
		"a missing bucket":      {server, "no-such-bucket-here", nil, envbackup.CodeBucketMissing, "no-such-bucket-here"},
		"a wrong region":        {server, bucket, func(p *envbackup.S3Place) { p.Region = "eu-north-7" }, envbackup.CodeWrongRegion, "region"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			d := b.s3("bucket", tt.server, tt.bucket, func(p *envbackup.S3Place) {
				if tt.change != nil {
					tt.change(p)
				}
			})
			s := b.schedule("hourly", last(1), d)
			began := time.Now()
			out, err := b.runner.ExecuteRun(t.Context(), b.newRun(s, envbackup.TriggerSchedule), func(envbackup.Progress) {})
			wantCode(t, err, tt.code)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("the run failed after %s, want within seconds", took)
			}
			if out.State != envbackup.RunFailed || out.Destinations[0].Failure == nil || out.Destinations[0].Failure.Hint == "" {
				t.Errorf("got %+v, want a failure with a hint", out)
			}
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %q, want one sentence with %q", err, tt.says)
			}
			// apply says the same at once, as a warning.
			findings := b.vault.Probe(t.Context(), d)
			if len(findings) != 1 || findings[0].Severity != envbackup.SeverityWarning || !strings.Contains(findings[0].Detail, tt.says) {
				t.Errorf("probe says %+v, want one warning with %q", findings, tt.says)
			}
		})
	}
}

// A store that cannot be reached fails the run with a code that S6 tries
// again, and removes nothing.
func TestAStoreThatGoesAwayIsTriedAgain(t *testing.T) {
	t.Parallel()
	faults := s3test.Start(t).Faults(t)
	b := newBenchWith(t, vault.Config{Retry: retry.Options{Total: 1, FirstContact: 1}})
	d := b.s3("bucket", faults.Server, faults.Bucket(t))
	s := b.schedule("hourly", last(1), d)
	b.hours(1, s)
	restore := faults.Inject(s3test.Any, s3test.Reset())
	b.now = b.now.Add(time.Hour)
	run := b.newRun(s, envbackup.TriggerSchedule)
	out, err := b.runner.ExecuteRun(t.Context(), run, func(envbackup.Progress) {})
	wantCode(t, err, envbackup.CodeUnreachable)
	if out.State != envbackup.RunFailed || !envbackup.CodeOf(err).Retryable() {
		t.Errorf("got %s with %v, want a failure that is tried again", out.State, err)
	}
	if probe := b.vault.Probe(t.Context(), d); len(probe) != 1 || probe[0].Path != "s3.endpoint" {
		t.Errorf("probe says %+v, want a warning about the endpoint", probe)
	}
	restore()
	b.wantNominals(s, d, 1)
	if out, err := b.runner.ExecuteRun(t.Context(), run, func(envbackup.Progress) {}); err != nil || out.State != envbackup.RunSucceeded {
		t.Errorf("tried again: %s, %v", out.State, err)
	}
	b.wantNominals(s, d, 2)
}

// Credentials that stop working in the middle of a run fail it at once.
func TestCredentialsThatEndInTheMiddle(t *testing.T) {
	t.Parallel()
	faults := s3test.Start(t).Faults(t)
	b := newBench(t)
	d := b.s3("bucket", faults.Server, faults.Bucket(t))
	s := b.schedule("hourly", last(1), d)
	b.hours(1, s)
	b.write("data/more.bin", strings.Repeat("fedcba9876543210", 1<<14))
	faults.Inject(func(r *http.Request) bool {
		return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/data/")
	},
		s3test.Status(http.StatusForbidden, "InvalidAccessKeyId"))
	b.now = b.now.Add(time.Hour)
	_, err := b.runner.ExecuteRun(t.Context(), b.newRun(s, envbackup.TriggerSchedule), func(envbackup.Progress) {})
	wantCode(t, err, envbackup.CodeCredentials)
	if got := len(b.nominals(s, d)); got != 1 {
		t.Errorf("%d backups are left, want the 1 from before", got)
	}
}

// A repository that another password made is refused, and nothing is written.
func TestAWrongRepositoryPasswordIsRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	foreign := referee.New(t, vault.Address(d, b.env), "somebody else's")
	foreign.Init()
	before := tree(t, d.Local.Path)
	_, err := b.runner.ExecuteRun(t.Context(), b.newRun(s, envbackup.TriggerSchedule), func(envbackup.Progress) {})
	wantCode(t, err, envbackup.CodeWrongPassword)
	if diff := cmp.Diff(before, tree(t, d.Local.Path)); diff != "" {
		t.Errorf("the refused run changed the repository (-before +after):\n%s", diff)
	}
}

// tree lists the files below dir.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// S5: a snapshot that an attempt left before it was killed is adopted by the
// next attempt, not taken again.
func TestARetryAdoptsTheSnapshotOfItsRun(t *testing.T) {
	t.Parallel()
	crash := true
	b := newBench(t, func(_ *bench, state *runner.Store, _ *runner.Config) {
		*state = storeWith{Store: *state, addBackup: func(context.Context, *envbackup.Backup) error {
			if crash {
				return errCrash
			}
			return nil
		}}
	})
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	run := b.newRun(s, envbackup.TriggerSchedule)
	if _, err := b.runner.ExecuteRun(t.Context(), run, func(envbackup.Progress) {}); !errors.Is(err, errCrash) {
		t.Fatalf("got %v, want the crash", err)
	}
	crash = false
	b.write("etc/later.conf", "written after the first attempt\n")
	out, err := b.runner.ExecuteRun(t.Context(), run, func(envbackup.Progress) {})
	if err != nil || out.State != envbackup.RunSucceeded {
		t.Fatalf("second attempt: %s, %v", out.State, err)
	}
	b.wantNominals(s, d, 0)
	backup, err := b.store.Backup(t.Context(), out.Destinations[0].BackupID)
	if err != nil {
		t.Fatal(err)
	}
	if backup.RunID != run.ID || backup.Files != 2 || backup.Status != envbackup.BackupComplete {
		t.Errorf("adopted %+v, want the first attempt's 2 files", backup)
	}
}

// S14: one destination that fails makes the run partial and leaves the backup
// at the other; the error says whether trying again can help.
func TestOneDestinationThatFailsLeavesTheOther(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	b := newBench(t)
	good := b.local("disk")
	bad := b.s3("bucket", server, "no-such-bucket-here")
	s := b.schedule("hourly", last(1), bad, good)
	out := b.run(s, envbackup.TriggerSchedule, envbackup.RunPartial)
	if out.Destinations[0].State != envbackup.RunFailed || out.Destinations[0].Failure.Code != envbackup.CodeBucketMissing ||
		out.Destinations[1].State != envbackup.RunSucceeded || out.Destinations[1].BackupID == "" {
		t.Errorf("got %+v", out.Destinations)
	}
	b.wantNominals(s, good, 0)
}

// A lock of another program is waited for by trying again, not broken.
func TestALockedRepositoryIsTriedAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	b.hours(1, s)
	repo, err := b.vault.Repository(t.Context(), b.env.ID, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := repo.Lock(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.runner.ExecuteRun(t.Context(), b.newRun(s, envbackup.TriggerManual), func(envbackup.Progress) {})
	wantCode(t, err, envbackup.CodeRepositoryLocked)
	if !envbackup.CodeOf(err).Retryable() {
		t.Errorf("%v is not tried again", err)
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	b.run(s, envbackup.TriggerManual, envbackup.RunSucceeded)
}

// R12: the data of a removed snapshot goes when there is time until the next
// slot; when there is none, the run ends all the same, and the next prune does
// it, also one that removes nothing.
func TestAPruneMakesWayForTheNextRun(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	b.fresh(4 << 20)
	b.hours(1, s)

	b.nextAt(s, time.Now().Add(-time.Second)) // due already
	b.fresh(4 << 20)
	b.now = b.now.Add(time.Hour)
	out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	if out.Destinations[0].Removed != 1 || out.Destinations[0].Reclaimed != 0 || len(out.Warnings) != 0 {
		t.Errorf("got %+v and %q, want one removed, nothing reclaimed and no warning", out.Destinations[0], out.Warnings)
	}
	b.nextAt(s, time.Now().Add(24*time.Hour))
	report, err := b.runner.Prune(t.Context(), s.ID, false, "test")
	if err != nil || report.Removed != 0 || report.Reclaimed < 3<<20 {
		t.Errorf("removed %d and reclaimed %d bytes (%v), want 0 and those of the removed backup, about 4 MiB", report.Removed, report.Reclaimed, err)
	}
	if row := b.repository(d); !row.ReclaimSince.IsZero() {
		t.Errorf("data wait since %s: %s", row.ReclaimSince, row.ReclaimWhy)
	}
	b.restic(d).Check()
}

// S5, S13: a run whose context ends reports the cause, and leaves no snapshot
// and no lock.
func TestACancelledRunReportsTheCause(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	b.hours(1, s)
	for i := range 200 {
		b.write(filepath.Join("many", string(rune('a'+i%26)), time.Duration(i).String()), strings.Repeat("x", 1<<15))
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	b.now = b.now.Add(time.Hour)
	_, err := b.runner.ExecuteRun(ctx, b.newRun(s, envbackup.TriggerSchedule), func(p envbackup.Progress) {
		if p.Phase == envbackup.PhaseBackup {
			cancel(&envbackup.Error{Code: envbackup.CodeShutDown, Message: "the daemon was stopped"})
		}
	})
	wantCode(t, err, envbackup.CodeShutDown)
	b.wantNominals(s, d, 1)
	if locks := b.restic(d).List("locks"); len(locks) != 0 {
		t.Errorf("the cancelled run left the locks %v", locks)
	}
}

// The operator's allow-list comes before everything else.
func TestAPathThatIsNotAllowedIsNotRead(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(_ *bench, _ *runner.Store, c *runner.Config) {
		c.AllowRead = func(path string) error {
			return &envbackup.Error{Code: envbackup.CodeNotAllowed, Message: "no", Hint: path}
		}
	})
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	_, err := b.runner.ExecuteRun(t.Context(), b.newRun(s, envbackup.TriggerSchedule), func(envbackup.Progress) {})
	wantCode(t, err, envbackup.CodeNotAllowed)
	if _, err := os.Stat(d.Local.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the destination was touched: %v", err)
	}
}

// What exists and cannot be read makes the run partial, and is named. As root
// everything in a directory can be read; the memory of a process cannot, at
// its beginning.
func TestWhatCannotBeReadIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	b.env.Files["memory"] = envbackup.FilesSource{Path: "/proc/self/mem"}
	if err := b.store.UpdateEnvironment(t.Context(), &b.env, 0); err != nil {
		t.Fatal(err)
	}
	s := b.schedule("hourly", last(1), d)
	out := b.run(s, envbackup.TriggerSchedule, envbackup.RunPartial)
	backup, err := b.store.Backup(t.Context(), out.Destinations[0].BackupID)
	if err != nil {
		t.Fatal(err)
	}
	if backup.Status != envbackup.BackupPartial || len(backup.Missing) != 1 || !strings.HasPrefix(backup.Missing[0], "/proc/") {
		t.Errorf("got %+v, want a partial backup that lacks the one file", backup)
	}
	if !strings.Contains(join(out.Warnings), backup.Missing[0]) {
		t.Errorf("warnings are %q", out.Warnings)
	}
	if got := b.restic(d).Snapshots("--tag", "status=partial"); len(got) != 1 {
		t.Errorf("%d snapshots are tagged partial, want 1", len(got))
	}
}

// A destination's recovery password opens every repository there without the
// daemon, also one that was made before it; an earlier one stops opening it.
func TestTheRecoveryPasswordOpensTheRepository(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(5), d)
	b.hours(1, s)
	for version, password := range map[int64]string{1: "on paper, in the safe"} {
		b.recovery(&d, version, password)
		b.hours(1, s)
		referee.New(t, vault.Address(d, b.env), password).Check()
	}
	b.recovery(&d, 2, "another one")
	b.hours(1, s)
	referee.New(t, vault.Address(d, b.env), "another one").Check()
	if out, err := referee.New(t, vault.Address(d, b.env), "on paper, in the safe").Try("snapshots"); err == nil {
		t.Errorf("the earlier recovery password still opens the repository: %s", out)
	}
	b.recovery(&d, 0, "")
	b.hours(1, s)
	if out, err := referee.New(t, vault.Address(d, b.env), "another one").Try("snapshots"); err == nil {
		t.Errorf("the withdrawn recovery password still opens the repository: %s", out)
	}
	b.restic(d).Check()
}

func (b *bench) recovery(d *envbackup.Destination, version int64, password string) {
	b.t.Helper()
	d.RecoveryVersion, d.SealedRecoveryPassword = version, nil
	if password != "" {
		sealed, err := b.vault.Seal(b.t.Context(), secret.New(password))
		if err != nil {
			b.t.Fatal(err)
		}
		d.SealedRecoveryPassword = sealed
	}
	if err := b.store.UpdateDestination(b.t.Context(), d, 0); err != nil {
		b.t.Fatal(err)
	}
}

// A warm daemon reads neither old snapshots nor old index files again: what a
// run costs does not grow with the number of backups.
func TestAWarmRunReadsNothingTwice(t *testing.T) {
	t.Parallel()
	faults := s3test.Start(t).Faults(t)
	b := newBench(t)
	d := b.s3("bucket", faults.Server, faults.Bucket(t))
	s := b.schedule("hourly", last(100), d)
	b.hours(4, s)
	before := len(faults.Requests())
	b.now = b.now.Add(time.Hour)
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	read := map[string]int{}
	for _, r := range faults.Requests()[before:] {
		if r.Method == http.MethodGet && r.Query == "" || strings.Contains(r.Query, "x-id=GetObject") {
			read[strings.Split(r.Path, "/")[4]]++
		}
	}
	// Its own snapshot is read back and listed.
	if read["snapshots"] > 2 || read["index"] > 1 {
		t.Errorf("a warm run read %v", read)
	}
}
