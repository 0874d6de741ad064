package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// load runs Load with arguments and variables.
func load(t *testing.T, env map[string]string, args ...string) (Config, error) {
	t.Helper()
	fs := pflag.NewFlagSet("daemon", pflag.ContinueOnError)
	AddFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return Load(fs, func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envbackup.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadLetsFlagsWinOverVariablesOverTheFile(t *testing.T) {
	t.Parallel()
	file := writeFile(t, `
data_dir: /file
worker: file
hostname: file
drain: 5m
allow_read: [/srv, /home]
limits:
  max_retention: 1y
  max_concurrent_runs: 7
`)
	c, err := load(t, map[string]string{
		"ENVBACKUP_CONFIG":        file,
		"ENVBACKUP_WORKER":        "variable",
		"ENVBACKUP_HOSTNAME":      "variable",
		"ENVBACKUP_ALLOW_RESTORE": "/a:/b",
	}, "--hostname", "flag", "--insecure-listen", "--allow-restore", "/c", "--allow-restore", "/d,e")
	if err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]string{
		"data_dir from the file":              {c.DataDir, "/file"},
		"worker from its variable":            {c.Worker, "variable"},
		"hostname from its flag":              {c.Hostname, "flag"},
		"listen by default":                   {c.Listen, DefaultListen},
		"max_retention from the file":         {c.Limits.MaxRetention, "1y"},
		"min_interval by default":             {c.Limits.MinInterval, "1m"},
		"allow_read from the file":            {strings.Join(c.AllowRead, " "), "/srv /home"},
		"allow_restore from flags, as a list": {strings.Join(c.AllowRestore, " "), "/c /d,e"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: got %q, want %q", what, pair[0], pair[1])
		}
	}
	if c.Drain != 5*time.Minute || c.Limits.MaxConcurrentRuns != 7 || !c.InsecureListen {
		t.Errorf("got drain %s, %d runs, insecure %t", c.Drain, c.Limits.MaxConcurrentRuns, c.InsecureListen)
	}
}

// --check-config says what is wrong, all at once.
func TestLoadReportsEverythingThatIsWrongAtOnce(t *testing.T) {
	t.Parallel()
	file := writeFile(t, `
listen: 0.0.0.0:8420
allow_reads: [/srv]
drain: soon
limits:
  min_interval: 1 minute
  max_runs: 2
log_format: xml
s3_ca_file: /nonexistent/ca.pem
worker: [a, b]
hostname: one
hostname: two
`)
	_, err := load(t, map[string]string{"ENVBACKUP_DEV": "perhaps"}, "--config", file, "--allow-restore", "relative", "--tls-key-file", "key.pem")
	var e *envbackup.Error
	if !errors.As(err, &e) || e.Code != envbackup.CodeInvalid {
		t.Fatalf("got %v, want an invalid configuration", err)
	}
	got := map[string]string{}
	for _, f := range e.Findings {
		got[f.Path] = f.Detail
	}
	for path, part := range map[string]string{
		"data_dir":            "--data-dir",
		"dev":                 "ENVBACKUP_DEV",
		"drain":               "line 4",
		"limits.min_interval": "1 minute",
		"limits.max_runs":     "did you mean limits.max_runs_per_repository?",
		"allow_reads":         "line 3: there is no such setting; did you mean allow_read?",
		"allow_restore":       "absolute",
		"tls_cert_file":       "belong together",
		"s3_ca_file":          "/nonexistent/ca.pem",
		"log_format":          "xml",
		"worker":              "single value",
		"hostname":            "line 12: it is set twice",
	} {
		if !strings.Contains(got[path], part) {
			t.Errorf("%s: got %q, want something with %q", path, got[path], part)
		}
	}
}

func TestLoadRefusesAnAddressThatOthersReachWithoutTLS(t *testing.T) {
	t.Parallel()
	for listen, allowed := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:8420": true, "localhost:8420": true,
		"0.0.0.0:8420": false, ":8420": false, "10.0.0.1:8420": false, "backups.example.com:8420": false,
	} {
		_, err := load(t, nil, "--data-dir", "/d", "--listen", listen)
		if (err == nil) != allowed {
			t.Errorf("listen on %s: got %v, want allowed %t", listen, err, allowed)
		}
		if _, err := load(t, nil, "--data-dir", "/d", "--listen", listen, "--insecure-listen"); err != nil {
			t.Errorf("listen on %s with --insecure-listen: %v", listen, err)
		}
	}
}

func TestLoadAcceptsAnEmptyFile(t *testing.T) {
	t.Parallel()
	if _, err := load(t, nil, "--data-dir", "/d", "--config", writeFile(t, "# nothing yet\n")); err != nil {
		t.Error(err)
	}
}

// Every setting can be written in all three places.
func TestEverySettingHasAFlagAndAVariableOfItsOwn(t *testing.T) {
	t.Parallel()
	// What the provider and the command line read must not configure a daemon.
	seen := map[string]bool{"ENVBACKUP_ENDPOINT": true, "ENVBACKUP_TOKEN": true, "ENVBACKUP_TOKEN_FILE": true, "ENVBACKUP_CA_FILE": true}
	for _, s := range settings() {
		if seen[s.variable()] {
			t.Errorf("%s is used twice", s.variable())
		}
		seen[s.variable()] = true
		if strings.ContainsAny(s.flag(), "_.") {
			t.Errorf("--%s is not written like a flag", s.flag())
		}
	}
}
