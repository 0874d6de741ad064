package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// password opens every repository of a benchmark.
const password = "benchmark"

// hostname stands in our snapshots.
const hostname = "bench"

// engine is our engine on one repository, put together as the daemon does it.
type engine struct{ *repository.Repository }

// openEngine opens the repository at p, or makes it.
func openEngine(ctx context.Context, p place, create bool) (*engine, error) {
	store, err := s3.Open(ctx, s3.Options{
		Endpoint: p.Endpoint, Region: p.Region, Bucket: p.Bucket, Prefix: p.Prefix, ForcePathStyle: true,
		AccessKeyID: p.AccessKey, SecretAccessKey: secret.New(p.SecretKey),
	})
	if err != nil {
		return nil, err
	}
	be := retry.New(store, retry.Options{})
	// As the peers have theirs: in the repository's own home.
	cache := repository.WithCache(filepath.Join(os.Getenv("HOME"), "envbackup.cache"), repository.DefaultCacheSize)
	var repo *repository.Repository
	if create {
		repo, err = repository.Init(ctx, be, secret.New(password), repository.InitOptions{}, cache)
	} else {
		repo, err = repository.Open(ctx, be, secret.New(password), cache)
	}
	if err != nil {
		return nil, errors.Join(err, be.Close())
	}
	return &engine{repo}, nil
}

// locked calls fn under a shared lock that may still have to stand, with the
// index up to date and the snapshots, oldest first. fn may release the lock.
func (e *engine) locked(ctx context.Context, fn func(lock *repository.Lock, snapshots []*restic.Snapshot) error) (err error) {
	lock, err := e.LockAhead(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	listing, err := e.Refresh(lock.Context())
	if err := errors.Join(err, listing.Damaged); err != nil {
		return err
	}
	return fn(lock, listing.Snapshots)
}

// backup does what a run does between its two rows in the database: lock, find
// the parent, save, unlock, read the snapshot back.
func (e *engine) backup(ctx context.Context, dir string) error {
	return e.locked(ctx, func(lock *repository.Lock, snapshots []*restic.Snapshot) error {
		snapshot, err := e.save(lock.Context(), dir, newest(snapshots), time.Time{})
		if err != nil {
			return err
		}
		lock.Release()
		return e.VerifySnapshot(ctx, snapshot.ID)
	})
}

// save takes a backup under a lock that is held already.
func (e *engine) save(ctx context.Context, dir string, parent *restic.Snapshot, at time.Time) (*restic.Snapshot, error) {
	defer e.Abort() // nothing is left to give up after a success
	snapshot, report, err := archiver.Backup(ctx, e.Repository, archiver.Request{
		Sources: []archiver.Source{{Root: dir}}, Parent: parent, Hostname: hostname, Time: at,
		ProgramVersion: "envbackup bench",
	})
	if err != nil {
		return nil, err
	}
	if report.Partial() {
		return nil, fmt.Errorf("back up %s: %d entries could not be read", dir, report.UnreadableCount)
	}
	return snapshot, nil
}

// newest returns the last of the snapshots, or nil when there is none.
func newest(snapshots []*restic.Snapshot) *restic.Snapshot {
	if len(snapshots) == 0 {
		return nil
	}
	return snapshots[len(snapshots)-1]
}

func (e *engine) restore(ctx context.Context, target string) error {
	return e.locked(ctx, func(lock *repository.Lock, snapshots []*restic.Snapshot) error {
		snapshot := newest(snapshots)
		if snapshot == nil {
			return errors.New("there is no snapshot to restore")
		}
		report, err := restorer.Restore(lock.Context(), e.Repository, snapshot, restorer.Options{Target: target})
		if err == nil && report.WarningCount > 0 {
			err = fmt.Errorf("restore /%s: %w", report.Warnings[0].Path, report.Warnings[0].Err)
		}
		return err
	})
}

// prune forgets all but the newest keep snapshots and removes their data.
func (e *engine) prune(ctx context.Context, keep int) (repository.PruneStats, error) {
	// The daemon has the index from its last run. Here it is loaded beside the
	// snapshots; Prune looks whether it is still true, under its lock.
	listing, err := e.Refresh(ctx)
	if err := errors.Join(err, listing.Damaged); err != nil {
		return repository.PruneStats{}, err
	}
	snapshots := listing.Snapshots
	var ids []restic.ID
	for _, s := range snapshots[:max(0, len(snapshots)-keep)] {
		ids = append(ids, s.ID)
	}
	if err := e.ForgetSnapshots(ctx, ids...); err != nil {
		return repository.PruneStats{}, err
	}
	return e.Prune(ctx, repository.PruneOptions{})
}

// fill makes one backup a day of a tree that changes in between.
func (e *engine) fill(ctx context.Context, dir string, snapshots int) error {
	return e.locked(ctx, func(lock *repository.Lock, _ []*restic.Snapshot) error {
		var parent *restic.Snapshot
		for day := range snapshots {
			if _, err := change(lock.Context(), dir, day); err != nil {
				return err
			}
			snapshot, err := e.save(lock.Context(), dir, parent, stamp.AddDate(0, 0, day))
			if err != nil {
				return err
			}
			parent = snapshot
		}
		return nil
	})
}
