package provider_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
)

// factories serve the provider in the test's process, through the wrapper
// that main serves.
var factories = map[string]func() (tfprotov6.ProviderServer, error){
	"envbackup": func() (tfprotov6.ProviderServer, error) { return provider.NewServer("test"), nil },
}

// TestMain keeps the machine's settings out of the tests and Terraform off the
// network.
func TestMain(m *testing.M) {
	serveAsPlugin()
	for _, name := range []string{"ENDPOINT", "TOKEN", "TOKEN_FILE", "CA_FILE", "CLIENT_CERTIFICATE_FILE", "CLIENT_KEY_FILE"} {
		_ = os.Unsetenv("ENVBACKUP_" + name)
	}
	_ = os.Setenv("CHECKPOINT_DISABLE", "1")
	if os.Getenv("TF_ACC_TERRAFORM_PATH") == "" {
		// Without a path the test library would try to download one.
		for _, name := range []string{"terraform", "tofu"} {
			if path, err := exec.LookPath(name); err == nil {
				_ = os.Setenv("TF_ACC_TERRAFORM_PATH", path)
				break
			}
		}
	}
	os.Exit(m.Run())
}

// needTerraform skips the test where neither Terraform nor OpenTofu is
// installed; in CI that is a failure.
func needTerraform(t *testing.T) {
	t.Helper()
	if os.Getenv("TF_ACC_TERRAFORM_PATH") != "" {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("neither terraform nor tofu is installed")
	}
	t.Skip("neither terraform nor tofu is installed")
}

// providerConfig is the provider block for the daemon at endpoint.
func providerConfig(endpoint, token string, more ...string) string {
	text := ""
	for _, line := range more {
		text += "  " + line + "\n"
	}
	return fmt.Sprintf("provider \"envbackup\" {\n  endpoint = %q\n  token = %q\n%s}\n", endpoint, token, text)
}

// thingsConfig is an environment and a local destination to hang schedules on.
const thingsConfig = `
resource "envbackup_environment" "shop" {
  name  = "shop"
  files = { app = { path = "/srv/shop", exclude = ["*.tmp"] } }
}

resource "envbackup_destination" "disk" {
  name  = "disk"
  local = { path = "/mnt/backups" }
}
`

// scheduleConfig is a schedule with more attributes of the test's choice.
func scheduleConfig(more string) string {
	return thingsConfig + `
resource "envbackup_schedule" "nightly" {
  name         = "nightly"
  environment  = envbackup_environment.shop.name
  destinations = [envbackup_destination.disk.name]
` + more + "\n}\n"
}
