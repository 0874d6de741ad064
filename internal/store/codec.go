package store

import (
	"encoding/json"
	"fmt"
	"time"
)

// micros is how an instant is stored; 0 is the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// instant reverses micros.
func instant(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// timeColumn scans a column written by micros into a time.
type timeColumn struct{ t *time.Time }

// at scans into t.
func at(t *time.Time) timeColumn { return timeColumn{t} }

// Scan implements sql.Scanner.
func (c timeColumn) Scan(src any) error {
	us, ok := src.(int64)
	if !ok {
		return fmt.Errorf("scan instant: %T is not an integer", src)
	}
	*c.t = instant(us)
	return nil
}

// doc encodes v as a document column; what has no JSON form is a defect of
// ours, not of the data.
func doc(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return string(text)
}

// docColumn scans a document column into what v points to.
type docColumn struct{ v any }

// into scans into v, a pointer.
func into(v any) docColumn { return docColumn{v} }

// Scan implements sql.Scanner.
func (c docColumn) Scan(src any) error {
	var text []byte
	switch s := src.(type) {
	case string:
		text = []byte(s)
	case []byte:
		text = s
	default:
		return fmt.Errorf("scan document: %T is not text", src)
	}
	if err := json.Unmarshal(text, c.v); err != nil {
		return fmt.Errorf("scan document: %w", err)
	}
	return nil
}
