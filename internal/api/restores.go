package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/exclude"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) restoreRoutes() {
	const tag = "restores"
	handle(s, route{http.MethodGet, "/restores", "list-restores", "List restores, newest first", tag, envbackup.RoleViewer, 0}, s.listRestores)
	handle(s, route{http.MethodPost, "/restores", "create-restore", "Restore a backup onto a worker", tag, envbackup.RoleOperator, http.StatusCreated}, s.createRestore)
	handle(s, route{http.MethodGet, "/restores/{id}", "get-restore", "Show a restore", tag, envbackup.RoleViewer, 0}, s.getRestore)
	handle(s, route{http.MethodPost, "/restores/{id}/cancel", "cancel-restore", "Cancel a restore; what it has written stays", tag, envbackup.RoleOperator, 0}, s.cancelRestore)
	events(s, route{http.MethodGet, "/restores/{id}/events", "watch-restore", "Follow a restore until it is over", tag, envbackup.RoleViewer, 0},
		"restore", s.restoreNow, func(r wire.Restore) bool { return r.State.Final() })
}

func (s *server) listRestores(ctx context.Context, in *struct{ wire.RestoresQuery }) (*plain[wire.RestorePage], error) {
	items, next, err := s.Store.Restores(ctx, envbackup.RestoreFilter{
		Environment: in.Environment, States: states(in.State),
	}, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	return &plain[wire.RestorePage]{wire.RestorePage{Items: convert(items, restoreDoc), Cursor: next}}, nil
}

func (s *server) getRestore(ctx context.Context, in *Keyed) (*plain[wire.Restore], error) {
	body, err := s.restoreNow(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	return &plain[wire.Restore]{body}, nil
}

func (s *server) restoreNow(ctx context.Context, id string) (wire.Restore, error) {
	r, err := s.Store.Restore(ctx, id)
	if err != nil {
		return wire.Restore{}, err
	}
	return restoreDoc(r), nil
}

func (s *server) createRestore(ctx context.Context, in *struct{ Body wire.RestoreRequest }) (*made[wire.Restore], error) {
	if findings := s.checkRestore(in.Body); len(findings) > 0 {
		return nil, envbackup.Invalid(findings...)
	}
	backup, err := s.backupFor(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	if err := s.reachable(ctx, backup); err != nil {
		return nil, err
	}
	worker := in.Body.Worker
	if worker == "" {
		e, err := s.Store.Environment(ctx, backup.Environment)
		switch {
		case err == nil:
			worker = e.Worker
		case envbackup.CodeOf(err) != envbackup.CodeNotFound: // the environment of an old backup may be gone
			return nil, err
		}
	}
	r := envbackup.Restore{
		BackupID: backup.ID, Environment: backup.Environment, Worker: worker,
		Target: in.Body.Target, Include: in.Body.Include, Overwrite: in.Body.Overwrite, State: envbackup.RunQueued,
	}
	if err := s.Queue.EnqueueRestore(ctx, &r); err != nil {
		return nil, err
	}
	s.audit(ctx, "restore", "backup", backup.ID, fmt.Sprintf("%s of %s to %s", r.ID, backup.Environment, r.Target))
	return &made[wire.Restore]{Location: root + "/restores/" + r.ID, Body: restoreDoc(r)}, nil
}

func (s *server) cancelRestore(ctx context.Context, in *Keyed) (*plain[wire.Restore], error) {
	r, err := s.Store.Restore(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if r.State.Final() {
		return nil, over("restore", string(r.State))
	}
	if err := s.Queue.CancelRestore(ctx, r.ID); err != nil {
		return nil, err
	}
	s.audit(ctx, "cancel", "restore", r.ID, r.Environment)
	return s.getRestore(ctx, in)
}

// checkRestore returns what is wrong with a request before any backup is
// looked up.
func (s *server) checkRestore(in wire.RestoreRequest) []envbackup.Finding {
	var findings []envbackup.Finding
	report := func(path, summary, detail string) {
		findings = append(findings, envbackup.Finding{Severity: envbackup.SeverityError, Path: path, Summary: summary, Detail: detail})
	}
	if in.Backup == "" {
		report("backup", "Missing backup", `Name a backup by its id or snapshot id, or write "latest" with an environment.`)
	}
	if in.Backup == "latest" && in.Environment == "" {
		report("environment", "Missing environment", `"latest" needs to know of which environment.`)
	}
	if problem := absolute(in.Target); problem != "" {
		report("target", "Invalid path", problem)
	} else if err := allowed(s.AllowRestore, in.Target); err != nil {
		findings = append(findings, notAllowed("target", "Path is not allowed", err))
	}
	var bad *exclude.PatternError
	if _, err := exclude.Compile(in.Include); errors.As(err, &bad) {
		report(fmt.Sprintf("include[%d]", bad.Index), "Invalid include pattern", bad.Error()+".")
	}
	return findings
}

// reachable refuses a backup whose destination was deleted: where it lies is
// known no more, though its password is (R11).
func (s *server) reachable(ctx context.Context, b envbackup.Backup) error {
	_, err := s.Store.Destination(ctx, b.DestinationID)
	if envbackup.CodeOf(err) != envbackup.CodeNotFound {
		return err
	}
	return &envbackup.Error{
		Code:    envbackup.CodeConflict,
		Message: fmt.Sprintf("the backup lies at the destination %q, which was deleted", b.Destination),
		Hint: fmt.Sprintf("create the destination again under the name %q and with the place that it had: the daemon still knows the backups and their password. "+
			"Or restore with stock restic and the recovery password", b.Destination),
	}
}

// backupFor finds the backup that a request means. A backup that is being
// removed is not one.
func (s *server) backupFor(ctx context.Context, in wire.RestoreRequest) (envbackup.Backup, error) {
	if in.Backup != "latest" {
		b, err := s.Store.Backup(ctx, in.Backup)
		if err != nil {
			return b, err
		}
		if !b.RemovalMarkedAt.IsZero() {
			return b, &envbackup.Error{
				Code: envbackup.CodeConflict, Message: "the backup is being removed",
				Hint: "list the ones that stay with: envbackup backups list --environment " + b.Environment,
			}
		}
		return b, nil
	}
	if _, err := s.Store.Environment(ctx, in.Environment); err != nil {
		return envbackup.Backup{}, err
	}
	newest, _, _, err := s.Store.Backups(ctx, envbackup.BackupFilter{
		Environment: in.Environment, Destination: in.Destination, Status: envbackup.BackupComplete,
	}, envbackup.Page{Limit: 1})
	if err != nil {
		return envbackup.Backup{}, err
	}
	if len(newest) == 0 {
		return envbackup.Backup{}, &envbackup.Error{
			Code: envbackup.CodeNotFound, Message: fmt.Sprintf("environment %q has no complete backup", in.Environment),
			Hint: "list what there is with: envbackup backups list --environment " + in.Environment,
		}
	}
	return newest[0], nil
}
