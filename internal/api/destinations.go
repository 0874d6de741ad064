package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// probeFor bounds the wait for a destination that may not answer at all.
const probeFor = 15 * time.Second

func (s *server) destinationRoutes() {
	const tag = "destinations"
	handle(s, route{http.MethodGet, "/destinations", "list-destinations", "List destinations", tag, envbackup.RoleViewer, 0}, s.listDestinations)
	handle(s, route{http.MethodPost, "/destinations", "create-destination", "Create a destination", tag, envbackup.RoleOperator, http.StatusCreated}, s.createDestination)
	handle(s, route{http.MethodPost, "/destinations/preflight", "preflight-destination", "Say what would be said about a destination; changes nothing", tag, envbackup.RoleViewer, 0}, s.preflightDestination)
	handle(s, route{http.MethodGet, "/destinations/{id}", "get-destination", "Show a destination", tag, envbackup.RoleViewer, 0}, s.getDestination)
	handle(s, route{http.MethodPut, "/destinations/{id}", "update-destination", "Replace a destination", tag, envbackup.RoleOperator, 0}, s.updateDestination)
	handle(s, route{http.MethodDelete, "/destinations/{id}", "delete-destination", "Delete a destination; its backups stay", tag, envbackup.RoleOperator, 0}, s.deleteDestination)
}

func (s *server) listDestinations(ctx context.Context, in *struct{ wire.Page }) (*plain[wire.DestinationPage], error) {
	items, next, err := s.Store.Destinations(ctx, pageOf(in.Page))
	if err != nil {
		return nil, err
	}
	return &plain[wire.DestinationPage]{wire.DestinationPage{Items: convert(items, destinationDoc), Cursor: next}}, nil
}

func (s *server) getDestination(ctx context.Context, in *Keyed) (*doc[wire.Destination], error) {
	d, err := s.Store.Destination(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	return &doc[wire.Destination]{etagOf(d.Version), destinationDoc(d)}, nil
}

func (s *server) createDestination(ctx context.Context, in *struct{ Body wire.DestinationInput }) (*made[wire.Destination], error) {
	d := envbackup.Destination{Meta: envbackup.Meta{Owner: in.Body.Owner}, DestinationSpec: in.Body.DestinationSpec}
	if err := s.seal(ctx, &d, in.Body); err != nil {
		return nil, err
	}
	if findings := s.checkDestination(d.DestinationSpec, len(d.SealedSecretKey) > 0); envbackup.HasError(findings) {
		return nil, envbackup.Invalid(findings...)
	}
	if err := s.Store.CreateDestination(ctx, &d); err != nil {
		return nil, err
	}
	s.audit(ctx, "create", "destination", d.Name, "")
	body := destinationDoc(d)
	body.Findings = s.probe(ctx, d)
	return &made[wire.Destination]{etagOf(d.Version), root + "/destinations/" + d.ID, body}, nil
}

func (s *server) updateDestination(ctx context.Context, in *struct {
	Versioned
	Body wire.DestinationInput
}) (*doc[wire.Destination], error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	before, err := s.Store.Destination(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	d := before
	d.DestinationSpec, d.Owner = in.Body.DestinationSpec, in.Body.Owner
	if err := s.seal(ctx, &d, in.Body); err != nil {
		return nil, err
	}
	findings := s.checkDestination(d.DestinationSpec, len(d.SealedSecretKey) > 0)
	if d.Name != before.Name {
		findings = append(findings, fixedName("destination", before.Name, d.Name))
	}
	if envbackup.HasError(findings) {
		return nil, envbackup.Invalid(findings...)
	}
	// Without If-Match it is still the version that was read here: a secret
	// that this request keeps must not bring back an old one.
	if version == 0 {
		version = before.Version
	}
	if err := s.Store.UpdateDestination(ctx, &d, version); err != nil {
		return nil, err
	}
	s.audit(ctx, "update", "destination", d.Name, "")
	body := destinationDoc(d)
	moved, err := s.moved(ctx, before, d.DestinationSpec)
	if err != nil {
		return nil, err
	}
	body.Findings = append(body.Findings, moved...)
	body.Findings = append(body.Findings, s.probe(ctx, d)...)
	return &doc[wire.Destination]{etagOf(d.Version), body}, nil
}

func (s *server) deleteDestination(ctx context.Context, in *Versioned) (*none, error) {
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	d, err := s.Store.Destination(ctx, in.Key)
	if err != nil {
		return nil, err
	}
	if err := s.Store.DeleteDestination(ctx, d.ID, version); err != nil {
		return nil, err
	}
	s.audit(ctx, "delete", "destination", d.Name, "")
	return nil, nil
}

// probe asks whether the destination can be used. It is stored by then: a
// bucket may be created after it in the same apply.
func (s *server) probe(ctx context.Context, d envbackup.Destination) []envbackup.Finding {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	return s.Vault.Probe(ctx, d)
}

// seal takes the secrets of a request over into d. An absent secret keeps the
// stored one and its version; an empty one removes it.
func (s *server) seal(ctx context.Context, d *envbackup.Destination, in wire.DestinationInput) error {
	seal := func(plain *string, sealed *[]byte, version *int64, to int64) error {
		switch {
		case plain == nil:
			return nil
		case *plain == "":
			*sealed, *version = nil, 0
			return nil
		}
		box, err := s.Vault.Seal(ctx, secret.New(*plain))
		if err != nil {
			return fmt.Errorf("seal secret of destination %s: %w", d.Name, err)
		}
		*sealed, *version = box, to
		return nil
	}
	if err := seal(in.SecretAccessKey, &d.SealedSecretKey, &d.SecretKeyVersion, in.SecretAccessKeyVersion); err != nil {
		return err
	}
	return seal(in.RecoveryPassword, &d.SealedRecoveryPassword, &d.RecoveryVersion, in.RecoveryPasswordVer)
}

func (s *server) preflightDestination(ctx context.Context, in *struct{ Body wire.DestinationPreflight }) (*plain[wire.Findings], error) {
	spec := in.Body.Destination
	findings := s.checkDestination(spec, in.Body.SecretAccessKeySet)
	if in.Body.ID != "" {
		before, err := s.Store.Destination(ctx, in.Body.ID)
		switch {
		case envbackup.CodeOf(err) == envbackup.CodeNotFound: // deleted behind Terraform's back: then it is a new one
		case err != nil:
			return nil, err
		default:
			if spec.Name != before.Name {
				findings = append(findings, fixedName("destination", before.Name, spec.Name))
			}
			moved, err := s.moved(ctx, before, spec)
			if err != nil {
				return nil, err
			}
			findings = append(findings, moved...)
		}
	}
	return &plain[wire.Findings]{wire.Findings{Findings: some(findings)}}, nil
}

// moved warns of the backups that an edit leaves behind.
func (s *server) moved(ctx context.Context, before envbackup.Destination, after envbackup.DestinationSpec) ([]envbackup.Finding, error) {
	_, _, n, err := s.Store.Backups(ctx, envbackup.BackupFilter{Destination: before.Name}, envbackup.Page{Limit: 1})
	if err != nil {
		return nil, err
	}
	if f, ok := preflight.Moved(before.DestinationSpec, after, n); ok {
		return []envbackup.Finding{f}, nil
	}
	return nil, nil
}

// checkDestination returns what is wrong with a destination, in a fixed order.
// secret says whether it has a secret access key.
func (s *server) checkDestination(d envbackup.DestinationSpec, secret bool) []envbackup.Finding {
	var findings []envbackup.Finding
	report := func(path, summary, format string, args ...any) {
		findings = append(findings, envbackup.Finding{
			Severity: envbackup.SeverityError, Path: path, Summary: summary, Detail: fmt.Sprintf(format, args...),
		})
	}
	if f := envbackup.CheckName("name", d.Name); f != nil {
		findings = append(findings, *f)
	}
	switch {
	case d.S3 == nil && d.Local == nil:
		report("", "Destination has no place", "Say where backups go: s3 = { bucket = ... } or local = { path = ... }.")
	case d.S3 != nil && d.Local != nil:
		report("", "Destination has two places", "A destination is one place: keep s3 or local, and make another destination for the other.")
	case d.Local != nil:
		if problem := absolute(d.Local.Path); problem != "" {
			report("local.path", "Invalid path", "%s", problem)
		}
		if secret {
			report("s3.secret_access_key_wo", "Secret has no use", "A local directory takes no secret access key.")
		}
	default:
		checkS3(*d.S3, secret, report)
		if err := allowed(s.AllowEndpoint, d.S3.Endpoint); err != nil {
			findings = append(findings, notAllowed("s3.endpoint", "Endpoint is not allowed", err))
		}
	}
	if d.BandwidthLimit < 0 {
		report("bandwidth_limit", "Invalid bandwidth limit", "It is in bytes a second and cannot be negative; 0 is unlimited.")
	}
	switch d.VerifyWrites {
	case "", "sample", "full", "off":
	default:
		report("verify_writes", "Invalid verify_writes", "%q is none of sample, full and off.", d.VerifyWrites)
	}
	return findings
}

func checkS3(p envbackup.S3Place, hasSecret bool, report func(path, summary, format string, args ...any)) {
	if p.Bucket == "" || strings.ContainsAny(p.Bucket, "/ ") {
		report("s3.bucket", "Invalid bucket", "%q is not the name of a bucket: it has no slash and no space, and is not empty.", p.Bucket)
	}
	if strings.HasPrefix(p.Prefix, "/") || strings.HasSuffix(p.Prefix, "/") || strings.Contains(p.Prefix, "//") {
		report("s3.prefix", "Invalid prefix", "%q begins or ends with a slash, or has two in a row. Write it as %q.", p.Prefix, cleanPrefix(p.Prefix))
	}
	if p.Endpoint != "" {
		u, err := url.Parse(p.Endpoint)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			report("s3.endpoint", "Invalid endpoint", "Write it as https://HOST or https://HOST:PORT.")
		case u.User != nil:
			report("s3.endpoint", "Invalid endpoint", "It holds a user name or a password. Use access_key_id and secret_access_key_wo.")
		case strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			report("s3.endpoint", "Invalid endpoint", "%q has more than a host. The bucket and the prefix have attributes of their own.", p.Endpoint)
		}
	}
	checkLock(p, report)
	checkStoring(p, report)
	switch {
	case p.AccessKeyID != "" && !hasSecret:
		report("s3.access_key_id", "Access key has no secret", "Set secret_access_key_wo and secret_access_key_wo_version too, "+
			"or neither to use the daemon's own credentials.")
	case p.AccessKeyID == "" && hasSecret:
		report("s3.access_key_id", "Secret has no access key", "Set access_key_id too, or remove the secret to use the daemon's own credentials.")
	}
}

// archives are classes from which nothing is read at once.
var archives = []string{"GLACIER", "DEEP_ARCHIVE"}

// checkStoring checks how the store is asked to keep what it gets.
func checkStoring(p envbackup.S3Place, report func(path, summary, format string, args ...any)) {
	if slices.Contains(archives, strings.ToUpper(p.StorageClass)) {
		report("s3.storage_class", "Storage class cannot be read from", "What lies in %s has to be brought back for hours before it can be read, "+
			"and backups are read whenever they are checked, pruned or restored. GLACIER_IR costs about as little and is read at once.", p.StorageClass)
	}
	switch p.ServerSideEncryption {
	case "", "aws:kms":
	case "AES256":
		if p.SSEKMSKeyID != "" {
			report("s3.server_side_encryption", "Two kinds of encryption", "AES256 uses the store's own keys, and sse_kms_key_id names another: "+
				"keep one of them.")
		}
	default:
		report("s3.server_side_encryption", "Invalid encryption", "%q is none of AES256 and aws:kms.", p.ServerSideEncryption)
	}
}

// maxLockDays is a hundred years: more is what a store refuses, or a typing
// error that nobody can take back.
const maxLockDays = 36500

func checkLock(p envbackup.S3Place, report func(path, summary, format string, args ...any)) {
	switch p.ObjectLockMode {
	case "", "GOVERNANCE", "COMPLIANCE":
	default:
		report("s3.object_lock_mode", "Invalid object lock", "%q is none of GOVERNANCE and COMPLIANCE.", p.ObjectLockMode)
	}
	switch {
	case p.ObjectLockDays < 0 || p.ObjectLockDays > maxLockDays:
		report("s3.object_lock_days", "Invalid object lock", "%d days are not possible: write 1 to %d.", p.ObjectLockDays, maxLockDays)
	case p.ObjectLockMode != "" && p.ObjectLockDays == 0:
		report("s3.object_lock_mode", "Object lock has no time", "Say with object_lock_days for how many days each object is locked.")
	case p.ObjectLockMode == "" && p.ObjectLockDays != 0:
		report("s3.object_lock_days", "Object lock has no mode", "Set object_lock_mode too: \"GOVERNANCE\", which whoever has a special right can lift, "+
			"or \"COMPLIANCE\", which nobody can.")
	}
}

func cleanPrefix(prefix string) string {
	parts := strings.FieldsFunc(prefix, func(r rune) bool { return r == '/' })
	return strings.Join(parts, "/")
}
