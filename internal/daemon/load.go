package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"gopkg.in/yaml.v3"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

var (
	errNotBool     = errors.New("write true or false")
	errNotDuration = errors.New(`write a duration such as "30s" or "5m"`)
	errNotNumber   = errors.New("write a whole number")
)

// configFlag names the YAML file: --config, or ENVBACKUP_CONFIG.
const configFlag = "config"

// AddFlags defines the daemon's flags, which Load reads.
func AddFlags(fs *pflag.FlagSet) {
	fs.String(configFlag, "", "YAML file with the settings below, with underscores (ENVBACKUP_CONFIG)")
	for _, s := range settings() {
		help := s.help + " (" + s.variable() + ")"
		switch {
		case s.list:
			fs.StringArray(s.flag(), nil, help)
		case s.boolean:
			fs.Bool(s.flag(), false, help)
		default:
			fs.String(s.flag(), "", help)
		}
	}
}

// Load makes a configuration: what flags say wins over the environment, the
// environment over the file, the file over the defaults. lookup is
// os.LookupEnv. Everything that is wrong comes in one *envbackup.Error with a
// finding for each.
func Load(fs *pflag.FlagSet, lookup func(string) (string, bool)) (Config, error) {
	c := Default()
	var findings []envbackup.Finding
	apply := func(s setting, where string, values []string) {
		if err := s.set(&c, values); err != nil {
			findings = append(findings, wrong(s.name, fmt.Sprintf("%s: %q: %v.", where, values[0], err)))
		}
	}

	file, _ := lookup("ENVBACKUP_CONFIG")
	if f := fs.Lookup(configFlag); f != nil && f.Changed {
		file = f.Value.String()
	}
	if file != "" {
		values, bad := readFile(file)
		findings = append(findings, bad...)
		for _, v := range values {
			apply(v.setting, v.where, v.values)
		}
	}
	for _, s := range settings() {
		if value, ok := lookup(s.variable()); ok && value != "" {
			values := []string{value}
			if s.list {
				values = filepath.SplitList(value)
			}
			apply(s, s.variable(), values)
		}
		if f := fs.Lookup(s.flag()); f != nil && f.Changed {
			values := []string{f.Value.String()}
			if list, ok := f.Value.(pflag.SliceValue); ok {
				values = list.GetSlice()
			}
			apply(s, "--"+s.flag(), values)
		}
	}
	findings = append(findings, c.Check()...)
	if len(findings) > 0 {
		return c, envbackup.Invalid(findings...)
	}
	return c, nil
}

// fileValue is one setting of a file.
type fileValue struct {
	setting setting
	where   string // for messages: file and line
	values  []string
}

// readFile reads the YAML file. Unknown names are findings: a misspelt
// allow_read would otherwise be found on the night of the restore.
func readFile(file string) ([]fileValue, []envbackup.Finding) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, []envbackup.Finding{wrong("config", fmt.Sprintf("The file cannot be read: %v.", err))}
	}
	var document yaml.Node
	if err := yaml.Unmarshal(raw, &document); err != nil {
		return nil, []envbackup.Finding{wrong("config", fmt.Sprintf("%s: %v.", file, err))}
	}
	if len(document.Content) == 0 { // an empty file
		return nil, nil
	}
	r := fileReader{file: file}
	r.mapping(document.Content[0], "")
	return r.values, r.findings
}

type fileReader struct {
	file     string
	values   []fileValue
	findings []envbackup.Finding
}

func (r *fileReader) mapping(node *yaml.Node, prefix string) {
	if node.Kind != yaml.MappingNode {
		r.bad(node, strings.TrimSuffix(prefix, "."), "names and values are expected here")
		return
	}
	known := settings()
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := prefix+node.Content[i].Value, node.Content[i+1]
		at := slices.IndexFunc(known, func(s setting) bool { return s.name == name })
		if seen[name] {
			r.bad(node.Content[i], name, "it is set twice")
			continue
		}
		seen[name] = true
		switch {
		case at >= 0:
			r.value(known[at], value)
		case slices.ContainsFunc(known, func(s setting) bool { return strings.HasPrefix(s.name, name+".") }):
			r.mapping(value, name+".")
		default:
			r.bad(node.Content[i], name, "there is no such setting"+nearest(name, known))
		}
	}
}

func (r *fileReader) value(s setting, node *yaml.Node) {
	where := fmt.Sprintf("%s line %d", r.file, node.Line)
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag != "!!null":
		r.values = append(r.values, fileValue{s, where, []string{node.Value}})
	case node.Kind == yaml.SequenceNode && s.list:
		var values []string
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode {
				r.bad(item, s.name, "a list of texts is expected here")
				return
			}
			values = append(values, item.Value)
		}
		if len(values) > 0 {
			r.values = append(r.values, fileValue{s, where, values})
		}
	default:
		r.bad(node, s.name, "a single value is expected here")
	}
}

func (r *fileReader) bad(node *yaml.Node, name, why string) {
	r.findings = append(r.findings, wrong(name, fmt.Sprintf("%s line %d: %s.", r.file, node.Line, why)))
}

// nearest suggests a setting that begins like name.
func nearest(name string, known []setting) string {
	best, shared := "", 2
	for _, s := range known {
		n := 0
		for n < len(name) && n < len(s.name) && name[n] == s.name[n] {
			n++
		}
		if n > shared {
			best, shared = s.name, n
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// wrong is an error finding about a setting.
func wrong(name, detail string) envbackup.Finding {
	return envbackup.Finding{Severity: envbackup.SeverityError, Path: name, Summary: "Invalid daemon configuration", Detail: detail}
}
