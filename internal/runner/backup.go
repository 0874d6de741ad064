package runner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// suspectAfter is how many earlier backups R9 compares with.
const suspectAfter = 7

// backup leaves the run's snapshot at the destination and its row in the
// store. A snapshot that an earlier attempt of the run left is adopted instead
// of taken again (S5).
func (d *destinationRun) backup(ctx context.Context) (envbackup.Backup, error) {
	d.report(envbackup.Progress{Phase: envbackup.PhaseBackup})
	repo, err := d.vault.Repository(ctx, d.env.ID, d.dest.ID)
	if err != nil {
		return envbackup.Backup{}, d.explain(ctx, err)
	}
	d.setAside(ctx, repo)
	lock, err := d.lockAhead(ctx, repo)
	if err != nil {
		return envbackup.Backup{}, d.explain(ctx, err)
	}
	defer d.Runner.unlock(ctx, lock, d.dest.Name)

	snapshot, report, err := d.snapshot(lock.Context(), repo)
	if err != nil {
		if cause := context.Cause(lock.Context()); errors.Is(cause, repository.ErrLockLost) || errors.Is(cause, repository.ErrLocked) {
			err = cause
		}
		return envbackup.Backup{}, d.explain(ctx, err)
	}
	// It exists, so nothing removes what it needs: others may go on.
	lock.Release()
	if report != nil {
		if err := repo.VerifySnapshot(ctx, snapshot.ID); err != nil {
			// It is there and may be whole: it must not count as a backup, nor
			// may a retry adopt it.
			return envbackup.Backup{}, d.explain(ctx, errors.Join(fmt.Errorf("read the new snapshot back: %w", err), repo.ForgetSnapshots(ctx, snapshot.ID)))
		}
	}
	backup, err := d.row(snapshot)
	if err != nil {
		return envbackup.Backup{}, err
	}
	if report != nil {
		d.describe(report, &backup)
	}
	d.files, d.bytes = backup.Files, backup.Size
	// The snapshot exists. A stop of the daemon that comes now must not keep
	// it out of the store.
	if err := d.store.AddBackup(context.WithoutCancel(ctx), &backup); err != nil {
		return envbackup.Backup{}, fmt.Errorf("enter backup of snapshot %s: %w", snapshot.ID.Short(), err)
	}
	d.mended(ctx)
	if backup.Status == envbackup.BackupSuspect {
		d.warn("%s", saySuspect(backup, d.recent))
	}
	return backup, nil
}

// snapshot adopts or takes the run's snapshot. The report is nil for an
// adopted one.
func (d *destinationRun) snapshot(ctx context.Context, repo *repository.Repository) (*restic.Snapshot, *archiver.Report, error) {
	listing, err := repo.Refresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	if listing.Damaged != nil {
		d.warn("at %s: %v", d.dest.Name, listing.Damaged) // no reason to take no backup
	}
	snapshots := listing.Snapshots
	own := tagRun + "=" + d.run.ID
	if i := slices.IndexFunc(snapshots, func(s *restic.Snapshot) bool { return s.Tags.Has(own) }); i >= 0 {
		d.warn("an earlier attempt had left the backup at %s; it was taken over", d.dest.Name)
		return snapshots[i], nil, nil
	}
	sizes, err := d.store.RecentSizes(ctx, d.run.ScheduleID, d.run.ID, suspectAfter)
	if err != nil {
		return nil, nil, err
	}
	d.recent = sizes
	defer repo.Abort() // nothing is left to give up after a success
	snapshot, report, err := archiver.Backup(ctx, repo, archiver.Request{
		Sources:        d.sources,
		Parent:         d.parent(snapshots),
		Tags:           tagsOf(d.run),
		Hostname:       d.cfg.Hostname,
		ProgramVersion: "envbackup " + d.cfg.Version,
		Progress:       d.passOn,
		Seal: func(s *restic.Snapshot, report *archiver.Report) error {
			s.Tags = s.Tags.With(tagStatus, string(statusOf(report, sizes)))
			return nil
		},
	})
	if err != nil {
		return nil, nil, err
	}
	return snapshot, report, nil
}

// statusOf is decided once, when everything is stored (S14, R9).
func statusOf(report *archiver.Report, recent []int64) envbackup.BackupStatus {
	switch {
	case report.Partial():
		return envbackup.BackupPartial
	case retention.Suspect(int64(report.Summary.TotalBytesProcessed), recent):
		return envbackup.BackupSuspect
	default:
		return envbackup.BackupComplete
	}
}

// parent picks the snapshot to compare files with: the newest of this
// environment from this host.
func (d *destinationRun) parent(snapshots []*restic.Snapshot) *restic.Snapshot {
	ours := tagEnvironment + "=" + d.env.Name
	var newest *restic.Snapshot
	for _, s := range snapshots {
		if s.Hostname == d.cfg.Hostname && s.Tags.Has(ours) && (newest == nil || s.Time.After(newest.Time)) {
			newest = s
		}
	}
	return newest
}

// passOn reports the archiver's progress.
func (d *destinationRun) passOn(p archiver.Progress) {
	d.report(envbackup.Progress{
		Phase:     envbackup.PhaseBackup,
		FilesDone: int64(p.Files), FilesTotal: int64(max(p.TotalFiles, p.Files)),
		BytesDone: int64(p.Bytes), BytesTotal: int64(max(p.TotalBytes, p.Bytes)),
		Added: int64(p.Stored), Errors: int64(p.Unreadable), Current: p.Current,
	})
}

// describe adds to run and backup what the report says for people.
func (d *destinationRun) describe(report *archiver.Report, b *envbackup.Backup) {
	for i, p := range report.Unreadable {
		if i == maxNamed {
			break
		}
		b.Missing = append(b.Missing, p.Path)
		d.warn("cannot read %s: %v", p.Path, p.Err)
	}
	if n := int64(report.UnreadableCount) - int64(len(b.Missing)); n > 0 {
		d.warn("%d more could not be read", n)
	}
	if report.Vanished > 0 {
		d.warn("%d files vanished before they were read", report.Vanished)
	}
	if report.ChangedInRead > 0 {
		d.warn("%d files changed while they were read; the next backup reads them again", report.ChangedInRead)
	}
}

// saySuspect says why a backup is not trusted, and how a person can say that
// it is right (R9).
func saySuspect(b envbackup.Backup, recent []int64) string {
	before := make([]string, len(recent))
	for i, size := range recent {
		before[i] = humanize.IBytes(uint64(max(size, 0)))
	}
	return fmt.Sprintf("the backup at %s is suspect: it holds %s, and the ones before it held %s. It is kept, and counts as no good backup. "+
		"If it is right, say so with: envbackup backups acknowledge %s",
		b.Destination, humanize.IBytes(uint64(max(b.Size, 0))), strings.Join(before, ", "), b.ID)
}

// row makes the store's row of a snapshot of this run's environment.
func (d *destinationRun) row(s *restic.Snapshot) (envbackup.Backup, error) {
	return rowOf(s, d.env, d.dest)
}

// rowOf makes the store's row of a snapshot from its tags and summary.
func rowOf(s *restic.Snapshot, env envbackup.Environment, dest envbackup.Destination) (envbackup.Backup, error) {
	tags, ok := readTags(s.Tags)
	if !ok {
		return envbackup.Backup{}, fmt.Errorf("snapshot %s does not carry the tags of a backup", s.ID.Short())
	}
	b := envbackup.Backup{
		SnapshotID: s.ID.String(), RunID: tags.runID, ScheduleID: tags.scheduleID, Schedule: tags.schedule,
		EnvironmentID: env.ID, Environment: env.Name, DestinationID: dest.ID, Destination: dest.Name,
		Trigger: tags.trigger, Status: tags.status, Nominal: tags.nominal,
		StartedAt: s.Time.UTC(), CompletedAt: s.Time.UTC(),
	}
	if sum := s.Summary; sum != nil {
		b.StartedAt, b.CompletedAt = sum.BackupStart.UTC(), sum.BackupEnd.UTC()
		b.Size, b.Added, b.Files = int64(sum.TotalBytesProcessed), int64(sum.DataAddedPacked), int64(sum.TotalFilesProcessed)
	}
	return b, nil
}

func (d *destinationRun) explain(ctx context.Context, err error) error {
	return explain(ctx, err, vault.Address(d.dest, d.env))
}

// explain makes one sentence with a code of a failure at place. When ctx
// ended, its cause is the failure: it says whether the run timed out, was
// cancelled or shut down.
func explain(ctx context.Context, err error, place string) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	var source *archiver.SourceError
	if errors.As(err, &source) {
		if errors.Is(err, archiver.ErrSourceMissing) {
			return sourceMissing(source.Root, err)
		}
		return &envbackup.Error{Code: envbackup.CodeInvalid, Message: source.Error(), Err: err}
	}
	return vault.Explain(err, place)
}
