package provider

import (
	"context"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

var (
	_ resource.ResourceWithConfigure      = (*scheduleResource)(nil)
	_ resource.ResourceWithIdentity       = (*scheduleResource)(nil)
	_ resource.ResourceWithImportState    = (*scheduleResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*scheduleResource)(nil)
	_ resource.ResourceWithValidateConfig = (*scheduleResource)(nil)
)

type scheduleResource struct{ session *session }

func newScheduleResource() resource.Resource { return &scheduleResource{} }

func (r *scheduleResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_schedule"
}

func (r *scheduleResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identitySchema()
}

func (r *scheduleResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.session = sessionOf(req.ProviderData, &resp.Diagnostics)
}

func (r *scheduleResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	const doing = "create the schedule"
	var m scheduleModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	spec, diags := m.spec(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	made, err := c.CreateSchedule(ctx, wire.ScheduleInput{ScheduleSpec: spec, Owner: r.session.owner})
	if err != nil {
		r.session.writeFailure(&resp.Diagnostics, doing, "schedule", spec.Reference(), err)
		return
	}
	// It exists from here on: state first, whatever may fail afterwards.
	resp.Diagnostics.Append(m.read(ctx, made)...)
	m.forecast(ctx)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, made.Version)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, made.ID)...)
}

func (r *scheduleResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m scheduleModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, m.ID.ValueString())...)
	if resp.Diagnostics.HasError() || !r.session.readable(&resp.Diagnostics) {
		return
	}
	r.session.meet(m.ID.ValueString())
	s, found, err := find(ctx, &r.session.schedules, m.ID.ValueString(), r.session.client.Schedule)
	switch {
	case err != nil:
		r.session.readFailed(&resp.Diagnostics, "read the schedules", err)
		return
	case !found:
		resp.State.RemoveResource(ctx)
		return
	}
	resp.Diagnostics.Append(m.refresh(ctx, s)...)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, s.Version)...)
}

// refresh fills the model from the daemon's answer to Read and returns what is
// to be said about it.
func (m *scheduleModel) refresh(ctx context.Context, s wire.Schedule) diag.Diagnostics {
	diags := m.read(ctx, s)
	m.forecast(ctx)
	warnHealth(&diags, s)
	return diags
}

func (r *scheduleResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	const doing = "change the schedule"
	var m scheduleModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	version, diags := versionOf(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	spec, diags := m.spec(ctx)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	changed, err := c.UpdateSchedule(ctx, m.ID.ValueString(), wire.ScheduleInput{ScheduleSpec: spec, Owner: r.session.owner}, version)
	if err != nil {
		r.session.writeFailure(&resp.Diagnostics, doing, "schedule", spec.Reference(), err)
		return
	}
	resp.Diagnostics.Append(m.read(ctx, changed)...)
	m.forecast(ctx)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, changed.Version)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, changed.ID)...)
}

func (r *scheduleResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	const doing = "delete the schedule"
	var m scheduleModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	version, diags := versionOf(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	if refuseProtected(&resp.Diagnostics, m) {
		return
	}
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	r.session.meet(m.ID.ValueString())
	if err := c.DeleteSchedule(ctx, m.ID.ValueString(), version); err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
		r.session.writeFailure(&resp.Diagnostics, doing, "schedule", m.reference(), err)
	}
}

// ImportState takes an id or ENVIRONMENT/NAME.
func (r *scheduleResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByKey(ctx, r.session, "schedule", req, resp, func(ctx context.Context, key string) (string, error) {
		s, err := r.session.client.Schedule(ctx, key)
		return s.ID, err
	})
}

// reference is how people write the schedule.
func (m scheduleModel) reference() string {
	return m.Environment.ValueString() + "/" + m.Name.ValueString()
}

// warnHealth says in each plan that the last good backup is older than it
// should be, that there is none because the first runs failed, that what was
// verified is damaged, or that something is in the way of removing old ones. It
// is a warning of Read, so it changes nothing.
func warnHealth(diags *diag.Diagnostics, s wire.Schedule) {
	summary := "No good backup within the expected time"
	switch s.Health {
	case "late":
	case "failed":
		summary = "No good backup yet"
	case "damaged":
		diags.AddAttributeWarning(path.Root("retention"), "A backup is damaged", s.Reference()+": "+s.HealthDetail+
			".\n\nRestores need another backup. See what is whole with:  envbackup backups list --schedule "+s.Reference())
		return
	case "attention":
		diags.AddAttributeWarning(path.Root("retention"), "Old backups are not removed as planned",
			fmt.Sprintf("Backups of %q are taken, but %s.", s.Reference(), strings.TrimSuffix(s.HealthDetail, ".")))
		return
	default:
		return
	}
	detail := fmt.Sprintf("%s: %s", s.Reference(), s.HealthDetail)
	if s.HealthDetail == "" {
		detail = fmt.Sprintf("%s: its last good backup is older than the longest time between two runs and one run's time limit.", s.Reference())
	}
	if last := detail[len(detail)-1]; last != '.' {
		detail += "."
	}
	detail += "\n\nSee its runs with:      envbackup runs list --schedule " + s.Reference() +
		"\nTake a backup now with: envbackup schedules run " + s.Reference()
	diags.AddAttributeWarning(path.Root("cron"), summary, detail)
}

// refuseProtected reports an error when the schedule must not be destroyed.
func refuseProtected(diags *diag.Diagnostics, m scheduleModel) bool {
	if !m.DeletionProtection.ValueBool() {
		return false
	}
	diags.AddAttributeError(path.Root("deletion_protection"), "Schedule is protected from deletion",
		fmt.Sprintf("%q has deletion_protection = true. If it is meant to go, set it to false and apply that first.", m.reference()))
	return true
}
