package provider_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

const fakeToken = "the-right-token"

// fakeDaemon speaks the part of the API that the provider uses, from memory.
// It exists for what a real daemon does not do on demand: counting requests,
// answers that a test makes up, changes behind Terraform's back. What a real
// daemon answers is tested against one, in acceptance_test.go.
type fakeDaemon struct {
	*httptest.Server

	mu           sync.Mutex
	made         int
	environments map[string]wire.Environment
	destinations map[string]wire.Destination
	schedules    map[string]wire.Schedule
	inputs       []wire.DestinationInput
	preflights   []wire.Preflight
	requests     map[string]int // by "METHOD /path"
	// findings are what preflight answers beyond the offline ones.
	findings []envbackup.Finding
	// thingFindings are what it answers about "environments" and
	// "destinations".
	thingFindings map[string][]envbackup.Finding
	backups       int64
	// spell rewrites what schedules are stored with.
	spell func(*envbackup.ScheduleSpec)
}

func newFakeDaemon(t testing.TB) *fakeDaemon {
	t.Helper()
	d := &fakeDaemon{
		environments: map[string]wire.Environment{}, destinations: map[string]wire.Destination{},
		schedules: map[string]wire.Schedule{}, requests: map[string]int{},
	}
	mux := http.NewServeMux()
	route := func(pattern string, h func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { d.answer(w, r, h) })
	}
	const root = "/api/v1"
	route("GET "+root+"/limits", func(*http.Request) (any, error) { return envbackup.Limits{MaxRetention: "10y", MinInterval: "1m"}, nil })
	route("GET "+root+"/backups", func(*http.Request) (any, error) {
		return wire.BackupPage{Items: []wire.Backup{}, Total: d.backups}, nil
	})
	fakeThings(d, route, root+"/environments", d.environments,
		func(in wire.EnvironmentInput, m wire.Meta) wire.Environment {
			m.Owner = in.Owner
			return wire.Environment{Meta: m, EnvironmentSpec: in.EnvironmentSpec}
		},
		func(e wire.Environment) (wire.Meta, string) { return e.Meta, e.Name },
		func(items []wire.Environment) any { return wire.EnvironmentPage{Items: items} })
	fakeThings(d, route, root+"/destinations", d.destinations,
		func(in wire.DestinationInput, m wire.Meta) wire.Destination {
			d.inputs = append(d.inputs, in)
			m.Owner = in.Owner
			return wire.Destination{
				Meta: m, DestinationSpec: in.DestinationSpec,
				SecretAccessKeyVersion: in.SecretAccessKeyVersion, RecoveryPasswordVer: in.RecoveryPasswordVer,
			}
		},
		func(e wire.Destination) (wire.Meta, string) { return e.Meta, e.Name },
		func(items []wire.Destination) any { return wire.DestinationPage{Items: items} })
	fakeThings(d, route, root+"/schedules", d.schedules,
		func(in wire.ScheduleInput, m wire.Meta) wire.Schedule {
			m.Owner = in.Owner
			if d.spell != nil {
				d.spell(&in.ScheduleSpec)
			}
			return wire.Schedule{Meta: m, ScheduleSpec: in.ScheduleSpec, Health: "new"}
		},
		func(e wire.Schedule) (wire.Meta, string) { return e.Meta, e.Reference() },
		func(items []wire.Schedule) any { return wire.SchedulePage{Items: items} })
	for _, kind := range []string{"environments", "destinations"} {
		route("POST "+root+"/"+kind+"/preflight", func(*http.Request) (any, error) {
			return wire.Findings{Findings: append([]envbackup.Finding{}, d.thingFindings[kind]...)}, nil
		})
	}
	route("POST "+root+"/schedules/preflight", func(r *http.Request) (any, error) {
		var in wire.Preflight
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		d.preflights = append(d.preflights, in)
		offline := preflight.Check(preflight.Of(in.Schedule), nil, nil)
		return wire.PreflightResult{Findings: append(offline, d.findings...)}, nil
	})
	d.Server = httptest.NewServer(mux)
	t.Cleanup(d.Close)
	return d
}

// answer is the one place that counts, checks the token and writes.
func (d *fakeDaemon) answer(w http.ResponseWriter, r *http.Request, h func(*http.Request) (any, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.requests[r.Method+" "+r.URL.Path]++
	var out any
	var err error
	if r.Header.Get("Authorization") != "Bearer "+fakeToken {
		err = &envbackup.Error{Code: envbackup.CodeUnauthenticated, Message: "the token is unknown", Hint: "create one with: envbackup token create"}
	} else {
		out, err = h(r)
	}
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := map[envbackup.Code]int{
			envbackup.CodeNotFound: 404, envbackup.CodeConflict: 409, envbackup.CodeStale: 412, envbackup.CodeUnauthenticated: 401,
		}[envbackup.CodeOf(err)]
		p := wire.Problem{Title: err.Error(), Status: max(status, 400), Code: envbackup.CodeOf(err)}
		if e, ok := err.(*envbackup.Error); ok { //nolint:errorlint // made above or by a handler, never wrapped
			p.Hint = e.Hint
		}
		w.WriteHeader(p.Status)
		out = p
	}
	_ = json.NewEncoder(w).Encode(out) // the client is gone; nothing is left to tell it
}

// fakeThings serves list, get, create, update and delete of one kind.
func fakeThings[In, T any](d *fakeDaemon, route func(string, func(*http.Request) (any, error)), root string, things map[string]T,
	build func(In, wire.Meta) T, identify func(T) (wire.Meta, string), page func([]T) any,
) {
	find := func(r *http.Request) (T, error) {
		key := r.PathValue("key")
		for id, thing := range things {
			if _, name := identify(thing); id == key || name == key {
				return thing, nil
			}
		}
		var none T
		return none, envbackup.NotFound("thing", key)
	}
	matches := func(r *http.Request, m wire.Meta) error {
		if want := strings.Trim(r.Header.Get("If-Match"), `"`); want != "" && want != strconv.FormatInt(m.Version, 10) {
			return &envbackup.Error{Code: envbackup.CodeStale, Message: "changed since it was read"}
		}
		return nil
	}
	route("GET "+root, func(*http.Request) (any, error) {
		items := []T{}
		for _, thing := range things {
			items = append(items, thing)
		}
		slices.SortFunc(items, func(a, b T) int {
			_, x := identify(a)
			_, y := identify(b)
			return strings.Compare(x, y)
		})
		return page(items), nil
	})
	route("GET "+root+"/{key}", func(r *http.Request) (any, error) { return find(r) })
	route("POST "+root, func(r *http.Request) (any, error) {
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		d.made++
		m := wire.Meta{ID: fmt.Sprintf("id_%03d", d.made), Version: 1, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		thing := build(in, m)
		_, name := identify(thing)
		for _, other := range things {
			if _, taken := identify(other); taken == name {
				return nil, &envbackup.Error{Code: envbackup.CodeConflict, Message: fmt.Sprintf("the name %q is taken", name)}
			}
		}
		things[m.ID] = thing
		return thing, nil
	})
	route("PUT "+root+"/{key}", func(r *http.Request) (any, error) {
		old, err := find(r)
		if err != nil {
			return nil, err
		}
		m, _ := identify(old)
		if err := matches(r, m); err != nil {
			return nil, err
		}
		var in In
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			return nil, err
		}
		m.Version++
		things[m.ID] = build(in, m)
		return things[m.ID], nil
	})
	route("DELETE "+root+"/{key}", func(r *http.Request) (any, error) {
		old, err := find(r)
		if err != nil {
			return nil, err
		}
		m, _ := identify(old)
		if err := matches(r, m); err != nil {
			return nil, err
		}
		delete(things, m.ID)
		return struct{}{}, nil
	})
}

// change runs f while no request is answered.
func (d *fakeDaemon) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// count returns how often "METHOD /path" was asked for.
func (d *fakeDaemon) count(request string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests[request]
}

// fakeSchedule is a schedule as somebody else made it.
func fakeSchedule(id, environment, name string) wire.Schedule {
	daily := int64(30)
	return wire.Schedule{
		Meta: wire.Meta{ID: id, Version: 1},
		ScheduleSpec: envbackup.ScheduleSpec{
			Name: name, Environment: environment, Destinations: []string{"disk"}, Cron: "30 2 * * *", Timezone: "UTC",
			Retention: retention.Spec{KeepDaily: &daily},
		},
		Health: "ok",
	}
}
