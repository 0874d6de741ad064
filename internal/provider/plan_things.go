package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// thingPlan is what the plans of environments and destinations have in common:
// both are known by a name, and changing it replaces them.
type thingPlan struct {
	kind    string
	session *session
	// taken returns the thing that has the name already.
	taken func(ctx context.Context, name string) (id string, meta wire.Meta, found bool)
	// preflight asks the daemon what it would say about the thing; id is empty
	// for a new one.
	preflight func(ctx context.Context, id string) ([]envbackup.Finding, error)
}

// modify says at plan what apply would meet: a name that is taken, and what
// only the daemon knows. Findings come once for each thing that is made or
// changed, and in the words of the apply.
func (t thingPlan) modify(ctx context.Context, name string, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.Equal(req.State.Raw) {
		return
	}
	var id types.String
	if !req.State.Raw.IsNull() {
		var before types.String
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("name"), &before)...)
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("id"), &id)...)
		if resp.Diagnostics.HasError() || before.ValueString() != name {
			return // a replacement is planned once more, as a creation
		}
	}
	if !t.session.online(&resp.Diagnostics) {
		return
	}
	if id.ValueString() == "" {
		if takenID, meta, found := t.taken(ctx, name); found && !t.session.hasMet(takenID) {
			addNameTaken(&resp.Diagnostics, t.kind, name, name, meta)
			return
		}
	}
	if !configKnown(resp.Plan.Raw) {
		return // apply checks it
	}
	findings, err := t.preflight(ctx, id.ValueString())
	switch {
	case envbackup.CodeOf(err) == envbackup.CodeNotFound:
		// An older daemon, which says it at apply.
	case err != nil:
		t.session.readFailed(&resp.Diagnostics, "check the "+t.kind+" "+name, err)
	default:
		addFindings(&resp.Diagnostics, findings)
	}
}

// plannedName returns the name in a plan; ok is false for an unknown one and
// for a destruction.
func plannedName(ctx context.Context, req resource.ModifyPlanRequest, diags *diag.Diagnostics) (name string, ok bool) {
	if req.Plan.Raw.IsNull() {
		return "", false
	}
	var value types.String
	diags.Append(req.Plan.GetAttribute(ctx, path.Root("name"), &value)...)
	return value.ValueString(), !diags.HasError() && !value.IsUnknown()
}
