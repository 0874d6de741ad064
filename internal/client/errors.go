package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// hintToken says where tokens come from; the daemon sends the same.
const hintToken = "the daemon's first token is in the file admin.token in its data directory; make others with: " +
	"envbackup token create --name NAME --role operator, and pass them as ENVBACKUP_TOKEN or ENVBACKUP_TOKEN_FILE"

// transportError says in one sentence why no answer came.
func (c *Client) transportError(ctx context.Context, in call, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", in.method, in.path, context.Cause(ctx))
	}
	e := &envbackup.Error{Code: envbackup.CodeUnavailable, Err: err}
	var certificate *tls.CertificateVerificationError
	var network net.Error
	switch {
	case isRefused(err):
		e.Message = fmt.Sprintf("nothing answers at %s (%s)", c.endpoint, rootCause(err))
		e.Hint = "start the daemon with: envbackup daemon, or set the endpoint (ENVBACKUP_ENDPOINT) to where it listens"
	case errors.As(err, &certificate):
		e.Message = fmt.Sprintf("the certificate of %s is not trusted: %s", c.endpoint, certificate.Err)
		e.Hint = "set the CA file (ENVBACKUP_CA_FILE) to the authority that signed it"
	case errors.As(err, &network) && network.Timeout():
		e.Message = fmt.Sprintf("%s did not answer in time", c.endpoint)
		e.Hint = "check the address and that no firewall drops the connection; raise the request timeout if the daemon is slow"
	default:
		e.Message = fmt.Sprintf("cannot reach %s (%s)", c.endpoint, rootCause(err))
		e.Hint = "check that the endpoint is the address of an envbackup daemon"
	}
	return e
}

// rootCause drops the method and the address that net/http puts in front, and
// the address that package net does: the message has it once already.
func rootCause(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	text := err.Error()
	return strings.TrimPrefix(text, "connect: ")
}

// answerError turns a refusal into the error that the daemon had in hand.
func (c *Client) answerError(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what came is all there is to say
	var p wire.Problem
	if json.Unmarshal(body, &p) == nil && p.Code != "" {
		e := &envbackup.Error{Code: p.Code, Message: p.Detail, Hint: p.Hint, Findings: p.Findings}
		if e.Message == "" {
			e.Message = p.Title
		}
		return e
	}
	// Not a problem document: a proxy, or something else that listens there.
	e := &envbackup.Error{
		Code:    envbackup.CodeUnavailable,
		Message: fmt.Sprintf("%s answered %q", c.endpoint, resp.Status),
		Hint:    "check that the endpoint is the address of an envbackup daemon and that no proxy stands in between",
	}
	if resp.StatusCode == http.StatusUnauthorized {
		e.Code, e.Hint = envbackup.CodeUnauthenticated, hintToken
	}
	return e
}
