package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

// Object lock. A bucket in which objects can be locked keeps versions, and a
// simple DELETE there only hides the object behind a delete marker: it never
// fails for a lock, and it frees nothing. We never delete a version: it is the
// bucket's protection against whoever gets hold of our credentials, and a
// lifecycle rule for noncurrent versions frees the bytes after the lock.

// lockable remembers whether objects of the bucket can be locked, for a while:
// a bucket may get object lock later.
type lockable struct {
	mu    sync.Mutex
	until time.Time
	is    bool
}

const lockableFor = 15 * time.Minute

// lockEnd is the end of a lock that is made now. Whole seconds are what every
// server keeps.
func lockEnd(d time.Duration) time.Time { return time.Now().UTC().Add(d).Truncate(time.Second) }

// checksum is the header without which a store refuses to lock what it is
// given. sum is the SHA-256 of data, where it is known.
func checksum(data []byte, sum *[32]byte) *string {
	if sum == nil {
		s := sha256.Sum256(data)
		sum = &s
	}
	return aws.String(base64.StdEncoding.EncodeToString(sum[:]))
}

func infoOf(out *s3.HeadObjectOutput) backend.Info {
	info := backend.Info{
		Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified).UTC(),
		LockedUntil: aws.ToTime(out.ObjectLockRetainUntilDate).UTC(),
	}
	if out.ObjectLockRetainUntilDate == nil {
		info.LockedUntil = time.Time{}
	}
	if out.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn {
		info.LockedUntil = backend.NoEnd
	}
	return info
}

// seeVersion notes that the bucket keeps versions.
func (b *Backend) seeVersion(id *string) {
	if v := aws.ToString(id); v != "" && v != "null" {
		b.versions.Store(true)
	}
}

// KeepsVersions implements backend.Keeper.
func (b *Backend) KeepsVersions() bool { return b.versions.Load() }

// Locks implements backend.Keeper.
func (b *Backend) Locks() time.Duration {
	if b.opt.LockMode == "" {
		return 0
	}
	return b.opt.LockFor
}

// MayLock implements backend.Keeper.
func (b *Backend) MayLock(ctx context.Context) (bool, error) {
	b.lockable.mu.Lock()
	defer b.lockable.mu.Unlock()
	if time.Now().Before(b.lockable.until) {
		return b.lockable.is, nil
	}
	is, err := b.bucketLocks(ctx)
	if err != nil {
		if ctx.Err() != nil || backend.IsRetryable(err) {
			return false, err
		}
		is = true // whoever may not ask has to look at each object
	}
	b.lockable.is, b.lockable.until = is, time.Now().Add(lockableFor)
	return is, nil
}

// bucketLocks asks the bucket.
func (b *Backend) bucketLocks(ctx context.Context) (bool, error) {
	out, err := b.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &b.opt.Bucket})
	if err == nil {
		return out.ObjectLockConfiguration != nil && out.ObjectLockConfiguration.ObjectLockEnabled == types.ObjectLockEnabledEnabled, nil
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "ObjectLockConfigurationNotFoundError", "NotImplemented", "NoSuchObjectLockConfiguration", "MethodNotAllowed":
			return false, nil
		}
	}
	return false, b.explain.error(ctx, "probe", backend.Handle{}, err)
}

// probeLock finds out before the first backup whether locks are to be had.
func (b *Backend) probeLock(ctx context.Context) error {
	if b.opt.LockMode == "" {
		return nil
	}
	is, err := b.bucketLocks(ctx)
	switch {
	case backend.KindOf(err) == backend.AccessDenied:
		return &backend.Error{Op: "probe", Kind: backend.AccessDenied, Err: err, Message: fmt.Sprintf(
			"these credentials may not ask whether bucket %q has object lock (s3:GetBucketObjectLockConfiguration)", b.opt.Bucket)}
	case err != nil:
		return err
	case !is:
		return b.noLock("probe", backend.Handle{}, nil)
	}
	return nil
}

func (b *Backend) noLock(op string, h backend.Handle, err error) error {
	return &backend.Error{Op: op, Handle: h, Kind: backend.NoObjectLock, Err: err,
		Message: fmt.Sprintf("bucket %q was made without object lock, so nothing can be locked in it", b.opt.Bucket)}
}

// explainLock says whether a put with a lock failed because the bucket has
// none; nil if it was something else. Servers have many codes for it, so the
// bucket is asked.
func (b *Backend) explainLock(ctx context.Context, op string, h backend.Handle, err error) error {
	if !b.mayNotKnow(ctx, op, err) {
		return nil
	}
	locks, failed := b.bucketLocks(ctx)
	if locks || failed != nil {
		return nil //nolint:nilerr // what cannot be asked explains nothing
	}
	return b.noLock(op, h, err)
}

// wantsChecksum reports whether a put without a checksum may have been refused
// because the bucket locks what it is given.
func (b *Backend) wantsChecksum(ctx context.Context, err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != "InvalidRequest" {
		return false
	}
	is, lerr := b.bucketLocks(ctx)
	return lerr == nil && is
}

// ExtendLock implements backend.Keeper.
func (b *Backend) ExtendLock(ctx context.Context, h backend.Handle, until time.Time) error {
	if err := check(ctx, "lock", h); err != nil {
		return err
	}
	info, err := b.Info(ctx, h)
	if err != nil || !info.LockedUntil.Before(until) {
		return err
	}
	_, err = b.client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: &b.opt.Bucket, Key: aws.String(b.key(h)),
		Retention: &types.ObjectLockRetention{
			Mode: types.ObjectLockRetentionMode(b.opt.LockMode), RetainUntilDate: aws.Time(until.UTC().Truncate(time.Second)),
		},
	}, contentMD5)
	if err != nil {
		return b.explain.error(ctx, "lock", h, err)
	}
	return nil
}
