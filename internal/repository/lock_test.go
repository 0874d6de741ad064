package repository

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

func TestSharedLocksGoTogetherAndExclusiveOnesDoNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := mem.New()
		a, b := newRepo(t, be), reopen(t, be)
		first, err := a.Lock(t.Context(), false)
		must(t, err)
		second, err := b.Lock(t.Context(), false)
		must(t, err)
		_, err = b.Lock(t.Context(), true)
		var locked *LockedError
		if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || locked.Lock.PID != os.Getpid() || locked.Lock.Hostname == "" {
			t.Fatalf("exclusive beside shared: %v", err)
		}
		for _, part := range []string{"process", "since", locked.Lock.Hostname} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the error names no %s: %v", part, err)
			}
		}
		must(t, first.Unlock())
		must(t, first.Unlock())
		if first.Context().Err() == nil {
			t.Error("the context of a released lock lives on")
		}
		must(t, second.Unlock())
		exclusive, err := b.Lock(t.Context(), true)
		must(t, err)
		if _, err := a.Lock(t.Context(), false); !errors.Is(err, ErrLocked) {
			t.Errorf("shared beside exclusive: %v", err)
		}
		must(t, exclusive.Unlock())
		if locks, err := a.Locks(t.Context()); err != nil || len(locks) != 0 {
			t.Errorf("left: %v, %v", locks, err)
		}
	})
}

// Of two that lock at once, never do both get an exclusive lock.
func TestExclusiveLocksAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := mem.New()
		newRepo(t, be)
		var held, won atomic.Int32
		done := make(chan error)
		const racers = 4
		for range racers {
			r := reopen(t, be)
			go func() {
				l, err := r.Lock(t.Context(), true)
				if err != nil {
					if errors.Is(err, ErrLocked) {
						err = nil
					}
					done <- err
					return
				}
				won.Add(1)
				if held.Add(1) > 1 {
					t.Error("two hold the exclusive lock")
				}
				time.Sleep(time.Second)
				held.Add(-1)
				done <- l.Unlock()
			}()
		}
		for range racers {
			must(t, <-done)
		}
		if won.Load() > 1 {
			t.Errorf("%d won", won.Load())
		}
		if locks, err := newReader(t, be).Locks(t.Context()); err != nil || len(locks) != 0 {
			t.Errorf("left: %v, %v", locks, err)
		}
	})
}

func newReader(t *testing.T, be backend.Backend) *Repository { return reopen(t, be) }

// noPuts refuses changes while it is down.
type noPuts struct {
	backend.Backend
	down atomic.Bool
}

func (n *noPuts) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if n.down.Load() {
		return &backend.Error{Op: "put", Handle: h, Kind: backend.Unreachable}
	}
	return n.Backend.Put(ctx, h, data, opt)
}

func TestALockIsRenewedAndNeverOlderThanTenMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := mem.New()
		r := newRepo(t, be)
		l, err := r.Lock(t.Context(), false)
		must(t, err)
		seen := make(map[restic.ID]bool)
		for range 60 {
			time.Sleep(time.Minute)
			synctest.Wait()
			locks, err := r.Locks(t.Context())
			must(t, err)
			if len(locks) != 1 {
				t.Fatalf("%d locks", len(locks))
			}
			if age := time.Since(locks[0].Time); age > lockRefresh+time.Minute {
				t.Errorf("the lock is %s old", age)
			}
			seen[locks[0].ID] = true
		}
		if len(seen) < 10 || l.Context().Err() != nil {
			t.Errorf("%d different locks in an hour, context: %v", len(seen), l.Context().Err())
		}
		must(t, l.Unlock())
	})
}

// Issue 4, item 6: a lock that cannot be refreshed stops the writer, before
// others may take it for dead.
func TestALockThatCannotBeRenewedStopsTheWriter(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		down, lostAfter time.Duration
	}{
		"for twenty minutes it is kept": {20 * time.Minute, 0},
		"for good it is lost":           {10 * time.Hour, lockLost},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				be := &noPuts{Backend: mem.New()}
				r := newRepo(t, be)
				l, err := r.Lock(t.Context(), false)
				must(t, err)
				_, _, _, err = r.SaveBlob(t.Context(), restic.DataBlob, []byte("before"))
				must(t, err)
				start := time.Now()
				be.down.Store(true)
				select {
				case <-l.Context().Done():
				case <-time.After(tt.down):
				}
				took := time.Since(start)
				be.down.Store(false)
				if tt.lostAfter == 0 {
					time.Sleep(time.Hour)
					if l.Context().Err() != nil {
						t.Errorf("lost: %v", context.Cause(l.Context()))
					}
					must(t, l.Unlock())
					r.Abort()
					return
				}
				if !errors.Is(context.Cause(l.Context()), ErrLockLost) || took > tt.lostAfter || took < tt.lostAfter-time.Minute {
					t.Errorf("after %s: %v", took, context.Cause(l.Context()))
				}
				synctest.Wait()
				if _, _, _, err := r.SaveBlob(t.Context(), restic.DataBlob, []byte("after")); !errors.Is(err, ErrLockLost) {
					t.Errorf("saving without the lock: %v", err)
				}
				if err := r.Flush(t.Context()); !errors.Is(err, ErrLockLost) {
					t.Errorf("flushing without the lock: %v", err)
				}
			})
		})
	}
}

func TestALockThatSomebodyRemovedIsLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := mem.New()
		r := newRepo(t, be)
		l, err := r.Lock(t.Context(), false)
		must(t, err)
		must(t, be.Delete(t.Context(), backend.Handle{Kind: backend.KindLock, Name: l.ID().String()}))
		<-l.Context().Done()
		if !errors.Is(context.Cause(l.Context()), ErrLockLost) {
			t.Errorf("ended with %v", context.Cause(l.Context()))
		}
	})
}

func TestTheLockGoesWhenItsOwnerIsCancelled(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := mem.New()
		r := newRepo(t, be)
		ctx, cancel := context.WithCancel(t.Context())
		l, err := r.Lock(ctx, false)
		must(t, err)
		cancel()
		must(t, l.Unlock())
		if locks, err := r.Locks(t.Context()); err != nil || len(locks) != 0 {
			t.Errorf("left: %v, %v", locks, err)
		}
		// Also when that happens while the lock is taken.
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if _, err := r.Lock(ctx, false); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled Lock: %v", err)
		}
		if locks, err := r.Locks(t.Context()); err != nil || len(locks) != 0 {
			t.Errorf("left: %v, %v", locks, err)
		}
	})
}

func putLock(t *testing.T, r *Repository, l LockInfo) restic.ID {
	t.Helper()
	plain, err := json.Marshal(l)
	must(t, err)
	id, err := r.saveDocument(t.Context(), backend.KindLock, plain)
	must(t, err)
	return id
}

func TestOnlyLocksThatNobodyHoldsAreCleared(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	child := exec.Command("true")
	must(t, child.Run())
	dead := child.Process.Pid
	now := time.Now()
	host := r.who.hostname
	locks := map[string]struct {
		lock  LockInfo
		stale bool
	}{
		"dead process here":              {LockInfo{Time: now, Hostname: host, PID: dead}, true},
		"living process here":            {LockInfo{Time: now, Hostname: host, PID: os.Getppid()}, false},
		"this process":                   {LockInfo{Time: now, Hostname: host, PID: os.Getpid()}, false},
		"earlier process of our number":  {LockInfo{Time: processStart.Add(-time.Minute), Hostname: host, PID: os.Getpid()}, true},
		"dead process elsewhere":         {LockInfo{Time: now, Hostname: "other-" + host, PID: dead}, false},
		"elsewhere, not renewed":         {LockInfo{Time: now.Add(-31 * time.Minute), Hostname: "other-" + host, PID: 1}, true},
		"elsewhere, renewed 29 min ago":  {LockInfo{Time: now.Add(-29 * time.Minute), Hostname: "other-" + host, PID: 1}, false},
		"exclusive, dead process here":   {LockInfo{Time: now, Hostname: host, PID: dead, Exclusive: true}, true},
		"a number that is no process":    {LockInfo{Time: now, Hostname: host, PID: 0}, false},
		"elsewhere, clock in the future": {LockInfo{Time: now.Add(time.Hour), Hostname: "other-" + host, PID: 1}, false},
	}
	names := make(map[restic.ID]string)
	for name, l := range locks {
		names[putLock(t, r, l.lock)] = name
	}
	// A full disk leaves empty locks; they hold nobody up and are left alone.
	empty := backend.Handle{Kind: backend.KindLock, Name: strings.Repeat("ee", 32)}
	must(t, be.Put(t.Context(), empty, nil, backend.PutOptions{}))

	cleared, err := r.ClearStaleLocks(t.Context())
	must(t, err)
	got := make(map[string]bool)
	for _, l := range cleared {
		got[names[l.ID]] = true
	}
	for name, l := range locks {
		if got[name] != l.stale {
			t.Errorf("%s: cleared %v", name, got[name])
		}
	}
	left, err := r.Locks(t.Context())
	must(t, err)
	if len(left)+len(cleared) != len(locks) {
		t.Errorf("%d cleared, %d left of %d", len(cleared), len(left), len(locks))
	}
}

// Stock restic honours our locks, and we honour its.
func TestLocksOfStockResticAndOurs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/repo"
	stock := referee.New(t, dir, testPassword)
	r, err := Init(t.Context(), openLocal(t, dir), secret.New(testPassword), InitOptions{})
	must(t, err)
	defer func() { must(t, r.Close()) }()
	s := mustBackup(t, r, day(0), sample(0))
	l, err := r.Lock(t.Context(), false)
	must(t, err)
	var failure *referee.Error
	if _, err := stock.Try("prune"); !errors.As(err, &failure) || failure.ExitCode != 11 {
		t.Errorf("stock prune beside our lock: %v", err)
	}
	stock.Run("ls", s.ID.String())
	must(t, l.Unlock())
	stock.Run("prune")
	if list := stock.List("locks"); len(list) != 0 {
		t.Errorf("stock sees locks: %v", list)
	}
	// What kill -9 leaves of us is what `restic unlock` and ClearStaleLocks
	// remove.
	child := exec.Command("true")
	must(t, child.Run())
	putLock(t, r, LockInfo{Time: time.Now(), Hostname: r.who.hostname, PID: child.Process.Pid})
	stock.Run("unlock")
	if list := stock.List("locks"); len(list) != 0 {
		t.Errorf("after unlock stock sees locks: %v", list)
	}
}
