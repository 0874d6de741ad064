package restorer_test

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// boundaries are the sizes at which a file is treated differently: none at
// all, the blocks of sparse files, text that is compressed thoroughly, files
// that are read as one piece, the least, usual and greatest piece.
var boundaries = []int{0, 1, 4 << 10, 16 << 10, 512 << 10, 1 << 20, 4 << 20}

// content returns what a file is to hold: a size on, before or behind a
// boundary or a small one; zeros, text or random bytes; sometimes what another
// file has.
func (g *generator) content() []byte {
	size := max(boundaries[g.rng.IntN(len(boundaries))]+g.rng.IntN(3)-1, 0)
	if g.rng.IntN(2) == 0 || size > g.budget {
		size = g.rng.IntN(3000)
	}
	g.budget -= size
	data := make([]byte, size)
	var key [32]byte
	key[0] = byte(g.rng.IntN(40)) // some files are equal
	source := rand.NewChaCha8(key)
	switch g.rng.IntN(4) {
	case 0: // zeros
	case 1: // text
		const words = "the quick brown fox jumps over the lazy dog, and nobody minds\n"
		for i := 0; i < size; {
			from := int(source.Uint64() % uint64(len(words))) //nolint:gosec // small
			i += copy(data[i:], words[from:])
		}
	default:
		_, _ = source.Read(data)
	}
	return data
}

// move gives an entry another name, in another directory too.
func (g *generator) move(to string) {
	old := g.pick()
	if g.rng.IntN(3) == 0 && len(g.dirs) > 1 {
		old = g.dirs[1+g.rng.IntN(len(g.dirs)-1)]
	}
	if old == "" || strings.HasPrefix(to, old) { // not into itself
		return
	}
	g.check(os.Rename(old, to))
	for _, list := range [][]string{g.dirs, g.all} {
		for i, p := range list {
			if p == old || strings.HasPrefix(p, old+"/") {
				list[i] = to + p[len(old):]
			}
		}
	}
}

// patch changes some bytes of a file and nothing else that a glance would
// show: size and modification time stay.
func (g *generator) patch() {
	p := g.pick()
	if p == "" {
		return
	}
	st, err := os.Lstat(p)
	g.check(err)
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	g.check(err)
	if st.Size() > 0 {
		_, err = f.WriteAt([]byte{byte(g.rng.IntN(256))}, g.rng.Int64N(st.Size()))
		g.check(err)
	}
	g.check(f.Close())
	g.check(os.Chtimes(p, st.ModTime(), st.ModTime()))
}

// deep makes directories within each other, with the longest names there are.
func (g *generator) deep(p string) {
	for range 1 + g.rng.IntN(12) {
		if len(p) > 2500 { // paths end at 4096, and the target comes in front
			break
		}
		g.check(os.Mkdir(p, 0o755))
		g.dirs = append(g.dirs, p)
		name := g.name()
		if g.rng.IntN(4) == 0 {
			name = strings.Repeat("x", 255)
		}
		p = filepath.Join(p, name)
	}
}

// wide makes a directory of many small files.
func (g *generator) wide(p string) {
	if g.rng.IntN(4) > 0 {
		return
	}
	g.check(os.Mkdir(p, 0o755))
	g.dirs = append(g.dirs, p)
	for i := range 300 {
		file := filepath.Join(p, "entry "+strconv.Itoa(i))
		g.check(os.WriteFile(file, strconv.AppendInt(nil, int64(i%50), 10), 0o644))
		g.all = append(g.all, file)
	}
}

// removeDir removes a directory with all that is in it.
func (g *generator) removeDir() {
	if len(g.dirs) < 4 || g.rng.IntN(2) == 0 {
		return
	}
	gone := g.dirs[1+g.rng.IntN(len(g.dirs)-1)]
	g.check(os.RemoveAll(gone))
	g.forget(gone)
}

// forget takes a directory off the list, with those below it.
func (g *generator) forget(gone string) {
	kept := g.dirs[:0]
	for _, d := range g.dirs {
		if d != gone && !strings.HasPrefix(d, gone+"/") {
			kept = append(kept, d)
		}
	}
	g.dirs = kept
}

// replace puts something of another type in place of a file.
func (g *generator) replace() {
	p := g.pick()
	if p == "" {
		return
	}
	g.check(os.Remove(p))
	if g.rng.IntN(2) == 0 {
		g.check(os.Symlink("elsewhere", p))
		return
	}
	g.check(os.Mkdir(p, 0o755))
	g.dirs = append(g.dirs, p)
}

// holes makes a file with content between holes.
func (g *generator) holes(p string) {
	f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	g.check(err)
	end := g.rng.Int64N(3 << 20)
	for range g.rng.IntN(4) {
		at := g.rng.Int64N(end + 1)
		if g.rng.IntN(2) == 0 {
			at &^= 4<<10 - 1
		}
		_, err := f.WriteAt(g.content(), at)
		g.check(err)
	}
	g.check(f.Truncate(end))
	g.check(f.Close())
	g.all = append(g.all, p)
}

// attribute gives an extended attribute or an access control list, where the
// file system has them.
func (g *generator) attribute(p string, dir bool) {
	var err error
	switch {
	case !g.noACL && g.rng.IntN(3) == 0:
		name := "system.posix_acl_access"
		if dir && g.rng.IntN(2) == 0 {
			name = "system.posix_acl_default"
		}
		if err = unix.Setxattr(p, name, g.acl(), 0); errors.Is(err, unix.ENOTSUP) {
			g.noACL, err = true, nil
		}
	case !g.noXattr:
		name := "user.a" + strconv.Itoa(g.rng.IntN(3))
		if os.Geteuid() == 0 && g.rng.IntN(4) == 0 {
			name = "trusted.t"
		}
		value := make([]byte, []int{0, 1, 2, 300}[g.rng.IntN(4)])
		for i := range value {
			value[i] = byte(g.rng.IntN(256))
		}
		if err = unix.Setxattr(p, name, value, 0); errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
			g.noXattr, err = true, nil
		}
	}
	if errors.Is(err, unix.ENOSPC) { // a file system gives them a block of its own
		err = nil
	}
	g.check(err)
}

// acl returns an access control list as the kernel takes it: the owner, a
// user, the group, the mask and the others.
func (g *generator) acl() []byte {
	const none = 0xffffffff
	b := binary.LittleEndian.AppendUint32(nil, 2)                                                                                // the version
	for _, e := range []struct{ tag, id uint32 }{{1, none}, {2, uint32(1 + g.rng.IntN(5))}, {4, none}, {16, none}, {32, none}} { //nolint:gosec // small
		b = binary.LittleEndian.AppendUint16(b, uint16(e.tag))         //nolint:gosec // small
		b = binary.LittleEndian.AppendUint16(b, uint16(g.rng.IntN(8))) //nolint:gosec // small
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}
