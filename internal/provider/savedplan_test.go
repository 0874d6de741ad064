package provider_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
)

// TestFact1PlansDoNotAge (facts of Terraform, finding 1): Terraform plans once
// for plan and again within apply, and calls it an "inconsistent final plan"
// when the answers differ. So the same request gets the same bytes a minute, a
// day, a change of the clock, a leap day and a year later.
func TestFact1PlansDoNotAge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := wire6(t)
		// Configured, as in a plan, and with nobody to ask.
		wantSaid(t, w.configure(t, "http://127.0.0.1:1", fakeToken, map[string]tftypes.Value{"plan_checks": text("skip")}))
		requests := map[string]*tfprotov6.PlanResourceChangeRequest{}
		given := map[string]map[string]tftypes.Value{
			"the least":      {},
			"a zone":         {"timezone": text("Europe/Berlin"), "max_rpo": text("26h")},
			"every minute":   {"cron": text("* * * * *"), "retention": w.retention(t, map[string]tftypes.Value{"period": text("1mo"), "keep_yearly": number(3)})},
			"the last day":   {"cron": text("0 3 L * *"), "retention": w.retention(t, map[string]tftypes.Value{"keep_monthly": number(12), "max_age": text("2y")})},
			"a leap day":     {"cron": text("0 0 29 2 *"), "timezone": text("America/Santiago"), "lint_ignore": list("cron-skips-months")},
			"a short jitter": {"cron": text("@hourly"), "jitter": text("20m"), "timeout": text("30m")},
		}
		for name, attributes := range given {
			config := w.schedule(t, attributes)
			requests["a creation: "+name] = &tfprotov6.PlanResourceChangeRequest{
				TypeName: "envbackup_schedule", Config: dynamic(t, config), ProposedNewState: dynamic(t, config),
				PriorState: dynamic(t, tftypes.NewValue(w.typeOf("envbackup_schedule"), nil)),
			}
			// No change: the state is what that creation plans, with an id.
			made, diags := w.plan(t, "envbackup_schedule", nil, config)
			wantSaid(t, diags)
			made["id"] = text("sch_1")
			state := tftypes.NewValue(w.typeOf("envbackup_schedule"), made)
			requests["no change: "+name] = &tfprotov6.PlanResourceChangeRequest{
				TypeName: "envbackup_schedule", Config: dynamic(t, config), ProposedNewState: dynamic(t, state), PriorState: dynamic(t, state),
			}
			// An edit: the state is another schedule's, with an id and stale words.
			prior := w.schedule(t, map[string]tftypes.Value{"id": text("sch_1"), "summary": text("every hour"), "worst_case_gap": text("1h"), "max_backups": number(7)})
			attributes["id"], attributes["summary"] = text("sch_1"), text("every hour")
			attributes["worst_case_gap"], attributes["max_backups"] = text("1h"), number(7)
			requests["an edit: "+name] = &tfprotov6.PlanResourceChangeRequest{
				TypeName: "envbackup_schedule", Config: dynamic(t, config), ProposedNewState: dynamic(t, w.schedule(t, attributes)), PriorState: dynamic(t, prior),
			}
		}
		plan := func(request *tfprotov6.PlanResourceChangeRequest) []byte {
			resp, err := w.PlanResourceChange(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			wantSaid(t, resp.Diagnostics)
			return append(resp.PlannedState.MsgPack, resp.PlannedState.JSON...)
		}
		first := map[string][]byte{}
		for name, request := range requests {
			if first[name] = plan(request); len(first[name]) < 100 {
				t.Fatalf("%s: a plan of %d bytes", name, len(first[name]))
			}
			if strings.HasPrefix(name, "no change") && !bytes.Equal(first[name], request.PriorState.MsgPack) {
				t.Errorf("%s: the plan changes the state:\n%q\n%q", name, request.PriorState.MsgPack, first[name])
			}
		}
		// The clock of this test starts at midnight of 2000-01-01 UTC.
		for _, at := range []string{
			"2000-01-01T00:01:00Z", "2000-01-02T00:01:00Z", "2000-02-29T12:00:00Z", "2000-03-26T01:00:01Z", "2000-10-29T01:00:00Z", "2001-10-29T01:00:00Z",
			"2041-01-01T00:00:00Z", // beyond the window over which a forecast looks
		} {
			instant, err := time.Parse(time.RFC3339, at)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Until(instant))
			for name, request := range requests {
				if again := plan(request); !bytes.Equal(first[name], again) {
					t.Errorf("%s: at %s the plan is another:\n%q\n%q", name, at, first[name], again)
				}
			}
		}
	})
}

// TestFact1SavedPlanApplies: for real. A plan that was saved is applied after
// a minute of the clock has passed and the schedule has run, and is no
// inconsistent final plan. After that, and after more runs, a plan is empty and
// a refresh finds nothing.
func TestFact1SavedPlanApplies(t *testing.T) {
	t.Parallel()
	d := daemontest.Start(t)
	config := realConfig(d, t.TempDir(), filepath.Join(t.TempDir(), "backups"),
		"  cron = \"* * * * *\"\n  retention = { keep_last = 5 }\n  lint_ignore = [\"retention-short\"]")
	w := newWorkspace(t, config)
	w.run(t, "apply", "-no-color", "-auto-approve")
	run := func() {
		t.Helper()
		started, err := d.Client.RunSchedule(t.Context(), "shop/nightly", true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Client.WatchRun(t.Context(), started.ID, nil); err != nil {
			t.Fatal(err)
		}
	}
	unchanged := func(when string) {
		t.Helper()
		if out, err := w.try(t, "plan", "-no-color", "-detailed-exitcode"); err != nil {
			t.Errorf("%s, a plan is not empty: %v\n%s", when, err, out)
		}
		// The exit code says nothing here: Terraform 1.11 compares the numbers of
		// two states by their precision, and exits with 2 after "No changes".
		if out := w.run(t, "plan", "-no-color", "-refresh-only"); !strings.Contains(out, "found no differences") {
			t.Errorf("%s, a refresh finds changes:\n%s", when, out)
		}
	}
	unchanged("after the first apply")

	edited := strings.Replace(string(mustRead(t, filepath.Join(w.dir, "main.tf"))), "keep_last = 5", "keep_last = 6", 1)
	w.write(t, edited)
	w.run(t, "plan", "-no-color", "-out=edit.tfplan")
	minute := time.Now().Truncate(time.Minute).Add(time.Minute)
	<-time.After(time.Until(minute)) // the clock itself is what is tested
	run()
	w.run(t, "apply", "-no-color", "edit.tfplan")
	unchanged("after the saved plan")
	run()
	unchanged("after another run")
}
