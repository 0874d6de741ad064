package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// TestFact8OneProgram: the released program is the plugin when Terraform
// starts it, and then its first line is the handshake; with arguments it is the
// command line, even below a Terraform whose cookie it inherits.
func TestFact8OneProgram(t *testing.T) {
	t.Parallel()
	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	environment := append(cleanEnvironment(), "TF_PLUGIN_MAGIC_COOKIE="+provider.MagicCookie, "PLUGIN_PROTOCOL_VERSIONS=6")
	plugin := exec.CommandContext(t.Context(), program)
	plugin.Env = environment
	out, err := plugin.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := plugin.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = plugin.Process.Kill() // Terraform ends its plugins; here the test does
	_ = plugin.Wait()         // reports the kill
	if err != nil || !strings.HasPrefix(line, "1|6|unix|") {
		t.Errorf("the plugin's first line is %q (%v), want the handshake of protocol 6", line, err)
	}
	command := exec.CommandContext(t.Context(), program, "version")
	command.Env = environment
	if got, err := command.CombinedOutput(); err != nil || strings.Contains(string(got), "1|6|") {
		t.Errorf("envbackup version below Terraform: %v, %s", err, got)
	}
}

// TestFact9InstallWithoutTheInternet: two commands bring the provider into a
// configuration, with no registry and no CLI configuration.
func TestFact9InstallWithoutTheInternet(t *testing.T) {
	t.Parallel()
	program, err := builtProgram()
	if err != nil {
		t.Fatal(err)
	}
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		if terraform, err = exec.LookPath("tofu"); err != nil {
			tooltest.Unavailable(t, "neither terraform nor tofu is installed")
		}
	}
	home, dir := t.TempDir(), t.TempDir()
	config := "terraform {\n  required_providers {\n    envbackup = { source = \"envbackup/envbackup\" }\n  }\n}\n" +
		"output \"gap\" {\n  value = provider::envbackup::worst_case_gap(\"30 2 * * *\", \"Europe/Berlin\")\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(program string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, args...)
		cmd.Dir = dir
		// Whatever asks a registry fails at this proxy.
		cmd.Env = append(cleanEnvironment(), "HOME="+home, "TF_CLI_CONFIG_FILE=", "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1",
			"HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run(program, "terraform", "install")
	run(terraform, "init", "-no-color")
	if out := run(terraform, "apply", "-no-color", "-auto-approve"); !strings.Contains(out, `gap = "25h"`) {
		t.Errorf("terraform apply says:\n%s", out)
	}
}
