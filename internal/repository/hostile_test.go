package repository

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// The corpus holds repositories that are damaged, and such as somebody made who
// has the password and means harm. Each is the sound repository "base" but for
// some objects. TestHostileRepositories makes it anew, and then uses it, where
// ENVBACKUP_WRITE_CORPUS is set: after the cases have changed.
const hostileCorpus = "testdata/hostile.zip"

// hostileOps is what is tried on each, in this order.
var hostileOps = []string{"open", "list", "check", "restore", "prune", "backup"}

// hostileNote is the file "note.json" of a repository of the corpus.
type hostileNote struct {
	Gone []string `json:"gone,omitempty"` // objects of base that are not there
	// Want says how each operation ends: with success, or with an error or
	// finding that matches the expression.
	Want map[string]string `json:"want"`
}

const ends = "succeeds" // of an operation in Want

// maxHostileAlloc bounds what an operation may allocate in all, in bytes: a
// repository of a few kilobytes must not cost more, whatever it says of itself.
const maxHostileAlloc = 200 << 20

// Issue 4, item 8: formats are untrusted input. Opening, listing, checking,
// restoring from, pruning and backing up to a damaged or hostile repository
// never panics, allocates little, names what is wrong, loses nothing that was
// whole and writes nothing outside its target.
//
// It is not parallel, so that what it allocates is its own.
func TestHostileRepositories(t *testing.T) {
	if os.Getenv("ENVBACKUP_WRITE_CORPUS") != "" {
		writeHostileCorpus(t)
	}
	base, cases := readCorpus(t)
	if diff := cmp.Diff(sortedKeys(hostileCases), sortedKeys(cases)); diff != "" {
		t.Errorf("the corpus is not of these cases; write it with ENVBACKUP_WRITE_CORPUS=1 (-cases +corpus):\n%s", diff)
	}
	worst := map[string]uint64{}
	for i, name := range sortedKeys(cases) {
		if testing.Short() && i%4 != 0 {
			continue // under the race detector
		}
		h := &hostile{t: t, name: name, be: base.Clone(), note: cases[name].note, source: hostileSource(t)}
		for _, gone := range h.note.Gone {
			must(t, h.be.Delete(t.Context(), parseHandle(t, gone)))
		}
		for object, data := range cases[name].objects {
			must(t, h.be.Delete(t.Context(), parseHandle(t, object)))
			must(t, h.be.Put(t.Context(), parseHandle(t, object), data, backend.PutOptions{}))
		}
		for _, op := range hostileOps {
			err := h.do(op)
			worst[op] = max(worst[op], h.used)
			if h.used > maxHostileAlloc {
				t.Errorf("%s: %s allocates %d MiB", name, op, h.used>>20)
			}
			want, named := h.note.Want[op]
			switch {
			case !named:
				t.Errorf("%s: nothing is said of %s, which ends with: %v", name, op, err)
			case want == ends && err != nil:
				t.Errorf("%s: %s fails: %v", name, op, err)
			case want != ends && err == nil:
				t.Errorf("%s: %s finds nothing, want %s", name, op, want)
			case want != ends && !regexp.MustCompile(want).MatchString(err.Error()):
				t.Errorf("%s: %s says %q, want %s", name, op, err, want)
			}
		}
	}
	for _, op := range hostileOps {
		t.Logf("%s allocates %d MiB at most", op, worst[op]>>20)
	}
}

// allocated is what was allocated since the start, in bytes.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// hostile is one repository of the corpus under test.
type hostile struct {
	t      *testing.T
	name   string
	be     *mem.Backend
	note   hostileNote
	source string // what was backed up
	used   uint64 // what the last operation allocated, in bytes
	// whole is which snapshots could be restored at first.
	whole map[restic.ID]bool
	// unopened says why the repository does not open, and so all the rest fails.
	unopened error
}

// measure does something and counts what it allocates.
func (h *hostile) measure(do func() error) error {
	before := allocated()
	err := do()
	h.used = allocated() - before
	return err
}

func (h *hostile) do(op string) error {
	ctx := h.t.Context()
	if op == "open" {
		h.unopened = h.measure(func() error {
			r, err := Open(ctx, h.be.Clone(), secret.New(testPassword))
			if err != nil {
				return err
			}
			masterKeys.Store(r.keyID, r.key) // the others need not derive it again
			return r.Close()
		})
	}
	if op == "open" || h.unopened != nil {
		return h.unopened
	}
	r, err := openTest(h.t, h.be.Clone(), []Option{withQuickLocks()})
	must(h.t, err)
	defer func() { must(h.t, r.Close()) }()
	switch op {
	case "list":
		return h.measure(func() error {
			_, err := r.Snapshots(ctx, nil)
			_, errLocks := r.Locks(ctx)
			_, errKeys := r.Keys(ctx)
			return errors.Join(err, errLocks, errKeys)
		})
	case "check":
		return h.measure(func() error {
			report, err := r.Check(ctx, CheckOptions{ReadData: true})
			errs := []error{err}
			for _, p := range report.Problems {
				errs = append(errs, errors.New(p.Text))
			}
			return errors.Join(errs...)
		})
	case "restore":
		return h.measure(func() error {
			var err error
			h.whole, err = h.restoreAll(r)
			return err
		})
	case "prune":
		return h.keeps(r, func() error {
			_, err := r.Prune(ctx, PruneOptions{MaxUnusedPercent: -1})
			return err
		})
	default:
		return h.keeps(r, func() error { return hostileBackup(ctx, r, h.source) })
	}
}

// keeps does something to the repository and makes sure that what could be
// restored before can be restored after, and that a failure removes nothing.
func (h *hostile) keeps(r *Repository, do func() error) error {
	before := objectsOf(h.t, r.be)
	err := h.measure(do)
	after := objectsOf(h.t, r.be)
	for object := range before {
		if err != nil && !after[object] && !strings.HasPrefix(object, "lock") {
			h.t.Errorf("%s: it fails (%v) and %s is gone", h.name, err, object)
		}
	}
	// Opened anew, so that nothing is remembered.
	anew, errOpen := openTest(h.t, r.be, nil)
	must(h.t, errOpen)
	still, _ := h.restoreAll(anew)
	for id := range h.whole {
		if !still[id] {
			h.t.Errorf("%s: snapshot %s cannot be restored any more", h.name, id.Short())
		}
	}
	return err
}

func objectsOf(t *testing.T, be backend.Backend) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for kind := backend.KindKey; kind <= backend.KindData; kind++ {
		must(t, be.List(t.Context(), kind, func(name string, _ int64, _ time.Time) error {
			all[kind.String()+"/"+name] = true
			return nil
		}))
	}
	return all
}

// restoreAll restores every snapshot that can be read and returns those of
// which everything was right, and what went wrong with the others.
func (h *hostile) restoreAll(r *Repository) (whole map[restic.ID]bool, err error) {
	ctx := h.t.Context()
	whole = map[restic.ID]bool{}
	snapshots, errList := r.Snapshots(ctx, nil)
	if err := r.LoadIndex(ctx); err != nil {
		return whole, errors.Join(errList, err)
	}
	errs := []error{errList}
	for _, s := range snapshots {
		box := h.t.TempDir()
		target := filepath.Join(box, "a", "b", "target")
		must(h.t, os.MkdirAll(target, 0o755))
		report, err := restorer.Restore(ctx, r, s, restorer.Options{Target: target, Sparse: true})
		if err == nil && report.WarningCount > 0 {
			err = fmt.Errorf("warnings: %v", report.Warnings)
		}
		if err == nil {
			whole[s.ID] = true
		}
		errs = append(errs, err)
		if got := entriesOutside(h.t, box); len(got) > 0 {
			h.t.Errorf("%s: restoring %s writes %q outside of its target", h.name, s.ID.Short(), got)
		}
		h.compareContents(s.ID, target)
		must(h.t, os.RemoveAll(box))
	}
	return whole, errors.Join(errs...)
}

// entriesOutside lists what lies in the box and not in a/b/target.
func entriesOutside(t *testing.T, box string) (out []string) {
	t.Helper()
	for dir, only := range map[string]string{box: "a", box + "/a": "b", box + "/a/b": "target"} {
		list, err := os.ReadDir(dir)
		must(t, err)
		for _, e := range list {
			if e.Name() != only {
				out = append(out, e.Name())
			}
		}
	}
	return out
}

// compareContents makes sure that files with the names of the source hold what
// the source had at some time, or nothing: never something else.
func (h *hostile) compareContents(id restic.ID, target string) {
	must(h.t, filepath.WalkDir(target, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		want, known := hostileFiles[e.Name()]
		st, err := e.Info()
		if err != nil || !known || st.Size() != int64(len(want())) {
			return err
		}
		got, err := os.ReadFile(path)
		if err == nil && !bytes.Equal(got, want()) && len(bytes.Trim(got, "\x00")) > 0 {
			h.t.Errorf("%s: %s of snapshot %s is restored wrong", h.name, e.Name(), id.Short())
		}
		return err
	}))
}

// hostileFiles is the source of the corpus by base names.
var hostileFiles = map[string]func() []byte{
	"text":  func() []byte { return bytes.Repeat([]byte("a line of text\n"), 40) },
	"noise": func() []byte { return content(1, 700) },
	"other": func() []byte { return content(3, 900) },
	"empty": func() []byte { return nil },
}

// hostileSource writes the source to a new directory.
func hostileSource(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range sortedKeys(hostileFiles) {
		sub := filepath.Join(dir, "in-"+name)
		must(t, os.MkdirAll(sub, 0o755))
		must(t, os.WriteFile(filepath.Join(sub, name), hostileFiles[name](), 0o600))
	}
	return dir
}

func hostileBackup(ctx context.Context, r *Repository, source string) error {
	lock, err := r.LockAhead(ctx)
	if err != nil {
		return err
	}
	listing, err := r.Refresh(lock.Context())
	if err == nil {
		req := archiver.Request{Hostname: "host", Sources: []archiver.Source{{Root: source}}}
		if n := len(listing.Snapshots); n > 0 {
			req.Parent = listing.Snapshots[n-1]
		}
		var s *restic.Snapshot
		if s, _, err = archiver.Backup(lock.Context(), r, req); err == nil {
			err = r.VerifySnapshot(lock.Context(), s.ID)
		}
	}
	return errors.Join(err, lock.Unlock())
}

type corpusCase struct {
	note    hostileNote
	objects map[string][]byte
}

// readCorpus returns the sound repository and what differs in the others.
func readCorpus(t *testing.T) (*mem.Backend, map[string]corpusCase) {
	t.Helper()
	z, err := zip.OpenReader(hostileCorpus)
	must(t, err)
	defer func() { must(t, z.Close()) }()
	base, cases := mem.New(), map[string]corpusCase{}
	for _, f := range z.File {
		name, object, _ := strings.Cut(f.Name, "/")
		rd, err := f.Open()
		must(t, err)
		data, err := io.ReadAll(rd)
		must(t, err)
		must(t, rd.Close())
		if name == "base" {
			must(t, base.Put(t.Context(), parseHandle(t, object), data, backend.PutOptions{}))
			continue
		}
		c, ok := cases[name]
		if !ok {
			c.objects = map[string][]byte{}
		}
		if object == "note.json" {
			must(t, json.Unmarshal(data, &c.note))
		} else {
			c.objects[object] = data
		}
		cases[name] = c
	}
	return base, cases
}

// parseHandle reads how the corpus calls an object: its kind, a slash, its name.
func parseHandle(t *testing.T, object string) backend.Handle {
	t.Helper()
	word, name, _ := strings.Cut(object, "/")
	for kind := backend.KindConfig; kind <= backend.KindData; kind++ {
		if kind.String() == word {
			return backend.Handle{Kind: kind, Name: name}
		}
	}
	t.Fatalf("%q is no object", object)
	return backend.Handle{}
}

// readObjects returns all objects of a store.
func readObjects(t *testing.T, be backend.Backend) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	names := append(slices.Collect(maps.Keys(objectsOf(t, be))), "config")
	for _, name := range names {
		data, err := backend.ReadAll(t.Context(), be, parseHandle(t, name), 1<<30)
		if !errors.Is(err, backend.ErrNotExist) {
			must(t, err)
			out[name] = data
		}
	}
	return out
}
