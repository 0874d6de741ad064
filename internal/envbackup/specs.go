package envbackup

import (
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// EnvironmentSpec is what a person writes about an environment.
type EnvironmentSpec struct {
	Name string `json:"name"`
	// Worker is the daemon that reads the environment, by its worker name;
	// empty for any.
	Worker string                 `json:"worker,omitempty"`
	Files  map[string]FilesSource `json:"files,omitempty"`
}

// FilesSource is a directory tree or a single file of an environment.
type FilesSource struct {
	// Path is absolute, on the worker's host.
	Path string `json:"path"`
	// Exclude holds patterns in the grammar of package exclude.
	Exclude []string `json:"exclude,omitempty"`
}

// DestinationSpec is what a person writes about a destination, but for its
// secrets. Exactly one of S3 and Local is set.
type DestinationSpec struct {
	Name  string      `json:"name"`
	S3    *S3Place    `json:"s3,omitempty"`
	Local *LocalPlace `json:"local,omitempty"`
	// BandwidthLimit is in bytes a second; 0 is unlimited.
	BandwidthLimit int64 `json:"bandwidth_limit,omitempty"`
	// VerifyWrites is "sample" (default), "full" or "off": how much of what
	// was written is decoded again.
	VerifyWrites string `json:"verify_writes,omitempty"`
}

// S3Place is a bucket and a prefix. Without AccessKeyID the daemon's own AWS
// credential chain is used.
type S3Place struct {
	Bucket         string `json:"bucket"`
	Region         string `json:"region,omitempty"`
	Prefix         string `json:"prefix,omitempty"`
	Endpoint       string `json:"endpoint,omitempty"`
	ForcePathStyle bool   `json:"force_path_style,omitempty"`
	StorageClass   string `json:"storage_class,omitempty"` // of packs only
	// ServerSideEncryption is "AES256", "aws:kms" or empty for the bucket's own
	// rule; SSEKMSKeyID implies "aws:kms".
	ServerSideEncryption string `json:"server_side_encryption,omitempty"`
	SSEKMSKeyID          string `json:"sse_kms_key_id,omitempty"`
	RoleARN              string `json:"role_arn,omitempty"`
	AccessKeyID          string `json:"access_key_id,omitempty"`
	// ObjectLockMode is "GOVERNANCE", "COMPLIANCE" or empty: then what is
	// stored gets a lock of ObjectLockDays days, in which nobody deletes it.
	ObjectLockMode string `json:"object_lock_mode,omitempty"`
	ObjectLockDays int64  `json:"object_lock_days,omitempty"`
}

// LocalPlace is a directory on the worker's host.
type LocalPlace struct {
	Path string `json:"path"`
}

// ScheduleSpec is what a person writes about a schedule. Durations are kept
// as written ("36h", "1y6mo"), in the grammar of retention.ParseDuration; an
// empty one means the default that SEMANTICS section 2 gives.
type ScheduleSpec struct {
	Name         string         `json:"name"`
	Description  string         `json:"description,omitempty"`
	Environment  string         `json:"environment"`
	Destinations []string       `json:"destinations"`
	Cron         string         `json:"cron"`
	Timezone     string         `json:"timezone,omitempty"` // IANA name, default UTC
	Retention    retention.Spec `json:"retention"`

	Jitter             string              `json:"jitter,omitempty"`
	CatchUp            *bool               `json:"catch_up,omitempty"` // default true
	CatchUpWithin      string              `json:"catch_up_within,omitempty"`
	Overlap            string              `json:"overlap,omitempty"`        // "skip" (default) or "queue"
	StartDeadline      string              `json:"start_deadline,omitempty"` // default 2h
	Timeout            string              `json:"timeout,omitempty"`        // of one attempt, default 6h
	Retries            *int64              `json:"retries,omitempty"`        // default 3
	Blackout           map[string]Blackout `json:"blackout,omitempty"`
	Paused             bool                `json:"paused,omitempty"`
	MaxRPO             string              `json:"max_rpo,omitempty"`
	RunOnCreate        *bool               `json:"run_on_create,omitempty"` // default true
	Verify             *VerifySpec         `json:"verify,omitempty"`
	OnDestroy          string              `json:"on_destroy,omitempty"` // "keep" (default) or "delete"
	DeletionProtection bool                `json:"deletion_protection,omitempty"`
	AcknowledgeRemoval *int64              `json:"acknowledge_removal,omitempty"`
	LintIgnore         []string            `json:"lint_ignore,omitempty"`
}

// Blackout is a window in the schedule's zone in which no run starts (S8).
type Blackout struct {
	Days   string `json:"days,omitempty"` // day-of-week field of a cron expression, default every day
	From   string `json:"from"`           // "HH:MM"
	To     string `json:"to"`             // "HH:MM"; at or before From means the next day
	Action string `json:"action,omitempty"`
}

// VerifySpec says how backups of a schedule are proven.
type VerifySpec struct {
	Level       string `json:"level,omitempty"`
	Every       string `json:"every,omitempty"`
	MaxDuration string `json:"max_duration,omitempty"`
}

// Zone returns the zone's name with the default filled in.
func (s ScheduleSpec) Zone() string {
	if s.Timezone == "" {
		return "UTC"
	}
	return s.Timezone
}

// RunsOnCreate reports whether creating the schedule takes a backup (S11).
func (s ScheduleSpec) RunsOnCreate() bool {
	return (s.RunOnCreate == nil || *s.RunOnCreate) && !s.Paused
}

// CatchesUp reports whether a slot that is late by downtime may run (S2).
func (s ScheduleSpec) CatchesUp() bool { return s.CatchUp == nil || *s.CatchUp }

// RetryCount returns how many attempts may follow the first (S6).
func (s ScheduleSpec) RetryCount() int64 {
	if s.Retries == nil {
		return 3
	}
	return *s.Retries
}

// Reference is how people and scripts write a schedule: ENVIRONMENT/NAME.
func (s ScheduleSpec) Reference() string { return s.Environment + "/" + s.Name }
