package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// ExecuteVerification proves a backup at the verification's level and records
// it: verified, or damaged when what is stored is not what it should be. A
// failure of anything else, such as the network, leaves the backup as it was.
// One that ctx interrupted goes on where it was when it is executed again by
// this process.
func (r *Runner) ExecuteVerification(ctx context.Context, v envbackup.Verification, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	if v.Level.OfRepository() {
		return r.inspect(ctx, v, progress)
	}
	failed := envbackup.Outcome{State: envbackup.RunFailed}
	backup, err := r.store.Backup(ctx, v.BackupID)
	if err != nil {
		return failed, err
	}
	defer r.use(backup.ID)()
	p := &proof{
		Runner: r, verification: v, backup: backup, env: environmentOf(backup), progress: progress, begun: r.begin(v.ID),
	}
	out, err := p.execute(ctx)
	switch cause := context.Cause(ctx); {
	case cause == nil:
		r.end(ctx, v.ID, false)
	case envbackup.CodeOf(cause) == envbackup.CodeCancelled, envbackup.CodeOf(cause) == envbackup.CodeTimedOut:
		r.end(ctx, v.ID, true) // who cancelled it does not wait for that
	}
	return out, err
}

// proof is one attempt at a verification.
type proof struct {
	*Runner
	verification envbackup.Verification
	backup       envbackup.Backup
	env          envbackup.Environment
	progress     func(envbackup.Progress)
	begun        *begun

	place string
}

func (p *proof) execute(ctx context.Context) (envbackup.Outcome, error) {
	failed := envbackup.Outcome{State: envbackup.RunFailed}
	dest, err := p.store.Destination(ctx, p.backup.DestinationID)
	if err != nil {
		return failed, err
	}
	p.place = vault.Address(dest, p.env)
	cached, err := p.vault.Repository(ctx, p.env.ID, dest.ID)
	if err != nil {
		return failed, explain(ctx, err, p.place)
	}
	lock, err := p.lock(ctx, cached)
	if err != nil {
		return failed, explain(ctx, err, p.place)
	}
	defer p.unlock(ctx, lock, p.place)
	if err := cached.LoadIndex(lock.Context()); err != nil {
		return failed, explain(ctx, err, p.place)
	}
	// What this process has read before proves nothing about what is stored.
	repo := cached.Uncached()

	snapshot, err := p.snapshot(lock.Context(), repo)
	out := failed
	var report *restorer.Report
	if err == nil {
		report, err = p.prove(lock.Context(), repo, snapshot)
		p.describe(report, &out)
	}
	if err == nil {
		out.State = envbackup.RunSucceeded
		return out, p.passed(ctx, snapshot)
	}
	if cause := context.Cause(lock.Context()); cause != nil {
		return out, explain(ctx, cause, p.place)
	}
	return out, p.fail(ctx, lock.Context(), repo, report, err)
}

// describe adds to the outcome what the report says for people. The report may
// be nil.
func (p *proof) describe(report *restorer.Report, out *envbackup.Outcome) {
	if report == nil {
		return
	}
	out.FilesDone, out.BytesDone = int64(report.Files), int64(report.Bytes)
	for i, f := range report.Failed {
		if i == maxNamed {
			break
		}
		out.Warnings = append(out.Warnings, sayProblem(f))
	}
	if report.WarningCount == 0 {
		return
	}
	first := report.Warnings[0]
	if p.verification.Level == envbackup.VerifyRestore {
		out.Warnings = append(out.Warnings, fmt.Sprintf("the content is right, but %d entries lack some of their metadata on this worker, such as /%s: %v",
			report.WarningCount, first.Path, first.Err))
		return
	}
	out.Warnings = append(out.Warnings, fmt.Sprintf("/%s: %v", first.Path, first.Err))
	if report.WarningCount > 1 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d more pieces of content have a damaged copy", report.WarningCount-1))
	}
}

// snapshot loads the backup's snapshot.
func (p *proof) snapshot(ctx context.Context, repo *repository.Repository) (*restic.Snapshot, error) {
	id, err := restic.ParseID(p.backup.SnapshotID)
	if err != nil {
		return nil, err
	}
	return repo.LoadSnapshot(ctx, id)
}

// prove reads or restores the snapshot. The report may be nil beside an error.
func (p *proof) prove(ctx context.Context, repo *repository.Repository, sn *restic.Snapshot) (*restorer.Report, error) {
	read := restorer.Options{Progress: p.report}
	nothing := restorer.Progress{TotalFiles: uint64(p.backup.Files), TotalBytes: uint64(p.backup.Size)} //nolint:gosec // not negative
	if p.verification.Level != envbackup.VerifyRestore {
		p.report(nothing)
		return restorer.Prove(ctx, repo, sn, &p.begun.proven, read)
	}
	if err := p.scratch(p.begun, p.backup); err != nil {
		return nil, err
	}
	p.report(nothing)
	report, err := restorer.Restore(ctx, repo, sn, restorer.Options{Target: p.begun.dir, Overwrite: true, Verify: true, Progress: p.report})
	p.begun.bytes = int64(report.Bytes)
	switch {
	case err == nil || ctx.Err() != nil:
		return report, err
	case errors.Is(err, restorer.ErrDiskFull):
		return report, p.noRoom("it filled up", err)
	}
	// Is it the backup, or this host's disk? What is stored says so.
	stored, readErr := restorer.Prove(ctx, repo, sn, &p.begun.proven, read)
	if readErr != nil {
		return stored, readErr
	}
	return report, &envbackup.Error{
		Code: envbackup.CodeInternal, Err: err,
		Message: fmt.Sprintf("the backup is whole at %s, but it could not be restored on this worker: %v", p.place, err),
		Hint:    fmt.Sprintf("the daemon's user needs to write to %s, and the disk there has to be sound", p.cfg.Scratch),
	}
}

func (p *proof) report(at restorer.Progress) {
	p.progress(envbackup.Progress{
		Phase: envbackup.PhaseVerify, Destination: p.backup.Destination,
		FilesDone: int64(at.Files), FilesTotal: int64(at.TotalFiles),
		BytesDone: int64(at.Bytes), BytesTotal: int64(at.TotalBytes),
		Errors: int64(at.Failed), Current: at.Current,
	})
}

// passed records a proven backup. One that was damaged before, and was mended
// since, is again what its snapshot says.
func (p *proof) passed(ctx context.Context, sn *restic.Snapshot) error {
	ctx = context.WithoutCancel(ctx) // it is proven, whatever comes now
	if p.backup.Status == envbackup.BackupDamaged {
		if tags, ok := readTags(sn.Tags); ok {
			if err := p.store.SetStatus(ctx, p.backup.ID, tags.status); err != nil {
				return err
			}
		}
	}
	return p.store.MarkVerified(ctx, p.backup.ID, p.now())
}

// fail records damage, and says what a failure means. The report may be nil.
// locked is the lock's context.
func (p *proof) fail(ctx, locked context.Context, repo *repository.Repository, report *restorer.Report, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !p.isDamage(report, err) {
		return p.explainFirst(ctx, report, err)
	}
	// A disk that is not mounted or a bucket that was emptied lacks every
	// object: that says nothing about the backup.
	if missing := repo.LoadIndex(ctx); missing != nil {
		return explain(ctx, missing, p.place)
	}
	if err := p.store.SetStatus(context.WithoutCancel(ctx), p.backup.ID, envbackup.BackupDamaged); err != nil {
		return err
	}
	p.cfg.Log.ErrorContext(ctx, "a backup is damaged", "backup", p.backup.ID, "repository", p.place, "snapshot", p.backup.SnapshotID, "error", err)
	if noted := p.noteDamage(context.WithoutCancel(ctx), p.env.ID, p.backup.DestinationID, badPacks(report, err)); noted != nil {
		return noted
	}
	message := p.sayDamage(report, err)
	others, otherErr := p.markOthers(locked, repo, report)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case otherErr != nil:
		message += fmt.Sprintf("; whether other backups need the same content could not be told: %v", explain(ctx, otherErr, p.place))
	case others == 1:
		message += "; 1 other backup needs the same content and is damaged, too"
	case others > 1:
		message += fmt.Sprintf("; %d other backups need the same content and are damaged, too", others)
	}
	return &envbackup.Error{Code: envbackup.CodeDamaged, Message: message, Err: err, Hint: p.repairHint()}
}

// markOthers marks the other backups in the repository that need what is
// damaged, and returns how many they are: none of them may count as a good
// backup.
func (p *proof) markOthers(ctx context.Context, repo *repository.Repository, report *restorer.Report) (int, error) {
	bad := badBlobs(report)
	if len(bad) == 0 {
		return 0, nil
	}
	here, err := p.rowsAt(ctx, p.env, envbackup.Destination{Meta: envbackup.Meta{ID: p.backup.DestinationID}, DestinationSpec: envbackup.DestinationSpec{Name: p.backup.Destination}}, "")
	if err != nil {
		return 0, err
	}
	rows := make(map[string]envbackup.Backup, len(here))
	for _, b := range here {
		if b.ID != p.backup.ID && b.Status != envbackup.BackupDamaged {
			rows[b.SnapshotID] = b
		}
	}
	all, err := repo.Snapshots(ctx, nil)
	if err != nil {
		return 0, err
	}
	known := slices.DeleteFunc(slices.Clone(all), func(s *restic.Snapshot) bool { _, ok := rows[s.ID.String()]; return !ok })
	needing, err := repo.SnapshotsNeeding(ctx, known, bad)
	for i, s := range needing {
		b := rows[s.ID.String()]
		if err := p.store.SetStatus(context.WithoutCancel(ctx), b.ID, envbackup.BackupDamaged); err != nil {
			return i, err
		}
		p.cfg.Log.ErrorContext(ctx, "a backup is damaged, because it needs the same content", "backup", b.ID, "repository", p.place, "snapshot", b.SnapshotID)
	}
	return len(needing), err
}

// isDamage reports whether what is stored is to blame, and not the way there.
func (p *proof) isDamage(report *restorer.Report, err error) bool {
	if !errors.Is(err, restorer.ErrIncomplete) {
		return !transport(err) && (errors.Is(err, repository.ErrDamaged) || errors.Is(err, repository.ErrUnknownBlob) ||
			errors.Is(err, fs.ErrNotExist) || errors.Is(err, backend.ErrRange))
	}
	// What is wrong with an entry comes from what is stored, unless the store
	// could not be asked.
	return slices.ContainsFunc(report.Failed, func(f restorer.Problem) bool { return !transport(f.Err) })
}

// transport reports whether anything in err's tree is a failure to reach or
// read the store. Where one copy is lost and the other cannot be reached,
// nothing is known.
func transport(err error) bool {
	switch e := err.(type) { //nolint:errorlint // walks the tree itself
	case *backend.Error:
		return e.Kind != backend.NotFound && !errors.Is(e, backend.ErrRange)
	case interface{ Unwrap() error }:
		return transport(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, each := range e.Unwrap() {
			if transport(each) {
				return true
			}
		}
	}
	return false
}

// explainFirst says why a verification failed that found no damage.
func (p *proof) explainFirst(ctx context.Context, report *restorer.Report, err error) error {
	if errors.Is(err, restorer.ErrIncomplete) && len(report.Failed) > 0 {
		err = report.Failed[0].Err
	}
	return explain(ctx, err, p.place)
}
