package localcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

func open(t *testing.T, path string, key *crypto.Key, limit int64) *File {
	t.Helper()
	c, err := Open(path, key, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func closed(t *testing.T, c *File) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// record returns what test record n holds; its length differs from the others'.
func record(n int) (restic.ID, []byte) {
	return restic.ID{byte(n), byte(n >> 8), 1}, bytes.Repeat([]byte{byte(n), 'x'}, 10*n)
}

func fill(c *File, from, to int) {
	for n := from; n < to; n++ {
		id, data := record(n)
		c.Put(Tree, id, data)
	}
}

// has counts the records that are there, and fails for one that is wrong.
func has(t *testing.T, c *File, from, to int) (count int) {
	t.Helper()
	for n := from; n < to; n++ {
		id, want := record(n)
		got, ok := c.Get(Tree, id)
		if !ok {
			continue
		}
		count++
		if !bytes.Equal(got, want) {
			t.Errorf("record %d: %d bytes, want %d", n, len(got), len(want))
		}
	}
	return count
}

// Issue 4, item 2: what is kept survives a restart.
func TestRecordsComeBack(t *testing.T) {
	t.Parallel()
	path, key := filepath.Join(t.TempDir(), "cache"), crypto.NewRandomKey()
	c := open(t, path, key, 1<<30)
	fill(c, 0, 300) // more than waits in memory
	if n := has(t, c, 0, 300); n != 300 {
		t.Errorf("%d of 300 at once", n)
	}
	id, _ := record(7)
	if _, ok := c.Get(Index, id); ok {
		t.Error("a record is found under another kind")
	}
	c.Put(Index, id, []byte("another"))
	closed(t, c)

	c = open(t, path, key, 1<<30)
	if n := has(t, c, 0, 300); n != 300 {
		t.Errorf("%d of 300 after a restart", n)
	}
	if got, ok := c.Get(Index, id); !ok || string(got) != "another" {
		t.Errorf("the other kind: %q, %v", got, ok)
	}
	fill(c, 290, 310)
	closed(t, c)
	if n := has(t, open(t, path, key, 1<<30), 0, 310); n != 310 {
		t.Errorf("%d of 310 after another", n)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: names of files are for the owner alone", info.Mode(), err)
	}
	if raw, err := os.ReadFile(path); err != nil || bytes.Contains(raw, bytes.Repeat([]byte{9, 'x'}, 20)) {
		t.Errorf("a record lies there in clear, or %v", err)
	}
}

// What is damaged, cut off or sealed for another repository is not there; what
// lies before it is, and the file goes on from there.
func TestADamagedFileEndsWhereItsRecordsDo(t *testing.T) {
	t.Parallel()
	key := crypto.NewRandomKey()
	fresh := func() string {
		path := filepath.Join(t.TempDir(), "cache")
		c := open(t, path, key, 1<<30)
		fill(c, 0, 100)
		closed(t, c)
		return path
	}
	size := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	for name, test := range map[string]struct {
		damage func(path string) error
		key    *crypto.Key
		most   int
	}{
		"the last record is cut off": {func(p string) error { return os.Truncate(p, size(p)-1) }, key, 99},
		"a byte in the middle is wrong": {func(p string) error {
			raw, err := os.ReadFile(p)
			if err == nil {
				raw[len(raw)/2] ^= 1
				err = os.WriteFile(p, raw, 0o600)
			}
			return err
		}, key, 90},
		"another version":    {func(p string) error { return os.WriteFile(p, []byte("envbackup cache 0000\nand more"), 0o600) }, key, 0},
		"nothing":            {func(p string) error { return os.Truncate(p, 0) }, key, 0},
		"another repository": {func(string) error { return nil }, crypto.NewRandomKey(), 0},
	} {
		path := fresh()
		if err := test.damage(path); err != nil {
			t.Fatal(err)
		}
		c := open(t, path, test.key, 1<<30)
		if n := has(t, c, 0, 100); n > test.most || test.most > 0 && n == 0 {
			t.Errorf("%s: %d records, want at most %d, and some if any", name, n, test.most)
		}
		fill(c, 0, 100)
		closed(t, c)
		if n := has(t, open(t, path, test.key, 1<<30), 0, 100); n != 100 {
			t.Errorf("%s: %d of 100 after they were put again", name, n)
		}
	}
}

// A record that is damaged while the file is open is not there either.
func TestADamagedRecordIsNotReturned(t *testing.T) {
	t.Parallel()
	path, key := filepath.Join(t.TempDir(), "cache"), crypto.NewRandomKey()
	c := open(t, path, key, 1<<30)
	fill(c, 0, 50)
	c.Flush()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-5] ^= 1 // in the last record
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := has(t, c, 0, 50); n != 49 {
		t.Errorf("%d records, want all but the damaged one", n)
	}
}

// Issue 4, item 2: within a configured budget.
func TestTheFileStaysWithinItsLimit(t *testing.T) {
	t.Parallel()
	path, key := filepath.Join(t.TempDir(), "cache"), crypto.NewRandomKey()
	const limit = 200 << 10
	c := open(t, path, key, limit)
	for from := 0; from < 1000; from += 20 {
		fill(c, from%200, from%200+20)
		c.Flush()
		if info, err := os.Stat(path); err != nil || info.Size() > limit {
			t.Fatalf("%d bytes, %v", info.Size(), err)
		}
	}
	// One run that has more than there is room for keeps what it put first,
	// instead of pushing out its own again and again.
	fill(c, 1000, 1200)
	if n := has(t, c, 1000, 1200); n == 0 || n == 200 {
		t.Errorf("%d of the run's 200 records", n)
	}
	id, _ := record(1)
	c.Put(Snapshot, id, make([]byte, limit))
	if c.Has(Snapshot, id) {
		t.Error("a record larger than the file was kept")
	}
	closed(t, c)
	if info, err := os.Stat(path); err != nil || info.Size() > limit {
		t.Errorf("%d bytes, %v", info.Size(), err)
	}
}

// Two who write to one file would spoil it.
func TestAFileIsOpenedOnce(t *testing.T) {
	t.Parallel()
	path, key := filepath.Join(t.TempDir(), "cache"), crypto.NewRandomKey()
	c := open(t, path, key, 1<<20)
	if _, err := Open(path, key, 1<<20); !errors.Is(err, ErrInUse) {
		t.Errorf("opened again: %v", err)
	}
	closed(t, c)
	open(t, path, key, 1<<20)
}

// Whatever the file holds, it opens, gives back no record under a wrong name,
// and takes new ones.
func FuzzFile(f *testing.F) {
	key := crypto.NewRandomKey()
	f.Add([]byte("a record of a length that is a lie"), uint32(1<<32-1), byte(0))
	f.Add(bytes.Repeat([]byte{byte(Tree)}, prefixSize), uint32(0), byte(1))
	f.Fuzz(func(t *testing.T, plain []byte, lie uint32, cut byte) {
		path := filepath.Join(t.TempDir(), "cache")
		sealed := key.Seal(nil, plain)
		length := uint32(len(sealed))
		if lie != 0 {
			length = lie
		}
		file := append([]byte(magic), binary.LittleEndian.AppendUint32(nil, length)...)
		file = append(append(file, sealed...), file[len(magic):]...)
		if err := os.WriteFile(path, file[:len(file)-min(int(cut), len(file))], 0o600); err != nil {
			t.Fatal(err)
		}
		c := open(t, path, key, 1<<20)
		if len(plain) >= prefixSize {
			n := nameOf(plain)
			if got, ok := c.Get(n.kind, n.id); ok && !bytes.Equal(got, plain[prefixSize:]) {
				t.Errorf("%x is given back as %x", plain, got)
			}
		}
		fill(c, 1, 3)
		if has(t, c, 1, 3) != 2 {
			t.Error("it takes no new records")
		}
		closed(t, c)
	})
}
