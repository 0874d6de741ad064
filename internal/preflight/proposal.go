// Package preflight decides what is said about a proposed schedule before it is
// applied: findings about what is wrong or surprising, and a forecast of what
// it will do. Terraform's plan, the API and the console show the same words.
//
// It is pure: the configuration comes in as a Proposal, the operator's limits
// and the existing backups, where somebody knows them, as arguments. It takes
// no clock but the instants that it is given. Whether an environment, a
// destination or a worker exists, and whether a path may be read, is for the
// daemon to say.
package preflight

import (
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// Proposal is a schedule as far as it is known. A nil pointer or slice is a
// value that only apply will know: every check that needs it is skipped. A
// value that is not given is a pointer to "", or an empty slice.
type Proposal struct {
	// ID is the schedule's, empty for one that does not exist yet. No finding
	// needs it: it decides the share of the jitter and whether a backup is
	// taken at the creation (Preview).
	ID                string
	Name, Environment *string
	Destinations      []string
	Cron, Timezone    *string
	Retention         *retention.Spec
	Jitter            *string
	CatchUpWithin     *string
	Overlap           *string
	StartDeadline     *string
	Timeout           *string
	MaxRPO            *string
	OnDestroy         *string
	// Retries is nil when it is not given or not known; no other check needs it.
	Retries *int64
	// Blackout is nil when there is none, unless BlackoutUnknown.
	Blackout        map[string]envbackup.Blackout
	BlackoutUnknown bool
	// Paused and RunOnCreate are nil when they are not given or not known: then
	// they have their defaults, false and true. No finding needs them.
	Paused, RunOnCreate *bool
	// Verify is nil when it is not given or not known.
	Verify *envbackup.VerifySpec
	// AcknowledgeRemoval is nil when it is not given.
	AcknowledgeRemoval *int64
	LintIgnore         []string
}

// Of returns the proposal of a specification in which everything is known. The
// schedule does not exist yet; set ID for one that does.
func Of(s envbackup.ScheduleSpec) Proposal {
	destinations := s.Destinations
	if destinations == nil {
		destinations = []string{}
	}
	return Proposal{
		Name: &s.Name, Environment: &s.Environment, Destinations: destinations,
		Cron: &s.Cron, Timezone: &s.Timezone, Retention: &s.Retention,
		Jitter: &s.Jitter, CatchUpWithin: &s.CatchUpWithin, Overlap: &s.Overlap,
		StartDeadline: &s.StartDeadline, Timeout: &s.Timeout, MaxRPO: &s.MaxRPO, OnDestroy: &s.OnDestroy,
		Retries: s.Retries, Blackout: s.Blackout, Paused: &s.Paused, RunOnCreate: s.RunOnCreate, Verify: s.Verify,
		AcknowledgeRemoval: s.AcknowledgeRemoval, LintIgnore: s.LintIgnore,
	}
}

// The rules that lint_ignore accepts. Those of cron are in package cron.
const (
	RuleTierFiner     = "retention-tier-finer"
	RuleTierCovered   = "retention-tier-covered"
	RulePeriodShort   = "retention-period-short"
	RuleHistoryShort  = "retention-short"
	RuleRemoves       = "retention-removes"
	RuleRunsOverlap   = "run-overlaps"
	RuleTimeoutLong   = "timeout-exceeds-interval"
	RuleUnknownIgnore = "lint-unknown"
)
