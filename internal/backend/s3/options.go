package s3

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

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
	// SSE is the encryption that the store is asked for besides ours: "AES256"
	// with keys of its own, "aws:kms" with the account's KMS key. Empty leaves
	// it to the bucket.
	SSE string
	// SSEKMSKeyID is the KMS key to encrypt with, and implies "aws:kms".
	SSEKMSKeyID string
	// LockMode is "GOVERNANCE" or "COMPLIANCE": then every object but the
	// locks of the repository is stored with an object lock that ends LockFor
	// later. Empty is no lock but the bucket's own.
	LockMode string
	LockFor  time.Duration
	// Transport carries the requests, if it is set; then CAFile and Connections
	// are its own matter, and Close leaves its connections open. NewTransport
	// makes one that several stores can share.
	Transport *http.Transport
	// Connections bounds the connections that are kept open; default 32.
	Connections int
	// Observe is told of each request to the store. It is called concurrently.
	Observe func(Request)
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
	if opt.SSEKMSKeyID != "" && opt.SSE == string(types.ServerSideEncryptionAes256) {
		return fail("a KMS key encrypts with %s, not with %s", types.ServerSideEncryptionAwsKms, opt.SSE)
	}
	transport, closeTransport := opt.Transport, func() {}
	if transport == nil {
		var err error
		if transport, err = NewTransport(opt.CAFile, opt.Connections); err != nil {
			return fail("%v", err)
		}
		closeTransport = transport.CloseIdleConnections
	}
	opt.Transport = transport
	provider, region, err := resolve(ctx, opt)
	if err != nil {
		return fail("AWS configuration: %v", err)
	}
	opt.Region = region
	prefix := strings.Trim(opt.Prefix, "/")
	if prefix != "" {
		prefix += "/"
	}
	b := &Backend{opt: opt, prefix: prefix, close: closeTransport, explain: explainer{opt}}
	b.client = s3.New(s3.Options{
		Region:           region,
		Credentials:      aws.NewCredentialsCache(credentialsMarker{provider}),
		HTTPClient:       newClient(transport, opt.Observe),
		Retryer:          aws.NopRetryer{},
		UsePathStyle:     opt.ForcePathStyle,
		DefaultsMode:     aws.DefaultsModeStandard,
		RetryMaxAttempts: 1,
		// The signature covers a SHA-256 of the content, which is more than a
		// checksum; and not every server knows the checksums' headers.
		RequestChecksumCalculation:                aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenRequired,
		DisableLogOutputChecksumValidationSkipped: true,
		APIOptions: []func(*middleware.Stack) error{leaveEncodingAlone},
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
	cfg.Credentials = credentialsMarker{cfg.Credentials}
	role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg, func(o *sts.Options) {
		o.HTTPClient = &http.Client{Transport: opt.Transport}
	}), opt.RoleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = "envbackup"
		if opt.ExternalID != "" {
			o.ExternalID = aws.String(opt.ExternalID)
		}
	})
	return role, cfg.Region, nil
}
