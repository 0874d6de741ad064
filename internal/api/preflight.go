package api

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// The rules of warnings that need the daemon; lint_ignore accepts them.
const (
	ruleNotFound   = "not-found"
	ruleNoRecovery = "recovery-key-missing"
)

// nextRuns is how many of them preflight shows.
const nextRuns = 5

// proposed is a schedule that somebody wants to create, edit or hear about.
type proposed struct {
	spec envbackup.ScheduleSpec
	// old is the schedule that an edit changes; nil for a new one.
	old *envbackup.Schedule
	// plan is set where nothing is applied: a name that the daemon does not
	// know may exist by then, and is a warning unless the plan makes it.
	plan                bool
	plannedEnvironments []string
	plannedDestinations []string
}

// checked is what came of it. The ids are complete unless a finding says
// otherwise.
type checked struct {
	findings       []envbackup.Finding
	environmentID  string
	destinationIDs []string
	removals       *wire.Removals
}

func (s *server) preflight(ctx context.Context, in *struct{ Body wire.Preflight }) (*plain[wire.PreflightResult], error) {
	p := proposed{
		spec: in.Body.Schedule, plan: true,
		plannedEnvironments: in.Body.PlannedEnvironments, plannedDestinations: in.Body.PlannedDestinations,
	}
	if in.Body.ID != "" {
		old, err := s.Store.Schedule(ctx, in.Body.ID)
		switch {
		case err == nil:
			p.old = &old
		case envbackup.CodeOf(err) != envbackup.CodeNotFound: // deleted behind Terraform's back: then it is a new one
			return nil, err
		}
	}
	c, err := s.check(ctx, p)
	if err != nil {
		return nil, err
	}
	body := wire.PreflightResult{Findings: c.findings, Removals: c.removals}
	if body.Findings == nil {
		body.Findings = []envbackup.Finding{}
	}
	f, err := s.forecasts.of(p.spec)
	if err != nil {
		return nil, err
	}
	if f.doc.Summary != "" {
		body.Forecast = &f.doc
	}
	outlook, ok, err := preflight.Preview(preflight.Of(p.spec), s.Now().UTC(), nextRuns)
	if err != nil {
		return nil, fmt.Errorf("next runs of %q: %w", p.spec.Cron, err)
	}
	if ok {
		body.NextRuns = outlook.NextRuns
		body.Outlook = outlookDoc(outlook)
	}
	return &plain[wire.PreflightResult]{body}, nil
}

// check says all that is to be said about a proposal: what the shared rules
// find, with this daemon's limits and backups, and what only a daemon knows.
func (s *server) check(ctx context.Context, p proposed) (checked, error) {
	var c checked
	if err := s.resolve(ctx, p, &c); err != nil {
		return c, err
	}
	pure, err := s.checkPure(ctx, p, &c)
	if err != nil {
		return c, err
	}
	c.findings = append(pure, c.findings...)
	slices.SortStableFunc(c.findings, func(a, b envbackup.Finding) int {
		return rank(a.Severity) - rank(b.Severity)
	})
	return c, nil
}

// checkPure asks the shared rules, with what is known about the schedule that
// an edit changes.
func (s *server) checkPure(ctx context.Context, p proposed, c *checked) ([]envbackup.Finding, error) {
	proposal := preflight.Of(p.spec)
	if p.old == nil { // a new schedule has no past
		return preflight.Check(proposal, &s.Limits, nil), nil
	}
	existing := preflight.Existing{Now: s.Now().UTC(), Before: p.old.Retention, Timezone: p.old.Timezone}
	var err error
	if existing.RunTimes, err = s.runTimes(ctx, p.old.ID); err != nil {
		return nil, err
	}
	// The same policy in the same zone removes nothing more than it does
	// already, so the backups, which may be many, are not read for it.
	var failed error
	if !p.spec.Retention.Equal(p.old.Retention) || p.spec.Zone() != p.old.Zone() {
		select {
		case s.judging <- struct{}{}:
			defer func() { <-s.judging }()
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for other preflights: %w", ctx.Err())
		}
		existing.Points = s.points(ctx, p, &failed)
	}
	findings, removals := preflight.CheckEdit(proposal, &s.Limits, existing)
	if failed != nil {
		return nil, failed
	}
	if removals != nil {
		c.removals = removalsDoc(*removals)
	}
	return findings, nil
}

// points yields the backups that an edit may remove, one destination at a time.
// Where the edit takes a destination away, nothing prunes there any more. A
// failure ends it and goes into failed.
func (s *server) points(ctx context.Context, p proposed, failed *error) iter.Seq2[string, []retention.Point] {
	return func(yield func(string, []retention.Point) bool) {
		for i, name := range p.old.Destinations {
			if !slices.Contains(p.spec.Destinations, name) {
				continue
			}
			points, err := s.Store.Points(ctx, p.old.ID, p.old.DestinationIDs[i])
			if err != nil {
				*failed = err
				return
			}
			if !yield(name, points) {
				return
			}
		}
	}
}

// runTimes are how long the latest runs of a schedule took.
func (s *server) runTimes(ctx context.Context, scheduleID string) ([]time.Duration, error) {
	runs, _, err := s.Store.Runs(ctx, envbackup.RunFilter{
		Schedule: scheduleID, States: []envbackup.RunState{envbackup.RunSucceeded, envbackup.RunPartial},
	}, envbackup.Page{Limit: 5})
	if err != nil {
		return nil, err
	}
	var times []time.Duration
	for _, r := range runs {
		times = append(times, r.FinishedAt.Sub(r.StartedAt))
	}
	return times, nil
}

func removalsDoc(r preflight.Removals) *wire.Removals {
	at := func(r preflight.RemovedAt) wire.RemovedAt {
		return wire.RemovedAt{
			Destination: r.Destination, Count: r.Count, Total: r.Total, Oldest: r.Oldest.UTC(), Newest: r.Newest.UTC(), Size: r.Size, Large: r.Large,
		}
	}
	return &wire.Removals{RemovedAt: at(r.RemovedAt), Destinations: convert(r.ByDestination, at), Grace: r.Grace.String()}
}

func outlookDoc(o preflight.Outlook) *wire.Outlook {
	points := func(p retention.SimPoint) wire.RestorePoints {
		doc := wire.RestorePoints{Backups: int64(p.Backups)}
		if p.Backups > 0 {
			doc.OldestAge = cron.FormatGap(p.Age())
		}
		return doc
	}
	return &wire.Outlook{
		RunsPerDay: o.RunsPerDay, Day: points(o.Points.Day), Month: points(o.Points.Month), Year: points(o.Points.Year),
		Steady: points(o.Points.Steady), Unbounded: o.Points.Unbounded,
	}
}

func rank(s envbackup.Severity) int {
	if s == envbackup.SeverityError {
		return 0
	}
	return 1
}

// resolve turns names into ids and says which do not exist.
func (s *server) resolve(ctx context.Context, p proposed, c *checked) error {
	if envbackup.CheckName("", p.spec.Environment) == nil {
		e, err := s.Store.Environment(ctx, p.spec.Environment)
		switch {
		case err == nil:
			c.environmentID = e.ID
		case envbackup.CodeOf(err) != envbackup.CodeNotFound:
			return err
		case !p.plan || !slices.Contains(p.plannedEnvironments, p.spec.Environment):
			known, err := s.environmentNames(ctx)
			if err != nil {
				return err
			}
			c.unknown(p, "environment", "Environment does not exist", p.spec.Environment, known, "envbackup_environment.NAME.name")
		}
	}
	var shutAt []int
	for i, name := range p.spec.Destinations {
		if envbackup.CheckName("", name) != nil {
			continue
		}
		path := fmt.Sprintf("destinations[%d]", i)
		d, err := s.Store.Destination(ctx, name)
		switch {
		case err == nil:
			c.destinationIDs = append(c.destinationIDs, d.ID)
			shut, err := s.onlyWeCanOpen(ctx, d, c.environmentID)
			if err != nil {
				return err
			}
			if shut {
				shutAt = append(shutAt, i)
			}
		case envbackup.CodeOf(err) != envbackup.CodeNotFound:
			return err
		case !p.plan || !slices.Contains(p.plannedDestinations, name):
			known, err := s.destinationNames(ctx)
			if err != nil {
				return err
			}
			c.unknown(p, path, "Destination does not exist", name, known, "envbackup_destination.NAME.name")
		}
	}
	for _, i := range shutAt {
		c.warn(p, ruleNoRecovery, fmt.Sprintf("destinations[%d]", i), "Only this daemon can open the backups",
			"The destination has no recovery password, and the password of the repository was never shown: if this daemon's host is lost, "+
				"so are the backups. Set recovery_password_wo on the destination, or keep what this prints: envbackup key show "+
				"--environment %s --destination %s.", p.spec.Environment, p.spec.Destinations[i])
	}
	return s.nameTaken(ctx, p, c)
}

// onlyWeCanOpen reports that the repository of an environment at a destination
// has, or will have, a password that nobody else knows.
func (s *server) onlyWeCanOpen(ctx context.Context, d envbackup.Destination, environmentID string) (bool, error) {
	if len(d.SealedRecoveryPassword) > 0 {
		return false, nil
	}
	if environmentID == "" {
		return true, nil
	}
	r, err := s.Store.Repository(ctx, d.ID, environmentID)
	switch envbackup.CodeOf(err) {
	case "":
		return r.KeyShownAt.IsZero(), nil
	case envbackup.CodeNotFound: // the first run makes it
		return true, nil
	default:
		return false, err
	}
}

// nameTaken says so where a new schedule has the name of one that exists.
func (s *server) nameTaken(ctx context.Context, p proposed, c *checked) error {
	if envbackup.CheckName("", p.spec.Name) != nil || c.environmentID == "" {
		return nil
	}
	taken, err := s.Store.Schedule(ctx, p.spec.Reference())
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if p.old != nil && p.old.ID == taken.ID {
		return nil
	}
	by := "by a person"
	if taken.Owner != "" {
		by = "by " + taken.Owner
	}
	c.findings = append(c.findings, envbackup.Finding{
		Severity: envbackup.SeverityError, Path: "name", Summary: "Schedule name already taken",
		Detail: fmt.Sprintf("The daemon already has a schedule %q (%s), made %s on %s. Choose another name, or take it over: "+
			"import it under the id %q.", taken.Reference(), taken.ID, by, taken.CreatedAt.UTC().Format("2006-01-02"), taken.Reference()),
	})
	return nil
}

// unknown reports a name that the daemon does not know.
func (c *checked) unknown(p proposed, path, summary, name string, known []string, reference string) {
	detail := fmt.Sprintf("The daemon does not know %q.", name)
	if likely := nearest(name, known); len(likely) > 0 {
		detail += fmt.Sprintf(" Did you mean %s?", quoted(likely, " or "))
	}
	switch {
	case len(known) == 0:
		detail += " It knows none yet."
	case len(known) <= 10:
		detail += fmt.Sprintf(" It knows %s.", quoted(known, ", "))
	}
	detail += fmt.Sprintf(" To create it in the same apply, refer to it: %s.", reference)
	if p.plan {
		c.warn(p, ruleNotFound, path, summary, "%s", detail)
		return
	}
	c.findings = append(c.findings, envbackup.Finding{
		Severity: envbackup.SeverityError, Path: path, Summary: summary, Detail: detail,
	})
}

func (c *checked) warn(p proposed, rule, path, summary, format string, args ...any) {
	if slices.Contains(p.spec.LintIgnore, rule) {
		return
	}
	c.findings = append(c.findings, envbackup.Finding{
		Severity: envbackup.SeverityWarning, Rule: rule, Path: path, Summary: summary,
		Detail: fmt.Sprintf(format, args...) + fmt.Sprintf(" Silence it with lint_ignore = [%q].", rule),
	})
}

func quoted(names []string, between string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(out, between)
}

func (s *server) environmentNames(ctx context.Context) ([]string, error) {
	items, _, err := s.Store.Environments(ctx, envbackup.Page{Limit: 1000})
	if err != nil {
		return nil, err
	}
	return convert(items, func(e envbackup.Environment) string { return e.Name }), nil
}

func (s *server) destinationNames(ctx context.Context) ([]string, error) {
	items, _, err := s.Store.Destinations(ctx, envbackup.Page{Limit: 1000})
	if err != nil {
		return nil, err
	}
	return convert(items, func(d envbackup.Destination) string { return d.Name }), nil
}
