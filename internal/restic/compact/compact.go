// Package compact keeps the documents of directories in little memory: about
// 80 bytes an entry, where decoded nodes take 400 and the JSON 350. It decides
// how nodes lie in memory; which directories are worth keeping, and whether
// they are still true of a repository, is for others to decide.
//
// The form is no format: it is stored in caches of this host only, which begin
// anew when their version changes, as it must when the form does. What is
// decoded equals what was encoded in every field, so that its JSON does, too.
package compact

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// Tree is the nodes of a directory. It never changes, so it may be shared. The
// zero Tree is a directory without entries.
type Tree struct{ data string }

// Size is what the tree takes in memory, in bytes.
func (t Tree) Size() int { return len(t.data) }

// Data is the tree as bytes, for FromData of the same version of this program.
func (t Tree) Data() []byte { return []byte(t.data) }

// FromData returns the tree with these bytes. Those that are none make a
// Reader end with an error.
func FromData(data []byte) Tree { return Tree{data: string(data)} }

// What an entry holds, and which of it is as in the entry before.
const (
	sameKind = 1 << iota // type and mode
	sameOwner
	sameDevice
	accessIsMod
	changeIsMod
	oneLink
	oneBlob
	hasContent // a list of blobs other than one
	hasSubtree
	hasRare
)

// rare is what few nodes have.
type rare struct {
	LinkTarget []byte                     `json:"l,omitempty"` // any bytes
	Attributes []restic.ExtendedAttribute `json:"x,omitempty"`
	Generic    map[string]json.RawMessage `json:"g,omitempty"`
	Device     uint64                     `json:"d,omitempty"`
	Error      []byte                     `json:"e,omitempty"`
}

// Builder makes trees and keeps its memory between them. The zero Builder is
// ready. It belongs to one goroutine.
type Builder struct {
	buf  []byte
	last restic.Node
	any  bool
	err  error
}

// Add appends a node. Nodes must come in the order of their names.
func (b *Builder) Add(n *restic.Node) {
	if b.err != nil {
		return
	}
	last := &b.last
	flags, tail := b.describe(n)
	buf := binary.AppendUvarint(b.buf, flags)
	buf = appendBytes(buf, n.Name)
	if flags&sameKind == 0 {
		buf = appendBytes(buf, string(n.Type))
		buf = binary.AppendUvarint(buf, uint64(n.Mode))
	}
	buf = appendTime(buf, n.ModTime, last.ModTime)
	if flags&accessIsMod == 0 {
		buf = appendTime(buf, n.AccessTime, n.ModTime)
	}
	if flags&changeIsMod == 0 {
		buf = appendTime(buf, n.ChangeTime, n.ModTime)
	}
	if flags&sameOwner == 0 {
		buf = binary.AppendUvarint(buf, uint64(n.UID))
		buf = binary.AppendUvarint(buf, uint64(n.GID))
		buf = appendBytes(buf, n.User)
		buf = appendBytes(buf, n.Group)
	}
	if flags&sameDevice == 0 {
		buf = binary.AppendUvarint(buf, n.DeviceID)
	}
	buf = binary.AppendVarint(buf, int64(n.Inode-last.Inode)) //nolint:gosec // wraps, and back when it is added
	buf = binary.AppendUvarint(buf, n.Size)
	if flags&oneLink == 0 {
		buf = binary.AppendUvarint(buf, n.Links)
	}
	if flags&hasContent != 0 {
		buf = binary.AppendUvarint(buf, uint64(len(n.Content)))
	}
	for i := range n.Content {
		buf = append(buf, n.Content[i][:]...)
	}
	if n.Subtree != nil {
		buf = append(buf, n.Subtree[:]...)
	}
	if flags&hasRare != 0 {
		buf = binary.AppendUvarint(buf, uint64(len(tail)))
		buf = append(buf, tail...)
	}
	b.buf, b.last, b.any = buf, *n, true
}

// describe returns the flags of a node and its rare fields.
func (b *Builder) describe(n *restic.Node) (flags uint64, tail []byte) {
	last := &b.last
	set := func(flag uint64, on bool) {
		if on {
			flags |= flag
		}
	}
	set(sameKind, b.any && n.Type == last.Type && n.Mode == last.Mode)
	set(sameOwner, b.any && n.UID == last.UID && n.GID == last.GID && n.User == last.User && n.Group == last.Group)
	set(sameDevice, b.any && n.DeviceID == last.DeviceID)
	set(accessIsMod, n.AccessTime.Equal(n.ModTime))
	set(changeIsMod, n.ChangeTime.Equal(n.ModTime))
	set(oneLink, n.Links == 1)
	set(oneBlob, len(n.Content) == 1)
	set(hasContent, n.Content != nil && len(n.Content) != 1)
	set(hasSubtree, n.Subtree != nil)
	if n.LinkTarget == "" && len(n.ExtendedAttributes) == 0 && len(n.GenericAttributes) == 0 && n.Device == 0 && n.Error == "" {
		return flags, nil
	}
	tail, b.err = json.Marshal(rare{
		LinkTarget: []byte(n.LinkTarget), Attributes: n.ExtendedAttributes, Generic: n.GenericAttributes,
		Device: n.Device, Error: []byte(n.Error),
	})
	return flags | hasRare, tail
}

// Finish returns the tree and makes the builder ready for the next. ok is
// false when a node cannot be kept in this form.
func (b *Builder) Finish() (t Tree, ok bool) {
	t, ok = Tree{data: string(b.buf)}, b.err == nil
	*b = Builder{buf: b.buf[:0]}
	return t, ok
}

// Encode returns the tree of the nodes.
func Encode(nodes []*restic.Node) (t Tree, ok bool) {
	var b Builder
	for _, n := range nodes {
		b.Add(n)
	}
	return b.Finish()
}

func appendBytes(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendTime appends a time as its distance from another.
func appendTime(dst []byte, t, from time.Time) []byte {
	dst = binary.AppendVarint(dst, t.Unix()-from.Unix())
	return binary.AppendUvarint(dst, uint64(t.Nanosecond())) //nolint:gosec // not negative
}

// errDamaged says that a tree in memory is not what Builder made.
var errDamaged = errors.New("a directory that was kept in memory is damaged, is the memory of this machine sound?")

// Reader reads the nodes of a tree in order. It allocates next to nothing
// until Node is called.
type Reader struct {
	rest    string
	node    restic.Node // without name, blobs and rare fields
	name    string
	content string
	subtree string
	tail    string
	listed  bool // the content is a list, though it may be empty
	err     error
}

// Reader returns a reader before the first node.
func (t Tree) Reader() Reader { return Reader{rest: t.data} }

// Err returns what ended the nodes too early, or nil.
func (r *Reader) Err() error { return r.err }

// Name returns the name of the current node. It aliases the tree's memory.
func (r *Reader) Name() string { return r.name }

// Stat returns the current node as lstat would describe it: without name, link
// target, attributes, content and subtree. It is valid until Next.
func (r *Reader) Stat() *restic.Node { return &r.node }

// HasSubtree reports whether the current node has one.
func (r *Reader) HasSubtree() bool { return r.subtree != "" }

// Blobs returns how many blobs the current node's content has.
func (r *Reader) Blobs() int { return len(r.content) / restic.IDSize }

// Blob returns the i-th blob of the current node's content.
func (r *Reader) Blob(i int) (id restic.ID) {
	copy(id[:], r.content[i*restic.IDSize:])
	return id
}

// Next goes on to the next node, the first one at first. It is false at the
// end and when Err is not nil.
func (r *Reader) Next() bool {
	if r.err != nil || r.rest == "" {
		return false
	}
	n := &r.node
	flags := r.uvarint()
	r.name = r.bytes()
	if flags&sameKind == 0 {
		n.Type = restic.NodeType(r.bytes())
		n.Mode = os.FileMode(r.uvarint()) //nolint:gosec // as it was encoded
	}
	n.ModTime = r.time(n.ModTime)
	n.AccessTime, n.ChangeTime = n.ModTime, n.ModTime
	if flags&accessIsMod == 0 {
		n.AccessTime = r.time(n.ModTime)
	}
	if flags&changeIsMod == 0 {
		n.ChangeTime = r.time(n.ModTime)
	}
	if flags&sameOwner == 0 {
		n.UID, n.GID = uint32(r.uvarint()), uint32(r.uvarint()) //nolint:gosec // as they were encoded
		n.User, n.Group = r.bytes(), r.bytes()
	}
	if flags&sameDevice == 0 {
		n.DeviceID = r.uvarint()
	}
	n.Inode += uint64(r.varint()) //nolint:gosec // see Add
	n.Size = r.uvarint()
	n.Links = 1
	if flags&oneLink == 0 {
		n.Links = r.uvarint()
	}
	blobs := uint64(0)
	switch {
	case flags&oneBlob != 0:
		blobs = 1
	case flags&hasContent != 0:
		blobs = r.uvarint()
	}
	r.listed = flags&(oneBlob|hasContent) != 0
	r.subtree, r.tail = "", ""
	r.content = r.take(blobs, restic.IDSize)
	if flags&hasSubtree != 0 {
		r.subtree = r.take(1, restic.IDSize)
	}
	if flags&hasRare != 0 {
		r.tail = r.bytes()
	}
	return r.err == nil
}

// Node returns the current node in full. It belongs to the caller. On a
// failure, which Err then tells, it is incomplete.
func (r *Reader) Node() *restic.Node {
	n := r.node
	n.Name = r.name
	if r.listed {
		n.Content = make([]restic.ID, r.Blobs())
		for i := range n.Content {
			n.Content[i] = r.Blob(i)
		}
	}
	if r.subtree != "" {
		n.Subtree = new(restic.ID)
		copy(n.Subtree[:], r.subtree)
	}
	if r.tail != "" {
		var more rare
		if err := json.Unmarshal([]byte(r.tail), &more); err != nil {
			r.err = errDamaged
		}
		n.LinkTarget, n.Error, n.Device = string(more.LinkTarget), string(more.Error), more.Device
		n.ExtendedAttributes, n.GenericAttributes = more.Attributes, more.Generic
	}
	return &n
}

// Nodes returns all nodes of the tree.
func (t Tree) Nodes() ([]*restic.Node, error) {
	var nodes []*restic.Node
	r := t.Reader()
	for r.Next() {
		nodes = append(nodes, r.Node())
	}
	return nodes, r.Err()
}

func (r *Reader) fail() {
	r.err, r.rest = errDamaged, ""
}

func (r *Reader) uvarint() uint64 {
	var v uint64
	for i := 0; i < len(r.rest) && i < binary.MaxVarintLen64; i++ {
		c := r.rest[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.rest = r.rest[i+1:]
			return v
		}
	}
	r.fail()
	return 0
}

func (r *Reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1) //nolint:gosec // zigzag
}

func (r *Reader) bytes() string { return r.take(r.uvarint(), 1) }

// take returns the next n pieces of a size.
func (r *Reader) take(n uint64, size int) string {
	if n > uint64(len(r.rest)/size) {
		r.fail()
		return ""
	}
	s := r.rest[:int(n)*size] //nolint:gosec // checked above
	r.rest = r.rest[len(s):]
	return s
}

func (r *Reader) time(from time.Time) time.Time {
	sec := from.Unix() + r.varint()
	return time.Unix(sec, int64(r.uvarint())).UTC() //nolint:gosec // as it was encoded
}
