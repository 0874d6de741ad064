package tooltest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

func TestNamedBinaryThatIsMissingIsAnError(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "nothing")
	t.Setenv("TOOLTEST_BIN", missing)
	_, err := tooltest.Tool{Name: "some tool", Env: "TOOLTEST_BIN"}.Find()
	if err == nil || !strings.Contains(err.Error(), "$TOOLTEST_BIN") || !strings.Contains(err.Error(), missing) {
		t.Errorf("Find() = %v, want an error that names the variable and the path", err)
	}
}

func TestToolThatDoesNotBuildSaysWhy(t *testing.T) {
	t.Parallel()
	root, err := tooltest.Root()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(filepath.Join(root, "bin", "tools", "no-such-tool.lock")) })
	_, err = tooltest.Tool{Name: "no-such-tool", Module: "internal/tools", Package: "example.invalid/none"}.Find()
	if err == nil || !strings.Contains(err.Error(), "build example.invalid/none") {
		t.Errorf("Find() = %v, want the go command's complaint", err)
	}
}

// verdict notes how a test was ended instead of ending it.
type verdict struct {
	testing.TB
	text string
}

func (v *verdict) Helper() {}

// Skipf and Fatalf return, unlike the real ones, so only the first counts.
func (v *verdict) Skipf(format string, args ...any)  { v.note("skip: "+format, args) }
func (v *verdict) Fatalf(format string, args ...any) { v.note("fail: "+format, args) }

func (v *verdict) note(format string, args []any) {
	if v.text == "" {
		v.text = fmt.Sprintf(format, args...)
	}
}

func TestWhatIsMissingSkipsATestAndFailsItInCI(t *testing.T) {
	for ci, want := range map[string]string{"": "skip: no thing", "false": "skip: no thing", "true": "fail: no thing", "1": "fail: no thing"} {
		t.Setenv("CI", ci)
		v := &verdict{TB: t}
		tooltest.Unavailable(v, "no %s", "thing")
		if !strings.HasPrefix(v.text, want) {
			t.Errorf("CI=%q: %q, want %q", ci, v.text, want)
		}
	}
}
