package runner_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// hide moves a snapshot of a local repository away, and returns how to bring it
// back.
func (b *bench) hide(d envbackup.Destination, snapshot string) (restore func()) {
	b.t.Helper()
	there := filepath.Join(d.Local.Path, "shop", "snapshots", snapshot)
	away := filepath.Join(b.t.TempDir(), snapshot)
	if err := os.Rename(there, away); err != nil {
		b.t.Fatal(err)
	}
	return func() {
		if err := os.Rename(away, there); err != nil {
			b.t.Fatal(err)
		}
	}
}

// R7: a listing that fails, or that shows nothing, removes nothing and drops no
// row, also not one whose removal had begun.
func TestAListingThatCannotBeTrustedHoldsEverything(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	faults := s3test.Start(t).Faults(t)
	d := b.s3("bucket", faults.Server, faults.Bucket(t))
	s := b.schedule("hourly", last(3), d)
	b.today()
	for range 3 {
		b.now = b.now.Add(time.Second)
		b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	}
	rows := b.rows(s, d)
	if err := b.store.MarkRemoval(t.Context(), []string{rows[2].ID}, b.now); err != nil {
		t.Fatal(err)
	}
	b.policy(s, last(1))
	listsSnapshots := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Query().Get("prefix"), "/snapshots/")
	}
	deletes := func() (n int) {
		for _, r := range faults.Requests() {
			if deletesSnapshot(&http.Request{Method: r.Method, URL: &url.URL{Path: r.Path, RawQuery: r.Query}}) {
				n++
			}
		}
		return n
	}
	for name, fault := range map[string]s3test.Fault{
		"refused": s3test.Status(http.StatusForbidden, "AccessDenied"),
		"empty":   s3test.Answer(http.StatusOK, emptyListing),
	} {
		remove := faults.Inject(listsSnapshots, fault)
		report, err := b.runner.Prune(t.Context(), s.ID, false, "test")
		remove()
		if name == "refused" {
			wantCode(t, err, envbackup.CodeCredentials)
		} else if err != nil || report.Removed != 0 || !strings.Contains(report.Note, "missing from the repository") {
			t.Errorf("%s listing: removed %d with %q (%v)", name, report.Removed, report.Note, err)
		}
		if got := len(b.rows(s, d)); got != 3 {
			t.Errorf("after a listing that is %s %d backups are listed, want 3", name, got)
		}
	}
	if n := deletes(); n != 0 {
		t.Errorf("%d requests to delete a snapshot were sent", n)
	}
	if report := b.prune(s, false); report.Removed != 2 {
		t.Errorf("with an honest listing %d went, want 2", report.Removed)
	}
}

const emptyListing = `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>`

// R7: a destination that cannot be reached removes nothing, and the backups at
// the others are judged all the same.
func TestAnUnreachableDestinationKeepsEverything(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	disk, away := b.local("disk"), b.local("away")
	s := b.schedule("hourly", last(1), disk, away)
	b.hours(1, s)
	if err := os.Rename(away.Local.Path, away.Local.Path+"-unmounted"); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	b.run(s, envbackup.TriggerSchedule, envbackup.RunPartial)
	if got := len(b.rows(s, away)); got != 1 {
		t.Errorf("%d backups are listed at what is away, want 1", got)
	}
	if got := len(b.rows(s, disk)); got != 1 {
		t.Errorf("%d backups are left at the disk, want 1", got)
	}
	if err := os.Rename(away.Local.Path+"-unmounted", away.Local.Path); err != nil {
		t.Fatal(err)
	}
	b.hours(1, s)
	b.wantNominals(s, away, 3)
}

// R7, S12: where the object store's clock differs by more than five minutes,
// backups are taken and nothing is removed; the status says why.
func TestAClockThatTheStoreContradictsHoldsPruning(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	faults := s3test.Start(t).Faults(t)
	d := b.s3("bucket", faults.Server, faults.Bucket(t))
	s := b.schedule("hourly", last(1), d)
	b.today()
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	askSnapshot := func(r *http.Request) bool {
		return r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/snapshots/")
	}
	for name, tt := range map[string]struct {
		off   time.Duration
		holds bool
	}{"ahead": {-6 * time.Minute, true}, "behind": {6 * time.Minute, true}} {
		remove := faults.Inject(askSnapshot, s3test.Header("Last-Modified", time.Now().Add(tt.off).UTC().Format(http.TimeFormat)))
		b.now = b.now.Add(time.Second)
		before := len(b.rows(s, d))
		out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
		remove()
		if got := len(b.rows(s, d)); got != before+1 || !strings.Contains(join(out.Warnings), "the clock of this host differs from the store's by") {
			t.Errorf("%s: %d backups are left with warnings %q, want %d and the reason", name, got, out.Warnings, before+1)
		}
		if state := b.state(s, d); !strings.Contains(state.Hold, "the clock of this host differs") {
			t.Errorf("%s: the status says %q", name, state.Hold)
		}
	}
	b.now = b.now.Add(time.Second)
	b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	if got := len(b.rows(s, d)); got != 1 {
		t.Errorf("%d backups are left once the clocks agree, want 1", got)
	}
	if state := b.state(s, d); state.Hold != "" {
		t.Errorf("the status still says %q", state.Hold)
	}
}

// R7: a snapshot that somebody removed by hand holds removals, until it is back
// or a person says that it is gone for good; one that turns up again is listed
// again.
func TestMissingBackupsAreForgottenOnAPersonsWord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(2), d)
	b.hours(2, s)
	rows := b.rows(s, d)
	restore := b.hide(d, rows[1].SnapshotID)
	b.now = b.now.Add(time.Hour)
	out := b.run(s, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	if len(b.rows(s, d)) != 3 || !strings.Contains(join(out.Warnings), "envbackup backups forget-missing shop/hourly") {
		t.Errorf("%d backups are listed with warnings %q, want all 3 and the way out", len(b.rows(s, d)), out.Warnings)
	}
	if state := b.state(s, d); !strings.Contains(state.Hold, "1 of 3 backups is missing") {
		t.Errorf("the status says %q", state.Hold)
	}
	forget := func(dryRun bool) []envbackup.Backup {
		t.Helper()
		gone, err := b.runner.ForgetMissing(t.Context(), s.ID, dryRun, "test")
		if err != nil {
			t.Fatal(err)
		}
		return gone
	}
	if gone := forget(true); len(gone) != 1 || gone[0].ID != rows[1].ID || len(b.rows(s, d)) != 3 {
		t.Errorf("a dry run would forget %+v of %d", gone, len(b.rows(s, d)))
	}
	if gone := forget(false); len(gone) != 1 || b.state(s, d).Hold != "" {
		t.Errorf("forgot %+v, the status says %q", gone, b.state(s, d).Hold)
	}
	b.hours(1, s)
	b.wantNominals(s, d, 4, 3)
	b.restic(d).Check()

	// It was not gone for good: it is listed again, and judged like any other.
	restore()
	b.policy(s, last(9))
	b.hours(1, s)
	b.wantNominals(s, d, 5, 4, 3, 1)
	if gone := forget(false); len(gone) != 0 {
		t.Errorf("forgot %+v, want nothing", gone)
	}
}

// R7: a listing that lacks another schedule's backup, which would make its data
// look unneeded, reclaims nothing.
func TestABackupOfAnotherScheduleIsMissed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	hourly, keeper := b.schedule("hourly", last(1), d), b.schedule("keeper", last(9), d)
	b.fresh(1 << 20)
	b.hours(1, keeper)
	restore := b.hide(d, b.rows(keeper, d)[0].SnapshotID)
	b.fresh(1 << 20)
	b.hours(1, hourly)
	b.fresh(1 << 20)
	b.now = b.now.Add(time.Hour)
	out := b.run(hourly, envbackup.TriggerSchedule, envbackup.RunSucceeded)
	if out.Destinations[0].Removed != 1 || out.Destinations[0].Reclaimed != 0 || !strings.Contains(join(out.Warnings), "should be there and is not listed") {
		t.Errorf("removed %d and reclaimed %d bytes with %q, want 1, 0 and the reason", out.Destinations[0].Removed, out.Destinations[0].Reclaimed, out.Warnings)
	}
	restore()
	b.restic(d).Check()
	if report := b.prune(hourly, false); report.Reclaimed < 1<<19 {
		t.Errorf("once it is back %d bytes are reclaimed, want those of the removed backup", report.Reclaimed)
	}
	b.restic(d).Check()
}

// R7: a repository that shows nothing at all is no word for what is gone.
func TestNothingIsForgottenOfAnEmptyRepository(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := b.local("disk")
	s := b.schedule("hourly", last(2), d)
	b.hours(2, s)
	for _, row := range b.rows(s, d) {
		b.hide(d, row.SnapshotID)
	}
	_, err := b.runner.ForgetMissing(t.Context(), s.ID, false, "test")
	wantCode(t, err, envbackup.CodeConflict)
	if got := len(b.rows(s, d)); got != 2 {
		t.Errorf("%d backups are listed, want both", got)
	}
}
