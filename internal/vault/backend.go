package vault

import (
	"context"
	"path"
	"path/filepath"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/local"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// backend builds the store of a destination below its prefix or directory; an
// empty environment name is the destination's own place. The store is not
// wrapped into retries for a probe, which should answer soon.
func (v *Vault) backend(ctx context.Context, dest envbackup.Destination, environment string) (backend.Backend, error) {
	be, err := v.plainBackend(ctx, dest, environment)
	if err != nil {
		return nil, err
	}
	if environment == "" {
		return be, nil
	}
	opt := v.cfg.Retry
	opt.Notify = func(err error, wait time.Duration) {
		v.cfg.Log.Info("a call to the store is tried again", "location", be.Location(), "wait", wait, "error", err)
		if v.cfg.Retried != nil {
			v.cfg.Retried(dest.Name)
		}
	}
	retrying := retry.New(be, opt)
	if dest.BandwidthLimit > 0 {
		return newThrottled(retrying, v.limiter(dest)), nil
	}
	return retrying, nil
}

// limiter returns what bounds the bandwidth of the destination, one for all
// that goes there, with the limit that it has now.
func (v *Vault) limiter(dest envbackup.Destination) *limiter {
	v.mu.Lock()
	defer v.mu.Unlock()
	l, ok := v.limits[dest.ID]
	if !ok {
		l = &limiter{}
		v.limits[dest.ID] = l
	}
	l.set(dest.BandwidthLimit)
	return l
}

func (v *Vault) plainBackend(ctx context.Context, dest envbackup.Destination, environment string) (backend.Backend, error) {
	switch {
	case dest.S3 != nil:
		p := *dest.S3
		if v.cfg.AllowEndpoint != nil {
			if err := v.cfg.AllowEndpoint(p.Endpoint); err != nil {
				return nil, err
			}
		}
		key, err := v.Unseal(ctx, dest.SealedSecretKey)
		if err != nil {
			return nil, err
		}
		transport, err := v.transport()
		if err != nil {
			return nil, &envbackup.Error{Code: envbackup.CodeUntrusted, Message: err.Error(), Hint: "correct s3_ca_file of the daemon or its environment's AWS_CA_BUNDLE, and restart it", Err: err}
		}
		var observe func(s3.Request)
		if v.cfg.Observe != nil {
			observe = func(r s3.Request) { v.cfg.Observe(dest.Name, r) }
		}
		be, err := s3.Open(ctx, s3.Options{
			Transport: transport, Observe: observe,
			Endpoint: p.Endpoint, Region: p.Region, Bucket: p.Bucket,
			Prefix:      path.Join(p.Prefix, environment),
			AccessKeyID: p.AccessKeyID, SecretAccessKey: key,
			ForcePathStyle: p.ForcePathStyle, StorageClass: p.StorageClass,
			SSE: p.ServerSideEncryption, SSEKMSKeyID: p.SSEKMSKeyID, RoleARN: p.RoleARN,
			LockMode: p.ObjectLockMode, LockFor: time.Duration(p.ObjectLockDays) * 24 * time.Hour,
		})
		if err != nil {
			return nil, Explain(err, "the destination")
		}
		return be, nil
	case dest.Local != nil:
		be, err := local.Open(filepath.Join(dest.Local.Path, environment))
		if err != nil {
			return nil, Explain(err, dest.Local.Path)
		}
		return be, nil
	default:
		return nil, &envbackup.Error{Code: envbackup.CodeInvalid, Message: "destination " + dest.Name + " has no place", Hint: "give it s3 or local"}
	}
}
