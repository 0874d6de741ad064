package s3test

import (
	"crypto/rand"
	"net/http/httptest"
	"testing"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

// Mem returns an S3 server in this process, for unit tests: it starts at once
// and checks signatures and checksums, but has no users, no object lock, and
// its conditional writes are not atomic. It belongs to the test.
func Mem(t testing.TB) *Server {
	t.Helper()
	server := &Server{AccessKey: "test-root", SecretKey: rand.Text(), Region: region}
	fake := gofakes3.New(s3mem.New(),
		gofakes3.WithV4Auth(map[string]string{server.AccessKey: server.SecretKey}),
		gofakes3.WithLogger(gofakes3.DiscardLog()),
	)
	listener := httptest.NewServer(fake.Server())
	t.Cleanup(listener.Close)
	server.Endpoint = listener.URL
	return server
}
