package runner_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// locking makes a destination lock what it is given.
func locking(mode string, days int64) func(*envbackup.S3Place) {
	return func(p *envbackup.S3Place) { p.ObjectLockMode, p.ObjectLockDays = mode, days }
}

// rows are the backups of a schedule at a destination, newest first.
func (b *bench) rows(s envbackup.Schedule, d envbackup.Destination) []envbackup.Backup {
	b.t.Helper()
	rows, err := b.store.AllBackups(b.t.Context(), s.ID, d.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return rows
}

// prune is an explicit prune.
func (b *bench) prune(s envbackup.Schedule, dryRun bool) envbackup.PruneReport {
	b.t.Helper()
	report, err := b.runner.Prune(b.t.Context(), s.ID, dryRun, "test")
	if err != nil {
		b.t.Fatal(err)
	}
	return report
}

// today moves the bench's clock to now, as a store that locks has no other.
func (b *bench) today() { b.now = time.Now().UTC().Truncate(time.Second) }

// R8: what the object store locks stays beyond its retention, with the end of
// the lock as the reason and never as a failure, and goes once the lock is
// over; the data of what went before stay as well, and nothing pretends that
// space came free.
func TestALockedBackupIsRetainedUntilItsLockEnds(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	faults := server.Faults(t)
	b := newBench(t)
	d := b.s3("bucket", faults.Server, server.Bucket(t, s3test.Locked()), locking("COMPLIANCE", 2))
	s := b.schedule("hourly", last(1), d)
	b.today()
	for range 3 {
		b.now = b.now.Add(time.Second)
		b.fresh(1 << 20)
		out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		if len(out.Warnings) != 0 || out.Destinations[0].Removed != 0 {
			t.Errorf("removed %d with warnings %q, want nothing", out.Destinations[0].Removed, out.Warnings)
		}
	}
	rows := b.rows(s, d)
	if len(rows) != 3 {
		t.Fatalf("%d backups are listed, want all 3", len(rows))
	}
	for _, row := range rows {
		if left := row.LockedUntil.Sub(b.now); left < 47*time.Hour || left > 49*time.Hour {
			t.Errorf("backup %s is locked until %s, want about two days", row.ID, row.LockedUntil)
		}
	}
	for _, v := range b.prune(s, true).Verdicts {
		want := "retained by lock until " + v.Backup.LockedUntil.Format(time.RFC3339)
		if !v.Keep || !strings.Contains(strings.Join(v.Reasons, "; "), want) {
			t.Errorf("backup %s: kept %t because of %q, want %q", v.Backup.ID, v.Keep, v.Reasons, want)
		}
	}
	err := b.runner.Remove(t.Context(), []string{rows[2].ID}, "test")
	wantCode(t, err, envbackup.CodeConflict)
	if !strings.Contains(err.Error(), "retained by lock until") {
		t.Errorf("the refusal says %q", err)
	}

	// Two days later the snapshots' locks are over by the daemon's clock; the
	// packs' are not by the store's.
	deletes := len(faults.Requests())
	b.now = b.now.Add(49 * time.Hour)
	report := b.prune(s, false)
	if report.Removed != 2 || report.Reclaimed != 0 {
		t.Errorf("removed %d and reclaimed %d bytes, want 2 and 0", report.Removed, report.Reclaimed)
	}
	if !strings.Contains(report.Note, "are no longer needed and retained by lock, the first until ") {
		t.Errorf("the note is %q", report.Note)
	}
	for _, r := range faults.Requests()[deletes:] {
		if r.Method == http.MethodDelete && strings.Contains(r.Path, "/data/") {
			t.Errorf("a locked pack was to be deleted: %s", r.Path)
		}
	}
	if row := b.repository(d); !row.ReclaimSince.After(time.Now().Add(46 * time.Hour)) {
		t.Errorf("the data wait since %s, want from the end of their lock on", row.ReclaimSince)
	}
	b.restic(d, server.Environ()...).Check()
}

// R8: a lock that somebody else put on a backup is seen before it is removed.
func TestALockOfAnotherIsSeen(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t, s3test.Locked())
	b := newBench(t)
	d := b.s3("bucket", server, bucket)
	s := b.schedule("hourly", last(1), d)
	b.today()
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	first := b.rows(s, d)[0]
	if !first.LockedUntil.IsZero() {
		t.Fatalf("an unlocked backup is locked until %s", first.LockedUntil)
	}
	until := b.now.Add(24 * time.Hour)
	_, err := server.Client().PutObjectRetention(t.Context(), &awss3.PutObjectRetentionInput{
		Bucket: &bucket, Key: aws.String("backups/shop/snapshots/" + first.SnapshotID),
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeGovernance, RetainUntilDate: &until},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Second)
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	rows := b.rows(s, d)
	if len(rows) != 2 || !rows[1].LockedUntil.Equal(until) {
		t.Errorf("%d backups are left, the older locked until %s; want both, and %s", len(rows), rows[len(rows)-1].LockedUntil, until)
	}
}

// R8: a bucket that keeps versions frees nothing when an object is deleted, and
// the report does not pretend that it does.
func TestABucketThatKeepsVersionsFreesNothing(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	b := newBench(t)
	d := b.s3("bucket", server, server.Bucket(t, s3test.Versioned()))
	s := b.schedule("hourly", last(1), d)
	b.today()
	var warnings []string
	for range 2 {
		b.now = b.now.Add(time.Second)
		b.fresh(4 << 20)
		out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		warnings = append(warnings, out.Warnings...)
		if out.Destinations[0].Reclaimed != 0 {
			t.Errorf("reclaimed %d bytes, want none", out.Destinations[0].Reclaimed)
		}
	}
	if !strings.Contains(join(warnings), "a lifecycle rule that expires noncurrent versions frees them") {
		t.Errorf("warnings are %q", warnings)
	}
	b.restic(d, server.Environ()...).Check()
}

// R8: a bucket without object lock fails the run with what to do, instead of
// leaving backups that are not locked.
func TestALockThatCannotBeHadFailsTheRun(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	b := newBench(t)
	d := b.s3("bucket", server, server.Bucket(t), locking("GOVERNANCE", 1))
	s := b.schedule("hourly", last(1), d)
	_, err := b.runner.ExecuteRun(t.Context(), b.newRun(s, envbackup.TriggerSchedule), func(envbackup.Progress) {})
	wantCode(t, err, envbackup.CodeNoObjectLock)
	if findings := b.vault.Probe(t.Context(), d); len(findings) != 1 || findings[0].Path != "s3.object_lock_mode" ||
		!strings.Contains(findings[0].Detail, "was made without object lock") {
		t.Errorf("the probe finds %+v", findings)
	}
}

// R8: a backup stands on data that older ones brought, so their locks are
// extended before they run out, and those of data that nobody needs are not.
func TestLocksOfWhatIsNeededAreExtended(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t, s3test.Locked())
	b := newBench(t)
	d := b.s3("bucket", server, bucket, locking("GOVERNANCE", 1))
	s := b.schedule("hourly", last(1), d)
	b.today()
	b.fresh(1 << 20)
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	first := b.locks(server, bucket)

	d.S3.ObjectLockDays = 10
	if err := b.store.UpdateDestination(t.Context(), &d, 0); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(48 * time.Hour) // the first backup's lock is over for the daemon
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	extended := 0
	for key, until := range b.locks(server, bucket) {
		before, old := first[key]
		switch {
		case strings.Contains(key, "/locks/"):
			continue
		case time.Until(until) > 9*24*time.Hour:
			if old {
				extended++
			}
		case old && strings.Contains(key, "/data/"):
			// The data that only the removed backup needed.
		default:
			t.Errorf("%s is locked until %s, was until %s", key, until, before)
		}
	}
	// config, key, index, and the packs that both backups share.
	if extended < 4 {
		t.Errorf("%d objects of the first run were extended, want those that the second needs", extended)
	}
	b.restic(d, server.Environ()...).Check()
}

// locks returns the ends of the locks of all objects in a bucket.
func (b *bench) locks(server *s3test.Server, bucket string) map[string]time.Time {
	b.t.Helper()
	out := map[string]time.Time{}
	for _, key := range server.Keys(b.t, bucket, "") {
		head, err := server.Client().HeadObject(b.t.Context(), &awss3.HeadObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			b.t.Fatal(err)
		}
		out[key] = aws.ToTime(head.ObjectLockRetainUntilDate)
	}
	return out
}
