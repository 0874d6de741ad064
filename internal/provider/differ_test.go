package provider_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// differ holds the quick answers for schedules against those of the framework,
// over configurations, states and daemons that it makes up.
type differ struct {
	*rand.Rand
	wired
	quick     provider.Quick
	framework tfprotov6.ProviderServer
	daemon    *fakeDaemon
	object    tftypes.Object
	answered  map[string]int // quick answers, by request
}

func newDiffer(t *testing.T, seed uint64) *differ {
	t.Helper()
	d := &differ{Rand: rand.New(rand.NewPCG(seed, 8)), wired: wire6(t), daemon: newFakeDaemon(t), answered: map[string]int{}}
	var ok bool
	if d.quick, d.framework, ok = provider.SplitQuick(d.ProviderServer); !ok {
		t.Fatal("no schedule is answered quickly: prepareQuick does not know everything that the schema has")
	}
	d.object, _ = d.typeOf("envbackup_schedule").(tftypes.Object)
	return d
}

func differRounds() int {
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		return 20_000
	}
	return 80
}

// one returns a random one of the values.
func one[T any](d *differ, values ...T) T { return values[d.IntN(len(values))] }

// few returns a random one of the unusual values now and then, otherwise usual.
func few[T any](d *differ, usual T, unusual ...T) T {
	if d.IntN(10) > 0 {
		return usual
	}
	return one(d, unusual...)
}

func unknown(t tftypes.Type) tftypes.Value { return tftypes.NewValue(t, tftypes.UnknownValue) }
func null(t tftypes.Type) tftypes.Value    { return tftypes.NewValue(t, nil) }
func flag(b bool) tftypes.Value            { return tftypes.NewValue(tftypes.Bool, b) }

// maybe is the value, or more often none.
func (d *differ) maybe(v tftypes.Value) tftypes.Value {
	if d.IntN(4) > 0 {
		return null(v.Type())
	}
	return v
}

func (d *differ) duration(usual ...string) tftypes.Value {
	return d.maybe(few(d, text(one(d, usual...)), text(""), text("90"), unknown(tftypes.String), text("1d"), text("24h")))
}

// config makes a configuration: most of them sound, each attribute now and
// then wrong, odd, unknown or left out.
func (d *differ) config(t *testing.T) map[string]tftypes.Value {
	t.Helper()
	str := tftypes.String
	retained := d.object.AttributeTypes["retention"]
	blackout := d.object.AttributeTypes["blackout"].(tftypes.Map)
	all := map[string]tftypes.Value{
		"name":         few(d, text(one(d, "nightly", "hourly")), text("Nightly"), text(""), unknown(str), null(str)),
		"environment":  few(d, text("shop"), text("ci"), unknown(str), null(str)),
		"destinations": few(d, list("disk"), list(), list("disk", "nas"), list("disk", "disk"), unknown(tftypes.List{ElementType: str}), tftypes.NewValue(tftypes.List{ElementType: str}, []tftypes.Value{unknown(str)}), tftypes.NewValue(tftypes.List{ElementType: str}, []tftypes.Value{null(str)})),
		"cron":         few(d, text(one(d, "30 2 * * *", "0 0 * * *", "@daily", "0 * * * *")), text("61 * * * *"), text("0 3 13 * 5"), text("0 0 30 2 *"), unknown(str), null(str), text("")),
		"timezone":     few(d, text(one(d, "UTC", "Europe/Berlin")), null(str), null(str), null(str), text("Europe/Berlni"), text(""), unknown(str)),
		"description":  d.maybe(few(d, text("Größe <b> & \"quoted\"\n"), text(""), text(fmt.Sprintf("%01001d", 1)), unknown(str))),
		"jitter":       d.duration("5m", "10m"), "catch_up_within": d.duration("12h"), "start_deadline": d.duration("2h", "1h"),
		"timeout": d.duration("6h", "360m"), "max_rpo": d.duration("26h", "1d"),
		"catch_up": d.maybe(flag(one(d, true, false))), "run_on_create": d.maybe(flag(one(d, true, false))),
		"deletion_protection": d.maybe(flag(one(d, true, false))),
		"paused":              few(d, flag(false), null(tftypes.Bool), null(tftypes.Bool), flag(true), unknown(tftypes.Bool)),
		"overlap":             d.maybe(few(d, text(one(d, "skip", "queue")), text("both"), text(""))),
		"on_destroy":          d.maybe(few(d, text(one(d, "keep", "delete")), text("burn"))),
		"retries":             d.maybe(few(d, number(one[int64](d, 3, 5)), number(-1), unknown(tftypes.Number), tftypes.NewValue(tftypes.Number, big.NewFloat(1.5)))),
		"acknowledge_removal": d.maybe(few(d, number(4), number(-4))),
		"lint_ignore":         d.maybe(few(d, list("recovery-key-missing"), list(), list("no-such-rule"))),
		"id":                  few(d, null(str), null(str), null(str), null(str), text("sch_9")),
	}
	keep := map[string]tftypes.Value{
		"keep_daily": few(d, number(30), null(tftypes.Number), number(-1), number(0), unknown(tftypes.Number)),
		"period":     d.duration("30d", "2w"), "keep_monthly": d.maybe(number(12)), "keep_at_least": d.maybe(number(one[int64](d, 1, 2))),
		"manual_period": d.duration("30d", "720h"), "prune_grace": d.duration("24h", "2d"), "keep_all": d.maybe(flag(false)),
	}
	all["retention"] = few(d, object(t, retained, keep), unknown(retained), null(retained))
	verify := d.object.AttributeTypes["verify"]
	all["verify"] = d.maybe(few(d, object(t, verify, map[string]tftypes.Value{
		"level": d.maybe(few(d, text(one(d, "read", "restore")), text("look"))), "every": d.duration("7d", "1w"), "max_duration": d.duration("6h"),
	}), unknown(verify)))
	if d.IntN(4) == 0 {
		window := object(t, blackout.ElementType, map[string]tftypes.Value{
			"days": d.maybe(text(one(d, "1-5", "mon-fri"))), "from": few(d, text("09:00"), text("9:00"), null(str), unknown(str)), "to": text("17:00"),
			"action": d.maybe(text(one(d, "defer", "skip"))),
		})
		all["blackout"] = few(d, tftypes.NewValue(blackout, map[string]tftypes.Value{"office": window}),
			tftypes.NewValue(blackout, map[string]tftypes.Value{}), unknown(blackout), tftypes.NewValue(blackout, map[string]tftypes.Value{"office": null(blackout.ElementType)}))
	}
	return all
}

// hold compares the answers to one request. It returns whether the quick one
// was given.
func hold[R any](t *testing.T, d *differ, request string, quick *R, framework func() (*R, error)) bool {
	t.Helper()
	if quick == nil {
		return false
	}
	want, err := framework()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, quick); diff != "" {
		t.Fatalf("%s: the framework answers otherwise (-framework +quick):\n%s", request, diff)
	}
	d.answered[request]++
	return true
}

func (d *differ) validateBoth(t *testing.T, config tftypes.Value) bool {
	t.Helper()
	req := &tfprotov6.ValidateResourceConfigRequest{TypeName: "envbackup_schedule", Config: dynamic(t, config)}
	return hold(t, d, "validate", d.quick.Validate(t.Context(), req), func() (*tfprotov6.ValidateResourceConfigResponse, error) {
		return d.framework.ValidateResourceConfig(t.Context(), req)
	})
}

func (d *differ) readBoth(t *testing.T, state *tfprotov6.DynamicValue, private []byte, identity *tfprotov6.ResourceIdentityData) (*tfprotov6.ReadResourceResponse, bool) {
	t.Helper()
	req := &tfprotov6.ReadResourceRequest{TypeName: "envbackup_schedule", CurrentState: state, Private: private, CurrentIdentity: identity}
	quick := d.quick.Read(t.Context(), req)
	framework := func() (*tfprotov6.ReadResourceResponse, error) { return d.framework.ReadResource(t.Context(), req) }
	resp, err := framework()
	if err != nil {
		t.Fatal(err)
	}
	return resp, hold(t, d, "read", quick, framework)
}

func (d *differ) planBoth(t *testing.T, prior *tfprotov6.DynamicValue, private []byte, identity *tfprotov6.ResourceIdentityData, config, proposed tftypes.Value) bool {
	t.Helper()
	req := &tfprotov6.PlanResourceChangeRequest{
		TypeName: "envbackup_schedule", PriorState: prior, PriorPrivate: private, PriorIdentity: identity,
		Config: dynamic(t, config), ProposedNewState: dynamic(t, proposed),
	}
	return hold(t, d, "plan", d.quick.Plan(t.Context(), req), func() (*tfprotov6.PlanResourceChangeResponse, error) {
		return d.framework.PlanResourceChange(t.Context(), req)
	})
}

func (d *differ) upgradeBoth(t *testing.T, text string, version int64) bool {
	t.Helper()
	req := &tfprotov6.UpgradeResourceStateRequest{TypeName: "envbackup_schedule", Version: version, RawState: &tfprotov6.RawState{JSON: []byte(text)}}
	quick := d.quick.Upgrade(req)
	if quick != nil && quick.UpgradedState != nil {
		// The framework writes the keys of maps in random order; values are
		// compared, and their encoding in package tfwire.
		v, err := quick.UpgradedState.Unmarshal(d.object)
		if err != nil {
			t.Fatal(err)
		}
		quick.UpgradedState = dynamic(t, v)
		if d.hasManyKeys(t, v) {
			quick = nil
		}
	}
	return hold(t, d, "upgrade", quick, func() (*tfprotov6.UpgradeResourceStateResponse, error) {
		return d.framework.UpgradeResourceState(t.Context(), req)
	})
}

// hasManyKeys reports whether the state has a map with an order.
func (d *differ) hasManyKeys(t *testing.T, state tftypes.Value) bool {
	t.Helper()
	var values, windows map[string]tftypes.Value
	mustAs(t, state, &values)
	mustAs(t, values["blackout"], &windows)
	return len(windows) > 1
}

// TestQuickValidate: what is answered quickly about a configuration is what
// the framework answers, before and after the provider is configured.
func TestQuickValidate(t *testing.T) {
	t.Parallel()
	d := newDiffer(t, 1)
	said := 0
	for i := range 4 * differRounds() {
		if i == differRounds() {
			wantSaid(t, d.configure(t, d.daemon.URL, fakeToken, nil))
		}
		if config := d.resource(t, "envbackup_schedule", d.config(t)); !d.validateBoth(t, config) {
			said++
		}
	}
	if d.answered["validate"] < differRounds()/4 || said < differRounds()/4 {
		t.Errorf("%d answered quickly, %d left to the framework: one of them was hardly tested", d.answered["validate"], said)
	}
	if !d.validateBoth(t, d.schedule(t, nil)) {
		t.Error("a sound configuration was left to the framework")
	}
}

// stored is a schedule as the daemon has it, from a configuration.
func (d *differ) stored(id string) wire.Schedule {
	daily, three, yes, no := int64(30), int64(3), true, false
	s := wire.Schedule{
		Meta: wire.Meta{ID: id, Version: one[int64](d, 1, 2, 12)},
		ScheduleSpec: envbackup.ScheduleSpec{
			Name: "nightly", Environment: "shop", Destinations: one(d, []string{"disk"}, []string{"disk", "nas"}), Cron: one(d, "30 2 * * *", "0 0 * * *", "@daily"),
			Timezone: one(d, "UTC", "Europe/Berlin", ""), Description: one(d, "", "Größe <b>"), Jitter: one(d, "", "5m"),
			Timeout: one(d, "", "6h", "360m", "2h"), StartDeadline: one(d, "", "2h"), Overlap: one(d, "", "skip", "queue"),
			CatchUp: one(d, nil, &yes, &no), RunOnCreate: one(d, nil, &yes), Retries: one(d, nil, &three), OnDestroy: one(d, "", "keep", "delete"),
			DeletionProtection: one(d, false, true), Paused: one(d, false, true), LintIgnore: one(d, nil, []string{"cron-day-or"}),
			Retention: retention.Spec{KeepDaily: &daily, Period: one(d, "", "30d", "720h"), PruneGrace: one(d, "", "24h", "1d"), KeepAll: one(d, false, false, false, true)},
		},
		Health: few(d, "ok", "late", "new", "failed", "damaged"),
	}
	if d.IntN(3) == 0 {
		s.Verify = &envbackup.VerifySpec{Level: one(d, "", "read", "restore"), Every: one(d, "", "7d", "1w")}
	}
	if d.IntN(3) == 0 {
		s.Blackout = map[string]envbackup.Blackout{"office": {Days: one(d, "", "1-5", "mon-fri"), From: "09:00", To: "17:00", Action: one(d, "", "defer", "skip")}}
	}
	return s
}

// asAny is a value as it stands in a state file.
func asAny(t *testing.T, v tftypes.Value) any {
	t.Helper()
	switch {
	case v.IsNull():
		return nil
	case v.Type().Is(tftypes.String):
		var s string
		mustAs(t, v, &s)
		return s
	case v.Type().Is(tftypes.Bool):
		var b bool
		mustAs(t, v, &b)
		return b
	case v.Type().Is(tftypes.Number):
		var f big.Float
		mustAs(t, v, &f)
		return json.Number(f.Text('f', -1))
	case v.Type().Is(tftypes.List{}):
		var values []tftypes.Value
		mustAs(t, v, &values)
		out := []any{}
		for _, value := range values {
			out = append(out, asAny(t, value))
		}
		return out
	}
	var values map[string]tftypes.Value
	mustAs(t, v, &values)
	out := map[string]any{}
	for name, value := range values {
		out[name] = asAny(t, value)
	}
	return out
}

// TestQuickRefreshAndPlan follows schedules through the requests of a plan:
// states of other releases, edits behind Terraform's back, configurations that
// leave out, respell and change. Each answer that is given quickly is the
// framework's; a schedule of which nothing changed is answered quickly.
func TestQuickRefreshAndPlan(t *testing.T) {
	t.Parallel()
	d := newDiffer(t, 2)
	n := differRounds()
	for i := range n {
		s := d.stored(fmt.Sprintf("sch_%d", i))
		d.daemon.schedules[s.ID] = s
	}
	wantSaid(t, d.configure(t, d.daemon.URL, fakeToken, nil))
	for i := range n {
		id := fmt.Sprintf("sch_%d", i)
		// A state that somebody else wrote: it has little to do with the daemon's.
		before := d.config(t)
		for name, value := range before {
			if !value.IsFullyKnown() {
				before[name] = null(value.Type())
			}
		}
		before["id"] = text(id)
		private := one(d, "", "{}", `{"version":"MQ=="}`, `{"more":"MQ=="}`)
		resp, _ := d.readBoth(t, dynamic(t, d.resource(t, "envbackup_schedule", before)), []byte(private), nil)
		if slices.ContainsFunc(resp.Diagnostics, func(d *tfprotov6.Diagnostic) bool { return d.Severity == tfprotov6.DiagnosticSeverityError }) {
			continue // a fraction where only whole numbers can stand
		}
		identity := resp.NewIdentity
		if d.IntN(2) == 0 {
			identity = nil // Terraform before 1.12
		}
		again, quick := d.readBoth(t, resp.NewState, resp.Private, identity)
		// Private state of which nothing is known stays, and is not answered for.
		health := d.daemon.schedules[id].Health
		if want := (health == "ok" || health == "new") && private != `{"more":"MQ=="}`; quick != want {
			t.Fatalf("a schedule whose state is the daemon's is answered quickly: %t, want %t", quick, want)
		}
		state, err := again.NewState.Unmarshal(d.object)
		if err != nil {
			t.Fatal(err)
		}
		if _, quick := d.readBoth(t, resp.NewState, resp.Private, identityOf(t, "sch_x")); quick {
			t.Fatal("another identity was answered quickly")
		}
		d.upgradeAll(t, state)
		again.Private = resp.Private
		if private == `{"more":"MQ=="}` {
			continue
		}
		d.planAll(t, again, identity, state)
		// An edit behind Terraform's back is seen only by another process; a
		// state that differs from the daemon's is the same thing.
		edited := maps.Clone(attributesOf(t, state))
		config := d.config(t)
		for _, name := range slices.Sorted(maps.Keys(config)) {
			if d.IntN(8) == 0 && config[name].IsFullyKnown() && name != "id" {
				edited[name] = config[name]
			}
		}
		d.readBoth(t, dynamic(t, tftypes.NewValue(d.object, edited)), again.Private, identity)
	}
	for _, request := range []string{"read", "plan", "upgrade", "change", "create"} {
		if d.answered[request] < n/4 {
			t.Errorf("%s was answered quickly %d times of %d", request, d.answered[request], n)
		}
	}
}

func identityOf(t *testing.T, id string) *tfprotov6.ResourceIdentityData {
	t.Helper()
	typ := tftypes.Object{AttributeTypes: map[string]tftypes.Type{"id": tftypes.String}}
	return &tfprotov6.ResourceIdentityData{IdentityData: dynamic(t, tftypes.NewValue(typ, map[string]tftypes.Value{"id": text(id)}))}
}

func attributesOf(t *testing.T, v tftypes.Value) map[string]tftypes.Value {
	t.Helper()
	var values map[string]tftypes.Value
	mustAs(t, v, &values)
	return values
}

func (d *differ) upgradeAll(t *testing.T, state tftypes.Value) {
	t.Helper()
	document, ok := asAny(t, state).(map[string]any)
	if !ok {
		t.Fatal("no state")
	}
	plain, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	indented, err := json.MarshalIndent(document, "          ", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if !d.upgradeBoth(t, string(one(d, plain, indented)), 0) {
		t.Fatalf("a state of this release was left to the framework: %s", plain)
	}
	document["of_a_later_release"] = 7
	later, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	delete(document, "of_a_later_release")
	delete(document, "max_rpo")
	earlier, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(later), string(earlier), "{}", "null", "", string(plain) + "x"} {
		if d.upgradeBoth(t, text, 0) || d.upgradeBoth(t, string(plain), 1) {
			t.Fatalf("a state of another release was answered quickly: %s", text)
		}
	}
}

// finding is what the daemon says beyond the offline findings: mostly nothing.
func (d *differ) finding() []envbackup.Finding {
	return few(d, nil,
		[]envbackup.Finding{{Severity: envbackup.SeverityError, Path: "retention.keep_daily", Summary: "Too many", Detail: "the limit is 3"}},
		[]envbackup.Finding{
			{Severity: envbackup.SeverityWarning, Path: "destinations[0]", Summary: "Destination does not exist"},
			{Severity: envbackup.SeverityWarning, Path: `blackout["office"].from`, Summary: "Odd window", Detail: "it is odd"},
			{Severity: envbackup.SeverityError, Summary: "No line"},
		})
}

// planAll plans from a state to configurations that say the same, and more or
// less the same.
func (d *differ) planAll(t *testing.T, read *tfprotov6.ReadResourceResponse, identity *tfprotov6.ResourceIdentityData, state tftypes.Value) {
	t.Helper()
	prior := attributesOf(t, state)
	config := maps.Clone(prior)
	for _, name := range []string{"id", "summary", "worst_case_gap", "max_backups"} {
		config[name] = null(config[name].Type())
	}
	try := func(config map[string]tftypes.Value) bool {
		proposed := maps.Clone(config)
		for name, value := range config {
			if value.IsNull() && slices.Contains([]string{"id", "summary", "worst_case_gap", "max_backups", "timezone", "paused"}, name) {
				proposed[name] = prior[name] // as Terraform proposes what is computed
			}
		}
		return d.planBoth(t, read.NewState, read.Private, identity, tftypes.NewValue(d.object, config), tftypes.NewValue(d.object, proposed))
	}
	if !try(config) {
		t.Fatalf("a plan without a change was left to the framework: %s", state)
	}
	left := maps.Clone(config)
	left["timezone"], left["paused"] = null(tftypes.String), few(d, left["paused"], null(tftypes.Bool))
	try(left)
	// Another environment makes another schedule, which needs the framework.
	moved := maps.Clone(config)
	moved["environment"] = text("elsewhere")
	if try(moved) {
		t.Fatal("a replacement was answered quickly")
	}
	// The same in other words is no change, of which the daemon is not asked.
	respelled := maps.Clone(config)
	for from, to := range map[string]string{"@daily": "0 0 * * *", "0 0 * * *": "@daily", "30 2 * * *": "30 2 * * 0-7"} {
		if config["cron"].Equal(text(from)) {
			respelled["cron"] = text(to)
		}
	}
	d.daemon.change(func() {
		d.daemon.findings = []envbackup.Finding{{Severity: envbackup.SeverityError, Summary: "Asked in vain"}}
	})
	if !try(respelled) {
		t.Fatalf("another spelling was left to the framework: %v", respelled["cron"])
	}
	for range 3 {
		wild := d.config(t)
		changed := maps.Clone(config)
		for _, name := range slices.Sorted(maps.Keys(wild)) {
			if d.IntN(8) == 0 && name != "id" {
				changed[name] = wild[name]
			}
		}
		d.daemon.change(func() { d.daemon.findings = d.finding() })
		if try(changed) {
			d.answered["change"]++
		}
		nothing := dynamic(t, null(d.object))
		if made := d.resource(t, "envbackup_schedule", wild); d.planBoth(t, nothing, nil, nil, made, made) {
			d.answered["create"]++
		}
	}
	// An identity that is not the state's, private state of another release, and
	// a destroy.
	if d.planBoth(t, read.NewState, read.Private, identityOf(t, "sch_x"), tftypes.NewValue(d.object, config), state) {
		t.Fatal("another identity was answered quickly")
	}
	if d.planBoth(t, read.NewState, []byte(`{"version":"MQ==","more":"MQ=="}`), identity, tftypes.NewValue(d.object, config), state) {
		t.Fatal("unknown private state was answered quickly")
	}
	if d.planBoth(t, read.NewState, read.Private, identity, null(d.object), null(d.object)) {
		t.Fatal("a destroy was answered quickly")
	}
}

// TestQuickNeedsADaemon: without a session, or with a daemon that is away, what
// is read is left to the framework, which says why it cannot.
func TestQuickNeedsADaemon(t *testing.T) {
	t.Parallel()
	d := newDiffer(t, 3)
	req := &tfprotov6.ReadResourceRequest{
		TypeName: "envbackup_schedule", Private: []byte(`{"version":"MQ=="}`),
		CurrentState: dynamic(t, d.schedule(t, map[string]tftypes.Value{"id": text("sch_1")})),
	}
	if d.quick.Read(context.Background(), req) != nil {
		t.Error("a schedule was read before the provider was configured")
	}
	d.configure(t, "http://127.0.0.1:1", fakeToken, nil)
	if d.quick.Read(t.Context(), req) != nil {
		t.Error("a schedule was read without a daemon")
	}
}
