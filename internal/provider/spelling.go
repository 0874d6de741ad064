package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// notation is a language in which one thing can be written in several ways.
type notation int

const (
	cronNotation     notation = iota // "@daily" is "0 0 * * *"
	durationNotation                 // "24h" is "1d"
	weekdayNotation                  // "MON-FRI" is "1-5"
)

// same reports whether a and b mean the same. What cannot be read equals
// nothing but itself and is never an error here: state may hold what another
// release of the daemon wrote.
func (n notation) same(a, b string) bool {
	if a == b {
		return true
	}
	switch n {
	case cronNotation:
		return cron.Same(a, b)
	case weekdayNotation:
		const everyDay = "0 0 * * " // what remains of a cron expression around its days
		return cron.Same(everyDay+a, everyDay+b)
	}
	return retention.SameDuration(a, b)
}

// spelledType is a string whose equivalent spellings are equal. It checks no
// grammar: a validation in the type would also run on what Read returns, and a
// daemon with another grammar could then block even destroy.
type spelledType struct {
	basetypes.StringType
	notation notation
}

func (t spelledType) Equal(o attr.Type) bool {
	other, ok := o.(spelledType)
	return ok && other.notation == t.notation
}

func (t spelledType) String() string { return fmt.Sprintf("provider.spelledType(%d)", t.notation) }

func (t spelledType) ValueType(context.Context) attr.Value { return spelled{notation: t.notation} }

func (t spelledType) ValueFromString(_ context.Context, v basetypes.StringValue) (basetypes.StringValuable, diag.Diagnostics) {
	return spelled{StringValue: v, notation: t.notation}, nil
}

func (t spelledType) ValueFromTerraform(ctx context.Context, in tftypes.Value) (attr.Value, error) {
	v, err := t.StringType.ValueFromTerraform(ctx, in)
	if err != nil {
		return nil, err
	}
	s, ok := v.(basetypes.StringValue)
	if !ok {
		return nil, fmt.Errorf("read string: unexpected value of type %T", v)
	}
	return spelled{StringValue: s, notation: t.notation}, nil
}

// spelled is a value of spelledType. Its semantic equality keeps the state's
// spelling when the daemon answers with another one; keepSpelling does the
// same when the configuration is respelled. Both are needed: the framework
// does not ask for semantic equality in a plan.
type spelled struct {
	basetypes.StringValue
	notation notation
}

func (v spelled) Type(context.Context) attr.Type { return spelledType{notation: v.notation} }

func (v spelled) Equal(o attr.Value) bool {
	other, ok := o.(spelled)
	return ok && other.notation == v.notation && v.StringValue.Equal(other.StringValue)
}

func (v spelled) StringSemanticEquals(_ context.Context, o basetypes.StringValuable) (bool, diag.Diagnostics) {
	other, ok := o.(spelled)
	return ok && v.notation.same(v.ValueString(), other.ValueString()), nil
}

// spelledOf returns text in notation n; null for the empty text.
func spelledOf(n notation, text string) spelled {
	if text == "" {
		return spelled{StringValue: basetypes.NewStringNull(), notation: n}
	}
	return spelled{StringValue: basetypes.NewStringValue(text), notation: n}
}

// keepSpelling plans the state's spelling when the configuration says the same
// in other words, so that the plan is empty.
type keepSpelling struct{ notation notation }

func (m keepSpelling) Description(context.Context) string {
	return "Another spelling of the same value is no change."
}

func (m keepSpelling) MarkdownDescription(ctx context.Context) string { return m.Description(ctx) }

func (m keepSpelling) PlanModifyString(_ context.Context, req planmodifier.StringRequest, resp *planmodifier.StringResponse) {
	if req.StateValue.IsNull() || req.PlanValue.IsNull() || req.PlanValue.IsUnknown() {
		return
	}
	if m.notation.same(req.StateValue.ValueString(), req.PlanValue.ValueString()) {
		resp.PlanValue = req.StateValue
	}
}
