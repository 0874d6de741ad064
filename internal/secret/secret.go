// Package secret holds credentials in a type that cannot print itself. It
// decides nothing about where credentials come from or how they are sealed at
// rest; the daemon does.
package secret

import (
	"crypto/subtle"
	"log/slog"
)

const redacted = "(secret)"

// String holds a credential. Every way of printing or encoding it yields a
// placeholder; Reveal is the only way out, so that a reader can search for
// each use. The zero value is the empty credential.
//
// The value sits behind a pointer because fmt does not call methods on
// unexported struct fields: a plain string type would print itself there.
type String struct{ value *string }

// New wraps s.
func New(s string) String { return String{value: &s} }

// Reveal returns the credential. Call it at the edge that needs it.
func (s String) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsEmpty reports whether there is no credential.
func (s String) IsEmpty() bool { return s.value == nil || *s.value == "" }

// Equal compares in time that depends on the lengths only.
func (s String) Equal(other String) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

func (s String) String() string               { return redacted }
func (s String) GoString() string             { return redacted }
func (s String) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s String) MarshalText() ([]byte, error) { return []byte(redacted), nil }
