package archiver

import (
	"io/fs"

	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// typeOf returns the node type for a mode, and "" for what is not backed up:
// sockets mean nothing without the program that listens.
func typeOf(mode fs.FileMode) restic.NodeType {
	switch mode & fs.ModeType {
	case 0:
		return restic.TypeFile
	case fs.ModeDir:
		return restic.TypeDir
	case fs.ModeSymlink:
		return restic.TypeSymlink
	case fs.ModeDevice:
		return restic.TypeDevice
	case fs.ModeDevice | fs.ModeCharDevice:
		return restic.TypeCharDev
	case fs.ModeNamedPipe:
		return restic.TypeFifo
	default:
		return ""
	}
}

// newNode returns the node for an entry, without content, link target and
// attributes. As stock restic does by default, the access time is the time of
// the last change: reading must not make a difference.
func (r *run) newNode(name string, st fsmeta.Stat) *restic.Node {
	n := &restic.Node{
		Name:       name,
		Type:       typeOf(st.Mode),
		Mode:       st.Mode,
		ModTime:    st.Mtime,
		AccessTime: st.Mtime,
		ChangeTime: st.Ctime,
		UID:        st.UID,
		GID:        st.GID,
		User:       r.owners.User(st.UID),
		Group:      r.owners.Group(st.GID),
		Inode:      st.Ino,
		DeviceID:   st.Dev,
	}
	switch n.Type {
	case restic.TypeFile:
		n.Size = uint64(max(st.Size, 0)) //nolint:gosec // not negative
		n.Links = st.Nlink
		n.Content = []restic.ID{}
	case restic.TypeDevice, restic.TypeCharDev:
		n.Device = st.Rdev
		n.Links = st.Nlink
	case restic.TypeSymlink:
		n.Links = st.Nlink
	}
	return n
}

// sameMeta reports whether two nodes agree in everything that lstat sees. The
// time of the last change covers what it does not: attributes, link target,
// content.
func sameMeta(a, b *restic.Node) bool {
	return a.Type == b.Type && a.Mode == b.Mode && a.Inode == b.Inode && a.DeviceID == b.DeviceID &&
		a.UID == b.UID && a.GID == b.GID && a.Links == b.Links && a.Size == b.Size && a.Device == b.Device &&
		a.ModTime.Equal(b.ModTime) && a.ChangeTime.Equal(b.ChangeTime) && a.User == b.User && a.Group == b.Group
}

// sameContent reports whether a file's content is that of the old node, by the
// signs that any write leaves. The device is none of them: its number may
// change with a reboot.
func (r *run) sameContent(n, old *restic.Node) bool {
	if old == nil || old.Type != restic.TypeFile || old.Inode != n.Inode || old.Size != n.Size ||
		!old.ModTime.Equal(n.ModTime) || !r.sameAttributes(n, old) {
		return false
	}
	for _, id := range old.Content {
		// What the repository lost is read and stored again.
		if !r.repo.Has(restic.BlobHandle{ID: id, Type: restic.DataBlob}) {
			return false
		}
	}
	return true
}

// sameAttributes reports whether attributes and link target are surely those
// of the old node.
func (r *run) sameAttributes(n, old *restic.Node) bool {
	return old != nil && old.Type == n.Type && old.ChangeTime.Equal(n.ChangeTime) && n.ChangeTime.Before(r.settledBefore)
}

// setXattrs puts attributes into a node.
func setXattrs(n *restic.Node, attrs []fsmeta.Xattr) {
	n.ExtendedAttributes = nil
	for _, a := range attrs {
		n.ExtendedAttributes = append(n.ExtendedAttributes, restic.ExtendedAttribute{Name: a.Name, Value: a.Value})
	}
}
