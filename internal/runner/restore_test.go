package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
)

// restore executes a restore of a backup.
func (b *bench) restore(r envbackup.Restore) (envbackup.Outcome, error) {
	b.t.Helper()
	return b.runner.ExecuteRestore(b.t.Context(), r, func(envbackup.Progress) {})
}

// A restore brings back what the backup holds, and not what came later.
func TestRestoreBringsABackupBack(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(5), d)
	out := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded)
	id := out.Destinations[0].BackupID
	saved := filepath.Join(t.TempDir(), "saved")
	if err := os.CopyFS(saved, os.DirFS(b.source)); err != nil {
		t.Fatal(err)
	}
	b.write("etc/app.conf", "listen = 1\n")
	b.hours(1, s)

	target := filepath.Join(t.TempDir(), "target")
	out, err := b.restore(envbackup.Restore{BackupID: id, Environment: "shop", Target: target})
	if err != nil || out.State != envbackup.RunSucceeded || out.FilesDone != 2 {
		t.Fatalf("got %+v, %v", out, err)
	}
	got, err := os.ReadFile(filepath.Join(target, b.source, "etc/app.conf"))
	if err != nil || string(got) != "listen = 8080\n" {
		t.Errorf("restored %q, %v", got, err)
	}

	// A directory with anything in it is refused, and stays as it is.
	stranger := filepath.Join(target, "stranger")
	if err := os.WriteFile(stranger, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = b.restore(envbackup.Restore{BackupID: id, Target: target})
	wantCode(t, err, envbackup.CodeTargetNotEmpty)
	if got, err := os.ReadFile(stranger); err != nil || string(got) != "mine" {
		t.Errorf("the stranger is %q, %v", got, err)
	}
	// With overwrite, differing files are put right.
	if err := os.WriteFile(filepath.Join(target, b.source, "etc/app.conf"), []byte("broken"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := b.restore(envbackup.Restore{BackupID: id, Target: target, Overwrite: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(stranger); err != nil {
		t.Fatal(err)
	}
	// Everything equals what stock restic restores of the same backup.
	backup, err := b.store.Backup(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	stock := filepath.Join(t.TempDir(), "stock")
	b.restic(d).Restore(backup.SnapshotID, stock)
	referee.CompareTrees(t, filepath.Join(stock, b.source), filepath.Join(target, b.source))

	// A part of it.
	part := filepath.Join(t.TempDir(), "part")
	if _, err := b.restore(envbackup.Restore{BackupID: id, Target: part, Include: []string{"*.conf"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(part, b.source, "data/big.bin")); !os.IsNotExist(err) {
		t.Errorf("what was not asked for was restored: %v", err)
	}
	_, err = b.restore(envbackup.Restore{BackupID: id, Target: filepath.Join(t.TempDir(), "none"), Include: []string{"*.nothing"}})
	wantCode(t, err, envbackup.CodeInvalid)
}

// The operator's allow-list for restores, a relative target and an unknown
// backup are refused before anything is written.
func TestRestoreRefusals(t *testing.T) {
	t.Parallel()
	allowed := filepath.Join(t.TempDir(), "allowed")
	b := newBench(t, func(_ *bench, _ *runner.Store, c *runner.Config) {
		c.AllowRestore = func(path string) error {
			if strings.HasPrefix(path, allowed) {
				return nil
			}
			return &envbackup.Error{Code: envbackup.CodeNotAllowed, Message: "no"}
		}
	})
	d := b.local("disk")
	s := b.schedule("hourly", last(5), d)
	id := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID

	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	_, err := b.restore(envbackup.Restore{BackupID: id, Target: elsewhere})
	wantCode(t, err, envbackup.CodeNotAllowed)
	if _, err := os.Stat(elsewhere); !os.IsNotExist(err) {
		t.Errorf("the refused target exists: %v", err)
	}
	_, err = b.restore(envbackup.Restore{BackupID: id, Target: "relative"})
	wantCode(t, err, envbackup.CodeInvalid)
	_, err = b.restore(envbackup.Restore{BackupID: "bkp_unknown", Target: allowed})
	wantCode(t, err, envbackup.CodeNotFound)
	if out, err := b.restore(envbackup.Restore{BackupID: id, Target: allowed}); err != nil || out.State != envbackup.RunSucceeded {
		t.Errorf("the allowed target: %s, %v", out.State, err)
	}
}

// R11: backups outlive their environment and their schedule, and restore.
func TestABackupOutlivesItsEnvironment(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(5), d)
	id := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID
	b.dropSchedule(s)
	if err := b.store.DeleteEnvironment(t.Context(), b.env.ID, 0); err != nil {
		t.Fatal(err)
	}
	out, err := b.restore(envbackup.Restore{BackupID: id, Target: filepath.Join(t.TempDir(), "target")})
	if err != nil || out.State != envbackup.RunSucceeded {
		t.Errorf("restore after the deletion: %s, %v", out.State, err)
	}
	// Created again under its name it finds its repository, password and all.
	again := envbackup.Environment{EnvironmentSpec: b.env.EnvironmentSpec}
	if err := b.store.CreateEnvironment(t.Context(), &again); err != nil {
		t.Fatal(err)
	}
	b.env = again
	s2 := b.schedule("hourly", last(5), d)
	b.now = b.now.Add(time.Hour)
	b.run(s2, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	b.wantNominals(s2, d, 1, 0)
}
