package provider_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon/daemontest"
	"github.com/envbackup/terraform-provider-envbackup/internal/s3test"
)

// Issue 4, item 7 in real HCL: storage class, encryption and bandwidth limit are
// applied and plan nothing more; what cannot work is an error of the plan at
// its line.
func TestHowABucketStoresInTerraform(t *testing.T) {
	needTerraform(t)
	t.Parallel()
	server := s3test.Start(t)
	d := daemontest.Start(t)
	bucket := server.Bucket(t)
	config := func(storing string) string {
		return providerConfig(d.Endpoint, d.Token) + fmt.Sprintf(`
resource "envbackup_destination" "bucket" {
  name            = "bucket"
  bandwidth_limit = 1000000
  s3 = {
    bucket                       = %q
    region                       = %q
    endpoint                     = %q
    force_path_style             = true
    access_key_id                = %q
    secret_access_key_wo         = %q
    secret_access_key_wo_version = 1
    %s
  }
}
`, bucket, server.Region, server.Endpoint, server.AccessKey, server.SecretKey, storing)
	}
	head := "terraform {\n  required_providers {\n    envbackup = { source = \"envbackup/envbackup\" }\n  }\n}\n"
	w := newWorkspace(t, config(`storage_class = "STANDARD_IA"`+"\n"+`server_side_encryption = "AES256"`))
	for _, storing := range []string{`storage_class = "STANDARD_IA"` + "\n" + `server_side_encryption = "AES256"`, `server_side_encryption = "aws:kms"` + "\n" + `sse_kms_key_id = "alias/backups"`, ""} {
		w.write(t, head+config(storing))
		if out := w.run(t, "apply", "-no-color", "-auto-approve"); strings.Contains(out, "Warning") {
			t.Errorf("apply warns:\n%s", out)
		}
		if out, err := w.try(t, "plan", "-no-color", "-detailed-exitcode"); err != nil {
			t.Errorf("the plan after apply of %q is not empty: %v\n%s", storing, err, out)
		}
	}
	for storing, says := range map[string][]string{
		`storage_class = "GLACIER"`: {"Storage class cannot be read from", "GLACIER_IR"},
		`server_side_encryption = "AES256"` + "\n" + `sse_kms_key_id = "alias/b"`: {"Two kinds of encryption", "keep one of them"},
		`server_side_encryption = "rot13"`:                                        {"Invalid Attribute Value Match", "aws:kms"},
	} {
		w.write(t, head+config(storing))
		out, err := w.try(t, "plan", "-no-color")
		if err == nil {
			t.Errorf("%s is planned", storing)
		}
		for _, want := range append(says, strings.Fields(storing)[0]) {
			if !strings.Contains(unwrapped(out), want) {
				t.Errorf("%s: the plan does not say %q:\n%s", storing, want, out)
			}
		}
	}
}
