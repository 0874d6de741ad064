package vault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// bandwidth_limit bounds what is sent and fetched together.
func TestBandwidthLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		be := newThrottled(retry.New(mem.New(), retry.Options{}), &limiter{rate: 1 << 20})
		handle := func(i int) backend.Handle {
			return backend.Handle{Kind: backend.KindData, Name: strings.Repeat(string(rune('0'+i)), 64)}
		}
		data := bytes.Repeat([]byte("x"), 1<<20)
		began := time.Now()
		for i := range 5 {
			if err := be.Put(t.Context(), handle(i), data, backend.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		// The first goes at once, the others when the ones before are paid for.
		if took := time.Since(began); took < 4*time.Second || took > 5*time.Second {
			t.Errorf("5 MiB at 1 MiB/s took %s, want about 4 s", took)
		}
		err := be.Get(t.Context(), handle(0), 0, 0, func(r io.Reader) error {
			got, err := io.ReadAll(r)
			if !bytes.Equal(got, data) {
				t.Error("what comes back differs")
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 5*time.Second || took > 7*time.Second {
			t.Errorf("with 1 MiB more fetched it took %s, want between 5 and 7 s", took)
		}
		// Whoever waits ends with the context.
		stopped := errors.New("stopped")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, stopped)
		defer cancel()
		_ = be.limit.wait(t.Context(), 10<<20)
		if err := be.Put(ctx, handle(6), data, backend.PutOptions{}); !errors.Is(err, stopped) {
			t.Errorf("a put that waits ends with %v, want the context's cause", err)
		}
	})
}

// bandwidth_limit is the destination's: all repositories there share it, and a
// change of it holds for what is open already.
func TestTheBandwidthLimitIsShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		v := &Vault{limits: map[string]*limiter{}}
		dest := envbackup.Destination{Meta: envbackup.Meta{ID: "d"}, DestinationSpec: envbackup.DestinationSpec{BandwidthLimit: 1 << 20}}
		shop := newThrottled(retry.New(mem.New(), retry.Options{}), v.limiter(dest))
		mail := newThrottled(retry.New(mem.New(), retry.Options{}), v.limiter(dest))
		handle := backend.Handle{Kind: backend.KindData, Name: strings.Repeat("0f", 32)}
		put := func(be backend.Backend, mib int) {
			if err := be.Put(t.Context(), handle, make([]byte, mib<<20), backend.PutOptions{}); err != nil {
				t.Error(err)
			}
		}
		took := func() time.Duration {
			began := time.Now()
			put(shop, 4)
			put(mail, 4)
			put(shop, 1)
			return time.Since(began)
		}
		if d := took(); d < 8*time.Second || d > 9*time.Second {
			t.Errorf("8 MiB at 1 MiB/s to two repositories took %s, want 8 s", d)
		}
		// Two wait for days: a limit that was mistyped is corrected.
		dest.BandwidthLimit = 1
		v.limiter(dest)
		put(shop, 0)
		var wg sync.WaitGroup
		wg.Go(func() { put(shop, 4) })
		wg.Go(func() { put(mail, 4) })
		synctest.Wait()
		dest.BandwidthLimit = 8 << 20
		v.limiter(dest)
		corrected := time.Now()
		wg.Wait()
		if d := time.Since(corrected); d > 2*time.Second {
			t.Errorf("after the limit was raised to 8 MiB/s those who waited took %s", d)
		}
		dest.BandwidthLimit = 0
		v.limiter(dest)
		if d := took(); d != 0 {
			t.Errorf("without a limit it took %s", d)
		}
		dest.ID, dest.BandwidthLimit = "other", 1
		if v.limiter(dest) == shop.limit {
			t.Error("another destination shares the limit")
		}
	})
}
