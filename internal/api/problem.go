package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

const problemType = "application/problem+json"

// statusOf is the only place where a code becomes an HTTP status. Codes that
// are not here are internal errors to a caller.
var statusOf = map[envbackup.Code]int{
	envbackup.CodeInvalid:         http.StatusUnprocessableEntity,
	envbackup.CodeUnauthenticated: http.StatusUnauthorized,
	envbackup.CodeForbidden:       http.StatusForbidden,
	envbackup.CodeNotFound:        http.StatusNotFound,
	envbackup.CodeConflict:        http.StatusConflict,
	envbackup.CodeBusy:            http.StatusConflict,
	envbackup.CodeStale:           http.StatusPreconditionFailed,
	envbackup.CodeUnavailable:     http.StatusServiceUnavailable,
	envbackup.CodeRateLimited:     http.StatusTooManyRequests,

	// What an operation on a repository may end in. A destination is behind
	// the daemon as an upstream server is behind a gateway.
	envbackup.CodeNotAllowed:       http.StatusForbidden,
	envbackup.CodeSourceMissing:    http.StatusUnprocessableEntity,
	envbackup.CodeUnreachable:      http.StatusBadGateway,
	envbackup.CodeThrottled:        http.StatusBadGateway,
	envbackup.CodeCredentials:      http.StatusBadGateway,
	envbackup.CodeBucketMissing:    http.StatusBadGateway,
	envbackup.CodeWrongRegion:      http.StatusBadGateway,
	envbackup.CodeNoObjectLock:     http.StatusBadGateway,
	envbackup.CodeUntrusted:        http.StatusBadGateway,
	envbackup.CodeUnsupported:      http.StatusBadGateway,
	envbackup.CodeWrongPassword:    http.StatusBadGateway,
	envbackup.CodeDamaged:          http.StatusBadGateway,
	envbackup.CodeDiskFull:         http.StatusBadGateway,
	envbackup.CodeRepositoryLocked: http.StatusConflict,
	envbackup.CodeTargetNotEmpty:   http.StatusConflict,
	envbackup.CodeTimedOut:         http.StatusGatewayTimeout,
}

// problem is a problem document on its way out through huma.
type problem struct{ wire.Problem }

// Error makes problem an error; GetStatus and ContentType are huma's way to
// ask for the status and the media type.
func (p *problem) Error() string             { return p.Detail }
func (p *problem) GetStatus() int            { return p.Status }
func (p *problem) ContentType(string) string { return problemType }

func newProblem(status int, e *envbackup.Error) *problem {
	return &problem{wire.Problem{
		Title: http.StatusText(status), Status: status, Detail: e.Error(),
		Code: e.Code, Hint: e.Hint, Findings: e.Findings,
	}}
}

// problemOf translates err. An error without a known code is logged whole and
// reaches the caller as "internal error": who calls is not who operates.
func (s *server) problemOf(ctx context.Context, err error) *problem {
	var e *envbackup.Error
	if errors.As(err, &e) {
		if status, ok := statusOf[e.Code]; ok {
			if e.Err != nil && status >= http.StatusInternalServerError {
				s.log.WarnContext(ctx, "request failed", "code", string(e.Code), "error", err, "cause", e.Err)
			}
			return newProblem(status, e)
		}
	}
	if ctx.Err() == nil { // else the caller is gone, and nothing is wrong
		s.log.ErrorContext(ctx, "request failed", "error", err)
	}
	return newProblem(http.StatusInternalServerError, &envbackup.Error{
		Code: envbackup.CodeInternal, Message: "internal error", Hint: "the daemon's log has the cause",
	})
}

// writeProblem answers outside of huma.
func writeProblem(w http.ResponseWriter, p *problem) {
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p.Problem) // the client is gone; nothing is left to tell it
}

// problemTransformer turns huma's own errors (validation, media type, size)
// into our documents.
func problemTransformer(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	e := &envbackup.Error{Code: envbackup.CodeInvalid, Message: m.Detail}
	switch m.Status {
	case http.StatusRequestEntityTooLarge:
		e.Message = fmt.Sprintf("the request body is larger than %d bytes", maxBody)
	case http.StatusRequestTimeout:
		e.Message = "the request body did not arrive in time"
	case http.StatusUnsupportedMediaType:
		e.Message, e.Hint = "the request body must be JSON", "send it with Content-Type: application/json"
	case http.StatusBadRequest:
		if len(m.Errors) > 0 {
			e.Message = "the request body is not valid JSON: " + m.Errors[0].Message
		}
	case http.StatusInternalServerError:
		e.Code, e.Message = envbackup.CodeUnavailable, "the request body broke off"
	default:
		for _, d := range m.Errors {
			e.Findings = append(e.Findings, findingOf(d))
		}
		if len(e.Findings) > 0 {
			e.Message = e.Findings[0].Detail
		}
	}
	return &newProblem(m.Status, e).Problem, nil
}

// findingOf words one complaint of huma's validation. The value is left out on
// purpose: it may be a secret.
func findingOf(d *huma.ErrorDetail) envbackup.Finding {
	path := d.Location
	for _, where := range []string{"body.schedule.", "body.", "query.", "path.", "header."} {
		if rest, ok := strings.CutPrefix(path, where); ok {
			path = rest
			break
		}
	}
	if path == "body" {
		path = ""
	}
	f := envbackup.Finding{Severity: envbackup.SeverityError, Path: path, Summary: "Invalid value", Detail: d.Message}
	switch {
	case d.Message == "unexpected property":
		f.Summary, f.Detail = "Unknown attribute", fmt.Sprintf("%q is not an attribute here.", path)
	case strings.HasPrefix(d.Message, "expected required property "):
		name := strings.TrimSuffix(strings.TrimPrefix(d.Message, "expected required property "), " to be present")
		if f.Path != "" {
			name = f.Path + "." + name
		}
		f.Path, f.Summary, f.Detail = name, "Missing attribute", fmt.Sprintf("%q is required.", name)
	case path != "":
		f.Detail = path + ": " + d.Message
	}
	return f
}

// checkRoute answers 404 and 405 as problem documents. It asks the multiplexer
// first, because its own answers are plain text.
func checkRoute(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		probe := &probeWriter{header: http.Header{}}
		h.ServeHTTP(probe, r)
		if probe.status == http.StatusMethodNotAllowed {
			allow := probe.header.Get("Allow")
			w.Header().Set("Allow", allow)
			writeProblem(w, newProblem(probe.status, &envbackup.Error{
				Code: envbackup.CodeInvalid, Message: fmt.Sprintf("%s is not allowed here", r.Method), Hint: "allowed: " + allow,
			}))
			return
		}
		writeProblem(w, newProblem(http.StatusNotFound, &envbackup.Error{
			Code: envbackup.CodeNotFound, Message: fmt.Sprintf("there is nothing at %s", r.URL.Path), Hint: "the routes are listed at /docs",
		}))
	})
}

// probeWriter learns what the multiplexer would answer.
type probeWriter struct {
	header http.Header
	status int
}

func (p *probeWriter) Header() http.Header         { return p.header }
func (p *probeWriter) WriteHeader(status int)      { p.status = status }
func (p *probeWriter) Write(b []byte) (int, error) { return len(b), nil }
