package provider

import (
	"fmt"
	"reflect"

	"github.com/hashicorp/terraform-plugin-framework/attr"
)

// fields knows which field of the struct T holds which attribute, by the
// fields' tfsdk tags. The framework's own conversion finds that out again for
// each value, with a regular expression for each field.
type fields[T any] struct{ index map[string]int }

// fieldsOf panics for a T without tags: it is for package variables.
func fieldsOf[T any]() fields[T] {
	t := reflect.TypeFor[T]()
	f := fields[T]{index: make(map[string]int, t.NumField())}
	for i := range t.NumField() {
		name := t.Field(i).Tag.Get("tfsdk")
		if name == "" {
			panic(fmt.Sprintf("field %s of %s has no tfsdk tag", t.Field(i).Name, t))
		}
		f.index[name] = i
	}
	return f
}

// from returns a T with these attributes, which must be all that T has and of
// its types.
func (f fields[T]) from(values map[string]attr.Value) (T, error) {
	var t T
	v := reflect.ValueOf(&t).Elem()
	if len(values) != len(f.index) {
		return t, fmt.Errorf("read %T: %d attributes, want %d", t, len(values), len(f.index))
	}
	for name, value := range values {
		if err := f.set(v, name, value); err != nil {
			return t, err
		}
	}
	return t, nil
}

func (f fields[T]) set(v reflect.Value, name string, value attr.Value) error {
	i, ok := f.index[name]
	if !ok {
		return fmt.Errorf("read %s: there is no field for %s", v.Type(), name)
	}
	field, given := v.Field(i), reflect.ValueOf(value)
	if given.Type() != field.Type() {
		return fmt.Errorf("read %s: %s is %s, want %s", v.Type(), name, given.Type(), field.Type())
	}
	field.Set(given)
	return nil
}

// values is the reverse of from.
func (f fields[T]) values(t *T) map[string]attr.Value {
	v := reflect.ValueOf(t).Elem()
	values := make(map[string]attr.Value, len(f.index))
	for name, i := range f.index {
		// Every field is an attr.Value, or from would have refused it.
		values[name], _ = v.Field(i).Interface().(attr.Value)
	}
	return values
}
