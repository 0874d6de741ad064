package bufpool_test

import (
	"context"
	"errors"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/bufpool"
)

func TestBuffersAreSeparateAndFixedInNumber(t *testing.T) {
	t.Parallel()

	p, err := bufpool.New(2, 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Free()
	a, errA := p.Get(t.Context())
	b, errB := p.Get(t.Context())
	if errA != nil || errB != nil || len(a) != 4096 || len(b) != 4096 {
		t.Fatalf("Get() = %d and %d bytes, %v, %v", len(a), len(b), errA, errB)
	}
	a[4095], b[0] = 1, 2
	if a[4095] != 1 || cap(a) != 4096 {
		t.Error("the buffers overlap")
	}

	stop := errors.New("stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if _, err := p.Get(ctx); !errors.Is(err, stop) {
		t.Errorf("Get() of a third buffer = %v, want it to wait and return the cause", err)
	}
	p.Put(a[:10])
	if c, err := p.Get(t.Context()); err != nil || len(c) != 4096 {
		t.Errorf("Get() after Put = %d bytes, %v", len(c), err)
	}
}
