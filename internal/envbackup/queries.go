package envbackup

import "time"

// Page asks the store for one page of a list. Limit 0 is 100, and more than
// 1000 is 1000; Cursor is opaque, empty for the first page, and comes from the
// page before.
type Page struct {
	Limit  int
	Cursor string
}

// ScheduleFilter selects schedules; empty fields select all.
type ScheduleFilter struct {
	Environment string // name
}

// RunFilter selects runs; empty fields select all. Since and Until bound the
// creation: Since is included, Until is not.
type RunFilter struct {
	Schedule    string // id or ENVIRONMENT/NAME
	Environment string // name
	States      []RunState
	Since       time.Time
	Until       time.Time
}

// BackupFilter selects backups; empty fields select all. Since and Until bound
// the nominal time: Since is included, Until is not.
type BackupFilter struct {
	Environment string // name
	Schedule    string // name when the backup was made, or ENVIRONMENT/NAME
	ScheduleID  string
	Destination string // name
	Status      BackupStatus
	Verified    *bool
	Trigger     Trigger
	Since       time.Time
	Until       time.Time
	// IncludeRemoved also selects backups that are gone.
	IncludeRemoved bool
}

// RestoreFilter selects restores; empty fields select all.
type RestoreFilter struct {
	Environment string // name
	States      []RunState
}
