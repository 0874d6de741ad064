package restorer_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/referee"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/trees"
)

// newRepo returns an empty repository in memory.
func newRepo(t testing.TB) *repository.Repository {
	t.Helper()
	return newRepoIn(t, mem.New())
}

func newRepoIn(t testing.TB, be backend.Backend) *repository.Repository {
	t.Helper()
	repo, err := repository.Init(t.Context(), be, secret.New("password"), repository.InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repo.Close() })
	return repo
}

func backup(t testing.TB, repo archiver.Repository, parent *restic.Snapshot, roots ...string) *restic.Snapshot {
	t.Helper()
	req := archiver.Request{Hostname: "host", Parent: parent}
	for _, root := range roots {
		req.Sources = append(req.Sources, archiver.Source{Root: root})
	}
	sn, report, err := archiver.Backup(t.Context(), repo, req)
	if err != nil {
		t.Fatal(err)
	}
	if report.Partial() || report.Vanished > 0 {
		t.Fatalf("backup left out %v, %d vanished", report.Unreadable, report.Vanished)
	}
	return sn
}

func restore(t testing.TB, repo restorer.Repository, sn *restic.Snapshot, opts restorer.Options) *restorer.Report {
	t.Helper()
	report, err := restorer.Restore(t.Context(), repo, sn, opts)
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && report.WarningCount > 0 {
		t.Fatalf("restore warns: %v", report.Warnings)
	}
	return report
}

// subtree returns the tree of a directory in a snapshot.
func subtree(t testing.TB, repo trees.Source, sn *restic.Snapshot, dir string) restic.ID {
	t.Helper()
	node, err := trees.Find(t.Context(), repo, *sn.Tree, dir)
	if err != nil {
		t.Fatal(err)
	}
	return *node.Subtree
}

// A restored tree is the tree that was backed up, all metadata included, after
// any history of edits; an unchanged tree gives the same tree id.
func TestRandomTreesSurvive(t *testing.T) {
	t.Parallel()

	rounds, edits := 4, 3
	if os.Getenv("ENVBACKUP_SOAK") != "" {
		rounds, edits = 200, 8
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any seed will do
	if s := os.Getenv("ENVBACKUP_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("ENVBACKUP_SEED: %v", err)
		}
	}
	for round := range rounds {
		t.Run(fmt.Sprintf("seed %d", seed+uint64(round)), func(t *testing.T) {
			t.Parallel()
			g := newGenerator(t, seed+uint64(round))
			repo := newRepo(t)
			var sn *restic.Snapshot
			for range edits {
				g.edit()
				sn = backup(t, repo, sn, g.root)
				g.compare(repo, sn)
			}
			// The directories above the root belong to others, who may change
			// them meanwhile.
			want := subtree(t, repo, sn, g.root)
			again := backup(t, repo, sn, g.root)
			if got := subtree(t, repo, again, g.root); got != want {
				t.Errorf("nothing changed, but the tree is %s and was %s", got.Short(), want.Short())
			}
			if again.Summary.FilesNew+again.Summary.FilesChanged > 0 || again.Summary.FilesUnmodified == 0 {
				t.Errorf("nothing changed, but the summary says %+v", *again.Summary)
			}
			if got := subtree(t, repo, backup(t, repo, nil, g.root), g.root); got != want {
				t.Errorf("without a parent the tree is %s, with one %s", got.Short(), want.Short())
			}
		})
	}
}

// generator makes random trees below root and changes them.
type generator struct {
	t    testing.TB
	rng  *rand.Rand
	root string
	dirs []string
	all  []string
	// steps counts what was done, budget is what may still be written.
	steps, budget  int
	noACL, noXattr bool
}

func newGenerator(t testing.TB, seed uint64) *generator {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	root := filepath.Join(t.TempDir(), "source")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	return &generator{t: t, rng: rand.New(rand.NewChaCha8(key)), root: root, dirs: []string{root}, budget: 64 << 20}
}

func (g *generator) check(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *generator) compare(repo restorer.Repository, sn *restic.Snapshot) {
	g.t.Helper()
	target := g.t.TempDir()
	opts := restorer.Options{Target: target, Verify: g.rng.IntN(2) == 0, Sparse: g.rng.IntN(2) == 0}
	restore(g.t, repo, sn, opts)
	referee.CompareTrees(g.t, g.root, filepath.Join(target, g.root))
	g.check(os.RemoveAll(target))
}

// edit makes a number of random changes.
func (g *generator) edit() {
	for range 30 + g.rng.IntN(60) {
		g.step()
	}
	// Directories were touched by what was made in them.
	for _, d := range g.dirs {
		if g.rng.IntN(3) == 0 {
			g.metadata(d)
		}
	}
}

func (g *generator) step() {
	parent := g.dirs[g.rng.IntN(len(g.dirs))]
	p := filepath.Join(parent, g.name())
	if _, err := os.Lstat(p); err == nil {
		return
	}
	g.steps++
	switch g.rng.IntN(20) {
	case 12, 13:
		g.move(p)
	case 14:
		g.patch()
	case 15:
		g.deep(p)
	case 16:
		g.wide(p)
	case 17:
		g.removeDir()
	case 18:
		g.replace()
	case 19:
		g.holes(p)
	case 0, 1:
		g.check(os.Mkdir(p, 0o755))
		g.dirs = append(g.dirs, p)
		return
	case 2:
		g.check(os.Symlink([]string{"/nowhere", "../x\xff", "a<b>&", "."}[g.rng.IntN(4)], p))
	case 3:
		g.check(unix.Mkfifo(p, 0o640))
		g.metadata(p)
	case 4:
		if old := g.pick(); old != "" {
			g.check(os.Link(old, p))
			return
		}
	case 5:
		if old := g.pick(); old != "" { // an existing file gets other content
			g.write(old)
			return
		}
	case 6:
		if old := g.pick(); old != "" {
			g.check(os.Remove(old))
			return
		}
	case 7:
		if os.Geteuid() == 0 {
			dev := unix.Mkdev(uint32(g.rng.IntN(300)), uint32(g.rng.IntN(1000)))
			err := unix.Mknod(p, []uint32{unix.S_IFCHR, unix.S_IFBLK}[g.rng.IntN(2)]|0o600, int(dev)) //nolint:gosec // small
			if !errors.Is(err, unix.EPERM) {
				g.check(err)
			}
		}
	default:
		g.write(p)
		g.metadata(p)
		g.all = append(g.all, p)
	}
}

// pick returns a regular file that exists, or "".
func (g *generator) pick() string {
	for range 10 {
		if len(g.all) == 0 {
			return ""
		}
		p := g.all[g.rng.IntN(len(g.all))]
		if st, err := os.Lstat(p); err == nil && st.Mode().IsRegular() {
			return p
		}
	}
	return ""
}

func (g *generator) name() string {
	switch g.rng.IntN(8) {
	case 0:
		b := make([]byte, 1+g.rng.IntN(20))
		for i := range b {
			for b[i] == 0 || b[i] == '/' {
				b[i] = byte(g.rng.IntN(256))
			}
		}
		if s := string(b); s != "." && s != ".." {
			return s
		}
		return "dots"
	case 1:
		return []string{`back\slash`, `quo"te`, "new\nline", "ümlaut", "<&>", " ", "...", "\u2028"}[g.rng.IntN(8)] + strconv.Itoa(g.rng.IntN(5))
	default:
		return "f" + strconv.Itoa(g.rng.IntN(500))
	}
}

// write fills a file.
func (g *generator) write(p string) {
	data := g.content()
	size := len(data)
	f, err := os.OpenFile(p, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	g.check(err)
	_, err = f.Write(data)
	g.check(err)
	if g.rng.IntN(6) == 0 { // a hole at the end
		g.check(f.Truncate(int64(size) + int64(g.rng.IntN(2<<20))))
	}
	g.check(f.Close())
}

// metadata gives a random mode, owner, time and attributes.
func (g *generator) metadata(p string) {
	st, err := os.Lstat(p)
	g.check(err)
	if os.Geteuid() == 0 && g.rng.IntN(2) == 0 {
		g.check(os.Lchown(p, g.rng.IntN(3), g.rng.IntN(3)))
	}
	if g.rng.IntN(3) == 0 && st.Mode()&(os.ModeNamedPipe|os.ModeSymlink) == 0 {
		g.attribute(p, st.IsDir())
	}
	mode := os.FileMode(g.rng.IntN(0o1000))
	if os.Geteuid() != 0 || st.IsDir() {
		mode |= 0o700
	}
	for _, bit := range []os.FileMode{os.ModeSetuid, os.ModeSetgid, os.ModeSticky} {
		if g.rng.IntN(8) == 0 {
			mode |= bit
		}
	}
	g.check(os.Chmod(p, mode))
	if g.rng.IntN(2) == 0 {
		at := time.Unix(g.rng.Int64N(4e9)-1e9, g.rng.Int64N(1e9))
		g.check(os.Chtimes(p, at, at))
	}
}
