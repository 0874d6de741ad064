package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// size makes the source's data n bytes.
func (b *bench) size(n int) {
	b.t.Helper()
	if err := os.RemoveAll(filepath.Join(b.source, "data")); err != nil {
		b.t.Fatal(err)
	}
	b.write("data/big.bin", strings.Repeat("x", n))
}

// slot runs the slot an hour later and returns its backups.
func (b *bench) slot(s envbackup.Schedule) (envbackup.Outcome, []envbackup.Backup) {
	b.t.Helper()
	b.now = b.now.Add(time.Hour)
	out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	var made []envbackup.Backup
	for _, part := range out.Destinations {
		backup, err := b.store.Backup(b.t.Context(), part.BackupID)
		if err != nil {
			b.t.Fatal(err)
		}
		made = append(made, backup)
	}
	return out, made
}

func (b *bench) wantStatus(what string, made []envbackup.Backup, want envbackup.BackupStatus) {
	b.t.Helper()
	for _, backup := range made {
		if backup.Status != want {
			b.t.Errorf("%s: the backup of %d bytes at %s is %s, want %s", what, backup.Size, backup.Destination, backup.Status, want)
		}
	}
}

// R9: three runs have to be there before a size says anything, and a run is one
// run, at however many destinations: it is judged alike at each.
func TestARunCountsOnceHoweverManyDestinations(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	disk, nas := b.local("disk"), b.local("nas")
	s := b.schedule("hourly", last(9), disk, nas)
	b.size(100_000)
	b.slot(s)
	b.slot(s)
	b.size(1000)
	_, made := b.slot(s)
	b.wantStatus("after two runs at two destinations", made, envbackup.BackupComplete)
	b.size(100_000)
	b.slot(s)
	b.size(1000)
	_, made = b.slot(s)
	b.wantStatus("after four", made, envbackup.BackupSuspect)
	b.restic(disk).Check()
}

// R9: pruned backups count, manual ones do not; an empty one is suspect, a
// first one never is.
func TestWhatASizeIsComparedWith(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	b.size(0)
	if err := os.RemoveAll(filepath.Join(b.source, "etc")); err != nil {
		t.Fatal(err)
	}
	_, made := b.slot(s)
	b.wantStatus("an empty first one", made, envbackup.BackupComplete)
	b.size(100_000)
	for range 4 {
		b.slot(s)
	}
	for range 7 {
		b.now = b.now.Add(time.Minute)
		b.size(10)
		b.run(s, envbackup.TriggerManual, envbackup.RunSucceeded)
	}
	_, made = b.slot(s)
	b.wantStatus("after small manual ones", made, envbackup.BackupSuspect)
	b.size(0)
	_, made = b.slot(s)
	b.wantStatus("an empty one", made, envbackup.BackupSuspect)
}

// R9: a suspect backup is kept, counts as no candidate, and is said with the
// sizes and with the command by which a person makes it good; from then on it
// is the baseline, and the next prune's removals wait (R4).
func TestAPersonAcknowledgesASuspectBackup(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(2), d)
	b.size(100_000)
	for range 3 {
		b.slot(s)
	}
	b.size(1000)
	out, made := b.slot(s)
	b.wantStatus("a much smaller one", made, envbackup.BackupSuspect)
	suspect := made[0]
	said := join(out.Warnings)
	for _, want := range []string{"holds 1014 B", "held 98 KiB, 98 KiB, 98 KiB", "envbackup backups acknowledge " + suspect.ID} {
		if !strings.Contains(said, want) {
			t.Errorf("the warnings say %q, want %q in it", said, want)
		}
	}
	_, made = b.slot(s)
	b.wantStatus("the next one", made, envbackup.BackupSuspect)
	b.wantNominals(s, d, 5, 4, 3, 2)

	if err := b.store.Acknowledge(t.Context(), suspect.ID, b.now); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Minute)
	// Three candidates now, of which one is beyond keep_last.
	report := b.prune(s, false)
	if report.Removed != 0 || report.SetAside != 1 || !strings.Contains(report.Lists[0].Reason, "after a suspect backup was acknowledged") {
		t.Errorf("the prune after it removed %d and set aside %+v, want 0 and one with the reason", report.Removed, report.Lists)
	}
	b.now = b.now.Truncate(time.Hour)
	_, made = b.slot(s)
	b.wantStatus("one as small as the acknowledged one", made, envbackup.BackupComplete)
	// What that pushes out was in no list, and goes as ever.
	b.wantNominals(s, d, 6, 5, 4, 2)
	b.wait(24*time.Hour + time.Minute)
	if report := b.prune(s, false); report.Removed != 1 {
		t.Errorf("after the grace %d went, want 1: %+v", report.Removed, report.Lists)
	}
	b.wantNominals(s, d, 6, 5, 4)
	b.restic(d).Check()
}
