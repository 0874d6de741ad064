package provider

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// session is what the resources of one configured provider share. Terraform
// calls them concurrently; every method may be called so.
//
// Plan and apply are separate processes, and apply reads nothing again, so
// the lists that a session keeps are never older than the plan.
type session struct {
	endpoint string
	// client fails at once when nothing answers; writer waits for a daemon
	// that the same apply may be starting. Both are nil while the endpoint is
	// unknown.
	client, writer *client.Client
	checks, owner  string
	// unknownEndpoint: this is a plan, and only apply will know the daemon.
	unknownEndpoint bool
	// absence is why the daemon did not answer Configure; nil when it did.
	absence error

	environments listing[wire.Environment]
	destinations listing[wire.Destination]
	schedules    listing[wire.Schedule]

	mu           sync.Mutex
	saidError    bool            // the absence was reported as an error
	saidWarning  bool            // ... as a warning
	writeFailed  bool            // writer has waited in vain
	met          map[string]bool // ids that this process has read or deleted
	plannedNames map[string]bool // "environment/NAME" and "destination/NAME" that this plan makes
}

// maxListed is the most things of a kind that are read by listing; beyond it
// each resource reads its own.
const maxListed = 5000

// connect makes the clients.
func (s *session) connect(cfg client.Config, wait time.Duration, diags *diag.Diagnostics) {
	s.endpoint = cfg.Endpoint
	var err error
	if s.client, err = client.New(cfg); err != nil {
		addError(diags, "use the provider's settings", err)
		return
	}
	cfg.Wait = wait
	if s.writer, err = client.New(cfg); err != nil {
		addError(diags, "use the provider's settings", err)
		return
	}
	s.environments.page = func(ctx context.Context, cursor string) ([]wire.Environment, string, error) {
		p, err := s.client.Environments(ctx, wire.Page{Limit: 1000, Cursor: cursor})
		return p.Items, p.Cursor, err
	}
	s.environments.key = func(e wire.Environment) (string, string) { return e.ID, e.Name }
	s.destinations.page = func(ctx context.Context, cursor string) ([]wire.Destination, string, error) {
		p, err := s.client.Destinations(ctx, wire.Page{Limit: 1000, Cursor: cursor})
		return p.Items, p.Cursor, err
	}
	s.destinations.key = func(d wire.Destination) (string, string) { return d.ID, d.Name }
	s.schedules.page = func(ctx context.Context, cursor string) ([]wire.Schedule, string, error) {
		p, err := s.client.Schedules(ctx, wire.SchedulesQuery{Page: wire.Page{Limit: 1000, Cursor: cursor}})
		return p.Items, p.Cursor, err
	}
	s.schedules.key = func(c wire.Schedule) (string, string) { return c.ID, c.Reference() }
}

// online reports whether a plan may ask the daemon for checks. Where it may
// not although it should, that is said once for the whole plan.
func (s *session) online(diags *diag.Diagnostics) bool {
	switch {
	case s == nil, s.unknownEndpoint, s.checks == checksSkip, s.client == nil:
		return false
	case s.absence != nil:
		s.sayAbsence(diags, diag.SeverityWarning)
		return false
	default:
		return true
	}
}

// readable reports whether Read can ask the daemon. If not, the state stays
// as it is, and the first caller's diagnostics carry the one error.
func (s *session) readable(diags *diag.Diagnostics) bool {
	switch {
	case s.unknownEndpoint:
		return false // said as a warning by Configure
	case s.client == nil:
		return false
	case s.absence != nil:
		s.sayAbsence(diags, diag.SeverityError)
		return false
	default:
		return true
	}
}

// sayAbsence reports that the daemon does not answer, at most once as a
// warning and once as an error, and no warning after an error.
func (s *session) sayAbsence(diags *diag.Diagnostics, severity diag.Severity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const summary = "Cannot reach the envbackup daemon"
	reason, start := s.absence.Error(), ""
	var e *envbackup.Error
	if errors.As(s.absence, &e) {
		start = sentence(e.Hint)
	}
	if severity == diag.SeverityWarning {
		if s.saidError || s.saidWarning {
			return
		}
		s.saidWarning = true
		diags.AddWarning(summary, fmt.Sprintf("%s\n\nThis plan was checked without it: cron, time zone and retention are checked; "+
			"free names, limits, destinations and existing backups are not. Whatever is to be made or changed needs the daemon.\n\n%s "+
			"Where there is none to ask, as for forecasts alone, write plan_checks = \"skip\" in the provider block.", sentence(reason), start))
		return
	}
	if s.saidError {
		return
	}
	s.saidError = true
	diags.AddError(summary, fmt.Sprintf("%s\n\nWhat exists already cannot be read without it.\n\n%s", sentence(reason), start))
}

// answers reports whether a data source can be read. Unlike a resource it has
// no earlier state to fall back on, so each reports that it cannot.
func (s *session) answers(diags *diag.Diagnostics, doing string) bool {
	if s.unknownEndpoint || s.client == nil {
		diags.AddError("Cannot "+doing+" during plan", "The provider's endpoint is not known yet. "+
			"Give the data source depends_on = [the resource that starts the daemon], so that it is read after that.")
		return false
	}
	if s.absence == nil {
		return true
	}
	s.sayAbsence(diags, diag.SeverityError)
	if !diags.HasError() {
		diags.AddError("Cannot "+doing, "The daemon does not answer at "+s.endpoint+"; see the first error.")
	}
	return false
}

// readFailed reports err, which a Read met. An absence is remembered and
// reported once; it may begin in the middle of a plan.
func (s *session) readFailed(diags *diag.Diagnostics, doing string, err error) {
	if envbackup.CodeOf(err) == envbackup.CodeUnavailable {
		s.mu.Lock()
		said := s.saidError
		s.saidError = true
		s.mu.Unlock()
		if said {
			return
		}
	}
	addError(diags, doing, err)
}

// lookupFailed is readFailed for a data source, which has no earlier state to
// fall back on: each reports that it could not be read.
func (s *session) lookupFailed(diags *diag.Diagnostics, doing string, err error) {
	if s.readFailed(diags, doing, err); !diags.HasError() {
		diags.AddError("Cannot "+doing, "The daemon does not answer at "+s.endpoint+"; see the first error.")
	}
}

// write returns the client that waits for the daemon. After one caller has
// waited in vain, the others fail at once: an apply of a hundred resources
// does not wait a hundred times.
func (s *session) write(diags *diag.Diagnostics, doing string) (*client.Client, bool) {
	if s == nil || s.writer == nil {
		diags.AddAttributeError(path.Root("id"), "Provider is not configured",
			"The provider's endpoint is still unknown, so nothing can be changed. This is a defect of the configuration: give endpoint a value that apply knows.")
		return nil, false
	}
	s.mu.Lock()
	failed := s.writeFailed
	s.mu.Unlock()
	if failed {
		diags.AddError("Cannot "+doing, "The daemon does not answer at "+s.endpoint+"; see the first error.")
		return nil, false
	}
	return s.writer, true
}

// writeFailure reports err of a change. Nothing was written when the daemon
// refused because somebody else changed the thing in between.
func (s *session) writeFailure(diags *diag.Diagnostics, doing, kind, name string, err error) {
	switch envbackup.CodeOf(err) {
	case envbackup.CodeUnavailable:
		s.mu.Lock()
		s.writeFailed = true
		s.mu.Unlock()
	case envbackup.CodeStale:
		diags.AddError(sentenceCase(kind)+" changed since it was read",
			fmt.Sprintf("Somebody changed %s %q after this plan read it. Nothing was written. Run terraform plan again.", kind, name))
		return
	}
	addError(diags, doing, err)
}

// meet remembers that this process has read or deleted id: a new thing of the
// same name replaces it and is no clash.
func (s *session) meet(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.met == nil {
		s.met = map[string]bool{}
	}
	s.met[id] = true
}

func (s *session) hasMet(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.met[id]
}

// withoutRecovery is the kind of those destinations in a plan that have no
// recovery password.
const withoutRecovery = "destination without recovery"

// plan remembers that the environment or destination name is in this plan.
func (s *session) plan(kind, name string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plannedNames == nil {
		s.plannedNames = map[string]bool{}
	}
	s.plannedNames[kind+"/"+name] = true
}

// plans reports whether the environment or destination name is in this plan.
func (s *session) plans(kind, name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plannedNames[kind+"/"+name]
}

// listing reads all things of one kind at the first question and answers the
// others from memory: a plan with a thousand schedules makes one request, not
// a thousand.
type listing[T any] struct {
	page func(ctx context.Context, cursor string) (items []T, next string, err error)
	key  func(T) (id, name string)

	once   sync.Once
	byID   map[string]T
	byName map[string]T
	whole  bool // everything was listed, so what is missing does not exist
	err    error
}

// get returns the thing with this id. known is false when the list cannot say
// and the caller must ask for the one thing.
func (l *listing[T]) get(ctx context.Context, id string) (thing T, found, known bool, err error) {
	l.once.Do(func() { l.load(ctx) })
	if l.err != nil {
		return thing, false, false, l.err
	}
	thing, found = l.byID[id]
	return thing, found, found, nil
}

// named returns the thing with this name, when the list has it.
func (l *listing[T]) named(ctx context.Context, name string) (T, bool) {
	l.once.Do(func() { l.load(ctx) })
	thing, found := l.byName[name]
	return thing, found
}

func (l *listing[T]) load(ctx context.Context) {
	l.byID, l.byName = map[string]T{}, map[string]T{}
	for cursor := ""; ; {
		items, next, err := l.page(ctx, cursor)
		if err != nil {
			l.err = err
			return
		}
		for _, item := range items {
			id, name := l.key(item)
			l.byID[id], l.byName[name] = item, item
		}
		if next == "" {
			l.whole = true
			return
		}
		if len(l.byID) >= maxListed {
			return
		}
		cursor = next
	}
}

// find looks a thing up for Read: in the list, or by itself where the list
// does not have it. found is false when it does not exist.
func find[T any](ctx context.Context, l *listing[T], id string, one func(context.Context, string) (T, error)) (thing T, found bool, err error) {
	thing, found, known, err := l.get(ctx, id)
	if err != nil || known {
		return thing, found, err
	}
	// Not in the list: made since, or deleted behind Terraform's back. The
	// daemon has the last word before a resource leaves the state.
	thing, err = one(ctx, id)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		return thing, false, nil
	}
	return thing, err == nil, err
}

// sessionOf unpacks the provider's data in a resource's or data source's
// Configure; it is nil before the provider is configured (terraform validate).
func sessionOf(data any, diags *diag.Diagnostics) *session {
	if data == nil {
		return nil
	}
	s, ok := data.(*session)
	if !ok {
		diags.AddError("Provider data of another type", fmt.Sprintf("Expected *session, got %T. Please report this.", data))
		return nil
	}
	return s
}
