package s3_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

func handle(kind backend.Kind, digits string) backend.Handle {
	h := backend.Handle{Kind: kind}
	if kind != backend.KindConfig {
		h.Name = strings.Repeat(digits, 32)
	}
	return h
}

func put(t *testing.T, be *s3.Backend, h backend.Handle) {
	t.Helper()
	if err := be.Put(t.Context(), h, []byte("content"), backend.PutOptions{CreateOnly: true}); err != nil {
		t.Fatalf("put %s: %v", h, err)
	}
}

func lockOf(t *testing.T, be *s3.Backend, h backend.Handle) time.Time {
	t.Helper()
	info, err := be.Info(t.Context(), h)
	if err != nil {
		t.Fatalf("info of %s: %v", h, err)
	}
	if info.Size != 7 || info.Modified.IsZero() {
		t.Errorf("%s has %d bytes of %s", h, info.Size, info.Modified)
	}
	return info.LockedUntil
}

// R8: everything that a restore needs is locked for the time that was asked
// for; a lock of the repository, which has to go after minutes, is not.
func TestObjectsAreLocked(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, mode := range []string{"GOVERNANCE", "COMPLIANCE"} {
		opt := options(server, server.Bucket(t, s3test.Locked()))
		opt.LockMode, opt.LockFor = mode, 48*time.Hour
		be := open(t, opt)
		if err := be.Probe(t.Context()); err != nil {
			t.Fatalf("%s: probe: %v", mode, err)
		}
		if may, err := be.MayLock(t.Context()); !may || err != nil || be.Locks() != 48*time.Hour {
			t.Errorf("%s: MayLock = %t, %v; Locks = %s", mode, may, err, be.Locks())
		}
		for _, kind := range []backend.Kind{backend.KindConfig, backend.KindKey, backend.KindSnapshot, backend.KindIndex, backend.KindData} {
			h := handle(kind, "5a")
			put(t, be, h)
			if left := time.Until(lockOf(t, be, h)); left < 47*time.Hour || left > 48*time.Hour {
				t.Errorf("%s: %s is locked for another %s, want about two days", mode, h, left)
			}
		}
		h := handle(backend.KindLock, "5a")
		put(t, be, h)
		if until := lockOf(t, be, h); !until.IsZero() {
			t.Errorf("%s: the repository's lock is locked until %s", mode, until)
		}
		if !be.KeepsVersions() {
			t.Errorf("%s: the bucket is not seen to keep versions", mode)
		}
		data := handle(backend.KindData, "5a")
		if err := be.ExtendLock(t.Context(), data, time.Now().Add(96*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if left := time.Until(lockOf(t, be, data)); left < 95*time.Hour {
			t.Errorf("%s: after the extension the lock lasts another %s, want about four days", mode, left)
		}
		if err := be.ExtendLock(t.Context(), data, time.Now().Add(time.Hour)); err != nil {
			t.Errorf("%s: a shorter extension: %v", mode, err)
		}
		if left := time.Until(lockOf(t, be, data)); left < 95*time.Hour {
			t.Errorf("%s: a shorter extension left %s", mode, left)
		}
	}
}

// R8: locks that are not ours are seen too: those of another program or of the
// bucket's default, and legal holds.
func TestLocksOfTheBucketAreSeen(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t, s3test.Locked())
	_, err := server.Client().PutObjectLockConfiguration(t.Context(), &awss3.PutObjectLockConfigurationInput{
		Bucket: &bucket,
		ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(3)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	be := open(t, options(server, bucket))
	if err := be.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := handle(backend.KindSnapshot, "5a")
	put(t, be, h)
	// Unlike Amazon's, this server does not show an object the lock that the
	// bucket's default gave it.
	_, err = server.Client().PutObjectRetention(t.Context(), &awss3.PutObjectRetentionInput{
		Bucket: &bucket, Key: aws.String("some/where/" + h.Path()),
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: aws.Time(time.Now().Add(72 * time.Hour))},
	})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(lockOf(t, be, h)); left < 71*time.Hour || left > 72*time.Hour {
		t.Errorf("locked for another %s, want about three days", left)
	}
	held := handle(backend.KindSnapshot, "77")
	put(t, be, held)
	_, err = server.Client().PutObjectLegalHold(t.Context(), &awss3.PutObjectLegalHoldInput{
		Bucket: &bucket, Key: aws.String("some/where/" + held.Path()), LegalHold: &types.ObjectLockLegalHold{Status: types.ObjectLockLegalHoldStatusOn},
	})
	if err != nil {
		t.Fatal(err)
	}
	if until := lockOf(t, be, held); !until.Equal(backend.NoEnd) {
		t.Errorf("under a legal hold, locked until %s", until)
	}
}

// A bucket without object lock is one sentence, at the probe and at the first
// object, and nothing is stored unlocked in place of it.
func TestABucketWithoutObjectLockIsRefused(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, bucket := range map[string]string{"plain": server.Bucket(t), "versioned": server.Bucket(t, s3test.Versioned())} {
		opt := options(server, bucket)
		opt.LockMode, opt.LockFor = "GOVERNANCE", 24*time.Hour
		be := open(t, opt)
		h := handle(backend.KindData, "5a")
		for what, err := range map[string]error{
			"probe": be.Probe(t.Context()),
			"put":   be.Put(t.Context(), h, []byte("content"), backend.PutOptions{CreateOnly: true}),
		} {
			if backend.KindOf(err) != backend.NoObjectLock || !strings.Contains(fmt.Sprint(err), "without object lock") {
				t.Errorf("%s bucket: %s: kind %s: %v", name, what, backend.KindOf(err), err)
			}
		}
		if keys := server.Keys(t, bucket, ""); len(keys) != 0 {
			t.Errorf("%s bucket: %q were stored", name, keys)
		}
		if may, err := be.MayLock(t.Context()); may || err != nil {
			t.Errorf("%s bucket: MayLock = %t, %v", name, may, err)
		}
	}
}

// A deletion in a bucket that keeps versions hides the object and frees
// nothing, even when it is locked; we see that it does.
func TestADeletionOfALockedObjectHidesIt(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := server.Bucket(t, s3test.Locked())
	opt := options(server, bucket)
	opt.LockMode, opt.LockFor = "COMPLIANCE", 24*time.Hour
	be := open(t, opt)
	h := handle(backend.KindIndex, "5a")
	put(t, be, h)
	if err := be.Delete(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if keys := server.Keys(t, bucket, ""); len(keys) != 0 {
		t.Errorf("%q are still listed", keys)
	}
	versions, err := server.Client().ListObjectVersions(t.Context(), &awss3.ListObjectVersionsInput{Bucket: &bucket})
	if err != nil || len(versions.Versions) != 1 {
		t.Fatalf("%d versions are left (%v), want the locked one", len(versions.Versions), err)
	}
	out, err := server.Client().GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &bucket, Key: versions.Versions[0].Key, VersionId: versions.Versions[0].VersionId})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(out.Body); err != nil || body.String() != "content" {
		t.Errorf("the hidden version holds %q (%v)", body.String(), err)
	}
}
