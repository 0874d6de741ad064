package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (s *server) adminRoutes() {
	handle(s, route{http.MethodGet, "/limits", "get-limits", "What the operator allows", "daemon", envbackup.RoleViewer, 0}, s.getLimits)
	handle(s, route{http.MethodGet, "/version", "get-version", "What answers", "daemon", envbackup.RoleViewer, 0}, s.getVersion)
	handle(s, route{http.MethodPost, "/key", "show-key", "Show the password of a repository", "admin", envbackup.RoleAdmin, 0}, s.showKey)
	handle(s, route{http.MethodGet, "/tokens", "list-tokens", "List tokens", "admin", envbackup.RoleAdmin, 0}, s.listTokens)
	handle(s, route{http.MethodPost, "/tokens", "create-token", "Create a token; only this answer holds its text", "admin", envbackup.RoleAdmin, http.StatusCreated}, s.createToken)
	handle(s, route{http.MethodDelete, "/tokens/{id}", "delete-token", "Revoke a token", "admin", envbackup.RoleAdmin, 0}, s.deleteToken)
	handle(s, route{http.MethodGet, "/audit", "list-audit", "List changes and who made them, newest first", "admin", envbackup.RoleAdmin, 0}, s.listAudit)
}

func (s *server) getLimits(context.Context, *struct{}) (*plain[envbackup.Limits], error) {
	return &plain[envbackup.Limits]{s.Limits}, nil
}

func (s *server) getVersion(context.Context, *struct{}) (*plain[wire.Version], error) {
	return &plain[wire.Version]{wire.Version{Version: s.Version, CronVersion: cron.Version, Worker: s.Worker}}, nil
}

func (s *server) showKey(ctx context.Context, in *struct{ Body wire.KeyRequest }) (*plain[wire.Key], error) {
	e, err := s.Store.Environment(ctx, in.Body.Environment)
	if err != nil {
		return nil, err
	}
	d, err := s.Store.Destination(ctx, in.Body.Destination)
	if err != nil {
		return nil, err
	}
	// The entry comes first: a password that was shown and not noted is worse
	// than a note of one that was not shown.
	if err := s.note(ctx, "key show", "repository", e.Name+" at "+d.Name, ""); err != nil {
		return nil, err
	}
	password, err := s.Vault.Password(ctx, e.ID, d.ID)
	if err != nil {
		return nil, err
	}
	return &plain[wire.Key]{wire.Key{Repository: s.Vault.Address(d, e), Password: password.Reveal()}}, nil
}

func (s *server) listTokens(ctx context.Context, _ *struct{}) (*plain[wire.TokenList], error) {
	tokens, err := s.Store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	return &plain[wire.TokenList]{wire.TokenList{Items: convert(tokens, tokenDoc)}}, nil
}

func (s *server) createToken(ctx context.Context, in *struct{ Body wire.TokenInput }) (*made[wire.Token], error) {
	name := strings.TrimSpace(in.Body.Name)
	if name == "" || len(name) > 100 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return nil, envbackup.Invalid(envbackup.Finding{
			Severity: envbackup.SeverityError, Path: "name", Summary: "Invalid name",
			Detail: "Name the token after who uses it, in 1 to 100 bytes without control characters.",
		})
	}
	token, text := NewToken(name, in.Body.Role)
	if err := s.Store.AddToken(ctx, &token); err != nil {
		return nil, err
	}
	s.audit(ctx, "create", "token", token.Name, string(token.Role))
	body := tokenDoc(token)
	body.Token = text.Reveal()
	return &made[wire.Token]{Location: root + "/tokens/" + token.ID, Body: body}, nil
}

func (s *server) deleteToken(ctx context.Context, in *Keyed) (*none, error) {
	tokens, err := s.Store.Tokens(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(tokens, func(t envbackup.Token) bool { return t.ID == in.Key || t.Name == in.Key })
	if i < 0 {
		return nil, envbackup.NotFound("token", in.Key)
	}
	admins := 0
	for _, t := range tokens {
		if t.Role == envbackup.RoleAdmin {
			admins++
		}
	}
	if tokens[i].Role == envbackup.RoleAdmin && admins == 1 {
		return nil, &envbackup.Error{
			Code: envbackup.CodeConflict, Message: "this is the last token of an admin", Hint: "create another admin's token first",
		}
	}
	if err := s.Store.DeleteToken(ctx, tokens[i].ID); err != nil {
		return nil, err
	}
	s.audit(ctx, "delete", "token", tokens[i].Name, string(tokens[i].Role))
	return nil, nil
}

func tokenDoc(t envbackup.Token) wire.Token {
	return wire.Token{ID: t.ID, Name: t.Name, Role: t.Role, CreatedAt: t.CreatedAt.UTC()}
}

func (s *server) listAudit(ctx context.Context, in *struct{ wire.Page }) (*plain[wire.AuditPage], error) {
	items, next, err := s.Store.Audit(ctx, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	return &plain[wire.AuditPage]{wire.AuditPage{Items: convert(items, auditDoc), Cursor: next}}, nil
}

func auditDoc(e envbackup.AuditEntry) wire.AuditEntry {
	return wire.AuditEntry{ID: e.ID, At: e.At.UTC(), Actor: e.Actor, Action: e.Action, Kind: e.Kind, Name: e.Name, Detail: e.Detail}
}

// audit notes a change that has been made. Where the note cannot be stored the
// log has it: undoing the change would not be more honest.
func (s *server) audit(ctx context.Context, action, kind, name, detail string) {
	// The caller may hang up right after the change; the note still belongs.
	if err := s.note(context.WithoutCancel(ctx), action, kind, name, detail); err != nil {
		s.log.ErrorContext(ctx, "audit entry not stored", "actor", actorOf(ctx).name,
			"action", action, "kind", kind, "name", name, "detail", detail, "error", err)
	}
}

func (s *server) note(ctx context.Context, action, kind, name, detail string) error {
	return s.Store.AddAudit(ctx, envbackup.AuditEntry{
		At: s.Now().UTC(), Actor: actorOf(ctx).name,
		Action: action, Kind: kind, Name: name, Detail: detail,
	})
}
