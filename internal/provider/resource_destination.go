package provider

import (
	"context"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

var (
	_ resource.ResourceWithConfigure      = (*destinationResource)(nil)
	_ resource.ResourceWithIdentity       = (*destinationResource)(nil)
	_ resource.ResourceWithImportState    = (*destinationResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*destinationResource)(nil)
	_ resource.ResourceWithValidateConfig = (*destinationResource)(nil)
)

type destinationResource struct{ session *session }

func newDestinationResource() resource.Resource { return &destinationResource{} }

type destinationModel struct {
	ID                 types.String `tfsdk:"id"`
	Name               types.String `tfsdk:"name"`
	S3                 *s3Model     `tfsdk:"s3"`
	Local              *localModel  `tfsdk:"local"`
	RecoveryPasswordWO types.String `tfsdk:"recovery_password_wo"`
	RecoveryVersion    types.Int64  `tfsdk:"recovery_password_wo_version"`
	BandwidthLimit     types.Int64  `tfsdk:"bandwidth_limit"`
	VerifyWrites       types.String `tfsdk:"verify_writes"`
}

type s3Model struct {
	Bucket         types.String `tfsdk:"bucket"`
	Region         types.String `tfsdk:"region"`
	Prefix         types.String `tfsdk:"prefix"`
	Endpoint       types.String `tfsdk:"endpoint"`
	ForcePathStyle types.Bool   `tfsdk:"force_path_style"`
	StorageClass   types.String `tfsdk:"storage_class"`
	SSE            types.String `tfsdk:"server_side_encryption"`
	SSEKMSKeyID    types.String `tfsdk:"sse_kms_key_id"`
	ObjectLockMode types.String `tfsdk:"object_lock_mode"`
	ObjectLockDays types.Int64  `tfsdk:"object_lock_days"`
	RoleARN        types.String `tfsdk:"role_arn"`
	AccessKeyID    types.String `tfsdk:"access_key_id"`
	SecretKeyWO    types.String `tfsdk:"secret_access_key_wo"`
	SecretVersion  types.Int64  `tfsdk:"secret_access_key_wo_version"`
}

type localModel struct {
	Path types.String `tfsdk:"path"`
}

// secretVersion is the version of the S3 secret; null without one.
func (m destinationModel) secretVersion() types.Int64 {
	if m.S3 == nil {
		return types.Int64Null()
	}
	return m.S3.SecretVersion
}

// spec is what the configuration says but for its secrets.
func (m destinationModel) spec() envbackup.DestinationSpec {
	spec := envbackup.DestinationSpec{
		Name: m.Name.ValueString(), BandwidthLimit: m.BandwidthLimit.ValueInt64(), VerifyWrites: m.VerifyWrites.ValueString(),
	}
	if m.Local != nil {
		spec.Local = &envbackup.LocalPlace{Path: m.Local.Path.ValueString()}
	}
	if m.S3 != nil {
		spec.S3 = &envbackup.S3Place{
			Bucket: m.S3.Bucket.ValueString(), Region: m.S3.Region.ValueString(), Prefix: m.S3.Prefix.ValueString(),
			Endpoint: m.S3.Endpoint.ValueString(), ForcePathStyle: m.S3.ForcePathStyle.ValueBool(),
			StorageClass: m.S3.StorageClass.ValueString(), ServerSideEncryption: m.S3.SSE.ValueString(), SSEKMSKeyID: m.S3.SSEKMSKeyID.ValueString(),
			RoleARN: m.S3.RoleARN.ValueString(), AccessKeyID: m.S3.AccessKeyID.ValueString(),
			ObjectLockMode: m.S3.ObjectLockMode.ValueString(), ObjectLockDays: m.S3.ObjectLockDays.ValueInt64(),
		}
	}
	return spec
}

// input is what the daemon is told. The secrets come from the configuration:
// plan and state never hold them. state is nil on creation.
func (m destinationModel) input(ctx context.Context, owner string, config tfsdk.Config, state *destinationModel) (wire.DestinationInput, diag.Diagnostics) {
	in := wire.DestinationInput{Owner: owner, DestinationSpec: m.spec()}
	var key, recovery types.String
	var diags diag.Diagnostics
	if m.S3 != nil {
		diags.Append(config.GetAttribute(ctx, path.Root("s3").AtName("secret_access_key_wo"), &key)...)
	}
	diags.Append(config.GetAttribute(ctx, path.Root("recovery_password_wo"), &recovery)...)

	var keyBefore, recoveryBefore types.Int64
	if state != nil {
		keyBefore, recoveryBefore = state.secretVersion(), state.RecoveryVersion
	}
	in.SecretAccessKey = changedSecret(key, m.secretVersion(), keyBefore)
	in.SecretAccessKeyVersion = m.secretVersion().ValueInt64()
	in.RecoveryPassword = changedSecret(recovery, m.RecoveryVersion, recoveryBefore)
	in.RecoveryPasswordVer = m.RecoveryVersion.ValueInt64()
	return in, diags
}

// changedSecret returns what to send for a write-only secret: the secret when
// its version changed, the empty text when it was taken out, and nil to keep
// what the daemon has.
func changedSecret(secret types.String, version, before types.Int64) *string {
	switch {
	case version.Equal(before):
		return nil
	case secret.IsNull():
		return new(string)
	default:
		value := secret.ValueString()
		return &value
	}
}

// read fills the model from the daemon's answer.
func (m *destinationModel) read(d wire.Destination) {
	m.ID, m.Name = types.StringValue(d.ID), types.StringValue(d.Name)
	if d.BandwidthLimit == 0 {
		m.BandwidthLimit = defaultedInt(m.BandwidthLimit, nil, 0)
	} else {
		m.BandwidthLimit = types.Int64Value(d.BandwidthLimit)
	}
	m.VerifyWrites = defaulted(m.VerifyWrites, d.VerifyWrites, "sample")
	m.RecoveryPasswordWO = types.StringNull()
	m.RecoveryVersion = versionOrNull(d.RecoveryPasswordVer)
	priorS3 := m.S3
	m.S3, m.Local = nil, nil
	if d.Local != nil {
		m.Local = &localModel{Path: types.StringValue(d.Local.Path)}
	}
	if d.S3 != nil {
		var prior s3Model
		if priorS3 != nil {
			prior = *priorS3
		}
		pathStyle := d.S3.ForcePathStyle
		m.S3 = &s3Model{
			Bucket: types.StringValue(d.S3.Bucket), Region: textOrNull(prior.Region, d.S3.Region),
			Prefix: textOrNull(prior.Prefix, d.S3.Prefix), Endpoint: textOrNull(prior.Endpoint, d.S3.Endpoint),
			ForcePathStyle: defaultedBool(prior.ForcePathStyle, &pathStyle, false),
			StorageClass:   textOrNull(prior.StorageClass, d.S3.StorageClass),
			SSE:            textOrNull(prior.SSE, d.S3.ServerSideEncryption),
			SSEKMSKeyID:    textOrNull(prior.SSEKMSKeyID, d.S3.SSEKMSKeyID),
			RoleARN:        textOrNull(prior.RoleARN, d.S3.RoleARN), AccessKeyID: textOrNull(prior.AccessKeyID, d.S3.AccessKeyID),
			SecretKeyWO: types.StringNull(), SecretVersion: versionOrNull(d.SecretAccessKeyVersion),
			ObjectLockMode: textOrNull(prior.ObjectLockMode, d.S3.ObjectLockMode), ObjectLockDays: versionOrNull(d.S3.ObjectLockDays),
		}
	}
}

func versionOrNull(version int64) types.Int64 {
	if version == 0 {
		return types.Int64Null()
	}
	return types.Int64Value(version)
}

func (r *destinationResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_destination"
}

func (r *destinationResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identitySchema()
}

func (r *destinationResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.session = sessionOf(req.ProviderData, &resp.Diagnostics)
}

// ValidateConfig checks what concerns several attributes.
func (r *destinationResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var s3, local types.Object
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("s3"), &s3)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("local"), &local)...)
	if resp.Diagnostics.HasError() {
		return
	}
	switch {
	case s3.IsUnknown() || local.IsUnknown():
	case s3.IsNull() && local.IsNull():
		resp.Diagnostics.AddAttributeError(path.Root("name"), "Destination has no place",
			"Say where the backups are stored, with one of:\n\n  s3    = { bucket = \"acme-backups\", region = \"eu-central-1\" }\n  local = { path = \"/mnt/backups\" }")
	case !s3.IsNull() && !local.IsNull():
		resp.Diagnostics.AddAttributeError(path.Root("local"), "Destination has two places",
			"A destination is one place, and both s3 and local are set. Make two destinations and give a schedule both.")
	}
	r.validateSecret(ctx, req.Config, path.Root("recovery_password_wo"), resp)
	if !s3.IsNull() && !s3.IsUnknown() {
		r.validateSecret(ctx, req.Config, path.Root("s3").AtName("secret_access_key_wo"), resp)
		r.validateKeyPair(ctx, req.Config, resp)
		r.validateLock(ctx, req.Config, resp)
	}
}

// validateLock requires the mode and the days of an object lock together.
func (r *destinationResource) validateLock(ctx context.Context, config tfsdk.Config, resp *resource.ValidateConfigResponse) {
	s3 := path.Root("s3")
	var mode types.String
	var days types.Int64
	resp.Diagnostics.Append(config.GetAttribute(ctx, s3.AtName("object_lock_mode"), &mode)...)
	resp.Diagnostics.Append(config.GetAttribute(ctx, s3.AtName("object_lock_days"), &days)...)
	switch {
	case mode.IsUnknown() || days.IsUnknown() || mode.IsNull() == days.IsNull():
	case days.IsNull():
		resp.Diagnostics.AddAttributeError(s3.AtName("object_lock_mode"), "Object lock has no time",
			"object_lock_mode locks each object for object_lock_days, which is not set. Add for example object_lock_days = 30.")
	default:
		resp.Diagnostics.AddAttributeError(s3.AtName("object_lock_days"), "Object lock has no mode",
			"object_lock_days needs object_lock_mode: \"GOVERNANCE\", which holders of a special right can lift, or \"COMPLIANCE\", which nobody can.")
	}
}

// validateSecret requires a secret and its version together.
func (r *destinationResource) validateSecret(ctx context.Context, config tfsdk.Config, at path.Path, resp *resource.ValidateConfigResponse) {
	name := at.Steps()[len(at.Steps())-1].String()
	versionName := name + "_version"
	var secret types.String
	var version types.Int64
	resp.Diagnostics.Append(config.GetAttribute(ctx, at, &secret)...)
	resp.Diagnostics.Append(config.GetAttribute(ctx, at.ParentPath().AtName(versionName), &version)...)
	switch {
	case secret.IsUnknown() || version.IsUnknown():
	case !secret.IsNull() && version.IsNull():
		resp.Diagnostics.AddAttributeError(at, "Secret needs a version",
			fmt.Sprintf("%s is never stored, so Terraform cannot see that it changes. Add %s = 1 and raise it whenever the secret changes.", name, versionName))
	case secret.IsNull() && !version.IsNull():
		resp.Diagnostics.AddAttributeError(at.ParentPath().AtName(versionName), "Version without a secret",
			fmt.Sprintf("%s counts the changes of %s, which is not set. Set both or neither.", versionName, name))
	case !version.IsNull() && version.ValueInt64() < 1:
		resp.Diagnostics.AddAttributeError(at.ParentPath().AtName(versionName), "Invalid version",
			fmt.Sprintf("%s begins at 1 and is raised whenever the secret changes.", versionName))
	}
}

// validateKeyPair requires the two halves of an S3 key together.
func (r *destinationResource) validateKeyPair(ctx context.Context, config tfsdk.Config, resp *resource.ValidateConfigResponse) {
	s3 := path.Root("s3")
	var id, secret types.String
	resp.Diagnostics.Append(config.GetAttribute(ctx, s3.AtName("access_key_id"), &id)...)
	resp.Diagnostics.Append(config.GetAttribute(ctx, s3.AtName("secret_access_key_wo"), &secret)...)
	switch {
	case id.IsUnknown() || secret.IsUnknown() || id.IsNull() == secret.IsNull():
	case id.IsNull():
		resp.Diagnostics.AddAttributeError(s3.AtName("secret_access_key_wo"), "Secret key without its id",
			"secret_access_key_wo belongs to an access_key_id, which is not set. Set both, or neither to use the daemon's own AWS credentials.")
	default:
		resp.Diagnostics.AddAttributeError(s3.AtName("access_key_id"), "Access key without its secret",
			"access_key_id needs secret_access_key_wo. Set both, or neither to use the daemon's own AWS credentials.")
	}
}

// ModifyPlan says at plan what apply would meet: what Create and Update would
// fail with, and backups that a move leaves behind.
func (r *destinationResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	name, ok := plannedName(ctx, req, &resp.Diagnostics)
	if !ok {
		return
	}
	var recovery types.Int64
	resp.Diagnostics.Append(req.Plan.GetAttribute(ctx, path.Root("recovery_password_wo_version"), &recovery)...)
	r.session.plan("destination", name)
	if recovery.IsNull() {
		r.session.plan(withoutRecovery, name)
	}
	thingPlan{
		kind: "destination", session: r.session,
		taken: func(ctx context.Context, name string) (string, wire.Meta, bool) {
			d, found := r.session.destinations.named(ctx, name)
			return d.ID, d.Meta, found
		},
		preflight: func(ctx context.Context, id string) ([]envbackup.Finding, error) {
			var m destinationModel
			if diags := resp.Plan.Get(ctx, &m); diags.HasError() {
				resp.Diagnostics.Append(diags...)
				return nil, nil
			}
			said, err := r.session.client.PreflightDestination(ctx, wire.DestinationPreflight{
				ID: id, Destination: m.spec(), SecretAccessKeySet: !m.secretVersion().IsNull(),
			})
			return said.Findings, err
		},
	}.modify(ctx, name, req, resp)
}

func (r *destinationResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	const doing = "create the destination"
	var m destinationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	in, diags := m.input(ctx, r.session.owner, req.Config, nil)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	made, err := c.CreateDestination(ctx, in)
	if err != nil {
		r.session.writeFailure(&resp.Diagnostics, doing, "destination", m.Name.ValueString(), err)
		return
	}
	// It exists from here on: state first, whatever may fail afterwards.
	m.read(made)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, made.Version)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, made.ID)...)
	addFindings(&resp.Diagnostics, made.Findings)
}

func (r *destinationResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m destinationModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, m.ID.ValueString())...)
	if resp.Diagnostics.HasError() || !r.session.readable(&resp.Diagnostics) {
		return
	}
	r.session.meet(m.ID.ValueString())
	d, found, err := find(ctx, &r.session.destinations, m.ID.ValueString(), r.session.client.Destination)
	switch {
	case err != nil:
		r.session.readFailed(&resp.Diagnostics, "read the destinations", err)
		return
	case !found:
		resp.State.RemoveResource(ctx)
		return
	}
	m.read(d)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, d.Version)...)
}

func (r *destinationResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	const doing = "change the destination"
	var m, before destinationModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &before)...)
	version, diags := versionOf(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	in, diags := m.input(ctx, r.session.owner, req.Config, &before)
	resp.Diagnostics.Append(diags...)
	if resp.Diagnostics.HasError() {
		return
	}
	changed, err := c.UpdateDestination(ctx, m.ID.ValueString(), in, version)
	if err != nil {
		r.session.writeFailure(&resp.Diagnostics, doing, "destination", m.Name.ValueString(), err)
		return
	}
	m.read(changed)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(setVersion(ctx, resp.Private, changed.Version)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, changed.ID)...)
	addFindings(&resp.Diagnostics, changed.Findings)
}

func (r *destinationResource) Delete(ctx context.Context, req resource.DeleteRequest, resp *resource.DeleteResponse) {
	const doing = "delete the destination"
	var m destinationModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	version, diags := versionOf(ctx, req.Private)
	resp.Diagnostics.Append(diags...)
	c, ok := r.session.write(&resp.Diagnostics, doing)
	if resp.Diagnostics.HasError() || !ok {
		return
	}
	r.session.meet(m.ID.ValueString())
	if err := c.DeleteDestination(ctx, m.ID.ValueString(), version); err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
		r.session.writeFailure(&resp.Diagnostics, doing, "destination", m.Name.ValueString(), err)
	}
}

func (r *destinationResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	importByKey(ctx, r.session, "destination", req, resp, func(ctx context.Context, key string) (string, error) {
		d, err := r.session.client.Destination(ctx, key)
		return d.ID, err
	})
}
