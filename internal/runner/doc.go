// Package runner executes one run, restore or verification from lock to report: it checks
// the operator's allow-lists, opens the repository, takes its lock, has the
// archiver make the snapshot, enters the backup in the store, applies the
// schedule's retention and reclaims what no snapshot needs any more.
//
// It decides what may be removed when (SEMANTICS section 3, R1 to R9), on the
// verdict of package retention. When a run is due, who executes it, and what
// follows a failed attempt is for scheduler and queue.
//
// Promised: a run that fails removes nothing; a backup's row leaves the store
// only after its snapshot was seen to be gone; a backup is entered in the
// store once, however often its run is tried. Not promised: that data of
// removed snapshots is reclaimed by the same run.
package runner
