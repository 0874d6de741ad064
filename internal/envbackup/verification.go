package envbackup

import "time"

// VerifyLevel says how thoroughly a backup is verified.
type VerifyLevel string

// The levels; each proves what the one before it proves.
const (
	// VerifyRead reads everything that the backup needs from the destination
	// and checks it against its hashes.
	VerifyRead VerifyLevel = "read"
	// VerifyRestore restores the backup into a scratch directory of the worker
	// and compares what is there then.
	VerifyRestore VerifyLevel = "restore"
)

// VerifyLevels are the levels, weakest first.
func VerifyLevels() []VerifyLevel { return []VerifyLevel{VerifyRead, VerifyRestore} }

// The defaults of a schedule's verify.
const (
	DefaultVerifyEvery       = "7d"
	DefaultVerifyMaxDuration = "2h"
)

// WithDefaults returns v with what is left out filled in.
func (v VerifySpec) WithDefaults() VerifySpec {
	if v.Level == "" {
		v.Level = string(VerifyRead)
	}
	if v.Every == "" {
		v.Every = DefaultVerifyEvery
	}
	if v.MaxDuration == "" {
		v.MaxDuration = DefaultVerifyMaxDuration
	}
	return v
}

// Verification is one verification of a backup: by hand, or because its
// schedule asks for one. It makes way for every run and restore of the
// environment and then goes on.
type Verification struct {
	ID            string
	BackupID      string
	ScheduleID    string // of the backup
	Schedule      string // its name when the backup was made
	Environment   string
	DestinationID string
	Destination   string
	Worker        string // executes it; empty is any
	Level         VerifyLevel
	Trigger       Trigger // TriggerSchedule or TriggerManual
	State         RunState
	// MaxDuration bounds the time that it executes, pauses left out; 0 is no
	// bound. Spent is what has been used of it in earlier attempts.
	MaxDuration time.Duration
	Spent       time.Duration
	// Attempt counts the starts, Lost those that ended with their process.
	Attempt int64
	Lost    int64
	// JobID is the queue's row and the fencing token, as in Run; Node is the
	// process that executes it.
	JobID           int64
	Node            string
	CancelRequested bool
	// Yield asks a running one to make way.
	Yield   bool
	Failure *Failure
	// Problems are for people: the files that are hurt, the first hundred, and
	// what else was noticed.
	Problems   []string
	Progress   Progress
	FilesDone  int64
	BytesDone  int64
	CreatedAt  time.Time
	StartedAt  time.Time // of the first attempt
	FinishedAt time.Time
}

// VerificationFilter selects verifications; empty fields select all.
type VerificationFilter struct {
	Environment string // name
	BackupID    string
	ScheduleID  string
	States      []RunState
}

// ScheduleProof is what verifications say about a schedule's backups.
type ScheduleProof struct {
	// VerifiedAt is when a backup that is still there passed last; zero for
	// never.
	VerifiedAt time.Time
	// Last is the newest verification, nil for none.
	Last *Verification
	// Damaged is the newest backup that is damaged at a destination where no
	// newer one is verified; nil for none.
	Damaged *Backup
}
