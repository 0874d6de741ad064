package provider

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/listvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/defaults"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider/tfwire"
)

// quickSchema is a schema of which all rules are known that the framework
// holds a configuration and a plan to.
type quickSchema struct {
	schema     schema.Schema
	value      *tfwire.Type
	attributes []schema.Attribute // in the order of value.Names
	defaults   map[int]attr.Value // by attribute
	replaces   map[int]bool       // attributes whose change makes another resource
}

// These are the validators that look at nothing but the value that they are
// given, and the plan modifiers that do nothing to a value that is unchanged.
var (
	plainValidators = typesOf(
		notEmpty{}, thingName{}, age{}, absolutePath{}, excludePatterns{}, instant{},
		stringvalidator.LengthAtMost(1), stringvalidator.LengthAtLeast(1), stringvalidator.OneOf("a"),
		int64validator.AtLeast(0), int64validator.AtMost(1), int64validator.Between(0, 1),
		listvalidator.NoNullValues(), listvalidator.SizeAtLeast(1), mapvalidator.SizeAtLeast(1),
	)
	plainModifiers = typesOf(keepSpelling{}, stringplanmodifier.RequiresReplace(), stringplanmodifier.UseStateForUnknown())
	plainDefaults  = typesOf(stringdefault.StaticString(""), booldefault.StaticBool(false))
)

func typesOf(examples ...any) map[reflect.Type]bool {
	types := map[reflect.Type]bool{}
	for _, e := range examples {
		types[reflect.TypeOf(e)] = true
	}
	return types
}

// allOf reports an error for the first of the things whose type is not known.
func allOf[T any](things []T, known map[reflect.Type]bool) error {
	for _, thing := range things {
		if t := reflect.TypeOf(thing); !known[t] {
			return fmt.Errorf("%s is not known to be plain", t)
		}
	}
	return nil
}

// prepareQuick fails for a schema with a rule that is not known.
func prepareQuick(s schema.Schema) (quickSchema, error) {
	q := quickSchema{schema: s, defaults: map[int]attr.Value{}, replaces: map[int]bool{}}
	if len(s.Blocks) > 0 || s.DeprecationMessage != "" {
		return q, errors.New("prepare schema: it has blocks, or is deprecated")
	}
	var err error
	if q.value, err = tfwire.Prepare(s.Type()); err != nil {
		return q, err
	}
	for i, name := range q.value.Names() {
		attribute := s.Attributes[name]
		if err := plainAttribute(attribute, true); err != nil {
			return q, fmt.Errorf("prepare attribute %s: %w", name, err)
		}
		q.attributes = append(q.attributes, attribute)
		if value := defaultOf(attribute); value != nil {
			q.defaults[i] = value
		}
		if text, ok := attribute.(schema.StringAttribute); ok {
			q.replaces[i] = slices.ContainsFunc(text.PlanModifiers, func(m planmodifier.String) bool {
				return reflect.TypeOf(m) == reflect.TypeOf(stringplanmodifier.RequiresReplace())
			})
		}
	}
	return q, nil
}

// plainAttribute reports an error for what it does not know about a.
func plainAttribute(a schema.Attribute, top bool) error {
	if a.IsWriteOnly() || a.GetDeprecationMessage() != "" {
		return errors.New("write-only and deprecated attributes are not known")
	}
	switch {
	case !top && (a.IsComputed() || defaultOf(a) != nil):
		return errors.New("nested computed attributes are not known")
	case a.IsComputed() && a.IsOptional() && defaultOf(a) == nil:
		return errors.New("computed attributes that can be set and have no default are not known")
	}
	switch a := a.(type) {
	case schema.StringAttribute:
		if err := plainSpelling(a); err != nil {
			return err
		}
		return errors.Join(allOf(a.Validators, plainValidators), allOf(a.PlanModifiers, plainModifiers), plainDefault(a.Default))
	case schema.BoolAttribute:
		return errors.Join(allOf(a.Validators, plainValidators), allOf(a.PlanModifiers, plainModifiers), plainDefault(a.Default))
	case schema.Int64Attribute:
		return errors.Join(allOf(a.Validators, plainValidators), allOf(a.PlanModifiers, plainModifiers), plainDefault(a.Default))
	case schema.ListAttribute:
		return errors.Join(allOf(a.Validators, plainValidators), allOf(a.PlanModifiers, plainModifiers), plainDefault(a.Default))
	case schema.SingleNestedAttribute:
		return errors.Join(allOf(a.Validators, plainValidators), allOf(a.PlanModifiers, plainModifiers), plainDefault(a.Default),
			plainNested(a.Attributes))
	case schema.MapNestedAttribute:
		return errors.Join(allOf(a.Validators, plainValidators), allOf(a.PlanModifiers, plainModifiers), plainDefault(a.Default),
			allOf(a.NestedObject.Validators, plainValidators), allOf(a.NestedObject.PlanModifiers, plainModifiers),
			plainNested(a.NestedObject.Attributes))
	}
	return fmt.Errorf("%T is not known", a)
}

// plainSpelling reports an error unless a text has a notation exactly when its
// plans keep the state's spelling.
func plainSpelling(a schema.StringAttribute) error {
	typ, ok := a.CustomType.(spelledType)
	if keeps := slices.Contains(a.PlanModifiers, planmodifier.String(keepSpelling{typ.notation})); a.CustomType != nil && !ok || ok != keeps {
		return errors.New("a custom type without its plan modifier is not known")
	}
	return nil
}

func plainNested(attributes map[string]schema.Attribute) error {
	for name, a := range attributes {
		if err := plainAttribute(a, false); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func plainDefault[T any](d T) error {
	if any(d) == nil {
		return nil
	}
	return allOf([]T{d}, plainDefaults)
}

// defaultOf returns the value of a default that plainDefault knows, or nil.
func defaultOf(a schema.Attribute) attr.Value {
	ctx := context.Background() // a static default does not use it
	switch a := a.(type) {
	case schema.StringAttribute:
		if a.Default != nil {
			var resp defaults.StringResponse
			a.Default.DefaultString(ctx, defaults.StringRequest{}, &resp)
			return resp.PlanValue
		}
	case schema.BoolAttribute:
		if a.Default != nil {
			var resp defaults.BoolResponse
			a.Default.DefaultBool(ctx, defaults.BoolRequest{}, &resp)
			return resp.PlanValue
		}
	}
	return nil
}

// quiet reports whether the framework and the validators of the schema have
// nothing to say about a configuration that is known throughout.
func (q quickSchema) quiet(ctx context.Context, values []attr.Value) bool {
	for i, name := range q.value.Names() {
		if !quietAttribute(ctx, q.attributes[i], path.Root(name), values[i]) {
			return false
		}
	}
	return true
}

func quietAttribute(ctx context.Context, a schema.Attribute, at path.Path, v attr.Value) bool {
	if a.IsRequired() && v.IsNull() || a.IsComputed() && !a.IsOptional() && !v.IsNull() {
		return false
	}
	switch a := a.(type) {
	case schema.StringAttribute:
		text, ok := v.(basetypes.StringValuable)
		if !ok {
			return false
		}
		value, diags := text.ToStringValue(ctx)
		for _, check := range a.Validators {
			var resp validator.StringResponse
			check.ValidateString(ctx, validator.StringRequest{Path: at, PathExpression: at.Expression(), ConfigValue: value}, &resp)
			diags.Append(resp.Diagnostics...)
		}
		return len(diags) == 0
	case schema.BoolAttribute:
		value, ok := v.(types.Bool)
		for _, check := range a.Validators {
			var resp validator.BoolResponse
			check.ValidateBool(ctx, validator.BoolRequest{Path: at, PathExpression: at.Expression(), ConfigValue: value}, &resp)
			ok = ok && len(resp.Diagnostics) == 0
		}
		return ok
	case schema.Int64Attribute:
		value, ok := v.(types.Int64)
		for _, check := range a.Validators {
			var resp validator.Int64Response
			check.ValidateInt64(ctx, validator.Int64Request{Path: at, PathExpression: at.Expression(), ConfigValue: value}, &resp)
			ok = ok && len(resp.Diagnostics) == 0
		}
		return ok
	case schema.ListAttribute:
		value, ok := v.(types.List)
		for _, check := range a.Validators {
			var resp validator.ListResponse
			check.ValidateList(ctx, validator.ListRequest{Path: at, PathExpression: at.Expression(), ConfigValue: value}, &resp)
			ok = ok && len(resp.Diagnostics) == 0
		}
		return ok
	case schema.SingleNestedAttribute:
		value, ok := v.(types.Object)
		return ok && quietObject(ctx, a.Validators, a.Attributes, at, value)
	case schema.MapNestedAttribute:
		value, ok := v.(types.Map)
		for _, check := range a.Validators {
			var resp validator.MapResponse
			check.ValidateMap(ctx, validator.MapRequest{Path: at, PathExpression: at.Expression(), ConfigValue: value}, &resp)
			ok = ok && len(resp.Diagnostics) == 0
		}
		for key, element := range value.Elements() {
			object, is := element.(types.Object)
			ok = ok && is && !object.IsNull() && quietObject(ctx, a.NestedObject.Validators, a.NestedObject.Attributes, at.AtMapKey(key), object)
		}
		return ok
	}
	return false
}

func quietObject(ctx context.Context, checks []validator.Object, attributes map[string]schema.Attribute, at path.Path, value types.Object) bool {
	for _, check := range checks {
		var resp validator.ObjectResponse
		check.ValidateObject(ctx, validator.ObjectRequest{Path: at, PathExpression: at.Expression(), ConfigValue: value}, &resp)
		if len(resp.Diagnostics) > 0 {
			return false
		}
	}
	if value.IsNull() {
		return true
	}
	values := value.Attributes()
	for name, a := range attributes {
		v, ok := values[name]
		if !ok || !quietAttribute(ctx, a, at.AtName(name), v) {
			return false
		}
	}
	return true
}
