package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// bucket holds all repositories of a benchmark.
const bucket = "bench"

// place says where a repository lies and how to get there.
type place struct {
	Endpoint, Region     string
	Bucket, Prefix       string
	AccessKey, SecretKey string
}

// environ names the identity in the variables that all programs of the trade
// read, and the rest in our own.
func (p place) environ() []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + p.AccessKey, "AWS_SECRET_ACCESS_KEY=" + p.SecretKey, "AWS_REGION=" + p.Region, "AWS_DEFAULT_REGION=" + p.Region,
		"BENCH_ENDPOINT=" + p.Endpoint, "BENCH_BUCKET=" + p.Bucket, "BENCH_PREFIX=" + p.Prefix,
	}
}

// placeFrom is the inverse of environ.
func placeFrom(getenv func(string) string) place {
	return place{
		Endpoint: getenv("BENCH_ENDPOINT"), Region: getenv("AWS_REGION"), Bucket: getenv("BENCH_BUCKET"), Prefix: getenv("BENCH_PREFIX"),
		AccessKey: getenv("AWS_ACCESS_KEY_ID"), SecretKey: getenv("AWS_SECRET_ACCESS_KEY"),
	}
}

// host is the endpoint without its scheme.
func (p place) host() string {
	if u, err := url.Parse(p.Endpoint); err == nil && u.Host != "" {
		return u.Host
	}
	return p.Endpoint
}

// store is the S3 server behind all contenders.
type store struct {
	server *s3test.Server
	client *awss3.Client
}

func newStore(ctx context.Context, server *s3test.Server) (*store, error) {
	s := &store{server: server, client: server.Client()}
	if _, err := s.client.CreateBucket(ctx, &awss3.CreateBucketInput{Bucket: aws.String(bucket)}); err != nil {
		return nil, fmt.Errorf("make bucket %s: %w", bucket, err)
	}
	return s, nil
}

// at returns the place with the prefix, seen through an endpoint.
func (s *store) at(endpoint, prefix string) place {
	return place{
		Endpoint: endpoint, Region: s.server.Region, Bucket: bucket, Prefix: prefix,
		AccessKey: s.server.AccessKey, SecretKey: s.server.SecretKey,
	}
}

// usage is what a repository takes in the store.
type usage struct {
	Objects int
	Bytes   int64
}

func (s *store) each(ctx context.Context, prefix string, fn func(keys []string, bytes int64) error) error {
	pages := awss3.NewListObjectsV2Paginator(s.client, &awss3.ListObjectsV2Input{Bucket: aws.String(bucket), Prefix: aws.String(prefix + "/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		var keys []string
		var size int64
		for _, object := range page.Contents {
			keys = append(keys, aws.ToString(object.Key))
			size += aws.ToInt64(object.Size)
		}
		if err := fn(keys, size); err != nil {
			return err
		}
	}
	return nil
}

func (s *store) usage(ctx context.Context, prefix string) (usage, error) {
	var u usage
	err := s.each(ctx, prefix, func(keys []string, bytes int64) error {
		u.Objects += len(keys)
		u.Bytes += bytes
		return nil
	})
	return u, err
}

// copy copies a repository, so that several contenders can prune the same one.
func (s *store) copy(ctx context.Context, from, to string) error {
	return s.each(ctx, from, func(keys []string, _ int64) error {
		for _, key := range keys {
			_, err := s.client.CopyObject(ctx, &awss3.CopyObjectInput{
				Bucket: aws.String(bucket), CopySource: aws.String(bucket + "/" + key),
				Key: aws.String(to + strings.TrimPrefix(key, from)),
			})
			if err != nil {
				return fmt.Errorf("copy %s: %w", key, err)
			}
		}
		return nil
	})
}

// remove drops a repository that is no longer needed.
func (s *store) remove(ctx context.Context, prefix string) error {
	return s.each(ctx, prefix, func(keys []string, _ int64) error {
		if len(keys) == 0 {
			return nil
		}
		var objects []types.ObjectIdentifier
		for _, key := range keys {
			objects = append(objects, types.ObjectIdentifier{Key: aws.String(key)})
		}
		_, err := s.client.DeleteObjects(ctx, &awss3.DeleteObjectsInput{Bucket: aws.String(bucket), Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)}})
		if err != nil {
			return fmt.Errorf("remove %s: %w", prefix, err)
		}
		return nil
	})
}
