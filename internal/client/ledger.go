package client

import (
	"context"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// Runs lists runs, newest first.
func (c *Client) Runs(ctx context.Context, query wire.RunsQuery) (wire.RunPage, error) {
	return list[wire.RunPage](ctx, c, "/runs", query.Values())
}

// Run returns one run with its attempts.
func (c *Client) Run(ctx context.Context, id string) (wire.Run, error) {
	return get[wire.Run](ctx, c, "/runs/"+segment(id))
}

// CancelRun asks a run to end and returns it as it is then; a run that goes on
// ends a little later. A run that is over is CodeConflict.
func (c *Client) CancelRun(ctx context.Context, id string) (wire.Run, error) {
	return post[wire.Run](ctx, c, "/runs/"+segment(id)+"/cancel", nil)
}

// Backups lists backups, newest first, with the total of all that match.
func (c *Client) Backups(ctx context.Context, query wire.BackupsQuery) (wire.BackupPage, error) {
	return list[wire.BackupPage](ctx, c, "/backups", query.Values())
}

// Backup returns one backup by its id, its snapshot id or the beginning of
// that.
func (c *Client) Backup(ctx context.Context, id string) (wire.Backup, error) {
	return get[wire.Backup](ctx, c, "/backups/"+segment(id))
}

// HoldBackup exempts a backup from every rule that removes; holding it again
// replaces the reason. A deletion that has begun is CodeConflict.
func (c *Client) HoldBackup(ctx context.Context, id, reason string) (wire.Backup, error) {
	return post[wire.Backup](ctx, c, "/backups/"+segment(id)+"/hold", wire.HoldRequest{Reason: reason})
}

// ReleaseBackup ends a hold.
func (c *Client) ReleaseBackup(ctx context.Context, id string) (wire.Backup, error) {
	return post[wire.Backup](ctx, c, "/backups/"+segment(id)+"/release", nil)
}

// AcknowledgeBackup says that a suspect backup is good (R9); any other is
// CodeConflict.
func (c *Client) AcknowledgeBackup(ctx context.Context, id string) (wire.Backup, error) {
	return post[wire.Backup](ctx, c, "/backups/"+segment(id)+"/acknowledge", nil)
}

// DeleteBackup removes a backup for good, as an admin; a held one is
// CodeConflict.
func (c *Client) DeleteBackup(ctx context.Context, id string) error {
	return c.removeData(ctx, "/backups/"+segment(id), 0)
}

// Restores lists restores, newest first.
func (c *Client) Restores(ctx context.Context, query wire.RestoresQuery) (wire.RestorePage, error) {
	return list[wire.RestorePage](ctx, c, "/restores", query.Values())
}

// Restore returns one restore.
func (c *Client) Restore(ctx context.Context, id string) (wire.Restore, error) {
	return get[wire.Restore](ctx, c, "/restores/"+segment(id))
}

// CreateRestore asks for a restore and returns it, queued.
func (c *Client) CreateRestore(ctx context.Context, in wire.RestoreRequest) (wire.Restore, error) {
	return post[wire.Restore](ctx, c, "/restores", in)
}

// CancelRestore asks a restore to end; what it has written stays.
func (c *Client) CancelRestore(ctx context.Context, id string) (wire.Restore, error) {
	return post[wire.Restore](ctx, c, "/restores/"+segment(id)+"/cancel", nil)
}

// VerifyBackup asks for the verification of a backup and returns it, queued;
// one that is under way already at that level is returned instead. The empty
// level is envbackup.VerifyRead.
func (c *Client) VerifyBackup(ctx context.Context, id string, level envbackup.VerifyLevel) (wire.Verification, error) {
	return post[wire.Verification](ctx, c, "/backups/"+segment(id)+"/verify", wire.VerifyRequest{Level: level})
}

// CheckRepository asks for a check of an environment's repository at a
// destination and returns the verification that does it, queued.
func (c *Client) CheckRepository(ctx context.Context, in wire.CheckRequest) (wire.Verification, error) {
	return post[wire.Verification](ctx, c, "/checks", in)
}

// RepairRepository asks for a repair, likewise.
func (c *Client) RepairRepository(ctx context.Context, in wire.RepairRequest) (wire.Verification, error) {
	return post[wire.Verification](ctx, c, "/repairs", in)
}

// Verifications lists verifications, newest first.
func (c *Client) Verifications(ctx context.Context, query wire.VerificationsQuery) (wire.VerificationPage, error) {
	return list[wire.VerificationPage](ctx, c, "/verifications", query.Values())
}

// Verification returns one verification.
func (c *Client) Verification(ctx context.Context, id string) (wire.Verification, error) {
	return get[wire.Verification](ctx, c, "/verifications/"+segment(id))
}

// CancelVerification asks a verification to end; the backup stays as it was.
func (c *Client) CancelVerification(ctx context.Context, id string) (wire.Verification, error) {
	return post[wire.Verification](ctx, c, "/verifications/"+segment(id)+"/cancel", nil)
}
