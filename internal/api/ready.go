package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// readyFor bounds each check, so that a stuck database reads as such.
const readyFor = 5 * time.Second

// probeRoutes registers what machines ask: whether the process lives, whether
// it can work, and its figures. They stand outside of the OpenAPI document's
// API, since their shapes are other people's conventions.
func (s *server) probeRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // the client is gone; nothing is left to tell it
	})
	mux.HandleFunc("GET /readyz", s.ready)
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.metrics())
	}
}

// metrics is for scrapers with a token of any role.
func (s *server) metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.OpenMetrics && !actorOf(r.Context()).role.Allows(envbackup.RoleViewer) {
			writeProblem(w, s.problemOf(r.Context(), s.unauthenticated("the metrics want a token")))
			return
		}
		s.Metrics.ServeHTTP(w, r)
	})
}

// ready answers 200 when every part works, else 503, with the parts by name.
// Causes go to the log: whoever asks needs no token.
func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	answer := wire.Ready{Ready: true}
	check := func(name string, works func(context.Context) error) {
		ctx, cancel := context.WithTimeout(r.Context(), readyFor)
		defer cancel()
		c := wire.Check{Name: name}
		if err := works(ctx); err != nil {
			s.log.WarnContext(ctx, "not ready", "check", name, "error", err)
			answer.Ready, c.Error = false, "does not work; the daemon's log has the cause"
		}
		answer.Checks = append(answer.Checks, c)
	}
	check("database", s.Store.Ping)
	for _, name := range slices.Sorted(maps.Keys(s.Checks)) {
		check(name, s.Checks[name])
	}
	w.Header().Set("Content-Type", "application/json")
	if !answer.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(answer) // the client is gone; nothing is left to tell it
}
