package repository

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

func TestInitRefusesWhatIsThere(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	mustBackup(t, r, day(0), sample(0))
	if _, err := Init(t.Context(), be, secret.New("other"), InitOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("init over a repository: %v", err)
	}
	// A lost config is no invitation to start anew over the data.
	must(t, be.Delete(t.Context(), configHandle))
	if _, err := Init(t.Context(), be, secret.New("other"), InitOptions{}); !errors.Is(err, ErrExists) {
		t.Errorf("init over the remains of a repository: %v", err)
	}
	if _, err := Init(t.Context(), mem.New(), secret.New(""), InitOptions{}); err == nil {
		t.Error("the empty password was accepted")
	}
}

// Issue 2: a wrong repository password is refused, and nothing is written.
func TestOpenWritesNothingAndSaysWhy(t *testing.T) {
	t.Parallel()
	be := mem.New()
	if _, err := Open(t.Context(), be, secret.New(testPassword)); !errors.Is(err, ErrNoRepository) {
		t.Errorf("open of nothing: %v", err)
	}
	r := newRepo(t, be)
	id := r.ID()
	watched := &counting{Backend: be}
	if _, err := Open(t.Context(), watched, secret.New("wrong")); !errors.Is(err, ErrWrongPassword) {
		t.Errorf("open with a wrong password: %v", err)
	} else if strings.Contains(err.Error(), "wrong\"") {
		t.Errorf("the error shows the password: %v", err)
	}
	again, err := Open(t.Context(), watched, secret.New(testPassword))
	must(t, err)
	if again.ID() != id || again.ChunkerKey() != r.ChunkerKey() {
		t.Error("another id or chunker key after opening again")
	}
	if other := newRepo(t, mem.New()); other.ID() == id || other.ChunkerKey() == r.ChunkerKey() {
		t.Error("two repositories share their id or chunker key")
	}
	if watched.changes != 0 {
		t.Errorf("opening made %d changes", watched.changes)
	}
}

func TestKeysComeAndGo(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	second, err := r.AddKey(t.Context(), secret.New("second"))
	must(t, err)
	if _, err := r.AddKey(t.Context(), secret.New("")); err == nil {
		t.Error("the empty password was accepted")
	}
	for password, want := range map[string]bool{testPassword: true, "second": true, "third": false} {
		if got, err := r.HasPassword(t.Context(), secret.New(password)); err != nil || got != want {
			t.Errorf("%q opens: %v, %v", password, got, err)
		}
	}
	keys, err := r.Keys(t.Context())
	must(t, err)
	if len(keys) != 2 || !keys[0].Current || keys[1].Current || keys[1].ID != second || keys[0].Hostname == "" {
		t.Errorf("keys: %+v", keys)
	}
	if err := r.RemoveKey(t.Context(), keys[0].ID); err == nil {
		t.Error("the key in use was removed")
	}
	must(t, r.RemoveKey(t.Context(), second))
	if got, err := r.HasPassword(t.Context(), secret.New("second")); err != nil || got {
		t.Errorf("a removed password opens: %v, %v", got, err)
	}
	// A damaged key does not lock out the others.
	junk := []byte(`{"kdf":"scrypt","N":3}`)
	must(t, be.Put(t.Context(), backend.Handle{Kind: backend.KindKey, Name: restic.Hash(junk).String()}, junk, backend.PutOptions{}))
	_, err = Open(t.Context(), be, secret.New(testPassword))
	must(t, err)
}

func TestBlobsOfEverySizeComeBack(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]VerifyMode{"sample": VerifySample, "all": VerifyAll, "off": VerifyOff} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			be := mem.New()
			r := newRepo(t, be, WithVerify(mode), withSmallPacks(1<<20), withoutReadBack())
			sizes := []int{1, 2, 31, 32, 33, 4095, 4096, 1 << 16, 1<<20 - 1, 1 << 20, 4 << 20, 7 << 20}
			want := make(map[restic.BlobHandle][]byte)
			for i, n := range sizes {
				for _, typ := range []restic.BlobType{restic.DataBlob, restic.TreeBlob} {
					data := content(uint64(i), n)
					id, known, stored, err := r.SaveBlob(t.Context(), typ, data)
					must(t, err)
					if known || stored < 32 || id != restic.Hash(data) {
						t.Errorf("%d bytes: known %v, stored %d", n, known, stored)
					}
					want[restic.BlobHandle{ID: id, Type: typ}] = data
					if _, known, stored, err := r.SaveBlob(t.Context(), typ, data); err != nil || !known || stored != 0 {
						t.Errorf("%d bytes again: known %v, stored %d, %v", n, known, stored, err)
					}
				}
			}
			if _, _, _, err := r.SaveBlob(t.Context(), restic.DataBlob, nil); err == nil {
				t.Error("an empty blob was accepted")
			}
			must(t, r.Flush(t.Context()))
			for _, r := range []*Repository{r, reopen(t, be)} {
				for h, data := range want {
					got, err := r.LoadBlob(t.Context(), h, nil)
					if err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s of %d bytes: got %d, %v", h, len(data), len(got), err)
					}
					for _, b := range r.LookupBlob(h) {
						if int(b.PlaintextLength()) != len(data) || h.Type == restic.TreeBlob && b.UncompressedLength == 0 {
							t.Errorf("%s: %+v", h, b)
						}
						sealed, err := r.LoadPackRange(t.Context(), b.Pack, int64(b.Offset), int64(b.Length), nil)
						must(t, err)
						plain, err := r.DecodeBlob(b, h, sealed, nil)
						if err != nil || !bytes.Equal(plain, data) {
							t.Errorf("%s decoded: %v", h, err)
						}
					}
				}
				report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
				must(t, err)
				if len(report.Problems)+len(report.Hints) != 0 {
					t.Errorf("report: %+v", report)
				}
			}
		})
	}
}

func TestConcurrentSavesStoreEachBlobOnce(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be, withSmallPacks(1<<20), withoutReadBack())
	var (
		mu     sync.Mutex
		stored = make(map[restic.ID]int)
	)
	g, ctx := errgroup.WithContext(t.Context())
	for w := range 8 {
		g.Go(func() error {
			for i := range 200 {
				typ := restic.DataBlob
				if i%3 == 0 {
					typ = restic.TreeBlob
				}
				id, known, _, err := r.SaveBlob(ctx, typ, content(uint64((i*7+w)%200), 1000+(i*7+w)%200*400))
				if err != nil {
					return err
				}
				if !known {
					mu.Lock()
					stored[restic.ID(append([]byte{byte(typ)}, id[1:]...))]++
					mu.Unlock()
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	// The group's context is done by now; the uploads must not mind.
	must(t, r.Flush(t.Context()))
	for id, n := range stored {
		if n != 1 {
			t.Errorf("blob %s was stored %d times", id.Short(), n)
		}
	}
	again := reopen(t, be)
	stats := again.Stats()
	if stats.Blobs != len(stored) || stats.Packs < 10 || stats.IndexFiles != 1 {
		t.Errorf("%d blobs stored, index: %+v", len(stored), stats)
	}
	if n := objects(t, be, backend.KindData); n != stats.Packs {
		t.Errorf("%d packs in the store, %d in the index", n, stats.Packs)
	}
}

func objects(t *testing.T, be backend.Backend, kind backend.Kind) int {
	t.Helper()
	ids, err := listIDs(context.Background(), be, kind)
	must(t, err)
	return len(ids)
}

// blocked holds every Put of a pack until it is released or cancelled.
type blocked struct {
	backend.Backend
	reached chan struct{}
	release chan struct{}
}

func (b *blocked) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if h.Kind == backend.KindData {
		select {
		case b.reached <- struct{}{}:
		default:
		}
		select {
		case <-b.release:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return b.Backend.Put(ctx, h, data, opt)
}

func TestASlowStoreHoldsTheWriterBackAndCancellationEndsIt(t *testing.T) {
	t.Parallel()
	be := &blocked{Backend: mem.New(), reached: make(chan struct{}, 1), release: make(chan struct{})}
	r := newRepo(t, be, withSmallPacks(1<<20), WithUploads(2))
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the operator said stop")
	done := make(chan error)
	saved := 0
	go func() {
		for i := range 1000 {
			if _, _, _, err := r.SaveBlob(ctx, restic.DataBlob, content(uint64(2*i+1), 1<<20)); err != nil {
				done <- err
				return
			}
			saved++
		}
		done <- nil
	}()
	<-be.reached
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("SaveBlob ended with %v", err)
	}
	if limit := cap(r.buffers.free); saved > limit {
		t.Errorf("%d packs were made with %d buffers", saved, limit)
	}
	if err := r.Flush(ctx); !errors.Is(err, cause) {
		t.Errorf("Flush ended with %v", err)
	}
	// The Repository is as good as new.
	close(be.release)
	must(t, r.LoadIndex(t.Context()))
	s := mustBackup(t, r, day(0), sample(0))
	must(t, r.VerifySnapshot(t.Context(), s.ID))
	must(t, compareSnapshot(t.Context(), r, s, sample(0)))
}

func TestAFailedUploadFailsTheRunAndWhatIsStoredIsReused(t *testing.T) {
	t.Parallel()
	store := mem.New()
	be := &failPack{Backend: store, fail: 3}
	r := newRepo(t, be, withSmallPacks(1<<20), WithUploads(1))
	var err error
	for i := range 20 {
		if _, _, _, err = r.SaveBlob(t.Context(), restic.DataBlob, content(uint64(2*i+1), 1<<20)); err != nil {
			break
		}
	}
	ferr := r.Flush(t.Context())
	if !errors.Is(ferr, errDead) || err != nil && !errors.Is(err, errDead) {
		t.Fatalf("SaveBlob: %v; Flush: %v", err, ferr)
	}
	again := reopen(t, store)
	if got := again.Stats(); got.Packs != 2 || got.IndexFiles != 1 {
		t.Errorf("after the failure: %+v", got)
	}
	// Nothing that was not stored is taken for known.
	for i := range 20 {
		h := restic.BlobHandle{ID: restic.Hash(content(uint64(2*i+1), 1<<20)), Type: restic.DataBlob}
		if r.Has(h) != again.Has(h) {
			t.Errorf("blob %d: known here %v, in the store %v", i, r.Has(h), again.Has(h))
		}
		_, known, _, err := r.SaveBlob(t.Context(), restic.DataBlob, content(uint64(2*i+1), 1<<20))
		must(t, err)
		if known != again.Has(h) {
			t.Errorf("blob %d: known %v", i, known)
		}
	}
	must(t, r.Flush(t.Context()))
}

// failPack refuses the nth pack.
type failPack struct {
	backend.Backend
	mu   sync.Mutex
	fail int
	n    int
}

func (f *failPack) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if h.Kind == backend.KindData {
		f.mu.Lock()
		f.n++
		n := f.n
		f.mu.Unlock()
		if n == f.fail {
			return errDead
		}
	}
	return f.Backend.Put(ctx, h, data, opt)
}

func TestAbortForgetsWhatWasNotStored(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	data := content(1, 100_000)
	_, _, _, err := r.SaveBlob(t.Context(), restic.DataBlob, data)
	must(t, err)
	r.Abort()
	r.Abort()
	if n := objects(t, be, backend.KindData); n != 0 {
		t.Errorf("%d packs were stored", n)
	}
	if _, known, _, err := r.SaveBlob(t.Context(), restic.DataBlob, data); err != nil || known {
		t.Errorf("after Abort: known %v, %v", known, err)
	}
	must(t, r.Flush(t.Context()))
	if n := objects(t, be, backend.KindData); n != 1 {
		t.Errorf("%d packs are stored", n)
	}
}

func TestAnEmptiedPlaceIsNotAnEmptyRepository(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	mustBackup(t, r, day(0), sample(0))
	must(t, be.Delete(t.Context(), configHandle))
	if err := r.LoadIndex(t.Context()); !errors.Is(err, ErrNoRepository) {
		t.Errorf("LoadIndex: %v", err)
	}
}

func TestSnapshotsComeInOrderAndByPrefix(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	var want []restic.ID
	for _, d := range []int{3, 1, 2} {
		s := mustBackup(t, r, day(d), sample(0))
		want = append(want, s.ID)
	}
	got, err := r.Snapshots(t.Context(), nil)
	must(t, err)
	if len(got) != 3 || got[0].ID != want[1] || got[1].ID != want[2] || got[2].ID != want[0] {
		t.Errorf("order: %v", got)
	}
	one, err := r.Snapshots(t.Context(), func(s *restic.Snapshot) bool { return s.Time.Equal(day(2)) })
	must(t, err)
	if len(one) != 1 || one[0].ID != want[2] || !one[0].Tags.Has("envbackup") {
		t.Errorf("filtered: %v", one)
	}
	s, err := r.FindSnapshot(t.Context(), want[0].Short())
	must(t, err)
	if s.ID != want[0] {
		t.Errorf("found %s", s.ID.Short())
	}
	for _, prefix := range []string{"", "xyz", strings.Repeat("0", 65)} {
		if _, err := r.FindSnapshot(t.Context(), prefix); err == nil {
			t.Errorf("%q found something", prefix)
		}
	}
	if _, err := r.SaveSnapshot(t.Context(), &restic.Snapshot{Tree: &restic.ID{1}}); !errors.Is(err, ErrUnknownBlob) {
		t.Errorf("snapshot of an unknown tree: %v", err)
	}
	// R5: removed, and seen to be gone.
	must(t, r.ForgetSnapshots(t.Context(), want[0], want[1]))
	if n := objects(t, be, backend.KindSnapshot); n != 1 {
		t.Errorf("%d snapshots are left", n)
	}
	if err := (&Repository{be: &keeps{be}}).ForgetSnapshots(t.Context(), want[2]); err == nil {
		t.Error("R5: a store that keeps what it should delete went unnoticed")
	}
}

// keeps says that it deletes and does not.
type keeps struct{ backend.Backend }

func (*keeps) Delete(context.Context, ...backend.Handle) error { return nil }
