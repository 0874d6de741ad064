package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// TestKillAnywhere kills the daemon at random points of a run, starts it
// again, and lets it finish: no run may be lost, no slot run twice, and every
// backup that is listed at the end must restore, through stock restic, to the
// very tree that it says it is (S1, S5, S13, R1). ENVBACKUP_SEED repeats a
// failure; `make soak` kills more often.
func TestKillAnywhere(t *testing.T) {
	t.Parallel()
	kills := 20
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		kills = 200
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("ENVBACKUP_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ENVBACKUP_SEED=%d, %d kills", seed, kills)
	random := rand.New(rand.NewPCG(seed, 0))

	in := newInstallation(t)
	in.start()
	source := filepath.Join(t.TempDir(), "source")
	writeTree(t, source, 0)
	bucket, server := in.declare(t.Context(), source, retention.Spec{KeepLast: ptr(int64(3)), ManualPeriod: "1d"})

	// How long an undisturbed run takes bounds the random delays.
	in.run("runs", "show", "latest", "--follow")
	writeTree(t, source, 1)
	began := time.Now()
	in.run("schedules", "run", "shop/nightly", "--wait")
	typical := time.Since(began)

	interrupted := 0
	for i := range kills {
		generation := 2 + i
		writeTree(t, source, generation)
		run := must[wire.Run](t)(in.client().RunSchedule(t.Context(), "shop/nightly", true))
		delay := time.Duration(random.Float64() * 1.2 * float64(typical))
		waitFor(t.Context(), delay)
		in.kill()
		in.start()
		// The run that was interrupted is taken up again by itself.
		in.run("runs", "show", run.ID, "--follow")
		var after wire.Run
		in.runJSON(&after, "runs", "show", run.ID)
		if after.State != "succeeded" {
			t.Fatalf("kill %d after %s: run %s is %s: %+v", i, delay, run.ID, after.State, after)
		}
		if len(after.Attempts) > 1 {
			interrupted++
		}
	}
	t.Logf("%d of %d kills interrupted an attempt", interrupted, kills)
	if interrupted == 0 {
		t.Error("no kill interrupted an attempt: the test proved nothing")
	}

	var backups []wire.Backup
	in.runJSON(&backups, "backups", "list", "--environment", "shop", "--limit", "0")
	perRun := map[string]int{}
	for _, b := range backups {
		perRun[b.RunID]++
		if perRun[b.RunID] > 1 {
			t.Errorf("run %s left %d backups", b.RunID, perRun[b.RunID])
		}
	}
	if want := kills + 2; len(backups) != want {
		t.Errorf("%d backups are listed after %d runs", len(backups), want)
	}
	var key wire.Key
	in.runJSON(&key, "key", "show", "--environment", "shop", "--destination", "primary")
	if want := server.ResticURL(bucket, "backups/shop"); key.Repository != want {
		t.Fatalf("the repository is at %s, want %s", key.Repository, want)
	}
	if code := in.terminate(); code != 0 {
		t.Errorf("SIGTERM ended the daemon with exit code %d, want 0", code)
	}

	restic := referee.New(t, key.Repository, key.Password, server.Environ()...)
	// A killed writer may leave packs that nothing mentions; those are no
	// damage, and the next prune removes them. Everything else would be.
	restic.Check()
	snapshots := restic.Snapshots()
	if len(snapshots) != len(backups) {
		t.Errorf("the repository holds %d snapshots, the daemon lists %d backups", len(snapshots), len(backups))
	}
	for _, b := range backups {
		target := filepath.Join(t.TempDir(), "restored")
		restic.Restore(b.SnapshotID, target)
		restored := filepath.Join(target, source)
		generation := generationOf(t, restored)
		want := filepath.Join(t.TempDir(), fmt.Sprintf("generation-%d", generation))
		writeTree(t, want, generation)
		if got, want := fingerprint(t, restored), fingerprint(t, want); got != want {
			t.Errorf("backup %s (generation %d) restores to something else:\n%s", b.ID, generation, firstDifference(want, got))
		}
		if err := os.RemoveAll(target); err != nil {
			t.Fatal(err)
		}
	}
}

// waitFor waits for a moment that nothing announces: the random point of the
// kill. It is the only such wait here.
func waitFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
