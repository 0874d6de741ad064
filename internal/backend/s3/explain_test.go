package s3

import (
	"net/http"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

// What Amazon, R2, B2, Wasabi, Ceph and Google document as answers, which the
// servers of the tests do not give.
func TestDocumentedAnswers(t *testing.T) {
	t.Parallel()
	inRegion := func(r string) http.Header { return http.Header{"X-Amz-Bucket-Region": {r}} }
	tests := map[string]struct {
		code   string
		status int
		header http.Header
		kind   backend.ErrorKind
		says   string
	}{
		"HEAD in the wrong region":       {"", 301, inRegion("eu-west-1"), backend.WrongRegion, `is in region "eu-west-1", not in "us-east-1"`},
		"HEAD that was signed wrong":     {"", 400, inRegion("eu-west-1"), backend.WrongRegion, `"eu-west-1"`},
		"GET in the wrong region":        {"PermanentRedirect", 301, nil, backend.WrongRegion, "region"},
		"malformed authorization header": {"AuthorizationHeaderMalformed", 400, nil, backend.WrongRegion, "region"},
		"HEAD without a right":           {"Forbidden", 403, inRegion("us-east-1"), backend.AccessDenied, "do not allow"},
		"HEAD of nothing":                {"NotFound", 404, nil, backend.NotFound, ""},
		"no such key":                    {"NoSuchKey", 404, nil, backend.NotFound, ""},
		"no such bucket":                 {"NoSuchBucket", 404, nil, backend.NoBucket, "does not exist"},
		"precondition":                   {"PreconditionFailed", 412, nil, backend.Exists, ""},
		"concurrent conditional writes":  {"ConditionalRequestConflict", 409, nil, backend.Temporary, ""},
		"slow down":                      {"SlowDown", 503, nil, backend.Throttled, "fewer requests"},
		"plain 503":                      {"", 503, nil, backend.Throttled, "fewer requests"},
		"service unavailable":            {"ServiceUnavailable", 503, nil, backend.Temporary, ""},
		"B2 has too many transactions":   {"TooManyRequests", 429, nil, backend.Throttled, ""},
		"internal error":                 {"InternalError", 500, nil, backend.Temporary, ""},
		"expired token":                  {"ExpiredToken", 400, nil, backend.BadCredentials, "session token"},
		"skewed clock":                   {"RequestTimeTooSkewed", 403, nil, backend.BadCredentials, "clock"},
		"changed on the way":             {"XAmzContentSHA256Mismatch", 400, nil, backend.Temporary, "changed on the way"},
		"Ceph's quota":                   {"QuotaExceeded", 403, nil, backend.Full, "is full"},
		"archived":                       {"InvalidObjectState", 403, nil, backend.Permanent, "archived"},
		"range":                          {"InvalidRange", 416, nil, backend.Permanent, "range"},
		"gateway":                        {"", 502, nil, backend.Temporary, "502"},
		"something new":                  {"BrandNew", 400, nil, backend.Permanent, "BrandNew"},
	}
	x := explainer{Options{Bucket: "b", Region: "us-east-1"}}
	for name, tt := range tests {
		err := x.code("get", backend.Handle{Kind: backend.KindConfig}, tt.code, "", tt.status, tt.header)
		if err.Kind != tt.kind || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %s: %v", name, err.Kind, err)
		}
	}
}
