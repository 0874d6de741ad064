package restic

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// IDSize is the length of an ID in bytes.
const IDSize = sha256.Size

// ID names an object or a blob: the SHA-256 of its bytes (of the stored bytes
// for files, of the plaintext for blobs).
type ID [IDSize]byte

// Hash returns the ID of data.
func Hash(data []byte) ID { return sha256.Sum256(data) }

// ParseID reads an ID written as 64 lower-case hexadecimal digits, the only
// spelling that object names use.
func ParseID(s string) (ID, error) {
	var id ID
	if !id.parse(s) {
		return ID{}, fmt.Errorf("parse id %.80q: want 64 lower-case hexadecimal digits", s)
	}
	return id, nil
}

func (id *ID) parse(s string) bool {
	if len(s) != 2*IDSize {
		return false
	}
	for i := range id {
		hi, lo := hexDigit[s[2*i]], hexDigit[s[2*i+1]]
		if hi|lo > 15 {
			return false
		}
		id[i] = hi<<4 | lo
	}
	return true
}

// ParseIDBytes is ParseID without the conversion to a string. It reports
// whether b is an ID.
func ParseIDBytes(b []byte) (id ID, ok bool) {
	if len(b) != 2*IDSize {
		return ID{}, false
	}
	for i := range id {
		hi, lo := hexDigit[b[2*i]], hexDigit[b[2*i+1]]
		if hi|lo > 15 {
			return ID{}, false
		}
		id[i] = hi<<4 | lo
	}
	return id, true
}

// hexDigit maps a lower-case hexadecimal digit to its value and every other
// byte to 255.
var hexDigit = func() (t [256]byte) {
	for i := range t {
		t[i] = 255
	}
	for i := range byte(10) {
		t['0'+i] = i
	}
	for i := range byte(6) {
		t['a'+i] = 10 + i
	}
	return t
}()

// String returns the 64 hexadecimal digits of id.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first eight digits, what people and the restic program use
// to name a snapshot.
func (id ID) Short() string { return hex.EncodeToString(id[:4]) }

// IsNull reports whether id is the zero ID, which names nothing.
func (id ID) IsNull() bool { return id == ID{} }

// AppendHex appends the 64 digits of id to dst.
func (id ID) AppendHex(dst []byte) []byte { return hex.AppendEncode(dst, id[:]) }

// MarshalText makes ID a JSON string and a map key.
func (id ID) MarshalText() ([]byte, error) { return id.AppendHex(nil), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) error {
	got, ok := ParseIDBytes(b)
	if !ok {
		return fmt.Errorf("parse id %.80q: want 64 lower-case hexadecimal digits", b)
	}
	*id = got
	return nil
}
