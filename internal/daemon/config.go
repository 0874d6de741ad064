package daemon

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// DefaultListen is where the API answers unless it is told otherwise; the
// provider and the command line look there first.
const DefaultListen = "127.0.0.1:8420"

// Config is a daemon's configuration. Load makes one from a file, the
// environment and flags; a program that embeds the daemon fills it itself, on
// top of Default.
type Config struct {
	// DataDir holds the state, the keys, what was read from repositories (cache,
	// which may be deleted while the daemon is down) and, with Dev, backups. It
	// is made (mode 0700) where it is missing, and used by one daemon at a time.
	DataDir string
	// Dev allows every path, offers the destination "local" below DataDir, and
	// says so.
	Dev bool
	// Listen is host:port (port 0 takes a free one) or unix:///path.
	Listen string
	// InsecureListen allows an address that is not loopback without TLS.
	InsecureListen bool
	TLSCertFile    string
	TLSKeyFile     string
	// Database is empty for a SQLite file in DataDir, or a postgres:// URL.
	Database      string
	MasterKeyFile string // default DataDir/master.key
	// Worker names this daemon: an environment may be pinned to it. Default:
	// the host's name.
	Worker string
	// Hostname stands in the snapshots. Default: the host's name.
	Hostname string
	// AllowRead and AllowRestore are absolute directories; what lies in them
	// may be backed up, or restored to.
	AllowRead    []string
	AllowRestore []string
	// AllowEndpoints are the S3 endpoints that may be reached; none means all.
	AllowEndpoints []string
	// S3CAFile holds certificates of authorities that S3 endpoints may be
	// signed by, besides the system's.
	S3CAFile string
	// OpenMetrics lets /metrics answer without a token.
	OpenMetrics bool
	// ConfirmClock is the operator's word that the clock is right, which lets
	// pruning go on after it was doubtful (R7).
	ConfirmClock bool
	// Drain is how long running backups may finish after SIGTERM (S13).
	Drain time.Duration
	// CheckEvery is the time between two checks that each read one of
	// CheckShares even shares of a repository, after a run; 0 checks none.
	CheckEvery  time.Duration
	CheckShares int

	Limits    envbackup.Limits
	LogFormat string // "text" or "json"
	LogLevel  string // "debug", "info", "warn" or "error"

	// Version is the program's. Stdout gets the one line "ready URL", Stderr
	// the log; nil means the process's own.
	Version string
	Stdout  io.Writer
	Stderr  io.Writer
}

// Default is the configuration of a daemon that is told nothing.
func Default() Config {
	return Config{
		Listen: DefaultListen,
		Drain:  30 * time.Second,

		CheckEvery: 24 * time.Hour, CheckShares: 30,
		Limits: envbackup.Limits{
			MaxRetention: "10y", MinInterval: "1m",
			MaxConcurrentRuns: 2, MaxRunsPerRepository: 1,
		},
		LogFormat: "text",
		LogLevel:  "info",
		Stdout:    os.Stdout,
		Stderr:    os.Stderr,
	}
}

// setting is one thing that can be configured: NAME in the YAML file (with a
// dot, one level down), --NAME as a flag and ENVBACKUP_NAME in the
// environment, both without what stands before the dot.
type setting struct {
	name string
	help string
	// list settings take several values: a sequence in the file, a repeated
	// flag, a list separated like PATH in the environment.
	list bool
	// boolean settings may stand as a flag without a value.
	boolean bool
	set     func(c *Config, values []string) error
}

// flag returns the setting's name on the command line.
func (s setting) flag() string {
	name := s.name[strings.LastIndexByte(s.name, '.')+1:]
	return strings.ReplaceAll(name, "_", "-")
}

// variable returns the setting's name in the environment.
func (s setting) variable() string {
	return "ENVBACKUP_" + strings.ToUpper(strings.ReplaceAll(s.flag(), "-", "_"))
}

// settings lists everything that can be configured.
func settings() []setting {
	return []setting{
		text("data_dir", "directory for state, keys and the admin token", func(c *Config) *string { return &c.DataDir }),
		boolean("dev", "everything in one directory: allows every path and offers a local destination", func(c *Config) *bool { return &c.Dev }),
		text("listen", "address of the API, host:port or unix:///path (default "+DefaultListen+"; port 0 takes a free one)", func(c *Config) *string { return &c.Listen }),
		boolean("insecure_listen", "allow an address other than loopback without TLS", func(c *Config) *bool { return &c.InsecureListen }),
		text("tls_cert_file", "PEM certificate chain of the API", func(c *Config) *string { return &c.TLSCertFile }),
		text("tls_key_file", "PEM key of the API's certificate", func(c *Config) *string { return &c.TLSKeyFile }),
		text("database", "postgres:// URL for state that several daemons share (default: a file in the data directory)", func(c *Config) *string { return &c.Database }),
		text("master_key_file", "key that seals passwords (default: master.key in the data directory, made at the first start)", func(c *Config) *string { return &c.MasterKeyFile }),
		text("worker", "name of this daemon, to which environments can be pinned (default: the host's name)", func(c *Config) *string { return &c.Worker }),
		text("hostname", "host name that snapshots carry (default: the host's name)", func(c *Config) *string { return &c.Hostname }),
		list("allow_read", "directory whose contents may be backed up; repeatable", func(c *Config) *[]string { return &c.AllowRead }),
		list("allow_restore", "directory that may be restored to; repeatable", func(c *Config) *[]string { return &c.AllowRestore }),
		list("allow_endpoints", "S3 endpoint that destinations may name; repeatable (default: any)", func(c *Config) *[]string { return &c.AllowEndpoints }),
		text("s3_ca_file", "PEM certificates of authorities that are trusted for S3 endpoints besides the system's; read at start", func(c *Config) *string { return &c.S3CAFile }),
		boolean("open_metrics", "let /metrics answer without a token", func(c *Config) *bool { return &c.OpenMetrics }),
		boolean("confirm_clock", "the clock is right: prune again after it was doubtful", func(c *Config) *bool { return &c.ConfirmClock }),
		duration("drain", "how long running backups may finish after SIGTERM (default 30s)", func(c *Config) *time.Duration { return &c.Drain }),
		duration("check_every", "time between two checks that each read a share of a repository, after a run; 0 for none (default 24h)", func(c *Config) *time.Duration { return &c.CheckEvery }),
		number("check_shares", "how many checks it takes to read a repository whole, 1 to 1000 (default 30)", func(c *Config) *int { return &c.CheckShares }),
		text("limits.max_retention", "longest retention that a schedule may ask for (default 10y)", func(c *Config) *string { return &c.Limits.MaxRetention }),
		text("limits.min_interval", "shortest distance between two runs of a schedule (default 1m)", func(c *Config) *string { return &c.Limits.MinInterval }),
		number("limits.max_concurrent_runs", "most runs at a time (default 2)", func(c *Config) *int { return &c.Limits.MaxConcurrentRuns }),
		number("limits.max_runs_per_repository", "most runs at a time in one repository (default 1)", func(c *Config) *int { return &c.Limits.MaxRunsPerRepository }),
		text("log_format", "\"text\" or \"json\" (default text)", func(c *Config) *string { return &c.LogFormat }),
		text("log_level", "\"debug\", \"info\", \"warn\" or \"error\" (default info)", func(c *Config) *string { return &c.LogLevel }),
	}
}

func text(name, help string, field func(*Config) *string) setting {
	return setting{name: name, help: help, set: func(c *Config, values []string) error {
		*field(c) = values[0]
		return nil
	}}
}

func list(name, help string, field func(*Config) *[]string) setting {
	return setting{name: name, help: help, list: true, set: func(c *Config, values []string) error {
		*field(c) = values
		return nil
	}}
}

func boolean(name, help string, field func(*Config) *bool) setting {
	return setting{name: name, help: help, boolean: true, set: func(c *Config, values []string) (err error) {
		if *field(c), err = strconv.ParseBool(values[0]); err != nil {
			return errNotBool
		}
		return nil
	}}
}

func duration(name, help string, field func(*Config) *time.Duration) setting {
	return setting{name: name, help: help, set: func(c *Config, values []string) (err error) {
		if *field(c), err = time.ParseDuration(values[0]); err != nil {
			return errNotDuration
		}
		return nil
	}}
}

func number(name, help string, field func(*Config) *int) setting {
	return setting{name: name, help: help, set: func(c *Config, values []string) (err error) {
		if *field(c), err = strconv.Atoi(values[0]); err != nil {
			return errNotNumber
		}
		return nil
	}}
}

// path returns a file of the data directory.
func (c Config) path(name string) string { return filepath.Join(c.DataDir, name) }

// masterKeyFile returns the master key's place with the default filled in.
func (c Config) masterKeyFile() string {
	if c.MasterKeyFile != "" {
		return c.MasterKeyFile
	}
	return c.path("master.key")
}

// database returns the state's place with the default filled in.
func (c Config) database() string {
	if c.Database != "" {
		return c.Database
	}
	return c.path("state.db")
}
