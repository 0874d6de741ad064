package envbackup

// PruneReport is what retention says about every backup of a schedule, and
// what a prune did about it.
type PruneReport struct {
	DryRun   bool
	Verdicts []Verdict // newest first, destination by destination
	Removed  int64     // backups removed; with DryRun those that would be
	SetAside int64     // removals that wait for prune_grace (R4)
	// Reclaimed is in bytes; 0 with DryRun.
	Reclaimed int64
	// Note says for people why something was held back (R4, R7); empty else.
	Note string
}

// Verdict is what retention says about one backup.
type Verdict struct {
	Backup Backup
	Keep   bool
	// Reasons say why it is kept, or why it goes.
	Reasons []string
}
