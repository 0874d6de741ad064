package api

import (
	"context"
	"fmt"
	"slices"
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
	// withoutRecovery are those of plannedDestinations that get no recovery
	// password.
	withoutRecovery []string
}

// checked is what came of it. The ids are complete unless a finding says
// otherwise.
type checked struct {
	findings       []envbackup.Finding
	environmentID  string
	destinationIDs []string
	destinations   []envbackup.Destination // the same ones
	removals       *wire.Removals
}

func (s *server) preflight(ctx context.Context, in *struct{ Body wire.Preflight }) (*plain[wire.PreflightResult], error) {
	p := proposed{
		spec: in.Body.Schedule, plan: true,
		plannedEnvironments: in.Body.PlannedEnvironments, plannedDestinations: in.Body.PlannedDestinations,
		withoutRecovery: in.Body.PlannedWithoutRecovery,
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
	body := wire.PreflightResult{Findings: some(c.findings), Removals: c.removals}
	f, err := s.forecasts.of(p.spec)
	if err != nil {
		return nil, err
	}
	if f.doc.Summary != "" {
		body.Forecast = &f.doc
	}
	proposal := preflight.Of(p.spec)
	if p.old != nil {
		proposal.ID = p.old.ID
	}
	outlook, ok, err := preflight.Preview(proposal, s.Now().UTC(), nextRuns)
	if err != nil {
		return nil, fmt.Errorf("next runs of %q: %w", p.spec.Cron, err)
	}
	if ok {
		for _, run := range outlook.NextRuns {
			body.NextRuns = append(body.NextRuns, run.Start)
		}
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
	if err := s.lockFindings(ctx, p, &c); err != nil {
		return c, err
	}
	pure, err := s.checkPure(ctx, p, &c)
	if err != nil {
		return c, err
	}
	c.findings = append(pure, c.findings...)
	slices.SortStableFunc(c.findings, bySeverity)
	return c, nil
}

// checkPure asks the shared rules, with what is known about the schedule that
// an edit changes, or whose backups a new one takes over.
func (s *server) checkPure(ctx context.Context, p proposed, c *checked) ([]envbackup.Finding, error) {
	proposal := preflight.Of(p.spec)
	existing := preflight.Existing{Now: s.Now().UTC()}
	h, err := s.past(ctx, p, c, &existing)
	if err != nil {
		return nil, err
	}
	if h == nil {
		if p.old == nil {
			return preflight.Check(proposal, &s.Limits, nil), nil
		}
		return preflight.Check(proposal, &s.Limits, &existing), nil
	}
	select {
	case s.judging <- struct{}{}:
		defer func() { <-s.judging }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for other preflights: %w", ctx.Err())
	}
	existing.Points = h.points(ctx, s.Store, existing.Now)
	findings, removals := preflight.CheckEdit(proposal, &s.Limits, existing)
	if h.failed != nil {
		return nil, h.failed
	}
	if removals != nil {
		c.removals = removalsDoc(*removals)
	}
	return findings, nil
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

// bySeverity puts errors first.
func bySeverity(a, b envbackup.Finding) int { return rank(a.Severity) - rank(b.Severity) }

func rank(s envbackup.Severity) int {
	if s == envbackup.SeverityError {
		return 0
	}
	return 1
}
