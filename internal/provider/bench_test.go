package provider_test

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
)

// Allocations are what to watch here: they are stable on a noisy machine.

func BenchmarkValidateSchedule(b *testing.B) {
	w, config := benchSchedule(b)
	req := &tfprotov6.ValidateResourceConfigRequest{TypeName: "envbackup_schedule", Config: config}
	b.ReportAllocs()
	for b.Loop() {
		if resp, err := w.ValidateResourceConfig(b.Context(), req); err != nil || len(resp.Diagnostics) > 0 {
			b.Fatal(err, resp.Diagnostics)
		}
	}
}

func BenchmarkPlanSchedule(b *testing.B) {
	w, config := benchSchedule(b)
	none, err := tfprotov6.NewDynamicValue(w.typeOf("envbackup_schedule"), tftypes.NewValue(w.typeOf("envbackup_schedule"), nil))
	if err != nil {
		b.Fatal(err)
	}
	req := &tfprotov6.PlanResourceChangeRequest{TypeName: "envbackup_schedule", Config: config, ProposedNewState: config, PriorState: &none}
	b.ReportAllocs()
	for b.Loop() {
		if resp, err := w.PlanResourceChange(b.Context(), req); err != nil || len(resp.Diagnostics) > 0 {
			b.Fatal(err, resp.Diagnostics)
		}
	}
}

func benchSchedule(b *testing.B) (wired, *tfprotov6.DynamicValue) {
	b.Helper()
	s := provider.NewServer("test")
	schemas, err := s.GetProviderSchema(b.Context(), &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		b.Fatal(err)
	}
	w := wired{s, schemas}
	config := w.schedule(b, map[string]tftypes.Value{"timezone": text("Europe/Berlin")})
	d, err := tfprotov6.NewDynamicValue(config.Type(), config)
	if err != nil {
		b.Fatal(err)
	}
	return w, &d
}

func BenchmarkReadSchedule(b *testing.B) {
	d := newFakeDaemon(b)
	s := fakeSchedule("sch_1", "shop", "nightly")
	d.schedules[s.ID] = s
	w, _ := benchSchedule(b)
	if diags := w.configure(b, d.URL, fakeToken, nil); len(diags) > 0 {
		b.Fatal(diags)
	}
	state := dynamic(b, w.schedule(b, map[string]tftypes.Value{
		"id": text("sch_1"), "summary": text("every day at 02:30 UTC; keeps at most 30 backups, the oldest about 30 days"),
		"worst_case_gap": text("24h"), "max_backups": number(30),
	}))
	req := &tfprotov6.ReadResourceRequest{TypeName: "envbackup_schedule", CurrentState: state}
	b.ReportAllocs()
	for b.Loop() {
		if resp, err := w.ReadResource(b.Context(), req); err != nil || len(resp.Diagnostics) > 0 {
			b.Fatal(err, resp.Diagnostics)
		}
	}
}
