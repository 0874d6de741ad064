package tfwire

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"
)

// FromJSON returns the MessagePack of an object that stands in a state file as
// JSON. It reports false for what is not plain, among it attributes that t
// does not have or that the state does not have: another release of the
// provider wrote it.
func (t *Type) FromJSON(text []byte) ([]byte, bool) {
	w := transcoder{rest: text, out: make([]byte, 0, len(text))}
	w.space()
	ok := t.kind == kindObject && w.value(t)
	w.space()
	return w.out, ok && len(w.rest) == 0 && !bytes.Equal(w.out, []byte{codeNil})
}

// transcoder turns the JSON that is left into MessagePack. Every method leaves
// rest after white space and reports false when something else is there.
type transcoder struct {
	rest []byte
	out  []byte
}

func (w *transcoder) space() {
	for len(w.rest) > 0 && (w.rest[0] == ' ' || w.rest[0] == '\n' || w.rest[0] == '\r' || w.rest[0] == '\t') {
		w.rest = w.rest[1:]
	}
}

// literal passes over text if it is next.
func (w *transcoder) literal(text string) bool {
	if len(w.rest) < len(text) || string(w.rest[:len(text)]) != text {
		return false
	}
	w.rest = w.rest[len(text):]
	w.space()
	return true
}

func (w *transcoder) value(t *Type) bool {
	if w.literal("null") {
		w.out = append(w.out, codeNil)
		return true
	}
	switch t.kind {
	case kindBool:
		switch {
		case w.literal("true"):
			w.out = append(w.out, codeTrue)
		case w.literal("false"):
			w.out = append(w.out, codeFalse)
		default:
			return false
		}
		return true
	case kindInt:
		return w.int()
	case kindString:
		s, ok := w.string()
		w.out = appendString(w.out, s)
		return ok
	case kindList:
		return w.many("[", "]", fixArray, func() bool { return w.value(t.elem) })
	case kindMap:
		var last []byte
		return w.many("{", "}", fixMap, func() bool {
			key, ok := w.string()
			// In order, so that none is there twice.
			if !ok || last != nil && bytes.Compare(last, key) >= 0 {
				return false
			}
			last = key
			w.out = appendString(w.out, key)
			return w.literal(":") && w.value(t.elem)
		})
	case kindObject:
		next := 0
		return w.many("{", "}", fixMap, func() bool {
			key, ok := w.string()
			if !ok || next == len(t.fields) || string(key) != t.fields[next].name {
				return false
			}
			w.out = appendString(w.out, key)
			next++
			return w.literal(":") && w.value(t.fields[next-1].Type)
		}) && next == len(t.fields)
	}
	return false
}

// many reads elements between brackets, separated by commas.
func (w *transcoder) many(begin, end string, fixed byte, element func() bool) bool {
	if !w.literal(begin) {
		return false
	}
	at, n := len(w.out), 0
	w.out = append(w.out, fixed) // nearly always the whole length
	for !w.literal(end) {
		if n > 0 && !w.literal(",") || !element() {
			return false
		}
		n++
	}
	if length := appendLength(nil, fixed, n); len(length) == 1 {
		w.out[at] = length[0]
	} else {
		w.out = slices.Replace(w.out, at, at+1, length...)
	}
	return true
}

func (w *transcoder) int() bool {
	end := 0
	for end < len(w.rest) && (w.rest[end] == '-' || w.rest[end] >= '0' && w.rest[end] <= '9') {
		end++
	}
	n, err := strconv.ParseInt(string(w.rest[:end]), 10, 64)
	// Neither "01" nor "-0", and no fraction or exponent behind it.
	if err != nil || strconv.FormatInt(n, 10) != string(w.rest[:end]) {
		return false
	}
	w.rest = w.rest[end:]
	w.space()
	w.out = appendInt(w.out, n)
	return true
}

// string reads a text. What it returns is a part of the input where it can be.
func (w *transcoder) string() ([]byte, bool) {
	if len(w.rest) == 0 || w.rest[0] != '"' {
		return nil, false
	}
	escaped := false
	for i := 1; i < len(w.rest); i++ {
		switch c := w.rest[i]; {
		case c == '\\':
			escaped = true
			i++
		case c < ' ':
			return nil, false
		case c == '"':
			token := w.rest[:i+1]
			w.rest = w.rest[i+1:]
			w.space()
			if !utf8.Valid(token) {
				return nil, false
			}
			if !escaped {
				return token[1:i], true
			}
			var text string
			err := json.Unmarshal(token, &text)
			return []byte(text), err == nil
		}
	}
	return nil, false
}
