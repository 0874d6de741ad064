package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// providerKey is the name under which the generator looks for the schema of
// "envbackup".
const providerKey = "registry.terraform.io/hashicorp/envbackup"

type object = map[string]any

// document asks the server for its schemas and arranges them.
func document(ctx context.Context, server tfprotov6.ProviderServer) (object, error) {
	schemas, err := server.GetProviderSchema(ctx, &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		return nil, fmt.Errorf("get provider schema: %w", err)
	}
	if err := failure(schemas.Diagnostics); err != nil {
		return nil, fmt.Errorf("get provider schema: %w", err)
	}
	identities, err := server.GetResourceIdentitySchemas(ctx, &tfprotov6.GetResourceIdentitySchemasRequest{})
	if err != nil {
		return nil, fmt.Errorf("get identity schemas: %w", err)
	}
	if err := failure(identities.Diagnostics); err != nil {
		return nil, fmt.Errorf("get identity schemas: %w", err)
	}
	resources, sources, functions, ids := object{}, object{}, object{}, object{}
	for name, s := range schemas.ResourceSchemas {
		resources[name] = schemaOf(s)
	}
	for name, s := range schemas.DataSourceSchemas {
		sources[name] = schemaOf(s)
	}
	for name, f := range schemas.Functions {
		functions[name] = functionOf(f)
	}
	for name, s := range identities.IdentitySchemas {
		ids[name] = identityOf(s)
	}
	return object{
		"format_version": "1.0",
		"provider_schemas": object{providerKey: object{
			"provider": schemaOf(schemas.Provider), "resource_schemas": resources, "data_source_schemas": sources,
			"functions": functions, "resource_identity_schemas": ids,
		}},
	}, nil
}

func failure(diags []*tfprotov6.Diagnostic) error {
	var errs []error
	for _, d := range diags {
		if d.Severity == tfprotov6.DiagnosticSeverityError {
			errs = append(errs, fmt.Errorf("%s: %s", d.Summary, d.Detail))
		}
	}
	return errors.Join(errs...)
}

func schemaOf(s *tfprotov6.Schema) object {
	block := object{"attributes": attributesOf(s.Block.Attributes)}
	describe(block, s.Block.Description, s.Block.DescriptionKind)
	return object{"version": s.Version, "block": block}
}

func attributesOf(attributes []*tfprotov6.SchemaAttribute) object {
	out := object{}
	for _, a := range attributes {
		o := object{}
		if a.NestedType != nil {
			o["nested_type"] = object{"attributes": attributesOf(a.NestedType.Attributes), "nesting_mode": nesting(a.NestedType.Nesting)}
		} else {
			o["type"] = typeOf(a.Type)
		}
		describe(o, a.Description, a.DescriptionKind)
		for key, set := range map[string]bool{
			"required": a.Required, "optional": a.Optional, "computed": a.Computed,
			"sensitive": a.Sensitive, "write_only": a.WriteOnly, "deprecated": a.Deprecated,
		} {
			if set {
				o[key] = true
			}
		}
		out[a.Name] = o
	}
	return out
}

func nesting(mode tfprotov6.SchemaObjectNestingMode) string {
	switch mode {
	case tfprotov6.SchemaObjectNestingModeList:
		return "list"
	case tfprotov6.SchemaObjectNestingModeSet:
		return "set"
	case tfprotov6.SchemaObjectNestingModeMap:
		return "map"
	default:
		return "single"
	}
}

func functionOf(f *tfprotov6.Function) object {
	// Terraform prints no kind for the descriptions of functions.
	o := object{"return_type": typeOf(f.Return.Type), "summary": f.Summary, "description": f.Description}
	var parameters []object
	for _, p := range f.Parameters {
		parameter := object{"name": p.Name, "type": typeOf(p.Type), "description": p.Description}
		if p.AllowNullValue {
			parameter["is_nullable"] = true
		}
		parameters = append(parameters, parameter)
	}
	if parameters != nil {
		o["parameters"] = parameters
	}
	return o
}

func identityOf(s *tfprotov6.ResourceIdentitySchema) object {
	attributes := object{}
	for _, a := range s.IdentityAttributes {
		o := object{"type": typeOf(a.Type), "description": a.Description}
		if a.RequiredForImport {
			o["required_for_import"] = true
		}
		if a.OptionalForImport {
			o["optional_for_import"] = true
		}
		attributes[a.Name] = o
	}
	return object{"version": s.Version, "attributes": attributes}
}

func describe(o object, text string, kind tfprotov6.StringKind) {
	if text == "" {
		return
	}
	o["description"], o["description_kind"] = text, "plain"
	if kind == tfprotov6.StringKindMarkdown {
		o["description_kind"] = "markdown"
	}
}

// typeOf returns a type in Terraform's JSON notation.
func typeOf(t tftypes.Type) any {
	raw, err := t.MarshalJSON() //nolint:staticcheck // deprecated for providers, and the only writer of this notation
	if err != nil {
		return err.Error() // the generator refuses it
	}
	return json.RawMessage(raw)
}
