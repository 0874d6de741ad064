package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

var (
	_ resource.ResourceWithConfigure   = (*environmentResource)(nil)
	_ resource.ResourceWithIdentity    = (*environmentResource)(nil)
	_ resource.ResourceWithImportState = (*environmentResource)(nil)
	_ resource.ResourceWithModifyPlan  = (*environmentResource)(nil)
)

type environmentResource struct{ session *session }

func newEnvironmentResource() resource.Resource { return &environmentResource{} }

type environmentModel struct {
	ID     types.String           `tfsdk:"id"`
	Name   types.String           `tfsdk:"name"`
	Worker types.String           `tfsdk:"worker"`
	Files  map[string]sourceModel `tfsdk:"files"`
}

type sourceModel struct {
	Path    types.String   `tfsdk:"path"`
	Exclude []types.String `tfsdk:"exclude"`
}

func (m environmentModel) input(owner string) wire.EnvironmentInput {
	in := wire.EnvironmentInput{Owner: owner, EnvironmentSpec: envbackup.EnvironmentSpec{
		Name: m.Name.ValueString(), Worker: m.Worker.ValueString(), Files: map[string]envbackup.FilesSource{},
	}}
	for name, source := range m.Files {
		f := envbackup.FilesSource{Path: source.Path.ValueString()}
		for _, pattern := range source.Exclude {
			f.Exclude = append(f.Exclude, pattern.ValueString())
		}
		in.Files[name] = f
	}
	return in
}

// read fills the model from the daemon's answer. What the configuration may
// leave out in two ways (null, or empty) keeps the way that state had.
func (m *environmentModel) read(e wire.Environment) {
	prior := m.Files
	m.ID, m.Name, m.Worker = types.StringValue(e.ID), types.StringValue(e.Name), textOrNull(m.Worker, e.Worker)
	m.Files = map[string]sourceModel{}
	for name, f := range e.Files {
		source := sourceModel{Path: types.StringValue(f.Path)}
		if len(f.Exclude) > 0 || prior[name].Exclude != nil {
			source.Exclude = []types.String{}
		}
		for _, pattern := range f.Exclude {
			source.Exclude = append(source.Exclude, types.StringValue(pattern))
		}
		m.Files[name] = source
	}
}

func (r *environmentResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_environment"
}

func (r *environmentResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "A named set of sources that are backed up together: each run of a schedule makes one backup of all of them.\n\n" +
			"Deleting an environment is refused while a schedule uses it. Its backups stay where they are, and so does the password of its repositories: " +
			"an environment that is made again under the same name finds them.",
		Attributes: map[string]schema.Attribute{
			"name": schema.StringAttribute{
				Required: true,
				MarkdownDescription: "Name of the environment, and of its directory in every destination: 1 to 63 lower-case letters, digits, `.`, `_` and `-`. " +
					"Another name makes another environment (replacement).",
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplace()},
				Validators:    []validator.String{thingName{}},
			},
			"files": schema.MapNestedAttribute{
				Required:            true,
				MarkdownDescription: "Directory trees and files, by a name of your choice.",
				Validators:          []validator.Map{mapvalidator.SizeAtLeast(1)},
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"path": schema.StringAttribute{
						Required:            true,
						MarkdownDescription: "Absolute path on the host of the daemon that reads the environment. The daemon's operator allows paths with `allow_read`.",
						Validators:          []validator.String{absolutePath{}},
					},
					"exclude": schema.ListAttribute{
						Optional: true, ElementType: types.StringType,
						MarkdownDescription: "Patterns of what is left out, relative to `path`: `*.tmp` at any depth, `/build` at the top only, `logs/` directories only, " +
							"`cache/**` everything below, `!keep.tmp` takes back what an earlier pattern left out.",
						Validators: []validator.List{excludePatterns{}},
					},
				}},
			},
			"worker": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Name of the daemon that reads the environment, where several daemons share one database. Default: any of them.",
			},
			"id": idAttribute("environment"),
		},
	}
}

func (r *environmentResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identitySchema()
}

func (r *environmentResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.session = sessionOf(req.ProviderData, &resp.Diagnostics)
}

// ModifyPlan says at plan what Create and Update would fail with.
func (r *environmentResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	name, ok := plannedName(ctx, req, &resp.Diagnostics)
	if !ok {
		return
	}
	r.session.plan("environment", name)
	thingPlan{
		kind: "environment", session: r.session,
		taken: func(ctx context.Context, name string) (string, wire.Meta, bool) {
			e, found := r.session.environments.named(ctx, name)
			return e.ID, e.Meta, found
		},
		preflight: func(ctx context.Context, id string) ([]envbackup.Finding, error) {
			var m environmentModel
			if diags := resp.Plan.Get(ctx, &m); diags.HasError() {
				resp.Diagnostics.Append(diags...)
				return nil, nil
			}
			said, err := r.session.client.PreflightEnvironment(ctx, wire.EnvironmentPreflight{ID: id, Environment: m.input("").EnvironmentSpec})
			return said.Findings, err
		},
	}.modify(ctx, name, req, resp)
}

func (r *environmentResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	const doing = "create the environment"
	var m environmentModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	made, err := c.CreateEnvironment(ctx, m.input(r.session.owner))
	if err != nil {
		r.session.writeFailure(&resp.Diagnostics, doing, "environment", m.Name.ValueString(), err)
		return
	}
	// It exists from here on: state first, whatever may fail afterwards.
	m.read(made)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, made.Version)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, made.ID)...)
}

func (r *environmentResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m environmentModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, m.ID.ValueString())...)
	if resp.Diagnostics.HasError() || !r.session.readable(&resp.Diagnostics) {
		return
	}
	r.session.meet(m.ID.ValueString())
	e, found, err := find(ctx, &r.session.environments, m.ID.ValueString(), r.session.client.Environment)
	switch {
	case err != nil:
		r.session.readFailed(&resp.Diagnostics, "read the environments", err)
		return
	case !found:
		resp.State.RemoveResource(ctx)
		return
	}
	m.read(e)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, e.Version)...)
}

func (r *environmentResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	const doing = "change the environment"
	var m environmentModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	version, diags := versionOf(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	changed, err := c.UpdateEnvironment(ctx, m.ID.ValueString(), m.input(r.session.owner), version)
	if err != nil {
		r.session.writeFailure(&resp.Diagnostics, doing, "environment", m.Name.ValueString(), err)
		return
	}
	m.read(changed)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, changed.Version)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, changed.ID)...)
}

func (r *environmentResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	const doing = "delete the environment"
	var m environmentModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	version, diags := versionOf(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	r.session.meet(m.ID.ValueString())
	if err := c.DeleteEnvironment(ctx, m.ID.ValueString(), version); err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
		r.session.writeFailure(&resp.Diagnostics, doing, "environment", m.Name.ValueString(), err)
	}
}

func (r *environmentResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByKey(ctx, r.session, "environment", req, resp, func(ctx context.Context, key string) (string, error) {
		e, err := r.session.client.Environment(ctx, key)
		return e.ID, err
	})
}
