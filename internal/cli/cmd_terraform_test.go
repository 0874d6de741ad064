package cli

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// runApp runs args on an app of its own and returns what it left.
func runApp(t *testing.T, version string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &app{version: version, in: strings.NewReader(""), out: &out, err: &errs}
	code = a.run(context.Background(), args)
	return code, out.String(), errs.String()
}

func TestTerraformInstallLinksForBothRegistries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()

	// Twice: an existing link is replaced.
	for range 2 {
		code, stdout, stderr := runApp(t, "v1.2.3", "terraform", "install", "--dir", dir)
		if code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		if !strings.Contains(stdout, `version = "1.2.3"`) {
			t.Errorf("the output does not show what to write in a configuration:\n%s", stdout)
		}
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"registry.terraform.io", "registry.opentofu.org"} {
		link := filepath.Join(dir, host, "envbackup", "envbackup", "1.2.3", runtime.GOOS+"_"+runtime.GOARCH, "terraform-provider-envbackup_v1.2.3")
		if target, err := os.Readlink(link); err != nil || target != program {
			t.Errorf("%s: the link leads to %q (%v), want %q", host, target, err, program)
		}
	}
}

func TestPluginVersion(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{
		"v0.1.0": "0.1.0", "0.1.0": "0.1.0", "1.0.0-rc.1": "1.0.0-rc.1", "dev": "0.0.1", "abc1234-dirty": "0.0.1",
		"0.1.0-3-gabc1234-dirty": "0.1.0", "0.1.0-dirty": "0.1.0",
	} {
		if got := pluginVersion(version); got != want {
			t.Errorf("pluginVersion(%q) = %q, want %q", version, got, want)
		}
	}
}
