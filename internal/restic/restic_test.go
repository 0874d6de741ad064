package restic

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestIDs(t *testing.T) {
	t.Parallel()
	id := Hash([]byte("abc"))
	const text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if id.String() != text || id.Short() != "ba7816bf" || id.IsNull() || !(ID{}).IsNull() {
		t.Errorf("%s, %s", id, id.Short())
	}
	if got, err := ParseID(text); err != nil || got != id {
		t.Errorf("parsed %s, %v", got, err)
	}
	for _, bad := range []string{"", text[1:], text + "0", strings.ToUpper(text), strings.Replace(text, "b", "g", 1), strings.Repeat("é", 32)} {
		if _, err := ParseID(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	b, err := json.Marshal(map[ID]*ID{id: &id})
	if want := `{"` + text + `":"` + text + `"}`; err != nil || string(b) != want {
		t.Errorf("%s, %v", b, err)
	}
	var back map[ID]*ID
	if err := json.Unmarshal(b, &back); err != nil || *back[id] != id {
		t.Errorf("%v, %v", back, err)
	}
}

// The documents are what stock restic v0.18.1 writes for such nodes: see the
// tests of package repository, which compare whole trees of its making.
func TestNodesEncodeAsStockResticDoes(t *testing.T) {
	t.Parallel()
	when := time.Date(2026, 3, 1, 12, 30, 0, 120000000, time.FixedZone("CET", 3600))
	id := ID{0xaa}
	hex := id.String()
	const times = `"mtime":"2026-03-01T11:30:00.12Z","atime":"2026-03-01T11:30:00.12Z","ctime":"2026-03-01T11:30:00.12Z"`
	node := func(n Node) *Node {
		n.ModTime, n.AccessTime, n.ChangeTime = when, when, when
		return &n
	}
	tests := map[string]struct {
		node *Node
		want string
	}{
		"file": {
			node(Node{Name: "a", Type: TypeFile, Mode: 0o644, UID: 1, GID: 2, User: "u", Group: "g", Inode: 3, DeviceID: 4, Size: 5, Links: 1, Content: []ID{id}}),
			`{"name":"a","type":"file","mode":420,` + times + `,"uid":1,"gid":2,"user":"u","group":"g","inode":3,"device_id":4,"size":5,"links":1,"content":["` + hex + `"]}`,
		},
		"empty file has a list": {
			node(Node{Name: "a", Type: TypeFile, Content: []ID{}}),
			`{"name":"a","type":"file",` + times + `,"uid":0,"gid":0,"content":[]}`,
		},
		"directory": {
			node(Node{Name: "d", Type: TypeDir, Mode: os.ModeDir | os.ModeSticky | 0o777, Subtree: &id}),
			`{"name":"d","type":"dir","mode":2148532735,` + times + `,"uid":0,"gid":0,"content":null,"subtree":"` + hex + `"}`,
		},
		"odd names": {
			node(Node{Name: "<&>\xff\n\"\\é\u2028", Type: TypeFifo, User: "<&>"}),
			`{"name":"\u003c\u0026\u003e\\xff\\n\\\"\\\\é\\u2028","type":"fifo",` + times + `,"uid":0,"gid":0,"user":"\u003c\u0026\u003e","content":null}`,
		},
		"symlink to what is not UTF-8": {
			node(Node{Name: "l", Type: TypeSymlink, LinkTarget: "t\xff"}),
			`{"name":"l","type":"symlink",` + times + `,"uid":0,"gid":0,"linktarget":"t\ufffd","linktarget_raw":"dP8=","content":null}`,
		},
		"attributes and device": {
			node(Node{Name: "x", Type: TypeCharDev, Device: 259, ExtendedAttributes: []ExtendedAttribute{{"user.a", []byte("v")}, {"user.e", nil}},
				GenericAttributes: map[string]json.RawMessage{"b": json.RawMessage(` [1, "<"] `), "a": json.RawMessage(`{}`)}, Error: "e"}),
			`{"name":"x","type":"chardev",` + times + `,"uid":0,"gid":0,"extended_attributes":[{"name":"user.a","value":"dg=="},{"name":"user.e","value":null}],"generic_attributes":{"a":{},"b":[1,"\u003c"]},"device":259,"content":null,"error":"e"}`,
		},
	}
	for name, tt := range tests {
		got, err := tt.node.AppendJSON(nil)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\ngot  %s\nwant %s", name, err, got, tt.want)
			continue
		}
		var back Node
		if err := json.Unmarshal(got, &back); err != nil || !back.Equal(tt.node) {
			t.Errorf("%s: came back as %+v, %v", name, back, err)
		}
	}
}

func TestTimesBeyondRFC3339AreClamped(t *testing.T) {
	t.Parallel()
	for _, when := range []time.Time{time.Unix(1<<40, 0), time.Unix(-1<<40, 0), {}} {
		n := &Node{Name: "a", Type: TypeFifo, ModTime: when, AccessTime: when, ChangeTime: when}
		doc, err := (&Tree{Nodes: []*Node{n}}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeTree(doc); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
}

func anyNode() *rapid.Generator[*Node] {
	name := rapid.OneOf(rapid.StringN(1, 20, 60), rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return string(b) }))
	when := rapid.Custom(func(t *rapid.T) time.Time {
		return time.Unix(rapid.Int64Range(-1<<33, 1<<36).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
	})
	id := rapid.Custom(func(t *rapid.T) ID { return Hash(rapid.SliceOf(rapid.Byte()).Draw(t, "id")) })
	types := []NodeType{TypeFile, TypeDir, TypeSymlink, TypeDevice, TypeCharDev, TypeFifo}
	return rapid.Custom(func(t *rapid.T) *Node {
		n := &Node{
			Name: name.Draw(t, "name"), Type: rapid.SampledFrom(types).Draw(t, "type"), Mode: os.FileMode(rapid.Uint32().Draw(t, "mode")),
			ModTime: when.Draw(t, "mtime"), AccessTime: when.Draw(t, "atime"), ChangeTime: when.Draw(t, "ctime"),
			UID: rapid.Uint32().Draw(t, "uid"), GID: rapid.Uint32().Draw(t, "gid"), User: rapid.String().Draw(t, "user"),
			Inode: rapid.Uint64().Draw(t, "inode"), Size: rapid.Uint64().Draw(t, "size"), Links: rapid.Uint64Range(0, 3).Draw(t, "links"),
		}
		switch n.Type {
		case TypeFile:
			n.Content = rapid.SliceOfN(id, 0, 3).Draw(t, "content")
			if n.Content == nil {
				n.Content = []ID{}
			}
		case TypeDir:
			sub := id.Draw(t, "subtree")
			n.Subtree = &sub
		case TypeSymlink:
			n.LinkTarget = name.Draw(t, "target")
		}
		if rapid.Bool().Draw(t, "xattr") {
			n.ExtendedAttributes = []ExtendedAttribute{{Name: rapid.String().Draw(t, "xname"), Value: rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(t, "xvalue")}}
		}
		return n
	})
}

func TestTreesComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		byName := make(map[string]*Node)
		var nodes []*Node
		for _, n := range rapid.SliceOfN(anyNode(), 0, 5).Draw(t, "nodes") {
			byName[n.Name] = n
		}
		for _, name := range sorted(byName) {
			nodes = append(nodes, byName[name])
		}
		doc, err := (&Tree{Nodes: nodes}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeTree(doc)
		if err != nil {
			t.Fatalf("%v\n%s", err, doc)
		}
		if len(nodes) > 0 && !reflect.DeepEqual(back.Nodes, nodes) {
			t.Fatalf("came back as\n%+v\nwant\n%+v", back.Nodes, nodes)
		}
		again, err := back.Encode()
		if err != nil || !bytes.Equal(again, doc) {
			t.Fatalf("encodes again as\n%s\nwant\n%s", again, doc)
		}
		for _, n := range nodes {
			if back.Find(n.Name) == nil {
				t.Errorf("%q is not found", n.Name)
			}
		}
		if back.Find("") != nil {
			t.Error("the empty name is found")
		}
	})
}

func sorted(m map[string]*Node) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	// Not slices.Sort of the map's keys only: the order is that of raw bytes.
	for i := range names {
		for j := i; j > 0 && names[j] < names[j-1]; j-- {
			names[j], names[j-1] = names[j-1], names[j]
		}
	}
	return names
}

func TestTreesAreInOrder(t *testing.T) {
	t.Parallel()
	a, b := &Node{Name: "a", Type: TypeFifo}, &Node{Name: "b", Type: TypeFifo}
	for name, nodes := range map[string][]*Node{"disorder": {b, a}, "duplicate": {a, a}} {
		if _, err := (&Tree{Nodes: nodes}).Encode(); !errors.Is(err, ErrTreeOrder) {
			t.Errorf("%s encodes: %v", name, err)
		}
		docA, _ := nodes[0].AppendJSON(nil)
		docB, _ := nodes[1].AppendJSON(nil)
		doc := `{"nodes":[` + string(docA) + "," + string(docB) + "]}\n"
		if _, err := DecodeTree([]byte(doc)); !errors.Is(err, ErrTreeOrder) {
			t.Errorf("%s decodes: %v", name, err)
		}
	}
	if doc, err := (&Tree{}).Encode(); err != nil || string(doc) != "{\"nodes\":[]}\n" {
		t.Errorf("%q, %v", doc, err)
	}
}

func TestTreesOfOtherWritersAreRead(t *testing.T) {
	t.Parallel()
	for name, doc := range map[string]string{
		"null nodes":           `{"nodes":null}`,
		"no nodes":             `{}`,
		"unknown field":        `{"nodes":[{"name":"a","type":"file","future":{"x":[1]},"mtime":"2026-01-01T00:00:00+01:00","atime":"2026-01-01T00:00:00Z","ctime":"2026-01-01T00:00:00Z","uid":0,"gid":0,"content":[]}]}`,
		"blanks":               " { \"nodes\" : [ {\n\"name\" : \"a\" , \"type\":\"dir\" } ] } ",
		"local time":           `{"nodes":[{"name":"a","type":"file","mtime":"2026-07-01T12:00:00.5+02:00"}]}`,
		"name that was quoted": `{"nodes":[{"name":"a\\nb","type":"file"}]}`,
	} {
		if _, err := DecodeTree([]byte(doc)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	tree, err := DecodeTree([]byte(`{"nodes":[{"name":"a\\nb","type":"file","mtime":"2026-07-01T12:00:00.5+02:00"}]}`))
	if err != nil || tree.Nodes[0].Name != "a\nb" || !tree.Nodes[0].ModTime.Equal(time.Date(2026, 7, 1, 10, 0, 0, 5e8, time.UTC)) {
		t.Errorf("%+v, %v", tree, err)
	}
	for name, doc := range map[string]string{
		"nothing": "", "null node": `{"nodes":[null]}`, "bad name": `{"nodes":[{"name":"a\\q","type":"file"}]}`,
		"trailing": `{"nodes":[]}x`, "bad id": `{"nodes":[{"name":"a","content":["xyz"]}]}`, "negative": `{"nodes":[{"name":"a","size":-1}]}`,
		"impossible day": `{"nodes":[{"name":"a","mtime":"2026-02-30T00:00:00Z"}]}`,
	} {
		if tree, err := DecodeTree([]byte(doc)); err == nil {
			t.Errorf("%s: accepted as %+v", name, tree)
		}
	}
}

// The fast decoder and encoding/json agree on everything that the fast one
// accepts.
func FuzzDecodeTree(f *testing.F) {
	id := ID{1}
	doc, err := (&Tree{Nodes: []*Node{
		{Name: "a\xff", Type: TypeFile, Content: []ID{id}, User: "u", Size: 3},
		{Name: "d", Type: TypeDir, Subtree: &id},
		{Name: "l", Type: TypeSymlink, LinkTarget: "\xfe", ExtendedAttributes: []ExtendedAttribute{{"n", []byte("v")}}},
	}}).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte(`{"nodes":[{"name":"..","type":"dir","subtree":null,"mode":07}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		fast, ok := decodeTreeFast(doc)
		var slow struct {
			Nodes []*Node `json:"nodes"`
		}
		serr := json.Unmarshal(doc, &slow)
		if ok && serr != nil {
			t.Fatalf("the fast decoder accepts what encoding/json does not: %v", serr)
		}
		tree, err := DecodeTree(doc)
		if err != nil {
			return
		}
		if ok && len(fast) != len(slow.Nodes) {
			t.Fatalf("%d nodes and %d", len(fast), len(slow.Nodes))
		}
		for i := range fast {
			if ok && !fast[i].Equal(slow.Nodes[i]) {
				t.Fatalf("node %d: %+v and %+v", i, fast[i], slow.Nodes[i])
			}
		}
		enc, err := tree.Encode()
		if err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
		back, err := DecodeTree(enc)
		if err != nil || len(back.Nodes) != len(tree.Nodes) {
			t.Fatalf("decode what was encoded: %v", err)
		}
	})
}

func TestSnapshotsComeBack(t *testing.T) {
	t.Parallel()
	tree := ID{7}
	s := &Snapshot{
		Time: time.Date(2026, 11, 25, 4, 0, 0, 1, time.FixedZone("", 7200)), Tree: &tree, Paths: []string{"/srv"}, Hostname: "h",
		Tags: TagList{"envbackup", "run=1"}, Summary: &SnapshotSummary{FilesNew: 3, TotalBytesProcessed: 9},
	}
	doc, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(doc), `{"time":"2026-11-25T02:00:00.000000001Z","tree":"07`) {
		t.Errorf("%s", doc)
	}
	back, err := DecodeSnapshot(doc)
	if err != nil || !back.Time.Equal(s.Time) || *back.Tree != tree || back.Summary.FilesNew != 3 || back.Tags[1] != "run=1" {
		t.Errorf("%+v, %v", back, err)
	}
	for _, bad := range []string{"", "{}", `{"tree":null}`, `{"tree":"xx"}`, `[]`} {
		if _, err := DecodeSnapshot([]byte(bad)); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-25T02:00:00Z","tree":"` + ID{1}.String() + `","paths":["/"],"tags":["a=b"]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		s, err := DecodeSnapshot(doc)
		if err != nil {
			return
		}
		if _, err := s.Encode(); err != nil {
			t.Fatalf("encode what was decoded: %v", err)
		}
	})
}

func TestTags(t *testing.T) {
	t.Parallel()
	l := TagList{"envbackup", "run=1", "a=b=c", "run=2"}
	if v, ok := l.Value("run"); !ok || v != "1" {
		t.Errorf("run is %q", v)
	}
	if v, ok := l.Value("a"); !ok || v != "b=c" {
		t.Errorf("a is %q", v)
	}
	if _, ok := l.Value("envbackup"); ok || !l.Has("envbackup") || l.Has("run") {
		t.Error("a tag without a value has one")
	}
	if got := l.With("run", "9").With("new", "x"); strings.Join(got, " ") != "envbackup run=9 a=b=c new=x" || l[1] != "run=1" {
		t.Errorf("%v, %v", got, l)
	}
}

func benchTree(n int) *Tree {
	t := &Tree{}
	when := time.Date(2026, 1, 1, 1, 1, 1, 123456789, time.UTC)
	for i := range n {
		id := Hash([]byte{byte(i), byte(i >> 8)})
		t.Nodes = append(t.Nodes, &Node{Name: "file-" + id.Short(), Type: TypeFile, Mode: 0o644, ModTime: when, AccessTime: when, ChangeTime: when, UID: 1000, GID: 1000, User: "user", Group: "group", Inode: 123456, DeviceID: 66, Size: 4096, Links: 1, Content: []ID{id}})
	}
	for i := range t.Nodes {
		for j := i; j > 0 && t.Nodes[j].Name < t.Nodes[j-1].Name; j-- {
			t.Nodes[j], t.Nodes[j-1] = t.Nodes[j-1], t.Nodes[j]
		}
	}
	return t
}

func BenchmarkDecodeTree(b *testing.B) {
	doc, err := benchTree(1000).Encode()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeTree(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeTree(b *testing.B) {
	tree := benchTree(1000)
	var builder TreeBuilder
	b.ReportAllocs()
	for b.Loop() {
		builder.Reset()
		for _, n := range tree.Nodes {
			if err := builder.Add(n); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(len(builder.Finish())))
	}
}
