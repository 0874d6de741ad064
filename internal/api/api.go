// Package api is the daemon's HTTP API: the routes under /api/v1, the OpenAPI
// document that is generated from them, and /healthz, /readyz and /metrics.
//
// It decides who may do what, what a request must look like, which HTTP status
// a code is, and what is written to the audit log. It leaves cron, retention
// and forecasts to preflight, the making of runs to the scheduler and the
// queue, and repositories to the vault and the pruner, which it knows as
// interfaces only.
//
// It promises that every refusal is a problem document (RFC 9457) with a code,
// that no answer but those to a token's creation and to a key request holds a
// secret, and that no change is made without an entry in the audit log or a
// line in the daemon's. It does not promise that idempotency keys outlive the
// process.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

const (
	root    = "/api/v1"
	maxBody = 1 << 20
)

// server holds what the handlers share. Its methods are the handlers, one file
// for each kind of thing.
type server struct {
	Deps
	log       *slog.Logger
	huma      huma.API
	failures  *failures
	replays   *replays
	forecasts *forecasts
	verdicts  *verdicts
	// judging has room for the preflights that read the backups of a schedule:
	// Terraform asks about ten at a time, and each may hold a hundred thousand.
	judging chan struct{}
}

// maxJudging is how many of them there may be. More would not be faster: they
// compute.
const maxJudging = 2

// New returns the handler of the whole API. It is safe for concurrent use and
// starts no goroutine.
func New(deps Deps) http.Handler {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	s := &server{
		Deps: deps, log: deps.Log, failures: newFailures(), replays: newReplays(),
		forecasts: newForecasts(), verdicts: newVerdicts(), judging: make(chan struct{}, maxJudging),
	}
	mux := http.NewServeMux()
	config := huma.DefaultConfig("envbackup", deps.Version)
	config.Info.Description = "Backups as code: schedules, runs, backups and restores of one envbackup daemon."
	config.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"token": {Type: "http", Scheme: "bearer", Description: "A token of envbackup token create"},
	}
	config.DocsPath, config.SchemasPath = "", ""
	config.CreateHooks = nil // the $schema links that these add are of no use to our clients
	config.RejectUnknownQueryParameters = true
	config.Transformers = []huma.Transformer{problemTransformer}
	s.huma = humago.New(mux, config)
	s.huma.UseMiddleware(s.authorize)

	s.environmentRoutes()
	s.destinationRoutes()
	s.scheduleRoutes()
	s.runRoutes()
	s.backupRoutes()
	s.restoreRoutes()
	s.verificationRoutes()
	s.adminRoutes()
	s.probeRoutes(mux)
	docsRoutes(mux)
	// huma registers its own error model with every operation; ours stands in
	// the answers.
	for _, unused := range []string{"ErrorModel", "ErrorDetail"} {
		delete(s.huma.OpenAPI().Components.Schemas.Map(), unused)
	}

	return s.recovering(headers(s.authenticate(s.replay(checkRoute(mux)))))
}

// schemaName keeps the names of the Go types, but for the one that says
// nothing outside of its package.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if name == "Spec" {
		return "Retention"
	}
	return name
}

// route is what all operations have in common, and handle completes.
type route struct {
	method  string
	path    string // under root
	id      string
	summary string
	tag     string
	role    envbackup.Role
	status  int // of success; 0 lets huma choose 200, or 204 without a body
}

func (r route) operation(api huma.API) huma.Operation {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[wire.Problem](), true, "Problem")
	return huma.Operation{
		Method: r.method, Path: root + r.path, OperationID: r.id, Summary: r.summary, Tags: []string{r.tag},
		DefaultStatus: r.status, MaxBodyBytes: maxBody + 1, BodyReadTimeout: 30 * time.Second,
		Security: []map[string][]string{{"token": {}}},
		Metadata: map[string]any{"role": r.role},
		Responses: map[string]*huma.Response{"default": {
			Description: "Refused or failed",
			Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
		}},
		Extensions: map[string]any{"x-role": string(r.role)},
	}
}

// handle registers a handler; its errors become problem documents.
func handle[I, O any](s *server, r route, h func(context.Context, *I) (*O, error)) {
	huma.Register(s.huma, r.operation(s.huma), func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, s.problemOf(ctx, err)
		}
		return out, nil
	})
}

// recovering answers 500 where a handler panicked, and keeps the daemon alive.
func (s *server) recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(cause)
			}
			s.log.ErrorContext(r.Context(), "handler panicked", "method", r.Method, "path", r.URL.Path,
				"cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
			writeProblem(w, newProblem(http.StatusInternalServerError, &envbackup.Error{
				Code: envbackup.CodeInternal, Message: "internal error", Hint: "the daemon's log has the cause",
			}))
		}()
		next.ServeHTTP(w, r)
	})
}

// headers forbids what an API never needs of a browser.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// doc answers with a document and its version as the ETag.
type doc[T any] struct {
	ETag string `header:"ETag"`
	Body T
}

// made answers the creation of a thing.
type made[T any] struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     T
}

// plain answers with a document that has no version.
type plain[T any] struct{ Body T }

// none answers with nothing.
type none struct{}

// Keyed names a thing by its id or name. It and Versioned are exported because
// huma looks into exported embedded structs only.
type Keyed struct {
	Key string `path:"id" maxLength:"200" doc:"Id or name"`
}

// Versioned is Keyed with the version that the caller has seen.
type Versioned struct {
	Keyed
	IfMatch string `header:"If-Match" doc:"The ETag that was read; another one by now is refused with 412"`
}
