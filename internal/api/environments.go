package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/exclude"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) environmentRoutes() {
	const tag = "environments"
	handle(s, route{http.MethodGet, "/environments", "list-environments", "List environments", tag, envbackup.RoleViewer, 0}, s.listEnvironments)
	handle(s, route{http.MethodPost, "/environments", "create-environment", "Create an environment", tag, envbackup.RoleOperator, http.StatusCreated}, s.createEnvironment)
	handle(s, route{http.MethodPost, "/environments/preflight", "preflight-environment", "Say what would be said about an environment; changes nothing", tag, envbackup.RoleViewer, 0}, s.preflightEnvironment)
	handle(s, route{http.MethodGet, "/environments/{id}", "get-environment", "Show an environment", tag, envbackup.RoleViewer, 0}, s.getEnvironment)
	handle(s, route{http.MethodPut, "/environments/{id}", "update-environment", "Replace an environment", tag, envbackup.RoleOperator, 0}, s.updateEnvironment)
	handle(s, route{http.MethodDelete, "/environments/{id}", "delete-environment", "Delete an environment; its backups stay", tag, envbackup.RoleOperator, 0}, s.deleteEnvironment)
}

func (s *server) listEnvironments(ctx context.Context, in *struct{ wire.Page }) (*plain[wire.EnvironmentPage], error) {
	items, next, err := s.Store.Environments(ctx, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	return &plain[wire.EnvironmentPage]{wire.EnvironmentPage{Items: convert(items, environmentDoc), Cursor: next}}, nil
}

func (s *server) getEnvironment(ctx context.Context, in *Keyed) (*doc[wire.Environment], error) {
	e, err := s.Store.Environment(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	return &doc[wire.Environment]{etagOf(e.Version), environmentDoc(e)}, nil
}

func (s *server) createEnvironment(ctx context.Context, in *struct{ Body wire.EnvironmentInput }) (*made[wire.Environment], error) {
	e := envbackup.Environment{Meta: envbackup.Meta{Owner: in.Body.Owner}, EnvironmentSpec: in.Body.EnvironmentSpec}
	findings, err := s.findEnvironment(ctx, e.EnvironmentSpec, nil, false)
	if err != nil {
		return nil, err
	}
	if envbackup.HasError(findings) {
		return nil, envbackup.Invalid(findings...)
	}
	if err := s.Store.CreateEnvironment(ctx, &e); err != nil {
		return nil, err
	}
	s.audit(ctx, "create", "environment", e.Name, "")
	body := environmentDoc(e)
	body.Findings = findings
	return &made[wire.Environment]{etagOf(e.Version), root + "/environments/" + e.ID, body}, nil
}

func (s *server) updateEnvironment(ctx context.Context, in *struct {
	Versioned
	Body wire.EnvironmentInput
}) (*doc[wire.Environment], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	e, err := s.Store.Environment(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	findings, err := s.findEnvironment(ctx, in.Body.EnvironmentSpec, &e, false)
	if err != nil {
		return nil, err
	}
	if envbackup.HasError(findings) {
		return nil, envbackup.Invalid(findings...)
	}
	e.EnvironmentSpec, e.Owner = in.Body.EnvironmentSpec, in.Body.Owner
	if err := s.Store.UpdateEnvironment(ctx, &e, version); err != nil {
		return nil, err
	}
	s.audit(ctx, "update", "environment", e.Name, "")
	body := environmentDoc(e)
	body.Findings = findings
	return &doc[wire.Environment]{etagOf(e.Version), body}, nil
}

func (s *server) deleteEnvironment(ctx context.Context, in *Versioned) (*none, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	e, err := s.Store.Environment(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if err := s.Store.DeleteEnvironment(ctx, e.ID, version); err != nil {
		return nil, err
	}
	s.audit(ctx, "delete", "environment", e.Name, "")
	return nil, nil
}

func (s *server) preflightEnvironment(ctx context.Context, in *struct{ Body wire.EnvironmentPreflight }) (*plain[wire.Findings], error) {
	var old *envbackup.Environment
	if in.Body.ID != "" {
		e, err := s.Store.Environment(ctx, in.Body.ID)
		switch {
		case err == nil:
			old = &e
		case envbackup.CodeOf(err) != envbackup.CodeNotFound: // deleted behind Terraform's back: then it is a new one
			return nil, err
		}
	}
	findings, err := s.findEnvironment(ctx, in.Body.Environment, old, true)
	if err != nil {
		return nil, err
	}
	return &plain[wire.Findings]{wire.Findings{Findings: some(findings)}}, nil
}

// some is [] in JSON where there is nothing, never null.
func some(findings []envbackup.Finding) []envbackup.Finding {
	if findings == nil {
		return []envbackup.Finding{}
	}
	return findings
}

// findEnvironment says all that is to be said about an environment that is new,
// or replaces old. In a plan, what may be there by the time of the apply is a
// warning.
func (s *server) findEnvironment(ctx context.Context, spec envbackup.EnvironmentSpec, old *envbackup.Environment, plan bool) ([]envbackup.Finding, error) {
	findings := s.checkEnvironment(spec)
	if old != nil && old.Name != spec.Name {
		findings = append(findings, fixedName("environment", old.Name, spec.Name))
	}
	// One that was accepted once and is down now is no reason to refuse another
	// change.
	if old == nil || old.Worker != spec.Worker {
		worker, err := s.checkWorker(ctx, spec.Worker)
		if err != nil {
			return nil, err
		}
		if worker != nil && plan {
			worker.Severity, worker.Rule = envbackup.SeverityWarning, ruleNotFound
			worker.Detail += " Apply refuses it as long as it is not there."
		}
		if worker != nil {
			findings = append(findings, *worker)
		}
	}
	slices.SortStableFunc(findings, bySeverity)
	return findings, nil
}

// checkWorker returns an error for a worker that nobody knows: no daemon of that
// name runs on this state.
func (s *server) checkWorker(ctx context.Context, name string) (*envbackup.Finding, error) {
	if name == "" || name == s.Worker {
		return nil, nil
	}
	known, err := s.Store.Workers(ctx)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(known, s.Worker) {
		known = append(known, s.Worker)
	}
	if slices.Contains(known, name) {
		return nil, nil
	}
	detail := fmt.Sprintf("No daemon named %q works here", name)
	switch {
	case len(known) == 1:
		detail += fmt.Sprintf("; the only one is %q.", known[0])
	case len(known) <= 10:
		detail += fmt.Sprintf("; there are %s.", quoted(known, ", "))
	default:
		detail += "."
	}
	if likely := nearest(name, known); len(likely) > 0 {
		detail += fmt.Sprintf(" Did you mean %s?", quoted(likely, " or "))
	}
	detail += fmt.Sprintf(" Leave worker out to let any of them read the environment, or first start a daemon on the same database with --worker %s.", name)
	return &envbackup.Finding{Severity: envbackup.SeverityError, Path: "worker", Summary: "Worker does not exist", Detail: detail}, nil
}

// fixedName refuses what would leave backups behind under the old name: the
// name is part of the repository's place.
func fixedName(kind, old, name string) envbackup.Finding {
	return envbackup.Finding{
		Severity: envbackup.SeverityError, Path: "name", Summary: "Name cannot change",
		Detail: fmt.Sprintf("The %s is named %q, and its backups lie under that name. To call it %q, create another one.", kind, old, name),
	}
}

// checkEnvironment returns what is wrong with an environment, in a fixed
// order. Paths of findings are written as in HCL: files["app"].path.
func (s *server) checkEnvironment(spec envbackup.EnvironmentSpec) []envbackup.Finding {
	var findings []envbackup.Finding
	report := func(path, summary, format string, args ...any) {
		findings = append(findings, envbackup.Finding{
			Severity: envbackup.SeverityError, Path: path, Summary: summary, Detail: fmt.Sprintf(format, args...),
		})
	}
	if f := envbackup.CheckName("name", spec.Name); f != nil {
		findings = append(findings, *f)
	}
	if len(spec.Files) == 0 {
		report("files", "Environment has no source", "Name at least one directory or file to back up, for example: files = { app = { path = %q } }", "/srv/app")
	}
	for _, key := range slices.Sorted(maps.Keys(spec.Files)) {
		source, at := spec.Files[key], fmt.Sprintf("files[%q]", key)
		if envbackup.CheckName("", key) != nil {
			report(at, "Invalid name", "%q is not a valid name of a source: use 1 to 63 lower-case letters, digits, dots, underscores and hyphens, "+
				"beginning with a letter or a digit.", key)
		}
		if problem := absolute(source.Path); problem != "" {
			report(at+".path", "Invalid path", "%s", problem)
		} else if err := s.allowedRead(spec.Worker, source.Path); err != nil {
			findings = append(findings, notAllowed(at+".path", "Path is not allowed", err))
		}
		for i, pattern := range source.Exclude {
			if err := exclude.Validate(pattern); err != nil {
				report(fmt.Sprintf("%s.exclude[%d]", at, i), "Invalid exclude pattern", "%s.", err)
			}
		}
	}
	return findings
}

// absolute returns what is wrong with a path on a worker, or "".
func absolute(p string) string {
	switch {
	case p == "":
		return "The path is empty. Write an absolute one, such as /srv/app."
	case !path.IsAbs(p):
		return fmt.Sprintf("%q is not absolute: it would depend on where the daemon was started. Begin it with a slash.", p)
	case path.Clean(p) != p:
		return fmt.Sprintf("%q is not in its shortest form. Write it as %q.", p, path.Clean(p))
	default:
		return ""
	}
}

// allowedRead asks the allow-list about a source. What another worker may read
// is in that one's own list, and it has the last word when it reads.
func (s *server) allowedRead(worker, path string) error {
	if worker != "" && worker != s.Worker {
		return nil
	}
	return allowed(s.AllowRead, path)
}

// allowed asks an allow-list; a daemon without one refuses nothing here, and
// its runner has the last word.
func allowed(list func(string) error, p string) error {
	if list == nil {
		return nil
	}
	return list(p)
}

func notAllowed(at, summary string, err error) envbackup.Finding {
	detail := err.Error()
	f := envbackup.Finding{Severity: envbackup.SeverityError, Path: at, Summary: summary, Detail: strings.ToUpper(detail[:1]) + detail[1:] + "."}
	var e *envbackup.Error
	if errors.As(err, &e) && e.Hint != "" {
		f.Detail += " " + e.Hint
	}
	return f
}
