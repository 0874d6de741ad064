package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// ExecuteRestore writes a backup, or what is included of it, below the
// restore's target. A failure leaves what was written until then.
func (r *Runner) ExecuteRestore(ctx context.Context, restore envbackup.Restore, progress func(envbackup.Progress)) (envbackup.Outcome, error) {
	failed := envbackup.Outcome{State: envbackup.RunFailed}
	if !filepath.IsAbs(restore.Target) {
		return failed, &envbackup.Error{Code: envbackup.CodeInvalid, Message: "the target is not an absolute path", Hint: "write the whole path on the worker's host"}
	}
	if err := r.cfg.AllowRestore(restore.Target); err != nil {
		return failed, err
	}
	backup, err := r.store.Backup(ctx, restore.BackupID)
	if err != nil {
		return failed, err
	}
	defer r.use(backup.ID)()
	env := environmentOf(backup)
	dest, err := r.store.Destination(ctx, backup.DestinationID)
	if err != nil {
		return failed, err
	}
	place := vault.Address(dest, env)
	r.makeWay(env.ID)
	repo, err := r.vault.Repository(ctx, env.ID, dest.ID)
	if err != nil {
		return failed, explain(ctx, err, place)
	}
	lock, err := r.lock(ctx, repo)
	if err != nil {
		return failed, explain(ctx, err, place)
	}
	defer r.unlock(ctx, lock, place)

	id, err := restic.ParseID(backup.SnapshotID)
	if err != nil {
		return failed, err
	}
	snapshot, err := repo.LoadSnapshot(lock.Context(), id)
	if err != nil {
		return failed, explain(ctx, err, place)
	}
	if err := repo.LoadIndex(lock.Context()); err != nil {
		return failed, explain(ctx, err, place)
	}
	report, err := restorer.Restore(lock.Context(), repo, snapshot, restorer.Options{
		Target: restore.Target, Include: restore.Include, Overwrite: restore.Overwrite,
		Progress: func(p restorer.Progress) {
			progress(envbackup.Progress{
				Phase: envbackup.PhaseRestore, Destination: dest.Name,
				FilesDone: int64(p.Files), FilesTotal: int64(p.TotalFiles),
				BytesDone: int64(p.Bytes), BytesTotal: int64(p.TotalBytes),
				Errors: int64(p.Failed), Current: p.Current,
			})
		},
	})
	out := envbackup.Outcome{
		State: envbackup.RunSucceeded, FilesDone: int64(report.Files), BytesDone: int64(report.Bytes),
		Warnings: append(problems("is missing", report.Failed), problems("lacks some of its metadata", report.Warnings)...),
	}
	switch {
	case errors.Is(err, restorer.ErrIncomplete) && ctx.Err() == nil && report.Files > 0:
		// What could be restored is there: a partial restore beats none.
		out.State = envbackup.RunPartial
		return out, nil
	case err != nil:
		out.State = envbackup.RunFailed
		return out, explainRestore(ctx, err, restore.Target, place)
	}
	return out, nil
}

// environmentOf returns what a backup says of its environment, which may have
// been deleted since.
func environmentOf(b envbackup.Backup) envbackup.Environment {
	return envbackup.Environment{
		Meta:            envbackup.Meta{ID: b.EnvironmentID},
		EnvironmentSpec: envbackup.EnvironmentSpec{Name: b.Environment},
	}
}

// problems names the first hundred of a restore's troubles.
func problems(what string, list []restorer.Problem) []string {
	var out []string
	for i, p := range list {
		if i == maxNamed {
			break
		}
		out = append(out, fmt.Sprintf("/%s %s: %v", p.Path, what, p.Err))
	}
	return out
}

// explainRestore gives the restorer's failures their codes.
func explainRestore(ctx context.Context, err error, target, place string) error {
	code := envbackup.CodeInvalid
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, restorer.ErrTargetNotEmpty):
		code = envbackup.CodeTargetNotEmpty
	case errors.Is(err, restorer.ErrDiskFull):
		code = envbackup.CodeDiskFull
	case errors.Is(err, restorer.ErrNothingFound):
	case errors.Is(err, restorer.ErrIncomplete):
		code = envbackup.CodeDamaged
	case errors.Is(err, fs.ErrPermission):
		return &envbackup.Error{
			Code:    envbackup.CodeNotAllowed,
			Message: fmt.Sprintf("the daemon's user may not write to %s", target),
			Hint:    "give the user the right, or choose another target", Err: err,
		}
	default:
		return explain(ctx, err, place)
	}
	return &envbackup.Error{Code: code, Message: err.Error(), Hint: restorer.Hint(err), Err: err}
}
