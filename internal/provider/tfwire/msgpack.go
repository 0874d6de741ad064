package tfwire

import (
	"encoding/binary"
	"math"
)

// The first bytes of MessagePack values.
const (
	codeNil                                    = 0xc0
	codeFalse, codeTrue                        = 0xc2, 0xc3
	codeFloat32, codeFloat64                   = 0xca, 0xcb
	codeUint8, codeUint16, codeUint32          = 0xcc, 0xcd, 0xce
	codeFixExt1                                = 0xd4 // Terraform writes an unknown value so
	codeUint64                                 = 0xcf
	codeInt8, codeInt16, codeInt32, codeInt64  = 0xd0, 0xd1, 0xd2, 0xd3
	codeStr8, codeStr16, codeStr32             = 0xd9, 0xda, 0xdb
	codeArray16, codeArray32                   = 0xdc, 0xdd
	codeMap16, codeMap32                       = 0xde, 0xdf
	fixMap, fixArray, fixStr, negativeFixedInt = 0x80, 0x90, 0xa0, 0xe0
)

// reader reads MessagePack. Every method reports false for what is not there,
// and leaves the reader where it then is: nobody reads on after that.
type reader struct{ rest []byte }

func (r *reader) take(n int) ([]byte, bool) {
	if n < 0 || n > len(r.rest) {
		return nil, false
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken, true
}

// uint reads a number of size bytes.
func (r *reader) uint(size int) (uint64, bool) {
	b, ok := r.take(size)
	if !ok {
		return 0, false
	}
	switch size {
	case 1:
		return uint64(b[0]), true
	case 2:
		return uint64(binary.BigEndian.Uint16(b)), true
	case 4:
		return uint64(binary.BigEndian.Uint32(b)), true
	default:
		return binary.BigEndian.Uint64(b), true
	}
}

func (r *reader) code() (byte, bool) {
	b, ok := r.take(1)
	if !ok {
		return 0, false
	}
	return b[0], true
}

// null reads a null if it is next.
func (r *reader) null() bool {
	if len(r.rest) == 0 || r.rest[0] != codeNil {
		return false
	}
	r.rest = r.rest[1:]
	return true
}

func (r *reader) bool() (value, ok bool) {
	c, ok := r.code()
	return c == codeTrue, ok && (c == codeTrue || c == codeFalse)
}

func (r *reader) int() (int64, bool) {
	c, ok := r.code()
	switch {
	case !ok:
		return 0, false
	case c < fixMap: // up to 127
		return int64(c), true
	case c >= negativeFixedInt:
		return int64(int8(c)), true
	case c >= codeUint8 && c <= codeUint64:
		n, ok := r.uint(1 << (c - codeUint8))
		return int64(n), ok && n <= math.MaxInt64 //nolint:gosec // checked in the same line
	case c >= codeInt8 && c <= codeInt64:
		size := 1 << (c - codeInt8)
		n, ok := r.uint(size)
		unused := 64 - 8*size
		return int64(n<<unused) >> unused, ok //nolint:gosec // the sign is meant to move up
	}
	return 0, false
}

// size reads the length of a text, list or map, whose first byte is c: the
// lowest bits of c, or a number of 1, 2 or 4 bytes.
func (r *reader) size(bytes int) (int, bool) {
	n, ok := r.uint(bytes)
	if n > math.MaxInt32 {
		return 0, false
	}
	return int(n), ok
}

// string returns a part of what is read, not a copy.
func (r *reader) string() ([]byte, bool) {
	c, ok := r.code()
	n := int(c & 0x1f)
	switch {
	case !ok:
		return nil, false
	case c >= fixStr && c < codeNil:
	case c >= codeStr8 && c <= codeStr32:
		if n, ok = r.size(1 << (c - codeStr8)); !ok {
			return nil, false
		}
	default:
		return nil, false
	}
	return r.take(n)
}

func (r *reader) arrayLen() (int, bool) { return r.length(fixArray, codeArray16, codeArray32) }

func (r *reader) mapLen() (int, bool) { return r.length(fixMap, codeMap16, codeMap32) }

// length reads how many elements follow. It is at most the number of bytes
// that are left, so that nobody makes room for more than was sent.
func (r *reader) length(fixed, short, long byte) (int, bool) {
	c, ok := r.code()
	n := int(c & 0x0f)
	switch {
	case !ok:
		return 0, false
	case c&0xf0 == fixed:
	case c == short:
		n, ok = r.size(2)
	case c == long:
		n, ok = r.size(4)
	default:
		return 0, false
	}
	return n, ok && n <= len(r.rest)
}

// object reads the attributes of t, all of them and in order, and has each
// value read by read.
func (r *reader) object(t *Type, read func(i int, f *Type) bool) bool {
	n, ok := r.mapLen()
	if !ok || n != len(t.fields) {
		return false
	}
	for i := range t.fields {
		name, ok := r.string()
		if !ok || string(name) != t.fields[i].name || !read(i, t.fields[i].Type) {
			return false
		}
	}
	return true
}

// maxDepth is deeper than any schema.
const maxDepth = 32

// skip passes over the next value, which must be known.
func (r *reader) skip(depth int) bool {
	if len(r.rest) == 0 || depth > maxDepth {
		return false
	}
	switch c := r.rest[0]; {
	case c < fixMap, c >= negativeFixedInt, c >= codeUint8 && c <= codeInt64:
		_, ok := r.int()
		return ok
	case c == codeNil, c == codeFalse, c == codeTrue:
		_, ok := r.take(1)
		return ok
	case c == codeFloat32:
		_, ok := r.take(5)
		return ok
	case c == codeFloat64:
		_, ok := r.take(9)
		return ok
	case c >= fixStr && c < codeNil, c >= codeStr8 && c <= codeStr32:
		_, ok := r.string()
		return ok
	case c&0xf0 == fixArray, c == codeArray16, c == codeArray32:
		n, ok := r.arrayLen()
		for i := 0; ok && i < n; i++ {
			ok = r.skip(depth + 1)
		}
		return ok
	case c&0xf0 == fixMap, c == codeMap16, c == codeMap32:
		n, ok := r.mapLen()
		for i := 0; ok && i < n; i++ {
			ok = r.skip(depth + 1) // the key
			ok = ok && r.skip(depth+1)
		}
		return ok
	}
	return false // an unknown value, which is an extension, or nothing that Terraform writes
}

// The writers append in the shortest form, as Terraform does.

func appendInt(b []byte, n int64) []byte {
	switch {
	case n >= 0 && n < fixMap, n < 0 && n >= -32:
		return append(b, byte(n))
	case n >= 0 && n <= math.MaxUint8:
		return append(b, codeUint8, byte(n))
	case n >= 0 && n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, codeUint16), uint16(n))
	case n >= 0 && n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, codeUint32), uint32(n))
	case n >= 0:
		return binary.BigEndian.AppendUint64(append(b, codeUint64), uint64(n))
	case n >= math.MinInt8:
		return append(b, codeInt8, byte(n))
	case n >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(b, codeInt16), uint16(n)) //nolint:gosec // two's complement is the encoding
	case n >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, codeInt32), uint32(n)) //nolint:gosec // two's complement is the encoding
	default:
		return binary.BigEndian.AppendUint64(append(b, codeInt64), uint64(n)) //nolint:gosec // two's complement is the encoding
	}
}

func appendString[T string | []byte](b []byte, s T) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, fixStr|byte(n))
	case n <= math.MaxUint8:
		b = append(b, codeStr8, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, codeStr16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, codeStr32), uint32(n)) //nolint:gosec // longer than 4 GB is no state
	}
	return append(b, s...)
}

// appendLength appends the length of a list (fixArray) or map (fixMap).
func appendLength(b []byte, fixed byte, n int) []byte {
	short := byte(codeArray16)
	if fixed == fixMap {
		short = codeMap16
	}
	switch {
	case n < 16:
		return append(b, fixed|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, short), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(b, short+1), uint32(n)) //nolint:gosec // bounded by the size of the state
	}
}

// Null is the encoded null of every type.
func Null() []byte { return []byte{codeNil} }

// String is the encoded text.
func String(text string) []byte { return appendString(nil, text) }

// Object is the encoded object with this one attribute, whose value is
// encoded already.
func Object(name string, value []byte) []byte {
	return append(appendString(appendLength(nil, fixMap, 1), name), value...)
}
