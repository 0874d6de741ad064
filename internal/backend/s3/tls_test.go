package s3_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/backendtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// Issue 4, item 7: a real server behind TLS whose certificate a private
// authority signed, over connections that several stores share.
func TestOverTLSWithAPrivateAuthority(t *testing.T) {
	t.Parallel()
	server := s3test.StartTLS(t)
	transport, err := s3.NewTransport(server.CAFile, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	t.Run("the contract", func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) backend.Backend {
			opt := options(server, server.Bucket(t))
			opt.Transport = transport
			return open(t, opt)
		}, backendtest.Features{})
	})
	good := options(server, server.Bucket(t))
	good.CAFile = server.CAFile
	tests := map[string]struct {
		change func(*s3.Options)
		kind   backend.ErrorKind
		says   string
	}{
		"an authority that is named": {func(*s3.Options) {}, 0, "nil"},
		"an unknown authority":       {func(o *s3.Options) { o.CAFile = "" }, backend.Untrusted, "an authority that this machine does not know"},
		"another name": {func(o *s3.Options) {
			o.Endpoint = strings.Replace(o.Endpoint, "127.0.0.1", "localhost", 1)
		}, backend.Untrusted, "another name than localhost"},
		"no TLS on a TLS port": {func(o *s3.Options) {
			o.Endpoint = strings.Replace(o.Endpoint, "https:", "http:", 1)
		}, backend.Temporary, "if it speaks TLS, write https"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			opt := good
			tt.change(&opt)
			err := open(t, opt).Probe(t.Context())
			if backend.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("%s: %v", backend.KindOf(err), err)
			}
		})
	}
}

func TestAFileWithoutCertificatesIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte("not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s3.NewTransport(file, 0); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("got %v, want the file named", err)
	}
}
