// Package wire holds the JSON documents of the HTTP API, shared by the
// handlers (package api) and the Go client (package client). It decides
// shapes only; what the values mean is in packages envbackup, cron and
// retention.
//
// Instants are RFC 3339 in UTC; null means not yet or never. Secrets appear
// in requests only.
package wire

import (
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Meta stands in every document of a declared thing.
type Meta struct {
	ID        string    `json:"id" doc:"Made by the daemon; never changes"`
	Owner     string    `json:"owner,omitempty" doc:"The Terraform configuration that manages it"`
	Version   int64     `json:"version" doc:"Counts the changes; the ETag"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

// Environment is the answer about an environment.
type Environment struct {
	Meta
	envbackup.EnvironmentSpec
	// Findings are warnings of the create or update that this answers.
	Findings []envbackup.Finding `json:"findings,omitempty"`
}

// EnvironmentInput creates or replaces an environment.
type EnvironmentInput struct {
	envbackup.EnvironmentSpec
	Owner string `json:"owner,omitempty"`
}

// Destination is the answer about a destination.
type Destination struct {
	Meta
	envbackup.DestinationSpec
	SecretAccessKeySet     bool  `json:"secret_access_key_set"`
	SecretAccessKeyVersion int64 `json:"secret_access_key_version,omitempty"`
	RecoveryPasswordSet    bool  `json:"recovery_password_set"`
	RecoveryPasswordVer    int64 `json:"recovery_password_version,omitempty"`
	// Findings are warnings of the create or update that this answers, such
	// as a bucket that cannot be reached.
	Findings []envbackup.Finding `json:"findings,omitempty"`
}

// DestinationInput creates or replaces a destination. A nil secret keeps what
// is stored; an empty one removes it.
type DestinationInput struct {
	envbackup.DestinationSpec
	Owner                  string  `json:"owner,omitempty"`
	SecretAccessKey        *string `json:"secret_access_key,omitempty"`
	SecretAccessKeyVersion int64   `json:"secret_access_key_version,omitempty"`
	RecoveryPassword       *string `json:"recovery_password,omitempty"`
	RecoveryPasswordVer    int64   `json:"recovery_password_version,omitempty"`
}

// Forecast is what the configuration alone says about a schedule (SEMANTICS
// section 4): pure, over a fixed window, no clock.
type Forecast struct {
	Summary      string `json:"summary"`
	WorstCaseGap string `json:"worst_case_gap"`
	MaxBackups   int64  `json:"max_backups"`
}

// Schedule is the answer about a schedule.
type Schedule struct {
	Meta
	envbackup.ScheduleSpec
	Forecast
	NextRunAt      *time.Time `json:"next_run_at" doc:"When the next run starts, with blackout windows and jitter"`
	DecidedUntil   *time.Time `json:"decided_until"`
	LastRun        *Run       `json:"last_run,omitempty"`
	LastGoodBackup *Backup    `json:"last_good_backup,omitempty"`
	// LastVerifiedAt is when a backup that is still there passed a
	// verification last, LastVerification the newest one, however it ended; it
	// is in the answer about one schedule only.
	LastVerifiedAt   *time.Time    `json:"last_verified_at"`
	LastVerification *Verification `json:"last_verification,omitempty"`
	// Health is "ok", "late" (the last good backup is older than the
	// worst-case gap plus the timeout), "damaged" (the newest backup that was
	// verified at a destination is), "attention" (backups are taken, and something
	// is in the way of removing old ones), "paused", "failed" (none yet, and the last
	// run did not make one) or "new" (none yet). HealthDetail says why, and,
	// also beside "ok", what waits for a person's decision.
	Health       string              `json:"health"`
	HealthDetail string              `json:"health_detail,omitempty"`
	Findings     []envbackup.Finding `json:"findings,omitempty"`
}

// ScheduleInput creates or replaces a schedule.
type ScheduleInput struct {
	envbackup.ScheduleSpec
	Owner string `json:"owner,omitempty"`
}

// Preflight asks what would be said about a schedule. ID is the schedule that
// an edit changes; empty for a new one. PlannedEnvironments and
// PlannedDestinations are names that the same plan creates or changes: their
// absence is no finding.
type Preflight struct {
	ID                  string                 `json:"id,omitempty"`
	Schedule            envbackup.ScheduleSpec `json:"schedule"`
	PlannedEnvironments []string               `json:"planned_environments,omitempty"`
	PlannedDestinations []string               `json:"planned_destinations,omitempty"`
	// PlannedWithoutRecovery are those of PlannedDestinations that get no
	// recovery password.
	PlannedWithoutRecovery []string `json:"planned_without_recovery,omitempty"`
}

// PreflightResult is the answer to Preflight.
type PreflightResult struct {
	Findings []envbackup.Finding `json:"findings"`
	Forecast *Forecast           `json:"forecast,omitempty"`
	NextRuns []time.Time         `json:"next_runs,omitempty"` // in the schedule's zone
	Outlook  *Outlook            `json:"outlook,omitempty"`
	// Removals are the backups that the edit would remove.
	Removals *Removals `json:"removals,omitempty"`
}

// EnvironmentPreflight asks what would be said about an environment. ID is the
// one that an edit changes; empty for a new one.
type EnvironmentPreflight struct {
	ID          string                    `json:"id,omitempty"`
	Environment envbackup.EnvironmentSpec `json:"environment"`
}

// DestinationPreflight asks what would be said about a destination. Its secret
// is not sent, only whether it has one.
type DestinationPreflight struct {
	ID                 string                    `json:"id,omitempty"`
	Destination        envbackup.DestinationSpec `json:"destination"`
	SecretAccessKeySet bool                      `json:"secret_access_key_set,omitempty"`
}

// Findings is the answer to a preflight of an environment or a destination.
type Findings struct {
	Findings []envbackup.Finding `json:"findings"`
}

// Outlook is what a schedule does from now on, if every run succeeds and each
// prune follows its run at once: the grace in which removals wait after an edit
// is left out, and so are manual and held backups. The backup that a new
// schedule takes at once counts.
type Outlook struct {
	RunsPerDay float64       `json:"runs_per_day"`
	Day        RestorePoints `json:"day"`
	Month      RestorePoints `json:"month" doc:"After 30 days"`
	Year       RestorePoints `json:"year" doc:"After 365 days"`
	// Steady is the state from which nothing grows any more; Unbounded says
	// that there is none, and Steady is then the state after the year.
	Steady    RestorePoints `json:"steady"`
	Unbounded bool          `json:"unbounded"`
}

// RestorePoints is what exists at one destination at one instant.
type RestorePoints struct {
	Backups   int64  `json:"backups"`
	OldestAge string `json:"oldest_age,omitempty"`
}

// Removals sums up backups that would go.
type Removals struct {
	RemovedAt
	// Destinations has those where some go, each by itself.
	Destinations []RemovedAt `json:"destinations"`
	Grace        string      `json:"grace" doc:"How long they are set aside"`
}

// RemovedAt is what would go at one destination, or at all of them.
type RemovedAt struct {
	Destination string    `json:"destination,omitempty"`
	Count       int64     `json:"count"`
	Total       int64     `json:"total" doc:"Of the backups that the retention in force keeps"`
	Oldest      time.Time `json:"oldest"`
	Newest      time.Time `json:"newest"`
	Size        int64     `json:"size"`
	Large       bool      `json:"large" doc:"More than half of them: the change needs acknowledge_removal"`
}

// Run is the answer about a run.
type Run struct {
	ID            string                     `json:"id"`
	ScheduleID    string                     `json:"schedule_id,omitempty"`
	Schedule      string                     `json:"schedule"`
	Environment   string                     `json:"environment"`
	Trigger       envbackup.Trigger          `json:"trigger"`
	State         envbackup.RunState         `json:"state"`
	NominalAt     time.Time                  `json:"nominal_at"`
	CreatedAt     time.Time                  `json:"created_at"`
	StartedAt     *time.Time                 `json:"started_at"`
	FinishedAt    *time.Time                 `json:"finished_at"`
	NextAttemptAt *time.Time                 `json:"next_attempt_at,omitempty"`
	Attempt       int64                      `json:"attempt"`
	Cancelling    bool                       `json:"cancelling,omitempty"` // asked to, and not over yet
	Worker        string                     `json:"worker,omitempty"`
	Failure       *envbackup.Failure         `json:"failure,omitempty"`
	Destinations  []envbackup.RunDestination `json:"destinations,omitempty"`
	Progress      *envbackup.Progress        `json:"progress,omitempty"`
	Warnings      []string                   `json:"warnings,omitempty"`
	Attempts      []Attempt                  `json:"attempts,omitempty"` // in the answer about one run
}

// Attempt is one try of a run.
type Attempt struct {
	Number     int64              `json:"number"`
	Worker     string             `json:"worker"`
	StartedAt  time.Time          `json:"started_at"`
	FinishedAt *time.Time         `json:"finished_at"`
	Failure    *envbackup.Failure `json:"failure,omitempty"`
}

// Slot is one nominal instant of a schedule, or a stretch of them.
type Slot struct {
	NominalAt time.Time             `json:"nominal_at"`
	Until     *time.Time            `json:"until,omitempty"`
	Count     int64                 `json:"count"`
	Outcome   envbackup.SlotOutcome `json:"outcome"`
	Reason    string                `json:"reason,omitempty"`
	RunID     string                `json:"run_id,omitempty"`
}

// Backup is the answer about a backup.
type Backup struct {
	ID          string                 `json:"id"`
	SnapshotID  string                 `json:"snapshot_id"`
	RunID       string                 `json:"run_id,omitempty"`
	ScheduleID  string                 `json:"schedule_id,omitempty"`
	Schedule    string                 `json:"schedule,omitempty"`
	Environment string                 `json:"environment"`
	Destination string                 `json:"destination"`
	Trigger     envbackup.Trigger      `json:"trigger"`
	Status      envbackup.BackupStatus `json:"status"`
	NominalAt   time.Time              `json:"nominal_at"`
	StartedAt   time.Time              `json:"started_at"`
	CompletedAt time.Time              `json:"completed_at"`
	Size        int64                  `json:"size"`
	Added       int64                  `json:"added"`
	Files       int64                  `json:"files"`
	VerifiedAt  *time.Time             `json:"verified_at"`
	Held        bool                   `json:"held"`
	HoldReason  string                 `json:"hold_reason,omitempty"`
	LockedUntil *time.Time             `json:"locked_until,omitempty" doc:"Until when the object store retains it, as far as is known"`
	Missing     []string               `json:"missing,omitempty"`
	Detached    bool                   `json:"detached,omitempty" doc:"It lies where its destination was before: listed, and neither pruned, restored nor verified by this daemon"`
	Kept        bool                   `json:"kept"`         // by the policy as it stands now
	KeptBecause []string               `json:"kept_because"` // the reasons, or why it will go
}

// BackupPage is a page of backups, newest first.
type BackupPage struct {
	Items  []Backup `json:"items"`
	Total  int64    `json:"total" doc:"Of all that match the filter"`
	Cursor string   `json:"cursor,omitempty" doc:"Of the next page; empty at the end"`
}

// RunPage is a page of runs, newest first.
type RunPage struct {
	Items  []Run  `json:"items"`
	Cursor string `json:"cursor,omitempty"`
}

// SlotPage is a page of slots, newest first.
type SlotPage struct {
	Items  []Slot `json:"items"`
	Cursor string `json:"cursor,omitempty"`
}

// SchedulePage lists schedules by environment and name.
type SchedulePage struct {
	Items  []Schedule `json:"items"`
	Cursor string     `json:"cursor,omitempty"`
}

// EnvironmentPage lists environments by name.
type EnvironmentPage struct {
	Items  []Environment `json:"items"`
	Cursor string        `json:"cursor,omitempty"`
}

// DestinationPage lists destinations by name.
type DestinationPage struct {
	Items  []Destination `json:"items"`
	Cursor string        `json:"cursor,omitempty"`
}

// RunRequest asks for a manual run (S10).
type RunRequest struct {
	// Wait queues behind a run or restore that goes on; without it that is a
	// conflict (409).
	Wait bool `json:"wait,omitempty"`
}

// RestoreRequest asks for a restore onto a worker.
type RestoreRequest struct {
	// Backup is a backup's id, a snapshot id or its beginning, or "latest",
	// which then needs Environment.
	Backup      string   `json:"backup"`
	Environment string   `json:"environment,omitempty"`
	Destination string   `json:"destination,omitempty"`
	Target      string   `json:"target" doc:"Absolute directory on the worker's host"`
	Include     []string `json:"include,omitempty"`
	Overwrite   bool     `json:"overwrite,omitempty"`
	Worker      string   `json:"worker,omitempty"`
}

// Restore is the answer about a restore.
type Restore struct {
	ID          string              `json:"id"`
	BackupID    string              `json:"backup_id"`
	Environment string              `json:"environment"`
	Target      string              `json:"target"`
	Include     []string            `json:"include,omitempty"`
	Overwrite   bool                `json:"overwrite"`
	State       envbackup.RunState  `json:"state"`
	Failure     *envbackup.Failure  `json:"failure,omitempty"`
	Progress    *envbackup.Progress `json:"progress,omitempty"`
	FilesDone   int64               `json:"files_done"`
	BytesDone   int64               `json:"bytes_done"`
	CreatedAt   time.Time           `json:"created_at"`
	StartedAt   *time.Time          `json:"started_at"`
	FinishedAt  *time.Time          `json:"finished_at"`
}

// RestorePage is a page of restores, newest first.
type RestorePage struct {
	Items  []Restore `json:"items"`
	Cursor string    `json:"cursor,omitempty"`
}

// PruneRequest applies a schedule's retention now, or shows what it would do.
type PruneRequest struct {
	DryRun bool `json:"dry_run,omitempty"`
	// Reclaim is an operator's window: data that no backup needs are removed
	// whatever else goes on, and backups that come due wait for it.
	Reclaim bool `json:"reclaim,omitempty"`
}

// ForgetRequest takes backups off the list whose snapshots are gone from their
// repository for good.
type ForgetRequest struct {
	DryRun bool `json:"dry_run,omitempty"`
}

// Forgotten lists them.
type Forgotten struct {
	DryRun  bool     `json:"dry_run"`
	Backups []Backup `json:"backups"`
}

// PruneResult lists every backup of the schedule with its verdict.
type PruneResult struct {
	DryRun  bool     `json:"dry_run"`
	Backups []Backup `json:"backups"`
	Removed int64    `json:"removed"`
	// SetAside counts removals that wait for prune_grace (R4).
	SetAside      int64      `json:"set_aside"`
	SetAsideLists []SetAside `json:"set_aside_lists"`
	Reclaimed     int64      `json:"reclaimed"`
	Note          string     `json:"note,omitempty"`
}

// SetAside is a list of removals that wait at one destination (R4).
type SetAside struct {
	Destination string             `json:"destination"`
	Backups     []string           `json:"backups" doc:"Ids of what would be removed"`
	Reason      string             `json:"reason"`
	Decision    envbackup.Decision `json:"decision,omitempty" enum:"confirmed,cancelled" doc:"Missing until a person has decided"`
	Until       *time.Time         `json:"until,omitempty" doc:"End of the grace, if a daemon runs until then"`
}

// PruneDecision answers what a person decided about all that was set aside for
// a schedule.
type PruneDecision struct {
	Decision envbackup.Decision `json:"decision" enum:"confirmed,cancelled"`
	Lists    []SetAside         `json:"lists"`
}

// Key is a repository's password, shown to an admin.
type Key struct {
	Repository string `json:"repository" doc:"The address for restic -r"`
	Password   string `json:"password"`
}

// KeyRequest asks for a repository's password.
type KeyRequest struct {
	Environment string `json:"environment"`
	Destination string `json:"destination"`
}

// Version says what answers.
type Version struct {
	Version     string `json:"version"`
	CronVersion string `json:"cron_version"`
	Worker      string `json:"worker"`
}

// Problem is a problem document (RFC 9457).
type Problem struct {
	Type     string              `json:"type,omitempty"`
	Title    string              `json:"title"`
	Status   int                 `json:"status"`
	Detail   string              `json:"detail,omitempty"`
	Code     envbackup.Code      `json:"code"`
	Hint     string              `json:"hint,omitempty"`
	Findings []envbackup.Finding `json:"findings,omitempty"`
}
