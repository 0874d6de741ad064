package client

import (
	"context"
	"net/http"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// Limits returns what the operator allows.
func (c *Client) Limits(ctx context.Context) (envbackup.Limits, error) {
	return get[envbackup.Limits](ctx, c, "/limits")
}

// Version says what answers.
func (c *Client) Version(ctx context.Context) (wire.Version, error) {
	return get[wire.Version](ctx, c, "/version")
}

// Ready reports whether the daemon can work. A daemon that answers and cannot
// is no error: its checks say why.
func (c *Client) Ready(ctx context.Context) (wire.Ready, error) {
	return fetch[wire.Ready](ctx, c, call{method: http.MethodGet, path: "/readyz", once: true, notReady: true})
}

// Key returns the password of the repository that holds an environment's
// backups at a destination, to an admin. The daemon notes who asked.
func (c *Client) Key(ctx context.Context, environment, destination string) (wire.Key, error) {
	return fetch[wire.Key](ctx, c, call{
		method: http.MethodPost, path: root + "/key", once: true,
		body: wire.KeyRequest{Environment: environment, Destination: destination},
	})
}

// Tokens lists the tokens, without their texts.
func (c *Client) Tokens(ctx context.Context) (wire.TokenList, error) {
	return get[wire.TokenList](ctx, c, "/tokens")
}

// CreateToken makes a token; only this answer holds its text.
func (c *Client) CreateToken(ctx context.Context, in wire.TokenInput) (wire.Token, error) {
	return fetch[wire.Token](ctx, c, call{method: http.MethodPost, path: root + "/tokens", body: in, once: true})
}

// DeleteToken revokes a token by its id or name.
func (c *Client) DeleteToken(ctx context.Context, key string) error {
	return c.remove(ctx, "/tokens/"+segment(key), 0)
}

// Audit lists changes and who made them, newest first.
func (c *Client) Audit(ctx context.Context, page wire.Page) (wire.AuditPage, error) {
	return list[wire.AuditPage](ctx, c, "/audit", page.Values())
}
