// Package envbackup is the vocabulary that the rooms share: environments,
// destinations, schedules, runs and backups, the findings that are said about
// them, and errors with a code and a hint. It does no I/O and decides no rule;
// cron and retention do.
//
// Times are UTC instants; a zone appears only where a person reads or writes
// one. The zero time means "not yet" or "never".
package envbackup
