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

// Verification is the answer about a verification.
type Verification struct {
	ID          string                `json:"id"`
	BackupID    string                `json:"backup_id"`
	Environment string                `json:"environment"`
	Schedule    string                `json:"schedule,omitempty"`
	Destination string                `json:"destination"`
	Level       envbackup.VerifyLevel `json:"level"`
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
