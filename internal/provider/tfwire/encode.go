package tfwire

import (
	"maps"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
)

// Nulls returns a null for each attribute of an object, in the order of Names.
func (t *Type) Nulls() []attr.Value {
	values := make([]attr.Value, len(t.fields))
	for i, f := range t.fields {
		values[i] = f.null
	}
	return values
}

// Encode is the reverse of Values. The values must be of the attributes' types
// and in the order of Names; they may be unknown.
func (t *Type) Encode(values []attr.Value) []byte {
	b := appendLength(make([]byte, 0, 1024), fixMap, len(t.fields))
	for i, f := range t.fields {
		b = appendValue(appendString(b, f.name), values[i])
	}
	return b
}

func appendValue(b []byte, v attr.Value) []byte {
	switch {
	case v.IsNull():
		return append(b, codeNil)
	case v.IsUnknown():
		return append(b, codeFixExt1, 0, 0)
	}
	switch v := v.(type) {
	case basetypes.BoolValue:
		if v.ValueBool() {
			return append(b, codeTrue)
		}
		return append(b, codeFalse)
	case basetypes.Int64Value:
		return appendInt(b, v.ValueInt64())
	case basetypes.ListValue:
		elements := v.Elements()
		b = appendLength(b, fixArray, len(elements))
		for _, e := range elements {
			b = appendValue(b, e)
		}
		return b
	case basetypes.MapValue:
		return appendMap(b, v.Elements())
	case basetypes.ObjectValue:
		return appendMap(b, v.Attributes())
	case interface{ ValueString() string }: // a text of any type
		return appendString(b, v.ValueString())
	}
	return append(b, codeNil) // Prepare knows no other type
}

func appendMap(b []byte, values map[string]attr.Value) []byte {
	b = appendLength(b, fixMap, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		b = appendValue(appendString(b, key), values[key])
	}
	return b
}
