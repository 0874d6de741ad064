package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

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
			c.unknown(p, "environment", "Environment does not exist", []string{p.spec.Environment}, known, "envbackup_environment.NAME.name")
		}
	}
	if err := s.resolveDestinations(ctx, p, c); err != nil {
		return err
	}
	return s.nameTaken(ctx, p, c)
}

func (s *server) resolveDestinations(ctx context.Context, p proposed, c *checked) error {
	var shut, unknown []int // indexes into the list
	for i, name := range p.spec.Destinations {
		if envbackup.CheckName("", name) != nil {
			continue
		}
		planned := p.plan && slices.Contains(p.plannedDestinations, name)
		only := planned && slices.Contains(p.withoutRecovery, name)
		d, err := s.Store.Destination(ctx, name)
		switch {
		case err == nil:
			c.destinationIDs, c.destinations = append(c.destinationIDs, d.ID), append(c.destinations, d)
			if !planned {
				only = len(d.SealedRecoveryPassword) == 0
			}
			if only {
				if only, err = s.keyNeverShown(ctx, d, c.environmentID); err != nil {
					return err
				}
			}
		case envbackup.CodeOf(err) != envbackup.CodeNotFound:
			return err
		case !planned:
			unknown = append(unknown, i)
		}
		if only {
			shut = append(shut, i)
		}
	}
	// One finding for the whole list: Terraform shows the first of several with
	// the same title, and how many more there are, without their names.
	at := func(indexes []int) (path string, names []string) {
		for _, i := range indexes {
			names = append(names, p.spec.Destinations[i])
		}
		if len(indexes) > 1 {
			return "destinations", names
		}
		return fmt.Sprintf("destinations[%d]", indexes[0]), names
	}
	if len(unknown) > 0 {
		known, err := s.destinationNames(ctx)
		if err != nil {
			return err
		}
		path, names := at(unknown)
		c.unknown(p, path, "Destination does not exist", names, known, "envbackup_destination.NAME.name")
	}
	if len(shut) > 0 {
		path, names := at(shut)
		c.onlyWe(p, path, names)
	}
	return nil
}

// onlyWe warns that losing this daemon's host would lose the backups at the
// destinations.
func (c *checked) onlyWe(p proposed, path string, names []string) {
	which, one := "The destination", names[0]
	if len(names) > 1 {
		which, one = "Each of "+quoted(names, ", "), "NAME"
	}
	c.warn(p, ruleNoRecovery, path, "Only this daemon can open the backups",
		"%s has no recovery password, and the password of the repository there was never shown: if this daemon's host is lost, "+
			"so are the backups. Set recovery_password_wo on the destination, or keep what this prints after the first run: "+
			"envbackup key show --environment %s --destination %s.", which, p.spec.Environment, one)
}

// keyNeverShown reports that the repository of an environment at a destination
// has, or will have, a password that this daemon never showed.
func (s *server) keyNeverShown(ctx context.Context, d envbackup.Destination, environmentID string) (bool, error) {
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

// unknown reports names that the daemon does not know.
func (c *checked) unknown(p proposed, path, summary string, names, known []string, reference string) {
	detail := fmt.Sprintf("The daemon does not know %s.", quoted(names, ", "))
	for _, name := range names {
		likely := nearest(name, known)
		if len(likely) == 0 {
			continue
		}
		detail += fmt.Sprintf(" Did you mean %s", quoted(likely, " or "))
		if len(names) > 1 {
			detail += fmt.Sprintf(" for %q", name)
		}
		detail += "?"
	}
	switch {
	case len(known) == 0:
		detail += " It knows none yet."
	case len(known) <= 10:
		detail += fmt.Sprintf(" It knows %s.", quoted(known, ", "))
	}
	it, exists := "it", "it exists"
	if len(names) > 1 {
		it, exists = "them", "they exist"
	}
	if p.plan {
		detail += fmt.Sprintf(" Apply fails unless %s by then.", exists)
	}
	detail += fmt.Sprintf(" To create %s in the same apply, refer to %s: %s.", it, it, reference)
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
