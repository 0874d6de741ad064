package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
)

// explainer says what an answer of the store means for the user, in a sentence
// without secrets.
type explainer struct{ opt Options }

func (x explainer) place() string {
	if x.opt.Endpoint != "" {
		return x.opt.Endpoint
	}
	return "Amazon S3 in " + x.opt.Region
}

// error classifies what the SDK returned.
func (x explainer) error(ctx context.Context, op string, h backend.Handle, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w: %w", op, h, context.Cause(ctx), err)
	}
	if cause, ok := errors.AsType[*credentialsError](err); ok {
		return x.credentials(op, h, cause)
	}
	var status int
	var header http.Header
	if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && resp.Response != nil {
		status, header = resp.HTTPStatusCode(), resp.Response.Header
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return x.withCause(x.code(op, h, api.ErrorCode(), api.ErrorMessage(), status, header), err)
	}
	if status != 0 {
		return x.withCause(x.code(op, h, "", "", status, header), err)
	}
	return x.network(op, h, err)
}

func (x explainer) withCause(e *backend.Error, err error) *backend.Error {
	e.Err = errors.Join(e.Err, err)
	return e
}

// code classifies an error code of the protocol, or the status alone where the
// answer has no body.
func (x explainer) code(op string, h backend.Handle, code, message string, status int, header http.Header) *backend.Error {
	e := &backend.Error{Op: op, Handle: h, RetryAfter: retryAfter(header)}
	say := func(kind backend.ErrorKind, format string, args ...any) *backend.Error {
		e.Kind, e.Message = kind, fmt.Sprintf(format, args...)
		return e
	}
	wrongRegion := func() *backend.Error {
		if actual := header.Get("X-Amz-Bucket-Region"); actual != "" && actual != x.opt.Region {
			return say(backend.WrongRegion, "bucket %q is in region %q, not in %q", x.opt.Bucket, actual, x.opt.Region)
		}
		return say(backend.WrongRegion, "bucket %q is not in region %q, or the endpoint belongs to another region", x.opt.Bucket, x.opt.Region)
	}
	if code == "UnknownError" {
		code = "" // the SDK's word for an answer without one
	}
	switch code {
	case "NoSuchBucket":
		return say(backend.NoBucket, "bucket %q does not exist at %s", x.opt.Bucket, x.place())
	case "InvalidAccessKeyId", "XAdminUserNotFound", "InvalidClientTokenId", "UnrecognizedClientException":
		return say(backend.BadCredentials, "%s does not know the access key id", x.place())
	case "SignatureDoesNotMatch":
		return say(backend.BadCredentials, "the secret access key does not belong to the access key id")
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired":
		return say(backend.BadCredentials, "the session token is expired or invalid")
	case "RequestTimeTooSkewed":
		return say(backend.BadCredentials, "the clock of this machine differs too much from that of %s", x.place())
	case "PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion":
		return wrongRegion()
	case "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "TooManyRequestsException", "BandwidthLimitExceeded", "RequestThrottled":
		return say(backend.Throttled, "%s asks for fewer requests", x.place())
	case "NoSuchKey":
		e.Kind = backend.NotFound
		return e
	case "PreconditionFailed":
		e.Kind = backend.Exists
		return e
	case "RequestTimeout", "InternalError", "ServiceUnavailable", "OperationAborted", "ConditionalRequestConflict":
		return say(backend.Temporary, "%s answered %s", x.place(), code)
	case "InvalidRange":
		e.Err = backend.ErrRange
		return say(backend.Permanent, "the range is not within the object")
	case "InvalidStorageClass":
		return say(backend.Unsupported, "%s does not know the storage class %q", x.place(), x.opt.StorageClass)
	case "NotImplemented", "InvalidEncryptionAlgorithmError":
		if settings := x.settings(); settings != "" && (op == "put" || op == "probe") {
			return say(backend.Unsupported, "%s does not offer what %s asks for%s", x.place(), settings, paren(message))
		}
		return say(backend.Unsupported, "%s does not know how to %s%s", x.place(), op, paren(message))
	case "InvalidObjectState":
		return say(backend.Permanent, "the object is archived by a storage class and must be restored first")
	case "QuotaExceeded", "XAdminQuotaExceeded", "InsufficientStorage":
		return say(backend.Full, "bucket %q is full", x.opt.Bucket)
	case "BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "IncompleteBody":
		return say(backend.Temporary, "the data were changed on the way to %s", x.place())
	case "KMS.DisabledException", "KMS.NotFoundException", "KMS.KMSInvalidStateException", "KMS.InvalidKeyUsageException":
		return say(backend.Unsupported, "the KMS key cannot be used%s", paren(message))
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return say(backend.AccessDenied, "the credentials do not allow to %s objects in bucket %q%s%s", op, x.opt.Bucket, x.keyToo(), paren(message))
	}
	switch {
	case code == "" && status >= 200 && status < 300:
		return say(backend.Temporary, "an answer of %s was cut short, or it is not that of an S3 server", x.place())
	case header.Get("X-Amz-Bucket-Region") != "" && header.Get("X-Amz-Bucket-Region") != x.opt.Region && (status == 301 || status == 307 || status == 400):
		return wrongRegion()
	case status == 301 || status == 307:
		return wrongRegion()
	case status == 401:
		return say(backend.BadCredentials, "%s does not accept the credentials", x.place())
	case status == 403:
		return say(backend.AccessDenied, "the credentials do not allow to %s objects in bucket %q%s", op, x.opt.Bucket, x.keyToo())
	case status == 404:
		e.Kind = backend.NotFound
		return e
	case status == 412:
		e.Kind = backend.Exists
		return e
	case status == 429 || status == 503 && code == "":
		return say(backend.Throttled, "%s asks for fewer requests (HTTP %d)", x.place(), status)
	case status == 507:
		return say(backend.Full, "bucket %q is full", x.opt.Bucket)
	case status == 408 || status == 409 || status >= 500 && status != 501:
		return say(backend.Temporary, "%s answered with HTTP %d", x.place(), status)
	}
	if status == http.StatusNotImplemented || status == http.StatusMethodNotAllowed {
		return say(backend.Unsupported, "%s does not know how to %s (HTTP %d)", x.place(), op, status)
	}
	return say(backend.Permanent, "%s answered %s%s", x.place(), firstOf(code, fmt.Sprintf("HTTP %d", status)), paren(message))
}

// network classifies what went wrong before there was an answer.
func (x explainer) network(op string, h backend.Handle, err error) error {
	e := &backend.Error{Op: op, Handle: h, Kind: backend.Temporary, Err: err}
	var (
		dns    *net.DNSError
		opErr  *net.OpError
		record tls.RecordHeaderError
	)
	switch {
	case isCertificate(err):
		e.Kind = backend.Untrusted
		e.Message = fmt.Sprintf("the certificate of %s is not trusted: %s", x.place(), certificateFault(err))
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		e.Kind = backend.Permanent
		e.Message = fmt.Sprintf("%s does not speak TLS; is the scheme https right?", x.place())
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Kind = backend.Unreachable
		e.Message = fmt.Sprintf("%s cannot be reached: the name %s does not exist", x.place(), dns.Name)
	case errors.As(err, &dns):
		e.Kind = backend.Unreachable
		e.Message = fmt.Sprintf("%s cannot be reached: name resolution failed", x.place())
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Kind = backend.Unreachable
		e.Message = fmt.Sprintf("%s cannot be reached: connection refused", x.place())
	case errors.As(err, &opErr) && opErr.Op == "dial":
		e.Kind = backend.Unreachable
		e.Message = fmt.Sprintf("%s cannot be reached: %v", x.place(), opErr.Err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Message = fmt.Sprintf("the connection to %s broke", x.place())
		if strings.HasPrefix(x.opt.Endpoint, "http:") {
			e.Message += "; if it speaks TLS, write https"
		}
	}
	return e
}

// certificateFault says in a few words what is wrong with a certificate.
func certificateFault(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &host):
		return "it is for another name than " + host.Host
	case errors.As(err, &unknown):
		return "it is signed by an authority that this machine does not know"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it is expired, or the clock of this machine is wrong"
	default:
		return "it is not valid"
	}
}

func isCertificate(err error) bool {
	var (
		verify  *tls.CertificateVerificationError
		unknown x509.UnknownAuthorityError
		host    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	return errors.As(err, &verify) || errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid)
}

// credentialsError marks a request that failed before it could be signed.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

// credentialsMarker marks the errors of a provider.
type credentialsMarker struct{ provider aws.CredentialsProvider }

func (m credentialsMarker) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := m.provider.Retrieve(ctx)
	if err != nil {
		return c, &credentialsError{err}
	}
	return c, nil
}

func (x explainer) credentials(op string, h backend.Handle, err error) error {
	e := &backend.Error{Op: op, Handle: h, Kind: backend.BadCredentials, Err: err}
	var status int
	if resp, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && resp.Response != nil {
		status = resp.HTTPStatusCode()
	}
	api, answered := errors.AsType[smithy.APIError](err)
	_, alone := errors.AsType[*credentialsError](errors.Unwrap(err)) // those that the role is asked for with
	switch {
	case x.opt.RoleARN == "":
		e.Message = "no AWS credentials were found: set an access key, the AWS environment variables, a profile or a role"
	case alone:
		e.Message = fmt.Sprintf("no AWS credentials were found with which to assume the role %s", x.opt.RoleARN)
	case !answered || x.code(op, h, api.ErrorCode(), "", status, nil).Kind.Retryable():
		e.Kind = backend.Unreachable
		e.Message = fmt.Sprintf("the AWS token service, which gives out the role %s, cannot be reached", x.opt.RoleARN)
	default:
		e.Message = fmt.Sprintf("the role %s cannot be assumed with these credentials%s", x.opt.RoleARN, paren(api.ErrorCode()))
	}
	return e
}

// settings names what was set that a server may not know.
func (x explainer) settings() string {
	var names []string
	if x.opt.StorageClass != "" {
		names = append(names, "storage_class")
	}
	if x.opt.SSE != "" {
		names = append(names, "server_side_encryption")
	}
	if x.opt.SSEKMSKeyID != "" {
		names = append(names, "sse_kms_key_id")
	}
	return strings.Join(names, " or ")
}

// keyToo names the rights to a KMS key, where one is set: the store does not.
func (x explainer) keyToo() string {
	if x.opt.SSEKMSKeyID == "" {
		return ""
	}
	return ", or not to use the KMS key (kms:GenerateDataKey and kms:Decrypt)"
}

// retryAfter reads the header of that name: seconds, or an instant.
func retryAfter(header http.Header) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 16); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

func paren(s string) string {
	if s == "" {
		return ""
	}
	return " (" + s + ")"
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
