package provider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// TestSettings: attributes win over the environment, the environment over the
// defaults, and a token file is read and trimmed.
func TestSettings(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		model           providerModel
		environment     map[string]string
		endpoint, token string
	}{
		"defaults":        {endpoint: "http://127.0.0.1:8420"},
		"the environment": {environment: map[string]string{"ENDPOINT": "http://a", "TOKEN": "t"}, endpoint: "http://a", token: "t"},
		"a file of the environment": {
			environment: map[string]string{"TOKEN_FILE": file}, endpoint: "http://127.0.0.1:8420", token: "from-file",
		},
		"attributes win": {
			model:       providerModel{Endpoint: types.StringValue("http://b"), TokenFile: types.StringValue(file)},
			environment: map[string]string{"ENDPOINT": "http://a", "TOKEN": "t"}, endpoint: "http://b", token: "from-file",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for key, value := range test.environment {
				t.Setenv("ENVBACKUP_"+key, value)
			}
			var diags diag.Diagnostics
			cfg := test.model.clientConfig(&diags)
			if diags.HasError() || cfg.Endpoint != test.endpoint || cfg.Token.Reveal() != test.token {
				t.Errorf("endpoint %q and token %q (%v), want %q and %q", cfg.Endpoint, cfg.Token.Reveal(), diags, test.endpoint, test.token)
			}
		})
	}
	var diags diag.Diagnostics
	providerModel{TokenFile: types.StringValue("/nowhere/token")}.clientConfig(&diags)
	if !diags.HasError() || !strings.Contains(diags.Errors()[0].Detail(), "/nowhere/token") {
		t.Errorf("a missing token file: %v, want an error that names it", diags)
	}
}
