package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// DefaultConnections is how many connections to one store are kept open.
const DefaultConnections = 32

// NewTransport returns the connections of any number of stores, tuned for
// objects of some megabytes. caFile holds certificates, as PEM, of authorities
// that are trusted besides the system's; it defaults to the environment's
// AWS_CA_BUNDLE. connections bounds those that are kept open to one store; 0 is
// DefaultConnections. Time limits of requests are the business of package
// retry, which knows their size.
func NewTransport(caFile string, connections int) (*http.Transport, error) {
	if connections <= 0 {
		connections = DefaultConnections
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{
			Timeout:   10 * time.Second,
			KeepAlive: 30 * time.Second,
		}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       90 * time.Second,
		// Packs do not compress, and HTTP/2 would put all transfers on one
		// connection.
		DisableCompression: true,
		ForceAttemptHTTP2:  false,
		WriteBufferSize:    64 << 10,
		ReadBufferSize:     64 << 10,
		TLSClientConfig:    &tls.Config{MinVersion: tls.VersionTLS12},
	}
	if caFile == "" {
		caFile = os.Getenv("AWS_CA_BUNDLE")
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificates: %s holds none in PEM form", caFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

// Request is a request to a store, as of the beginning of its answer.
type Request struct {
	// Operation is its name in the protocol, such as PutObject, by which stores
	// bill and log.
	Operation string
	// Result is what came of it: "ok", "not_found", "exists", "denied",
	// "throttled", "refused" (another 4xx, a redirect), "server_error",
	// "no_answer", or "cancelled" by us.
	Result string
	// Took is the time until then, the sending of an object included.
	Took time.Duration
}

// newClient returns the HTTP client of one store.
func newClient(transport http.RoundTripper, observe func(Request)) *http.Client {
	if observe != nil {
		transport = observed{transport, observe}
	}
	return &http.Client{
		Transport: transport,
		// A redirect means another region, and its signature another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// observed tells of each request.
type observed struct {
	next    http.RoundTripper
	observe func(Request)
}

func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	response, err := o.next.RoundTrip(r)
	operation := awsmiddleware.GetOperationName(r.Context())
	if operation == "" {
		operation = r.Method
	}
	result := "no_answer"
	switch {
	case err == nil:
		result = resultOf(response.StatusCode)
	case errors.Is(context.Cause(r.Context()), context.Canceled):
		result = "cancelled"
	}
	o.observe(Request{Operation: operation, Result: result, Took: time.Since(began)})
	return response, err
}

func resultOf(status int) string {
	switch {
	case status < 300:
		return "ok"
	case status == http.StatusNotFound:
		return "not_found"
	case status == http.StatusPreconditionFailed:
		return "exists"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "denied"
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return "throttled"
	case status < 500:
		return "refused"
	default:
		return "server_error"
	}
}

// leaveEncodingAlone keeps Accept-Encoding out of requests: Google changes it on
// its way in, and then a signature that covers it does not match.
func leaveEncodingAlone(stack *middleware.Stack) error {
	_, _ = stack.Finalize.Remove("DisableAcceptEncodingGzip") // absent is as good
	return nil
}

// contentMD5 sends the checksum without which servers refuse some documents in
// its oldest form, which all of them know: the younger headers are unknown to
// many that are not Amazon's.
func contentMD5(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
		for _, id := range []string{"AWSChecksum:SetupInputContext", "AWSChecksum:RequestMetricsTracking"} {
			_, _ = stack.Initialize.Remove(id) // absent is as good
			_, _ = stack.Build.Remove(id)
		}
		for _, id := range []string{"AWSChecksum:ComputeInputPayloadChecksum", "addInputChecksumTrailer"} {
			_, _ = stack.Finalize.Remove(id)
		}
		return smithyhttp.AddContentChecksumMiddleware(stack)
	})
}
