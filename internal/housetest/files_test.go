package housetest_test

import (
	"bytes"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// goFile is what these tests look at in a Go file of the root module.
type goFile struct {
	path    string // from the root, beginning with "./"
	pkg     string
	doc     string
	imports []string
}

func (f goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func root(t *testing.T) string {
	t.Helper()
	dir, err := tooltest.Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// roomOf returns NAME for a file below internal/NAME, and "" for others.
func roomOf(file string) string {
	below, ok := strings.CutPrefix(file, "./internal/")
	if !ok {
		return ""
	}
	room, _, ok := strings.Cut(below, "/")
	if !ok {
		return ""
	}
	return room
}

// isTestRoom tells whether the room never reaches the binary.
func isTestRoom(room string) bool {
	return strings.HasSuffix(room, "test") || slices.Contains([]string{"referee", "e2e", "bench", "tools"}, room)
}

// walk calls visit for each file that belongs to the project.
func walk(t *testing.T, visit func(file string) error) {
	t.Helper()
	root := root(t)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir() && slices.Contains([]string{".git", "bin", "dist", ".terraform", "terraform.d"}, entry.Name()):
			return fs.SkipDir
		case entry.Type().IsRegular():
			return visit("./" + filepath.ToSlash(relative))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var parsed struct {
	sync.Mutex
	files []goFile
}

// goFiles returns all Go files outside testdata.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	parsed.Lock()
	defer parsed.Unlock()
	if parsed.files != nil {
		return parsed.files
	}
	root := root(t)
	walk(t, func(file string) error {
		if !strings.HasSuffix(file, ".go") || strings.Contains(file, "/testdata/") {
			return nil
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		f := goFile{path: file, pkg: syntax.Name.Name, doc: syntax.Doc.Text()}
		for _, spec := range syntax.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, imported)
		}
		parsed.files = append(parsed.files, f)
		return nil
	})
	if len(parsed.files) == 0 {
		t.Fatal("no Go files were found")
	}
	return parsed.files
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	t.Parallel()
	docs := map[string][]string{}
	for _, file := range goFiles(t) {
		if file.isTest() {
			continue
		}
		dir := path.Dir(file.path)
		docs[dir] = append(docs[dir], "")
		if file.doc != "" {
			docs[dir] = append(docs[dir], file.doc)
		}
		if file.doc != "" && file.pkg != "main" && !strings.HasPrefix(file.doc, "Package "+file.pkg+" ") {
			t.Errorf("%s: the package comment begins with %q, want \"Package %s ...\"", file.path, firstWords(file.doc), file.pkg)
		}
	}
	for dir, texts := range docs {
		texts = slices.DeleteFunc(texts, func(text string) bool { return text == "" })
		if len(texts) != 1 {
			t.Errorf("%s has %d package comments, want one that says what the package decides and what it leaves to others", dir, len(texts))
		}
	}
}

func firstWords(text string) string {
	words := strings.Fields(text)
	return strings.Join(words[:min(3, len(words))], " ")
}

// machinePaths are where checkouts and module caches lay on machines that
// worked on this tree. A path of that kind works on one machine only.
var machinePaths = regexp.MustCompile(`(^|[^\w.$}/-])/(work/|root/go/|usr/local/go/)`)

func TestNoFileNamesAMachine(t *testing.T) {
	t.Parallel()
	root := root(t)
	walk(t, func(file string) error {
		if strings.Contains(file, "/testdata/") || strings.HasSuffix(file, "/housetest/files_test.go") {
			return nil
		}
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return err
		}
		if bytes.IndexByte(data, 0) >= 0 { // not text
			return nil
		}
		for number, line := range strings.Split(string(data), "\n") {
			if machinePaths.MatchString(line) {
				t.Errorf("%s:%d names a path of one machine: %s", file, number+1, strings.TrimSpace(line))
			}
		}
		return nil
	})
}

func TestMachinePathsAreRecognised(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		`cd /work/main`:            true,
		`"/root/go/pkg/mod"`:       true,
		`GOROOT=/usr/local/go/`:    true,
		`/network/work/x`:          false,
		`$HOME/work/x, dir/work/x`: false,
		`{path}/work/`:             false,
	} {
		if got := machinePaths.MatchString(line); got != want {
			t.Errorf("%q: %v, want %v", line, got, want)
		}
	}
}
