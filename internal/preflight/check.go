package preflight

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/slots"
)

// Check returns all that is to be said about a proposal: errors first, then
// warnings, each in a fixed order. limits is nil where no daemon was asked,
// existing where nobody knows the backups. Warnings whose rule is in the
// proposal's LintIgnore are left out; errors cannot be ignored.
func Check(p Proposal, limits *envbackup.Limits, existing *Existing) []envbackup.Finding {
	findings, _ := check(p, limits, existing)
	return findings
}

func check(p Proposal, limits *envbackup.Limits, existing *Existing) ([]envbackup.Finding, *Removals) {
	c := &checker{p: p, limits: limits}
	c.names()
	c.schedule()
	c.policy()
	c.durations()
	c.choices()
	c.blackouts()
	if c.sched != nil && c.loc != nil {
		c.rhythm()
	}
	if c.keep != nil {
		c.limitRetention()
		if c.sched != nil {
			c.tiers()
		}
	}
	var removals *Removals
	if existing != nil {
		removals = c.removals(existing)
		c.overlap(existing)
	}
	c.lintNames()
	return c.sorted(), removals
}

// checker carries one call of Check: the proposal, what could be read of it,
// and what was found.
type checker struct {
	p      Proposal
	limits *envbackup.Limits

	sched   *cron.Schedule
	loc     *time.Location
	keep    *retention.Policy
	lengths map[string]retention.Duration // the plain durations that are valid and given
	windows *slots.Windows
	// windowsKnown: the blackout windows are all valid and known.
	windowsKnown bool
	plainGaps    map[*time.Location]cron.Gaps

	findings []envbackup.Finding
}

func (c *checker) fail(path, summary, format string, args ...any) {
	c.findings = append(c.findings, envbackup.Finding{
		Severity: envbackup.SeverityError, Path: path, Summary: summary, Detail: fmt.Sprintf(format, args...),
	})
}

func (c *checker) warn(rule, path, summary, format string, args ...any) {
	if slices.Contains(c.p.LintIgnore, rule) {
		return
	}
	detail := fmt.Sprintf(format, args...) + fmt.Sprintf(" Silence it with lint_ignore = [%q].", rule)
	c.findings = append(c.findings, envbackup.Finding{
		Severity: envbackup.SeverityWarning, Rule: rule, Path: path, Summary: summary, Detail: detail,
	})
}

// sorted puts errors before warnings and leaves the order otherwise.
func (c *checker) sorted() []envbackup.Finding {
	slices.SortStableFunc(c.findings, func(a, b envbackup.Finding) int {
		rank := func(f envbackup.Finding) int {
			if f.Severity == envbackup.SeverityError {
				return 0
			}
			return 1
		}
		return rank(a) - rank(b)
	})
	return c.findings
}

func (c *checker) names() {
	for _, n := range []struct {
		path  string
		value *string
	}{{"name", c.p.Name}, {"environment", c.p.Environment}} {
		if n.value != nil {
			if f := envbackup.CheckName(n.path, *n.value); f != nil {
				c.findings = append(c.findings, *f)
			}
		}
	}
	if c.p.Destinations != nil && len(c.p.Destinations) == 0 {
		c.fail("destinations", "No destination", "A schedule needs at least one destination. Write for example destinations = [\"local\"].")
	}
	for i, d := range c.p.Destinations {
		path := fmt.Sprintf("destinations[%d]", i)
		if d == "" { // not known yet
			continue
		}
		if f := envbackup.CheckName(path, d); f != nil {
			c.findings = append(c.findings, *f)
		}
		if slices.Index(c.p.Destinations, d) < i {
			c.fail(path, "Destination is listed twice", "%q is in the list already. Remove one of them.", d)
		}
	}
}

// schedule reads cron expression and time zone.
func (c *checker) schedule() {
	if c.p.Cron != nil {
		sched, err := cron.Parse(*c.p.Cron)
		var bad *cron.ParseError
		if errors.As(err, &bad) {
			c.fail("cron", cronSummary(bad), "%s: %s.", quote(bad.Expr), bad.Reason())
		} else {
			c.sched = sched
			for _, w := range sched.Warnings() {
				c.warn(w.Rule, "cron", cronWarnings[w.Rule], "%s", w.Message)
			}
		}
	}
	if c.p.Timezone != nil {
		loc, err := cron.LoadZone(zoneName(*c.p.Timezone))
		var bad *cron.ZoneError
		switch {
		case errors.As(err, &bad):
			c.fail("timezone", "Unknown time zone", "%s is not an IANA time zone. %s", quote(*c.p.Timezone), zoneAdvice(bad))
		case err != nil:
			c.fail("timezone", "Unknown time zone", "%s cannot be read: %s.", quote(*c.p.Timezone), err)
		default:
			c.loc = loc
		}
	}
}

func zoneName(name string) string {
	if name == "" {
		return "UTC"
	}
	return name
}

func zoneAdvice(e *cron.ZoneError) string {
	if strings.EqualFold(e.Name, "local") {
		return "What is local depends on the machine. Name the zone, for example timezone = \"Europe/Berlin\"."
	}
	if len(e.Name) <= 5 && !strings.Contains(e.Name, "/") && e.Name == strings.ToUpper(e.Name) {
		return "An abbreviation says nothing about daylight saving time. Name the zone by a city, for example timezone = \"Europe/Berlin\"."
	}
	if len(e.Suggestions) == 0 {
		return "Write a name such as \"UTC\" or \"Europe/Berlin\"."
	}
	return "Did you mean " + enumerate(e.Suggestions) + "?"
}

// enumerate quotes alternatives: "a", "b" or "c".
func enumerate(names []string) string {
	text := ""
	for i, n := range names {
		switch {
		case i > 0 && i == len(names)-1:
			text += " or "
		case i > 0:
			text += ", "
		}
		text += quote(n)
	}
	return text
}

// cronSummary is the stable title of a refused expression.
func cronSummary(e *cron.ParseError) string {
	switch {
	case errors.Is(e, cron.ErrNever):
		return "Schedule never runs"
	case e.Field > 0:
		return "Invalid cron " + cron.FieldName(e.Field)
	case strings.HasPrefix(e.Msg, "has "):
		return "Cron expression does not have five fields"
	case strings.HasPrefix(e.Msg, "unknown macro"), strings.HasPrefix(e.Msg, "a time zone prefix"):
		return "Unsupported cron syntax"
	}
	return "Invalid cron expression"
}

var cronWarnings = map[string]string{
	cron.RuleDayOr:       "Both day fields are set",
	cron.RuleUnevenStep:  "Uneven steps",
	cron.RuleSkipsMonths: "Schedule skips some months",
}

// policy reads the retention block.
func (c *checker) policy() {
	if c.p.Retention == nil {
		return
	}
	policy, err := c.p.Retention.Policy()
	var bad retention.FieldErrors
	if !errors.As(err, &bad) {
		c.keep = &policy
		return
	}
	for _, f := range bad {
		if f.Field == "" {
			c.fail("retention", "Retention keeps nothing", "%s. %s.", sentence(f.Msg), sentence(f.Hint))
			continue
		}
		detail := fmt.Sprintf("%s = %s: %s.", f.Field, f.Value, f.Msg)
		if f.Hint != "" {
			detail += " " + sentence(f.Hint) + "."
		}
		c.fail("retention."+f.Field, "Invalid retention value", "%s", detail)
	}
}

// plainDuration is an attribute that holds a duration; zero says whether no
// time at all makes sense.
type plainDuration struct {
	path  string
	value *string
	zero  bool
}

// durations reads the attributes that are a plain length of time.
func (c *checker) durations() {
	c.lengths = map[string]retention.Duration{}
	given := []plainDuration{
		{"jitter", c.p.Jitter, true}, {"catch_up_within", c.p.CatchUpWithin, false},
		{"start_deadline", c.p.StartDeadline, false}, {"timeout", c.p.Timeout, false}, {"max_rpo", c.p.MaxRPO, false},
	}
	if v := c.p.Verify; v != nil {
		given = append(given, plainDuration{"verify.every", &v.Every, false}, plainDuration{"verify.max_duration", &v.MaxDuration, false})
	}
	for _, g := range given {
		if g.value == nil || *g.value == "" {
			continue
		}
		d, err := retention.ParseDuration(*g.value)
		var bad *retention.DurationError
		switch {
		case errors.As(err, &bad):
			detail := fmt.Sprintf("%s = %s: %s.", g.path, quote(bad.Value), bad.Msg)
			if bad.Hint != "" {
				detail += " " + sentence(bad.Hint) + "."
			}
			c.fail(g.path, "Invalid duration", "%s", detail)
		case d.IsZero() && !g.zero:
			c.fail(g.path, "Invalid duration", "%s = %s: it must be longer than zero. Leave it out for the default.", g.path, quote(*g.value))
		default:
			c.lengths[g.path] = d
		}
	}
	if r := c.p.Retries; r != nil && (*r < 0 || *r > 100) {
		c.fail("retries", "Invalid number of retries", "retries = %d is not between 0 and 100.", *r)
	}
}

// choices checks the attributes that hold one of a few words.
func (c *checker) choices() {
	c.choice("overlap", c.p.Overlap, "skip", "queue")
	c.choice("on_destroy", c.p.OnDestroy, "keep", "delete")
	if v := c.p.Verify; v != nil {
		c.choice("verify.level", &v.Level, string(envbackup.VerifyRead), string(envbackup.VerifyRestore))
	}
}

func (c *checker) choice(path string, value *string, allowed ...string) {
	if value == nil || *value == "" || slices.Contains(allowed, *value) {
		return
	}
	c.fail(path, "Unknown value", "%s = %s is not one of %s.", path, quote(*value), enumerate(allowed))
}

// lintNames warns about a rule that does not exist, which silences nothing.
func (c *checker) lintNames() {
	for i, name := range c.p.LintIgnore {
		if !slices.Contains(Rules(), name) {
			c.warn(RuleUnknownIgnore, fmt.Sprintf("lint_ignore[%d]", i), "Unknown lint rule",
				"%s is no rule and silences nothing. The rules are %s.", quote(name), strings.Join(Rules(), ", "))
		}
	}
}

// Rules returns the names that lint_ignore accepts, sorted.
func Rules() []string {
	rules := []string{
		cron.RuleDayOr, cron.RuleUnevenStep, cron.RuleSkipsMonths,
		RuleTierFiner, RuleTierCovered, RulePeriodShort, RuleHistoryShort, RuleRemoves,
		RuleRunsOverlap, RuleTimeoutLong, RuleUnknownIgnore,
	}
	rules = append(rules, rulesOfOthers...)
	slices.Sort(rules)
	return rules
}

// rulesOfOthers are warnings that the daemon adds to a schedule's findings
// because they need to know more than a proposal.
var rulesOfOthers = []string{RuleMoved, "object-lock-longer", "recovery-key-missing", "not-found"}

// quote shows what a person wrote on one line.
func quote(text string) string {
	if len(text) > 120 {
		text = text[:120] + "..."
	}
	return fmt.Sprintf("%q", text)
}

// sentence begins with a capital.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}
