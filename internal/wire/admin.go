package wire

import (
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// TokenInput makes a token.
type TokenInput struct {
	Name string         `json:"name"`
	Role envbackup.Role `json:"role" enum:"viewer,operator,admin"`
}

// Token is the answer about a token. Token, its text, stands only in the
// answer to the request that made it: the daemon keeps a hash.
type Token struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Role      envbackup.Role `json:"role"`
	CreatedAt time.Time      `json:"created_at"`
	Token     string         `json:"token,omitempty"`
}

// TokenList lists all tokens.
type TokenList struct {
	Items []Token `json:"items"`
}

// AuditEntry is one change and who made it.
type AuditEntry struct {
	ID     string    `json:"id"`
	At     time.Time `json:"at"`
	Actor  string    `json:"actor"`
	Action string    `json:"action"`
	Kind   string    `json:"kind"`
	Name   string    `json:"name"`
	Detail string    `json:"detail,omitempty"`
}

// AuditPage is a page of the audit log, newest first.
type AuditPage struct {
	Items  []AuditEntry `json:"items"`
	Cursor string       `json:"cursor,omitempty"`
}

// HoldRequest exempts a backup from every rule that removes (SEMANTICS R5).
type HoldRequest struct {
	Reason string `json:"reason,omitempty"`
}

// Ready says whether the daemon can work, and which part cannot.
type Ready struct {
	Ready  bool    `json:"ready"`
	Checks []Check `json:"checks"`
}

// Check is one part of Ready. Error is empty when the part works.
type Check struct {
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`
}
