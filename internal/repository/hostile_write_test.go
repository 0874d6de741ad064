package repository

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// forger makes one repository of the corpus out of the sound one.
type forger struct {
	t  *testing.T
	r  *Repository
	be *mem.Backend
}

// hostileCase is a repository of the corpus: what forge does to the sound one,
// which operations must then fail, and the expression that their errors match.
// forge returns the expression, mostly the id of the object to be named.
type hostileCase struct {
	fails string
	forge func(f *forger) string
}

func (f *forger) one(kind backend.Kind) restic.ID {
	ids, err := listIDs(f.t.Context(), f.be, kind)
	must(f.t, err)
	return ids[0]
}

// packOf returns the first pack with blobs of a type, and these.
func (f *forger) packOf(t restic.BlobType) (restic.ID, []PackedBlob) {
	ids, err := listIDs(f.t.Context(), f.be, backend.KindData)
	must(f.t, err)
	for _, id := range ids {
		var places []PackedBlob
		for _, b := range blobsOf(f.r, id) {
			if b.Handle.Type == t {
				places = append(places, f.r.LookupBlob(b.Handle)[0])
			}
		}
		if len(places) > 0 {
			return id, places
		}
	}
	f.t.Fatal("no such pack")
	return restic.ID{}, nil
}

func (f *forger) read(h backend.Handle) []byte {
	data, err := backend.ReadAll(f.t.Context(), f.be, h, 1<<30)
	must(f.t, err)
	return data
}

// put stores an object under a name, in place of what is there.
func (f *forger) put(h backend.Handle, data []byte) {
	must(f.t, f.be.Delete(f.t.Context(), h))
	must(f.t, f.be.Put(f.t.Context(), h, data, backend.PutOptions{}))
}

// change edits an object in place, so that its name is wrong.
func (f *forger) change(kind backend.Kind, id restic.ID, edit func([]byte) []byte) string {
	h := backend.Handle{Kind: kind, Name: id.String()}
	if kind == backend.KindConfig {
		h = configHandle
	}
	f.put(h, edit(slices.Clone(f.read(h))))
	if kind == backend.KindConfig {
		return "config"
	}
	return id.Short()
}

func (f *forger) remove(kind backend.Kind, id restic.ID) string {
	must(f.t, f.be.Delete(f.t.Context(), backend.Handle{Kind: kind, Name: id.String()}))
	return id.Short()
}

// sealed stores plaintext under the name that it must have.
func (f *forger) sealed(kind backend.Kind, plain []byte) string {
	data := f.r.key.Seal(nil, plain)
	id := restic.Hash(data)
	f.put(backend.Handle{Kind: kind, Name: id.String()}, data)
	return id.Short()
}

// document stores JSON, compressed as it must be.
func (f *forger) document(kind backend.Kind, format string, args ...any) string {
	return f.sealed(kind, f.r.zenc.EncodeAll(fmt.Appendf(nil, format, args...), []byte{versionByte}))
}

// tree stores a directory and a snapshot of it, and returns both ids.
func (f *forger) tree(nodes ...string) (tree restic.ID, snapshot string) {
	doc := []byte(`{"nodes":[` + strings.Join(nodes, ",") + "]}\n")
	id, _, _, err := f.r.SaveBlob(f.t.Context(), restic.TreeBlob, doc)
	must(f.t, err)
	must(f.t, f.r.Flush(f.t.Context()))
	return id, f.snapshot(id.String())
}

func (f *forger) snapshot(tree string) string {
	return f.document(backend.KindSnapshot, `{"time":"2026-03-01T00:00:00Z","tree":"%s","paths":["/x"],"hostname":"host"}`, tree)
}

const nodeTimes = `"mtime":"2026-01-01T00:00:00Z","atime":"2026-01-01T00:00:00Z","ctime":"2026-01-01T00:00:00Z","uid":0,"gid":0`

func fileNode(name, content string) string {
	return fmt.Sprintf(`{"name":"%s","type":"file","mode":420,%s,"size":1,"content":%s}`, name, nodeTimes, content)
}

func dirNode(name, subtree string) string {
	return fmt.Sprintf(`{"name":"%s","type":"dir","mode":2147484141,%s,"content":null,"subtree":%s}`, name, nodeTimes, subtree)
}

// blob stores what claims to be a blob, in a pack and an index that agree with
// each other on a false length.
func (f *forger) blob(t restic.BlobType, body []byte, plainLen uint32, plain []byte) restic.ID {
	sealed := f.r.key.Seal(nil, body)
	id := restic.Hash(plain)
	data, err := pack.AppendHeader(sealed, f.r.key, []pack.Blob{{
		Handle: restic.BlobHandle{ID: id, Type: t}, Length: uint32(len(sealed)), UncompressedLength: plainLen, //nolint:gosec // small
	}})
	must(f.t, err)
	f.pack(data, fmt.Sprintf(`{"id":"%s","type":"%s","offset":0,"length":%d,"uncompressed_length":%d}`, id, t, len(sealed), plainLen))
	return id
}

// pack stores a pack, and an index that says what is in it.
func (f *forger) pack(data []byte, blobs string) {
	name := restic.Hash(data)
	f.put(backend.Handle{Kind: backend.KindData, Name: name.String()}, data)
	f.document(backend.KindIndex, `{"packs":[{"id":"%s","blobs":[%s]}]}`, name, blobs)
}

// bomb returns a frame of n zeros; declared says whether it tells its size.
func bomb(t *testing.T, n int, declared bool) []byte {
	t.Helper()
	if declared {
		return newEncoder().EncodeAll(make([]byte, n), nil)
	}
	var buf bytes.Buffer
	enc, err := zstd.NewWriter(&buf)
	must(t, err)
	for range n >> 20 {
		_, err = enc.Write(make([]byte, 1<<20))
		must(t, err)
	}
	must(t, enc.Close())
	return buf.Bytes()
}

// lyingFrame is a frame of a few bytes that declares n.
func lyingFrame(n uint64) []byte {
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}
	for range 8 {
		frame = append(frame, byte(n))
		n >>= 8
	}
	return append(frame, 1, 0, 0) // an empty block, the last one
}

func half(b []byte) []byte  { return b[:len(b)/2] }
func start(b []byte) []byte { return b[:20] }
func empty([]byte) []byte   { return []byte{} }
func flipAt(i int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[(i+len(b))%len(b)] ^= 1
		return b
	}
}

const everything = "open list check restore prune backup"

// hostileCases are the repositories of the corpus, as sentences about them.
var hostileCases = map[string]hostileCase{
	"nothing is wrong": {"", func(*forger) string { return "" }},

	"config is empty":           {everything, func(f *forger) string { return f.change(backend.KindConfig, restic.ID{}, empty) }},
	"config is cut off":         {everything, func(f *forger) string { return f.change(backend.KindConfig, restic.ID{}, half) }},
	"config has a wrong bit":    {everything, func(f *forger) string { return f.change(backend.KindConfig, restic.ID{}, flipAt(20)) }},
	"config is gone":            {everything, func(f *forger) string { must(f.t, f.be.Delete(f.t.Context(), configHandle)); return "no repository" }},
	"config has version 1":      {everything, forgeConfig(`{"version":1,"id":"%s","chunker_polynomial":"25b468838dcb75"}`, "version 1")},
	"config has version 3":      {everything, forgeConfig(`{"version":3,"id":"%s","chunker_polynomial":"25b468838dcb75"}`, "version 3")},
	"config is no JSON":         {everything, forgeConfig(`{"version":2,"id":"%s"`, "config")},
	"config has a weak chunker": {everything, forgeConfig(`{"version":2,"id":"%s","chunker_polynomial":"20000000000001"}`, "config.*polynomial")},
	"config has a path as id":   {everything, forgeConfig(`{"version":2,"id":"../../../../etc/passwd%.0s","chunker_polynomial":"25b468838dcb75"}`, "config.*id")},

	"second key is too large": {"", func(f *forger) string {
		doc := make([]byte, maxKeyFileSize+2)
		f.put(backend.Handle{Kind: backend.KindKey, Name: "00" + restic.Hash(doc).String()[2:]}, doc)
		return ""
	}},
	"lock is too large": {"list prune backup", func(f *forger) string {
		doc := make([]byte, maxLockSize+100)
		id := restic.Hash(doc)
		f.put(backend.Handle{Kind: backend.KindLock, Name: id.String()}, doc)
		return id.Short()
	}},
	"key is empty":         {everything, func(f *forger) string { return f.change(backend.KindKey, f.one(backend.KindKey), empty) }},
	"key is cut off":       {everything, func(f *forger) string { return f.change(backend.KindKey, f.one(backend.KindKey), half) }},
	"key is gone":          {everything, func(f *forger) string { f.remove(backend.KindKey, f.one(backend.KindKey)); return "no keys" }},
	"key asks for 1 TiB":   {everything, forgeKey(`"N":1073741824,"r":8,"p":1`)},
	"key asks for hours":   {everything, forgeKey(`"N":32768,"r":8,"p":1000000`)},
	"key asks for nothing": {everything, forgeKey(`"N":0,"r":0,"p":0`)},
	"key has a minus":      {everything, forgeKey(`"N":-32768,"r":-8,"p":-1`)},
	"key holds a zero key": {everything, forgeMaster(`{"mac":{"k":"AAAAAAAAAAAAAAAAAAAAAA==","r":"AAAAAAAAAAAAAAAAAAAAAA=="},"encrypt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`)},
	"key holds no key":     {everything, forgeMaster(`[1,2,3]`)},

	"index is empty":        {"check restore prune backup", func(f *forger) string { return f.change(backend.KindIndex, f.one(backend.KindIndex), empty) }},
	"index is cut off":      {"check restore prune backup", func(f *forger) string { return f.change(backend.KindIndex, f.one(backend.KindIndex), half) }},
	"index has a wrong bit": {"check restore prune backup", func(f *forger) string { return f.change(backend.KindIndex, f.one(backend.KindIndex), flipAt(-5)) }},
	"index is gone": {"check restore prune", func(f *forger) string {
		f.remove(backend.KindIndex, f.one(backend.KindIndex))
		return "not in the index|is in no index|not in the repository"
	}},
	"index is no JSON":     {"check restore prune backup", func(f *forger) string { return f.document(backend.KindIndex, "nonsense") }},
	"index has no content": {"check restore prune backup", func(f *forger) string { return f.sealed(backend.KindIndex, nil) }},
	"index has version 9":  {"check restore prune backup", func(f *forger) string { return f.sealed(backend.KindIndex, []byte{9, 1, 2}) }},
	"index is a list":      {"check restore prune backup", func(f *forger) string { return f.sealed(backend.KindIndex, []byte("[]")) }},
	"index nests without end": {"check restore prune backup", func(f *forger) string {
		return f.document(backend.KindIndex, `{"packs":%s`, strings.Repeat("[", 1_000_000))
	}},
	"index is a bomb": {"check restore prune backup", func(f *forger) string {
		return f.sealed(backend.KindIndex, append([]byte{versionByte}, bomb(f.t, 64<<20, true)...))
	}},
	"index is a bomb of no size": {"check restore prune backup", func(f *forger) string {
		return f.sealed(backend.KindIndex, append([]byte{versionByte}, bomb(f.t, 64<<20, false)...))
	}},
	"index lies about its size": {"check restore prune backup", func(f *forger) string {
		return f.sealed(backend.KindIndex, append([]byte{versionByte}, lyingFrame(500<<20)...))
	}},
	"index lies beyond measure": {"check restore prune backup", func(f *forger) string {
		return f.sealed(backend.KindIndex, append([]byte{versionByte}, lyingFrame(1<<63)...))
	}},
	"index lists an absurd place": {"check restore prune backup", forgeIndex(`{"id":"%[1]s","type":"data","offset":4294967295,"length":4294967295}`)},
	"index lists no length":       {"check restore prune backup", forgeIndex(`{"id":"%[1]s","type":"data","offset":0,"length":0}`)},
	"index lists a minus":         {"check restore prune backup", forgeIndex(`{"id":"%[1]s","type":"data","offset":-1,"length":100}`)},
	"index lists a new type":      {"check restore prune backup", forgeIndex(`{"id":"%[1]s","type":"cake","offset":0,"length":100}`)},
	"index lists a short id":      {"check restore prune backup", forgeIndex(`{"id":"abcd%.0[1]s","type":"data","offset":0,"length":100}`)},
	"index lists a pack that is not there": {"check", func(f *forger) string {
		id := restic.Hash([]byte("nowhere"))
		f.document(backend.KindIndex, `{"packs":[{"id":"%s","blobs":[{"id":"%s","type":"data","offset":0,"length":100}]}]}`, id, id)
		return id.Short()
	}},
	"index lists a pack a second time, differently": {"check prune", func(f *forger) string {
		id, places := f.packOf(restic.DataBlob)
		f.document(backend.KindIndex, `{"packs":[{"id":"%s","blobs":[{"id":"%s","type":"data","offset":1,"length":%d}]}]}`, id, restic.Hash([]byte("x")), places[0].Length)
		return id.Short()
	}},

	"pack is empty": {"check restore prune", func(f *forger) string {
		id, _ := f.packOf(restic.DataBlob)
		return f.change(backend.KindData, id, empty)
	}},
	"pack is cut off": {"check restore prune", func(f *forger) string {
		id, _ := f.packOf(restic.DataBlob)
		return f.change(backend.KindData, id, start)
	}},
	"pack is gone": {"check restore prune", func(f *forger) string { id, _ := f.packOf(restic.DataBlob); return f.remove(backend.KindData, id) }},
	"pack has a wrong bit in a blob": {"check restore", func(f *forger) string {
		id, _ := f.packOf(restic.DataBlob)
		return f.change(backend.KindData, id, flipAt(20))
	}},
	"pack has a wrong bit in its header": {"check", func(f *forger) string {
		id, _ := f.packOf(restic.DataBlob)
		return f.change(backend.KindData, id, flipAt(-20))
	}},
	"pack has a wrong header length": {"check", func(f *forger) string {
		id, _ := f.packOf(restic.DataBlob)
		return f.change(backend.KindData, id, flipAt(-1))
	}},
	"pack of trees has a wrong bit": {"check restore prune", func(f *forger) string {
		id, _ := f.packOf(restic.TreeBlob)
		return f.change(backend.KindData, id, flipAt(20))
	}},
	"pack of trees is gone": {"check restore prune", func(f *forger) string { id, _ := f.packOf(restic.TreeBlob); return f.remove(backend.KindData, id) }},

	"blob is a bomb":            {"check restore", forgeBlob(func(t *testing.T) []byte { return bomb(t, 160<<20, true) }, 160<<20)},
	"blob is a bomb that lies":  {"check restore", forgeBlob(func(t *testing.T) []byte { return bomb(t, 160<<20, true) }, 100)},
	"blob is a bomb of no size": {"check restore", forgeBlob(func(t *testing.T) []byte { return bomb(t, 160<<20, false) }, 160<<20)},
	"blob lies about its size":  {"check restore", forgeBlob(func(*testing.T) []byte { return lyingFrame(900 << 20) }, 900<<20)},
	"blob claims 4 GiB":         {"check restore", forgeBlob(func(*testing.T) []byte { return lyingFrame(1<<32 - 1) }, 1<<32-1)},
	"blob is no frame":          {"check restore", forgeBlob(func(*testing.T) []byte { return []byte("no frame") }, 100)},
	"blob is longer than its pack": {"check restore prune", func(f *forger) string {
		id := restic.Hash([]byte("long"))
		f.pack(make([]byte, 200), fmt.Sprintf(`{"id":"%s","type":"data","offset":0,"length":%d}`, id, 1<<30))
		f.tree(fileNode("f", `["`+id.String()+`"]`))
		return "pack [0-9a-f]{8}"
	}},

	"snapshot is empty":        {"list check restore prune", func(f *forger) string { return f.change(backend.KindSnapshot, f.one(backend.KindSnapshot), empty) }},
	"snapshot has a wrong bit": {"list check restore prune", func(f *forger) string { return f.change(backend.KindSnapshot, f.one(backend.KindSnapshot), flipAt(30)) }},
	"snapshot is no JSON":      {"list check restore prune", func(f *forger) string { return f.document(backend.KindSnapshot, `{"time":`) }},
	"snapshot has no tree": {"list check restore prune", func(f *forger) string {
		return f.document(backend.KindSnapshot, `{"time":"2026-03-01T00:00:00Z","paths":[]}`)
	}},
	"snapshot has the year 99999": {"list check restore prune", func(f *forger) string {
		return f.document(backend.KindSnapshot, `{"time":"99999-03-01T00:00:00Z","tree":"%s"}`, restic.Hash(nil))
	}},
	"snapshot is a bomb": {"list check restore prune", func(f *forger) string {
		return f.sealed(backend.KindSnapshot, append([]byte{versionByte}, bomb(f.t, 70<<20, true)...))
	}},
	"snapshot of nothing": {"check restore prune", func(f *forger) string { id := restic.Hash([]byte("t")); f.snapshot(id.String()); return id.Short() }},
	"snapshot of a file's piece": {"check restore prune", func(f *forger) string {
		for _, b := range blobsOf(f.r, first(f.packOf(restic.DataBlob))) {
			f.snapshot(b.Handle.ID.String())
			return b.Handle.ID.Short()
		}
		return ""
	}},

	"lock is empty": {"", func(f *forger) string {
		f.put(backend.Handle{Kind: backend.KindLock, Name: restic.Hash(nil).String()}, nil)
		return ""
	}},
	"lock is rubbish": {"list prune backup", func(f *forger) string { return f.change(backend.KindLock, f.lockNow(), half) }},
	"lock is no JSON": {"list prune backup", func(f *forger) string { return f.document(backend.KindLock, `{"pid":"x"}`) }},
	"lock of the future": {"prune backup", func(f *forger) string {
		f.document(backend.KindLock, `{"time":"9999-01-01T00:00:00Z","exclusive":true,"hostname":"far\u001b[2J\nerror: gone","username":"u","pid":1}`)
		return `by u@"far\\x1b`
	}},

	"tree has names of other places": {"check restore", func(f *forger) string {
		inner, _ := f.tree(fileNode("evil", "[]"))
		sub := `"` + inner.String() + `"`
		f.tree(fileNode("", "[]"), fileNode(".", "[]"), dirNode("..", sub), fileNode("../../../out", "[]"), dirNode("../../out", sub), fileNode("/out", "[]"), fileNode(`a\\x00b`, "[]"))
		return `refuse node name|is no name of a file`
	}},
	"tree has a link and then a directory of that name": {"check restore prune", func(f *forger) string {
		inner, _ := f.tree(fileNode("evil", "[]"))
		id, _ := f.tree(fmt.Sprintf(`{"name":"out","type":"symlink","mode":134218239,%s,"content":null,"linktarget":"../.."}`, nodeTimes), dirNode("out", `"`+inner.String()+`"`))
		return id.Short()
	}},
	"tree is out of order":              {"check restore prune", func(f *forger) string { id, _ := f.tree(fileNode("b", "[]"), fileNode("a", "[]")); return id.Short() }},
	"tree is no JSON":                   {"check restore prune", func(f *forger) string { id, _ := f.tree("{"); return id.Short() }},
	"tree has no nodes":                 {"check restore prune", func(f *forger) string { id, _ := f.tree("null"); return id.Short() }},
	"tree nests without end":            {"check restore prune", func(f *forger) string { id, _ := f.tree(strings.Repeat("[", 200_000)); return id.Short() }},
	"tree has a directory without tree": {"check restore", func(f *forger) string { f.tree(dirNode("d", "null")); return `"d"|d: ` }},
	"tree has a directory of nothing": {"check restore prune", func(f *forger) string {
		id := restic.Hash([]byte("sub"))
		f.tree(dirNode("d", `"`+id.String()+`"`))
		return id.Short()
	}},
	"tree has a file of nothing": {"check restore prune", func(f *forger) string {
		id := restic.Hash([]byte("c"))
		f.tree(fileNode("f", `["`+id.String()+`"]`))
		return id.Short()
	}},
	"tree has a file without list": {"check", func(f *forger) string { f.tree(fileNode("f", "null")); return `"f"` }},
	"tree has a new type": {"restore", func(f *forger) string {
		f.tree(fmt.Sprintf(`{"name":"n","type":"cake","mode":420,%s,"content":null}`, nodeTimes))
		return "cake"
	}},
	"tree has an absurd file": {"", func(f *forger) string {
		f.tree(fmt.Sprintf(`{"name":"n","type":"file","mode":4294967295,%s,"size":18446744073709551615,"inode":18446744073709551615,"links":18446744073709551615,"device_id":18446744073709551615,"content":[]}`, nodeTimes))
		return ""
	}},
	"tree has an attribute that nobody takes": {"restore", func(f *forger) string {
		f.tree(fmt.Sprintf(`{"name":"n","type":"file","mode":420,%s,"extended_attributes":[{"name":"nonsense%s","value":"AAAA"}],"content":[]}`, nodeTimes, strings.Repeat("x", 300)))
		return "nonsense"
	}},
	"tree has a name that is too long": {"restore", func(f *forger) string { f.tree(fileNode(strings.Repeat("n", 5000), "[]")); return "nnn" }},
	"trees multiply": {"", func(f *forger) string {
		id, _ := f.tree(fileNode("leaf", "[]"))
		for range 9 {
			sub := `"` + id.String() + `"`
			id, _ = f.tree(dirNode("a", sub), dirNode("b", sub))
		}
		return ""
	}},
}

func first[A, B any](a A, _ B) A { return a }

func forgeConfig(format, names string) func(*forger) string {
	return func(f *forger) string {
		f.put(configHandle, f.r.key.Seal(nil, fmt.Appendf(nil, format, restic.Hash([]byte("id")))))
		return names
	}
}

// forgeKey has the key ask for a derivation with these parameters.
func forgeKey(params string) func(*forger) string {
	return func(f *forger) string {
		f.remove(backend.KindKey, f.one(backend.KindKey))
		doc := fmt.Appendf(nil, `{"created":"2026-01-01T00:00:00Z","kdf":"scrypt",%s,"salt":"%s","data":"AAAA"}`, params, base64.StdEncoding.EncodeToString(make([]byte, 64)))
		id := restic.Hash(doc)
		f.put(backend.Handle{Kind: backend.KindKey, Name: id.String()}, doc)
		return id.Short()
	}
}

// forgeMaster has the key hold this in place of the master key.
func forgeMaster(master string) func(*forger) string {
	return func(f *forger) string {
		id := f.one(backend.KindKey)
		var k keyFile
		must(f.t, json.Unmarshal(f.read(backend.Handle{Kind: backend.KindKey, Name: id.String()}), &k))
		f.remove(backend.KindKey, id)
		user, err := crypto.DeriveKey(crypto.Params{N: k.N, R: k.R, P: k.P}, k.Salt, testPassword)
		must(f.t, err)
		k.Data = user.Seal(nil, []byte(master))
		doc, err := json.Marshal(k)
		must(f.t, err)
		id = restic.Hash(doc)
		f.put(backend.Handle{Kind: backend.KindKey, Name: id.String()}, doc)
		return id.Short()
	}
}

// forgeIndex adds an index with one blob in a pack that is there.
func forgeIndex(blob string) func(*forger) string {
	return func(f *forger) string {
		id, _ := f.packOf(restic.DataBlob)
		return f.document(backend.KindIndex, `{"packs":[{"id":"%s","blobs":[%s]}]}`, id, fmt.Sprintf(blob, restic.Hash([]byte("b"))))
	}
}

// forgeBlob adds a snapshot with a file whose content is this body.
func forgeBlob(body func(t *testing.T) []byte, claim uint32) func(*forger) string {
	return func(f *forger) string {
		id := f.blob(restic.DataBlob, body(f.t), claim, []byte("forged"))
		f.tree(fileNode("f", `["`+id.String()+`"]`))
		return id.Short()
	}
}

// lockNow stores a lock such as a running process has.
func (f *forger) lockNow() restic.ID {
	info, err := f.r.writeLock(f.t.Context(), false, nil)
	must(f.t, err)
	return info.ID
}

// writeHostileCorpus makes the corpus anew.
func writeHostileCorpus(t *testing.T) {
	t.Helper()
	base := mem.New()
	r := newRepo(t, base, withQuickLocks())
	source := hostileSource(t)
	must(t, hostileBackup(t.Context(), r, source))
	must(t, os.WriteFile(source+"/in-noise/new", []byte("new"), 0o600))
	must(t, hostileBackup(t.Context(), r, source))

	out, err := os.Create(hostileCorpus)
	must(t, err)
	z := zip.NewWriter(out)
	add := func(name string, data []byte) {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
		must(t, err)
		_, err = w.Write(data)
		must(t, err)
	}
	sound := readObjects(t, base)
	for _, object := range sortedKeys(sound) {
		add("base/"+object, sound[object])
	}
	for _, name := range sortedKeys(hostileCases) {
		c := hostileCases[name]
		f := &forger{t: t, be: base.Clone()}
		f.r = reopen(t, f.be, withQuickLocks(), withoutReadBack())
		names := c.forge(f)
		note := hostileNote{Want: map[string]string{}}
		for _, op := range hostileOps {
			note.Want[op] = ends
			if slices.Contains(strings.Fields(c.fails), op) {
				note.Want[op] = names
			}
		}
		forged := readObjects(t, f.be)
		for _, object := range sortedKeys(sound) {
			if _, there := forged[object]; !there {
				note.Gone = append(note.Gone, object)
			}
		}
		for _, object := range sortedKeys(forged) {
			if !bytes.Equal(forged[object], sound[object]) || len(forged[object]) == 0 {
				add(name+"/"+object, forged[object])
			}
		}
		doc, err := json.MarshalIndent(note, "", "  ")
		must(t, err)
		add(name+"/note.json", doc)
	}
	must(t, z.Close())
	must(t, out.Close())
}
