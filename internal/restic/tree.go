package restic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic/jsonscan"
)

// MaxTreeSize bounds the JSON of one directory, in bytes: about two million
// entries.
const MaxTreeSize = 1 << 30

// ErrTreeOrder reports nodes that are not in strictly increasing order of
// their raw names. Readers merge directories by that order, and a duplicate
// name could hide a file.
var ErrTreeOrder = errors.New("nodes of a tree are not in strictly increasing order of names")

// Tree is the document of one directory: its nodes, strictly increasing by
// raw name bytes.
type Tree struct {
	Nodes []*Node
}

// TreeBuilder encodes a tree node by node, so that a large directory needs no
// list of its nodes. The zero TreeBuilder is ready; Reset makes it so again.
type TreeBuilder struct {
	buf  []byte
	last string
	any  bool
}

// Reset forgets all nodes and keeps the memory.
func (b *TreeBuilder) Reset() { b.buf, b.last, b.any = b.buf[:0], "", false }

// Grow makes room for n more bytes of the document at once. A document of a
// hundred megabytes would else be copied several times while it grows.
func (b *TreeBuilder) Grow(n int) { b.buf = slices.Grow(b.buf, n) }

// Add appends a node. It returns ErrTreeOrder, wrapped, for a name that is not
// greater than the last one.
func (b *TreeBuilder) Add(n *Node) error {
	if b.any && n.Name <= b.last {
		return fmt.Errorf("add node %q after %q: %w", n.Name, b.last, ErrTreeOrder)
	}
	if b.any {
		b.buf = append(b.buf, ',')
	} else {
		b.buf = append(b.buf[:0], `{"nodes":[`...)
	}
	buf, err := n.AppendJSON(b.buf)
	if err != nil {
		return err
	}
	b.buf, b.last, b.any = buf, n.Name, true
	return nil
}

// Finish returns the document, which aliases the builder's memory until the
// next Reset.
func (b *TreeBuilder) Finish() []byte {
	if !b.any {
		b.buf = append(b.buf[:0], `{"nodes":[`...)
	}
	b.buf = append(b.buf, "]}\n"...)
	return b.buf
}

// Encode returns the tree's document, byte by byte what stock restic writes
// for the same nodes. The nodes must be in order.
func (t *Tree) Encode() ([]byte, error) {
	var b TreeBuilder
	for _, n := range t.Nodes {
		if err := b.Add(n); err != nil {
			return nil, fmt.Errorf("encode tree: %w", err)
		}
	}
	return b.Finish(), nil
}

// Find returns the node with the name, or nil.
func (t *Tree) Find(name string) *Node {
	lo, hi := 0, len(t.Nodes)
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); t.Nodes[mid].Name < name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(t.Nodes) && t.Nodes[lo].Name == name {
		return t.Nodes[lo]
	}
	return nil
}

// DecodeTree reads a tree's document. It does not keep b. Names are untrusted
// (see Node); the order of the nodes is checked.
func DecodeTree(b []byte) (*Tree, error) {
	if len(b) > MaxTreeSize {
		return nil, fmt.Errorf("decode tree: %d bytes are more than the limit of %d", len(b), MaxTreeSize)
	}
	nodes, ok := decodeTreeFast(b)
	if !ok {
		var doc struct {
			Nodes []*Node `json:"nodes"`
		}
		if err := json.Unmarshal(b, &doc); err != nil {
			return nil, fmt.Errorf("decode tree: %w", err)
		}
		nodes = doc.Nodes
	}
	for i, n := range nodes {
		if n == nil {
			return nil, errors.New("decode tree: a node is null")
		}
		if i > 0 && n.Name <= nodes[i-1].Name {
			return nil, fmt.Errorf("decode tree: %q after %q: %w", n.Name, nodes[i-1].Name, ErrTreeOrder)
		}
	}
	return &Tree{Nodes: nodes}, nil
}

// treeDecoder reads the shape that restic programs write. The strings that
// most nodes share are made once.
type treeDecoder struct {
	s     *jsonscan.Scanner
	slab  []Node
	words map[string]string
}

func decodeTreeFast(b []byte) ([]*Node, bool) {
	// Counting is cheap and makes one allocation of what would be ten; a
	// hostile count is bounded by the bytes that spell it.
	count := bytes.Count(b, []byte(`"subtree":`)) + bytes.Count(b, []byte(`"type":"file"`))
	d := &treeDecoder{s: jsonscan.New(b), words: make(map[string]string, 8)}
	nodes := make([]*Node, 0, count)
	d.slab = make([]Node, 0, min(max(count, 1), 64))
	ok := d.s.Object(func(key []byte) bool {
		if string(key) != "nodes" || len(nodes) > 0 {
			return false
		}
		return d.s.Array(func() bool {
			n := d.alloc()
			if !d.node(n) {
				return false
			}
			nodes = append(nodes, n)
			return true
		})
	})
	return nodes, ok && d.s.End()
}

func (d *treeDecoder) alloc() *Node {
	if len(d.slab) == cap(d.slab) {
		d.slab = make([]Node, 0, 64)
	}
	d.slab = d.slab[:len(d.slab)+1]
	return &d.slab[len(d.slab)-1]
}

func (d *treeDecoder) node(n *Node) bool {
	return d.s.Object(func(key []byte) bool { return d.field(n, key) })
}

func (d *treeDecoder) field(n *Node, key []byte) (ok bool) {
	switch string(key) {
	case "name":
		var quoted string
		if quoted, ok = d.s.String(); !ok {
			return false
		}
		name, err := unquoteName(quoted)
		n.Name = name
		return err == nil
	case "type":
		var t string
		t, ok = d.word()
		n.Type = NodeType(t)
	case "mode":
		var v uint64
		v, ok = d.s.Uint(math.MaxUint32)
		n.Mode = os.FileMode(v)
	case "mtime":
		return d.time(&n.ModTime)
	case "atime":
		return d.time(&n.AccessTime)
	case "ctime":
		return d.time(&n.ChangeTime)
	case "uid":
		return d.uint32(&n.UID)
	case "gid":
		return d.uint32(&n.GID)
	case "user":
		n.User, ok = d.word()
	case "group":
		n.Group, ok = d.word()
	case "inode":
		n.Inode, ok = d.s.Uint(math.MaxUint64)
	case "device_id":
		n.DeviceID, ok = d.s.Uint(math.MaxUint64)
	case "size":
		n.Size, ok = d.s.Uint(math.MaxUint64)
	case "links":
		n.Links, ok = d.s.Uint(math.MaxUint64)
	case "device":
		n.Device, ok = d.s.Uint(math.MaxUint64)
	case "linktarget":
		n.LinkTarget, ok = d.s.String()
	case "error":
		n.Error, ok = d.s.String()
	case "content":
		return d.content(n)
	case "subtree":
		id := new(ID)
		n.Subtree = id
		return d.id(id)
	case "extended_attributes":
		return d.raw(&n.ExtendedAttributes)
	case "generic_attributes":
		return d.raw(&n.GenericAttributes)
	case "linktarget_raw":
		var raw []byte
		ok = d.raw(&raw)
		n.LinkTarget = string(raw)
	default:
		return false
	}
	return ok
}

func (d *treeDecoder) raw(dst any) bool {
	v, ok := d.s.Value()
	return ok && json.Unmarshal(v, dst) == nil
}

// word reads a string of which there are few different ones in a tree.
func (d *treeDecoder) word() (string, bool) {
	b, ok := d.s.Raw()
	if !ok {
		return "", false
	}
	if w, ok := d.words[string(b)]; ok {
		return w, true
	}
	w := string(b)
	d.words[w] = w
	return w, true
}

func (d *treeDecoder) uint32(dst *uint32) bool {
	v, ok := d.s.Uint(math.MaxUint32)
	*dst = uint32(v)
	return ok
}

func (d *treeDecoder) id(dst *ID) bool {
	b, ok := d.s.Raw()
	if !ok {
		return false
	}
	*dst, ok = ParseIDBytes(b)
	return ok
}

func (d *treeDecoder) content(n *Node) bool {
	if d.s.Null() {
		n.Content = nil
		return true
	}
	content := []ID{}
	ok := d.s.Array(func() bool {
		var id ID
		if !d.id(&id) {
			return false
		}
		if cap(content) == 0 {
			// Most files are one blob.
			content = make([]ID, 0, 1)
		}
		content = append(content, id)
		return true
	})
	n.Content = content
	return ok
}

func (d *treeDecoder) time(dst *time.Time) bool {
	b, ok := d.s.Raw()
	if !ok {
		return false
	}
	if t, ok := parseUTC(b); ok {
		*dst = t
		return true
	}
	t, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return false
	}
	*dst = t.UTC()
	return true
}

// parseUTC reads "2006-01-02T15:04:05[.fraction]Z", what we write ourselves,
// several times faster than time.Parse.
func parseUTC(b []byte) (time.Time, bool) {
	if len(b) < len("2006-01-02T15:04:05Z") || len(b) > len("2006-01-02T15:04:05.123456789Z") || b[len(b)-1] != 'Z' {
		return time.Time{}, false
	}
	if b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' {
		return time.Time{}, false
	}
	ok := true
	num := func(from, to int) (v int) {
		for _, c := range b[from:to] {
			if c < '0' || c > '9' {
				ok = false
			}
			v = v*10 + int(c-'0')
		}
		return v
	}
	year, month, day := num(0, 4), num(5, 7), num(8, 10)
	hour, minute, sec := num(11, 13), num(14, 16), num(17, 19)
	nsec := 0
	if frac := b[19 : len(b)-1]; len(frac) > 0 {
		if frac[0] != '.' || len(frac) == 1 {
			return time.Time{}, false
		}
		nsec = num(20, len(b)-1)
		for range 9 - (len(frac) - 1) {
			nsec *= 10
		}
	}
	if !ok || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || sec > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, sec, nsec, time.UTC)
	return t, t.Day() == day
}
