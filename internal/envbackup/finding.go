package envbackup

// Severity says whether a finding stops what was proposed.
type Severity string

// The two severities; Terraform has no third.
const (
	SeverityError   Severity = "error"   // applying would fail or lose a backup
	SeverityWarning Severity = "warning" // legal, but probably not meant
)

// Finding is one thing that is said about a proposed schedule, environment or
// destination before it is applied. Plan, API and console show the same ones.
type Finding struct {
	Severity Severity `json:"severity"`
	// Rule names a warning for lint_ignore, such as "cron-day-or"; it may be
	// empty for errors, which cannot be ignored.
	Rule string `json:"rule,omitempty"`
	// Path is the attribute at fault as Terraform writes it, such as "cron",
	// "retention.keep_daily" or "destinations[1]"; empty for the whole.
	Path string `json:"path,omitempty"`
	// Summary is a stable title without values: Terraform merges warnings by it.
	Summary string `json:"summary"`
	// Detail says what is wrong, what it would do, and what to write instead.
	Detail string `json:"detail,omitempty"`
}

// HasError reports whether any finding is an error.
func HasError(findings []Finding) bool {
	for _, f := range findings {
		if f.Severity == SeverityError {
			return true
		}
	}
	return false
}
