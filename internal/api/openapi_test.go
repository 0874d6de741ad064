package api_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
)

// document is what the tests read of the OpenAPI document.
type document struct {
	OpenAPI string                          `json:"openapi"`
	Paths   map[string]map[string]operation `json:"paths"`
	Parts   struct {
		Schemas map[string]json.RawMessage `json:"schemas"`
	} `json:"components"`
}

type operation struct {
	ID        string                     `json:"operationId"`
	Summary   string                     `json:"summary"`
	Role      string                     `json:"x-role"`
	Security  []map[string][]string      `json:"security"`
	Responses map[string]json.RawMessage `json:"responses"`
}

func openapi(t *testing.T, s *apitest.Server) document {
	t.Helper()
	var doc document
	if err := json.Unmarshal([]byte(send(t, s, request{method: "GET", path: "/openapi.json"}).body), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// routes is the contract of the API's surface: a route that goes, or changes
// its role, breaks somebody's script.
const routes = `
DELETE /api/v1/backups/{id} admin
DELETE /api/v1/destinations/{id} operator
DELETE /api/v1/environments/{id} operator
DELETE /api/v1/schedules/{id} operator
DELETE /api/v1/tokens/{id} admin
GET /api/v1/audit admin
GET /api/v1/backups viewer
GET /api/v1/backups/{id} viewer
GET /api/v1/destinations viewer
GET /api/v1/destinations/{id} viewer
GET /api/v1/environments viewer
GET /api/v1/environments/{id} viewer
GET /api/v1/limits viewer
GET /api/v1/restores viewer
GET /api/v1/restores/{id} viewer
GET /api/v1/restores/{id}/events viewer
GET /api/v1/runs viewer
GET /api/v1/runs/{id} viewer
GET /api/v1/runs/{id}/events viewer
GET /api/v1/schedules viewer
GET /api/v1/schedules/{id} viewer
GET /api/v1/schedules/{id}/slots viewer
GET /api/v1/tokens admin
GET /api/v1/verifications viewer
GET /api/v1/verifications/{id} viewer
GET /api/v1/verifications/{id}/events viewer
GET /api/v1/version viewer
POST /api/v1/backups/{id}/acknowledge operator
POST /api/v1/backups/{id}/hold operator
POST /api/v1/backups/{id}/release operator
POST /api/v1/backups/{id}/verify operator
POST /api/v1/checks operator
POST /api/v1/destinations operator
POST /api/v1/destinations/preflight viewer
POST /api/v1/environments operator
POST /api/v1/environments/preflight viewer
POST /api/v1/key admin
POST /api/v1/repairs operator
POST /api/v1/restores operator
POST /api/v1/restores/{id}/cancel operator
POST /api/v1/runs/{id}/cancel operator
POST /api/v1/schedules operator
POST /api/v1/schedules/preflight viewer
POST /api/v1/schedules/{id}/forget-missing admin
POST /api/v1/schedules/{id}/pause operator
POST /api/v1/schedules/{id}/prune operator
POST /api/v1/schedules/{id}/prune/cancel operator
POST /api/v1/schedules/{id}/prune/confirm operator
POST /api/v1/schedules/{id}/resume operator
POST /api/v1/schedules/{id}/run operator
POST /api/v1/tokens admin
POST /api/v1/verifications/{id}/cancel operator
PUT /api/v1/destinations/{id} operator
PUT /api/v1/environments/{id} operator
PUT /api/v1/schedules/{id} operator
`

func TestOpenAPIDocumentListsEveryRoute(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	doc := openapi(t, s)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("openapi = %q, want 3.1", doc.OpenAPI)
	}
	var got []string
	ids := map[string]bool{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			got = append(got, strings.ToUpper(method)+" "+path+" "+op.Role)
			if op.ID == "" || ids[op.ID] || op.Summary == "" || len(op.Security) != 1 {
				t.Errorf("%s %s lacks an id of its own, a summary or its security: %+v", method, path, op)
			}
			ids[op.ID] = true
			if !strings.Contains(string(op.Responses["default"]), "application/problem+json") {
				t.Errorf("%s %s does not document its refusals", method, path)
			}
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(routes), "\n"), got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	for _, unwanted := range []string{"ErrorModel", "ErrorDetail", "Spec"} {
		if doc.Parts.Schemas[unwanted] != nil {
			t.Errorf("the document holds the schema %s, which no answer has", unwanted)
		}
	}
}

// Every route of the document is served, wants a token and refuses another
// method as a problem document.
func TestEveryDocumentedRouteAnswers(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	for path, methods := range openapi(t, s).Paths {
		path := strings.ReplaceAll(path, "{id}", "none")
		for method, op := range methods {
			method := strings.ToUpper(method)
			if p := problemIn(t, send(t, s, request{method: method, path: path})); p.Status != 401 {
				t.Errorf("%s %s without a token = %d, want 401", method, path, p.Status)
			}
			if resp := send(t, s, request{method: method, path: path, token: s.Admin}); resp.status == 405 || resp.status >= 500 {
				t.Errorf("%s %s = %d %s: the route does not exist or breaks", method, path, resp.status, resp.body)
			}
			if op.Role != "viewer" {
				if p := problemIn(t, send(t, s, request{method: method, path: path, token: s.Viewer})); p.Status != 403 {
					t.Errorf("%s %s as a viewer = %d, want 403 before anything else", method, path, p.Status)
				}
			}
		}
		if p := problemIn(t, send(t, s, request{method: "PATCH", path: path, token: s.Admin})); p.Status != 405 {
			t.Errorf("PATCH %s = %d, want 405", path, p.Status)
		}
	}
}

// The page must work on a machine without the internet.
func TestDocsPageAsksNobodyElse(t *testing.T) {
	t.Parallel()
	s := apitest.Start(t)
	page := send(t, s, request{method: "GET", path: "/docs"})
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(links) < 3 {
		t.Fatalf("the page links %v, want script, style and document", links)
	}
	for _, l := range links {
		if got := send(t, s, request{method: "GET", path: l[1]}); !strings.HasPrefix(l[1], "/") || got.status != 200 {
			t.Errorf("the page links %s, which answers %d", l[1], got.status)
		}
	}
	for _, path := range []string{"/docs", "/docs/docs.js", "/docs/docs.css"} {
		if resp := send(t, s, request{method: "GET", path: path}); strings.Contains(resp.body, "://") {
			t.Errorf("%s names another host", path)
		}
	}
	if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self'") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy = %q", csp)
	}
}
