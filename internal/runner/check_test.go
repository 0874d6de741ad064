package runner_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// rechecks counts how often the runner asks for a look at damaged backups.
func rechecks(n *int) benchOption {
	return func(_ *bench, _ *runner.Store, c *runner.Config) {
		c.Recheck = func(context.Context, envbackup.Environment, envbackup.Destination) error {
			*n++
			return nil
		}
	}
}

// inspect checks or repairs the environment's repository at a destination.
func (b *bench) inspect(d envbackup.Destination, level envbackup.VerifyLevel) (envbackup.Outcome, error) {
	b.t.Helper()
	return b.runner.ExecuteVerification(b.t.Context(), envbackup.Verification{
		ID: "vrf_check", Environment: b.env.Name, DestinationID: d.ID, Destination: d.Name, Level: level,
	}, func(envbackup.Progress) {})
}

// Issue 4, item 5: whatever pack is flipped, cut off or lost, the check names
// it, the backup and the files; the next backup stores it again, stock restic
// finds nothing wrong then, and the damaged backup is complete again.
func TestTheNextBackupHealsWhatACheckFound(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(b *bench) (envbackup.Destination, objects, []string){
		"local": func(b *bench) (envbackup.Destination, objects, []string) {
			d := b.local("disk")
			return d, b.localObjects(d), nil
		},
		"s3": func(b *bench) (envbackup.Destination, objects, []string) {
			server := s3test.Start(b.t)
			bucket := server.Bucket(b.t)
			return b.s3("bucket", server, bucket), b.bucketObjects(server, bucket), server.Environ()
		},
	} {
		for how, damage := range map[string]func(whole []byte) []byte{
			"flipped": func(whole []byte) []byte { bad := bytes.Clone(whole); bad[40] ^= 1; return bad },
			"cut":     func(whole []byte) []byte { return whole[:30] },
			"lost":    func([]byte) []byte { return nil },
		} {
			t.Run(name+" "+how, func(t *testing.T) {
				t.Parallel()
				asked := 0
				b := newBench(t, rechecks(&asked))
				d, store, environ := place(b)
				b.fresh(1 << 20)
				s := b.schedule("hourly", last(5), d)
				id := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID
				if out, err := b.inspect(d, envbackup.CheckData); err != nil || out.State != envbackup.RunSucceeded {
					t.Fatalf("a sound repository: %+v, %v", out, err)
				}
				packs := store.names()
				if how != "flipped" {
					// Directories above the source change, so what of them is lost
					// no backup stores again: only the content is.
					packs = []string{slices.MaxFunc(packs, func(a, b string) int { return len(store.get(a)) - len(store.get(b)) })}
				}
				for _, pack := range packs {
					store.put(pack, damage(store.get(pack)))
				}
				out, err := b.inspect(d, envbackup.CheckData)
				wantCode(t, err, envbackup.CodeDamaged)
				told := strings.Join(out.Warnings, "\n")
				if err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(told, "backup "+id) || !strings.Contains(told, b.env.Files["app"].Path[:5]) && !strings.Contains(told, ": /") {
					t.Errorf("the check says %v\n%s", err, told)
				}
				for _, pack := range packs {
					if !strings.Contains(told, filepath.Base(pack)[:8]) {
						t.Errorf("pack %s is not named in\n%s", pack, told)
					}
				}
				if got := b.row(id).Status; got != envbackup.BackupDamaged {
					t.Fatalf("the backup is %s", got)
				}

				b.now = b.now.Add(time.Hour)
				healed := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
				if asked != 1 || !strings.Contains(strings.Join(healed.Warnings, "\n"), "stores again") {
					t.Errorf("%d looks at damaged backups were asked for; the run says %v", asked, healed.Warnings)
				}
				if _, err := b.inspect(d, envbackup.CheckDamaged); err != nil {
					t.Errorf("after the next backup: %v", err)
				}
				if got := b.row(id).Status; got != envbackup.BackupComplete {
					t.Errorf("the old backup is %s, want complete", got)
				}
				stock := b.restic(d, environ...)
				stock.Check()
				for _, snapshot := range stock.Snapshots() {
					stock.Restore(snapshot.ID, t.TempDir())
				}
				// It is over: nothing is asked for again.
				b.now = b.now.Add(time.Hour)
				b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
				if asked != 1 {
					t.Errorf("%d looks were asked for", asked)
				}
			})
		}
	}
}

// Directories hide what lies below them: a verification of one backup names
// what it can see, and the backups heal round by round, never too soon.
func TestABackupIsCompleteAgainOnlyWhenAllOfItIs(t *testing.T) {
	t.Parallel()
	asked := 0
	b := newBench(t, rechecks(&asked))
	d := b.local("disk")
	store := b.localObjects(d)
	s := b.schedule("hourly", last(9), d)
	id := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID
	for _, pack := range store.names() {
		bad := bytes.Clone(store.get(pack))
		bad[40] ^= 1
		store.put(pack, bad)
	}
	if _, err := b.verify(id, envbackup.VerifyRead); envbackup.CodeOf(err) != envbackup.CodeDamaged {
		t.Fatalf("damaged packs: %v", err)
	}
	for round := 1; ; round++ {
		b.now = b.now.Add(time.Hour)
		b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		_, err := b.inspect(d, envbackup.CheckDamaged)
		status := b.row(id).Status
		if (err == nil) != (status == envbackup.BackupComplete) {
			t.Fatalf("round %d: %v, and the backup is %s", round, err, status)
		}
		if err == nil {
			break
		}
		if round == 4 {
			t.Fatalf("not healed after %d backups: %v", round, err)
		}
	}
	b.restic(d).Check()
}

// What the source does not have any more is fetched from another destination
// by a repair; a dry run says so and changes nothing.
func TestARepairFetchesFromAnotherDestination(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d, other := b.local("disk"), b.local("other")
	store := b.localObjects(d)
	b.write("data/gone.txt", "this is changed before the next backup")
	s := b.schedule("hourly", last(9), d, other)
	id := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID
	b.write("data/gone.txt", "changed")
	for _, pack := range store.names() {
		bad := bytes.Clone(store.get(pack))
		bad[40] ^= 1
		store.put(pack, bad)
	}
	before := store.names()
	out, err := b.inspect(d, envbackup.RepairData.DryRun())
	if err != nil || !strings.Contains(join(out.Warnings), "to be fetched from another destination") {
		t.Fatalf("the dry run: %v\n%s", err, join(out.Warnings))
	}
	if !slices.Equal(before, store.names()) || b.row(id).Status != envbackup.BackupComplete {
		t.Error("the dry run changed something")
	}
	out, err = b.inspect(d, envbackup.RepairData)
	if err != nil || !strings.Contains(join(out.Warnings), "fetched from another destination: ") {
		t.Fatalf("the repair: %v\n%s", err, join(out.Warnings))
	}
	if got := b.row(id).Status; got != envbackup.BackupComplete {
		t.Errorf("the backup is %s", got)
	}
	b.restic(d).Check()
}

// A disk that is not mounted says nothing about the backups.
func TestACheckOfAnAbsentPlaceDamagesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(9), d)
	id := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID
	root := filepath.Join(d.Local.Path, b.env.Name)
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	for _, level := range []envbackup.VerifyLevel{envbackup.CheckStructure, envbackup.CheckData, envbackup.RepairData} {
		if _, err := b.inspect(d, level); err == nil || !strings.Contains(err.Error(), "there is no repository") {
			t.Errorf("%s of an absent place: %v", level, err)
		}
	}
	if got := b.row(id).Status; got != envbackup.BackupComplete {
		t.Errorf("the backup is %s", got)
	}
}
