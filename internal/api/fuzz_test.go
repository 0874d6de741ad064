package api_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"encoding/json"

	"github.com/envbackup/terraform-provider-envbackup/internal/api/apitest"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// FuzzDecoder sends any body to every route that takes one. Whatever it is, the
// daemon neither fails nor panics, and answers with JSON.
func FuzzDecoder(f *testing.F) {
	s := apitest.Start(f)
	paths := []string{
		"/api/v1/environments", "/api/v1/destinations", "/api/v1/schedules", "/api/v1/schedules/preflight",
		"/api/v1/schedules/none/run", "/api/v1/restores", "/api/v1/tokens", "/api/v1/key",
		"/api/v1/environments/preflight", "/api/v1/destinations/preflight",
	}
	for i, seed := range []string{
		`{"name":"shop","files":{"app":{"path":"/srv/app","exclude":["*.tmp","[a"]}}}`,
		`{"name":"d","s3":{"bucket":"b","prefix":"p","endpoint":"http://h:1"},"secret_access_key":"s","bandwidth_limit":-1}`,
		`{"name":"n","environment":"shop","destinations":["d"],"cron":"*/5 * * * *","timezone":"Europe/Berlin","retention":{"period":"30d","keep_daily":-1},"blackout":{"a":{"days":"1-5","from":"08:00","to":"25:00"}}}`,
		`{"id":"sch_x","schedule":{"name":"n","environment":"e","destinations":[],"cron":"@every 5m","retention":{"keep_all":true,"period":"1y6mo"}}}`,
		`{"wait":true}`,
		`{"backup":"latest","environment":"shop","target":"/x/../y","include":["!a"]}`,
		`{"name":"\u0000","role":"admin"}`,
		`[[[[[[[[[[null]]]]]]]]]]`,
	} {
		f.Add(uint8(i), seed)
	}
	f.Fuzz(func(t *testing.T, where uint8, body string) {
		path := paths[int(where)%len(paths)]
		req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+s.Admin)
		w := httptest.NewRecorder()
		s.Handler.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Fatalf("POST %s %q = %d %s", path, body, w.Code, w.Body)
		}
		if w.Code >= 400 {
			var p wire.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code == "" {
				t.Fatalf("POST %s %q = %d %s: no problem document (%v)", path, body, w.Code, w.Body, err)
			}
		} else if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("POST %s %q = %d %s: not JSON", path, body, w.Code, w.Body)
		}
	})
}
