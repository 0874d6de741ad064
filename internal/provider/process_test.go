package provider_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
)

// serveAsPlugin turns this test binary into the provider when Terraform starts
// it: with the cookie and without arguments, as main decides.
func serveAsPlugin() {
	if len(os.Args) > 1 || os.Getenv("TF_PLUGIN_MAGIC_COOKIE") != provider.MagicCookie {
		return
	}
	if err := provider.Serve(context.Background(), "test", false); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestFact8Handshake: the plugin's first line is the handshake, and the cookie is
// the one that the plugin library expects.
func TestFact8Handshake(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "TF_PLUGIN_MAGIC_COOKIE="+provider.MagicCookie, "PLUGIN_PROTOCOL_VERSIONS=6")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill() // Terraform ends its plugins; here the test does
	_ = cmd.Wait()         // reports the kill
	if err != nil || !strings.HasPrefix(line, "1|6|") {
		t.Errorf("first line %q (%v), want the handshake of protocol 6", line, err)
	}
}

// workspace is a directory in which the installed Terraform finds this test
// binary as the provider, without a registry and without a CLI configuration.
type workspace struct {
	dir  string
	path string   // of terraform
	env  []string // more of it, such as where the daemon is
}

func newWorkspace(t *testing.T, config string) workspace {
	t.Helper()
	w := bareWorkspace(t)
	w.rewrite(t, config)
	w.run(t, "init", "-no-color")
	return w
}

// exampleWorkspace is a workspace with a copy of an example's directory.
func exampleWorkspace(t *testing.T, name string) workspace {
	t.Helper()
	w := bareWorkspace(t)
	if err := os.CopyFS(w.dir, os.DirFS(filepath.Join(examples, name))); err != nil {
		t.Fatal(err)
	}
	w.run(t, "init", "-no-color")
	return w
}

func bareWorkspace(t *testing.T) workspace {
	t.Helper()
	needTerraform(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	w := workspace{dir: t.TempDir(), path: os.Getenv("TF_ACC_TERRAFORM_PATH")}
	for _, host := range []string{"registry.terraform.io", "registry.opentofu.org"} {
		plugins := filepath.Join(w.dir, "terraform.d/plugins", host, "envbackup/envbackup/0.0.1", runtime.GOOS+"_"+runtime.GOARCH)
		if err := os.MkdirAll(plugins, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(program, filepath.Join(plugins, "terraform-provider-envbackup_v0.0.1")); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w workspace) write(t *testing.T, config string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.dir, "main.tf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// rewrite replaces the configuration.
func (w workspace) rewrite(t *testing.T, config string) {
	t.Helper()
	w.write(t, "terraform {\n  required_providers {\n    envbackup = { source = \"envbackup/envbackup\" }\n  }\n}\n"+config)
}

// try runs Terraform and returns what it printed and whether it succeeded.
func (w workspace) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.path, args...)
	cmd.Dir = w.dir
	// A request that leaves the machine would fail at this proxy.
	cmd.Env = append(os.Environ(), "TF_CLI_CONFIG_FILE=/dev/null", "TF_IN_AUTOMATION=1", "HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1")
	cmd.Env = append(cmd.Env, w.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (w workspace) run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.try(t, args...)
	if err != nil {
		t.Fatalf("terraform %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestRealProcess: the provider as Terraform starts it, in processes of its
// own. A plan that was saved applies, the plan afterwards is empty, and what
// is warned of is warned of once.
func TestRealProcess(t *testing.T) {
	t.Parallel()
	d := newFakeDaemon(t)
	w := newWorkspace(t, providerConfig(d.URL, fakeToken)+scheduleConfig("  cron      = \"0 3 13 * 5\"\n  retention = { keep_daily = 30 }"))
	plan := w.run(t, "plan", "-no-color", "-out=saved.tfplan")
	if n := strings.Count(plan, "Both day fields are set"); n != 1 || strings.Contains(plan, "more similar warning") {
		t.Errorf("the lint is said %d times:\n%s", n, plan)
	}
	w.run(t, "apply", "-no-color", "saved.tfplan")
	if out, err := w.try(t, "plan", "-no-color", "-detailed-exitcode"); err != nil {
		t.Errorf("the plan after apply: %v\n%s", err, out)
	}
	w.run(t, "destroy", "-no-color", "-auto-approve")
	if len(d.schedules)+len(d.environments)+len(d.destinations) != 0 {
		t.Error("destroy left things behind")
	}
}

// TestFact12OneListForAll: however many resources there are, a plan that changes
// nothing makes one request for each kind and one more.
func TestFact12OneListForAll(t *testing.T) {
	t.Parallel()
	d := newFakeDaemon(t)
	w := newWorkspace(t, providerConfig(d.URL, fakeToken)+thingsConfig+`
resource "envbackup_schedule" "many" {
  count        = 20
  name         = "s${count.index}"
  environment  = envbackup_environment.shop.name
  destinations = [envbackup_destination.disk.name]
  cron         = "${count.index} 3 * * *"
  retention    = { keep_daily = 14 }
}`)
	w.run(t, "apply", "-no-color", "-auto-approve")
	d.change(func() { clear(d.requests) })
	w.run(t, "plan", "-no-color", "-detailed-exitcode")
	want := map[string]int{
		"GET /api/v1/limits": 1, "GET /api/v1/environments": 1, "GET /api/v1/destinations": 1, "GET /api/v1/schedules": 1,
	}
	if diff := cmp.Diff(want, d.requests); diff != "" {
		t.Errorf("requests of a plan (-want +got):\n%s", diff)
	}
}

// TestDaemonDownAtPlan: new resources are planned without a daemon, with one
// warning.
func TestDaemonDownAtPlan(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, providerConfig("http://127.0.0.1:1", fakeToken)+scheduleConfig("  cron      = \"@daily\"\n  retention = { keep_daily = 30 }"))
	plan := w.run(t, "plan", "-no-color")
	for _, want := range []string{"Plan: 3 to add", "Cannot reach the envbackup daemon", "http://127.0.0.1:1", "every day at 00:00 UTC"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan does not say %q:\n%s", want, plan)
		}
	}
	if n := strings.Count(plan, "Cannot reach the envbackup daemon"); n != 1 || strings.Contains(plan, "more similar warning") {
		t.Errorf("the absence is said %d times:\n%s", n, plan)
	}
	out, err := w.try(t, "apply", "-no-color", "-auto-approve")
	if err == nil || !strings.Contains(out, "Cannot create the environment") {
		t.Errorf("apply without a daemon: %v\n%s", err, out)
	}
}

// TestFact10SchemaDocument: the schema that the documentation is made from is what
// Terraform itself prints.
func TestFact10SchemaDocument(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t, "provider \"envbackup\" {\n  plan_checks = \"skip\"\n}\n")
	raw, err := exec.CommandContext(t.Context(), "go", "run", "./schemagen").Output()
	if err != nil {
		t.Fatal(err)
	}
	theirs, ours := onlySchema(t, []byte(w.run(t, "providers", "schema", "-json"))), onlySchema(t, raw)
	// Terraform before 1.12 does not know identities.
	if _, ok := theirs["resource_identity_schemas"]; !ok {
		delete(ours, "resource_identity_schemas")
	}
	a, _ := json.MarshalIndent(theirs, "", " ") // both were decoded from JSON
	b, _ := json.MarshalIndent(ours, "", " ")
	if !bytes.Equal(a, b) {
		t.Errorf("the documents differ: Terraform's has %d bytes, ours %d; first difference:\n%s", len(a), len(b), firstDifference(a, b))
	}
}

// onlySchema returns the schema of the only provider in a document.
func onlySchema(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	var document struct {
		Schemas map[string]map[string]any `json:"provider_schemas"`
	}
	if err := json.Unmarshal(raw, &document); err != nil {
		t.Fatalf("%v in %.200s", err, raw)
	}
	for _, schema := range document.Schemas {
		return schema
	}
	t.Fatal("the document has no provider")
	return nil
}

func firstDifference(a, b []byte) string {
	x, y := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			from := max(0, i-6)
			return strings.Join(x[from:i+1], "\n") + "\n---\n" + strings.Join(y[from:i+1], "\n")
		}
	}
	return "one is longer"
}
