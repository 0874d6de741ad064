package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// errForgotten is what a part returns whose snapshot was forgotten meanwhile.
var errForgotten = errors.New("the snapshot was forgotten meanwhile")

// bulky is sample with enough that nobody else has to be at it for a while.
func bulky(n int) map[string]files {
	tree := sample(n % 100)
	tree["bulk"] = files{}
	for i := range 40 {
		tree["bulk"][fmt.Sprint("file-", i)] = [][]byte{content(uint64(1000*(n+1)+i), 150_000)} //nolint:gosec // not negative
	}
	return tree
}

// compareFiles compares what was restored with what was saved.
func compareFiles(dir string, dirs map[string]files) error {
	found := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		found++
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		parent, base := filepath.Split(name)
		want, known := dirs[filepath.Clean(parent)][base]
		got, err := os.ReadFile(path)
		if err == nil && (!known || !bytes.Equal(got, bytes.Join(want, nil))) {
			err = fmt.Errorf("%s is restored wrong", name)
		}
		return err
	})
	for _, of := range dirs {
		found -= len(of)
	}
	if err == nil && found != 0 {
		err = fmt.Errorf("%d files too many were restored", found)
	}
	return err
}

// Issue 4, concurrency: our backups, restores, checks, forgets and prunes and
// those of stock restic work on one repository at once. The only errors are
// honest lock conflicts, every restore is right, and nothing is lost.
func TestStockResticAndWeWorkTogether(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "repo")
	must(t, newRepo(t, openLocal(t, dir)).be.Close())
	source := t.TempDir()
	must(t, os.WriteFile(filepath.Join(source, "file"), content(77, 300_000), 0o600))

	rounds := 4
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		rounds = 150
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		want = make(map[restic.ID]map[string]files)
		done = make(map[string]int)
		// stored is closed when there is something to restore.
		stored = make(chan struct{})
		first  sync.Once
	)
	giveUp := func(format string, args ...any) {
		t.Errorf(format, args...)
		first.Do(func() { close(stored) }) // nobody waits for who gave up
	}
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
				case errors.Is(err, ErrLocked), errors.Is(err, errForgotten), errors.As(err, &stock) && stock.ExitCode == 11:
					if tries > 5000*times { // a try takes a millisecond, a stock prune on a busy machine seconds
						giveUp("%s: never got the lock", name)
						return
					}
				default:
					giveUp("%s: %v", name, err)
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
	forget := func(r *Repository, taken time.Time) error {
		old, err := r.Snapshots(t.Context(), func(s *restic.Snapshot) bool { return s.Hostname == "test" && s.Time.Equal(taken) })
		if err == nil && len(old) != 1 {
			err = fmt.Errorf("%d snapshots were taken at %s", len(old), taken)
		}
		if err != nil {
			return err
		}
		mu.Lock()
		delete(want, old[0].ID)
		mu.Unlock()
		return r.ForgetSnapshots(t.Context(), old[0].ID)
	}
	for i, r := range []*Repository{open(), open()} {
		each(fmt.Sprint("our backup ", i), rounds, func(round int) error {
			l, err := r.Lock(t.Context(), false)
			if err != nil {
				return err
			}
			if err = r.LoadIndex(l.Context()); err == nil {
				var s *restic.Snapshot
				tree := bulky(100*i + round)
				if s, err = backup(l.Context(), r, day(100*i+round), tree); err == nil {
					err = r.VerifySnapshot(l.Context(), s.ID)
					mu.Lock()
					want[s.ID] = tree
					mu.Unlock()
					first.Do(func() { close(stored) })
				}
			}
			if err = errors.Join(err, l.Unlock()); err != nil || round%2 == 0 {
				return err
			}
			// Every other time the one before is forgotten.
			return forget(r, day(100*i+round-1))
		})
	}
	pruning := open()
	each("our prune", 2*rounds, func(int) error {
		_, err := pruning.Prune(t.Context(), PruneOptions{MaxUnusedPercent: -1})
		return err
	})
	stockRestore := referee.New(t, dir, testPassword)
	stock := func(args ...string) func(int) error {
		restic := referee.New(t, dir, testPassword)
		return func(int) error {
			_, err := restic.Try(args...)
			return err
		}
	}
	// A snapshot to restore: it stays, or it was forgotten meanwhile.
	pick := func(round int) (id restic.ID, tree map[string]files) {
		<-stored
		mu.Lock()
		defer mu.Unlock()
		ids := slices.SortedFunc(maps.Keys(want), func(a, b restic.ID) int { return bytes.Compare(a[:], b[:]) })
		if len(ids) == 0 {
			return id, nil // the backups failed
		}
		id = ids[round*7%len(ids)]
		return id, want[id]
	}
	forgotten := func(id restic.ID) bool {
		mu.Lock()
		defer mu.Unlock()
		_, kept := want[id]
		return !kept
	}
	restoring := open()
	each("our restore", rounds, func(round int) error {
		id, tree := pick(round)
		l, err := restoring.Lock(t.Context(), false)
		if err != nil {
			return err
		}
		s, err := restoring.LoadSnapshot(l.Context(), id)
		if errors.Is(err, backend.ErrNotExist) && forgotten(id) {
			return errors.Join(errForgotten, l.Unlock())
		}
		target := t.TempDir()
		if err == nil {
			if err = restoring.LoadIndex(l.Context()); err == nil {
				_, err = restorer.Restore(l.Context(), restoring, s, restorer.Options{Target: target, Verify: true})
			}
		}
		if err == nil {
			err = compareFiles(target, tree)
		}
		return errors.Join(err, l.Unlock())
	})
	checking := open()
	each("our check", rounds, func(int) error {
		l, err := checking.Lock(t.Context(), false)
		if err != nil {
			return err
		}
		report, err := checking.Check(l.Context(), CheckOptions{ReadData: true})
		if err == nil && len(report.Problems) > 0 {
			err = fmt.Errorf("problems: %+v", report.Problems)
		}
		return errors.Join(err, l.Unlock())
	})
	each("stock restore", rounds/2, func(round int) error {
		id, tree := pick(round)
		target := t.TempDir()
		if _, err := stockRestore.Try("restore", id.String(), "--target", target); err != nil {
			if forgotten(id) {
				return errForgotten
			}
			return err
		}
		return compareFiles(target, tree)
	})
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
	if n := len(want) + rounds/2; len(snapshots) != n || len(want) != 2*(rounds-rounds/2) {
		t.Errorf("%d snapshots, want %d", len(snapshots), n)
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
