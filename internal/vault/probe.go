package vault

import (
	"context"
	"errors"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// probeTime bounds a probe: an apply waits for it.
const probeTime = 10 * time.Second

// Probe tries the destination with a tiny object and returns one warning that
// says what is wrong, or nothing. The destination need not be in the store.
func (v *Vault) Probe(ctx context.Context, dest envbackup.Destination) []envbackup.Finding {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	err := v.probe(ctx, dest)
	if err == nil {
		return nil
	}
	detail := "No backup can be stored at " + err.Error() + "."
	var known *envbackup.Error
	if errors.As(err, &known) && known.Hint != "" {
		detail += " To mend it: " + known.Hint + "."
	}
	return []envbackup.Finding{{
		Severity: envbackup.SeverityWarning, Rule: "destination-unusable", Path: probePath(dest, err),
		Summary: "Destination cannot be used yet", Detail: detail,
	}}
}

func (v *Vault) probe(ctx context.Context, dest envbackup.Destination) error {
	be, err := v.backend(ctx, dest, "")
	if err != nil {
		return err
	}
	defer func() { _ = be.Close() }() // nothing was kept open
	prober, ok := be.(backend.Prober)
	if !ok {
		return nil
	}
	err = prober.Probe(ctx)
	if err != nil && ctx.Err() != nil && !errors.As(err, new(*backend.Error)) {
		err = &backend.Error{Op: "probe", Kind: backend.Unreachable, Message: "no answer within " + probeTime.String(), Err: err}
	}
	return Explain(err, be.Location())
}

// probePath names the attribute that the failure is about.
func probePath(dest envbackup.Destination, err error) string {
	if dest.Local != nil {
		return "local.path"
	}
	switch envbackup.CodeOf(err) {
	case envbackup.CodeBucketMissing:
		return "s3.bucket"
	case envbackup.CodeNoObjectLock:
		return "s3.object_lock_mode"
	case envbackup.CodeWrongRegion:
		return "s3.region"
	case envbackup.CodeCredentials:
		return "s3.access_key_id"
	case envbackup.CodeUnreachable, envbackup.CodeUntrusted, envbackup.CodeNotAllowed:
		return "s3.endpoint"
	default:
		return "s3"
	}
}
