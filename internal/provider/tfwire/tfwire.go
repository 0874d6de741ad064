// Package tfwire reads values in the encodings of Terraform's plugin protocol
// without the plugin framework: MessagePack into the framework's values, and
// the JSON of a state file into MessagePack. The framework does the same by
// way of reflection and a generic tree, twenty times as slow, which is most of
// what a plan of a thousand resources costs.
//
// It understands only what is plain: a value that is known throughout, has
// every attribute of its type in the order in which Terraform writes them, and
// whole numbers that fit into 64 bits. Everything else it leaves to the
// framework by saying that it cannot; it never guesses and never reports an
// error of its own.
//
// What a value means is not decided here.
package tfwire

import (
	"context"
	"fmt"
	"slices"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

type kind int

const (
	kindBool kind = iota
	kindInt
	kindString
	kindList
	kindMap
	kindObject
)

// Type is a type of the framework, prepared for reading. It does not change
// and may be used concurrently.
type Type struct {
	kind kind
	null attr.Value

	text   basetypes.StringTypable // of kindString
	elem   *Type                   // of kindList and kindMap
	fields []field                 // of kindObject, by name
	types  map[string]attr.Type    // of kindObject
	names  []string                // of kindObject
}

type field struct {
	name string
	*Type
}

// Prepare returns t for reading. It fails for types that this package does not
// know: sets, floating-point and arbitrary numbers, dynamic values.
func Prepare(t attr.Type) (*Type, error) {
	ctx := context.Background() // types do not use it
	null, err := t.ValueFromTerraform(ctx, tftypes.NewValue(t.TerraformType(ctx), nil))
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", t, err)
	}
	p := &Type{null: null}
	switch t := t.(type) {
	case basetypes.ObjectType:
		p.kind, p.types = kindObject, t.AttrTypes
		for name, attribute := range t.AttrTypes {
			prepared, err := Prepare(attribute)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			p.fields = append(p.fields, field{name, prepared})
			p.names = append(p.names, name)
		}
		slices.Sort(p.names)
		slices.SortFunc(p.fields, func(a, b field) int { return slices.Index(p.names, a.name) - slices.Index(p.names, b.name) })
		return p, nil
	case basetypes.ListType:
		p.kind = kindList
		p.elem, err = Prepare(t.ElemType)
	case basetypes.MapType:
		p.kind = kindMap
		p.elem, err = Prepare(t.ElemType)
	case basetypes.BoolType:
		p.kind = kindBool
	case basetypes.Int64Type:
		p.kind = kindInt
	case basetypes.StringTypable:
		p.kind, p.text = kindString, t
	default:
		return nil, fmt.Errorf("prepare %s: no such type is known", t)
	}
	return p, err
}

// Names returns the names of an object's attributes in order. Do not change
// them.
func (t *Type) Names() []string { return t.names }

// Index returns the place of an attribute in Names, -1 for none.
func (t *Type) Index(name string) int {
	i, found := slices.BinarySearch(t.names, name)
	if !found {
		return -1
	}
	return i
}

// Values returns the attributes of an object in the order of Names. It reports
// false for what is not plain, the null object among it.
func (t *Type) Values(encoded []byte) ([]attr.Value, bool) {
	r := reader{rest: encoded}
	values := make([]attr.Value, len(t.fields))
	ok := t.kind == kindObject && r.object(t, func(i int, f *Type) bool {
		var ok bool
		values[i], ok = f.read(&r)
		return ok
	})
	return values, ok && len(r.rest) == 0
}

// Encoded returns the attributes of an object in the order of Names, each as
// it is encoded: parts of encoded, not copies.
func (t *Type) Encoded(encoded []byte) ([][]byte, bool) {
	r := reader{rest: encoded}
	values := make([][]byte, len(t.fields))
	ok := t.kind == kindObject && r.object(t, func(i int, _ *Type) bool {
		before := r.rest
		ok := r.skip(0)
		values[i] = before[:len(before)-len(r.rest)]
		return ok
	})
	return values, ok && len(r.rest) == 0
}

// read decodes the next value, which must be plain.
func (t *Type) read(r *reader) (attr.Value, bool) {
	if r.null() {
		return t.null, true
	}
	switch t.kind {
	case kindBool:
		b, ok := r.bool()
		return basetypes.NewBoolValue(b), ok
	case kindInt:
		n, ok := r.int()
		return basetypes.NewInt64Value(n), ok
	case kindString:
		s, ok := r.string()
		if !ok {
			return nil, false
		}
		v, diags := t.text.ValueFromString(context.Background(), basetypes.NewStringValue(string(s)))
		return v, len(diags) == 0
	case kindList:
		return t.readList(r)
	case kindMap:
		return t.readMap(r)
	case kindObject:
		values := make(map[string]attr.Value, len(t.fields))
		if !r.object(t, func(i int, f *Type) bool {
			v, ok := f.read(r)
			values[t.names[i]] = v
			return ok
		}) {
			return nil, false
		}
		v, diags := basetypes.NewObjectValue(t.types, values)
		return v, len(diags) == 0
	}
	return nil, false
}

func (t *Type) readList(r *reader) (attr.Value, bool) {
	n, ok := r.arrayLen()
	if !ok {
		return nil, false
	}
	values := make([]attr.Value, 0, n)
	for range n {
		v, ok := t.elem.read(r)
		if !ok {
			return nil, false
		}
		values = append(values, v)
	}
	v, diags := basetypes.NewListValue(t.elem.null.Type(context.Background()), values)
	return v, len(diags) == 0
}

func (t *Type) readMap(r *reader) (attr.Value, bool) {
	n, ok := r.mapLen()
	if !ok {
		return nil, false
	}
	values := make(map[string]attr.Value, n)
	for range n {
		key, ok := r.string()
		if !ok {
			return nil, false
		}
		v, ok := t.elem.read(r)
		if _, twice := values[string(key)]; twice || !ok {
			return nil, false
		}
		values[string(key)] = v
	}
	v, diags := basetypes.NewMapValue(t.elem.null.Type(context.Background()), values)
	return v, len(diags) == 0
}
