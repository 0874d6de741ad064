// Package s3test gives tests an S3 server to talk to: a real one (versitygw, a
// child process shared by the tests of one binary), a quick one in memory, and
// a proxy in front of either that injects the faults of a bad day.
//
// It decides how the servers are started, found ready and torn down. What is
// asserted against them is the tests' business, with one limit: the server in
// memory has no object lock and no atomic conditional writes, so nothing about
// those may rest on it. Nothing of this package reaches the released binary.
package s3test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Server is an S3 endpoint and one identity there. Buckets are addressed by
// path. It is safe for concurrent use.
type Server struct {
	// Endpoint is the base URL, without a trailing slash.
	Endpoint string
	// AccessKey and SecretKey are the identity of the receiver; that of the
	// server which Start returns may do everything.
	AccessKey, SecretKey string
	Region               string
	// CAFile holds the authority that signed the certificate of an https
	// endpoint, as PEM; empty without TLS.
	CAFile string

	gateway *gateway // nil for the server in memory
}

// Client returns an SDK client of the server with no retries, so that a test
// sees each fault once.
func (s *Server) Client() *s3.Client {
	var client s3.HTTPClient // nil has connections of its own, which no test before has used
	if s.CAFile != "" {
		transport, err := s.transport()
		if err != nil {
			panic(fmt.Sprintf("s3test: the authority that was just made: %v", err))
		}
		client = &http.Client{Transport: transport}
	}
	return s3.New(s3.Options{
		HTTPClient:                 client,
		BaseEndpoint:               aws.String(s.Endpoint),
		Region:                     s.Region,
		Credentials:                credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
		UsePathStyle:               true,
		Retryer:                    aws.NopRetryer{},
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenSupported,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenSupported,
	})
}

// transport trusts the server.
func (s *Server) transport() (*http.Transport, error) {
	if s.CAFile == "" {
		return &http.Transport{}, nil
	}
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}, nil
}

// Environ returns the variables by which AWS tools, restic among them, find
// the identity and the region.
func (s *Server) Environ() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + s.AccessKey,
		"AWS_SECRET_ACCESS_KEY=" + s.SecretKey,
		"AWS_DEFAULT_REGION=" + s.Region,
		"AWS_REGION=" + s.Region,
	}
}

// ResticURL returns restic's spelling of a repository in the bucket:
// s3:http://HOST:PORT/BUCKET/PREFIX.
func (s *Server) ResticURL(bucket, prefix string) string {
	return "s3:" + s.Endpoint + "/" + strings.Trim(bucket+"/"+prefix, "/")
}

// As returns the same server seen with another identity.
func (s *Server) As(accessKey, secretKey string) *Server {
	other := *s
	other.AccessKey, other.SecretKey = accessKey, secretKey
	return &other
}

// BucketOption changes how Bucket makes a bucket.
type BucketOption func(*bucketOptions)

type bucketOptions struct{ versioned, locked bool }

// Versioned keeps old versions of objects.
func Versioned() BucketOption { return func(o *bucketOptions) { o.versioned = true } }

// Locked allows object lock, which implies versions.
func Locked() BucketOption { return func(o *bucketOptions) { o.locked = true } }

// Bucket makes a bucket with a name of its own and returns the name. What it
// holds is dropped when the test ends.
func (s *Server) Bucket(t testing.TB, options ...BucketOption) string {
	t.Helper()
	var o bucketOptions
	for _, option := range options {
		option(&o)
	}
	name, err := s.makeBucket(context.Background(), o)
	if err != nil {
		t.Fatalf("make bucket: %v", err)
	}
	if s.gateway != nil {
		t.Cleanup(func() { s.gateway.dropBucket(name) })
	}
	return name
}

func (s *Server) makeBucket(ctx context.Context, o bucketOptions) (string, error) {
	name := "test-" + strings.ToLower(rand.Text()[:16])
	client := s.Client()
	input := &s3.CreateBucketInput{Bucket: aws.String(name)}
	if o.locked {
		input.ObjectLockEnabledForBucket = aws.Bool(true)
	}
	if _, err := client.CreateBucket(ctx, input); err != nil {
		return "", err
	}
	if o.versioned {
		_, err := client.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
			Bucket:                  aws.String(name),
			VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
		})
		if err != nil {
			return "", fmt.Errorf("enable versions of %s: %w", name, err)
		}
	}
	return name, nil
}

// Keys returns the keys of all objects in the bucket under prefix, in order.
func (s *Server) Keys(t testing.TB, bucket, prefix string) []string {
	t.Helper()
	var keys []string
	pages := s3.NewListObjectsV2Paginator(s.Client(), &s3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(prefix)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(context.Background())
		if err != nil {
			t.Fatalf("list bucket %s: %v", bucket, err)
		}
		for _, object := range page.Contents {
			keys = append(keys, aws.ToString(object.Key))
		}
	}
	return keys
}
