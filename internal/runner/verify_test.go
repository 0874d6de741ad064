package runner_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/runner"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// withScratch gives the runner a directory to restore into.
func withScratch(dir *string) benchOption {
	return func(b *bench, _ *runner.Store, c *runner.Config) {
		*dir = filepath.Join(b.t.TempDir(), "scratch")
		c.Scratch = *dir
	}
}

// verify executes a verification of a backup.
func (b *bench) verify(id string, level envbackup.VerifyLevel) (envbackup.Outcome, error) {
	b.t.Helper()
	return b.runner.ExecuteVerification(b.t.Context(), envbackup.Verification{ID: "vrf_" + string(level), BackupID: id, Level: level}, func(envbackup.Progress) {})
}

func (b *bench) row(id string) envbackup.Backup {
	b.t.Helper()
	row, err := b.store.Backup(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return row
}

var levels = envbackup.VerifyLevels()

// objects are a destination's objects, to be read and changed behind the
// runner's back.
type objects struct {
	names func() []string
	get   func(name string) []byte
	put   func(name string, data []byte) // nil removes it
}

// localObjects are those of the environment's repository in a directory.
func (b *bench) localObjects(d envbackup.Destination) objects {
	root := filepath.Join(d.Local.Path, b.env.Name)
	return objects{
		names: func() (names []string) {
			err := filepath.WalkDir(filepath.Join(root, "data"), func(path string, e os.DirEntry, err error) error {
				if err == nil && e.Type().IsRegular() {
					names = append(names, path)
				}
				return err
			})
			if err != nil {
				b.t.Fatal(err)
			}
			return names
		},
		get: func(name string) []byte {
			data, err := os.ReadFile(name)
			if err != nil {
				b.t.Fatal(err)
			}
			return data
		},
		put: func(name string, data []byte) {
			err := os.Remove(name) // it is read-only
			if data != nil {
				err = errors.Join(err, os.WriteFile(name, data, 0o400))
			}
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				b.t.Fatal(err)
			}
		},
	}
}

// bucketObjects are those in a bucket.
func (b *bench) bucketObjects(server *s3test.Server, bucket string) objects {
	client := server.Client()
	ok := func(err error) {
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return objects{
		names: func() []string { return server.Keys(b.t, bucket, "backups/"+b.env.Name+"/data/") },
		get: func(name string) []byte {
			out, err := client.GetObject(b.t.Context(), &s3.GetObjectInput{Bucket: &bucket, Key: &name})
			ok(err)
			defer func() { _ = out.Body.Close() }()
			data, err := io.ReadAll(out.Body)
			ok(err)
			return data
		},
		put: func(name string, data []byte) {
			if data == nil {
				_, err := client.DeleteObject(b.t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: &name})
				ok(err)
				return
			}
			_, err := client.PutObject(b.t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &name, Body: bytes.NewReader(data)})
			ok(err)
		},
	}
}

// S14: a backup is verified when it passed; whichever byte of whichever pack
// is wrong, lost or cut off, both levels find it, the backup is damaged and
// not verified, the message names files and packs, and mending the store
// mends the backup. Nothing stays in the scratch directory.
func TestVerificationProvesOrRefutes(t *testing.T) {
	t.Parallel()
	for name, place := range map[string]func(b *bench) (envbackup.Destination, objects){
		"local": func(b *bench) (envbackup.Destination, objects) {
			d := b.local("disk")
			return d, b.localObjects(d)
		},
		"s3": func(b *bench) (envbackup.Destination, objects) {
			server := s3test.Start(b.t)
			bucket := server.Bucket(b.t)
			return b.s3("bucket", server, bucket), b.bucketObjects(server, bucket)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var scratch string
			b := newBench(t, withScratch(&scratch))
			d, store := place(b)
			s := b.schedule("hourly", last(5), d)
			id := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID
			if row := b.row(id); !row.VerifiedAt.IsZero() {
				t.Errorf("verified at %s without a verification", row.VerifiedAt)
			}
			sound := func(level envbackup.VerifyLevel) {
				t.Helper()
				out, err := b.verify(id, level)
				row := b.row(id)
				if err != nil || out.State != envbackup.RunSucceeded || out.FilesDone != 2 || out.BytesDone != row.Size || len(out.Warnings) > 0 {
					t.Fatalf("%s: %+v, %v; want %d bytes", level, out, err, row.Size)
				}
				if row.Status != envbackup.BackupComplete || !row.VerifiedAt.Equal(b.now) {
					t.Errorf("%s: %s, verified at %s", level, row.Status, row.VerifiedAt)
				}
			}
			for _, level := range levels {
				sound(level)
			}
			names := store.names()
			if len(names) != 2 {
				t.Fatalf("%d packs, want one of content and one of directories", len(names))
			}
			for _, pack := range names {
				whole := store.get(pack)
				flipped := bytes.Clone(whole)
				flipped[40] ^= 1
				for how, bad := range map[string][]byte{"flipped": flipped, "cut": whole[:30], "lost": nil} {
					for _, level := range levels {
						store.put(pack, bad)
						out, err := b.verify(id, level)
						row := b.row(id)
						wantCode(t, err, envbackup.CodeDamaged)
						if out.State != envbackup.RunFailed || row.Status != envbackup.BackupDamaged || !row.VerifiedAt.IsZero() {
							t.Errorf("%s %s: %s, the backup is %s, verified at %s", level, how, out.State, row.Status, row.VerifiedAt)
						}
						short := filepath.Base(pack)[:8]
						if err == nil || !strings.Contains(err.Error(), short) || !strings.Contains(err.Error(), "/") || len(out.Warnings) == 0 {
							t.Errorf("%s %s: %v, %v; want the pack %s and files", level, how, err, out.Warnings, short)
						}
						store.put(pack, whole)
						sound(level)
					}
				}
			}
			if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
				t.Errorf("left in the scratch directory: %v, %v", left, err)
			}
		})
	}
}

// What fails on the way to the store, or for want of room, says nothing about
// the backup: its status and an older proof stay.
func TestOnlyDamageMakesABackupDamaged(t *testing.T) {
	t.Parallel()
	var scratch string
	huge := false
	b := newBench(t, withScratch(&scratch), func(_ *bench, state *runner.Store, _ *runner.Config) {
		*state = hugeStore{*state, &huge}
	})
	faults := s3test.Start(t).Faults(t)
	bucket := faults.Bucket(t)
	remote := b.s3("bucket", faults.Server, bucket)
	disk := b.local("disk")
	s := b.schedule("hourly", last(5), remote, disk)
	out := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded)
	far, near := out.Destinations[0].BackupID, out.Destinations[1].BackupID
	for _, id := range []string{far, near} {
		if _, err := b.verify(id, envbackup.VerifyRead); err != nil {
			t.Fatal(err)
		}
	}
	unharmed := func(id string, err error, want envbackup.Code) {
		t.Helper()
		wantCode(t, err, want)
		if row := b.row(id); row.Status != envbackup.BackupComplete || row.VerifiedAt.IsZero() {
			t.Errorf("%v: the backup is %s, verified at %s", err, row.Status, row.VerifiedAt)
		}
	}
	for _, level := range levels {
		packs := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/data/") }
		remove := faults.Inject(packs, s3test.Status(http.StatusForbidden, "AccessDenied"))
		_, err := b.verify(far, level)
		remove()
		unharmed(far, err, envbackup.CodeCredentials)

		// A disk that is not mounted lacks everything.
		place := filepath.Join(disk.Local.Path, b.env.Name)
		if err := os.Rename(place, place+".away"); err != nil {
			t.Fatal(err)
		}
		_, err = b.verify(near, level)
		if err == nil {
			t.Error("an unmounted disk is verified")
		}
		unharmed(near, err, envbackup.CodeOf(err))
		if err := errors.Join(os.RemoveAll(place), os.Rename(place+".away", place)); err != nil {
			t.Fatal(err)
		}
	}
	huge = true
	_, err := b.verify(near, envbackup.VerifyRestore)
	huge = false
	unharmed(near, err, envbackup.CodeDiskFull)
	if err == nil || !strings.Contains(err.Error(), "PiB are missing") || !strings.Contains(err.Error(), scratch) {
		t.Errorf("no room: %v; want what is missing, and where", err)
	}
	if _, err := newBench(t).verify("bkp_unknown", envbackup.VerifyRead); envbackup.CodeOf(err) != envbackup.CodeNotFound {
		t.Errorf("an unknown backup: %v", err)
	}
}

// hugeStore says that backups are larger than any disk.
type hugeStore struct {
	runner.Store
	on *bool
}

func (s hugeStore) Backup(ctx context.Context, id string) (envbackup.Backup, error) {
	b, err := s.Store.Backup(ctx, id)
	if *s.on {
		b.Size = 2 << 50
	}
	return b, err
}

// A verification that makes way keeps what it has restored and goes on with
// it; one that is cancelled leaves nothing. Meanwhile the backup is in use:
// nobody deletes it.
func TestVerificationMakesWayAndGoesOn(t *testing.T) {
	t.Parallel()
	var scratch string
	b := newBench(t, withScratch(&scratch))
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	b.fresh(24 << 20)
	id := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID
	for _, level := range levels {
		v := envbackup.Verification{ID: "vrf_way_" + string(level), BackupID: id, Level: level}
		stop := func(cause error) error {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			_, err := b.runner.ExecuteVerification(ctx, v, func(p envbackup.Progress) {
				if p.BytesDone == 0 {
					return
				}
				if err := b.runner.Remove(t.Context(), []string{id}, "test"); envbackup.CodeOf(err) != envbackup.CodeConflict {
					t.Errorf("deleting what is being verified: %v, want a conflict", err)
				}
				cancel(cause)
			})
			return err
		}
		wantCode(t, stop(&envbackup.Error{Code: envbackup.CodeBusy, Message: "a run is due"}), envbackup.CodeBusy)
		if left, _ := os.ReadDir(scratch); level == envbackup.VerifyRestore && len(left) != 1 {
			t.Errorf("kept for later: %v", left)
		}
		// A cancelled one of another id beside it.
		other := v
		other.ID += "_2"
		v, other = other, v
		wantCode(t, stop(&envbackup.Error{Code: envbackup.CodeCancelled, Message: "by request"}), envbackup.CodeCancelled)
		v = other
		out, err := b.runner.ExecuteVerification(t.Context(), v, func(envbackup.Progress) {})
		if err != nil || out.State != envbackup.RunSucceeded || b.row(id).VerifiedAt.IsZero() {
			t.Errorf("%s goes on: %+v, %v", level, out, err)
		}
	}
	// What the cancelled one left goes with the next look of KeepTime.
	ctx, cancel := context.WithCancel(t.Context())
	kept := make(chan error)
	go func() { kept <- b.runner.KeepTime(ctx) }()
	for {
		left, err := os.ReadDir(scratch)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
	}
	cancel()
	if err := <-kept; err != nil {
		t.Error(err)
	}
}

// Retention keeps the newest verified candidate, whatever keep_last says, and
// lets it go when a newer one is verified.
func TestRetentionKeepsTheNewestVerified(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(1), d)
	first := b.run(s, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID
	if _, err := b.verify(first, envbackup.VerifyRead); err != nil {
		t.Fatal(err)
	}
	b.hours(3, s)
	b.wantNominals(s, d, 3, 0)
	rows, err := b.store.AllBackups(t.Context(), s.ID, d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.verify(rows[0].ID, envbackup.VerifyRead); err != nil {
		t.Fatal(err)
	}
	b.hours(2, s)
	b.wantNominals(s, d, 5, 3)
}

// Backups that share what is damaged are damaged with it, and no others: not
// one of them counts as the last good backup any more. Each is mended by its
// own verification.
func TestDamageHurtsAllThatShareIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	store := b.localObjects(d)
	s, twice := b.schedule("hourly", last(9), d), b.schedule("other", last(9), d)
	b.write("data/big.bin", strings.Repeat("another", 1<<18))
	whole := b.run(twice, envbackup.TriggerCreate, envbackup.RunSucceeded).Destinations[0].BackupID // without what is damaged
	before := store.names()
	b.fresh(1 << 20)
	var sharing []string
	for _, s := range []envbackup.Schedule{s, twice, s} {
		b.now = b.now.Add(time.Hour)
		b.write("data/clock.txt", b.now.String())
		sharing = append(sharing, b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded).Destinations[0].BackupID)
	}
	if err := os.Remove(filepath.Join(b.source, "data/fresh.bin")); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	later := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded).Destinations[0].BackupID
	var pack string
	var content []byte
	for _, name := range store.names() {
		if data := store.get(name); !slices.Contains(before, name) && len(data) > 1<<20 {
			pack, content = name, data
		}
	}
	bad := bytes.Clone(content)
	bad[len(bad)/2] ^= 1
	store.put(pack, bad)
	_, err := b.verify(sharing[1], envbackup.VerifyRead)
	wantCode(t, err, envbackup.CodeDamaged)
	if err == nil || !strings.Contains(err.Error(), "2 other backups need the same content and are damaged, too") {
		t.Errorf("message: %v", err)
	}
	for _, id := range sharing {
		if row := b.row(id); row.Status != envbackup.BackupDamaged {
			t.Errorf("%s, which needs the pack, is %s", id, row.Status)
		}
	}
	for _, id := range []string{whole, later} {
		if row := b.row(id); row.Status != envbackup.BackupComplete {
			t.Errorf("%s, which does not need the pack, is %s", id, row.Status)
		}
	}
	store.put(pack, content)
	for _, id := range sharing {
		if _, err := b.verify(id, envbackup.VerifyRead); err != nil || b.row(id).Status != envbackup.BackupComplete {
			t.Errorf("mended: %v, %s", err, b.row(id).Status)
		}
	}
}
