// Package s3 stores a repository in a bucket of Amazon S3 or a server that
// speaks its protocol, in the layout that stock restic uses. It decides how
// requests are signed and sent and what an answer means for the user.
//
// It does not retry: package retry does, which knows what may be repeated.
// Uploads are single requests whose hash is part of the signature, so the
// server verifies what it stores; what is read is verified by the repository.
package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

// Backend stores objects in a bucket. Use Open.
type Backend struct {
	client  *s3.Client
	opt     Options
	prefix  string // with a slash at its end, or empty
	explain explainer
	close   func()

	// Servers without these answer once, and are not asked again.
	noConditions atomic.Bool
	noBatches    atomic.Bool
	// sums is set once the bucket wants a checksum with what it locks by its
	// own default; versions, once it has given an object a version.
	sums     atomic.Bool
	versions atomic.Bool
	lockable lockable
}

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Prober  = (*Backend)(nil)
	_ backend.Keeper  = (*Backend)(nil)
	_ backend.Holder  = (*Backend)(nil)
)

// Location implements backend.Backend; it has the form of restic's s3 URLs.
func (b *Backend) Location() string {
	endpoint := b.opt.Endpoint
	if endpoint == "" {
		endpoint = "https://s3." + b.opt.Region + ".amazonaws.com"
	}
	return "s3:" + strings.TrimRight(endpoint, "/") + "/" + strings.TrimRight(b.opt.Bucket+"/"+b.prefix, "/")
}

// Close implements backend.Backend.
func (b *Backend) Close() error {
	b.close()
	return nil
}

func (b *Backend) key(h backend.Handle) string { return b.prefix + h.Path() }

// Get implements backend.Backend.
func (b *Backend) Get(ctx context.Context, h backend.Handle, offset, length int64, fn func(io.Reader) error) error {
	if err := check(ctx, "get", h); err != nil {
		return err
	}
	if offset < 0 || length < 0 {
		return &backend.Error{Op: "get", Handle: h, Kind: backend.Permanent, Message: fmt.Sprintf("range %d+%d is not possible", offset, length)}
	}
	in := &s3.GetObjectInput{Bucket: &b.opt.Bucket, Key: aws.String(b.key(h))}
	switch {
	case length > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	case offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return b.explain.error(ctx, "get", h, err)
	}
	// What is left of a body that was not read to its end is of no use.
	defer func() { _ = out.Body.Close() }()
	size := aws.ToInt64(out.ContentLength)
	switch {
	case out.ContentLength == nil:
		size = -1
	case in.Range != nil && out.ContentRange == nil:
		return &backend.Error{Op: "get", Handle: h, Kind: backend.Permanent, Message: "the server ignores ranges"}
	case length > 0 && size != length:
		return &backend.Error{Op: "get", Handle: h, Kind: backend.Permanent,
			Message: fmt.Sprintf("range %d+%d is not within the object", offset, length), Err: backend.ErrRange}
	}
	return fn(&body{ctx: ctx, b: b, h: h, r: out.Body, left: size})
}

// body classifies broken reads and tells an early end from the real one.
type body struct {
	ctx  context.Context
	b    *Backend
	h    backend.Handle
	r    io.Reader
	left int64 // -1 if unknown
}

func (r *body) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if r.left >= 0 {
		r.left -= int64(n)
	}
	switch {
	case err == nil || err == io.EOF && r.left <= 0:
		return n, err
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return n, r.b.explain.error(r.ctx, "get", r.h, err)
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, h backend.Handle) (int64, error) {
	info, err := b.Info(ctx, h)
	return info.Size, err
}

// Info implements backend.Keeper.
func (b *Backend) Info(ctx context.Context, h backend.Handle) (backend.Info, error) {
	if err := check(ctx, "stat", h); err != nil {
		return backend.Info{}, err
	}
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.opt.Bucket, Key: aws.String(b.key(h))})
	if err == nil {
		b.seeVersion(out.VersionId)
		return infoOf(out), nil
	}
	err = b.explain.error(ctx, "stat", h, err)
	// The answer to a HEAD has no body. Whatever is wrong, a listing is told in
	// words; and whether it is the object or the bucket that is missing only
	// the listing tells.
	if ctx.Err() == nil && !backend.IsRetryable(err) {
		if lerr := b.listOne(ctx, b.key(h)); lerr != nil {
			return backend.Info{}, lerr
		}
	}
	return backend.Info{}, err
}

// listOne asks for one key, for the sake of the error.
func (b *Backend) listOne(ctx context.Context, prefix string) error {
	_, err := b.client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.opt.Bucket, Prefix: &prefix, MaxKeys: aws.Int32(1)})
	if err != nil {
		return b.explain.error(ctx, "list", backend.Handle{}, err)
	}
	return nil
}

// List implements backend.Backend.
func (b *Backend) List(ctx context.Context, kind backend.Kind, fn func(name string, size int64, modified time.Time) error) error {
	prefix := b.prefix + kind.Dir() + "/"
	pages := s3.NewListObjectsV2Paginator(b.client, &s3.ListObjectsV2Input{Bucket: &b.opt.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return b.explain.error(ctx, "list", backend.Handle{Kind: kind}, err)
		}
		for _, o := range page.Contents {
			h := backend.Handle{Kind: kind, Name: path.Base(aws.ToString(o.Key))}
			if !h.Valid() || b.key(h) != aws.ToString(o.Key) {
				continue
			}
			if err := fn(h.Name, aws.ToInt64(o.Size), aws.ToTime(o.LastModified).UTC()); err != nil {
				return err
			}
		}
	}
	return nil
}

// Probe implements backend.Prober. The object that it writes lies beside the
// repository's, and it is removed again, its old version as well where the
// bucket lets it go. It carries no lock of ours.
func (b *Backend) Probe(ctx context.Context) error {
	if err := b.listOne(ctx, b.prefix); err != nil {
		return err
	}
	if err := b.probeLock(ctx); err != nil {
		return err
	}
	var suffix [8]byte
	_, _ = rand.Read(suffix[:]) // never fails
	key := b.prefix + "envbackup-probe-" + hex.EncodeToString(suffix[:])
	content := []byte("envbackup")
	step := func(what string, err error) error {
		if err == nil {
			return nil
		}
		err = b.explain.error(ctx, "probe", backend.Handle{}, err)
		if e, ok := errors.AsType[*backend.Error](err); ok && e.Kind == backend.AccessDenied {
			e.Message = fmt.Sprintf("these credentials may list bucket %q but not %s objects in it%s", b.opt.Bucket, what, b.explain.keyToo())
		}
		return err
	}
	in := &s3.PutObjectInput{Bucket: &b.opt.Bucket, Key: &key, Body: bytes.NewReader(content)}
	b.settings(in, true) // or the first backup would be told what they are worth
	put, err := b.client.PutObject(ctx, in)
	if err != nil && b.wantsChecksum(ctx, err) {
		in.Body, in.ChecksumSHA256 = bytes.NewReader(content), checksum(content, nil)
		put, err = b.client.PutObject(ctx, in)
	}
	if err != nil {
		return step("write", err)
	}
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.opt.Bucket, Key: &key})
	if err == nil {
		var got []byte
		got, err = io.ReadAll(io.LimitReader(out.Body, 1<<10))
		_ = out.Body.Close() // it was read
		if err == nil && !bytes.Equal(got, content) {
			return &backend.Error{Op: "probe", Kind: backend.Permanent, Message: fmt.Sprintf("bucket %q gives back other bytes than were stored", b.opt.Bucket)}
		}
	}
	rerr := step("read", err)
	gone, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.opt.Bucket, Key: &key})
	if err == nil && put.VersionId != nil {
		// Only tidiness: a repository never needs to delete versions.
		for _, version := range []*string{put.VersionId, gone.VersionId} {
			_, _ = b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.opt.Bucket, Key: &key, VersionId: version})
		}
	}
	return errors.Join(rerr, step("delete", err))
}

func check(ctx context.Context, op string, h backend.Handle) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", op, h, context.Cause(ctx))
	}
	if !h.Valid() {
		return &backend.Error{Op: op, Handle: h, Kind: backend.Permanent, Message: fmt.Sprintf("%q is no name of a %s", h.Name, h.Kind)}
	}
	return nil
}
