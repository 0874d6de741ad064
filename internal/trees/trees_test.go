package trees_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/trees"
)

// memory is trees by their ids.
type memory map[restic.ID]*restic.Tree

func (m memory) LoadTree(_ context.Context, id restic.ID) (*restic.Tree, error) {
	t, ok := m[id]
	if !ok {
		return nil, fmt.Errorf("tree %s is gone", id.Short())
	}
	return &restic.Tree{Nodes: slices.Clone(t.Nodes)}, nil
}

// add stores a tree of nodes in order.
func (m memory) add(nodes ...*restic.Node) restic.ID {
	t := &restic.Tree{Nodes: nodes}
	doc, err := t.Encode()
	if err != nil {
		panic(err)
	}
	id := restic.Hash(doc)
	m[id] = t
	return id
}

func file(name string) *restic.Node { return &restic.Node{Name: name, Type: restic.TypeFile} }

func dir(name string, tree restic.ID) *restic.Node {
	return &restic.Node{Name: name, Type: restic.TypeDir, Subtree: &tree}
}

// walk returns what Walk visits, errors marked with an exclamation mark.
func walk(t *testing.T, m memory, root restic.ID, skip string) []string {
	t.Helper()
	var got []string
	err := trees.Walk(t.Context(), m, root, func(p string, n *restic.Node, err error) error {
		if err != nil {
			p += "!"
		}
		got = append(got, p)
		if p == skip {
			return trees.ErrSkipDir
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWalkGoesInOrderAndSkips(t *testing.T) {
	t.Parallel()

	m := memory{}
	root := m.add(dir("a", m.add(file("x"), file("y"))), file("b"), dir("c", m.add()))
	if got, want := walk(t, m, root, ""), []string{"a", "a/x", "a/y", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("walked %q, want %q", got, want)
	}
	if got, want := walk(t, m, root, "a"), []string{"a", "b", "c"}; !slices.Equal(got, want) {
		t.Errorf("walked %q, want %q", got, want)
	}
}

func TestHostileAndBrokenNodesAreReported(t *testing.T) {
	t.Parallel()

	m := memory{}
	var gone restic.ID
	root := m.add(file(""), file("."), dir("..", m.add(file("below"))), file("a\x00"), file("a/b"),
		dir("gone", gone), &restic.Node{Name: "hollow", Type: restic.TypeDir}, file("z"))
	want := []string{"!", "!", "!", "!", "!", "gone", "gone!", "hollow", "hollow!", "z"}
	if got := walk(t, m, root, ""); !slices.Equal(got, want) {
		t.Errorf("walked %q, want %q", got, want)
	}
}

func TestWalkEnds(t *testing.T) {
	t.Parallel()

	m := memory{}
	root := m.add(file("a"), file("b"))
	stop := errors.New("stop")
	n := 0
	visit := func(string, *restic.Node, error) error { n++; return stop }
	if err := trees.Walk(t.Context(), m, root, visit); !errors.Is(err, stop) || n != 1 {
		t.Errorf("Walk() = %v after %d nodes, want the function's error after one", err, n)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if err := trees.Walk(ctx, m, root, visit); !errors.Is(err, stop) || n != 1 {
		t.Errorf("Walk() = %v, want the cause of the cancellation", err)
	}
	// A forged directory that contains itself does not run the stack over.
	self := restic.ID{1}
	m[self] = &restic.Tree{Nodes: []*restic.Node{dir("d", self)}}
	if err := trees.Walk(t.Context(), m, self, func(_ string, _ *restic.Node, err error) error { return err }); err == nil {
		t.Error("Walk() of an endless tree = nil, want an error")
	}
}

func TestFind(t *testing.T) {
	t.Parallel()

	m := memory{}
	root := m.add(dir("a", m.add(file("x\xff"))), file("b"))
	for p, want := range map[string]string{"/a": "a", "a/": "a", "/a/x\xff": "x\xff", "/b": "b", "/": "", "": "", "/a/../b": "b"} {
		n, err := trees.Find(t.Context(), m, root, p)
		if err != nil || n.Name != want {
			t.Errorf("Find(%q) = %v, %v, want %q", p, n, err, want)
		}
	}
	for _, p := range []string{"/c", "/a/y", "/b/x", strings.Repeat("/a", 5)} {
		if _, err := trees.Find(t.Context(), m, root, p); !errors.Is(err, trees.ErrNoPath) {
			t.Errorf("Find(%q) = %v, want ErrNoPath", p, err)
		}
	}
}
