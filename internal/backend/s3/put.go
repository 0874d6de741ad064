package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what the protocol knows objects by, no protection
	"encoding/hex"
	"errors"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

// Put implements backend.Backend.
func (b *Backend) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if err := check(ctx, "put", h); err != nil {
		return err
	}
	u := upload{
		key: b.key(h), data: data, sum: opt.SHA256, pack: h.Kind == backend.KindData,
		lock:        b.opt.LockMode != "" && h.Kind != backend.KindLock,
		conditional: opt.CreateOnly && !b.noConditions.Load(),
	}
	u.summed = u.lock || b.sums.Load()
	err := b.put(ctx, u)
	if err != nil && !u.summed && b.wantsChecksum(ctx, err) {
		b.sums.Store(true)
		u.summed = true
		err = b.put(ctx, u)
	}
	if err == nil {
		return nil
	}
	if u.lock {
		if lerr := b.explainLock(ctx, "put", h, err); lerr != nil {
			if u.conditional {
				// Some servers refuse the lock and keep the object all the
				// same. It was not there before.
				_, _ = b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.opt.Bucket, Key: &u.key})
			}
			return lerr
		}
	}
	if u.conditional && b.mayNotKnow(ctx, "put", err) {
		u.conditional = false
		if b.put(ctx, u) == nil {
			b.noConditions.Store(true) // it was the condition
			return nil
		}
	}
	return b.explain.error(ctx, "put", h, err)
}

// mayNotKnow reports whether a request may have failed because the server does
// not know this kind of it, for which servers have many codes.
func (b *Backend) mayNotKnow(ctx context.Context, op string, err error) bool {
	kind := backend.KindOf(b.explain.error(ctx, op, backend.Handle{}, err))
	return ctx.Err() == nil && (kind == backend.Permanent || kind == backend.Unsupported)
}

// upload is one request that stores an object.
type upload struct {
	key         string
	data        []byte
	sum         *[32]byte // of data, where it is known
	pack        bool
	lock        bool
	conditional bool
	summed      bool // with a checksum besides the signature's
}

func (b *Backend) put(ctx context.Context, u upload) error {
	in := &s3.PutObjectInput{
		Bucket: &b.opt.Bucket,
		Key:    &u.key,
		Body:   &sending{Reader: bytes.NewReader(u.data), moved: backend.Progress(ctx)},
		// Without it some servers read the body once to count it.
		ContentLength: aws.Int64(int64(len(u.data))),
	}
	b.settings(in, u.pack)
	if u.conditional {
		in.IfNoneMatch = aws.String("*")
	}
	if u.lock {
		in.ObjectLockMode = types.ObjectLockMode(b.opt.LockMode)
		in.ObjectLockRetainUntilDate = aws.Time(lockEnd(b.opt.LockFor))
	}
	if u.summed {
		in.ChecksumSHA256 = checksum(u.data, u.sum)
	}
	out, err := b.client.PutObject(ctx, in, payloadHash(u.sum))
	if err == nil {
		b.seeVersion(out.VersionId)
	}
	return err
}

// settings adds what the destination says about the storing of objects.
func (b *Backend) settings(in *s3.PutObjectInput, pack bool) {
	if pack && b.opt.StorageClass != "" {
		// What every run reads stays in the standard class.
		in.StorageClass = types.StorageClass(b.opt.StorageClass)
	}
	switch {
	case b.opt.SSEKMSKeyID != "":
		in.ServerSideEncryption = types.ServerSideEncryptionAwsKms
		in.SSEKMSKeyId = &b.opt.SSEKMSKeyID
	case b.opt.SSE != "":
		in.ServerSideEncryption = types.ServerSideEncryption(b.opt.SSE)
	}
}

// sending is a body that tells of its way out.
type sending struct {
	*bytes.Reader
	moved func()
}

func (s *sending) Read(p []byte) (int, error) {
	s.moved()
	return s.Reader.Read(p)
}

// WriteTo hides that of the reader, which would send all at once.
func (s *sending) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{s})
}

// Holds implements backend.Holder. The store's own hash of the object is
// compared; where it has none that says something, it is unknown.
func (b *Backend) Holds(ctx context.Context, h backend.Handle, data []byte, sum *[32]byte) (bool, error) {
	if err := check(ctx, "stat", h); err != nil {
		return false, err
	}
	in := &s3.HeadObjectInput{Bucket: &b.opt.Bucket, Key: aws.String(b.key(h))}
	if b.opt.LockMode != "" || b.sums.Load() {
		in.ChecksumMode = types.ChecksumModeEnabled
	}
	out, err := b.client.HeadObject(ctx, in)
	if err != nil {
		err = b.explain.error(ctx, "stat", h, err)
		if errors.Is(err, backend.ErrNotExist) {
			return false, nil
		}
		return false, err
	}
	if aws.ToInt64(out.ContentLength) != int64(len(data)) {
		return false, nil
	}
	if out.ChecksumSHA256 != nil && out.ChecksumType != types.ChecksumTypeComposite {
		return *out.ChecksumSHA256 == *checksum(data, sum), nil
	}
	// Not the hash of an object that was encrypted with KMS: then it differs.
	tag := md5.Sum(data)
	return strings.Trim(aws.ToString(out.ETag), `"`) == hex.EncodeToString(tag[:]), nil
}

// payloadHash makes the signature use a hash that is known, instead of reading
// the data once more.
func payloadHash(sum *[32]byte) func(*s3.Options) {
	return func(o *s3.Options) {
		if sum == nil {
			return
		}
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("KnownPayloadHash",
				func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
					return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum[:])), in)
				}), middleware.Before)
		})
	}
}
