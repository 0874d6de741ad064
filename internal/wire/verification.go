package wire

import (
	"net/url"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// VerifyRequest asks for the verification of a backup.
type VerifyRequest struct {
	// Level is "read" when it is left out.
	Level envbackup.VerifyLevel `json:"level,omitempty" enum:"read,restore" doc:"read: read and check all that it needs; restore: restore it into a scratch directory and compare"`
}

// CheckRequest asks for a check of an environment's whole repository.
type CheckRequest struct {
	Environment string `json:"environment" doc:"Name or id"`
	Destination string `json:"destination" doc:"Name or id"`
	Read        string `json:"read,omitempty" enum:"structure,data,damaged" doc:"structure, the default: every snapshot, directory and index file, and that each pack is there in full length; data: read every pack, too; damaged: read all that damaged backups need, and take back what is whole again"`
	// Share reads a part of the packs in place of Read.
	Share string `json:"share,omitempty" maxLength:"9" doc:"N/M: read the Nth of M even shares of the packs" example:"3/30"`
}

// RepairRequest asks for a repair of an environment's repository.
type RepairRequest struct {
	Environment string `json:"environment" doc:"Name or id"`
	Destination string `json:"destination" doc:"Name or id"`
	ReadData    bool   `json:"read_data,omitempty" doc:"Read every pack to find what is damaged; else what checks and verifications have found is mended"`
	DryRun      bool   `json:"dry_run,omitempty" doc:"Say what would be done and change nothing"`
}

// Verification is the answer about a verification.
type Verification struct {
	ID          string                `json:"id"`
	BackupID    string                `json:"backup_id" doc:"Empty for a check or repair of a whole repository"`
	Environment string                `json:"environment"`
	Schedule    string                `json:"schedule,omitempty"`
	Destination string                `json:"destination"`
	Level       envbackup.VerifyLevel `json:"level" doc:"read or restore; of a whole repository: structure, share N/M, read-data, damaged, repair or repair-read-data, and the last two with -dry-run"`
	Trigger     envbackup.Trigger     `json:"trigger" doc:"schedule, or manual"`
	// State is succeeded when the backup is verified. A verification that
	// makes way for a backup or restore is queued until it goes on.
	State       envbackup.RunState  `json:"state"`
	Cancelling  bool                `json:"cancelling,omitempty"`
	MaxDuration string              `json:"max_duration,omitempty"`
	Failure     *envbackup.Failure  `json:"failure,omitempty" doc:"Its code is repository_damaged when the backup is damaged"`
	Problems    []string            `json:"problems,omitempty" doc:"The files that are hurt, the first hundred, and what else was noticed"`
	Progress    *envbackup.Progress `json:"progress,omitempty"`
	FilesDone   int64               `json:"files_done"`
	BytesDone   int64               `json:"bytes_done"`
	CreatedAt   time.Time           `json:"created_at"`
	StartedAt   *time.Time          `json:"started_at"`
	FinishedAt  *time.Time          `json:"finished_at"`
}

// VerificationPage is a page of verifications, newest first.
type VerificationPage struct {
	Items  []Verification `json:"items"`
	Cursor string         `json:"cursor,omitempty"`
}

// VerificationsQuery filters the list of verifications.
type VerificationsQuery struct {
	Page
	Environment string   `query:"environment" doc:"Name or id of the environment"`
	Backup      string   `query:"backup" doc:"Id of the backup"`
	Schedule    string   `query:"schedule" doc:"Id or ENVIRONMENT/NAME of the schedule"`
	State       []string `query:"state" enum:"queued,running,succeeded,failed,cancelled" doc:"One or more states, with commas"`
}

// Values encodes the query for a URL.
func (q VerificationsQuery) Values() url.Values {
	v := q.Page.Values()
	set(v, "environment", q.Environment)
	set(v, "backup", q.Backup)
	set(v, "schedule", q.Schedule)
	setList(v, "state", q.State)
	return v
}
