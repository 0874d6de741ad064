package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// Options say where the bucket is and how to get in. Bucket is required.
type Options struct {
	Bucket string
	// Prefix is the folder of the repository in the bucket, without slashes at
	// its ends. Empty means the bucket's top.
	Prefix string
	// Region defaults to that of the environment or the AWS profile, then to
	// us-east-1.
	Region string
	// Endpoint is the URL of a server other than Amazon's.
	Endpoint string
	// ForcePathStyle puts the bucket into the path instead of the host name.
	// It is implied for endpoints that are no domain names.
	ForcePathStyle bool
	// CAFile holds certificates, as PEM, of authorities that the endpoint's
	// certificate may be signed by, besides the system's. It defaults to the
	// environment's AWS_CA_BUNDLE.
	CAFile string

	// AccessKeyID and SecretAccessKey are fixed credentials. Without them the
	// usual AWS chain is asked: environment, profile, container, instance.
	AccessKeyID     string
	SecretAccessKey secret.String
	SessionToken    secret.String
	// RoleARN is assumed with these credentials, if it is set.
	RoleARN    string
	ExternalID string

	// StorageClass applies to packs only.
	StorageClass string
	// SSEKMSKeyID makes the store encrypt objects with this KMS key, too.
	SSEKMSKeyID string
	// LockMode is "GOVERNANCE" or "COMPLIANCE": then every object but the
	// locks of the repository is stored with an object lock that ends LockFor
	// later. Empty is no lock but the bucket's own.
	LockMode string
	LockFor  time.Duration
	// Connections bounds the connections that are kept open; default 32.
	Connections int
}

// Open returns the store in the bucket. It sends no request to it; ask Probe
// whether it works.
func Open(ctx context.Context, opt Options) (*Backend, error) {
	fail := func(format string, args ...any) (*Backend, error) {
		return nil, &backend.Error{Op: "open", Kind: backend.Permanent, Message: fmt.Sprintf(format, args...)}
	}
	if opt.Bucket == "" || strings.ContainsAny(opt.Bucket, "/ ") {
		return fail("%q is no name of a bucket", opt.Bucket)
	}
	if opt.Endpoint != "" {
		u, err := url.Parse(opt.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fail("the endpoint %q is not a URL like https://s3.example.com", opt.Endpoint)
		}
		if u.User != nil {
			// It would be shown with the location.
			return fail("the endpoint must not hold credentials")
		}
		if net.ParseIP(u.Hostname()) != nil || u.Hostname() == "localhost" {
			opt.ForcePathStyle = true
		}
	}
	if (opt.AccessKeyID == "") != opt.SecretAccessKey.IsEmpty() {
		return fail("access key id and secret access key belong together, only one of them is set")
	}
	if (opt.LockMode == "") != (opt.LockFor <= 0) {
		return fail("an object lock needs a mode and a time, only one of them is set")
	}
	transport, err := newTransport(opt)
	if err != nil {
		return fail("%v", err)
	}
	provider, region, err := resolve(ctx, opt)
	if err != nil {
		return fail("AWS configuration: %v", err)
	}
	opt.Region = region
	prefix := strings.Trim(opt.Prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	b := &Backend{opt: opt, prefix: prefix, close: transport.CloseIdleConnections, explain: explainer{opt}}
	b.client = s3.New(s3.Options{
		Region:           region,
		Credentials:      aws.NewCredentialsCache(credentialsMarker{provider}),
		HTTPClient:       &http.Client{Transport: transport},
		Retryer:          aws.NopRetryer{},
		UsePathStyle:     opt.ForcePathStyle,
		DefaultsMode:     aws.DefaultsModeStandard,
		RetryMaxAttempts: 1,
		// The signature covers a SHA-256 of the content, which is more than a
		// checksum; and not every server knows the checksums' headers.
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenRequired,
		DisableLogOutputChecksumValidationSkipped: true,
	}, func(o *s3.Options) {
		if opt.Endpoint != "" {
			o.BaseEndpoint = aws.String(opt.Endpoint)
		}
	})
	return b, nil
}

// resolve finds credentials and region.
func resolve(ctx context.Context, opt Options) (aws.CredentialsProvider, string, error) {
	if opt.AccessKeyID != "" && opt.RoleARN == "" {
		region := opt.Region
		if region == "" {
			region = "us-east-1"
		}
		return credentials.NewStaticCredentialsProvider(opt.AccessKeyID, opt.SecretAccessKey.Reveal(), opt.SessionToken.Reveal()), region, nil
	}
	var load []func(*config.LoadOptions) error
	if opt.Region != "" {
		load = append(load, config.WithRegion(opt.Region))
	}
	if opt.AccessKeyID != "" {
		load = append(load, config.WithCredentialsProvider(
			credentials.NewStaticCredentialsProvider(opt.AccessKeyID, opt.SecretAccessKey.Reveal(), opt.SessionToken.Reveal())))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, "", err
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	if opt.RoleARN == "" {
		return cfg.Credentials, cfg.Region, nil
	}
	role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), opt.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "envbackup"
		if opt.ExternalID != "" {
			o.ExternalID = aws.String(opt.ExternalID)
		}
	})
	return role, cfg.Region, nil
}

func newTransport(opt Options) (*http.Transport, error) {
	connections := opt.Connections
	if connections <= 0 {
		connections = 32
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{
			Timeout:   10 * time.Second,
			KeepAlive: 30 * time.Second,
		}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConns:          connections,
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
	if opt.CAFile == "" {
		opt.CAFile = os.Getenv("AWS_CA_BUNDLE")
	}
	if opt.CAFile != "" {
		pem, err := os.ReadFile(opt.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read certificates: %w", err)
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read certificates: %s holds none", opt.CAFile)
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}
