//go:build linux

// Package fsmetatest runs tests without root's rights, which tests of
// unreadable files and foreign owners need and root never meets. Nothing of it
// reaches the released binary.
package fsmetatest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// nobody is the user and group that own nothing.
const nobody = 65534

// RanAsNobody runs the calling test, which must be a top-level one, again in a
// process without root's rights. It returns true when that was done and the
// caller must return, and false in a process that has no such rights anyway.
func RanAsNobody(t *testing.T) bool {
	t.Helper()
	if os.Geteuid() != 0 {
		return false
	}
	// The test binary lies where others may not look, and so does TempDir.
	dir, err := os.MkdirTemp("", "unprivileged") //nolint:usetesting // explained above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "test")
	if err := os.WriteFile(binary, code, 0o755); err != nil { //nolint:gosec // it is to be run by others
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME=/")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as nobody: %v\n%s", err, out)
	}
	return true
}
