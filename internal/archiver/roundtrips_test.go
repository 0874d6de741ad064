package archiver_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// far is a store that answers after a while, and writes down what it is asked.
// In a bubble, where computing takes no time, what work on it takes is its
// serial round trips and nothing else.
type far struct {
	backend.Backend
	began time.Time

	mu       sync.Mutex
	requests []string
}

// lag is one round trip. It is short against the wait of a lock.
const lag = 30 * time.Millisecond

func (f *far) ask(ctx context.Context, what string, kind backend.Kind) error {
	f.mu.Lock()
	f.requests = append(f.requests, fmt.Sprintf("%4dms %s %s", time.Since(f.began).Milliseconds(), what, kind))
	f.mu.Unlock()
	t := time.NewTimer(lag)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (f *far) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if err := f.ask(ctx, "put", h.Kind); err != nil {
		return err
	}
	return f.Backend.Put(ctx, h, data, opt)
}

func (f *far) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) error {
	if err := f.ask(ctx, "get", h.Kind); err != nil {
		return err
	}
	return f.Backend.Get(ctx, h, offset, length, fn)
}

func (f *far) Stat(ctx context.Context, h backend.Handle) (int64, error) {
	if err := f.ask(ctx, "stat", h.Kind); err != nil {
		return 0, err
	}
	return f.Backend.Stat(ctx, h)
}

func (f *far) List(ctx context.Context, kind backend.Kind, fn func(string, int64, time.Time) error) error {
	if err := f.ask(ctx, "list", kind); err != nil {
		return err
	}
	return f.Backend.List(ctx, kind, fn)
}

func (f *far) Delete(ctx context.Context, handles ...backend.Handle) error {
	if err := f.ask(ctx, "delete", handles[0].Kind); err != nil {
		return err
	}
	return f.Backend.Delete(ctx, handles...)
}

// cost is what fn asks of the store: how long it takes, and how many requests.
func (f *far) cost(t *testing.T, fn func()) (took time.Duration, requests []string) {
	t.Helper()
	f.mu.Lock()
	f.began, f.requests = time.Now(), nil
	f.mu.Unlock()
	fn()
	took = time.Since(f.began)
	f.mu.Lock()
	defer f.mu.Unlock()
	return took, f.requests
}

// takeBackup is a run as the daemon and the benchmarks do it.
func takeBackup(t *testing.T, repo *repository.Repository, root string) *restic.Snapshot {
	t.Helper()
	lock, err := repo.LockAhead(t.Context())
	must(t, err)
	listing, err := repo.Refresh(lock.Context())
	must(t, err)
	must(t, listing.Damaged)
	req := archiver.Request{Sources: one(root)}
	if n := len(listing.Snapshots); n > 0 {
		req.Parent = listing.Snapshots[n-1]
	}
	sn, _, err := archiver.Backup(lock.Context(), repo, req)
	must(t, err)
	lock.Release()
	must(t, repo.VerifySnapshot(t.Context(), sn.ID))
	must(t, lock.Unlock())
	return sn
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Issue 4: what a far store costs is requests that wait for each other. The
// bounds are those of restic's protocol: to lock is to list, write, wait and
// list again, and the work goes on beside; then packs, index and snapshot come
// one after the other. A request that somebody adds to the way shows up here.
func TestRunsWaitForFewRoundTrips(t *testing.T) {
	t.Parallel()
	root := newSource(t)
	for i := range 400 {
		dir := filepath.Join(root, fmt.Sprintf("part-%02d/directory-%02d", i%20, i/20))
		must(t, os.MkdirAll(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "document"), []byte(strings.Repeat("text ", i)), 0o644))
	}
	edit := func(i, j int) {
		must(t, os.WriteFile(filepath.Join(root, fmt.Sprintf("part-%02d/directory-%02d/document", i%20, j%20)), fmt.Append(nil, "edition", i, j), 0o644))
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(100 * 365 * 24 * time.Hour) // the files are older than all backups
		store := &far{Backend: mem.New()}
		repo, err := repository.Init(t.Context(), store, secret.New("password"), repository.InitOptions{})
		must(t, err)
		reopen := func(opts ...repository.Option) {
			must(t, repo.Close())
			repo, err = repository.Open(t.Context(), store, secret.New("password"), opts...)
			must(t, err)
		}
		const settle = 200 * time.Millisecond // from the lock's writing on
		check := func(name string, trips int, settles time.Duration, requests int, took time.Duration, asked []string) {
			t.Helper()
			if most := time.Duration(trips)*lag + settles; took > most || len(asked) > requests {
				t.Errorf("%s: took %s, want %s at most; %d requests, want %d at most:\n%s",
					name, took, most, len(asked), requests, strings.Join(asked, "\n"))
			}
		}
		measure := func(name string, trips, requests int, fn func()) {
			t.Helper()
			took, asked := store.cost(t, fn)
			check(name, trips, settle, requests, took, asked)
		}
		unchanged := func(name string, trips, requests int, fn func()) {
			t.Helper()
			took, asked := store.cost(t, fn)
			if strings.Contains(strings.Join(asked, "\n"), "put pack") {
				// A directory above the source changed: its tree is written,
				// read back and listed.
				trips, requests = trips+3, requests+3
			}
			check(name, trips, settle, requests, took, asked)
		}
		measure("first", 8, 13, func() { takeBackup(t, repo, root) })
		unchanged("warm, no change", 5, 9, func() { takeBackup(t, repo, root) })
		edit(1, 1)
		measure("warm, a change", 8, 13, func() { takeBackup(t, repo, root) })
		unchanged("cold, no change", 7, 40, func() { reopen(); takeBackup(t, repo, root) })
		edit(2, 2)
		measure("cold, a change", 10, 45, func() { reopen(); takeBackup(t, repo, root) })

		// A daemon that was restarted has all it needs but the lists.
		cached := repository.WithCache(filepath.Join(t.TempDir(), "cache"), 1<<30)
		reopen(cached)
		takeBackup(t, repo, root)
		edit(3, 3)
		measure("restarted, a change", 10, 17, func() {
			reopen(cached)
			takeBackup(t, repo, root)
		})
		var took time.Duration
		var asked []string
		for range 2 { // the first reads the trees of earlier backups
			took, asked = store.cost(t, func() {
				reopen(cached)
				_, err := repo.Prune(t.Context(), repository.PruneOptions{DryRun: true})
				must(t, err)
			})
		}
		check("restarted, a prune's plan", 8, 0, 10, took, asked)

		if testing.Short() {
			must(t, repo.Close())
			return // a hundred backups take long under the race detector
		}
		const backups, keep = 100, 10
		for i := range backups {
			for j := range 4 {
				edit(4*i+j, 7*i+j)
			}
			takeBackup(t, repo, root)
		}
		// 32 small objects a round trip: the snapshots, the index files, the
		// packs of trees and those to copy.
		took, asked = store.cost(t, func() {
			reopen()
			all, err := repo.Snapshots(t.Context(), nil)
			must(t, err)
			var ids []restic.ID
			for _, s := range all[:len(all)-keep] {
				ids = append(ids, s.ID)
			}
			must(t, repo.ForgetSnapshots(t.Context(), ids...))
			_, err = repo.Prune(t.Context(), repository.PruneOptions{})
			must(t, err)
		})
		check("prune", 40, 0, 5*backups, took, asked)
		must(t, repo.Close())
	})
}
