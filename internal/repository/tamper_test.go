package repository

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// Whatever byte of whatever object is changed, a check that reads all finds
// it, or the repository does not open; and what is returned is never wrong.
func TestEveryKindOfTamperingIsFound(t *testing.T) {
	t.Parallel()
	base := mem.New()
	r := newRepo(t, base)
	s := mustBackup(t, r, day(0), sample(0))
	handles := []backend.Handle{configHandle}
	for _, kind := range []backend.Kind{backend.KindKey, backend.KindSnapshot, backend.KindIndex, backend.KindData} {
		ids, err := listIDs(t.Context(), base, kind)
		must(t, err)
		for _, id := range ids {
			handles = append(handles, backend.Handle{Kind: kind, Name: id.String()})
		}
	}
	tried := 0
	for _, h := range handles {
		size, err := base.Stat(t.Context(), h)
		must(t, err)
		last := int(size) - 1
		// The nonce, the body, the tag of a first blob, the header, its length.
		for _, at := range []int{0, 17, last / 3, last / 2, last - 40, last - 3, last} {
			tampered := base.Clone()
			flip(t, tampered, h, max(at, 0))
			tried++
			err := sound(t, tampered, s)
			if err == nil {
				t.Errorf("%s, byte %d of %d: not found", h, at, size)
			}
		}
		gone := base.Clone()
		must(t, gone.Delete(t.Context(), h))
		if h.Kind == backend.KindSnapshot {
			continue // that is what forgetting looks like
		}
		if err := sound(t, gone, s); err == nil {
			t.Errorf("%s removed: not found", h)
		}
	}
	if tried < 30 {
		t.Errorf("only %d changes were tried", tried)
	}
	must(t, sound(t, base.Clone(), s))
}

// sound opens the repository, checks it and compares every byte.
func sound(t *testing.T, be backend.Backend, s *restic.Snapshot) error {
	t.Helper()
	r, err := Open(t.Context(), be, secret.New(testPassword))
	if err != nil {
		return err
	}
	defer func() { must(t, r.Close()) }()
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	if err != nil {
		return err
	}
	if err := r.LoadIndex(t.Context()); err == nil {
		// What is returned is right or an error.
		err := compareSnapshot(t.Context(), r, s, sample(0))
		if err != nil && len(report.Problems) == 0 {
			t.Errorf("the check is clean and reading fails: %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "differs") {
			t.Errorf("wrong data were returned: %v", err)
		}
	}
	if len(report.Problems) > 0 {
		return fmt.Errorf("%+v", report.Problems)
	}
	return nil
}

func TestACheckNamesTheFilesThatDamageHurts(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	s := mustBackup(t, r, day(0), map[string]files{
		"a": {"hurt": {content(1, 5000), content(3, 5000)}, "whole": {content(5, 5000)}},
		"b": {"also-hurt": {content(3, 5000)}},
	})
	h := restic.BlobHandle{ID: restic.Hash(content(3, 5000)), Type: restic.DataBlob}
	b := r.LookupBlob(h)[0]
	flip(t, be, backend.Handle{Kind: backend.KindData, Name: b.Pack.String()}, int(b.Offset)+99)

	structure, err := r.Check(t.Context(), CheckOptions{})
	must(t, err)
	if len(structure.Problems) != 0 || structure.PacksRead != 0 {
		t.Errorf("the structure is sound, the report says %+v", structure.Problems)
	}
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	must(t, err)
	found := false
	for _, p := range report.Problems {
		if p.Blob != h {
			continue
		}
		found = true
		want := fmt.Sprint([]Affected{{s.ID, "/a/hurt"}, {s.ID, "/b/also-hurt"}})
		if p.Kind != ProblemBlob || p.Pack != b.Pack || fmt.Sprint(p.Affected) != want {
			t.Errorf("problem %+v, want it to name %s", p, want)
		}
	}
	if !found {
		t.Errorf("the blob is not named: %+v", report.Problems)
	}
}

func TestShareByShareEveryPackIsRead(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be, withSmallPacks(64<<10))
	for i := range 6 {
		mustBackup(t, r, day(i), sample(i))
	}
	total, read := r.Stats().Packs, 0
	for part := range 4 {
		report, err := r.Check(t.Context(), CheckOptions{ReadShare: Share{Part: part, Of: 4}})
		must(t, err)
		if report.PacksRead == total {
			t.Errorf("share %d reads all %d packs", part, total)
		}
		read += report.PacksRead
	}
	if read != total {
		t.Errorf("%d packs read in all shares, want %d", read, total)
	}
}

func TestACopyElsewhereHelps(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	other := reopen(t, be)
	// Two hosts store the same data at once: each blob lies in two packs.
	s := mustBackup(t, r, day(0), sample(0))
	mustBackup(t, other, day(1), sample(0))
	both := reopen(t, be)
	h := restic.BlobHandle{ID: restic.Hash(content(1, 300_000)), Type: restic.DataBlob}
	places := both.LookupBlob(h)
	if len(places) != 2 {
		t.Fatalf("%d places", len(places))
	}
	flip(t, be, backend.Handle{Kind: backend.KindData, Name: places[0].Pack.String()}, int(places[0].Offset)+20)
	must(t, compareSnapshot(t.Context(), both, s, sample(0)))
	// A prune keeps one copy of each.
	must(t, be.Delete(t.Context(), backend.Handle{Kind: backend.KindData, Name: places[0].Pack.String()}))
	must(t, compareSnapshot(t.Context(), both, s, sample(0)))
}

func TestDuplicatesGoWithAPrune(t *testing.T) {
	t.Parallel()
	be := mem.New()
	r := newRepo(t, be)
	other := reopen(t, be)
	s := mustBackup(t, r, day(0), sample(0))
	s2 := mustBackup(t, other, day(0), sample(0))
	both := reopen(t, be)
	stats, err := both.Prune(t.Context(), PruneOptions{})
	must(t, err)
	if stats.DuplicateBlobs == 0 || stats.PacksRemoved != 2 || stats.PacksRepacked != 0 {
		t.Errorf("stats: %+v", stats)
	}
	verifyAll(t, be, map[restic.ID]map[string]files{s.ID: sample(0), s2.ID: sample(0)})
}

// A blob whose declared length is a lie is refused before more is allocated.
func TestDecompressionIsBounded(t *testing.T) {
	t.Parallel()
	r := newRepo(t, mem.New())
	bomb := r.zenc.EncodeAll(make([]byte, 64<<20), nil)
	h := restic.BlobHandle{ID: restic.Hash(nil), Type: restic.DataBlob}
	sealed := r.key.Seal(nil, bomb)
	for _, claim := range []uint32{1, 1000, 1 << 20, 1<<32 - 1} {
		b := PackedBlob{Length: uint32(len(sealed)), UncompressedLength: claim}
		dst, err := r.DecodeBlob(b, h, sealed, nil)
		if !errors.Is(err, ErrDamaged) || dst != nil {
			t.Errorf("claimed %d: %v", claim, err)
		}
	}
	if _, err := r.zdec.documents(bomb, 1<<20); err == nil {
		t.Error("a document beyond the limit was accepted")
	}
	// Streams without a declared size grow up to the limit only.
	var buf bytes.Buffer
	enc, err := zstd.NewWriter(&buf)
	must(t, err)
	_, err = enc.Write(make([]byte, 300<<10))
	must(t, err)
	must(t, enc.Close())
	if got, err := r.zdec.documents(buf.Bytes(), 1<<20); err != nil || len(got) != 300<<10 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := r.zdec.documents(buf.Bytes(), 200<<10); err == nil {
		t.Error("a stream beyond the limit was accepted")
	}
}

func TestHostileDocumentsAreRefused(t *testing.T) {
	t.Parallel()
	good := newConfig()
	for name, c := range map[string]string{
		"version 1":            fmt.Sprintf(`{"version":1,"id":%q,"chunker_polynomial":%q}`, good.ID, good.Polynomial),
		"version 3":            fmt.Sprintf(`{"version":3,"id":%q,"chunker_polynomial":%q}`, good.ID, good.Polynomial),
		"no id":                fmt.Sprintf(`{"version":2,"chunker_polynomial":%q}`, good.Polynomial),
		"reducible polynomial": fmt.Sprintf(`{"version":2,"id":%q,"chunker_polynomial":"20000000000001"}`, good.ID),
		"no JSON":              `x`,
	} {
		if _, err := decodeConfig([]byte(c)); err == nil {
			t.Errorf("config with %s: accepted", name)
		} else if strings.HasPrefix(name, "version") && !errors.Is(err, ErrUnsupported) {
			t.Errorf("config with %s: %v", name, err)
		}
	}
	for range 5 {
		if p := randomPolynomial(); !irreducible(p) || irreducible(p^1) {
			t.Errorf("polynomial %x", p)
		}
	}
	// The polynomial of restic's own documentation.
	if !irreducible(0x25b468838dcb75) || irreducible(0x3) {
		t.Error("irreducible")
	}
	for name, k := range map[string]string{
		"other kdf": `{"kdf":"argon2"}`, "huge N": `{"kdf":"scrypt","N":1073741824,"r":8,"p":1}`, "short salt": `{"kdf":"scrypt","N":32768,"r":8,"p":1,"salt":"AAAA"}`,
	} {
		if _, err := decodeKeyFile([]byte(k)); err == nil {
			t.Errorf("key with %s: accepted", name)
		}
	}
}

// A tiny repository that stock restic v0.18.1 wrote, as it lies on disk.
func TestTheGoldenRepository(t *testing.T) {
	t.Parallel()
	dir := t.TempDir() + "/repo"
	must(t, os.CopyFS(dir, os.DirFS("testdata/stock-v2")))
	r, err := Open(t.Context(), openLocal(t, dir), secret.New("golden"))
	must(t, err)
	defer func() { must(t, r.Close()) }()
	must(t, r.LoadIndex(t.Context()))
	report, err := r.Check(t.Context(), CheckOptions{ReadData: true})
	must(t, err)
	if len(report.Problems)+len(report.Hints) != 0 || report.Snapshots != 2 || report.BytesRead == 0 {
		t.Errorf("%+v", report)
	}
	snapshots, err := r.Snapshots(t.Context(), func(s *restic.Snapshot) bool { return s.Tags.Has("second") })
	must(t, err)
	if len(snapshots) != 1 || snapshots[0].Hostname != "golden" || snapshots[0].Parent == nil || snapshots[0].Summary.FilesNew != 1 {
		t.Fatalf("%+v", snapshots)
	}
	root, err := r.LoadTree(t.Context(), *snapshots[0].Tree)
	must(t, err)
	n := root.Find("hello.txt")
	if n == nil || len(n.Content) != 1 {
		t.Fatalf("%+v", root.Nodes)
	}
	got, err := r.LoadBlob(t.Context(), restic.BlobHandle{ID: n.Content[0], Type: restic.DataBlob}, nil)
	if err != nil || string(got) != "hello, world\n" {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzOpenDocument(f *testing.F) {
	r, err := Init(f.Context(), mem.New(), secret.New(testPassword), InitOptions{})
	must(f, err)
	f.Add([]byte("{}"))
	f.Add(append([]byte{versionByte}, r.zenc.EncodeAll([]byte(`{"a":1}`), nil)...))
	f.Fuzz(func(t *testing.T, plain []byte) {
		// The attacker has the key: the worst case.
		got, err := r.openDocument(r.key.Seal(nil, plain), 1<<20)
		if err == nil && len(got) > 1<<20 {
			t.Errorf("%d bytes", len(got))
		}
	})
}

// A zstd frame becomes as many bytes as were asked for, or an error, and costs
// no more memory than its own bytes can fill, whatever it declares.
func FuzzFrames(f *testing.F) {
	d := newDecoder()
	f.Add(newEncoder().EncodeAll([]byte("some text, some text"), nil), uint32(20))
	f.Add(newEncoder().EncodeAll(make([]byte, 1<<20), nil), uint32(1<<20))
	f.Add(lyingFrame(1<<63), uint32(1<<27))
	f.Add(lyingFrame(1<<20), uint32(1<<20))
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x80, 1, 0, 0}, uint32(1<<27)) // no size, a large window
	f.Fuzz(func(t *testing.T, frame []byte, n uint32) {
		n %= maxDataBlob
		before := allocated()
		out, err := d.blob(nil, frame, int(n))
		if err == nil && len(out) != int(n) {
			t.Errorf("%d bytes, want %d", len(out), n)
		}
		if doc, err := d.documents(frame, 1<<20); err == nil && len(doc) > 1<<20 {
			t.Errorf("%d bytes are more than the limit", len(doc))
		}
		// Twice for each: room is made by steps. The decoder itself takes some.
		if used, most := allocated()-before, uint64(4*maxExpansion*(len(frame)+1)+16<<20); used > most {
			t.Errorf("a frame of %d bytes, of which %d are wanted, costs %d", len(frame), n, used)
		}
	})
}

func FuzzDecodeBlob(f *testing.F) {
	r, err := Init(f.Context(), mem.New(), secret.New(testPassword), InitOptions{})
	must(f, err)
	f.Add(r.zenc.EncodeAll([]byte("some text, some text"), nil), uint32(20))
	f.Fuzz(func(t *testing.T, body []byte, plainLen uint32) {
		plainLen %= 1 << 20
		sealed := r.key.Seal(nil, body)
		b := PackedBlob{Length: uint32(len(sealed)), UncompressedLength: plainLen}
		// Nothing has the null id, so all that matters is that it ends.
		if _, err := r.DecodeBlob(b, restic.BlobHandle{Type: restic.DataBlob}, sealed, nil); err == nil {
			t.Error("decoded")
		}
	})
}

func FuzzSmallDecoders(f *testing.F) {
	key, err := sealKeyFile(crypto.NewRandomKey(), secret.New("x"), currentIdentity())
	must(f, err)
	f.Add(key)
	f.Add([]byte(`{"version":2,"id":"` + restic.ID{1}.String() + `","chunker_polynomial":"25b468838dcb75"}`))
	f.Add([]byte(`{"time":"2026-11-25T02:00:00Z","exclusive":true,"hostname":"h","pid":1}`))
	f.Add([]byte(`{"mac":{"k":"AAAA","r":"AAAA"},"encrypt":"AAAA"}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if k, err := decodeKeyFile(doc); err == nil && (crypto.Params{N: k.N, R: k.R, P: k.P}).Check() != nil {
			t.Error("a key with impossible parameters was accepted")
		}
		if c, err := decodeConfig(doc); err == nil && !backend.ValidName(c.ID) {
			t.Error("a config without id was accepted")
		}
		// These two must only not crash.
		_, _ = decodeLock(doc)
		_, _ = decodeMasterKey(doc)
	})
}
