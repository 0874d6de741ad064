package daemon

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// Check returns everything that is wrong with the configuration, an error
// finding each. It reads certificate files and changes nothing.
func (c Config) Check() []envbackup.Finding {
	var findings []envbackup.Finding
	bad := func(name, format string, args ...any) {
		findings = append(findings, wrong(name, fmt.Sprintf(format, args...)))
	}
	if c.DataDir == "" {
		bad("data_dir", "It is not set. Write --data-dir DIR, for example --data-dir /var/lib/envbackup.")
	}
	c.checkListen(bad)
	if c.Database != "" && !strings.HasPrefix(c.Database, "postgres://") && !strings.HasPrefix(c.Database, "postgresql://") {
		bad("database", "Write a postgres:// URL, or nothing for a file in the data directory.")
	}
	for name, dirs := range map[string][]string{"allow_read": c.AllowRead, "allow_restore": c.AllowRestore} {
		for _, dir := range dirs {
			if !filepath.IsAbs(dir) {
				bad(name, "%q is not an absolute path.", dir)
			}
		}
	}
	for _, endpoint := range c.AllowEndpoints {
		if u, err := url.Parse(endpoint); err != nil || u.Host == "" {
			bad("allow_endpoints", "%q is not a URL such as https://s3.example.com.", endpoint)
		}
	}
	if c.S3CAFile != "" {
		if _, err := s3.NewTransport(c.S3CAFile, 0); err != nil {
			bad("s3_ca_file", "The certificates cannot be used: %v.", err)
		}
	}
	if c.Drain < 0 {
		bad("drain", "%s is negative.", c.Drain)
	}
	if c.CheckEvery < 0 {
		bad("check_every", "%s is negative; write 0 for no checks.", c.CheckEvery)
	}
	if c.CheckShares < 1 || c.CheckShares > envbackup.MaxShares {
		bad("check_shares", "%d is not from 1 to %d.", c.CheckShares, envbackup.MaxShares)
	}
	c.checkLimits(bad)
	if c.LogFormat != "text" && c.LogFormat != "json" {
		bad("log_format", "%q is neither \"text\" nor \"json\".", c.LogFormat)
	}
	if _, err := logLevel(c.LogLevel); err != nil {
		bad("log_level", "%q is not one of debug, info, warn, error.", c.LogLevel)
	}
	return findings
}

func (c Config) checkListen(bad func(name, format string, args ...any)) {
	if path, ok := strings.CutPrefix(c.Listen, unixPrefix); ok {
		if !filepath.IsAbs(path) {
			bad("listen", "%q is not unix:// and an absolute path.", c.Listen)
		}
		return
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		bad("listen", "%q is not host:port, for example %s.", c.Listen, DefaultListen)
		return
	}
	switch {
	case (c.TLSCertFile == "") != (c.TLSKeyFile == ""):
		bad("tls_cert_file", "tls_cert_file and tls_key_file belong together.")
	case c.TLSCertFile != "":
		if _, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile); err != nil {
			bad("tls_cert_file", "The certificate cannot be used: %v.", err)
		}
	case !loopback(host) && !c.InsecureListen:
		bad("listen", "%s is reachable from other machines, and tokens would travel in the clear. "+
			"Set tls_cert_file and tls_key_file, listen on 127.0.0.1, or accept it with insecure_listen.", c.Listen)
	}
}

func (c Config) checkLimits(bad func(name, format string, args ...any)) {
	for name, value := range map[string]string{"limits.max_retention": c.Limits.MaxRetention, "limits.min_interval": c.Limits.MinInterval} {
		if _, err := retention.ParseDuration(value); err != nil {
			bad(name, "%q: %v.", value, err)
		}
	}
	for name, value := range map[string]int{"limits.max_concurrent_runs": c.Limits.MaxConcurrentRuns, "limits.max_runs_per_repository": c.Limits.MaxRunsPerRepository} {
		if value < 1 {
			bad(name, "%d is not at least 1.", value)
		}
	}
}

// loopback reports whether host names this machine only.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
