package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// A person removes a snapshot with stock restic: removals stop and the
// schedule says why (R7), forget-missing shows what is missing and takes it off
// the list only with --yes, and a dry run says of every backup why it is kept.
func TestASnapshotRemovedByHandIsForgotten(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.start()
	source := filepath.Join(t.TempDir(), "source")
	writeTree(t, source, 1)
	_, server := in.declare(t.Context(), source, retention.Spec{KeepLast: ptr(int64(2))})
	in.run("runs", "show", "latest", "--schedule", "shop/nightly", "--follow")
	in.run("schedules", "run", "shop/nightly", "--wait")
	var backups []wire.Backup
	in.runJSON(&backups, "backups", "list", "--environment", "shop")
	if len(backups) != 2 {
		t.Fatalf("%d backups are listed, want 2", len(backups))
	}
	lost := backups[0]

	var key wire.Key
	in.runJSON(&key, "key", "show", "--environment", "shop", "--destination", "primary")
	referee.New(t, key.Repository, key.Password, server.Environ()...).Run("forget", lost.SnapshotID)
	in.run("schedules", "run", "shop/nightly", "--wait")

	list := in.run("schedules", "list")
	for _, want := range []string{"attention", "1 of 3 backups is missing from the repository there", "envbackup backups forget-missing shop/nightly"} {
		if !strings.Contains(list, want) {
			t.Errorf("schedules list does not say %q:\n%s", want, list)
		}
	}
	r := in.try("backups", "forget-missing", "shop/nightly")
	if r.code != 2 || !strings.Contains(r.stdout, lost.ID) || !strings.Contains(r.stderr, "--yes to take 1 backup off the list") {
		t.Errorf("without --yes: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if out := in.run("backups", "forget-missing", "shop/nightly", "--yes"); !strings.Contains(out, "1 backup forgotten") {
		t.Errorf("forget-missing says:\n%s", out)
	}
	if out := in.run("backups", "forget-missing", "shop/nightly"); out != "No backup of shop/nightly is missing.\n" {
		t.Errorf("again it says:\n%s", out)
	}
	if list := in.run("schedules", "list"); strings.Contains(list, "attention") {
		t.Errorf("schedules list still says:\n%s", list)
	}

	in.run("backups", "hold", backups[1].ID, "--reason", "evidence")
	out := in.run("prune", "shop/nightly", "--dry-run")
	for _, want := range []string{"floor (keep_at_least 1), held", "newest good backup, manual, younger than 30d", "0 of 2 backups would go now. Nothing was removed."} {
		if !strings.Contains(out, want) {
			t.Errorf("prune --dry-run does not say %q:\n%s", want, out)
		}
	}
	if r := in.try("prune", "shop/nightly", "--dry-run", "--reclaim"); r.code != 2 {
		t.Errorf("--dry-run with --reclaim: exit code %d, want 2", r.code)
	}
	if out := in.run("prune", "shop/nightly", "--reclaim"); !strings.Contains(out, "reclaimed") {
		t.Errorf("prune --reclaim says:\n%s", out)
	}
	if r := in.try("backups", "acknowledge", backups[1].ID); r.code == 0 || !strings.Contains(r.stderr, "is complete, not suspect") {
		t.Errorf("acknowledging a good backup: exit code %d\n%s", r.code, r.stderr)
	}
}
