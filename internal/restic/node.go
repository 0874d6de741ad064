package restic

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// NodeType says what a node is in its file system.
type NodeType string

// The types of nodes. Sockets and irregular files occur in trees of other
// programs only.
const (
	TypeFile      NodeType = "file"
	TypeDir       NodeType = "dir"
	TypeSymlink   NodeType = "symlink"
	TypeDevice    NodeType = "dev"
	TypeCharDev   NodeType = "chardev"
	TypeFifo      NodeType = "fifo"
	TypeSocket    NodeType = "socket"
	TypeIrregular NodeType = "irregular"
)

// Node is one entry of a directory.
type Node struct {
	// Name is the raw name, any bytes. Names from a repository are untrusted.
	Name string
	Type NodeType
	// Mode has Go's bits for type, setuid, setgid and sticky.
	Mode       os.FileMode
	ModTime    time.Time
	AccessTime time.Time
	ChangeTime time.Time
	UID        uint32
	GID        uint32
	User       string
	Group      string
	Inode      uint64
	DeviceID   uint64 // of the file system that holds the node
	Size       uint64 // in bytes, of files only
	Links      uint64
	LinkTarget string // raw, any bytes

	ExtendedAttributes []ExtendedAttribute
	GenericAttributes  map[string]json.RawMessage

	Device uint64 // of a device node: its number
	// Content is the blobs of a file in order. A file always has a list, also
	// when it is empty; every other node has nil.
	Content []ID
	Subtree *ID
	Error   string
}

// ExtendedAttribute is one extended attribute; Value may be empty.
type ExtendedAttribute struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// AppendJSON appends the node's JSON to dst exactly as stock restic encodes
// it, so that equal directories of both programs are equal blobs: the order of
// the fields, empty ones left out, names quoted as Go strings inside the JSON
// string, and "<", ">" and "&" escaped.
func (n *Node) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"name":`...)
	dst = appendQuotedName(dst, n.Name)
	dst = append(dst, `,"type":`...)
	dst = appendString(dst, string(n.Type))
	if n.Mode != 0 {
		dst = append(dst, `,"mode":`...)
		dst = strconv.AppendUint(dst, uint64(n.Mode), 10)
	}
	dst = appendTime(dst, `,"mtime":"`, n.ModTime)
	dst = appendTime(dst, `,"atime":"`, n.AccessTime)
	dst = appendTime(dst, `,"ctime":"`, n.ChangeTime)
	dst = append(dst, `,"uid":`...)
	dst = strconv.AppendUint(dst, uint64(n.UID), 10)
	dst = append(dst, `,"gid":`...)
	dst = strconv.AppendUint(dst, uint64(n.GID), 10)
	dst = appendStringField(dst, `,"user":`, n.User)
	dst = appendStringField(dst, `,"group":`, n.Group)
	dst = appendUintField(dst, `,"inode":`, n.Inode)
	dst = appendUintField(dst, `,"device_id":`, n.DeviceID)
	dst = appendUintField(dst, `,"size":`, n.Size)
	dst = appendUintField(dst, `,"links":`, n.Links)
	dst = appendStringField(dst, `,"linktarget":`, n.LinkTarget)
	if n.LinkTarget != "" && !utf8.ValidString(n.LinkTarget) {
		dst = append(dst, `,"linktarget_raw":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, []byte(n.LinkTarget))
		dst = append(dst, '"')
	}
	dst = appendAttributes(dst, n.ExtendedAttributes)
	dst, err := appendGeneric(dst, n.GenericAttributes)
	if err != nil {
		return nil, fmt.Errorf("encode node %q: %w", n.Name, err)
	}
	dst = appendUintField(dst, `,"device":`, n.Device)
	dst = append(dst, `,"content":`...)
	if n.Content == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, '[')
		for i := range n.Content {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '"')
			dst = n.Content[i].AppendHex(dst)
			dst = append(dst, '"')
		}
		dst = append(dst, ']')
	}
	if n.Subtree != nil {
		dst = append(dst, `,"subtree":"`...)
		dst = n.Subtree.AppendHex(dst)
		dst = append(dst, '"')
	}
	dst = appendStringField(dst, `,"error":`, n.Error)
	return append(dst, '}'), nil
}

func appendUintField(dst []byte, key string, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, key...), v, 10)
}

func appendStringField(dst []byte, key, s string) []byte {
	if s == "" {
		return dst
	}
	return appendString(append(dst, key...), s)
}

func appendTime(dst []byte, key string, t time.Time) []byte {
	dst = append(dst, key...)
	dst = clampTime(t).AppendFormat(dst, time.RFC3339Nano)
	return append(dst, '"')
}

// clampTime brings t into UTC and into the years that RFC 3339 can write. A
// damaged file system can hold times beyond them, and they must not make a
// directory impossible to back up.
func clampTime(t time.Time) time.Time {
	t = t.UTC()
	switch y := t.Year(); {
	case y < 0:
		return time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	case y > 9999:
		return time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC)
	default:
		return t
	}
}

func appendAttributes(dst []byte, attrs []ExtendedAttribute) []byte {
	if len(attrs) == 0 {
		return dst
	}
	dst = append(dst, `,"extended_attributes":[`...)
	for i, a := range attrs {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"name":`...)
		dst = appendString(dst, a.Name)
		if a.Value == nil {
			dst = append(dst, `,"value":null}`...)
			continue
		}
		dst = append(dst, `,"value":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, a.Value)
		dst = append(dst, `"}`...)
	}
	return append(dst, ']')
}

func appendGeneric(dst []byte, attrs map[string]json.RawMessage) ([]byte, error) {
	if len(attrs) == 0 {
		return dst, nil
	}
	dst = append(dst, `,"generic_attributes":{`...)
	for i, key := range slices.Sorted(maps.Keys(attrs)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, key)
		dst = append(dst, ':')
		// json.Marshal compacts a raw message and escapes HTML in it.
		v, err := json.Marshal(attrs[key])
		if err != nil {
			return nil, fmt.Errorf("attribute %q: %w", key, err)
		}
		dst = append(dst, v...)
	}
	return append(dst, '}'), nil
}

// appendString appends s as encoding/json would, HTML escaping included.
func appendString(dst []byte, s string) []byte {
	if plainJSON(s) {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	b, err := json.Marshal(s)
	if err != nil {
		// Marshal of a string cannot fail: invalid UTF-8 is replaced.
		panic(err)
	}
	return append(dst, b...)
}

func plainJSON(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20 || c >= 0x7f, c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

// appendQuotedName appends the name as a Go string literal without its quotes,
// encoded once more as a JSON string. That is how the format carries names
// that are not UTF-8.
func appendQuotedName(dst []byte, name string) []byte {
	if plainJSON(name) {
		dst = append(dst, '"')
		dst = append(dst, name...)
		return append(dst, '"')
	}
	q := strconv.Quote(name)
	return appendString(dst, q[1:len(q)-1])
}

// unquoteName undoes appendQuotedName on the decoded JSON string.
func unquoteName(s string) (string, error) {
	if plainJSON(s) {
		return s, nil
	}
	name, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		return "", fmt.Errorf("decode node name %.80q: %w", s, err)
	}
	return name, nil
}

// wireNode is what encoding/json reads when the fast decoder meets something
// that it does not know.
type wireNode struct {
	Name               string                     `json:"name"`
	Type               NodeType                   `json:"type"`
	Mode               os.FileMode                `json:"mode"`
	ModTime            time.Time                  `json:"mtime"`
	AccessTime         time.Time                  `json:"atime"`
	ChangeTime         time.Time                  `json:"ctime"`
	UID                uint32                     `json:"uid"`
	GID                uint32                     `json:"gid"`
	User               string                     `json:"user"`
	Group              string                     `json:"group"`
	Inode              uint64                     `json:"inode"`
	DeviceID           uint64                     `json:"device_id"`
	Size               uint64                     `json:"size"`
	Links              uint64                     `json:"links"`
	LinkTarget         string                     `json:"linktarget"`
	LinkTargetRaw      []byte                     `json:"linktarget_raw"`
	ExtendedAttributes []ExtendedAttribute        `json:"extended_attributes"`
	GenericAttributes  map[string]json.RawMessage `json:"generic_attributes"`
	Device             uint64                     `json:"device"`
	Content            []ID                       `json:"content"`
	Subtree            *ID                        `json:"subtree"`
	Error              string                     `json:"error"`
}

// UnmarshalJSON reads one node. Unknown fields are ignored.
func (n *Node) UnmarshalJSON(b []byte) error {
	var w wireNode
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	name, err := unquoteName(w.Name)
	if err != nil {
		return err
	}
	*n = Node{
		Name: name, Type: w.Type, Mode: w.Mode,
		ModTime: w.ModTime, AccessTime: w.AccessTime, ChangeTime: w.ChangeTime,
		UID: w.UID, GID: w.GID, User: w.User, Group: w.Group,
		Inode: w.Inode, DeviceID: w.DeviceID, Size: w.Size, Links: w.Links,
		LinkTarget:         w.LinkTarget,
		ExtendedAttributes: w.ExtendedAttributes, GenericAttributes: w.GenericAttributes,
		Device: w.Device, Content: w.Content, Subtree: w.Subtree, Error: w.Error,
	}
	if len(w.LinkTargetRaw) > 0 {
		n.LinkTarget = string(w.LinkTargetRaw)
	}
	return nil
}

// MarshalJSON is AppendJSON for encoding/json.
func (n *Node) MarshalJSON() ([]byte, error) { return n.AppendJSON(nil) }

// Equal reports whether two nodes have the same encoding.
func (n *Node) Equal(other *Node) bool {
	a, errA := n.AppendJSON(nil)
	b, errB := other.AppendJSON(nil)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}
