package provider

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// The tests named TestFactN hold the findings about Terraform that shaped this
// provider: 1 and 2 in savedplan_test.go and acceptance_more_test.go, 3, 6, 11
// and 12 beside what they are about, 4 in badinput_test.go, 8 to 10 in
// process_test.go and in package e2e.

// TestFact5LogsAreOffUnlessWanted: the SDK's own trace logs are two fifths of
// the CPU of a big plan, written by the provider and dropped by Terraform.
func TestFact5LogsAreOffUnlessWanted(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	switches := []string{"TF_LOG_SDK", "TF_LOG_SDK_FRAMEWORK", "TF_LOG_SDK_PROTO"}
	for _, name := range append([]string{"TF_LOG", "TF_LOG_PROVIDER", "TF_LOG_PROVIDER_ENVBACKUP"}, switches...) {
		t.Setenv(name, "")
	}
	tune()
	for _, name := range switches {
		if got := os.Getenv(name); got != "off" {
			t.Errorf("%s = %q, want off", name, got)
		}
		t.Setenv(name, "")
	}
	if percent := debug.SetGCPercent(100); percent != 400 {
		t.Errorf("garbage collection at %d %%, want 400", percent)
	}
	t.Setenv("TF_LOG", "TRACE")
	tune()
	for _, name := range switches {
		if got := os.Getenv(name); got != "" {
			t.Errorf("somebody wants the logs, and %s = %q", name, got)
		}
	}
}

// TestFact7NothingNewIsHidden: what only newer releases of Terraform know may
// be declared today, and older ones ignore it; but the wrapper around the
// framework's server must not hide it from the type assertions by which it is
// found, or it shows in the schema and fails when called.
func TestFact7NothingNewIsHidden(t *testing.T) {
	t.Parallel()
	s := NewServer("test")
	if _, ok := s.(tfprotov6.ListResourceServer); !ok {
		t.Error("list resources are hidden")
	}
	if _, ok := s.(tfprotov6.ActionServer); !ok {
		t.Error("actions are hidden")
	}
	if _, ok := s.(tfprotov6.StateStoreServer); !ok {
		t.Error("state stores are hidden")
	}
	resp, err := s.GetResourceIdentitySchemas(t.Context(), &tfprotov6.GetResourceIdentitySchemasRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"envbackup_schedule", "envbackup_environment", "envbackup_destination"} {
		if resp.IdentitySchemas[name] == nil {
			t.Errorf("%s has no identity", name)
		}
	}
}
