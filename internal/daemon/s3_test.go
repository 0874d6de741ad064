package daemon_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// bucketAt is a destination on the server.
func bucketAt(server *s3test.Server, bucket string) wire.DestinationInput {
	return wire.DestinationInput{
		DestinationSpec: envbackup.DestinationSpec{Name: "bucket", S3: &envbackup.S3Place{
			Bucket: bucket, Region: server.Region, Endpoint: server.Endpoint, ForcePathStyle: true, AccessKeyID: server.AccessKey,
		}},
		SecretAccessKey: &server.SecretKey, SecretAccessKeyVersion: 1,
	}
}

// Issue 4, item 7: a backup goes over TLS to a store whose authority the
// operator named in s3_ca_file, and the metrics count the requests by kind and
// result. Without that line the destination says what to add.
func TestABackupOverTLSWithTheOperatorsAuthority(t *testing.T) {
	t.Parallel()
	server := s3test.StartTLS(t)
	destination := bucketAt(server, server.Bucket(t))
	stranger := daemontest.Start(t)
	made, err := stranger.Client.CreateDestination(t.Context(), destination)
	if err != nil || len(made.Findings) != 1 || made.Findings[0].Path != "s3.endpoint" || !strings.Contains(made.Findings[0].Detail, "s3_ca_file") {
		t.Errorf("an unknown authority: %+v, %v; want a warning that names s3_ca_file", made.Findings, err)
	}

	d := daemontest.Start(t, daemontest.Config(func(c *daemon.Config) { c.S3CAFile = server.CAFile }))
	made, err = d.Client.CreateDestination(t.Context(), destination)
	if err != nil || len(made.Findings) != 0 {
		t.Fatalf("with the authority: %+v, %v", made.Findings, err)
	}
	source := filepath.Join(t.TempDir(), "source")
	fill(t, source, 50)
	declare(t, d.Client, source, func(in *wire.ScheduleInput) { in.Destinations = []string{"bucket"} })
	finished(t, d.Client, envbackup.RunSucceeded)
	metrics := get(t, d, "/metrics")
	for _, want := range []string{
		`envbackup_s3_requests_total{destination="bucket",operation="PutObject",result="ok"} `,
		`envbackup_s3_requests_total{destination="bucket",operation="GetObject",result="ok"} `,
		`envbackup_s3_requests_total{destination="bucket",operation="ListObjectsV2",result="ok"} `,
		`envbackup_s3_request_duration_seconds_count{operation="PutObject"} `,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// Calls that are tried again are counted, with the refusals that made them.
func TestRetriesAreCounted(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	faults := server.Faults(t)
	d := daemontest.Start(t)
	if _, err := d.Client.CreateDestination(t.Context(), bucketAt(faults.Server, server.Bucket(t))); err != nil {
		t.Fatal(err)
	}
	faults.InjectTimes(2, s3test.Method("PUT"), s3test.Status(503, "SlowDown"))
	source := filepath.Join(t.TempDir(), "source")
	fill(t, source, 5)
	declare(t, d.Client, source, func(in *wire.ScheduleInput) { in.Destinations = []string{"bucket"} })
	finished(t, d.Client, envbackup.RunSucceeded)
	metrics := get(t, d, "/metrics")
	for _, want := range []string{
		`envbackup_s3_requests_total{destination="bucket",operation="PutObject",result="throttled"} 2`,
		`envbackup_destination_retries_total{destination="bucket"} 2`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
