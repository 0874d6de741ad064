package housetest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const module = "github.com/envbackup/terraform-provider-envbackup"

// rule is one depguard rule of .golangci.yml, in list-mode lax: an import is
// refused when it matches deny, unless it matches a longer entry of allow. The
// linter's configuration is read, not repeated, so there is one table.
type rule struct {
	Files []string `yaml:"files"`
	Deny  []struct {
		Pkg  string `yaml:"pkg"`
		Desc string `yaml:"desc"`
	} `yaml:"deny"`
	Allow []string `yaml:"allow"`
}

func readRules(t *testing.T) map[string]rule {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root(t), ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Linters struct {
			Settings struct {
				Depguard struct {
					Rules map[string]rule `yaml:"rules"`
				} `yaml:"depguard"`
			} `yaml:"settings"`
		} `yaml:"linters"`
	}
	if err := yaml.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	if len(config.Linters.Settings.Depguard.Rules) == 0 {
		t.Fatal(".golangci.yml has no depguard rules")
	}
	return config.Linters.Settings.Depguard.Rules
}

// covers tells whether the rule is about the file, a path relative to the root
// that begins with "./".
func (r rule) covers(file string) bool {
	positives, included := 0, false
	for _, pattern := range r.Files {
		pattern, negative := strings.CutPrefix(pattern, "!")
		matched := globMatches(pattern, file)
		switch {
		case negative && matched:
			return false
		case !negative:
			positives++
			included = included || matched
		}
	}
	return included || positives == 0
}

func globMatches(pattern, file string) bool {
	switch pattern {
	case "$all":
		return true
	case "$test":
		return strings.HasSuffix(file, "_test.go")
	}
	expression := regexp.QuoteMeta(pattern)
	expression = strings.ReplaceAll(expression, `\*\*`, `.*`)
	expression = regexp.MustCompile(`([^.]|^)\\\*`).ReplaceAllString(expression, `${1}[^/]*`)
	return regexp.MustCompile("^" + expression + "$").MatchString(file)
}

// refuses returns why the rule refuses the import, or "".
func (r rule) refuses(imported string) string {
	allowed := -1
	for _, prefix := range r.Allow {
		if strings.HasPrefix(imported, prefix) {
			allowed = max(allowed, len(prefix))
		}
	}
	for _, deny := range r.Deny {
		exact, isExact := strings.CutSuffix(deny.Pkg, "$")
		matched := strings.HasPrefix(imported, deny.Pkg)
		if isExact {
			matched = imported == exact
		}
		if matched && len(deny.Pkg) > allowed {
			return deny.Desc
		}
	}
	return ""
}

// refusals returns what the rules have against the imports of a file.
func refusals(rules map[string]rule, file string, imports []string) []string {
	var found []string
	for name, rule := range rules {
		if !rule.covers(file) {
			continue
		}
		for _, imported := range imports {
			if reason := rule.refuses(imported); reason != "" {
				found = append(found, fmt.Sprintf("%s imports %s, which rule %s refuses: %s", file, imported, name, reason))
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	rules := readRules(t)
	for _, file := range goFiles(t) {
		for _, refusal := range refusals(rules, file.path, file.imports) {
			t.Error(refusal)
		}
	}
}

// TestEveryRoomHasARule is for the room that is added later: without a rule of
// its own it could import anything.
func TestEveryRoomHasARule(t *testing.T) {
	t.Parallel()
	rules := readRules(t)
	seen := map[string]bool{}
	for _, file := range goFiles(t) {
		room := roomOf(file.path)
		if room == "" || seen[room] || file.isTest() || isTestRoom(room) {
			continue
		}
		seen[room] = true
		rule, ok := rules[room]
		if !ok || !rule.covers(file.path) {
			t.Errorf("internal/%s has no depguard rule named %q in .golangci.yml: say there what it may import", room, room)
		}
	}
}

// TestPlantedImportsAreRefused proves that the reading of the rules above can
// find something.
func TestPlantedImportsAreRefused(t *testing.T) {
	t.Parallel()
	rules := readRules(t)
	internal := module + "/internal/"
	for _, c := range []struct {
		file, imported string
		refused        bool
	}{
		{"./internal/cron/next.go", internal + "store", true},
		{"./internal/cron/next_test.go", internal + "store", false},
		{"./internal/cron/next.go", "strings", false},
		{"./internal/provider/resource_schedule.go", internal + "store", true},
		{"./internal/provider/resource_schedule.go", internal + "daemon", true},
		{"./internal/provider/resource_schedule.go", internal + "client", false},
		{"./internal/backend/s3/s3.go", internal + "repository", true},
		{"./internal/backend/s3/s3.go", internal + "backend", false},
		{"./internal/archiver/archiver.go", internal + "repository", true},
		{"./internal/repository/pack/pack.go", internal + "trees", true},
		{"./internal/store/open.go", internal + "store/storetest", true},
		{"./internal/store/storetest/suite.go", "testing", false},
		{"./internal/api/runs.go", "testing", true},
		{"./internal/api/runs.go", "log", true},
		{"./internal/api/runs.go", "log/slog", false},
		{"./main.go", internal + "daemon", true},
		{"./main.go", internal + "cli", false},
	} {
		got := refusals(rules, c.file, []string{c.imported})
		if (len(got) > 0) != c.refused {
			t.Errorf("%s importing %s: refusals %q, want refused = %v", c.file, c.imported, got, c.refused)
		}
	}
}
