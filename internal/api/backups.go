package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) backupRoutes() {
	const tag = "backups"
	handle(s, route{http.MethodGet, "/backups", "list-backups", "List backups, newest first", tag, envbackup.RoleViewer, 0}, s.listBackups)
	handle(s, route{http.MethodGet, "/backups/{id}", "get-backup", "Show a backup", tag, envbackup.RoleViewer, 0}, s.getBackup)
	handle(s, route{http.MethodPost, "/backups/{id}/hold", "hold-backup", "Exempt a backup from every rule that removes", tag, envbackup.RoleOperator, 0}, s.holdBackup)
	handle(s, route{http.MethodPost, "/backups/{id}/release", "release-backup", "End a hold", tag, envbackup.RoleOperator, 0}, s.releaseBackup)
	handle(s, route{http.MethodPost, "/backups/{id}/acknowledge", "acknowledge-backup", "Say that a suspect backup is good", tag, envbackup.RoleOperator, 0}, s.acknowledgeBackup)
	handle(s, route{http.MethodDelete, "/backups/{id}", "delete-backup", "Remove a backup for good", tag, envbackup.RoleAdmin, 0}, s.deleteBackup)
}

func (s *server) listBackups(ctx context.Context, in *struct{ wire.BackupsQuery }) (*plain[wire.BackupPage], error) {
	filter, err := s.backupFilter(ctx, in.BackupsQuery)
	if err != nil {
		return nil, err
	}
	items, next, total, err := s.Store.Backups(ctx, filter, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	docs, err := s.backupDocs(ctx, items)
	if err != nil {
		return nil, err
	}
	return &plain[wire.BackupPage]{wire.BackupPage{Items: docs, Total: total, Cursor: next}}, nil
}

// backupFilter translates a query. A schedule is named by its id, by
// ENVIRONMENT/NAME or, beside an environment, by its name; one that is gone
// still selects by the name that its backups carry.
func (s *server) backupFilter(ctx context.Context, q wire.BackupsQuery) (envbackup.BackupFilter, error) {
	environment, err := s.environmentName(ctx, q.Environment)
	if err != nil {
		return envbackup.BackupFilter{}, err
	}
	f := envbackup.BackupFilter{
		Environment: environment, Destination: q.Destination, Status: envbackup.BackupStatus(q.Status),
		Trigger: envbackup.Trigger(q.Trigger), Since: q.Since, Until: q.Until,
	}
	if q.Verified != "" {
		verified := q.Verified == "true"
		f.Verified = &verified
	}
	if q.MaxAge != "" {
		age, err := retention.ParseDuration(q.MaxAge)
		if err != nil {
			return f, envbackup.Invalid(envbackup.Finding{
				Severity: envbackup.SeverityError, Path: "max_age", Summary: "Invalid duration", Detail: err.Error(),
			})
		}
		if since := age.Before(s.Now().UTC(), time.UTC); since.After(f.Since) {
			f.Since = since
		}
	}
	return f, s.selectSchedule(ctx, q.Schedule, &f)
}

func (s *server) selectSchedule(ctx context.Context, key string, f *envbackup.BackupFilter) error {
	if key == "" {
		return nil
	}
	lookup := key
	if f.Environment != "" && !strings.Contains(key, "/") && !strings.HasPrefix(key, "sch_") {
		lookup = f.Environment + "/" + key
	}
	sch, err := s.Store.Schedule(ctx, lookup)
	switch {
	case err == nil && f.Environment != "" && f.Environment != sch.Environment:
		return scheduleElsewhere(key, f.Environment)
	case err == nil:
		f.ScheduleID = sch.ID
		return nil
	case envbackup.CodeOf(err) != envbackup.CodeNotFound:
		return err
	case strings.HasPrefix(key, "sch_"):
		f.ScheduleID = key
		return nil
	}
	if environment, name, ok := strings.Cut(lookup, "/"); ok {
		if f.Environment != "" && f.Environment != environment {
			return scheduleElsewhere(key, f.Environment)
		}
		f.Environment, f.Schedule = environment, name
		return nil
	}
	f.Schedule = lookup
	return nil
}

// scheduleElsewhere refuses two filters that exclude each other: an empty list
// would look like having no backups.
func scheduleElsewhere(key, environment string) error {
	return envbackup.Invalid(envbackup.Finding{
		Severity: envbackup.SeverityError, Path: "schedule", Summary: "Schedule of another environment",
		Detail: fmt.Sprintf("%q is not a schedule of environment %q. Leave out one of the two.", key, environment),
	})
}

func (s *server) getBackup(ctx context.Context, in *Keyed) (*plain[wire.Backup], error) {
	b, err := s.Store.Backup(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	docs, err := s.backupDocs(ctx, []envbackup.Backup{b})
	if err != nil {
		return nil, err
	}
	return &plain[wire.Backup]{docs[0]}, nil
}

func (s *server) holdBackup(ctx context.Context, in *struct {
	Keyed
	Body *wire.HoldRequest
}) (*plain[wire.Backup], error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	b, err := s.Store.Backup(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if err := s.Store.Hold(ctx, b.ID, reason); err != nil {
		return nil, err
	}
	s.verdicts.drop(b.ScheduleID)
	s.audit(ctx, "hold", "backup", b.ID, reason)
	return s.getBackup(ctx, &Keyed{b.ID})
}

func (s *server) releaseBackup(ctx context.Context, in *Keyed) (*plain[wire.Backup], error) {
	b, err := s.Store.Backup(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if err := s.Store.Release(ctx, b.ID); err != nil {
		return nil, err
	}
	s.verdicts.drop(b.ScheduleID)
	s.audit(ctx, "release", "backup", b.ID, "")
	return s.getBackup(ctx, &Keyed{b.ID})
}

func (s *server) acknowledgeBackup(ctx context.Context, in *Keyed) (*plain[wire.Backup], error) {
	b, err := s.Store.Backup(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if err := s.Store.Acknowledge(ctx, b.ID, s.Now().UTC()); err != nil {
		return nil, err
	}
	s.changed(b.ScheduleID)
	s.audit(ctx, "acknowledge", "backup", b.ID, fmt.Sprintf("%d bytes", b.Size))
	return s.getBackup(ctx, &Keyed{b.ID})
}

func (s *server) deleteBackup(ctx context.Context, in *Keyed) (*none, error) {
	b, err := s.Store.Backup(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if b.Held {
		return nil, &envbackup.Error{
			Code: envbackup.CodeConflict, Message: "the backup is held" + because(b.HoldReason),
			Hint: "release it first with: envbackup backups release " + b.ID,
		}
	}
	if err := s.Pruner.Remove(ctx, []string{b.ID}, actorOf(ctx).name); err != nil {
		return nil, err
	}
	s.verdicts.drop(b.ScheduleID)
	s.audit(ctx, "delete", "backup", b.ID, fmt.Sprintf("%s of %s at %s", b.SnapshotID, b.Environment, b.Destination))
	return nil, nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}
