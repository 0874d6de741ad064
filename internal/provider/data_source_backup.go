package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

var _ datasource.DataSourceWithConfigure = (*backupDataSource)(nil)

type backupDataSource struct{ session *session }

func newBackupDataSource() datasource.DataSource { return &backupDataSource{} }

// backupModel is one backup in both data sources.
type backupModel struct {
	ID          types.String   `tfsdk:"id"`
	SnapshotID  types.String   `tfsdk:"snapshot_id"`
	Environment types.String   `tfsdk:"environment"`
	Schedule    types.String   `tfsdk:"schedule"`
	Destination types.String   `tfsdk:"destination"`
	Trigger     types.String   `tfsdk:"trigger"`
	Status      types.String   `tfsdk:"status"`
	NominalAt   types.String   `tfsdk:"nominal_at"`
	StartedAt   types.String   `tfsdk:"started_at"`
	CompletedAt types.String   `tfsdk:"completed_at"`
	Size        types.Int64    `tfsdk:"size"`
	Added       types.Int64    `tfsdk:"added"`
	Files       types.Int64    `tfsdk:"files"`
	VerifiedAt  types.String   `tfsdk:"verified_at"`
	Held        types.Bool     `tfsdk:"held"`
	Kept        types.Bool     `tfsdk:"kept"`
	KeptBecause []types.String `tfsdk:"kept_because"`
}

func backupOf(b wire.Backup) backupModel {
	m := backupModel{
		ID: types.StringValue(b.ID), SnapshotID: types.StringValue(b.SnapshotID), Environment: types.StringValue(b.Environment),
		Schedule: types.StringValue(b.Schedule), Destination: types.StringValue(b.Destination),
		Trigger: types.StringValue(string(b.Trigger)), Status: types.StringValue(string(b.Status)),
		NominalAt: instantText(b.NominalAt), StartedAt: instantText(b.StartedAt), CompletedAt: instantText(b.CompletedAt),
		Size: types.Int64Value(b.Size), Added: types.Int64Value(b.Added), Files: types.Int64Value(b.Files),
		VerifiedAt: types.StringNull(), Held: types.BoolValue(b.Held), Kept: types.BoolValue(b.Kept),
		KeptBecause: []types.String{},
	}
	if b.VerifiedAt != nil {
		m.VerifiedAt = instantText(*b.VerifiedAt)
	}
	for _, reason := range b.KeptBecause {
		m.KeptBecause = append(m.KeptBecause, types.StringValue(reason))
	}
	return m
}

// instantText writes an instant as RFC 3339 in UTC; null for the zero time.
func instantText(t time.Time) types.String {
	if t.IsZero() {
		return types.StringNull()
	}
	return types.StringValue(t.UTC().Format(time.RFC3339))
}

// backupAttributes is what the data sources say about one backup.
func backupAttributes() map[string]schema.Attribute {
	text := func(description string) schema.StringAttribute {
		return schema.StringAttribute{Computed: true, MarkdownDescription: description}
	}
	number := func(description string) schema.Int64Attribute {
		return schema.Int64Attribute{Computed: true, MarkdownDescription: description}
	}
	return map[string]schema.Attribute{
		"id":           text("Id that the daemon made."),
		"snapshot_id":  text("Id of the restic snapshot."),
		"environment":  text("Name of the environment."),
		"schedule":     text("Name of the schedule when the backup was taken."),
		"destination":  text("Name of the destination."),
		"trigger":      text("Why it was taken: `schedule`, `catch_up`, `create`, `manual` or `safety`."),
		"status":       text("`complete`, `partial`, `suspect` or `damaged`."),
		"nominal_at":   text("The instant that the schedule meant, as RFC 3339."),
		"started_at":   text("When it began."),
		"completed_at": text("When it was complete."),
		"size":         number("Bytes that a restore writes."),
		"added":        number("Bytes that were stored for it, after deduplication and compression."),
		"files":        number("Files in it."),
		"verified_at":  text("When it last passed a verification; null for never."),
		"held":         schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether a hold exempts it from every rule that removes."},
		"kept":         schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether the retention as it stands keeps it."},
		"kept_because": schema.ListAttribute{
			Computed: true, ElementType: types.StringType,
			MarkdownDescription: "The rules that keep it, or why it will go.",
		},
	}
}

func (d *backupDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_backup"
}

func (d *backupDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := backupAttributes()
	attributes["id"] = schema.StringAttribute{
		Required:            true,
		MarkdownDescription: "Id of the backup, or the id of its snapshot.",
	}
	resp.Schema = schema.Schema{
		MarkdownDescription: "One backup. A backup that does not exist is an error.",
		Attributes:          attributes,
	}
}

func (d *backupDataSource) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.session = sessionOf(req.ProviderData, &resp.Diagnostics)
}

func (d *backupDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var key types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("id"), &key)...)
	if resp.Diagnostics.HasError() || !d.session.answers(&resp.Diagnostics, "read the backup") {
		return
	}
	b, err := d.session.client.Backup(ctx, key.ValueString())
	switch {
	case envbackup.CodeOf(err) == envbackup.CodeNotFound:
		resp.Diagnostics.AddAttributeError(path.Root("id"), "Backup does not exist",
			fmt.Sprintf("The daemon has no backup %q. List them with:  envbackup backups list", key.ValueString()))
		return
	case err != nil:
		d.session.lookupFailed(&resp.Diagnostics, "read the backup", err)
		return
	}
	m := backupOf(b)
	m.ID = key // as written, or the plan would differ from the configuration
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}
