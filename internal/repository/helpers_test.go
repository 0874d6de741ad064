package repository

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/local"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

const testPassword = "correct horse battery staple"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// masterKeys remembers the keys of the repositories that tests made, so that
// opening one again costs no key derivation: under the race detector that is
// most of the time. Open itself has tests of its own.
var masterKeys sync.Map // of restic.ID of the key file to *crypto.Key

// newRepo makes a repository in be and loads its (empty) index.
func newRepo(t testing.TB, be backend.Backend, opts ...Option) *Repository {
	t.Helper()
	r, err := Init(t.Context(), be, secret.New(testPassword), InitOptions{}, opts...)
	must(t, err)
	masterKeys.Store(r.keyID, r.key)
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

func reopen(t testing.TB, be backend.Backend, opts ...Option) *Repository {
	t.Helper()
	r, err := openTest(t, be, opts)
	must(t, err)
	must(t, r.LoadIndex(t.Context()))
	t.Cleanup(func() { must(t, r.Close()) })
	return r
}

func openTest(t testing.TB, be backend.Backend, opts []Option) (*Repository, error) {
	ids, err := listIDs(t.Context(), be, backend.KindKey)
	must(t, err)
	for _, id := range ids {
		if key, ok := masterKeys.Load(id); ok {
			key := key.(*crypto.Key)
			cfg, err := readConfig(t.Context(), be, key)
			must(t, err)
			return newRepository(be, id, key, cfg, currentIdentity(), opts), nil
		}
	}
	return Open(t.Context(), be, secret.New(testPassword), opts...)
}

func openLocal(t testing.TB, dir string) backend.Backend {
	t.Helper()
	be, err := local.Open(dir)
	must(t, err)
	return be
}

// content returns n bytes that follow from the seed: half of them compress.
func content(seed uint64, n int) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		v := rng.Uint64()
		if seed%2 == 0 {
			v &= 0x0f0f0f0f0f0f0f0f
		}
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b[:n]
}

// files is a flat directory by name; backup makes a snapshot of it.
type files map[string][][]byte // chunks

func backup(ctx context.Context, r *Repository, when time.Time, dirs map[string]files) (*restic.Snapshot, error) {
	root := &restic.Tree{}
	for _, dir := range sortedKeys(dirs) {
		tree := &restic.Tree{}
		for _, name := range sortedKeys(dirs[dir]) {
			n := &restic.Node{Name: name, Type: restic.TypeFile, Mode: 0o640, ModTime: when, AccessTime: when, ChangeTime: when, Content: []restic.ID{}, Links: 1}
			ids := make([]restic.ID, len(dirs[dir][name]))
			g, gctx := errgroup.WithContext(ctx)
			for i, chunk := range dirs[dir][name] {
				n.Size += uint64(len(chunk))
				g.Go(func() (err error) {
					ids[i], _, _, err = r.SaveBlob(gctx, restic.DataBlob, chunk)
					return err
				})
			}
			if err := g.Wait(); err != nil {
				return nil, err
			}
			n.Content = append(n.Content, ids...)
			tree.Nodes = append(tree.Nodes, n)
		}
		doc, err := tree.Encode()
		if err != nil {
			return nil, err
		}
		id, _, _, err := r.SaveTree(ctx, doc)
		if err != nil {
			return nil, err
		}
		root.Nodes = append(root.Nodes, &restic.Node{Name: dir, Type: restic.TypeDir, Mode: os.ModeDir | 0o750, ModTime: when, AccessTime: when, ChangeTime: when, Subtree: &id})
	}
	doc, err := root.Encode()
	if err != nil {
		return nil, err
	}
	id, _, _, err := r.SaveTree(ctx, doc)
	if err != nil {
		return nil, err
	}
	if err := r.Flush(ctx); err != nil {
		return nil, err
	}
	s := &restic.Snapshot{Time: when, Tree: &id, Paths: []string{"/"}, Hostname: "test", Username: "tester", Tags: restic.TagList{"envbackup"}, ProgramVersion: "envbackup test"}
	_, err = r.SaveSnapshot(ctx, s)
	return s, err
}

func mustBackup(t testing.TB, r *Repository, when time.Time, dirs map[string]files) *restic.Snapshot {
	t.Helper()
	s, err := backup(t.Context(), r, when, dirs)
	must(t, err)
	return s
}

// compareSnapshot reads every byte of the snapshot and compares.
func compareSnapshot(ctx context.Context, r *Repository, s *restic.Snapshot, dirs map[string]files) error {
	root, err := r.LoadTree(ctx, *s.Tree)
	if err != nil {
		return err
	}
	if len(root.Nodes) != len(dirs) {
		return fmt.Errorf("%d directories, want %d", len(root.Nodes), len(dirs))
	}
	for _, d := range root.Nodes {
		tree, err := r.LoadTree(ctx, *d.Subtree)
		if err != nil {
			return err
		}
		if len(tree.Nodes) != len(dirs[d.Name]) {
			return fmt.Errorf("%s: %d files, want %d", d.Name, len(tree.Nodes), len(dirs[d.Name]))
		}
		for _, n := range tree.Nodes {
			want := dirs[d.Name][n.Name]
			if len(n.Content) != len(want) {
				return fmt.Errorf("%s: %d blobs, want %d", n.Name, len(n.Content), len(want))
			}
			for i, id := range n.Content {
				got, err := r.LoadBlob(ctx, restic.BlobHandle{ID: id, Type: restic.DataBlob}, nil)
				if err != nil {
					return err
				}
				if !slices.Equal(got, want[i]) {
					return fmt.Errorf("%s: blob %d differs", n.Name, i)
				}
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// day returns a fixed instant.
func day(n int) time.Time { return time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

// sample is a little tree that changes with the generation.
func sample(generation int) map[string]files {
	g := uint64(generation)
	return map[string]files{
		"stable":  {"big": {content(1, 300_000), content(2, 200_000)}, "empty": {}, "small": {content(3, 10)}},
		"changes": {"log": {content(4, 50_000), content(100+g, 60_000)}, fmt.Sprint("new-", generation): {content(200+g, 40_000)}},
	}
}

// counting fails the nth change of the store and every call after it, like a
// process that dies there.
type counting struct {
	backend.Backend

	mu      sync.Mutex
	changes int
	failAt  int // 0 never
	dead    bool
	half    bool // of a batch delete, half is done before the failure
}

var errDead = &backend.Error{Op: "test", Kind: backend.Permanent, Message: "the process died here"}

func (c *counting) change() (last bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return false, errDead
	}
	c.changes++
	if c.failAt > 0 && c.changes >= c.failAt {
		c.dead = true
		return true, errDead
	}
	return false, nil
}

func (c *counting) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if _, err := c.change(); err != nil {
		return err
	}
	return c.Backend.Put(ctx, h, data, opt)
}

func (c *counting) Delete(ctx context.Context, handles ...backend.Handle) error {
	last, err := c.change()
	if last && c.half {
		if err := c.Backend.Delete(ctx, handles[:len(handles)/2]...); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return c.Backend.Delete(ctx, handles...)
}

func copyToDir(t testing.TB, from *mem.Backend) string {
	t.Helper()
	dir := t.TempDir() + "/repo"
	to := openLocal(t, dir)
	copyAll(t, from, to)
	return dir
}

func copyAll(t testing.TB, from, to backend.Backend) {
	t.Helper()
	ctx := context.Background()
	cp := func(h backend.Handle) {
		data, err := backend.ReadAll(ctx, from, h, 1<<30)
		must(t, err)
		must(t, to.Put(ctx, h, data, backend.PutOptions{}))
	}
	cp(configHandle)
	for kind := backend.KindKey; kind <= backend.KindData; kind++ {
		must(t, from.List(ctx, kind, func(name string, _ int64, _ time.Time) error {
			cp(backend.Handle{Kind: kind, Name: name})
			return nil
		}))
	}
}
