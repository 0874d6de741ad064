package provider

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// ValidateConfig says everything that the configuration alone tells about the
// schedule. Unknown values are skipped and checked at apply.
//
// A plan calls it twice: first in a process that is not configured and does
// not know the values of for_each, as terraform validate does, and then with
// all that is known at plan. Both show errors, of which the first stops the
// plan. Warnings would be shown doubled, so only the second run shows them.
func (r *scheduleResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var m scheduleModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	resp.Diagnostics.Append(r.findings(ctx, m)...)
}

// findings is ValidateConfig for a configuration that was read.
func (r *scheduleResource) findings(ctx context.Context, m scheduleModel) diag.Diagnostics {
	findings, diags := m.check(ctx)
	if r.session == nil {
		findings = slices.DeleteFunc(findings, func(f envbackup.Finding) bool { return f.Severity != envbackup.SeverityError })
	}
	addFindings(&diags, findings)
	return diags
}

// ModifyPlan computes what is known without a daemon, and asks the daemon
// about schedules that are made or changed. It reads no clock: Terraform plans
// again during apply and compares.
func (r *scheduleResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		r.planDestroy(ctx, req, resp)
		return
	}
	if req.Plan.Raw.Equal(req.State.Raw) {
		return
	}
	var m scheduleModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	m.forecast(ctx)
	if err := setForecast(ctx, &resp.Plan.Raw, m); err != nil {
		resp.Diagnostics.AddError("Cannot plan the forecast", err.Error())
		return
	}
	if resp.Plan.Raw.Equal(req.State.Raw) {
		return // respelled only
	}
	id := ""
	if !req.State.Raw.IsNull() {
		var before scheduleModel
		resp.Diagnostics.Append(req.State.Get(ctx, &before)...)
		if resp.Diagnostics.HasError() {
			return
		}
		id = before.ID.ValueString()
		if !before.Environment.Equal(m.Environment) {
			if refuseProtected(&resp.Diagnostics, before) {
				return
			}
			id = "" // the replacement is a new schedule
		}
	}
	if configKnown(resp.Plan.Raw) {
		r.judge(ctx, m, id, &resp.Diagnostics)
	}
}

// judge has the daemon say what it thinks of a schedule that is made (without
// an id) or changed, and that is known throughout.
func (r *scheduleResource) judge(ctx context.Context, m scheduleModel, id string, diags *diag.Diagnostics) {
	if !r.session.online(diags) {
		return
	}
	if id == "" {
		if taken, ok := r.session.schedules.named(ctx, m.reference()); ok {
			if !r.session.hasMet(taken.ID) {
				addNameTaken(diags, "schedule", m.reference(), m.reference(), taken.Meta)
				return
			}
			id = taken.ID // it is made anew and takes over id and backups: an edit, to them
		}
	}
	r.preflight(ctx, m, id, diags)
}

// setForecast writes the computed attributes into a plan. Three calls of
// Plan.SetAttribute would do the same and walk the whole schema three times.
func setForecast(ctx context.Context, plan *tftypes.Value, m scheduleModel) error {
	var attributes map[string]tftypes.Value
	if err := plan.As(&attributes); err != nil {
		return err
	}
	for name, value := range map[string]attr.Value{"summary": m.Summary, "worst_case_gap": m.WorstCaseGap, "max_backups": m.MaxBackups} {
		raw, err := value.ToTerraformValue(ctx)
		if err != nil {
			return fmt.Errorf("convert %s: %w", name, err)
		}
		attributes[name] = raw
	}
	*plan = tftypes.NewValue(plan.Type(), attributes)
	return nil
}

// preflight asks the daemon what it would say about the schedule: its limits,
// names that it does not know, existing backups that an edit would remove.
// What ValidateConfig has said already is not said twice.
func (r *scheduleResource) preflight(ctx context.Context, m scheduleModel, id string, diags *diag.Diagnostics) {
	spec, d := m.spec(ctx)
	said, d2 := m.check(ctx)
	diags.Append(d...)
	diags.Append(d2...)
	if diags.HasError() {
		return
	}
	in := wire.Preflight{ID: id, Schedule: spec}
	if r.session.plans("environment", spec.Environment) {
		in.PlannedEnvironments = []string{spec.Environment}
	}
	for _, name := range spec.Destinations {
		if r.session.plans("destination", name) {
			in.PlannedDestinations = append(in.PlannedDestinations, name)
		}
		if r.session.plans(withoutRecovery, name) {
			in.PlannedWithoutRecovery = append(in.PlannedWithoutRecovery, name)
		}
	}
	result, err := r.session.client.Preflight(ctx, in)
	if err != nil {
		r.session.readFailed(diags, "check the schedule "+spec.Reference(), err)
		return
	}
	addFindings(diags, unsaid(result.Findings, said))
}

// unsaid returns the findings that are not among those said already. Details
// are not compared: daemon and provider may be of different releases.
func unsaid(findings, said []envbackup.Finding) []envbackup.Finding {
	type place struct{ path, rule, summary string }
	known := map[place]bool{}
	for _, f := range said {
		known[place{f.Path, f.Rule, f.Summary}] = true
	}
	var rest []envbackup.Finding
	for _, f := range findings {
		if !known[place{f.Path, f.Rule, f.Summary}] {
			rest = append(rest, f)
		}
	}
	return rest
}

// planDestroy says what destroying the schedule does to its backups.
func (r *scheduleResource) planDestroy(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	var m scheduleModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || refuseProtected(&resp.Diagnostics, m) || !r.session.online(&resp.Diagnostics) {
		return
	}
	query := wire.BackupsQuery{Schedule: m.ID.ValueString()}
	query.Limit = 1
	page, err := r.session.client.Backups(ctx, query)
	if err != nil || page.Total == 0 {
		return // a courtesy: destroying does not depend on the answer
	}
	its, stay, are := "Its one backup", "stays and is", "is"
	if page.Total > 1 {
		its, stay, are = fmt.Sprintf("Its %d backups", page.Total), "stay and are", "are"
	}
	if m.OnDestroy.ValueString() == "delete" {
		resp.Diagnostics.AddAttributeWarning(path.Root("on_destroy"), "Destroying deletes the backups",
			fmt.Sprintf("%q has on_destroy = \"delete\". %s %s deleted for good.", m.reference(), its, are))
		return
	}
	resp.Diagnostics.AddAttributeWarning(path.Root("name"), "Destroying keeps the backups",
		fmt.Sprintf("No more backups of %q are taken. %s %s no longer pruned. "+
			"List them with:  envbackup backups list --schedule %s", m.reference(), its, stay, m.reference()))
}

// configKnown reports whether everything that comes from the configuration is
// known.
func configKnown(plan tftypes.Value) bool {
	var attributes map[string]tftypes.Value
	if plan.As(&attributes) != nil {
		return false
	}
	for name, value := range attributes {
		switch name {
		case "id", "summary", "worst_case_gap", "max_backups":
		default:
			if !value.IsFullyKnown() {
				return false
			}
		}
	}
	return true
}
