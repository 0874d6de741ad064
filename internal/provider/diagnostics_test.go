package provider_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// diagnostics runs Terraform with -json and returns what it says, each as
// "severity `underlined line`: summary | detail". It is the text before
// Terraform wraps it, and warnings are in it, which its test library does not
// show.
func (w workspace) diagnostics(t *testing.T, args ...string) []string {
	t.Helper()
	said := []string{}
	for _, d := range w.said(t, args...) {
		said = append(said, d.String())
	}
	return said
}

// diagnosticsByAddress is diagnostics, by the resource that each is about.
func (w workspace) diagnosticsByAddress(t *testing.T, args ...string) map[string][]string {
	t.Helper()
	said := map[string][]string{}
	for _, d := range w.said(t, args...) {
		said[d.Address] = append(said[d.Address], d.String())
	}
	return said
}

// diagnostic is what Terraform says in JSON.
type diagnostic struct {
	Severity, Summary, Detail, Address string
	Snippet                            *struct{ Code string }
}

func (d diagnostic) String() string {
	at := ""
	if d.Snippet != nil {
		at = " `" + strings.TrimSpace(strings.SplitN(d.Snippet.Code, "\n", 2)[0]) + "`"
	}
	return fmt.Sprintf("%s%s: %s | %s", d.Severity, at, d.Summary, d.Detail)
}

func (w workspace) said(t *testing.T, args ...string) []diagnostic {
	t.Helper()
	out, _ := w.try(t, append(args, "-json")...) // the diagnostics say whether it failed
	said := []diagnostic{}
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var message struct {
			Type       string
			Diagnostic diagnostic
		}
		if err := json.Unmarshal(lines.Bytes(), &message); err != nil {
			t.Fatalf("terraform %s printed what is no JSON: %s", strings.Join(args, " "), lines.Text())
		}
		if message.Type == "diagnostic" {
			said = append(said, message.Diagnostic)
		}
	}
	return said
}
