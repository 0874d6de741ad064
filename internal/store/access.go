package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

func scanToken(row scanner) (envbackup.Token, error) {
	var t envbackup.Token
	var hash []byte
	err := row.Scan(&t.ID, &t.Name, &t.Role, &hash, at(&t.CreatedAt))
	copy(t.Hash[:], hash)
	return t, err
}

// AddToken adds t and fills its ID and CreatedAt. CodeConflict: the name is
// taken.
func (s *Store) AddToken(ctx context.Context, t *envbackup.Token) error {
	t.ID, t.CreatedAt = newID(prefixToken), now()
	_, err := s.db.ExecContext(ctx, `INSERT INTO tokens (id, name, role, hash, created_at) VALUES ($1, $2, $3, $4, $5)`,
		t.ID, t.Name, string(t.Role), t.Hash[:], micros(t.CreatedAt))
	return translate(err, "add", "token", t.Name)
}

// TokenByHash returns the token with this hash; the error never holds the
// hash.
func (s *Store) TokenByHash(ctx context.Context, hash [32]byte) (envbackup.Token, error) {
	t, err := scanToken(s.read.QueryRowContext(ctx, `SELECT id, name, role, hash, created_at FROM tokens WHERE hash = $1`, hash[:]))
	return t, translate(err, "read", "token", "(by its hash)")
}

// Tokens lists tokens by name.
func (s *Store) Tokens(ctx context.Context) ([]envbackup.Token, error) {
	items, err := all(ctx, s.read, `SELECT id, name, role, hash, created_at FROM tokens ORDER BY name`, nil, scanToken)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	return items, nil
}

// DeleteToken removes the token with this id or name; it opens nothing from
// then on.
func (s *Store) DeleteToken(ctx context.Context, idOrName string) error {
	ok, err := affected(s.db.ExecContext(ctx, `DELETE FROM tokens WHERE id = $1 OR name = $1`, idOrName))
	if err == nil && !ok {
		return envbackup.NotFound("token", idOrName)
	}
	return translate(err, "delete", "token", idOrName)
}

// AddAudit appends e to the audit log, filling an empty ID and a zero At.
func (s *Store) AddAudit(ctx context.Context, e envbackup.AuditEntry) error {
	if e.ID == "" {
		e.ID = newID(prefixAudit)
	}
	if e.At.IsZero() {
		e.At = now()
	}
	_, err := s.db.ExecContext(ctx, `INSERT INTO audit (id, at, actor, action, kind, name, detail) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		e.ID, micros(e.At), e.Actor, e.Action, e.Kind, e.Name, e.Detail)
	return translate(err, "add", "audit entry", e.ID)
}

// Audit lists the audit log, newest first.
func (s *Store) Audit(ctx context.Context, p envbackup.Page) ([]envbackup.AuditEntry, string, error) {
	items, next, err := page(ctx, s.read, `SELECT id, at, actor, action, kind, name, detail FROM audit`, filter{},
		order{columns: []string{"at", "id"}, types: "is", desc: true}, p,
		func(row scanner) (envbackup.AuditEntry, error) {
			var e envbackup.AuditEntry
			err := row.Scan(&e.ID, at(&e.At), &e.Actor, &e.Action, &e.Kind, &e.Name, &e.Detail)
			return e, err
		},
		func(e envbackup.AuditEntry) []any { return []any{micros(e.At), e.ID} })
	if err != nil {
		return nil, "", fmt.Errorf("list audit log: %w", err)
	}
	return items, next, nil
}

// Setting returns what SetSetting stored; false where nothing was.
func (s *Store) Setting(ctx context.Context, key string) (string, bool, error) {
	var value string
	err := s.read.QueryRowContext(ctx, `SELECT value FROM settings WHERE key = $1`, key).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read setting %s: %w", key, err)
	}
	return value, true, nil
}

// SetSetting stores a small value of the daemon's own; "" removes it.
func (s *Store) SetSetting(ctx context.Context, key, value string) error {
	statement, args := `INSERT INTO settings (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, []any{key, value}
	if value == "" {
		statement, args = `DELETE FROM settings WHERE key = $1`, []any{key}
	}
	_, err := s.db.ExecContext(ctx, statement, args...)
	return translate(err, "store", "setting", key)
}
