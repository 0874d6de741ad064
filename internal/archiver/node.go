package archiver

import (
	"io/fs"

	"github.com/envbackup/terraform-provider-envbackup/internal/fsmeta"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic/compact"
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
	n := new(restic.Node)
	r.describe(n, name, st)
	return n
}

// describe makes n the node that newNode returns. A node that was described
// before lends the names of its owners.
func (r *run) describe(n *restic.Node, name string, st fsmeta.Stat) {
	user, group := n.User, n.Group
	if n.Type == "" || n.UID != st.UID {
		user = r.owners.User(st.UID)
	}
	if n.Type == "" || n.GID != st.GID {
		group = r.owners.Group(st.GID)
	}
	*n = restic.Node{
		Name:       name,
		Type:       typeOf(st.Mode),
		Mode:       st.Mode,
		ModTime:    st.Mtime,
		AccessTime: st.Mtime,
		ChangeTime: st.Ctime,
		UID:        st.UID,
		GID:        st.GID,
		User:       user,
		Group:      group,
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
// signs that any write leaves. intact says that the repository has it. The device is none of them: its number may
// change with a reboot.
func (r *run) sameContent(n *restic.Node, before *compact.Reader, intact bool) bool {
	if before == nil {
		return false
	}
	old := before.Stat()
	if old.Type != restic.TypeFile || old.Inode != n.Inode || old.Size != n.Size ||
		!old.ModTime.Equal(n.ModTime) || !r.sameAttributes(n, old) {
		return false
	}
	for i := 0; !intact && i < before.Blobs(); i++ {
		// What the repository lost is read and stored again.
		if !r.repo.Has(restic.BlobHandle{ID: before.Blob(i), Type: restic.DataBlob}) {
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
