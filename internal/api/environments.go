package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/exclude"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) environmentRoutes() {
	const tag = "environments"
	handle(s, route{http.MethodGet, "/environments", "list-environments", "List environments", tag, envbackup.RoleViewer, 0}, s.listEnvironments)
	handle(s, route{http.MethodPost, "/environments", "create-environment", "Create an environment", tag, envbackup.RoleOperator, http.StatusCreated}, s.createEnvironment)
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
	findings := s.checkEnvironment(e.EnvironmentSpec)
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
	findings := s.checkEnvironment(in.Body.EnvironmentSpec)
	if in.Body.Name != e.Name {
		findings = append(findings, fixedName("environment", e.Name, in.Body.Name))
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
		} else if err := allowed(s.AllowRead, source.Path); err != nil {
			findings = append(findings, notAllowed(at+".path", err))
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

// allowed asks an allow-list; a daemon without one refuses nothing here, and
// its runner has the last word.
func allowed(list func(string) error, p string) error {
	if list == nil {
		return nil
	}
	return list(p)
}

func notAllowed(at string, err error) envbackup.Finding {
	f := envbackup.Finding{Severity: envbackup.SeverityError, Path: at, Summary: "Path is not allowed", Detail: err.Error() + "."}
	var e *envbackup.Error
	if errors.As(err, &e) && e.Hint != "" {
		f.Detail += " " + e.Hint
	}
	return f
}
