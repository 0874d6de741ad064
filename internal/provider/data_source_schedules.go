package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

var _ datasource.DataSourceWithConfigure = (*schedulesDataSource)(nil)

type schedulesDataSource struct{ session *session }

func newSchedulesDataSource() datasource.DataSource { return &schedulesDataSource{} }

type schedulesModel struct {
	Environment types.String     `tfsdk:"environment"`
	Schedules   []scheduleStatus `tfsdk:"schedules"`
}

type scheduleStatus struct {
	ID             types.String   `tfsdk:"id"`
	Name           types.String   `tfsdk:"name"`
	Environment    types.String   `tfsdk:"environment"`
	Destinations   []types.String `tfsdk:"destinations"`
	Cron           types.String   `tfsdk:"cron"`
	Timezone       types.String   `tfsdk:"timezone"`
	Paused         types.Bool     `tfsdk:"paused"`
	Owner          types.String   `tfsdk:"owner"`
	Summary        types.String   `tfsdk:"summary"`
	NextRunAt      types.String   `tfsdk:"next_run_at"`
	LastRunState   types.String   `tfsdk:"last_run_state"`
	LastSuccessAt  types.String   `tfsdk:"last_success_at"`
	LastVerifiedAt types.String   `tfsdk:"last_verified_at"`
	Health         types.String   `tfsdk:"health"`
	HealthDetail   types.String   `tfsdk:"health_detail"`
}

func statusOf(s wire.Schedule) scheduleStatus {
	status := scheduleStatus{
		ID: types.StringValue(s.ID), Name: types.StringValue(s.Name), Environment: types.StringValue(s.Environment),
		Destinations: []types.String{}, Cron: types.StringValue(s.Cron), Timezone: types.StringValue(s.Zone()),
		Paused: types.BoolValue(s.Paused), Owner: types.StringValue(s.Owner), Summary: types.StringValue(s.Summary),
		NextRunAt: optionalInstant(s.NextRunAt), LastRunState: types.StringNull(), LastSuccessAt: types.StringNull(),
		LastVerifiedAt: optionalInstant(s.LastVerifiedAt),
		Health:         types.StringValue(s.Health), HealthDetail: types.StringValue(s.HealthDetail),
	}
	for _, name := range s.Destinations {
		status.Destinations = append(status.Destinations, types.StringValue(name))
	}
	if s.LastRun != nil {
		status.LastRunState = types.StringValue(string(s.LastRun.State))
	}
	if s.LastGoodBackup != nil {
		status.LastSuccessAt = instantText(s.LastGoodBackup.CompletedAt)
	}
	return status
}

func optionalInstant(t *time.Time) types.String {
	if t == nil {
		return types.StringNull()
	}
	return instantText(*t)
}

func (d *schedulesDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_schedules"
}

func (d *schedulesDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Schedules with their state: when each runs next, when it last succeeded, and whether it is healthy.",
		Attributes: map[string]schema.Attribute{
			"environment": schema.StringAttribute{Optional: true, MarkdownDescription: "Only those of this environment."},
			"schedules": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The schedules, by environment and name.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"id":               text("Id that the daemon made."),
					"name":             text("Name."),
					"environment":      text("Name of the environment."),
					"destinations":     schema.ListAttribute{Computed: true, ElementType: types.StringType, MarkdownDescription: "Names of the destinations."},
					"cron":             text("When it runs."),
					"timezone":         text("Time zone of `cron`."),
					"paused":           schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether it rests."},
					"owner":            text("The configuration that manages it; empty for none."),
					"summary":          text("In words: when it runs and what it keeps."),
					"next_run_at":      text("Next run, as RFC 3339; null while paused."),
					"last_run_state":   text("State of the last run: `queued`, `running`, `succeeded`, `partial`, `failed` or `cancelled`; null before the first."),
					"last_success_at":  text("When the last good backup was complete; null for never."),
					"last_verified_at": text("When a backup that is still there passed a verification last, as RFC 3339; null for never."),
					"health":           text("`ok`, `late` (the last good backup is older than it should be), `damaged` (the newest backup that was verified at a destination is), `attention` (backups are taken, but something is in the way of removing old ones), `paused`, `failed` (none yet, and the last run did not make one) or `new` (none yet)."),
					"health_detail":    text("Why it is not `ok`, and what waits for a person's decision."),
				}},
			},
		},
	}
}

func (d *schedulesDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.session = sessionOf(req.ProviderData, &resp.Diagnostics)
}

// Read asks the daemon rather than the session's list: a data source may be
// read during apply, after schedules have changed.
func (d *schedulesDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m schedulesModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !d.session.answers(&resp.Diagnostics, "list the schedules") {
		return
	}
	all, err := client.All(ctx, func(ctx context.Context, page wire.Page) ([]wire.Schedule, string, error) {
		p, err := d.session.client.Schedules(ctx, wire.SchedulesQuery{Page: page, Environment: m.Environment.ValueString()})
		return p.Items, p.Cursor, err
	})
	if err != nil {
		d.session.lookupFailed(&resp.Diagnostics, "list the schedules", err)
		return
	}
	m.Schedules = []scheduleStatus{}
	for _, s := range all {
		m.Schedules = append(m.Schedules, statusOf(s))
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
