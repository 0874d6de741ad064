package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// Store is the part of the state that the API reads and writes. Lookups take
// an id or a name (ENVIRONMENT/NAME for a schedule) and report CodeNotFound;
// updates and deletions with a version other than 0 report CodeStale when it
// is no longer the thing's.
type Store interface {
	Ping(ctx context.Context) error

	Environment(ctx context.Context, key string) (envbackup.Environment, error)
	Environments(ctx context.Context, page envbackup.Page) ([]envbackup.Environment, string, error)
	CreateEnvironment(ctx context.Context, e *envbackup.Environment) error
	UpdateEnvironment(ctx context.Context, e *envbackup.Environment, ifVersion int64) error
	DeleteEnvironment(ctx context.Context, id string, ifVersion int64) error

	Destination(ctx context.Context, key string) (envbackup.Destination, error)
	Destinations(ctx context.Context, page envbackup.Page) ([]envbackup.Destination, string, error)
	CreateDestination(ctx context.Context, d *envbackup.Destination) error
	UpdateDestination(ctx context.Context, d *envbackup.Destination, ifVersion int64) error
	DeleteDestination(ctx context.Context, id string, ifVersion int64) error

	// Workers are the names of the daemons that run on this state.
	Workers(ctx context.Context) ([]string, error)

	Repository(ctx context.Context, destinationID, environmentID string) (envbackup.Repository, error)

	Schedule(ctx context.Context, key string) (envbackup.Schedule, error)
	Schedules(ctx context.Context, filter envbackup.ScheduleFilter, page envbackup.Page) ([]envbackup.Schedule, string, error)
	// FormerSchedule is the id that a new schedule of this reference takes over,
	// with its backups.
	FormerSchedule(ctx context.Context, reference string) (string, error)
	Slots(ctx context.Context, scheduleID string, page envbackup.Page) ([]envbackup.Slot, string, error)

	Run(ctx context.Context, id string) (envbackup.Run, error)
	Runs(ctx context.Context, filter envbackup.RunFilter, page envbackup.Page) ([]envbackup.Run, string, error)
	Attempts(ctx context.Context, runID string) ([]envbackup.Attempt, error)

	Backup(ctx context.Context, idOrSnapshot string) (envbackup.Backup, error)
	Backups(ctx context.Context, filter envbackup.BackupFilter, page envbackup.Page) ([]envbackup.Backup, string, int64, error)
	AllBackups(ctx context.Context, scheduleID, destinationID string) ([]envbackup.Backup, error)
	// Points are AllBackups without what retention does not judge by at an
	// instant, and without those completed before since.
	Points(ctx context.Context, scheduleID, destinationID string, since, now time.Time) ([]retention.Point, error)
	LastGood(ctx context.Context, scheduleID string) (envbackup.Backup, error)

	// Hold is CodeConflict for a backup whose removal has begun (R5).
	Hold(ctx context.Context, id, reason string) error
	Release(ctx context.Context, id string) error
	// Acknowledge is CodeConflict for a backup that is not suspect (R9).
	Acknowledge(ctx context.Context, id string, at time.Time) error

	// Retentions returns what is in the way of removals, wherever something
	// is; Unreclaimed, the repositories whose data wait since before.
	Retentions(ctx context.Context) ([]envbackup.RetentionState, error)
	Unreclaimed(ctx context.Context, before time.Time) ([]envbackup.Repository, error)

	Restore(ctx context.Context, id string) (envbackup.Restore, error)
	Restores(ctx context.Context, filter envbackup.RestoreFilter, page envbackup.Page) ([]envbackup.Restore, string, error)

	Verification(ctx context.Context, id string) (envbackup.Verification, error)
	Verifications(ctx context.Context, filter envbackup.VerificationFilter, page envbackup.Page) ([]envbackup.Verification, string, error)
	ScheduleProof(ctx context.Context, scheduleID string) (envbackup.ScheduleProof, error)
	// ScheduleProofs is ScheduleProof for all schedules, without Last; what is
	// not in the map is the zero ScheduleProof.
	ScheduleProofs(ctx context.Context) (map[string]envbackup.ScheduleProof, error)

	TokenByHash(ctx context.Context, hash [32]byte) (envbackup.Token, error)
	Tokens(ctx context.Context) ([]envbackup.Token, error)
	AddToken(ctx context.Context, t *envbackup.Token) error
	DeleteToken(ctx context.Context, id string) error

	AddAudit(ctx context.Context, e envbackup.AuditEntry) error
	Audit(ctx context.Context, page envbackup.Page) ([]envbackup.AuditEntry, string, error)
}

// Scheduler changes schedules and makes runs.
type Scheduler interface {
	// Create stores a schedule whose names are resolved and which passed
	// preflight, and takes the first backup when it says so (S11).
	Create(ctx context.Context, s *envbackup.Schedule, now time.Time) error
	Update(ctx context.Context, s *envbackup.Schedule, ifVersion int64, now time.Time) error
	Delete(ctx context.Context, id string, ifVersion int64) error
	Pause(ctx context.Context, id string, now time.Time) error
	Resume(ctx context.Context, id string, now time.Time) error
	RunNow(ctx context.Context, id string, wait bool, actor string, now time.Time) (envbackup.Run, error)
}

// Queue takes restores and verifications, and ends work.
type Queue interface {
	EnqueueRestore(ctx context.Context, r *envbackup.Restore) error
	CancelRun(ctx context.Context, id string) error
	CancelRestore(ctx context.Context, id string) error
	// EnqueueVerification turns v into the one that is under way already, if
	// there is one. CodeConflict: the backup is being removed.
	EnqueueVerification(ctx context.Context, v *envbackup.Verification) error
	// EnqueueCheck is EnqueueVerification for a whole repository: of
	// v.Environment at v.DestinationID.
	EnqueueCheck(ctx context.Context, v *envbackup.Verification) error
	CancelVerification(ctx context.Context, id string) error
}

// Vault seals what the API is given and opens what an admin asks for.
type Vault interface {
	Seal(ctx context.Context, plain secret.String) ([]byte, error)
	// Probe tries to reach a destination and returns at most one warning that
	// says why it cannot be used.
	Probe(ctx context.Context, d envbackup.Destination) []envbackup.Finding
	// Password returns a repository's password and records that it was shown.
	Password(ctx context.Context, environmentID, destinationID string) (secret.String, error)
	// Address is what restic takes after -r; it holds no secret.
	Address(d envbackup.Destination, e envbackup.Environment) string
}

// Pruner removes backups from their repositories.
type Pruner interface {
	Prune(ctx context.Context, scheduleID string, dryRun bool, actor string) (envbackup.PruneReport, error)
	// Reclaim is Prune in a window that an operator grants (R12).
	Reclaim(ctx context.Context, scheduleID string, actor string) (envbackup.PruneReport, error)
	// ForgetMissing takes backups off the list that are gone from their
	// repository, or with dryRun only returns them (R7).
	ForgetMissing(ctx context.Context, scheduleID string, dryRun bool, actor string) ([]envbackup.Backup, error)
	// Decide ends the wait of what is set aside for a schedule (R4).
	// CodeNotFound: nothing is.
	Decide(ctx context.Context, scheduleID string, decision envbackup.Decision, actor string) ([]envbackup.SetAside, error)
	// Remove deletes backups because a person asked for exactly that (R1, R5).
	// Held ones, and those that the object store retains, are refused with
	// CodeConflict, and then nothing is removed.
	Remove(ctx context.Context, backupIDs []string, actor string) error
	// RemoveUnlocked leaves out and returns those that the object store
	// retains (R8).
	RemoveUnlocked(ctx context.Context, backupIDs []string, actor string) (retained []envbackup.Backup, err error)
}

// Deps is what the handlers stand on. All interfaces and Log are required.
type Deps struct {
	Store     Store
	Scheduler Scheduler
	Queue     Queue
	Vault     Vault
	Pruner    Pruner

	Limits  envbackup.Limits
	Version string
	Worker  string
	// DevMode only changes the hint of a 401: --dev writes a token to a file.
	DevMode bool
	// AllowRead and AllowRestore are the operator's allow-lists: nil for a
	// path that this daemon may read, or restore to, else CodeNotAllowed with
	// the line to add as its hint. They say nothing about other workers.
	AllowRead    func(path string) error
	AllowRestore func(path string) error
	// AllowEndpoint is the same for the S3 endpoints that may be reached; nil
	// allows all.
	AllowEndpoint func(endpoint string) error
	// Checks are asked by /readyz besides the database, by name.
	Checks map[string]func(context.Context) error
	// Metrics answers /metrics; nil for none. OpenMetrics answers without a
	// token.
	Metrics     http.Handler
	OpenMetrics bool
	Log         *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}
