package envbackup

import (
	"fmt"
	"regexp"
)

// namePattern is SEMANTICS S15.
var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// CheckName returns an error finding at path when name is not a valid name of
// an environment, destination or schedule (S15), and nil when it is.
func CheckName(path, name string) *Finding {
	if namePattern.MatchString(name) {
		return nil
	}
	return &Finding{
		Severity: SeverityError, Path: path, Summary: "Invalid name",
		Detail: fmt.Sprintf("%q is not a valid name: use 1 to 63 lower-case letters, digits, dots, underscores and hyphens, "+
			"beginning with a letter or a digit.", name),
	}
}
