// Package fsmeta is the archiver's and the restorer's view of a file system:
// directories as handles, entries by name within them, and all of an entry's
// metadata. It decides nothing about backups; it makes sure that a path is
// never followed through a symbolic link that somebody puts there meanwhile,
// because every step goes through an open directory.
//
// Only Linux is implemented. Elsewhere the package compiles and every call
// fails with errors.ErrUnsupported, because the same program is a Terraform
// provider on other systems.
package fsmeta

import (
	"io/fs"
	"os/user"
	"strconv"
	"sync"
	"time"
)

// Stat is what lstat says about an entry.
type Stat struct {
	Mode         fs.FileMode // type and permissions in Go's notation
	Dev          uint64
	Ino          uint64
	Nlink        uint64
	Rdev         uint64 // device number of a device
	UID, GID     uint32
	Size         int64
	Mtime, Ctime time.Time // UTC
}

// Same reports whether two results belong to one state of one file: neither
// content nor metadata changed between them.
func (s Stat) Same(o Stat) bool {
	return s.Mode == o.Mode && s.Dev == o.Dev && s.Ino == o.Ino && s.Nlink == o.Nlink && s.UID == o.UID &&
		s.GID == o.GID && s.Size == o.Size && s.Mtime.Equal(o.Mtime) && s.Ctime.Equal(o.Ctime)
}

// Xattr is one extended attribute.
type Xattr struct {
	Name  string
	Value []byte
}

// Owners turns numbers into the names of users and groups, asking the system
// once for each. The zero value is ready; it is safe for concurrent use.
type Owners struct {
	users, groups sync.Map // uint32 -> string
}

// User returns the name of a user, or "" when the system knows none.
func (o *Owners) User(uid uint32) string {
	return lookup(&o.users, uid, func(id string) string {
		if u, err := user.LookupId(id); err == nil {
			return u.Username
		}
		return ""
	})
}

// Group returns the name of a group, or "" when the system knows none.
func (o *Owners) Group(gid uint32) string {
	return lookup(&o.groups, gid, func(id string) string {
		if g, err := user.LookupGroupId(id); err == nil {
			return g.Name
		}
		return ""
	})
}

func lookup(known *sync.Map, id uint32, ask func(string) string) string {
	if name, ok := known.Load(id); ok {
		return name.(string) //nolint:forcetypeassert // only strings are stored
	}
	name := ask(strconv.FormatUint(uint64(id), 10))
	known.Store(id, name)
	return name
}
