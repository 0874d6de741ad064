package preflight

import (
	"fmt"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// RuleMoved is the warning that a destination leaves its backups behind.
const RuleMoved = "destination-moved"

// Place is where a destination's backups lie, for people and for comparison;
// empty for nowhere.
func Place(d envbackup.DestinationSpec) string {
	switch {
	case d.S3 != nil:
		p := "s3:" + d.S3.Bucket
		if prefix := strings.Trim(d.S3.Prefix, "/"); prefix != "" {
			p += "/" + prefix
		}
		if d.S3.Endpoint != "" {
			p += " at " + d.S3.Endpoint
		}
		return p
	case d.Local != nil:
		return d.Local.Path
	default:
		return ""
	}
}

// Moved says what becomes of the backups at the place that an edit of a
// destination leaves. ok is false when it stays where it is, and when there are
// none.
func Moved(before, after envbackup.DestinationSpec, backups int64) (f envbackup.Finding, ok bool) {
	from, to := Place(before), Place(after)
	if from == to || from == "" || to == "" || backups == 0 {
		return f, false
	}
	path := "local"
	if after.S3 != nil {
		path = "s3"
	}
	what := fmt.Sprintf("The %d backups at the old place stay", backups)
	if backups == 1 {
		what = "The one backup at the old place stays"
	}
	return envbackup.Finding{
		Severity: envbackup.SeverityWarning, Rule: RuleMoved, Path: path, Summary: "Destination moves",
		Detail: fmt.Sprintf("Backups of %s have gone to %s and go to %s from now on. %s there and in the lists, as detached, but this daemon no longer "+
			"restores, verifies or prunes there. To take everything along, copy what lies below the old place to the new one before you apply.",
			quote(after.Name), from, to, what),
	}, true
}
