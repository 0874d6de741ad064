package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
)

// check returns what the configuration alone says about the schedule.
func (m scheduleModel) check(ctx context.Context) ([]envbackup.Finding, diag.Diagnostics) {
	p, diags := m.proposal(ctx)
	if diags.HasError() {
		return nil, diags
	}
	return preflight.Check(p, nil, nil), diags
}

// forecast sets the computed attributes. They are pure functions of the
// configuration, unknown while it is.
func (m *scheduleModel) forecast(ctx context.Context) {
	m.Summary, m.WorstCaseGap, m.MaxBackups = types.StringUnknown(), types.StringUnknown(), types.Int64Unknown()
	p, diags := m.proposal(ctx)
	if diags.HasError() {
		return
	}
	f, ok := preflight.Describe(p)
	switch {
	case ok:
		m.Summary, m.WorstCaseGap = types.StringValue(f.Summary), types.StringValue(f.WorstCaseGap)
		if m.MaxBackups = types.Int64Value(f.MaxBackups); f.MaxBackups == 0 {
			m.MaxBackups = types.Int64Null() // keep_all
		}
	case known(ctx, m.Cron) && known(ctx, m.Timezone) && known(ctx, m.Retention) && known(ctx, m.Jitter) && known(ctx, m.Blackout):
		// All is known and nothing can be said: state may hold what another
		// release of the daemon wrote. Unknown would be an error after apply.
		m.Summary, m.WorstCaseGap, m.MaxBackups = types.StringNull(), types.StringNull(), types.Int64Null()
	}
}

// proposal returns the schedule as far as it is known. Text that is not given
// is the empty text; text that is not known is absent.
func (m scheduleModel) proposal(ctx context.Context) (preflight.Proposal, diag.Diagnostics) {
	spec, diags := m.spec(ctx)
	p := preflight.Of(spec)
	for _, field := range []struct {
		value attr.Value
		at    **string
	}{
		{m.Name, &p.Name}, {m.Environment, &p.Environment}, {m.Cron, &p.Cron}, {m.Timezone, &p.Timezone}, {m.Jitter, &p.Jitter},
		{m.CatchUpWithin, &p.CatchUpWithin}, {m.Overlap, &p.Overlap}, {m.StartDeadline, &p.StartDeadline},
		{m.Timeout, &p.Timeout}, {m.MaxRPO, &p.MaxRPO}, {m.OnDestroy, &p.OnDestroy},
	} {
		if field.value.IsUnknown() {
			*field.at = nil
		}
	}
	if !known(ctx, m.Retention) {
		p.Retention = nil
	}
	if !known(ctx, m.Blackout) {
		p.Blackout, p.BlackoutUnknown = nil, true
	}
	p.Destinations = nil
	if !m.Destinations.IsUnknown() {
		// The empty text stands for a name that is not known yet, so that the
		// indexes stay right.
		p.Destinations = []string{}
		for _, element := range m.Destinations.Elements() {
			name, _ := element.(basetypes.StringValue)
			p.Destinations = append(p.Destinations, name.ValueString())
		}
	}
	return p, diags
}

// known reports whether v and everything in it is known.
func known(ctx context.Context, v attr.Value) bool {
	if v.IsUnknown() {
		return false
	}
	switch v := v.(type) {
	case basetypes.StringValue, basetypes.BoolValue, basetypes.Int64Value, spelled:
		return true
	case basetypes.ObjectValue:
		for _, attribute := range v.Attributes() {
			if !known(ctx, attribute) {
				return false
			}
		}
		return true
	default:
		raw, err := v.ToTerraformValue(ctx)
		return err == nil && raw.IsFullyKnown()
	}
}
