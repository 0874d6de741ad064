package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// verifyAll checks the repository and every snapshot in it.
func verifyAll(t *testing.T, be backend.Backend, want map[restic.ID]map[string]files) {
	t.Helper()
	r := reopen(t, be)
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	must(t, err)
	if len(report.Problems) != 0 {
		t.Fatalf("problems: %+v", report.Problems)
	}
	snapshots, err := r.Snapshots(t.Context(), nil)
	must(t, err)
	for _, s := range snapshots {
		if want[s.ID] == nil {
			t.Fatalf("snapshot %s is not one that was made", s.ID.Short())
		}
		must(t, compareSnapshot(t.Context(), r, s, want[s.ID]))
	}
}

func TestPruneRemovesWhatNothingNeeds(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be, withSmallPacks(256<<10))
	want := make(map[restic.ID]map[string]files)
	var ids []restic.ID
	for i := range 12 {
		s := mustBackup(t, r, day(i), sample(i))
		want[s.ID] = sample(i)
		ids = append(ids, s.ID)
	}
	must(t, r.ForgetSnapshots(t.Context(), ids[:9]...))

	before := r.Stats()
	dry, err := r.Prune(t.Context(), PruneOptions{DryRun: true, MaxUnusedPercent: -1})
	must(t, err)
	if r.Stats() != before {
		t.Error("a dry run changed something")
	}
	var phases []string
	stats, err := r.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1, Progress: func(p PruneProgress) {
		if !slices.Contains(phases, p.Phase) {
			phases = append(phases, p.Phase)
		}
	}})
	must(t, err)
	if dry.UsedBytes != stats.UsedBytes || dry.UnusedBytes != stats.UnusedBytes || dry.PacksRemoved != stats.PacksRemoved || dry.PacksRepacked != stats.PacksRepacked {
		t.Errorf("the dry run said\n%+v, the real one\n%+v", dry, stats)
	}
	if stats.UnusedBytes == 0 || stats.FreedBytes <= 0 || stats.PacksRemoved+stats.PacksRepacked == 0 || stats.Snapshots != 3 {
		t.Errorf("stats: %+v", stats)
	}
	if fmt.Sprint(phases) != "[mark repack remove]" {
		t.Errorf("phases: %v", phases)
	}
	verifyAll(t, be, want)
	// The stats are true of the store, and nothing is left to do.
	after := r.Stats()
	if got := objects(t, be, backend.KindData); got != after.Packs || after.Packs != stats.PacksKept+stats.PacksWritten {
		t.Errorf("%d packs in the store, %d in the index, stats %+v", got, after.Packs, stats)
	}
	if got, wantFreed := before.StoredBytes-after.StoredBytes, stats.FreedBytes; got != wantFreed {
		t.Errorf("freed %d bytes, stats say %d", got, wantFreed)
	}
	again, err := r.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1})
	must(t, err)
	if again.UnusedBytes != 0 || again.PacksRemoved != 0 || again.PacksRepacked != 0 {
		t.Errorf("the second prune found %+v", again)
	}
	// The Repository goes on working with what is left.
	s := mustBackup(t, r, day(20), sample(20))
	want[s.ID] = sample(20)
	verifyAll(t, be, want)
	referee.New(t, copyToDir(t, be), testPassword).Check()
}

func TestPruneOfEverything(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	s := mustBackup(t, r, day(0), sample(0))
	must(t, r.ForgetSnapshots(t.Context(), s.ID))
	_, err := r.Prune(t.Context(), PruneOptions{})
	must(t, err)
	if n := objects(t, be, backend.KindData) + objects(t, be, backend.KindIndex) + objects(t, be, backend.KindLock); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	s = mustBackup(t, r, day(1), sample(0))
	verifyAll(t, be, map[restic.ID]map[string]files{s.ID: sample(0)})
}

func TestPruneKeepsWithinItsBounds(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T) (*Repository, *mem.Backend) {
		be := mem.New()
		r := newRepo(t, be, withSmallPacks(256<<10))
		var ids []restic.ID
		for i := range 8 {
			ids = append(ids, mustBackup(t, r, day(i), sample(i)).ID)
		}
		must(t, r.ForgetSnapshots(t.Context(), ids[:7]...))
		return r, be
	}
	tests := map[string]struct {
		opt   PruneOptions
		check func(PruneStats) bool
	}{
		"no repacking":  {PruneOptions{MaxRepackBytes: -1, MaxUnusedPercent: -1}, func(s PruneStats) bool { return s.PacksRepacked == 0 && s.UnusedLeft > 0 }},
		"little":        {PruneOptions{MaxRepackBytes: 100_000, MaxUnusedPercent: -1}, func(s PruneStats) bool { return s.RepackedBytes <= 100_000 }},
		"all":           {PruneOptions{MaxUnusedPercent: -1}, func(s PruneStats) bool { return s.PacksRepacked > 0 && s.UnusedLeft == 0 }},
		"waste allowed": {PruneOptions{MaxUnusedPercent: 1000}, func(s PruneStats) bool { return s.RepackedBytes < 50_000 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := setup(t)
			stats, err := r.Prune(t.Context(), tt.opt)
			must(t, err)
			if !tt.check(stats) {
				t.Errorf("stats: %+v", stats)
			}
		})
	}
}

func TestPruneMergesSmallPacksAndIndexFiles(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	want := make(map[restic.ID]map[string]files)
	for i := range 12 {
		s := mustBackup(t, r, day(i), sample(i))
		want[s.ID] = sample(i)
	}
	before := r.Stats()
	_, err := r.Prune(t.Context(), PruneOptions{})
	must(t, err)
	if got := r.Stats(); got.Packs > 3 || got.IndexFiles > 2 || before.Packs < 20 || before.IndexFiles != 12 {
		t.Errorf("before %+v, after %+v", before, got)
	}
	verifyAll(t, be, want)
	referee.New(t, copyToDir(t, be), testPassword).Check()
}

func TestUnreferencedPacksWaitForTheirGrace(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	s := mustBackup(t, r, day(0), sample(0))
	stray := content(9, 1000)
	must(t, be.Put(t.Context(), backend.Handle{Kind: backend.KindData, Name: restic.Hash(stray).String()}, stray, backend.PutOptions{}))
	stats, err := r.Prune(t.Context(), PruneOptions{UnreferencedGrace: time.Hour})
	must(t, err)
	if stats.PacksInGrace != 1 || stats.PacksUnreferenced != 0 {
		t.Errorf("within the grace: %+v", stats)
	}
	stats, err = r.Prune(t.Context(), PruneOptions{})
	must(t, err)
	if stats.PacksInGrace != 0 || stats.PacksUnreferenced != 1 || objects(t, be, backend.KindData) != r.Stats().Packs {
		t.Errorf("after it: %+v", stats)
	}
	verifyAll(t, be, map[restic.ID]map[string]files{s.ID: sample(0)})
}

func TestPruneLeavesADamagedRepositoryAlone(t *testing.T) {
	t.Parallel()
	for name, breakIt := range map[string]func(t *testing.T, be *mem.Backend, r *Repository, s *restic.Snapshot){
		"a pack is missing": func(t *testing.T, be *mem.Backend, r *Repository, s *restic.Snapshot) {
			pack := r.LookupBlob(restic.BlobHandle{ID: restic.Hash(content(1, 300_000)), Type: restic.DataBlob})[0].Pack
			must(t, be.Delete(t.Context(), backend.Handle{Kind: backend.KindData, Name: pack.String()}))
		},
		"a tree is missing": func(t *testing.T, be *mem.Backend, r *Repository, s *restic.Snapshot) {
			pack := r.LookupBlob(restic.BlobHandle{ID: *s.Tree, Type: restic.TreeBlob})[0].Pack
			must(t, be.Delete(t.Context(), backend.Handle{Kind: backend.KindData, Name: pack.String()}))
		},
		"an index file is missing": func(t *testing.T, be *mem.Backend, r *Repository, s *restic.Snapshot) {
			needed := r.LookupBlob(restic.BlobHandle{ID: *s.Tree, Type: restic.TreeBlob})[0].Pack
			for id, packs := range r.index().Files() {
				if slices.Contains(packs, needed) {
					must(t, be.Delete(t.Context(), backend.Handle{Kind: backend.KindIndex, Name: id.String()}))
				}
			}
		},
		"a snapshot is damaged": func(t *testing.T, be *mem.Backend, r *Repository, s *restic.Snapshot) {
			must(t, be.Put(t.Context(), backend.Handle{Kind: backend.KindSnapshot, Name: s.ID.String()}, []byte("junk"), backend.PutOptions{}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			be := mem.New()
			r := newRepo(t, be)
			s := mustBackup(t, r, day(0), sample(0))
			gone := mustBackup(t, r, day(1), sample(1))
			must(t, r.ForgetSnapshots(t.Context(), gone.ID))
			breakIt(t, be, r, s)
			before := objects(t, be, backend.KindData)
			if _, err := r.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1}); !errors.Is(err, ErrDamaged) {
				t.Errorf("prune: %v", err)
			}
			if after := objects(t, be, backend.KindData); after != before {
				t.Errorf("%d packs before, %d after", before, after)
			}
		})
	}
}

func TestPruneDoesNotCopyDamagedBlobs(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	kept := mustBackup(t, r, day(0), map[string]files{"d": {"keep": {content(1, 100_000)}, "drop": {content(3, 100_000)}}})
	// Make half of the pack waste.
	kept2 := mustBackup(t, r, day(1), map[string]files{"d": {"keep": {content(1, 100_000)}}})
	must(t, r.ForgetSnapshots(t.Context(), kept.ID))
	h := restic.BlobHandle{ID: restic.Hash(content(1, 100_000)), Type: restic.DataBlob}
	b := r.LookupBlob(h)[0]
	flip(t, be, backend.Handle{Kind: backend.KindData, Name: b.Pack.String()}, int(b.Offset)+500)
	stats, err := r.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1})
	must(t, err)
	if len(stats.Damaged) != 1 || stats.Damaged[0] != b.Pack {
		t.Errorf("stats: %+v", stats)
	}
	// The damaged pack is still there, to be healed or mourned.
	if _, err := be.Stat(t.Context(), backend.Handle{Kind: backend.KindData, Name: b.Pack.String()}); err != nil {
		t.Error(err)
	}
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	must(t, err)
	if len(report.Problems) == 0 || kept2 == nil {
		t.Error("the check does not see the damage")
	}
}

// Issue 4, item 4, and the write order of DESIGN.md section 6: a crash at any
// point leaves a repository that is sound, and the next run succeeds.
func TestACrashAtAnyPointOfBackupAndPruneLosesNothing(t *testing.T) {
	t.Parallel()
	base := mem.New()
	r := newRepo(t, base, withSmallPacks(128<<10))
	want := make(map[restic.ID]map[string]files)
	var ids []restic.ID
	for i := range 5 {
		s := mustBackup(t, r, day(i), sample(i))
		want[s.ID] = sample(i)
		ids = append(ids, s.ID)
	}
	steps := map[string]func(ctx context.Context, r *Repository) error{
		"backup": func(ctx context.Context, r *Repository) error {
			l, err := r.Lock(ctx, false)
			if err != nil {
				return err
			}
			s, err := backup(l.Context(), r, day(9), sample(9))
			if err != nil {
				r.Abort()
				return errors.Join(err, l.Unlock())
			}
			want[s.ID] = sample(9)
			return l.Unlock()
		},
		"prune": func(ctx context.Context, r *Repository) error {
			if err := r.ForgetSnapshots(ctx, ids[0], ids[1], ids[3]); err != nil {
				return err
			}
			_, err := r.Prune(ctx, PruneOptions{MaxUnusedPercent: -1})
			return err
		},
	}
	dirty := 0
	for _, name := range sortedKeys(steps) {
		for k := 1; ; k++ {
			store := base.Clone()
			c := &counting{Backend: store, failAt: k, half: k%2 == 0}
			crashed := reopen(t, c, withSmallPacks(128<<10), withQuickLocks())
			err := steps[name](t.Context(), crashed)
			if err == nil && c.dead {
				// The removal of the own lock may fail without harm, but then
				// Unlock says so.
				t.Fatalf("%s survived its death at change %d", name, k)
			}
			verifyAll(t, store, want)
			if k%4 == 1 {
				dir := copyToDir(t, store)
				stock := referee.New(t, dir, testPassword)
				stock.Run("unlock", "--remove-all")
				stock.Run("check", "--read-data")
				dirty++
			}
			// The next run clears up and works.
			next := reopen(t, store, withQuickLocks())
			locks, err2 := next.Locks(t.Context())
			must(t, err2)
			for _, l := range locks {
				must(t, next.removeLock(t.Context(), l.ID))
			}
			s := mustBackup(t, next, day(10), sample(10))
			want[s.ID] = sample(10)
			_, err2 = next.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1})
			must(t, err2)
			verifyAll(t, store, want)
			report, err2 := next.Check(t.Context(), CheckOptions{})
			must(t, err2)
			if len(report.Hints) != 0 {
				t.Errorf("%s, change %d: the next prune left %+v", name, k, report.Hints)
			}
			if err == nil {
				t.Logf("%s makes %d changes", name, k-1)
				break
			}
		}
	}
	if dirty == 0 {
		t.Error("stock restic looked at nothing")
	}
}

// What a backup that runs meanwhile relies on is not removed.
func TestPruneSparesWhatABackupBeganToUse(t *testing.T) {
	t.Parallel()
	be := mem.New()
	pruning := newRepo(t, be)
	old := mustBackup(t, pruning, day(0), sample(0))
	must(t, pruning.ForgetSnapshots(t.Context(), old.ID))

	// Everything of generation 0 is unused when the plan is made. Then a
	// backup of the same data, from another host, finishes.
	other := reopen(t, be)
	lock, err := pruning.LockAhead(t.Context())
	must(t, err)
	p := &pruner{r: pruning, roots: make(map[restic.ID]bool)}
	must(t, p.prepare(lock.Context()))
	if p.stats.PacksRemoved == 0 {
		t.Fatalf("nothing to remove: %+v", p.stats)
	}
	l, err := other.Lock(t.Context(), false)
	must(t, err)
	s := mustBackup(t, other, day(1), sample(0))
	// While it holds its lock, nothing may be removed.
	if err := p.carryOut(t.Context(), lock); !errors.Is(err, ErrLocked) {
		t.Errorf("prune during a backup: %v", err)
	}
	must(t, l.Unlock())
	must(t, p.carryOut(t.Context(), lock))
	must(t, lock.Unlock())
	verifyAll(t, be, map[restic.ID]map[string]files{s.ID: sample(0)})
}

func flip(t *testing.T, be backend.Backend, h backend.Handle, at int) {
	t.Helper()
	data, err := backend.ReadAll(t.Context(), be, h, 1<<30)
	must(t, err)
	data[at] ^= 0x40
	must(t, be.Put(t.Context(), h, data, backend.PutOptions{}))
}
