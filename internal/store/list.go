package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// The sizes of a page.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

// pageLimit is how many items a page holds.
func pageLimit(p envbackup.Page) int {
	switch {
	case p.Limit <= 0:
		return defaultLimit
	case p.Limit > maxLimit:
		return maxLimit
	default:
		return p.Limit
	}
}

// filter collects the conditions of a query. A condition's "?" are numbered
// as they come.
type filter struct {
	where []string
	args  []any
}

func (f *filter) add(condition string, args ...any) {
	var b strings.Builder
	for _, r := range condition {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		f.args = append(f.args, args[0])
		args = args[1:]
		b.WriteString("$" + strconv.Itoa(len(f.args)))
	}
	f.where = append(f.where, b.String())
}

// in adds "column IN (...)"; an empty list adds nothing.
func in[T ~string](f *filter, column string, values []T) {
	if len(values) == 0 {
		return
	}
	args := make([]any, len(values))
	for i, v := range values {
		args[i] = string(v)
	}
	f.add(column+" IN (?"+strings.Repeat(", ?", len(values)-1)+")", args...)
}

func (f *filter) clause() string {
	if len(f.where) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(f.where, " AND ")
}

// order is the unique sort key of a list. types has one letter for each
// column, "i" for an integer and "s" for text.
type order struct {
	columns []string
	types   string
	desc    bool
}

func (o order) clause() string {
	direction := ""
	if o.desc {
		direction = " DESC"
	}
	return " ORDER BY " + strings.Join(o.columns, direction+", ") + direction
}

// after adds the condition that a row comes after the cursor's.
func (o order) after(f *filter, cursor string) error {
	if cursor == "" {
		return nil
	}
	key, err := decodeCursor(cursor, o.types)
	if err != nil {
		return envbackup.Invalid(envbackup.Finding{
			Severity: envbackup.SeverityError, Path: "cursor", Summary: "Invalid cursor",
			Detail: "Use the cursor of the page before exactly as it was returned, with the same filter, or none for the first page.",
		})
	}
	compare := ">"
	if o.desc {
		compare = "<"
	}
	f.add("("+strings.Join(o.columns, ", ")+") "+compare+" (?"+strings.Repeat(", ?", len(key)-1)+")", key...)
	return nil
}

// page reads one page of what base selects. key returns the sort key of an
// item, in the order of o's columns, as int64 or string. next is the cursor
// of the page after, empty at the end.
func page[T any](ctx context.Context, q querier, base string, f filter, o order, p envbackup.Page,
	scan func(scanner) (T, error), key func(T) []any,
) (items []T, next string, err error) {
	if err := o.after(&f, p.Cursor); err != nil {
		return nil, "", err
	}
	limit := pageLimit(p)
	query := base + f.clause() + o.clause() + " LIMIT " + strconv.Itoa(limit+1)
	items, err = all(ctx, q, query, f.args, scan)
	if err != nil {
		return nil, "", err
	}
	if len(items) > limit {
		items = items[:limit]
		next = encodeCursor(key(items[limit-1]))
	}
	return items, next, nil
}

// scanner is what *sql.Row and *sql.Rows share.
type scanner interface{ Scan(dest ...any) error }

// all reads every row of a query.
func all[T any](ctx context.Context, q querier, query string, args []any, scan func(scanner) (T, error)) ([]T, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var items []T
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, rows.Err()
}

// scanString reads rows of one text column.
func scanString(row scanner) (string, error) {
	var s string
	err := row.Scan(&s)
	return s, err
}

func encodeCursor(key []any) string {
	return base64.RawURLEncoding.EncodeToString([]byte(doc(key)))
}

func decodeCursor(cursor, types string) ([]any, error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // a float would lose microseconds
	var key []any
	if err := decoder.Decode(&key); err != nil {
		return nil, err
	}
	if len(key) != len(types) {
		return nil, fmt.Errorf("%d values, expected %d", len(key), len(types))
	}
	for i, v := range key {
		number, isNumber := v.(json.Number)
		_, isText := v.(string)
		switch {
		case types[i] == 's' && isText:
		case types[i] == 'i' && isNumber:
			if key[i], err = number.Int64(); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("%T in a cursor", v)
		}
	}
	return key, nil
}

// affected reports whether a statement changed a row.
func affected(result sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}
