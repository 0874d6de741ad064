// Package jsonscan reads JSON of a known shape without reflection. It decides
// nothing about documents: the decoders of trees and index files drive it, and
// turn to encoding/json as soon as it meets something that it does not know.
//
// It is strict where it understands and gives up where it does not: every
// method reports false for input that is not plainly what was asked for, which
// says nothing about whether the input is valid JSON.
package jsonscan

import (
	"bytes"
	"encoding/json"
	"math"
)

// Scanner reads a document from front to back. The zero Scanner reads nothing.
type Scanner struct {
	buf []byte
	pos int
}

// New returns a Scanner over buf, which must not change while it is used.
func New(buf []byte) *Scanner { return &Scanner{buf: buf} }

func (s *Scanner) space() {
	for s.pos < len(s.buf) {
		switch s.buf[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// Byte consumes c, and blanks before it.
func (s *Scanner) Byte(c byte) bool {
	s.space()
	if s.pos < len(s.buf) && s.buf[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// End reports whether only blanks are left.
func (s *Scanner) End() bool {
	s.space()
	return s.pos == len(s.buf)
}

// Null consumes the word null.
func (s *Scanner) Null() bool {
	s.space()
	if bytes.HasPrefix(s.buf[s.pos:], []byte("null")) {
		s.pos += 4
		return true
	}
	return false
}

// Raw reads a string without escapes and returns its bytes, which alias the
// input.
func (s *Scanner) Raw() ([]byte, bool) {
	if !s.Byte('"') {
		return nil, false
	}
	start := s.pos
	for i := start; i < len(s.buf); i++ {
		switch c := s.buf[i]; {
		case c == '"':
			s.pos = i + 1
			return s.buf[start:i], true
		case c == '\\' || c < 0x20 || c >= 0x7f:
			return nil, false
		}
	}
	return nil, false
}

// String reads a string, escapes and all.
func (s *Scanner) String() (string, bool) {
	if !s.Byte('"') {
		return "", false
	}
	start, plain := s.pos, true
	for i := start; i < len(s.buf); i++ {
		switch c := s.buf[i]; {
		case c == '"':
			s.pos = i + 1
			if plain {
				return string(s.buf[start:i]), true
			}
			var v string
			err := json.Unmarshal(s.buf[start-1:i+1], &v)
			return v, err == nil
		case c == '\\':
			plain = false
			i++
		case c < 0x20:
			return "", false
		case c >= 0x7f:
			plain = false
		}
	}
	return "", false
}

// Uint reads a whole number without sign, fraction or exponent, at most limit.
func (s *Scanner) Uint(limit uint64) (uint64, bool) {
	s.space()
	start := s.pos
	var v uint64
	for s.pos < len(s.buf) {
		c := s.buf[s.pos]
		if c < '0' || c > '9' {
			break
		}
		if v > (math.MaxUint64-uint64(c-'0'))/10 {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
		s.pos++
	}
	n := s.pos - start
	if n == 0 || v > limit || (n > 1 && s.buf[start] == '0') {
		return 0, false
	}
	if s.pos < len(s.buf) {
		switch s.buf[s.pos] {
		case '.', 'e', 'E':
			return 0, false
		}
	}
	return v, true
}

// Object calls field for each key of an object, with the scanner before the
// value. It ends, reporting false, when field does.
func (s *Scanner) Object(field func(key []byte) bool) bool {
	if !s.Byte('{') {
		return false
	}
	if s.Byte('}') {
		return true
	}
	for {
		key, ok := s.Raw()
		if !ok || !s.Byte(':') || !field(key) {
			return false
		}
		if s.Byte('}') {
			return true
		}
		if !s.Byte(',') {
			return false
		}
	}
}

// Array calls item for each element, with the scanner before it. It ends,
// reporting false, when item does.
func (s *Scanner) Array(item func() bool) bool {
	if !s.Byte('[') {
		return false
	}
	if s.Byte(']') {
		return true
	}
	for {
		if !item() {
			return false
		}
		if s.Byte(']') {
			return true
		}
		if !s.Byte(',') {
			return false
		}
	}
}

// Value skips one value of any kind and returns its bytes, which alias the
// input. It uses encoding/json and is meant for the rare fields.
func (s *Scanner) Value() ([]byte, bool) {
	s.space()
	dec := json.NewDecoder(bytes.NewReader(s.buf[s.pos:]))
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return nil, false
	}
	v := s.buf[s.pos : s.pos+int(dec.InputOffset())]
	s.pos += len(v)
	return v, true
}
