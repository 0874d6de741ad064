package provider

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// idAttribute is the id that every resource has.
func idAttribute(kind string) schema.StringAttribute {
	return schema.StringAttribute{
		Computed:            true,
		MarkdownDescription: "Id of the " + kind + ", made by the daemon; it never changes.",
		PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
	}
}

func identitySchema() identityschema.Schema {
	return identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"id": identityschema.StringAttribute{RequiredForImport: true, Description: "Id that the daemon made."},
	}}
}

// setIdentity records the identity where Terraform knows identities (1.12 on).
// In Read it comes before every return: a resource that left the state without
// an identity is an error in every Terraform.
func setIdentity(ctx context.Context, identity *tfsdk.ResourceIdentity, id string) diag.Diagnostics {
	if identity == nil {
		return nil
	}
	return identity.SetAttribute(ctx, path.Root("id"), types.StringValue(id))
}

// privateState is the part of a resource's state that is for the provider
// alone.
type privateState interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
	SetKey(ctx context.Context, key string, value []byte) diag.Diagnostics
}

const versionKey = "version"

// setVersion keeps the version that was read, for the If-Match of the next
// change.
func setVersion(ctx context.Context, private privateState, version int64) diag.Diagnostics {
	return private.SetKey(ctx, versionKey, fmt.Appendf(nil, "%d", version))
}

// versionOf returns the kept version, 0 for none.
func versionOf(ctx context.Context, private privateState) (int64, diag.Diagnostics) {
	raw, diags := private.GetKey(ctx, versionKey)
	var version int64
	if len(raw) > 0 && json.Unmarshal(raw, &version) != nil {
		return 0, diags
	}
	return version, diags
}

// importByKey resolves what a person imports by, an id or a name, to the id
// from which Read goes on.
func importByKey(ctx context.Context, s *session, kind string, req resource.ImportStateRequest, resp *resource.ImportStateResponse,
	lookup func(ctx context.Context, key string) (id string, err error),
) {
	key := req.ID
	if key == "" && req.Identity != nil {
		var id types.String
		resp.Diagnostics.Append(req.Identity.GetAttribute(ctx, path.Root("id"), &id)...)
		key = id.ValueString()
	}
	if s == nil || s.client == nil {
		resp.Diagnostics.AddError("Cannot import the "+kind, "The provider's endpoint is not known yet.")
	} else if s.absence != nil {
		s.sayAbsence(&resp.Diagnostics, diag.SeverityError)
		if !resp.Diagnostics.HasError() { // said before, but an import without a result needs its own
			resp.Diagnostics.AddError("Cannot import the "+kind, "The daemon does not answer; see the first error.")
		}
	}
	if resp.Diagnostics.HasError() {
		return
	}
	id, err := lookup(ctx, key)
	switch {
	case envbackup.CodeOf(err) == envbackup.CodeNotFound:
		resp.Diagnostics.AddError("Nothing to import under this id",
			fmt.Sprintf("%q is neither the %s nor the id of %s.\n\nList them with:  envbackup %s", key, nameForm(kind), article(kind), listCommand(kind)))
		return
	case err != nil:
		addError(&resp.Diagnostics, "import the "+kind, err)
		return
	}
	resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root("id"), id)...)
	resp.Diagnostics.Append(setIdentity(ctx, resp.Identity, id)...)
}

// addNameTaken says that the daemon has a thing of this name already, and how
// to take it over.
func addNameTaken(diags *diag.Diagnostics, kind, name, importID string, meta wire.Meta) {
	maker := "by hand (API, console or command line)"
	if meta.Owner != "" {
		maker = fmt.Sprintf("by the configuration %q", meta.Owner)
	}
	diags.AddAttributeError(path.Root("name"), sentenceCase(kind)+" name already taken",
		fmt.Sprintf("The daemon already has %s %q (id %s), made %s on %s. To manage it here, add:\n\n"+
			"  import {\n    to       = envbackup_%s.LABEL\n    id       = %q\n    provider = envbackup\n  }",
			article(kind), name, meta.ID, maker, meta.CreatedAt.UTC().Format("2006-01-02"), kind, importID))
}

func article(kind string) string {
	if strings.ContainsRune("aeiou", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}

func nameForm(kind string) string {
	if kind == "schedule" {
		return "ENVIRONMENT/NAME"
	}
	return "name"
}

// listCommand is the command line that lists things of this kind. Only
// schedules have one; their list shows the other names as well.
func listCommand(string) string { return "schedules list" }

// sentenceCase returns text with a capital letter.
func sentenceCase(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// textOrNull returns what the daemon has, and null for nothing unless state
// says the empty text.
func textOrNull(prior types.String, text string) types.String {
	if text == "" && prior.ValueString() == "" && !prior.IsUnknown() {
		if prior.IsNull() {
			return types.StringNull()
		}
		return prior
	}
	if text == "" {
		return types.StringNull()
	}
	return types.StringValue(text)
}

// defaulted returns what the daemon has, but null while state says null and
// the daemon has the default: an explicit default is no change.
func defaulted(prior types.String, text, byDefault string) types.String {
	if text == byDefault && prior.IsNull() {
		return prior
	}
	return textOrNull(prior, text)
}

// defaultedBool is defaulted for a flag that may be absent.
func defaultedBool(prior types.Bool, flag *bool, byDefault bool) types.Bool {
	if flag == nil || *flag == byDefault && prior.IsNull() {
		if !prior.IsNull() && !prior.IsUnknown() && prior.ValueBool() == byDefault {
			return prior
		}
		return types.BoolNull()
	}
	return types.BoolValue(*flag)
}

// defaultedInt is defaulted for a number that may be absent.
func defaultedInt(prior types.Int64, n *int64, byDefault int64) types.Int64 {
	if n == nil || *n == byDefault && prior.IsNull() {
		if !prior.IsNull() && !prior.IsUnknown() && prior.ValueInt64() == byDefault {
			return prior
		}
		return types.Int64Null()
	}
	return types.Int64Value(*n)
}
