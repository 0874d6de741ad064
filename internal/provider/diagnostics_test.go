package provider_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// diagnostics runs Terraform with -json and returns what it says, each as
// "severity `underlined line`: summary | detail", in the order of the
// configuration as far as Terraform keeps it. It is the text before Terraform
// wraps it, and warnings are in it, which its test library does not show.
func (w workspace) diagnostics(t *testing.T, args ...string) []string {
	t.Helper()
	out, _ := w.try(t, append(args, "-json")...) // the diagnostics say whether it failed
	said := []string{}
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var message struct {
			Type       string
			Diagnostic struct {
				Severity, Summary, Detail string
				Snippet                   *struct{ Code string }
			}
		}
		if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
			t.Fatalf("terraform %s printed what is no JSON: %s", strings.Join(args, " "), lines.Text())
		}
		if message.Type != "diagnostic" {
			continue
		}
		d, at := message.Diagnostic, ""
		if d.Snippet != nil {
			at = " `" + strings.TrimSpace(strings.SplitN(d.Snippet.Code, "\n", 2)[0]) + "`"
		}
		said = append(said, fmt.Sprintf("%s%s: %s | %s", d.Severity, at, d.Summary, d.Detail))
	}
	return said
}
