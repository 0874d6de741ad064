// Package referee runs stock restic against repositories that the engine
// wrote, and compares directory trees. It is the second opinion of the tests:
// what the engine calls sound, a program that shares no code with it must call
// sound too.
//
// It decides how restic is found, called and read. What a test concludes is the
// test's business. Nothing of this package reaches the released binary.
package referee

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// Restic is stock restic looking at one repository. Its methods fail the test
// when restic fails; Try returns the failure. It is safe for concurrent use as
// far as restic is.
type Restic struct {
	// Location is the repository in restic's spelling: a path or s3:URL.
	Location string
	// Environ is the complete environment of each call: repository, password,
	// store credentials, a cache of its own.
	Environ []string
	// Dir is the working directory of each call; empty is the test's. Some
	// repairs leave files there.
	Dir string

	t      testing.TB
	binary string
}

// New returns stock restic for a repository. environ adds variables, such as
// those of s3test.Server.Environ. When restic cannot be had the test is
// skipped, or fails in CI.
func New(t testing.TB, location, password string, environ ...string) *Restic {
	t.Helper()
	r := &Restic{Location: location, t: t, binary: tooltest.Binary(t, tooltest.Restic)}
	for _, variable := range os.Environ() {
		// The caller's own repositories and credentials stay out of it.
		if !strings.HasPrefix(variable, "RESTIC_") && !strings.HasPrefix(variable, "AWS_") {
			r.Environ = append(r.Environ, variable)
		}
	}
	r.Environ = append(r.Environ, "RESTIC_REPOSITORY="+location, "RESTIC_PASSWORD="+password, "RESTIC_CACHE_DIR="+t.TempDir())
	r.Environ = append(r.Environ, environ...)
	return r
}

// Error is a call of restic that ended with an error.
type Error struct {
	Args []string
	// ExitCode is restic's: 1 failed, 3 backup with unreadable files, 10 no
	// repository, 11 locked, 12 wrong password; -1 when it did not run.
	ExitCode int
	Stderr   string
	err      error
}

func (e *Error) Error() string {
	return fmt.Sprintf("restic %s: %v: %s", strings.Join(e.Args, " "), e.err, strings.TrimSpace(e.Stderr))
}

func (e *Error) Unwrap() error { return e.err }

// Try runs restic and returns its standard output. The error is an *Error.
func (r *Restic) Try(args ...string) (string, error) {
	cmd := exec.Command(r.binary, args...)
	cmd.Env, cmd.Dir = r.Environ, r.Dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		failure := &Error{Args: args, ExitCode: -1, Stderr: stderr.String(), err: err}
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			failure.ExitCode = exit.ExitCode()
		}
		return stdout.String(), failure
	}
	return stdout.String(), nil
}

// Run runs restic and returns its standard output.
func (r *Restic) Run(args ...string) string {
	r.t.Helper()
	out, err := r.Try(args...)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// Init creates the repository, in format version 2.
func (r *Restic) Init() {
	r.t.Helper()
	r.Run("init", "--repository-version", "2")
}

// Backup saves the paths and returns the id of the snapshot.
func (r *Restic) Backup(paths ...string) string {
	r.t.Helper()
	out := r.Run(append([]string{"backup", "--json", "--quiet"}, paths...)...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var summary struct {
		SnapshotID string `json:"snapshot_id"`
	}
	r.decode(lines[len(lines)-1], &summary)
	if summary.SnapshotID == "" {
		r.t.Fatalf("restic backup names no snapshot: %s", out)
	}
	return summary.SnapshotID
}

// Check reads every pack of the repository and fails the test if restic finds
// any error, or an index that has to be rebuilt. Packs that nothing refers to
// are no error: a crash leaves them.
func (r *Restic) Check() {
	r.t.Helper()
	out := r.Run("check", "--read-data", "--json")
	var summary struct {
		NumErrors          int      `json:"num_errors"`
		BrokenPacks        []string `json:"broken_packs"`
		SuggestRepairIndex bool     `json:"suggest_repair_index"`
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	r.decode(lines[len(lines)-1], &summary)
	if summary.NumErrors > 0 || len(summary.BrokenPacks) > 0 || summary.SuggestRepairIndex {
		r.t.Fatalf("restic check is not clean: %s", out)
	}
}

// Snapshot is a line of restic's list of snapshots.
type Snapshot struct {
	ID       string    `json:"id"`
	Time     time.Time `json:"time"`
	Tree     string    `json:"tree"`
	Parent   string    `json:"parent"`
	Paths    []string  `json:"paths"`
	Tags     []string  `json:"tags"`
	Hostname string    `json:"hostname"`
	Username string    `json:"username"`
	Summary  *struct {
		FilesNew            int    `json:"files_new"`
		FilesChanged        int    `json:"files_changed"`
		FilesUnmodified     int    `json:"files_unmodified"`
		TotalFilesProcessed int    `json:"total_files_processed"`
		TotalBytesProcessed uint64 `json:"total_bytes_processed"`
		DataAdded           uint64 `json:"data_added"`
		DataAddedPacked     uint64 `json:"data_added_packed"`
	} `json:"summary"`
}

// Snapshots lists the snapshots, oldest first. args filter, as on restic's
// command line ("--tag", "envbackup").
func (r *Restic) Snapshots(args ...string) []Snapshot {
	r.t.Helper()
	var snapshots []Snapshot
	r.decode(r.Run(append([]string{"snapshots", "--json"}, args...)...), &snapshots)
	return snapshots
}

// List returns the ids of all files of a kind: "packs", "index", "snapshots",
// "keys" or "locks".
func (r *Restic) List(kind string) []string {
	r.t.Helper()
	return strings.Fields(r.Run("list", kind, "--no-lock"))
}

// Restore writes a snapshot below target, which it makes. A path that was
// saved as /srv/shop appears as target/srv/shop; a snapshot named as ID:/path
// has that path's contents in target itself. args are added, as on restic's
// command line ("--include", "*.go").
func (r *Restic) Restore(snapshot, target string, args ...string) {
	r.t.Helper()
	r.Run(append([]string{"restore", snapshot, "--target", target}, args...)...)
}

func (r *Restic) decode(text string, into any) {
	r.t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		r.t.Fatalf("decode restic's answer %q: %v", text, err)
	}
}
