package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) verificationRoutes() {
	const tag = "verifications"
	handle(s, route{http.MethodPost, "/backups/{id}/verify", "verify-backup", "Verify a backup: prove that it can be restored", tag, envbackup.RoleOperator, http.StatusAccepted}, s.verifyBackup)
	handle(s, route{http.MethodPost, "/checks", "check-repository", "Check an environment's repository at a destination", tag, envbackup.RoleOperator, http.StatusAccepted}, s.checkRepository)
	handle(s, route{http.MethodPost, "/repairs", "repair-repository", "Repair an environment's repository at a destination", tag, envbackup.RoleOperator, http.StatusAccepted}, s.repairRepository)
	handle(s, route{http.MethodGet, "/verifications", "list-verifications", "List verifications, newest first", tag, envbackup.RoleViewer, 0}, s.listVerifications)
	handle(s, route{http.MethodGet, "/verifications/{id}", "get-verification", "Show a verification", tag, envbackup.RoleViewer, 0}, s.getVerification)
	handle(s, route{http.MethodPost, "/verifications/{id}/cancel", "cancel-verification", "Cancel a verification", tag, envbackup.RoleOperator, 0}, s.cancelVerification)
	events(s, route{http.MethodGet, "/verifications/{id}/events", "watch-verification", "Follow a verification until it is over", tag, envbackup.RoleViewer, 0},
		"verification", s.verificationNow, func(v wire.Verification) bool { return v.State.Final() })
}

// verifyBackup answers with the verification, also when the backup is being
// verified at that level already.
func (s *server) verifyBackup(ctx context.Context, in *struct {
	Keyed
	Body *wire.VerifyRequest
}) (*made[wire.Verification], error) {
	b, err := s.Store.Backup(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	v := envbackup.Verification{BackupID: b.ID, Level: envbackup.VerifyRead, Trigger: envbackup.TriggerManual}
	if in.Body != nil && in.Body.Level != "" {
		v.Level = in.Body.Level
	}
	if err := s.Queue.EnqueueVerification(ctx, &v); err != nil {
		return nil, err
	}
	s.audit(ctx, "verify", "backup", b.ID, fmt.Sprintf("%s of %s at %s, level %s", v.ID, b.Environment, b.Destination, v.Level))
	return &made[wire.Verification]{Location: root + "/verifications/" + v.ID, Body: verificationDoc(v)}, nil
}

func (s *server) listVerifications(ctx context.Context, in *struct{ wire.VerificationsQuery }) (*plain[wire.VerificationPage], error) {
	environment, err := s.environmentName(ctx, in.Environment)
	if err != nil {
		return nil, err
	}
	f := envbackup.VerificationFilter{Environment: environment, BackupID: in.Backup, States: states(in.State)}
	if in.Schedule != "" {
		sch, err := s.Store.Schedule(ctx, in.Schedule)
		if err != nil {
			return nil, err
		}
		f.ScheduleID = sch.ID
	}
	items, next, err := s.Store.Verifications(ctx, f, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	return &plain[wire.VerificationPage]{wire.VerificationPage{Items: convert(items, verificationDoc), Cursor: next}}, nil
}

func (s *server) getVerification(ctx context.Context, in *Keyed) (*plain[wire.Verification], error) {
	body, err := s.verificationNow(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	return &plain[wire.Verification]{body}, nil
}

func (s *server) verificationNow(ctx context.Context, id string) (wire.Verification, error) {
	v, err := s.Store.Verification(ctx, id)
	if err != nil {
		return wire.Verification{}, err
	}
	return verificationDoc(v), nil
}

func (s *server) cancelVerification(ctx context.Context, in *Keyed) (*plain[wire.Verification], error) {
	v, err := s.Store.Verification(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if v.State.Final() {
		return nil, over("verification", string(v.State))
	}
	if err := s.Queue.CancelVerification(ctx, v.ID); err != nil {
		return nil, err
	}
	s.audit(ctx, "cancel", "verification", v.ID, v.Environment)
	return s.getVerification(ctx, in)
}

func verificationDoc(v envbackup.Verification) wire.Verification {
	doc := wire.Verification{
		ID: v.ID, BackupID: v.BackupID, Environment: v.Environment, Schedule: v.Schedule, Destination: v.Destination,
		Level: v.Level, Trigger: v.Trigger, State: v.State, Cancelling: v.CancelRequested && !v.State.Final(),
		Failure: v.Failure, Problems: v.Problems, FilesDone: v.FilesDone, BytesDone: v.BytesDone,
		CreatedAt: v.CreatedAt.UTC(), StartedAt: optional(v.StartedAt), FinishedAt: optional(v.FinishedAt),
	}
	if v.MaxDuration > 0 {
		doc.MaxDuration = cron.FormatGap(v.MaxDuration)
	}
	if v.Progress != (envbackup.Progress{}) {
		doc.Progress = &v.Progress
	}
	return doc
}
