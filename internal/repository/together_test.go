package repository

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// Issue 4, concurrency: our backups and prunes and those of stock restic work
// on one repository at once. The only errors are honest lock conflicts, and
// nothing is lost.
func TestStockResticAndWeWorkTogether(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	must(t, newRepo(t, openLocal(t, dir)).be.Close())
	source := t.TempDir()
	must(t, os.WriteFile(filepath.Join(source, "file"), content(77, 300_000), 0o600))

	rounds := 4
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		rounds = 60
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		want = make(map[restic.ID]map[string]files)
		done = make(map[string]int)
	)
	// each repeats what may meet a lock until it was done often enough. Every
	// attempt that meets one gives the holder time to finish: it reads the
	// repository anew.
	each := func(name string, times int, once func(round int) error) {
		wg.Go(func() {
			for round, tries := 0, 0; round < times; tries++ {
				err := once(round)
				var stock *referee.Error
				switch {
				case err == nil:
					mu.Lock()
					done[name]++
					mu.Unlock()
					round++
				case errors.Is(err, ErrLocked), errors.As(err, &stock) && stock.ExitCode == 11:
					if tries > 5000*times { // a try takes a millisecond, a stock prune on a busy machine seconds
						t.Errorf("%s: never got the lock", name)
						return
					}
				default:
					t.Errorf("%s: %v", name, err)
					return
				}
			}
		})
	}
	open := func() *Repository {
		r, err := Open(t.Context(), openLocal(t, dir), secret.New(testPassword), withSmallPacks(256<<10))
		must(t, err)
		t.Cleanup(func() { must(t, r.Close()) })
		return r
	}
	for i, r := range []*Repository{open(), open()} {
		each(fmt.Sprint("our backup ", i), rounds, func(round int) error {
			l, err := r.Lock(t.Context(), false)
			if err != nil {
				return err
			}
			if err = r.LoadIndex(l.Context()); err == nil {
				var s *restic.Snapshot
				if s, err = backup(l.Context(), r, day(10*i+round), sample(round)); err == nil {
					mu.Lock()
					want[s.ID] = sample(round)
					mu.Unlock()
					err = r.VerifySnapshot(l.Context(), s.ID)
				}
			}
			return errors.Join(err, l.Unlock())
		})
	}
	pruning := open()
	each("our prune", rounds, func(int) error {
		_, err := pruning.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1})
		return err
	})
	stock := func(args ...string) func(int) error {
		restic := referee.New(t, dir, testPassword)
		return func(int) error {
			_, err := restic.Try(args...)
			return err
		}
	}
	each("stock backup", rounds/2, stock("backup", "--host", "stock", source))
	each("stock prune", rounds/2, stock("prune", "--max-unused", "0"))
	wg.Wait()
	t.Logf("done: %v", done)

	referee.New(t, dir, testPassword).Check()
	r := reopen(t, openLocal(t, dir))
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	must(t, err)
	if len(report.Problems) != 0 {
		t.Fatalf("problems: %+v", report.Problems)
	}
	snapshots, err := r.Snapshots(t.Context(), nil)
	must(t, err)
	if len(snapshots) != 2*rounds+rounds/2 {
		t.Errorf("%d snapshots, want %d", len(snapshots), 2*rounds+rounds/2)
	}
	for _, s := range snapshots {
		if s.Hostname != "stock" {
			must(t, compareSnapshot(t.Context(), r, s, want[s.ID]))
		}
	}
	if n := objects(t, r.be, backend.KindLock); n != 0 {
		t.Errorf("%d locks are left", n)
	}
}
