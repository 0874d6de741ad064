// Package exclude decides which paths a list of patterns selects. It is the one
// grammar for what a source leaves out and for what a restore takes, so that
// plan, API, archiver and restorer read a pattern alike. It knows no file
// system: paths come in as text, relative to the root of the source (or of the
// snapshot), with "/" between their elements.
//
// # Grammar
//
// One pattern an entry; no comments, no trimming of spaces.
//
//	*.tmp        any path element that ends in .tmp, at any depth
//	cache/tmp    "tmp" in a directory "cache", at any depth
//	/build       leading slash: "build" in the root only
//	logs/        trailing slash: directories only
//	cache/**     everything below a directory "cache", but not the directory
//	**/x, a/**/b "**" as a whole element stands for any number of elements
//	a?c [a-z]    one character; one of a class ([^a-z] for the contrary)
//	\*           the character itself
//	!keep.tmp    takes back what an earlier pattern selected
//
// A selected directory is selected with everything below it, and nothing below
// it can be taken back: select its content (dir/* or dir/**) to make exceptions.
// Among the patterns that fit a path the last one decides. Matching is by bytes
// and case sensitive; names need not be UTF-8.
package exclude

import (
	"fmt"
	"path"
	"strings"
)

// PatternError says which pattern is wrong and why.
type PatternError struct {
	Index   int // position in the list given to Compile, from 0
	Pattern string
	Reason  string
}

func (e *PatternError) Error() string {
	return fmt.Sprintf("pattern %q: %s", e.Pattern, e.Reason)
}

// Validate reports what is wrong with one pattern as a *PatternError, or nil.
func Validate(pattern string) error {
	_, reason := parse(pattern)
	if reason != "" {
		return &PatternError{Pattern: pattern, Reason: reason}
	}
	return nil
}

// Matcher is a compiled list of patterns. It is safe for concurrent use, and a
// nil *Matcher selects nothing.
type Matcher struct {
	rules []rule
	// deep is set when a pattern may fit at any depth, so that no directory can
	// be ruled out by its path.
	deep bool
}

// Compile compiles patterns in order. The error is a *PatternError for the
// first bad one.
func Compile(patterns []string) (*Matcher, error) {
	m := &Matcher{rules: make([]rule, 0, len(patterns))}
	for i, p := range patterns {
		r, reason := parse(p)
		if reason != "" {
			return nil, &PatternError{Index: i, Pattern: p, Reason: reason}
		}
		m.rules = append(m.rules, r)
		m.deep = m.deep || (!r.negated && r.elements[0].any)
	}
	return m, nil
}

// Empty reports whether the matcher has no patterns.
func (m *Matcher) Empty() bool { return m == nil || len(m.rules) == 0 }

// Match reports whether the patterns select rel itself. It does not look at
// the directories above rel: a caller that descends asks for each on its way
// and stops at the first that is selected. The root is "" and never selected.
func (m *Matcher) Match(rel string, isDir bool) bool {
	if m.Empty() || rel == "" {
		return false
	}
	base := rel[strings.LastIndexByte(rel, '/')+1:]
	for i := len(m.rules) - 1; i >= 0; i-- {
		if m.rules[i].match(rel, base, isDir) {
			return !m.rules[i].negated
		}
	}
	return false
}

// MatchBelow reports whether rel or a directory above it is selected.
func (m *Matcher) MatchBelow(rel string, isDir bool) bool {
	if m.Empty() {
		return false
	}
	for i := 0; i < len(rel); i++ {
		if rel[i] == '/' && m.Match(rel[:i], true) {
			return true
		}
	}
	return m.Match(rel, isDir)
}

// MayContain reports whether something below the directory dir could be
// selected. It errs on the side of true.
func (m *Matcher) MayContain(dir string) bool {
	if m.Empty() {
		return false
	}
	if m.deep || dir == "" {
		return true
	}
	elements := strings.Split(dir, "/")
	for i := range m.rules {
		if !m.rules[i].negated && m.rules[i].mayContain(elements) {
			return true
		}
	}
	return false
}

// rule is one pattern. A pattern that is not anchored starts with an element
// that stands for any number of elements.
type rule struct {
	elements []element
	negated  bool
	dirOnly  bool
	// single is the only element of a pattern without slashes; it is matched
	// against the last element of a path without splitting it.
	single *element
}

// element is one path element of a pattern.
type element struct {
	any     bool   // "**"
	literal bool   // glob has no special characters left
	suffix  bool   // "*" followed by the literal text in glob
	glob    string // a literal, a suffix or a pattern for path.Match
}

// parse returns the compiled pattern, or the reason why it is none.
func parse(pattern string) (rule, string) {
	var r rule
	p := pattern
	if strings.HasPrefix(p, "!") {
		r.negated, p = true, p[1:]
	}
	if strings.IndexByte(p, 0) >= 0 {
		return r, "a path has no NUL characters"
	}
	if strings.HasSuffix(p, "/") {
		r.dirOnly, p = true, p[:len(p)-1]
	}
	anchored := strings.HasPrefix(p, "/")
	if anchored {
		p = p[1:]
	}
	if p == "" {
		return r, "it is empty: name a file, a directory or a pattern such as *.tmp"
	}
	if !anchored {
		r.elements = append(r.elements, element{any: true})
	}
	for text := range strings.SplitSeq(p, "/") {
		e, reason := parseElement(text)
		if reason != "" {
			return r, reason
		}
		if e.any && len(r.elements) > 0 && r.elements[len(r.elements)-1].any {
			continue // "**/**" says no more than "**"
		}
		r.elements = append(r.elements, e)
	}
	if len(r.elements) == 1 && r.elements[0].any && !anchored {
		// "**" alone: everything.
		r.elements = append(r.elements, element{suffix: true})
	}
	if len(r.elements) == 2 && r.elements[0].any && !r.elements[1].any {
		r.single = &r.elements[1]
	}
	return r, ""
}

func parseElement(text string) (element, string) {
	switch text {
	case "":
		return element{}, "two slashes in a row match nothing"
	case ".", "..":
		return element{}, `"." and ".." match nothing: write the path from the root of the source`
	case "**":
		return element{any: true}, ""
	}
	if strings.Contains(strings.ReplaceAll(text, `\*`, ""), "**") {
		return element{}, `"**" must be a whole path element, as in cache/**`
	}
	if _, err := path.Match(text, "x"); err != nil {
		return element{}, "a [ is not closed, or a \\ stands at the end"
	}
	if !strings.ContainsAny(text, `*?[\`) {
		return element{literal: true, glob: text}, ""
	}
	if rest := text[1:]; text[0] == '*' && !strings.ContainsAny(rest, `*?[\`) {
		return element{suffix: true, glob: rest}, ""
	}
	return element{glob: text}, ""
}

func (e *element) match(name string) bool {
	switch {
	case e.literal:
		return name == e.glob
	case e.suffix:
		return strings.HasSuffix(name, e.glob)
	default:
		ok, _ := path.Match(e.glob, name) // checked when it was compiled
		return ok
	}
}

func (r *rule) match(rel, base string, isDir bool) bool {
	if r.dirOnly && !isDir {
		return false
	}
	if r.single != nil {
		return r.single.match(base)
	}
	return matchElements(r.elements, rel, true)
}

// matchElements matches the pattern elements against the rest of a path; more
// says whether a path element is left in rest.
func matchElements(elements []element, rest string, more bool) bool {
	for len(elements) > 0 {
		e := &elements[0]
		if e.any {
			if len(elements) == 1 {
				return more // "x/**" is what lies below x, not x
			}
			for {
				if matchElements(elements[1:], rest, more) {
					return true
				}
				if !more {
					return false
				}
				_, rest, more = strings.Cut(rest, "/")
			}
		}
		if !more {
			return false
		}
		var name string
		name, rest, more = strings.Cut(rest, "/")
		if !e.match(name) {
			return false
		}
		elements = elements[1:]
	}
	return !more
}

// mayContain reports whether the pattern could fit a path below dir, given as
// its elements.
func (r *rule) mayContain(dir []string) bool {
	for i, name := range dir {
		if i >= len(r.elements) {
			return false // the pattern fits a directory above dir at most
		}
		if r.elements[i].any {
			return true
		}
		if !r.elements[i].match(name) {
			return false
		}
	}
	return len(r.elements) > len(dir)
}
