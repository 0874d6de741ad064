package envbackup

import "time"

// Meta is what the daemon keeps about each thing that people declare. ID is
// made by the daemon and never changes.
type Meta struct {
	ID string
	// Owner names the Terraform configuration that manages the thing; empty
	// when a person made it through the API, the console or the command line.
	Owner string
	// Version counts the changes from 1 on; it is the ETag.
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Environment is a named set of sources that are backed up together.
type Environment struct {
	Meta
	EnvironmentSpec
}

// Destination is where backups are stored. The sealed fields are opaque here:
// only the daemon's vault opens them, and no document of the API carries them.
type Destination struct {
	Meta
	DestinationSpec
	// SealedSecretKey is the S3 secret access key; nil for none.
	SealedSecretKey []byte
	// SecretKeyVersion is the write-only attribute's version as Terraform last
	// sent it; 0 for none.
	SecretKeyVersion int64
	// SealedRecoveryPassword is the second password of every repository here.
	SealedRecoveryPassword []byte
	RecoveryVersion        int64
}

// Repository is one restic repository: one for each destination and
// environment that have met.
type Repository struct {
	DestinationID string
	EnvironmentID string
	RepositoryID  string // of the restic config; empty until it was opened once
	// Location is where it was opened last, without secrets. A repository that
	// is gone from there is missed, not made anew.
	Location       string
	SealedPassword []byte
	// RecoveryVersion is the Destination.RecoveryVersion whose password is
	// among the repository's keys; 0 for none.
	RecoveryVersion int64
	// RecoveryKeyID is the restic key file of that password, to be removed
	// when the password changes.
	RecoveryKeyID string
	KeyShownAt    time.Time // when "key show" last printed the password; zero for never
	// CreatedAt is when the repository was made at Location. Backups older
	// than it lie at a place that the destination had before.
	CreatedAt time.Time
	// ReclaimSince is since when data that no backup needs wait to be removed,
	// and ReclaimWhy why they do; zero and empty when none wait (R12).
	ReclaimSince time.Time
	ReclaimWhy   string
}

// Schedule is a standing order.
type Schedule struct {
	Meta
	ScheduleSpec
	EnvironmentID  string
	DestinationIDs []string // in the order of Destinations
	// DecidedUntil: every slot up to and including this instant has its
	// outcome (S1). It never moves back but by S12.
	DecidedUntil time.Time
	// NextAt is the next slot's nominal time, zero while paused.
	NextAt time.Time
	// DueAt is when the scheduler looks at the schedule next: the next slot
	// with its jitter, or the end of a deferring window.
	DueAt time.Time
	// PolicyEditedAt is the last edit of the retention or the time zone; zero
	// for none. The first prune after it waits (R4).
	PolicyEditedAt time.Time
}

// Trigger says why a run exists (S14).
type Trigger string

// The triggers.
const (
	TriggerSchedule Trigger = "schedule"
	TriggerCatchUp  Trigger = "catch_up"
	TriggerCreate   Trigger = "create"
	TriggerManual   Trigger = "manual"
	TriggerSafety   Trigger = "safety"
)

// OfSlot reports whether a run with this trigger belongs to a slot.
func (t Trigger) OfSlot() bool {
	return t == TriggerSchedule || t == TriggerCatchUp || t == TriggerCreate
}

// SlotOutcome is how a slot ended (S1).
type SlotOutcome string

// The outcomes; a slot ends in exactly one.
const (
	SlotRan             SlotOutcome = "ran"
	SlotSkippedOverlap  SlotOutcome = "skipped_overlap"
	SlotSkippedBlackout SlotOutcome = "skipped_blackout"
	SlotPaused          SlotOutcome = "paused"
	SlotMissed          SlotOutcome = "missed"
	SlotCoalesced       SlotOutcome = "coalesced"
	SlotClock           SlotOutcome = "clock"
)

// Slot is one nominal instant of a schedule, or a stretch of missed, paused
// or coalesced ones: then Count is above 1 and Nominal to Until, both
// included, is the stretch.
type Slot struct {
	ScheduleID string
	Nominal    time.Time
	Until      time.Time // equal to Nominal for a single slot
	Count      int64
	// Outcome is empty while the slot's run waits to start.
	Outcome SlotOutcome
	Reason  string // for people: why it was missed or skipped
	RunID   string // set when a run was made for the slot
	// DecidedAt is when the slot was claimed.
	DecidedAt time.Time
}

// RunState is the state of a run, and of each destination within it (S14).
type RunState string

// The states. The last four are final.
const (
	RunQueued    RunState = "queued"
	RunRunning   RunState = "running"
	RunSucceeded RunState = "succeeded"
	RunPartial   RunState = "partial"
	RunFailed    RunState = "failed"
	RunCancelled RunState = "cancelled"
)

// Final reports whether nothing follows the state.
func (s RunState) Final() bool { return s != RunQueued && s != RunRunning }

// Failure is why a run, an attempt or a restore failed, for people.
type Failure struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// FailureOf makes the failure that err tells a person. An error without a
// code keeps its whole text: it goes to the run's record, which only the
// daemon's users read.
func FailureOf(err error) *Failure {
	if err == nil {
		return nil
	}
	f := &Failure{Code: CodeOf(err), Message: err.Error()}
	if e, ok := asError(err); ok {
		f.Hint = e.Hint
	}
	return f
}

// Run is one execution: of a slot, by hand, or for safety before a restore.
type Run struct {
	ID          string
	ScheduleID  string // the schedule whose settings it takes; kept after the schedule's deletion
	Schedule    string // its name when the run was made
	Environment string
	// EnvironmentID and Worker say whose lock the run takes and which daemon
	// may execute it; an empty Worker is any.
	EnvironmentID string
	Worker        string
	Trigger       Trigger
	Nominal       time.Time // of the slot; of the request for manual runs
	DueAt         time.Time // nominal plus jitter, or the decision to catch up (S4)
	StartBy       time.Time // S4: after this instant an unstarted run is missed
	State         RunState
	Attempt       int64     // 0 before the first
	NextAttemptAt time.Time // while queued after a failed attempt
	// JobID is the queue's row and the fencing token: progress and results
	// count only while it is unchanged.
	JobID      int64
	ExecutedBy string // worker of the latest attempt
	// Node is the process of the latest attempt: one start of one daemon.
	Node            string
	CancelRequested bool
	CreatedAt       time.Time
	StartedAt       time.Time // of the first attempt
	FinishedAt      time.Time
	Failure         *Failure
	Destinations    []RunDestination
	Progress        Progress
	// Warnings are for people: vanished files, unreadable paths (the first
	// hundred), prunes that were set aside.
	Warnings []string
}

// RunDestination is a run's part at one destination.
type RunDestination struct {
	DestinationID string   `json:"destination_id"`
	Destination   string   `json:"destination"`
	State         RunState `json:"state"`
	BackupID      string   `json:"backup_id,omitempty"`
	Failure       *Failure `json:"failure,omitempty"`
	Removed       int64    `json:"removed,omitempty"`   // backups pruned after it
	Reclaimed     int64    `json:"reclaimed,omitempty"` // bytes
}

// Phase is what a run is doing.
type Phase string

// The phases, in order.
const (
	PhaseWaiting  Phase = "waiting"
	PhaseBackup   Phase = "backup"
	PhaseForget   Phase = "retention"
	PhasePrune    Phase = "prune"
	PhaseRestore  Phase = "restore"
	PhaseVerify   Phase = "verify"
	PhaseFinished Phase = "finished"
)

// Progress is the progress of a run, restore or verification. Totals are 0 while unknown.
type Progress struct {
	Phase       Phase  `json:"phase,omitempty"`
	Destination string `json:"destination,omitempty"`
	FilesDone   int64  `json:"files_done"`
	FilesTotal  int64  `json:"files_total"`
	BytesDone   int64  `json:"bytes_done"`
	BytesTotal  int64  `json:"bytes_total"`
	Added       int64  `json:"added"`  // bytes stored, after deduplication and compression
	Errors      int64  `json:"errors"` // files that could not be read
	Current     string `json:"current,omitempty"`
}

// Attempt is one try of a run.
type Attempt struct {
	RunID      string
	Number     int64
	Worker     string
	StartedAt  time.Time
	FinishedAt time.Time // zero while it goes on
	Failure    *Failure
}

// BackupStatus is a backup's state at its destination (S14).
type BackupStatus string

// The statuses.
const (
	BackupComplete BackupStatus = "complete"
	BackupPartial  BackupStatus = "partial"
	BackupSuspect  BackupStatus = "suspect"
	BackupDamaged  BackupStatus = "damaged"
)

// Backup is a restore point at one destination: a snapshot with our tags.
type Backup struct {
	ID            string
	SnapshotID    string
	RunID         string
	ScheduleID    string
	Schedule      string // its name when the backup was made
	EnvironmentID string
	Environment   string
	DestinationID string
	Destination   string
	Trigger       Trigger
	Status        BackupStatus
	Nominal       time.Time
	StartedAt     time.Time
	CompletedAt   time.Time
	Size          int64 // bytes that a restore writes
	Added         int64 // bytes stored for it
	Files         int64
	VerifiedAt    time.Time
	Held          bool
	HoldReason    string
	Missing       []string // what a partial backup lacks, the first hundred
	// RemovalMarkedAt is set between R5's mark and the row's end.
	RemovalMarkedAt time.Time
	// LockedUntil is when the object store's lock on the snapshot ends, as far
	// as is known; zero for none (R8).
	LockedUntil time.Time
	// AcknowledgedAt is when a person said that a suspect backup is good (R9).
	AcknowledgedAt time.Time
}

// Restore is one restoration through the daemon.
type Restore struct {
	ID          string
	BackupID    string
	Environment string
	Worker      string // executes it; empty is any
	Target      string // absolute directory on the worker's host
	Include     []string
	Overwrite   bool
	State       RunState
	// JobID is the queue's row and the fencing token, as in Run; Node is the
	// process that executes it.
	JobID           int64
	Node            string
	CancelRequested bool
	Failure         *Failure
	Progress        Progress
	FilesDone       int64
	BytesDone       int64
	CreatedAt       time.Time
	StartedAt       time.Time
	FinishedAt      time.Time
}

// Role is what a token may do.
type Role string

// The roles, each including the one before it.
const (
	RoleViewer   Role = "viewer"   // read
	RoleOperator Role = "operator" // change schedules, run, restore
	RoleAdmin    Role = "admin"    // tokens, keys, deletion of backups
)

// Allows reports whether a holder of r may do what needs the other role.
func (r Role) Allows(needed Role) bool { return r.rank() >= needed.rank() && needed.rank() > 0 }

func (r Role) rank() int {
	switch r {
	case RoleViewer:
		return 1
	case RoleOperator:
		return 2
	case RoleAdmin:
		return 3
	default:
		return 0
	}
}

// Token is an API token as stored: the hash only.
type Token struct {
	ID        string
	Name      string
	Role      Role
	Hash      [32]byte // SHA-256 of the token's text
	CreatedAt time.Time
}

// AuditEntry is one change and who made it.
type AuditEntry struct {
	ID     string
	At     time.Time
	Actor  string // the token's name
	Action string // "create", "update", "delete", "run", "restore", "key show" ...
	Kind   string // "schedule", "environment" ...
	Name   string
	Detail string
}

// Limits are the operator's (DESIGN section 5). Plans are held to them.
type Limits struct {
	MaxRetention         string `json:"max_retention"`
	MinInterval          string `json:"min_interval"`
	MaxConcurrentRuns    int    `json:"max_concurrent_runs"`
	MaxRunsPerRepository int    `json:"max_runs_per_repository"`
}

// Outcome is what an attempt at a run, restore or verification came to. It is final: a
// failure that another attempt may mend is returned as an error instead.
type Outcome struct {
	State        RunState
	Destinations []RunDestination
	Warnings     []string
	FilesDone    int64
	BytesDone    int64
}
