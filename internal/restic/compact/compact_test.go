package compact_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
)

// node draws a node with every field that a document may have. Few values for
// what neighbours often share.
func node(t *rapid.T, name string) *restic.Node {
	when := func(label string) time.Time {
		return time.Unix(rapid.OneOf(rapid.Just(int64(1_700_000_000)), rapid.Int64Range(-1<<35, 1<<37)).Draw(t, label),
			rapid.Int64Range(0, 999_999_999).Draw(t, label)).UTC()
	}
	id := func() restic.ID { return restic.Hash(rapid.SliceOfN(rapid.Byte(), 0, 2).Draw(t, "id")) }
	anything := rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), func(b []byte) string { return string(b) })
	n := &restic.Node{
		Name:    name,
		Type:    rapid.SampledFrom([]restic.NodeType{restic.TypeFile, restic.TypeDir, restic.TypeSymlink, "of another program"}).Draw(t, "type"),
		Mode:    os.FileMode(rapid.SampledFrom([]uint32{0, 0o644, 1<<32 - 1}).Draw(t, "mode")),
		ModTime: when("mtime"),
		UID:     rapid.Uint32Range(0, 1).Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"),
		User: rapid.SampledFrom([]string{"", "a"}).Draw(t, "user"), Group: rapid.String().Draw(t, "group"),
		Inode: rapid.Uint64().Draw(t, "inode"), DeviceID: rapid.Uint64Range(1<<63, 1<<63+1).Draw(t, "device id"),
		Size: rapid.Uint64().Draw(t, "size"), Links: rapid.Uint64Range(0, 2).Draw(t, "links"),
	}
	n.AccessTime, n.ChangeTime = n.ModTime, n.ModTime
	if rapid.Bool().Draw(t, "other times") {
		n.AccessTime, n.ChangeTime = when("atime"), when("ctime")
	}
	for range rapid.IntRange(-1, 3).Draw(t, "blobs") {
		n.Content = append(n.Content, id())
	}
	if n.Content == nil && rapid.Bool().Draw(t, "empty list") {
		n.Content = []restic.ID{}
	}
	if rapid.Bool().Draw(t, "subtree") {
		sub := id()
		n.Subtree = &sub
	}
	if rapid.Bool().Draw(t, "rare") {
		n.LinkTarget, n.Error = anything.Draw(t, "target"), anything.Draw(t, "error")
		n.Device = rapid.Uint64().Draw(t, "device")
		n.ExtendedAttributes = []restic.ExtendedAttribute{{Name: "user.<&>", Value: []byte(anything.Draw(t, "value"))}, {Name: "user.none"}}
		n.GenericAttributes = map[string]json.RawMessage{"b": json.RawMessage(`[1, "<"]`)}
	}
	return n
}

// Issue 4, warm daemon: what is kept in memory is, in its JSON, what the
// repository has; and a reader sees in passing what the node holds.
func TestTreesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 6), func(b []byte) string { return string(b) }), 0, 12, rapid.ID).Draw(t, "names")
		slices.Sort(names)
		var nodes []*restic.Node
		for _, name := range names {
			nodes = append(nodes, node(t, name))
		}
		tree, ok := compact.Encode(nodes)
		if !ok {
			t.Fatal("the nodes cannot be kept")
		}
		r := tree.Reader()
		for i, want := range nodes {
			if !r.Next() {
				t.Fatalf("%d nodes of %d: %v", i, len(nodes), r.Err())
			}
			if got := r.Node(); !got.Equal(want) {
				t.Fatalf("came back as %+v, want %+v", got, want)
			}
			if s := r.Stat(); r.Name() != want.Name || s.Inode != want.Inode || !s.ChangeTime.Equal(want.ChangeTime) ||
				s.User != want.User || s.Size != want.Size || r.Blobs() != len(want.Content) || r.HasSubtree() != (want.Subtree != nil) {
				t.Fatalf("in passing: %q %+v, want %+v", r.Name(), s, want)
			}
			for j := range want.Content {
				if r.Blob(j) != want.Content[j] {
					t.Fatalf("blob %d of %q differs", j, want.Name)
				}
			}
		}
		if r.Next() || r.Err() != nil {
			t.Fatalf("more than %d nodes, %v", len(nodes), r.Err())
		}
	})
}

// Issue 4, warm daemon: at most 12 MiB for 100,000 files, names as long as
// those of documents usually are.
func TestTreesAreSmall(t *testing.T) {
	t.Parallel()
	var b compact.Builder
	const files = 1000
	for i := range files {
		when := time.Unix(1_700_000_000+int64(i)*7919, int64(i)*611_953).UTC()
		b.Add(&restic.Node{
			Name: fmt.Sprintf("a document of middling length %06d.json", i), Type: restic.TypeFile, Mode: 0o644,
			ModTime: when, AccessTime: when, ChangeTime: when.Add(time.Hour + 13), UID: 1000, GID: 1000, User: "app", Group: "app",
			Inode: 1<<33 + uint64(i)*17, DeviceID: 64769, Size: uint64(i) * 4001, Links: 1, Content: []restic.ID{restic.Hash([]byte{byte(i)})},
		})
	}
	tree, ok := b.Finish()
	if per := tree.Size() / files; !ok || per > 12<<20/100_000 {
		t.Errorf("%d bytes a file, want at most %d", per, 12<<20/100_000)
	}
	t.Logf("%d bytes a file", tree.Size()/files)
}

// Whatever a cache file holds in place of a tree, reading it ends with nodes
// or an error, and takes memory in proportion to what is there.
func FuzzNodes(f *testing.F) {
	id := restic.ID{1}
	whole, ok := compact.Encode([]*restic.Node{
		{Name: "a\xff", Type: restic.TypeFile, Content: []restic.ID{id, {2}}, User: "u", Size: 3, Links: 2},
		{Name: "d", Type: restic.TypeDir, Subtree: &id},
		{Name: "l", Type: restic.TypeSymlink, LinkTarget: "\xfe", ExtendedAttributes: []restic.ExtendedAttribute{{Name: "n", Value: []byte("v")}}},
	})
	if !ok {
		f.Fatal("the seed cannot be encoded")
	}
	f.Add(whole.Data())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		nodes, err := compact.FromData(data).Nodes()
		blobs := 0
		for _, n := range nodes {
			blobs += len(n.Content)
		}
		if len(nodes) > len(data)+1 || blobs > len(data)/restic.IDSize {
			t.Errorf("%d bytes become %d nodes with %d blobs", len(data), len(nodes), blobs)
		}
		if err != nil {
			return
		}
		for _, n := range nodes {
			// What came through must not break whoever writes it.
			_, _ = n.AppendJSON(nil)
		}
	})
}
