package restorer_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/local"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// Issue 4, how right is proven: a random tree is changed again and again, and
// backed up into one repository by us and by stock restic in turn; snapshots
// are forgotten and pruned by either. Each snapshot is restored by both right
// away, and those that are left at the end once more: every restore is
// identical to what the tree was, metadata included, and stock restic's check
// of all data is clean.
func TestRandomHistoriesTogetherWithStockRestic(t *testing.T) {
	t.Parallel()

	seed, histories, rounds := uint64(time.Now().UnixNano()), 1, 10 //nolint:gosec // any seed will do
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		histories, rounds = 30, 40
	}
	if s := os.Getenv("ENVBACKUP_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("ENVBACKUP_SEED: %v", err)
		}
	}
	steps := 0
	for range histories {
		steps += runHistory(t, seed, rounds)
		seed++
	}
	t.Logf("%d changes to the trees", steps)
}

// history is one repository that two programs use, and what each snapshot in
// it must restore to.
type history struct {
	*generator
	repo     *repository.Repository
	stock    *referee.Restic
	pictures map[restic.ID]referee.Picture
	order    []restic.ID // oldest first
}

func runHistory(t *testing.T, seed uint64, rounds int) (steps int) {
	t.Logf("ENVBACKUP_SEED=%d", seed)
	dir := filepath.Join(t.TempDir(), "repository")
	be, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	h := &history{generator: newGenerator(t, seed), stock: referee.New(t, dir, "password"), pictures: map[restic.ID]referee.Picture{}}
	if h.rng.IntN(2) == 0 {
		h.repo = newRepoIn(t, be)
	} else {
		h.stock.Init()
		h.repo, err = repository.Open(t.Context(), be, secret.New("password"))
		h.check(err)
		t.Cleanup(func() { _ = h.repo.Close() })
	}
	for round := range rounds {
		h.budget = 16 << 20
		h.edit()
		h.backup()
		h.restoreBoth(h.order[len(h.order)-1])
		if round%3 == 2 {
			h.forget()
			h.prune()
		}
		if t.Failed() {
			t.Fatalf("seed %d fails in round %d", seed, round)
		}
	}
	h.stock.Check()
	listed, err := h.repo.Refresh(t.Context())
	h.check(err)
	if len(listed.Snapshots) != len(h.order) {
		t.Errorf("seed %d: %d snapshots are listed, want %d", seed, len(listed.Snapshots), len(h.order))
	}
	for _, id := range h.order {
		h.restoreBoth(id)
	}
	if t.Failed() {
		t.Fatalf("seed %d fails at the end", seed)
	}
	t.Logf("access control lists: %v, extended attributes: %v", !h.noACL, !h.noXattr)
	return h.generator.steps
}

// backup is done by either program, with the newest snapshot as the parent or,
// now and then, with none.
func (h *history) backup() {
	picture, err := referee.TakePicture(h.root)
	h.check(err)
	fresh := h.rng.IntN(5) == 0
	var id restic.ID
	if h.rng.IntN(2) == 0 {
		id = h.ourBackup(fresh)
	} else {
		args := []string{"--host", "host", h.root}
		if fresh {
			args = append(args, "--force")
		}
		id, err = restic.ParseID(h.stock.Backup(args...))
		h.check(err)
	}
	h.pictures[id] = picture
	h.order = append(h.order, id)
}

func (h *history) ourBackup(fresh bool) restic.ID {
	lock, err := h.repo.LockAhead(h.t.Context())
	h.check(err)
	listing, err := h.repo.Refresh(lock.Context())
	h.check(err)
	req := archiver.Request{Hostname: "host", Sources: []archiver.Source{{Root: h.root}}}
	if n := len(listing.Snapshots); n > 0 && !fresh {
		req.Parent = listing.Snapshots[n-1]
	}
	sn, report, err := archiver.Backup(lock.Context(), h.repo, req)
	h.check(err)
	if report.Partial() || report.Vanished > 0 {
		h.t.Fatalf("the backup left out %v, %d vanished", report.Unreadable, report.Vanished)
	}
	h.check(h.repo.VerifySnapshot(lock.Context(), sn.ID))
	h.check(lock.Unlock())
	return sn.ID
}

// restoreBoth has both programs restore a snapshot.
func (h *history) restoreBoth(id restic.ID) {
	h.t.Helper()
	h.check(h.repo.LoadIndex(h.t.Context()))
	sn, err := h.repo.LoadSnapshot(h.t.Context(), id)
	h.check(err)
	ours, theirs := h.t.TempDir(), h.t.TempDir()
	restore(h.t, h.repo, sn, restorer.Options{Target: ours, Sparse: h.rng.IntN(2) == 0})
	h.stock.Restore(id.String(), theirs)
	for who, target := range map[string]string{"we restore": ours, "stock restic restores": theirs} {
		differences, err := h.pictures[id].Diff(filepath.Join(target, h.root))
		h.check(err)
		if len(differences) > 0 {
			h.t.Errorf("%s snapshot %s with %d differences, the first: %s", who, id.Short(), len(differences), differences[0])
		}
		h.check(os.RemoveAll(target))
	}
}

// forget lets some snapshots go, never all.
func (h *history) forget() {
	var gone []restic.ID
	for _, id := range h.order[:len(h.order)-1] {
		if h.rng.IntN(3) == 0 {
			gone = append(gone, id)
		}
	}
	switch {
	case len(gone) == 0:
		return
	case h.rng.IntN(2) == 0:
		h.check(h.repo.ForgetSnapshots(h.t.Context(), gone...))
	default:
		args := []string{"forget"}
		for _, id := range gone {
			args = append(args, id.String())
		}
		h.stock.Run(args...)
	}
	h.order = slices.DeleteFunc(h.order, func(id restic.ID) bool { return slices.Contains(gone, id) })
}

// prune is done by either program, to the last byte or with some waste left.
func (h *history) prune() {
	thorough := h.rng.IntN(2) == 0
	if h.rng.IntN(2) == 0 {
		opts := repository.PruneOptions{}
		if thorough {
			opts.MaxUnusedPercent = -1
		}
		_, err := h.repo.Prune(h.t.Context(), opts)
		h.check(err)
		return
	}
	args := []string{"prune"}
	if thorough {
		args = append(args, "--max-unused", "0")
	}
	h.stock.Run(args...)
}
