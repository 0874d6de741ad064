package provider_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
)

// wired is a provider that is spoken to as Terraform does, without Terraform:
// for warnings, which Terraform's test library cannot see, and for cases in
// which only one request matters.
type wired struct {
	tfprotov6.ProviderServer
	schemas *tfprotov6.GetProviderSchemaResponse
}

func wire6(t *testing.T) wired {
	t.Helper()
	s := provider.NewServer("test")
	schemas, err := s.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return wired{s, schemas}
}

// object builds a value of an object type from the attributes given; the
// others are null.
func object(t testing.TB, typ tftypes.Type, given map[string]tftypes.Value) tftypes.Value {
	t.Helper()
	o, ok := typ.(tftypes.Object)
	if !ok {
		t.Fatalf("%s is no object", typ)
	}
	values := map[string]tftypes.Value{}
	for name, attribute := range o.AttributeTypes {
		values[name] = tftypes.NewValue(attribute, nil)
	}
	for name, value := range given {
		if _, ok := values[name]; !ok {
			t.Fatalf("there is no attribute %q", name)
		}
		values[name] = value
	}
	return tftypes.NewValue(o, values)
}

func dynamic(t testing.TB, v tftypes.Value) *tfprotov6.DynamicValue {
	t.Helper()
	d, err := tfprotov6.NewDynamicValue(v.Type(), v)
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

func text(s string) tftypes.Value  { return tftypes.NewValue(tftypes.String, s) }
func number(n int64) tftypes.Value { return tftypes.NewValue(tftypes.Number, n) }
func list(s ...string) tftypes.Value {
	values := make([]tftypes.Value, len(s))
	for i := range s {
		values[i] = text(s[i])
	}
	return tftypes.NewValue(tftypes.List{ElementType: tftypes.String}, values)
}

func (w wired) typeOf(resource string) tftypes.Type {
	return w.schemas.ResourceSchemas[resource].ValueType()
}

// resource builds a configuration or state of a resource.
func (w wired) resource(t testing.TB, name string, given map[string]tftypes.Value) tftypes.Value {
	t.Helper()
	return object(t, w.typeOf(name), given)
}

// retention builds a schedule's retention.
func (w wired) retention(t testing.TB, given map[string]tftypes.Value) tftypes.Value {
	t.Helper()
	return object(t, w.typeOf("envbackup_schedule").(tftypes.Object).AttributeTypes["retention"], given)
}

// schedule is a valid schedule, changed by what is given.
func (w wired) schedule(t testing.TB, given map[string]tftypes.Value) tftypes.Value {
	t.Helper()
	all := map[string]tftypes.Value{
		"name": text("nightly"), "environment": text("shop"), "destinations": list("disk"), "cron": text("30 2 * * *"),
		"timezone": text("UTC"), "paused": tftypes.NewValue(tftypes.Bool, false),
		"retention": w.retention(t, map[string]tftypes.Value{"keep_daily": number(30)}),
	}
	for name, value := range given {
		all[name] = value
	}
	return w.resource(t, "envbackup_schedule", all)
}

func (w wired) configure(t testing.TB, endpoint, token string, more map[string]tftypes.Value) []*tfprotov6.Diagnostic {
	t.Helper()
	given := map[string]tftypes.Value{"endpoint": text(endpoint), "token": text(token)}
	for name, value := range more {
		given[name] = value
	}
	resp, err := w.ConfigureProvider(t.Context(), &tfprotov6.ConfigureProviderRequest{
		TerraformVersion: "1.11.4", Config: dynamic(t, object(t, w.schemas.Provider.ValueType(), given)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Diagnostics
}

func (w wired) validate(t *testing.T, resource string, config tftypes.Value) []*tfprotov6.Diagnostic {
	t.Helper()
	resp, err := w.ValidateResourceConfig(t.Context(), &tfprotov6.ValidateResourceConfigRequest{
		TypeName: resource, Config: dynamic(t, config), ClientCapabilities: &tfprotov6.ValidateResourceConfigClientCapabilities{WriteOnlyAttributesAllowed: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Diagnostics
}

// plan plans from prior (nil: a creation) to config. Computed attributes are
// proposed as Terraform does: the prior's, or null.
func (w wired) plan(t *testing.T, resource string, prior *tftypes.Value, config tftypes.Value) (map[string]tftypes.Value, []*tfprotov6.Diagnostic) {
	t.Helper()
	before := tftypes.NewValue(w.typeOf(resource), nil)
	if prior != nil {
		before = *prior
	}
	proposed := config
	if prior != nil {
		var old, wanted map[string]tftypes.Value
		mustAs(t, *prior, &old)
		mustAs(t, config, &wanted)
		for _, name := range []string{"id", "summary", "worst_case_gap", "max_backups"} {
			if _, ok := wanted[name]; ok {
				wanted[name] = old[name]
			}
		}
		proposed = tftypes.NewValue(w.typeOf(resource), wanted)
	}
	resp, err := w.PlanResourceChange(t.Context(), &tfprotov6.PlanResourceChangeRequest{
		TypeName: resource, PriorState: dynamic(t, before), ProposedNewState: dynamic(t, proposed), Config: dynamic(t, config),
	})
	if err != nil {
		t.Fatal(err)
	}
	planned, err := resp.PlannedState.Unmarshal(w.typeOf(resource))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]tftypes.Value
	mustAs(t, planned, &values)
	return values, resp.Diagnostics
}

func mustAs(t testing.TB, v tftypes.Value, into any) {
	t.Helper()
	if err := v.As(into); err != nil {
		t.Fatal(err)
	}
}

// said returns "severity path summary" of each diagnostic.
func said(diags []*tfprotov6.Diagnostic) []string {
	out := []string{}
	for _, d := range diags {
		severity := "error"
		if d.Severity == tfprotov6.DiagnosticSeverityWarning {
			severity = "warning"
		}
		out = append(out, strings.TrimSpace(severity+" "+d.Attribute.String())+": "+d.Summary)
	}
	return out
}

func wantSaid(t *testing.T, diags []*tfprotov6.Diagnostic, want ...string) {
	t.Helper()
	if want == nil {
		want = []string{}
	}
	if got := said(diags); !slices.Equal(got, want) {
		t.Errorf("diagnostics\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		for _, d := range diags {
			t.Logf("%s: %s", d.Summary, d.Detail)
		}
	}
}

// TestUnknownValuesAreSkipped: what only apply will know is no error at plan,
// and the computed attributes wait for it.
func TestUnknownValuesAreSkipped(t *testing.T) {
	t.Parallel()
	w := wire6(t)
	unknown := tftypes.NewValue(tftypes.String, tftypes.UnknownValue)
	retention := w.typeOf("envbackup_schedule").(tftypes.Object).AttributeTypes["retention"]
	configs := map[string]tftypes.Value{
		"cron":      w.schedule(t, map[string]tftypes.Value{"cron": unknown}),
		"timezone":  w.schedule(t, map[string]tftypes.Value{"timezone": unknown}),
		"retention": w.schedule(t, map[string]tftypes.Value{"retention": tftypes.NewValue(retention, tftypes.UnknownValue)}),
		"a tier":    w.schedule(t, map[string]tftypes.Value{"retention": w.retention(t, map[string]tftypes.Value{"period": unknown})}),
	}
	for name, config := range configs {
		wantSaid(t, w.validate(t, "envbackup_schedule", config))
		planned, diags := w.plan(t, "envbackup_schedule", nil, config)
		wantSaid(t, diags)
		for _, computed := range []string{"summary", "worst_case_gap", "max_backups"} {
			if planned[computed].IsKnown() {
				t.Errorf("%s unknown: %s is planned as %s", name, computed, planned[computed])
			}
		}
	}
	everything := tftypes.NewValue(tftypes.List{ElementType: tftypes.String}, tftypes.UnknownValue)
	wantSaid(t, w.validate(t, "envbackup_schedule", w.schedule(t, map[string]tftypes.Value{
		"name": unknown, "environment": unknown, "destinations": everything, "jitter": unknown, "max_rpo": unknown,
	})))
	wantSaid(t, w.validate(t, "envbackup_schedule", w.schedule(t, map[string]tftypes.Value{
		"destinations": tftypes.NewValue(tftypes.List{ElementType: tftypes.String}, []tftypes.Value{unknown, text("disk")}),
	})))
}

// TestPlansAreEqual (SEMANTICS section 4): Terraform plans again during apply
// and refuses another answer, so a plan depends on nothing but its input.
func TestPlansAreEqual(t *testing.T) {
	t.Parallel()
	w := wire6(t)
	config := w.schedule(t, map[string]tftypes.Value{"timezone": text("Europe/Berlin")})
	first, diags := w.plan(t, "envbackup_schedule", nil, config)
	wantSaid(t, diags)
	for name, value := range first {
		if name != "id" && !value.IsFullyKnown() {
			t.Errorf("%s is not known at plan", name)
		}
	}
	second, _ := w.plan(t, "envbackup_schedule", nil, config)
	for name := range first {
		if !first[name].Equal(second[name]) {
			t.Errorf("%s: %s, then %s", name, first[name], second[name])
		}
	}
}

// TestWarningsAreSaidOnce: a lint is said by the validation and not again by
// the plan, although the daemon finds it too; lint_ignore silences it.
func TestWarningsAreSaidOnce(t *testing.T) {
	t.Parallel()
	d, w := newFakeDaemon(t), wire6(t)
	config := w.schedule(t, map[string]tftypes.Value{"cron": text("0 3 13 * 5")})
	wantSaid(t, w.validate(t, "envbackup_schedule", config)) // the first of the two runs in a plan
	wantSaid(t, w.configure(t, d.URL, fakeToken, nil))
	wantSaid(t, w.validate(t, "envbackup_schedule", config), `warning AttributeName("cron"): Both day fields are set`)
	_, diags := w.plan(t, "envbackup_schedule", nil, config)
	wantSaid(t, diags)
	if len(d.preflights) != 1 {
		t.Errorf("the daemon was asked %d times, want 1", len(d.preflights))
	}
	quiet := w.schedule(t, map[string]tftypes.Value{"cron": text("0 3 13 * 5"), "lint_ignore": list("cron-day-or")})
	wantSaid(t, w.validate(t, "envbackup_schedule", quiet))
}

// TestAbsenceIsSaidOnce: without a daemon a plan of creations goes on with one
// warning however many there are, and Reads are one error.
func TestAbsenceIsSaidOnce(t *testing.T) {
	t.Parallel()
	const nobody = "http://127.0.0.1:1"
	for _, test := range []struct {
		checks                   string
		configured, made, loaded []string
	}{
		{"auto", nil, []string{"warning: Cannot reach the envbackup daemon"}, []string{"error: Cannot reach the envbackup daemon"}},
		{"skip", nil, nil, []string{"error: Cannot read the schedules"}},
		{"require", []string{"error: Cannot reach the envbackup daemon"}, nil, nil},
	} {
		t.Run(test.checks, func(t *testing.T) {
			t.Parallel()
			w := wire6(t)
			wantSaid(t, w.configure(t, nobody, fakeToken, map[string]tftypes.Value{"plan_checks": text(test.checks)}), test.configured...)
			if test.checks == "require" {
				return
			}
			var made, loaded []*tfprotov6.Diagnostic
			for _, name := range []string{"a", "b", "c"} {
				_, diags := w.plan(t, "envbackup_schedule", nil, w.schedule(t, map[string]tftypes.Value{"name": text(name)}))
				made = append(made, diags...)
				state := w.schedule(t, map[string]tftypes.Value{"id": text("sch_" + name)})
				resp := w.read(t, "envbackup_schedule", state)
				loaded = append(loaded, resp.Diagnostics...)
			}
			wantSaid(t, made, test.made...)
			wantSaid(t, loaded, test.loaded...)
		})
	}
}

func (w wired) read(t *testing.T, resource string, state tftypes.Value) *tfprotov6.ReadResourceResponse {
	t.Helper()
	resp, err := w.ReadResource(t.Context(), &tfprotov6.ReadResourceRequest{TypeName: resource, CurrentState: dynamic(t, state)})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// TestRefusedTokenIsOneError: the daemon answers, so the token is at fault,
// and that is said once, at the provider, with where to get one.
func TestRefusedTokenIsOneError(t *testing.T) {
	t.Parallel()
	d, w := newFakeDaemon(t), wire6(t)
	diags := w.configure(t, d.URL, "a-wrong-token", nil)
	wantSaid(t, diags, `error AttributeName("token"): The daemon refused the token`)
	if len(diags) == 1 && (!strings.Contains(diags[0].Detail, "envbackup token create") || strings.Contains(diags[0].Detail, "a-wrong-token")) {
		t.Errorf("detail %q: want the command that makes a token, and not the token", diags[0].Detail)
	}
}

// TestFact6LostResourceKeepsItsIdentity: a resource that was deleted behind
// Terraform's back leaves the state, and its identity is set nevertheless: a
// missing one is an error in every Terraform.
func TestFact6LostResourceKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	d, w := newFakeDaemon(t), wire6(t)
	wantSaid(t, w.configure(t, d.URL, fakeToken, nil))
	for _, name := range []string{"envbackup_schedule", "envbackup_environment", "envbackup_destination"} {
		state := w.resource(t, name, map[string]tftypes.Value{"id": text("id_999")})
		resp := w.read(t, name, state)
		wantSaid(t, resp.Diagnostics)
		left, err := resp.NewState.Unmarshal(w.typeOf(name))
		if err != nil || !left.IsNull() {
			t.Errorf("%s: state %s (%v), want none", name, left, err)
		}
		if resp.NewIdentity == nil || resp.NewIdentity.IdentityData == nil {
			t.Errorf("%s: no identity", name)
			continue
		}
		identity, err := resp.NewIdentity.IdentityData.Unmarshal(tftypes.Object{AttributeTypes: map[string]tftypes.Type{"id": tftypes.String}})
		if want := tftypes.NewValue(identity.Type(), map[string]tftypes.Value{"id": text("id_999")}); err != nil || !identity.Equal(want) {
			t.Errorf("%s: identity %s (%v), want %s", name, identity, err, want)
		}
	}
}

// TestLateScheduleWarns: each plan says that the last good backup is too old,
// at the schedule's cron, or that something is in the way of removals, and
// changes nothing.
func TestLateScheduleWarns(t *testing.T) {
	t.Parallel()
	d, w := newFakeDaemon(t), wire6(t)
	wantSaid(t, w.configure(t, d.URL, fakeToken, nil))
	var s = fakeSchedule("sch_1", "shop", "nightly")
	s.Health, s.HealthDetail = "late", "the last good backup is 3 days old"
	d.change(func() { d.schedules[s.ID] = s })
	resp := w.read(t, "envbackup_schedule", w.schedule(t, map[string]tftypes.Value{"id": text("sch_1")}))
	wantSaid(t, resp.Diagnostics, `warning AttributeName("cron"): No good backup within the expected time`)
	s.Health, s.HealthDetail = "attention", "space at disk could not be reclaimed since 2026-11-01"
	d.change(func() { d.schedules[s.ID] = s })
	w = wire6(t) // one process reads once
	wantSaid(t, w.configure(t, d.URL, fakeToken, nil))
	resp = w.read(t, "envbackup_schedule", w.schedule(t, map[string]tftypes.Value{"id": text("sch_1")}))
	wantSaid(t, resp.Diagnostics, `warning AttributeName("retention"): Old backups are not removed as planned`)
	if want := `Backups of "shop/nightly" are taken, but space at disk could not be reclaimed since 2026-11-01.`; resp.Diagnostics[0].Detail != want {
		t.Errorf("the detail is %q, want %q", resp.Diagnostics[0].Detail, want)
	}
}

// TestUnknownEndpoint: a daemon that only apply will know is one warning, and
// the plan goes on with what needs none; a data source says what to write.
func TestUnknownEndpoint(t *testing.T) {
	t.Parallel()
	w := wire6(t)
	diags := w.configure(t, "", fakeToken, map[string]tftypes.Value{"endpoint": tftypes.NewValue(tftypes.String, tftypes.UnknownValue)})
	wantSaid(t, diags, `warning AttributeName("endpoint"): Daemon endpoint is not known during plan`)
	_, diags = w.plan(t, "envbackup_schedule", nil, w.schedule(t, nil))
	wantSaid(t, diags)
	config := object(t, w.schemas.DataSourceSchemas["envbackup_backups"].ValueType(), nil)
	resp, err := w.ReadDataSource(t.Context(), &tfprotov6.ReadDataSourceRequest{TypeName: "envbackup_backups", Config: dynamic(t, config)})
	if err != nil {
		t.Fatal(err)
	}
	wantSaid(t, resp.Diagnostics, "error: Cannot list the backups during plan")
}
