package vault

import (
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// Address is what `restic -r` takes to open the repository of an environment
// at a destination. It holds no secret.
func Address(dest envbackup.Destination, env envbackup.Environment) string {
	switch {
	case dest.S3 != nil:
		return "s3:" + s3Endpoint(*dest.S3) + "/" + path.Join(dest.S3.Bucket, dest.S3.Prefix, env.Name)
	case dest.Local != nil:
		return filepath.Join(dest.Local.Path, env.Name)
	default:
		return ""
	}
}

// s3Endpoint is the store's address as restic writes it: AWS by region, others
// as they are written, without a closing slash.
func s3Endpoint(p envbackup.S3Place) string {
	if p.Endpoint == "" {
		region := p.Region
		if region == "" {
			region = "us-east-1"
		}
		return "https://s3." + region + ".amazonaws.com"
	}
	endpoint := strings.TrimRight(p.Endpoint, "/")
	if u, err := url.Parse(endpoint); err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	return endpoint
}
