package tfwire_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider/tfwire"
)

// everything is a type with all that is known.
var everything = types.ObjectType{AttrTypes: map[string]attr.Type{
	"text": types.StringType, "flag": types.BoolType, "count": types.Int64Type,
	"names": types.ListType{ElemType: types.StringType},
	"tags":  types.MapType{ElemType: types.Int64Type},
	"inner": types.ObjectType{AttrTypes: map[string]attr.Type{"b": types.StringType, "a": types.BoolType}},
	"doors": types.MapType{ElemType: types.ObjectType{AttrTypes: map[string]attr.Type{"wide": types.BoolType, "high": types.Int64Type}}},
	"rows":  types.ListType{ElemType: types.ListType{ElemType: types.StringType}},
}}

func prepared(t testing.TB) *tfwire.Type {
	t.Helper()
	p, err := tfwire.Prepare(everything)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rounds() int {
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		return 300_000
	}
	return 3_000
}

// maker makes random values. plain says whether the last one was plain.
type maker struct {
	*rand.Rand
	odd   bool // make unknown values, fractions and huge numbers as well
	plain bool
}

var samples = []string{
	"", "a", "30 2 * * *", "Größe", "a\"b\\c\n\t<&>", "\u2028", "日本", strings.Repeat("x", 31), strings.Repeat("x", 32), strings.Repeat("y", 255), strings.Repeat("z", 256), strings.Repeat("w", 70_000),
}

func (m *maker) value(t tftypes.Type, depth int) tftypes.Value {
	if m.IntN(12) == 0 && depth > 0 {
		return tftypes.NewValue(t, nil)
	}
	if m.odd && m.IntN(60) == 0 {
		m.plain = false
		return tftypes.NewValue(t, tftypes.UnknownValue)
	}
	size := m.IntN(4)
	if m.IntN(20) == 0 {
		size = 14 + m.IntN(6) // around the length that has a form of its own
	}
	switch t := t.(type) {
	case tftypes.Object:
		values := map[string]tftypes.Value{}
		for name, attribute := range t.AttributeTypes {
			values[name] = m.value(attribute, depth+1)
		}
		return tftypes.NewValue(t, values)
	case tftypes.List:
		values := []tftypes.Value{}
		for range size {
			values = append(values, m.value(t.ElementType, depth+1))
		}
		return tftypes.NewValue(t, values)
	case tftypes.Map:
		values := map[string]tftypes.Value{}
		for i := range size {
			values[fmt.Sprint(samples[m.IntN(5)], i)] = m.value(t.ElementType, depth+1)
		}
		return tftypes.NewValue(t, values)
	}
	switch {
	case t.Is(tftypes.String):
		s := samples[m.IntN(len(samples)-1)]
		if m.IntN(500) == 0 {
			s = samples[len(samples)-1]
		}
		return tftypes.NewValue(t, s)
	case t.Is(tftypes.Bool):
		return tftypes.NewValue(t, m.IntN(2) == 0)
	}
	if m.odd && m.IntN(20) == 0 {
		m.plain = false
		return tftypes.NewValue(t, []*big.Float{big.NewFloat(1.5), big.NewFloat(1e300), new(big.Float).SetUint64(1 << 63)}[m.IntN(3)])
	}
	n := int64(m.Uint64()) >> m.IntN(64)
	return tftypes.NewValue(t, n)
}

func encoded(t testing.TB, v tftypes.Value) []byte {
	t.Helper()
	d, err := tfprotov6.NewDynamicValue(v.Type(), v)
	if err != nil {
		t.Fatal(err)
	}
	return d.MsgPack
}

// TestValues: what is read is what the framework reads, and everything that is
// plain is read.
func TestValues(t *testing.T) {
	t.Parallel()
	p, typ := prepared(t), everything.TerraformType(t.Context())
	m := &maker{Rand: rand.New(rand.NewPCG(1, 2)), odd: true}
	for range rounds() {
		m.plain = true
		v := m.value(typ, 0)
		got, ok := p.Values(encoded(t, v))
		if ok != m.plain {
			t.Fatalf("%s is read: %t, want %t", v, ok, m.plain)
		}
		raw, rawOK := p.Encoded(encoded(t, v))
		if !ok {
			continue
		}
		want, err := everything.ValueFromTerraform(t.Context(), v)
		if err != nil || !rawOK {
			t.Fatal(err, rawOK)
		}
		for i, name := range p.Names() {
			w := want.(types.Object).Attributes()[name]
			if !got[i].Equal(w) || got[i].Type(t.Context()).String() != w.Type(t.Context()).String() {
				t.Fatalf("%s of %s is %s, want %s", name, v, got[i], w)
			}
			one, err := w.ToTerraformValue(t.Context())
			if err != nil || !sameValue(t, raw[i], one) {
				t.Fatalf("%s of %s is encoded as %x, want %x (%v)", name, v, raw[i], encoded(t, one), err)
			}
		}
	}
}

// asJSON is a value as it stands in a state file.
func asJSON(t testing.TB, v tftypes.Value) any {
	t.Helper()
	if v.IsNull() {
		return nil
	}
	switch v.Type().(type) {
	case tftypes.Object, tftypes.Map:
		var values map[string]tftypes.Value
		mustAs(t, v, &values)
		out := map[string]any{}
		for name, value := range values {
			out[name] = asJSON(t, value)
		}
		return out
	case tftypes.List:
		var values []tftypes.Value
		mustAs(t, v, &values)
		out := []any{}
		for _, value := range values {
			out = append(out, asJSON(t, value))
		}
		return out
	}
	switch {
	case v.Type().Is(tftypes.String):
		var s string
		mustAs(t, v, &s)
		return s
	case v.Type().Is(tftypes.Bool):
		var b bool
		mustAs(t, v, &b)
		return b
	}
	var f big.Float
	mustAs(t, v, &f)
	return json.Number(f.Text('f', -1))
}

func mustAs(t testing.TB, v tftypes.Value, target any) {
	t.Helper()
	if err := v.As(target); err != nil {
		t.Fatal(err)
	}
}

// sameValue reports whether got is want encoded. The framework writes the keys
// of a map in random order, so that only the length is always the same.
func sameValue(t testing.TB, got []byte, want tftypes.Value) bool {
	t.Helper()
	v, err := tfprotov6.DynamicValue{MsgPack: got}.Unmarshal(want.Type())
	return err == nil && v.Equal(want) && len(got) == len(encoded(t, want))
}

// TestFromJSON: the state that comes out is the one that the framework makes
// of the same file, with and without indentation.
func TestFromJSON(t *testing.T) {
	t.Parallel()
	p, typ := prepared(t), everything.TerraformType(t.Context())
	m := &maker{Rand: rand.New(rand.NewPCG(3, 4))}
	for i := range rounds() {
		v := m.value(typ, 0)
		text, err := json.Marshal(asJSON(t, v))
		if i%2 == 0 {
			text, err = json.MarshalIndent(asJSON(t, v), "      ", "  ")
		}
		if err != nil {
			t.Fatal(err)
		}
		got, ok := p.FromJSON(text)
		if !ok || !sameValue(t, got, v) {
			t.Fatalf("%s becomes %x (%t), want %x", text, got, ok, encoded(t, v))
		}
	}
}

// TestNotPlain: what is unusual is left to the framework.
func TestNotPlain(t *testing.T) {
	t.Parallel()
	p, err := tfwire.Prepare(types.ObjectType{AttrTypes: map[string]attr.Type{"a": types.Int64Type, "b": types.StringType, "c": types.MapType{ElemType: types.BoolType}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "null", "[]", `"a"`, "{}", `{"a":1}`,
		`{"a":1,"b":"x","c":{},"d":1}`, `{"a":1,"b":"x","x":{}}`, `{"b":"x","a":1,"c":{}}`, `{"a":1,"a":1,"c":{}}`,
		`{"a":1.5,"b":"x","c":{}}`, `{"a":1e3,"b":"x","c":{}}`, `{"a":01,"b":"x","c":{}}`, `{"a":-0,"b":"x","c":{}}`,
		`{"a":9223372036854775808,"b":"x","c":{}}`, `{"a":"1","b":"x","c":{}}`, `{"a":1,"b":2,"c":{}}`, `{"a":1,"b":"` + "\xff" + `","c":{}}`,
		`{"a":1,"b":"` + "\n" + `","c":{}}`, `{"a":1,"b":"x","c":{"k":true,"k":true}}`, `{"a":1,"b":"x","c":{"k":1}}`,
		`{"a":1,"b":"x","c":{}} {}`, `{"a":1,"b":"x","c":{}`, `{"a":1,"b":"x","c":{},}`, `{"a":1 "b":"x","c":{}}`, `{"a":1,"b":"\q","c":{}}`,
	} {
		if got, ok := p.FromJSON([]byte(text)); ok {
			t.Errorf("%s becomes %x", text, got)
		}
	}
	if got, ok := p.FromJSON([]byte(" {\t\"a\" : -7 , \"b\":\"\\u00fc\",\n\"c\" : { \"k\" : false } } \n")); !ok {
		t.Errorf("a plain state is not read: %x", got)
	}
	for _, data := range []string{"", "\xc0", "\x80", "\x83\xa1a\x01\xa1b\xa1x", "\x83\xa1a\x01\xa1b\xa1x\xa1d\x80", "\x83\xa1a\x01\xa1b\xa1x\xa1c\x80\x00",
		"\xdf\xff\xff\xff\xff", "\x83\xa1a\xcb\x00\x00\x00\x00\x00\x00\x00\x00\xa1b\xa1x\xa1c\x80", "\x83\xa1a\xd4\x00\x00\xa1b\xa1x\xa1c\x80",
		"\x83\xa1a\x01\xa1b\xdb\xff\xff\xff\xff\xa1c\x80", "\x83\xa1a\x01\xa1b\xa1x\xa1c\xdf\x00\xff\xff\xff",
		"\x83\xa1a\x01\xa1b\xa1x\xa1c\x82\xa1k\xc2\xa1k\xc2",
	} {
		if got, ok := p.Values([]byte(data)); ok {
			t.Errorf("%x is read as %v", data, got)
		}
	}
	for _, typ := range []attr.Type{types.Float64Type, types.NumberType, types.DynamicType, types.SetType{ElemType: types.StringType},
		types.ObjectType{AttrTypes: map[string]attr.Type{"a": types.ListType{ElemType: types.Float64Type}}}} {
		if _, err := tfwire.Prepare(typ); err == nil {
			t.Errorf("%s is prepared", typ)
		}
	}
}

// FuzzValues: no input makes it panic, and what is read the framework can read.
func FuzzValues(f *testing.F) {
	p, typ := prepared(f), everything.TerraformType(f.Context())
	m := &maker{Rand: rand.New(rand.NewPCG(5, 6)), odd: true}
	for range 20 {
		f.Add(encoded(f, m.value(typ, 0)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, ok := p.Values(data)
		if _, all := p.Encoded(data); ok && !all {
			t.Error("the values are read, and where they stand is not")
		}
		if !ok {
			return
		}
		v, err := tfprotov6.DynamicValue{MsgPack: data}.Unmarshal(typ)
		if err != nil {
			t.Fatalf("read as %v, which Terraform cannot: %v", got, err)
		}
		want, err := everything.ValueFromTerraform(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		for i, name := range p.Names() {
			if w := want.(types.Object).Attributes()[name]; !got[i].Equal(w) {
				t.Fatalf("%s is %s, want %s", name, got[i], w)
			}
		}
	})
}

// FuzzFromJSON: no input makes it panic, and what it makes is what the
// framework makes.
func FuzzFromJSON(f *testing.F) {
	p, typ := prepared(f), everything.TerraformType(f.Context())
	m := &maker{Rand: rand.New(rand.NewPCG(7, 8))}
	for range 20 {
		text, err := json.Marshal(asJSON(f, m.value(typ, 0)))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := p.FromJSON([]byte(text))
		if !ok {
			return
		}
		v, err := tfprotov6.RawState{JSON: []byte(text)}.UnmarshalWithOpts(typ, tfprotov6.UnmarshalOpts{ValueFromJSONOpts: tftypes.ValueFromJSONOpts{IgnoreUndefinedAttributes: true}})
		if err != nil {
			t.Fatalf("%q is taken, which the framework refuses: %v", text, err)
		}
		if !sameValue(t, got, v) {
			t.Fatalf("%q becomes %x, want %x", text, got, encoded(t, v))
		}
	})
}
