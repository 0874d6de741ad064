package api_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// R4: confirm and cancel reach the pruner with their actor, want an operator,
// and stand in the audit log; with nothing set aside they are 404.
func TestDecisionsAboutWhatIsSetAside(t *testing.T) {
	t.Parallel()
	s, sch := shop(t)
	path := "/api/v1/schedules/shop%2Fnightly/prune/"
	if p := problemIn(t, send(t, s, request{method: "POST", path: path + "confirm", token: s.Operator})); p.Status != 404 {
		t.Errorf("with nothing set aside = %+v, want 404", p)
	}
	until := time.Date(2026, 5, 1, 2, 3, 4, 0, time.UTC)
	s.Pruner.Report.Lists = []envbackup.SetAside{{Destination: "disk", BackupIDs: []string{"bkp_1", "bkp_2"}, Reason: "an edit", Until: until}}
	want := []wire.SetAside{{Destination: "disk", Backups: []string{"bkp_1", "bkp_2"}, Reason: "an edit", Until: &until}}

	if p := problemIn(t, send(t, s, request{method: "POST", path: path + "cancel", token: s.Viewer})); p.Status != 403 {
		t.Errorf("a viewer = %+v, want 403", p)
	}
	for verb, decision := range map[string]envbackup.Decision{"confirm": envbackup.DecisionConfirmed, "cancel": envbackup.DecisionCancelled} {
		s.Pruner.Decided = nil
		got, _ := must[wire.PruneDecision](t, s, request{method: "POST", path: path + verb})
		if diff := cmp.Diff(wire.PruneDecision{Decision: decision, Lists: want}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", verb, diff)
		}
		audit, _ := must[wire.AuditPage](t, s, request{method: "GET", path: "/api/v1/audit?limit=1"})
		newest := audit.Items[0]
		if newest.Action != "prune "+string(decision) || newest.Detail != "2 removals" || newest.Name != "shop/nightly" {
			t.Errorf("audit = %+v, want the decision", newest)
		}
		if diff := cmp.Diff([]string{sch.ID + " " + string(decision) + " by " + newest.Actor}, s.Pruner.Decided); diff != "" {
			t.Errorf("the pruner was told (-want +got):\n%s", diff)
		}
	}
	result, _ := must[wire.PruneResult](t, s, request{method: "POST", path: "/api/v1/schedules/" + sch.ID + "/prune", body: wire.PruneRequest{DryRun: true}})
	if diff := cmp.Diff(want, result.SetAsideLists); diff != "" {
		t.Errorf("the dry run's lists (-want +got):\n%s", diff)
	}
}
