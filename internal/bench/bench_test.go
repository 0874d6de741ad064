package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// TestMain lets the test binary stand in for the program as a child of itself,
// and as the provider that the SDK serves.
func TestMain(m *testing.M) {
	if served, err := servedBySDK(os.Args[1:]); served {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == "child" {
		if err := dispatch(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tiny is enough for every discipline to do its work.
var tiny = extent{Rounds: 1, SmallFiles: 120, PruneFiles: 120, Snapshots: 6, Keep: 2, Schedules: 3, Backups: 2_000, GoCopies: 1, DumpBytes: 3 << 20, RandBytes: 2 << 20}

// TestEveryContenderDoesTheWork runs the real programs through disciplines on
// a real store, restores compared and repositories checked on the way. It
// takes every discipline of the near way, and one of the far.
func TestEveryContenderDoesTheWork(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs restic and kopia for half a minute")
	}
	b := newTestBench(t)
	for _, d := range disciplines(tiny) {
		if d.far && d.name != "nochange-warm"+farSuffix {
			continue
		}
		r, err := b.do(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.order) == 0 && findTerraform() == "" {
			continue // there was nobody to measure
		}
		for _, bar := range d.bars {
			f := figureOf(bar, r)
			if f.ours <= 0 || f.peer <= 0 {
				t.Errorf("%s: measured ours=%v peer=%v", f.name, f.ours, f.peer)
			}
		}
		for _, name := range r.order {
			if n := len(r.samples[name]); n != b.extent.Rounds {
				t.Errorf("%s: %d runs of %s, want %d", d.name, n, name, b.extent.Rounds)
			}
		}
	}
	if err := b.check(t.Context()); err != nil {
		t.Error(err)
	}
}

func newTestBench(t *testing.T) *bench {
	t.Helper()
	for _, tool := range []tooltest.Tool{tooltest.Versitygw, tooltest.Restic, tooltest.Kopia} {
		t.Setenv(tool.Env, tooltest.Binary(t, tool))
	}
	b, _, stop, err := assemble(t.Context(), options{extent: tiny, kopiaRestore: true}, t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	// The Go installation is 15,000 files; its smallest command will do.
	b.goroot = filepath.Join(b.goroot, "src", "cmd", "gofmt")
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestADifferenceIsFound is for the proof that a restore is right: a comparison
// that finds nothing would prove nothing.
func TestADifferenceIsFound(t *testing.T) {
	t.Parallel()
	edits := map[string]func(file string) error{
		"content":     func(file string) error { return os.WriteFile(file, []byte("other"), 0o644) },
		"a file less": os.Remove,
		"a mode":      func(file string) error { return os.Chmod(file, 0o600) },
	}
	for name, damage := range edits {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := makeTree(t), makeTree(t)
			if err := compare(a, b, compareButTime); err != nil {
				t.Fatalf("equal trees: %v", err)
			}
			if err := damage(filepath.Join(b, "000", "000", "000007.json")); err != nil {
				t.Fatal(err)
			}
			if err := compare(a, b, compareButTime); err == nil {
				t.Error("it was not noticed")
			}
		})
	}
}

func TestTimesCountWhereTheyShould(t *testing.T) {
	t.Parallel()
	a, b := makeTree(t), makeTree(t)
	if err := os.Chtimes(filepath.Join(b, "000"), stamp, stamp); err != nil {
		t.Fatal(err)
	}
	if err := compare(a, b, compareAll); err == nil {
		t.Error("a directory's other time was not noticed")
	}
	if err := compare(a, b, compareButTime); err != nil {
		t.Errorf("times should not count: %v", err)
	}
}

func makeTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	if err := generate(t.Context(), smallTree, dir, "", tiny); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTreesAreTheSameEachTime is what makes figures of two days comparable.
func TestTreesAreTheSameEachTime(t *testing.T) {
	t.Parallel()
	goroot := filepath.Join(t.TempDir(), "goroot")
	if err := os.MkdirAll(goroot, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(goroot, "a.go"), bytes.Repeat([]byte("package a\n"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	var digests []string
	for range 2 {
		dir := filepath.Join(t.TempDir(), "tree")
		if err := generate(t.Context(), mixedTree, dir, goroot, tiny); err != nil {
			t.Fatal(err)
		}
		for round := range 3 {
			if _, err := change(t.Context(), dir, round); err != nil {
				t.Fatal(err)
			}
		}
		digests = append(digests, digest(t, dir))
	}
	if digests[0] != digests[1] {
		t.Error("the same seed and the same rounds of change made two different trees")
	}
}

// digest hashes names and contents.
func digest(t *testing.T, dir string) string {
	t.Helper()
	hash := sha256.New()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		_, _ = fmt.Fprintf(hash, "%s %x\n", strings.TrimPrefix(path, dir), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", hash.Sum(nil))
}

func TestARoundChangesOneFileInAHundred(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "tree")
	if err := writeSmall(t.Context(), dir, 1000); err != nil {
		t.Fatal(err)
	}
	before := digest(t, dir)
	n, err := change(t.Context(), dir, 4)
	if err != nil {
		t.Fatal(err)
	}
	if n != 10 {
		t.Errorf("%d of 1000 files changed, want 10", n)
	}
	if digest(t, dir) == before {
		t.Error("no content changed")
	}
}

// TestCopiesShareNoBlock keeps the second copy of the Go installation from
// being deduplicated away.
func TestCopiesShareNoBlock(t *testing.T) {
	t.Parallel()
	from := t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "f"), bytes.Repeat([]byte{7}, 64<<10), 0o644); err != nil {
		t.Fatal(err)
	}
	seen := map[string]byte{}
	for mark := range byte(3) {
		to := filepath.Join(t.TempDir(), "copy")
		if err := copyTree(t.Context(), from, to, mark); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(filepath.Join(to, "f"))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(data); i += 4096 {
			block := string(data[i : i+4096])
			if other, ok := seen[block]; ok && other != mark {
				t.Fatalf("copies %d and %d share the block at %d", other, mark, i)
			}
			seen[block] = mark
		}
	}
}

// TestChildrenAreMeasuredWithTheirChildren proves the figures themselves: the
// work here is done by a grandchild.
func TestChildrenAreMeasuredWithTheirChildren(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dd"); err != nil {
		tooltest.Unavailable(t, "there is no dd: %v", err)
	}
	script := `dd if=/dev/zero bs=64M count=4 2>/dev/null | cksum >/dev/null; echo done`
	s, out, err := run(t.Context(), command{args: []string{"/bin/sh", "-c", script}, env: environment(t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != "done\n" {
		t.Errorf("output %q", out)
	}
	if s.RSS < 64<<20 {
		t.Errorf("peak memory %d, but a child of the child held 64 MiB", s.RSS)
	}
	if s.CPU < 10*time.Millisecond {
		t.Errorf("CPU time %v for the sum of 256 MiB", s.CPU)
	}
}

func TestAFailureSaysWhatWasRunAndWhatItSaid(t *testing.T) {
	t.Parallel()
	_, _, err := run(t.Context(), command{args: []string{"/bin/sh", "-c", "echo the disk is full >&2; exit 3"}, env: environment(t.TempDir())})
	if err == nil || !strings.Contains(err.Error(), "the disk is full") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
}

// TestSettingsOfADeveloperStayOut keeps a benchmark from writing to whatever
// repository a developer's shell points at.
func TestSettingsOfADeveloperStayOut(t *testing.T) {
	for _, name := range []string{"RESTIC_REPOSITORY", "AWS_PROFILE", "KOPIA_PASSWORD", "BENCH_PROFILES"} {
		t.Setenv(name, "mine")
	}
	for _, variable := range environment(t.TempDir()) {
		if strings.HasSuffix(variable, "=mine") {
			t.Errorf("a child inherits %s", variable)
		}
	}
}

func TestTheFarWayIsSlowAndComplete(t *testing.T) {
	t.Parallel()
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = r.Host + " " + r.Header.Get("Authorization") + " " + string(body)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer server.Close()
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	far := httptest.NewServer(lagHandler(target, farDelay))
	defer far.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, far.URL+"/bench/key", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "signed")
	began := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if took := time.Since(began); took < farDelay {
		t.Errorf("the answer came after %v, want at least %v", took, farDelay)
	}
	// The signature covers the host that the client used.
	if want := request.URL.Host + " signed body"; got != want {
		t.Errorf("the server saw %q, want %q", got, want)
	}
	if response.StatusCode != http.StatusTeapot {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestLinesSayWhatWasMeasured(t *testing.T) {
	t.Parallel()
	r := &result{
		order: []string{oursName, resticName, kopiaName, tarName},
		samples: map[string][]sample{
			oursName:   {{Wall: 2 * time.Second, RSS: 100 << 20}, {Wall: 4 * time.Second, RSS: 300 << 20}, {Wall: 3 * time.Second, RSS: 200 << 20}},
			resticName: {{Wall: 9 * time.Second, RSS: 400 << 20}},
			kopiaName:  {{Wall: 6 * time.Second, RSS: 600 << 20}},
			tarName:    {{Wall: time.Second}},
		},
		stored: map[string]usage{oursName: {Objects: 3, Bytes: 102e6}, resticName: {Objects: 3, Bytes: 100e6}},
		bytes:  900e6,
	}
	staged := &result{order: r.order[:1], samples: r.samples, stages: []stageRate{{Bytes: 600e6, Wall: time.Second}}, bytes: 900e6}
	tests := map[string]struct {
		bar    bar
		result *result
		want   string
	}{
		"the best peer counts, and tar is none": {
			bar{name: "full", metric: wallSeconds, value: 2, unit: "s"}, r,
			"BENCH full ours=3.00 peer=6.00 unit=s ratio=2.00 bar=2 ok",
		},
		"a named peer counts alone": {
			bar{name: "full-restic", metric: wallSeconds, against: []string{resticName}, value: 3.1, unit: "s"}, r,
			"BENCH full-restic ours=3.00 peer=9.00 unit=s ratio=3.00 bar=3.1 short",
		},
		"a limit binds our own figure": {
			bar{name: "rss", metric: peakRSS, value: 199, unit: "MiB", limit: true}, r,
			"BENCH rss ours=200 peer=400 unit=MiB ratio=2.00 bar=199 short",
		},
		"within two percent of restic's size": {
			bar{name: "stored", metric: storedBytes, against: []string{resticName}, value: 0.98, unit: "MB"}, r,
			"BENCH stored ours=102 peer=100 unit=MB ratio=0.98 bar=0.98 ok",
		},
		"more is better for a rate": {
			bar{name: "stage-limit", metric: rate, against: []string{stagesName}, value: 0.6, unit: "MB/s", more: true}, staged,
			"BENCH stage-limit ours=300 peer=600 unit=MB/s ratio=0.50 bar=0.6 short",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := figureOf(test.bar, test.result).line(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestBestRunsAndCPUAreComparedToo is for a busy machine, on which one run of
// three may be the only true one.
func TestBestRunsAndCPUAreComparedToo(t *testing.T) {
	t.Parallel()
	r := &result{order: []string{oursName, resticName, kopiaName}, samples: map[string][]sample{
		oursName:   {{Wall: 2 * time.Second, CPU: time.Second}, {Wall: 9 * time.Second, CPU: time.Second}},
		resticName: {{Wall: 4 * time.Second, CPU: 5 * time.Second}, {Wall: 5 * time.Second, CPU: 5 * time.Second}},
		kopiaName:  {{Wall: 5 * time.Second, CPU: 3 * time.Second}},
	}}
	f := figureOf(wallBar("full", 2), r)
	if f.byBest != 2 || f.byCPU != 3 {
		t.Errorf("ratios of the best runs %v and of CPU %v, want 2 and 3", f.byBest, f.byCPU)
	}
}

// TestAloneThereIsNothingToCompare is about a run for a profile.
func TestAloneThereIsNothingToCompare(t *testing.T) {
	t.Parallel()
	for _, d := range disciplines(tiny) {
		r := &result{discipline: d, order: []string{oursName}, samples: map[string][]sample{oursName: {{Wall: time.Second}}}}
		if found := figures([]*result{r}, regexp.MustCompile("")); len(found) > 0 {
			t.Errorf("%s compares with nobody: %s", d.name, found[0].line())
		}
	}
}

// TestEveryPromisedFigureHasALine holds the names that scripts select by.
func TestEveryPromisedFigureHasALine(t *testing.T) {
	t.Parallel()
	names := map[string]int{}
	for _, d := range disciplines(tiny) {
		for _, b := range d.bars {
			names[b.name]++
		}
	}
	for _, want := range []string{"full-mixed", "full-small", "nochange-cold", "nochange-warm", "changed-1pct", "restore-mixed", "prune-200-20"} {
		for _, suffix := range []string{"", farSuffix} {
			if names[want+suffix] != 1 {
				t.Errorf("%s has %d lines, want 1", want+suffix, names[want+suffix])
			}
		}
	}
	for _, want := range []string{"rss-full", "rss-restore", "rss-nochange", "stage-limit", "plan-3", "plan-3-cpu", "plan-3-requests", "simulate-10y", "preflight-2k"} {
		if names[want] != 1 {
			t.Errorf("%s has %d lines, want 1", want, names[want])
		}
	}
	o := options{pattern: regexp.MustCompile("^rss-restore$"), named: true, extent: tiny}
	if chosen := o.selected(); len(chosen) != 1 || chosen[0].name != "restore-mixed" {
		t.Errorf("rss-restore selects %v", chosen)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	if got := median([]int64{9, 1, 5}); got != 5 {
		t.Errorf("median of three is %d", got)
	}
	if got := median([]float64{4, 1, 9, 2}); got != 3 {
		t.Errorf("median of four is %v", got)
	}
}

func TestRecordReplacesTheTablesOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "B.md")
	if err := os.WriteFile(path, []byte("before\n"+recordBegin+"\nold\n"+recordEnd+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tables := range []string{"first", "second"} {
		if err := record(path, tables); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\n" + recordBegin + "\n\nsecond\n" + recordEnd + "\nafter\n"; string(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := os.WriteFile(path, []byte("no markers"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := record(path, "x"); err == nil {
		t.Error("a file without markers was overwritten")
	}
}

func TestStagesReadAShareOfTheTree(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	dir := makeTree(t)
	if err := stages(t.Context(), dir, &out); err != nil {
		t.Fatal(err)
	}
	var s stageRate
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if _, bytes, _ := treeSize(dir); s.Bytes != bytes || s.Wall <= 0 {
		t.Errorf("the stages saw %d bytes in %v, the tree has %d", s.Bytes, s.Wall, bytes)
	}
}
