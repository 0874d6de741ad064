package s3

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

// maxDelete is how many objects one request may remove.
const maxDelete = 1000

// Delete implements backend.Backend.
func (b *Backend) Delete(ctx context.Context, handles ...backend.Handle) error {
	for _, h := range handles {
		if err := check(ctx, "delete", h); err != nil {
			return err
		}
	}
	moved := backend.Progress(ctx)
	for len(handles) > 0 {
		moved()
		n := min(maxDelete, len(handles))
		if err := b.deleteSome(ctx, handles[:n]); err != nil {
			return err
		}
		handles = handles[n:]
	}
	return nil
}

func (b *Backend) deleteSome(ctx context.Context, handles []backend.Handle) error {
	if len(handles) == 1 || b.noBatches.Load() {
		return b.deleteEach(ctx, handles)
	}
	byKey := make(map[string]backend.Handle, len(handles))
	ids := make([]types.ObjectIdentifier, len(handles))
	for i, h := range handles {
		key := b.key(h)
		byKey[key] = h
		ids[i].Key = &key
	}
	out, err := b.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &b.opt.Bucket,
		Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
	}, contentMD5)
	if err != nil {
		err = b.explain.error(ctx, "delete", backend.Handle{}, err)
		switch kind := backend.KindOf(err); {
		case ctx.Err() != nil:
			return err
		case kind == backend.Permanent, kind == backend.Unsupported, kind == backend.NotFound, kind == backend.AccessDenied:
			// A server without batches takes the request for another one.
			if b.deleteEach(ctx, handles[:1]) != nil {
				return err
			}
			b.noBatches.Store(true)
			return b.deleteEach(ctx, handles[1:])
		}
		return err
	}
	var worst *backend.Error
	for _, e := range out.Errors {
		h := byKey[aws.ToString(e.Key)]
		err := b.explain.code("delete", h, aws.ToString(e.Code), aws.ToString(e.Message), 0, nil)
		if err.Kind != backend.NotFound && (worst == nil || worst.Kind.Retryable()) {
			worst = err // one that no retry mends goes before the others
		}
	}
	if worst != nil {
		return worst
	}
	return nil
}

// deletesAtOnce bounds the requests that stand in for a batch.
const deletesAtOnce = 8

// deleteEach removes the objects with a request each.
func (b *Backend) deleteEach(ctx context.Context, handles []backend.Handle) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(deletesAtOnce)
	moved := backend.Progress(ctx)
	for _, h := range handles {
		if gctx.Err() != nil {
			break
		}
		group.Go(func() error {
			_, err := b.client.DeleteObject(gctx, &s3.DeleteObjectInput{Bucket: &b.opt.Bucket, Key: aws.String(b.key(h))})
			moved()
			if err == nil {
				return nil
			}
			if err := b.explain.error(gctx, "delete", h, err); !errors.Is(err, backend.ErrNotExist) {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}
