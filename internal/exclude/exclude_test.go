package exclude_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/exclude"
)

func TestMatch(t *testing.T) {
	t.Parallel()

	// A path that ends in a slash stands for a directory.
	tests := map[string]struct {
		patterns []string
		yes, no  []string
	}{
		"a name matches at any depth": {
			[]string{"*.tmp"},
			[]string{"a.tmp", "x/y/a.tmp", ".tmp", "d.tmp/", "\xff.tmp"},
			[]string{"a.tmpx", "a.tm", "tmp"},
		},
		"a literal name is the whole element": {
			[]string{"cache"}, []string{"cache", "a/cache/", "a/cache"}, []string{"cache2", "xcache", "cache/a"},
		},
		"two elements match at any depth": {
			[]string{"cache/tmp"}, []string{"cache/tmp", "a/b/cache/tmp"}, []string{"cache/x/tmp", "cache", "tmp", "cache/tmp/x"},
		},
		"a leading slash anchors": {
			[]string{"/build"}, []string{"build", "build/"}, []string{"a/build", "build2"},
		},
		"a trailing slash wants a directory": {
			[]string{"logs/"}, []string{"logs/", "a/logs/"}, []string{"logs", "a/logs"},
		},
		"two stars at the end are what lies below": {
			[]string{"cache/**"}, []string{"cache/a", "cache/a/b/", "x/cache/a"}, []string{"cache/", "cache", "cachex/a"},
		},
		"two stars in the middle are any number of elements": {
			[]string{"/a/**/b"}, []string{"a/b", "a/x/b", "a/x/y/b"}, []string{"b", "a/b/c", "x/a/b", "ab"},
		},
		"two stars alone are everything": {
			[]string{"**"}, []string{"a", "a/b/"}, nil,
		},
		"anchored two stars are everything": {
			[]string{"/**"}, []string{"a", "a/b/"}, nil,
		},
		"one star stays within its element": {
			[]string{"/a/*/c"}, []string{"a/b/c"}, []string{"a/c", "a/b/b/c"},
		},
		"question mark and class": {
			[]string{"?og[0-9]", "x[^ab]"}, []string{"log1", "a/dog9", "xc"}, []string{"log", "logs1", "xa"},
		},
		"a backslash takes the character as it is": {
			[]string{`\!a`, `b\*`, `c\**`}, []string{"!a", "b*", "c*d"}, []string{"a", "bc", "cd"},
		},
		"the last pattern that fits decides": {
			[]string{"*.log", "!keep.log", "/old/keep.log"},
			[]string{"a.log", "old/keep.log"}, []string{"keep.log", "x/keep.log"},
		},
		"no patterns select nothing": {nil, nil, []string{"a", "a/b/"}},
		"the root is never selected": {[]string{"*", "**"}, nil, []string{""}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			m, err := exclude.Compile(test.patterns)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range test.yes {
				if !m.Match(strings.TrimSuffix(p, "/"), strings.HasSuffix(p, "/")) {
					t.Errorf("%q does not select %q", test.patterns, p)
				}
			}
			for _, p := range test.no {
				if m.Match(strings.TrimSuffix(p, "/"), strings.HasSuffix(p, "/")) {
					t.Errorf("%q selects %q", test.patterns, p)
				}
			}
		})
	}
}

func TestMatchBelow(t *testing.T) {
	t.Parallel()

	m, err := exclude.Compile([]string{"/srv/app", "*.conf"})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"srv/app": true, "srv/app/x/y": true, "etc/a.conf/b": true, "srv": false, "srv/other": false,
	} {
		if got := m.MatchBelow(path, false); got != want {
			t.Errorf("MatchBelow(%q) = %t, want %t", path, got, want)
		}
	}
}

func TestMayContain(t *testing.T) {
	t.Parallel()

	tests := map[string]struct {
		patterns []string
		yes, no  []string
	}{
		"an anchored path lies in its parents": {
			[]string{"/srv/app/etc"}, []string{"", "srv", "srv/app"}, []string{"etc", "srv/other", "srv/app/etc"},
		},
		"a star is one element":           {[]string{"/home/*/x"}, []string{"home", "home/a"}, []string{"var", "home/a/b"}},
		"two stars go down":               {[]string{"/a/**"}, []string{"a", "a/b/c"}, []string{"b"}},
		"what is not anchored is any":     {[]string{"*.conf"}, []string{"", "a", "a/b"}, nil},
		"an exception selects nothing":    {[]string{"/a", "!x"}, []string{""}, []string{"b", "a"}},
		"no patterns, nothing to descend": {nil, nil, []string{"", "a"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			m, err := exclude.Compile(test.patterns)
			if err != nil {
				t.Fatal(err)
			}
			for _, dir := range test.yes {
				if !m.MayContain(dir) {
					t.Errorf("%q rules out directory %q", test.patterns, dir)
				}
			}
			for _, dir := range test.no {
				if m.MayContain(dir) {
					t.Errorf("%q does not rule out directory %q", test.patterns, dir)
				}
			}
		})
	}
}

func TestBadPatternsAreNamed(t *testing.T) {
	t.Parallel()

	for _, p := range []string{"", "/", "!", "!/", "a//b", "[a", `a\`, "a**", "**b/c", "../x", "a/./b", "a\x00b"} {
		if err := exclude.Validate(p); err == nil {
			t.Errorf("Validate(%q) = nil, want an error", p)
		}
		_, err := exclude.Compile([]string{"fine", p})
		var bad *exclude.PatternError
		if !errors.As(err, &bad) || bad.Index != 1 || bad.Pattern != p || bad.Reason == "" {
			t.Errorf("Compile(%q) = %v, want a PatternError for entry 1", p, err)
		}
	}
	for _, p := range []string{"a", "*.tmp", "cache/**", "/a/", "!b", `\*\*`, "#x", " "} {
		if err := exclude.Validate(p); err != nil {
			t.Errorf("Validate(%q) = %v, want nil", p, err)
		}
	}
}

// FuzzMatch looks for panics, and for a selected path in a directory that
// MayContain had ruled out.
func FuzzMatch(f *testing.F) {
	f.Add("/a/**/b", "a/x/b")
	f.Add("!x[^a]", "q")
	f.Fuzz(func(t *testing.T, pattern, rel string) {
		m, err := exclude.Compile([]string{pattern})
		if err != nil {
			return
		}
		if i := strings.LastIndexByte(rel, '/'); i > 0 && m.Match(rel, true) && !m.MayContain(rel[:i]) {
			t.Errorf("%q selects %q but rules out %q", pattern, rel, rel[:i])
		}
	})
}
