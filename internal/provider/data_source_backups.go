package provider

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

var (
	_ datasource.DataSourceWithConfigure      = (*backupsDataSource)(nil)
	_ datasource.DataSourceWithValidateConfig = (*backupsDataSource)(nil)
)

const (
	defaultBackups = 100
	maxBackups     = 10_000
)

type backupsDataSource struct{ session *session }

func newBackupsDataSource() datasource.DataSource { return &backupsDataSource{} }

type backupsModel struct {
	Environment types.String  `tfsdk:"environment"`
	Schedule    types.String  `tfsdk:"schedule"`
	Destination types.String  `tfsdk:"destination"`
	Status      types.String  `tfsdk:"status"`
	Verified    types.Bool    `tfsdk:"verified"`
	Trigger     types.String  `tfsdk:"trigger"`
	Since       types.String  `tfsdk:"since"`
	Until       types.String  `tfsdk:"until"`
	MaxAge      types.String  `tfsdk:"max_age"`
	Limit       types.Int64   `tfsdk:"limit"`
	Total       types.Int64   `tfsdk:"total"`
	Latest      *backupModel  `tfsdk:"latest"`
	Backups     []backupModel `tfsdk:"backups"`
}

func (m backupsModel) query() wire.BackupsQuery {
	q := wire.BackupsQuery{
		Environment: m.Environment.ValueString(), Schedule: m.Schedule.ValueString(), Destination: m.Destination.ValueString(),
		Status: m.Status.ValueString(), Trigger: m.Trigger.ValueString(), MaxAge: m.MaxAge.ValueString(),
	}
	if !m.Verified.IsNull() {
		q.Verified = strconv.FormatBool(m.Verified.ValueBool())
	}
	// The validators have parsed both.
	q.Since, _ = time.Parse(time.RFC3339, m.Since.ValueString())
	q.Until, _ = time.Parse(time.RFC3339, m.Until.ValueString())
	return q
}

func (d *backupsDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_backups"
}

func (d *backupsDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	filter := func(description string, validators ...validator.String) schema.StringAttribute {
		return schema.StringAttribute{Optional: true, MarkdownDescription: description, Validators: validators}
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "Backups as the daemon lists them, newest first. All filters that are set must hold.",
		Attributes: map[string]schema.Attribute{
			"environment": filter("Name of the environment.", notEmpty{}),
			"schedule":    filter("`ENVIRONMENT/NAME` or id of the schedule; with `environment`, its name alone.", notEmpty{}),
			"destination": filter("Name of the destination.", notEmpty{}),
			"status":      filter("`complete`, `partial`, `suspect` or `damaged`.", stringvalidator.OneOf("complete", "partial", "suspect", "damaged")),
			"verified": schema.BoolAttribute{
				Optional: true, MarkdownDescription: "Whether it passed a verification.",
			},
			"trigger": filter("Why it was taken: `schedule`, `catch_up`, `create`, `manual` or `safety`.",
				stringvalidator.OneOf("schedule", "catch_up", "create", "manual", "safety")),
			"since":   filter("Nominal time at or after this RFC 3339 instant.", instant{}),
			"until":   filter("Nominal time before this RFC 3339 instant.", instant{}),
			"max_age": filter("Nominal time at most this long ago by the daemon's clock, such as `26h`.", age{}),
			"limit": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "Most backups in `backups`; 100 by default, at most 10000. `total` and `latest` do not depend on it.",
				Validators:          []validator.Int64{int64validator.Between(1, maxBackups)},
			},
			"total": schema.Int64Attribute{Computed: true, MarkdownDescription: "How many backups match."},
			"latest": schema.SingleNestedAttribute{
				Computed: true, MarkdownDescription: "The newest that matches; null when none does.",
				Attributes: backupAttributes(),
			},
			"backups": schema.ListNestedAttribute{
				Computed: true, MarkdownDescription: "The backups that match, newest first.",
				NestedObject: schema.NestedAttributeObject{Attributes: backupAttributes()},
			},
		},
	}
}

func (d *backupsDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.session = sessionOf(req.ProviderData, &resp.Diagnostics)
}

// ValidateConfig refuses a span of time in which no instant lies: it would
// select nothing, which looks like having no backups.
func (d *backupsDataSource) ValidateConfig(ctx context.Context, req datasource.ValidateConfigRequest, resp *datasource.ValidateConfigResponse) {
	var since, until types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("since"), &since)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("until"), &until)...)
	from, errFrom := time.Parse(time.RFC3339, since.ValueString())
	to, errTo := time.Parse(time.RFC3339, until.ValueString())
	if errFrom == nil && errTo == nil && !from.Before(to) {
		resp.Diagnostics.AddAttributeError(path.Root("until"), "Empty span of time",
			fmt.Sprintf("until = %q is not after since = %q, so no backup can lie between them. Exchange them, or leave one out.", until.ValueString(), since.ValueString()))
	}
}

func (d *backupsDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m backupsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !d.session.answers(&resp.Diagnostics, "list the backups") {
		return
	}
	limit := int64(defaultBackups)
	if !m.Limit.IsNull() {
		limit = m.Limit.ValueInt64()
	}
	m.Backups, m.Latest = []backupModel{}, nil
	query := m.query()
	for int64(len(m.Backups)) < limit {
		query.Limit = int(min(limit-int64(len(m.Backups)), 1000))
		page, err := d.session.client.Backups(ctx, query)
		if err != nil {
			d.session.lookupFailed(&resp.Diagnostics, "list the backups", err)
			return
		}
		m.Total = types.Int64Value(page.Total)
		for _, b := range page.Items {
			m.Backups = append(m.Backups, backupOf(b))
		}
		if page.Cursor == "" {
			break
		}
		query.Cursor = page.Cursor
	}
	if len(m.Backups) > 0 {
		m.Latest = &m.Backups[0]
	}
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
