package vault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
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
