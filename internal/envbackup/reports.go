package envbackup

import "time"

// PruneReport is what retention says about every backup of a schedule, and
// what a prune did about it.
type PruneReport struct {
	DryRun   bool
	Verdicts []Verdict // newest first, destination by destination
	Removed  int64     // backups removed; with DryRun those that would be
	SetAside int64     // removals that wait for prune_grace (R4)
	// Lists are what SetAside counts, one for each destination where something
	// waits.
	Lists []SetAside
	// Reclaimed is in bytes; 0 with DryRun.
	Reclaimed int64
	// Note says for people what else is to be known: why removals are held
	// (R7), what the object store keeps (R8); empty for nothing.
	Note string
}

// Verdict is what retention says about one backup.
type Verdict struct {
	Backup Backup
	Keep   bool
	// Reasons say why it is kept, or why it goes.
	Reasons []string
}

// SetAside is a list of removals that R4 holds back at one destination.
type SetAside struct {
	Destination string   // its name
	BackupIDs   []string // never empty
	Reason      string   // for people: why it waits
	Decision    Decision
	// Until is when the grace ends if a daemon runs all the time until then;
	// zero once a person has decided.
	Until time.Time
}

// RetentionState is what is in the way of a schedule's removals at one of its
// destinations, both by id.
type RetentionState struct {
	ScheduleID    string
	DestinationID string
	// Hold says for people why nothing is removed (R7), or what failed; empty
	// for nothing.
	Hold string
	// SetAside are the backups whose removal waits for a person or the grace,
	// and Reason is why (R4).
	SetAside []string
	Reason   string
}

// Decision is what a person said about a SetAside before its grace was over.
type Decision string

// The decisions; "" is that nobody has said anything.
const (
	DecisionConfirmed Decision = "confirmed" // it may go with the next prune
	DecisionCancelled Decision = "cancelled" // it stays until the policy changes
)
