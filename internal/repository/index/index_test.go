package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/repository/pack"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

func handle(n int, t restic.BlobType) restic.BlobHandle {
	return restic.BlobHandle{ID: restic.Hash(binary.LittleEndian.AppendUint64(nil, uint64(n))), Type: t}
}

func packOf(id byte, first, count int, t restic.BlobType) Pack {
	p := Pack{ID: restic.ID{id}}
	for i := range count {
		p.Blobs = append(p.Blobs, pack.Blob{Handle: handle(first+i, t), Offset: uint32(i * 100), Length: 100, UncompressedLength: uint32(i % 3)})
	}
	return p
}

func mustAdd(t testing.TB, x *Index, p Pack) {
	t.Helper()
	if err := x.AddPack(p); err != nil {
		t.Fatal(err)
	}
}

func TestEveryLocationIsFound(t *testing.T) {
	t.Parallel()
	x := New()
	a, b, tree := packOf(1, 0, 5000, restic.DataBlob), packOf(2, 4000, 2000, restic.DataBlob), packOf(3, 0, 10, restic.TreeBlob)
	for range 2 { // the second time changes nothing
		for _, p := range []Pack{a, b, tree} {
			mustAdd(t, x, p)
		}
	}
	if packs, blobs, _ := x.Counts(); packs != 3 || blobs != 7010 {
		t.Errorf("%d packs, %d blobs", packs, blobs)
	}
	for i, want := range map[int]int{0: 1, 3999: 1, 4000: 2, 4999: 2, 5000: 1, 5999: 1, 6000: 0} {
		if got := x.Lookup(handle(i, restic.DataBlob), nil); len(got) != want {
			t.Errorf("blob %d at %d places, want %d", i, len(got), want)
		}
	}
	// The type is part of the name.
	if got := x.Lookup(handle(5, restic.TreeBlob), nil); len(got) != 1 || got[0] != (restic.PackedBlob{Pack: tree.ID, Offset: 500, Length: 100, UncompressedLength: 2}) {
		t.Errorf("tree 5: %+v", got)
	}
	if x.Has(handle(100, restic.TreeBlob)) || !x.Has(handle(100, restic.DataBlob)) {
		t.Error("a data blob is taken for a tree")
	}
	for _, p := range []Pack{a, b, tree} {
		if got, want := x.PackSize(p.ID), pack.Size(p.Blobs); got != want {
			t.Errorf("pack %s: size %d, want %d", p.ID.Short(), got, want)
		}
	}
	seen := 0
	x.EachPack(func(id restic.ID, blobs []pack.Blob) bool {
		for _, p := range []Pack{a, b, tree} {
			if p.ID == id {
				seen++
				if !slices.Equal(blobs, p.Blobs) {
					t.Errorf("pack %s has other blobs", id.Short())
				}
			}
		}
		return true
	})
	if seen != 3 {
		t.Errorf("%d packs", seen)
	}
	y, err := x.Without(func(id restic.ID) bool { return id == a.ID })
	if err != nil {
		t.Fatal(err)
	}
	if y.Has(handle(0, restic.DataBlob)) || len(y.Lookup(handle(4500, restic.DataBlob), nil)) != 1 || y.HasPack(a.ID) || !y.HasPack(b.ID) {
		t.Error("Without kept what it should drop, or the other way round")
	}
}

func TestClaimsAreExclusiveUntilTheyEnd(t *testing.T) {
	t.Parallel()
	x := New()
	h := handle(1, restic.DataBlob)
	if !x.Claim(h) || x.Claim(h) || !x.Claim(handle(1, restic.TreeBlob)) {
		t.Error("claim")
	}
	x.ReleaseClaims()
	if !x.Claim(h) {
		t.Error("claim after release of all")
	}
	x.Release(h)
	var wg sync.WaitGroup
	won := make(chan int, 8)
	for i := range 8 {
		wg.Go(func() {
			if x.Claim(h) {
				won <- i
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d claims won", len(won))
	}
	mustAdd(t, x, packOf(1, 1, 1, restic.DataBlob))
	x.ReleaseClaims()
	if x.Claim(h) {
		t.Error("a stored blob was claimed")
	}
}

func TestMarks(t *testing.T) {
	t.Parallel()
	x := New()
	mustAdd(t, x, packOf(1, 0, 100, restic.DataBlob))
	mustAdd(t, x, packOf(2, 50, 100, restic.DataBlob))
	m := x.NewMarks()
	for i := 0; i < 150; i += 3 {
		if first, known := m.Mark(handle(i, restic.DataBlob)); !first || !known {
			t.Errorf("mark %d: first %v, known %v", i, first, known)
		}
		if first, known := m.Mark(handle(i, restic.DataBlob)); first || !known {
			t.Errorf("mark %d again: first %v, known %v", i, first, known)
		}
	}
	if _, known := m.Mark(handle(1000, restic.DataBlob)); known {
		t.Error("an unknown blob was marked")
	}
	// Blobs that come later can be marked, and marks stay with their blobs.
	mustAdd(t, x, packOf(3, 150, 5000, restic.DataBlob))
	if first, known := m.Mark(handle(4000, restic.DataBlob)); !first || !known {
		t.Error("a blob that came later")
	}
	for i := range 150 {
		if m.Has(handle(i, restic.DataBlob)) != (i%3 == 0) {
			t.Errorf("blob %d marked: %v", i, i%3 != 0)
		}
	}
	if m.Has(handle(151, restic.DataBlob)) || m.Has(handle(4001, restic.DataBlob)) {
		t.Error("a blob is marked that was not")
	}
}

func TestFilesComeBackAndAreCounted(t *testing.T) {
	t.Parallel()
	packs := []Pack{packOf(1, 0, 10, restic.DataBlob), packOf(2, 0, 3, restic.TreeBlob)}
	doc := EncodeFile(packs)
	got, err := DecodeFile(doc)
	if err != nil || !reflect.DeepEqual(got, packs) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, ok := decodeFast(doc); !ok {
		t.Error("the fast decoder does not read what we write")
	}
	slow, err := decodeSlow(doc)
	if err != nil || !reflect.DeepEqual(slow, packs) {
		t.Errorf("slow: %+v, %v", slow, err)
	}
	old := []byte(fmt.Sprintf(`{"supersedes":[%q],%s`, restic.ID{9}, doc[1:]))
	if got, err := DecodeFile(old); err != nil || !reflect.DeepEqual(got, packs) {
		t.Errorf("with supersedes: %+v, %v", got, err)
	}
	x := New()
	if err := x.AddFile(restic.ID{7}, packs); err != nil || !x.HasFile(restic.ID{7}) || len(x.Files()[restic.ID{7}]) != 2 {
		t.Errorf("files: %v, %v", x.Files(), err)
	}
	x.DropFile(restic.ID{7})
	if x.HasFile(restic.ID{7}) || !x.HasPack(restic.ID{1}) {
		t.Error("DropFile")
	}
}

func TestImpossibleFilesAreRefused(t *testing.T) {
	t.Parallel()
	id := restic.ID{1}.String()
	blob := func(rest string) string {
		return `{"packs":[{"id":"` + id + `","blobs":[{"id":"` + id + `",` + rest + `}]}]}`
	}
	for name, doc := range map[string]string{
		"nothing": "", "unknown type": blob(`"type":"x","offset":0,"length":40`), "no type": blob(`"offset":0,"length":40`),
		"short": blob(`"type":"data","offset":0,"length":31`), "beyond 4 GiB": blob(`"type":"data","offset":4294967295,"length":40`),
		"too large a number": blob(`"type":"data","offset":4294967296,"length":40`), "negative": blob(`"type":"data","offset":-1,"length":40`),
		"bad id": `{"packs":[{"id":"xyz","blobs":[]}]}`, "trailing": `{"packs":[]}{`,
	} {
		if packs, err := DecodeFile([]byte(doc)); err == nil {
			t.Errorf("%s: accepted as %+v", name, packs)
		}
	}
}

// A hostile index cannot make insertion take forever.
func TestCopiesAreBounded(t *testing.T) {
	t.Parallel()
	p := Pack{ID: restic.ID{1}}
	for i := range 10_000 {
		p.Blobs = append(p.Blobs, pack.Blob{Handle: handle(1, restic.DataBlob), Offset: uint32(i * 100), Length: 100})
	}
	if err := New().AddPack(p); !errors.Is(err, errCopies) {
		t.Errorf("%v", err)
	}
}

// Issue 4: at most 60 bytes a blob, at sizes just after the table has grown.
func TestMemoryPerBlob(t *testing.T) {
	t.Parallel()
	for _, n := range []int{300_000, 500_000} {
		x := New()
		for p := range n / 1000 {
			pk := Pack{ID: restic.ID{byte(p), byte(p >> 8)}}
			for i := range 1000 {
				pk.Blobs = append(pk.Blobs, pack.Blob{Handle: handle(p*1000+i, restic.DataBlob), Offset: uint32(i), Length: 100})
			}
			mustAdd(t, x, pk)
		}
		if per := float64(x.MemoryUse()) / float64(n); per > 60 {
			t.Errorf("%d blobs: %.1f bytes each", n, per)
		} else {
			t.Logf("%d blobs: %.1f bytes each", n, per)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	x := New()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				n := rand.IntN(1000)
				if err := x.AddPack(packOf(byte(w*50+i), n, 50, restic.DataBlob)); err != nil {
					t.Error(err)
				}
				x.Lookup(handle(n, restic.DataBlob), nil)
				m := x.NewMarks()
				m.Mark(handle(n, restic.DataBlob))
				x.EachPack(func(restic.ID, []pack.Blob) bool { return true })
			}
		})
	}
	wg.Wait()
	if packs, _, _ := x.Counts(); packs != 200 {
		t.Errorf("%d packs", packs)
	}
}

func FuzzDecodeFile(f *testing.F) {
	f.Add(EncodeFile([]Pack{packOf(1, 0, 2, restic.DataBlob), packOf(2, 0, 1, restic.TreeBlob)}))
	f.Add([]byte(`{"packs":[{"blobs":null,"id":null}],"supersedes":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		fast, ok := decodeFast(doc)
		slow, err := decodeSlow(doc)
		if ok && err == nil {
			if len(fast) != len(slow) {
				t.Fatalf("%d packs and %d", len(fast), len(slow))
			}
			for i := range fast {
				if fast[i].ID != slow[i].ID || !slices.Equal(fast[i].Blobs, slow[i].Blobs) {
					t.Fatalf("pack %d: %+v and %+v", i, fast[i], slow[i])
				}
			}
		}
		packs, err := DecodeFile(doc)
		if err != nil {
			return
		}
		x := New()
		if err := x.AddFile(restic.ID{1}, packs); err != nil && !errors.Is(err, errCopies) {
			t.Fatal(err)
		}
	})
}

// What a cache gives back is what was put there, and never more than there is
// memory for.
func FuzzDecodeBinary(f *testing.F) {
	f.Add(AppendBinary(nil, []Pack{packOf(1, 0, 2, restic.DataBlob), packOf(2, 0, 1, restic.TreeBlob)}))
	f.Add(append(make([]byte, restic.IDSize), 0xff, 0xff, 0xff, 0xff, 0x0f))
	f.Fuzz(func(t *testing.T, b []byte) {
		packs, err := DecodeBinary(b)
		if err != nil {
			return
		}
		again, err := DecodeBinary(AppendBinary(nil, packs))
		if err != nil || len(again) != len(packs) {
			t.Fatalf("%d packs become %d, %v", len(packs), len(again), err)
		}
		for i := range packs {
			if again[i].ID != packs[i].ID || !slices.Equal(again[i].Blobs, packs[i].Blobs) {
				t.Fatalf("pack %d: %+v becomes %+v", i, packs[i], again[i])
			}
		}
	})
}

func BenchmarkDecodeFile(b *testing.B) {
	doc := EncodeFile([]Pack{packOf(1, 0, 50_000, restic.DataBlob)})
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := DecodeFile(doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	x := New()
	mustAdd(b, x, packOf(1, 0, 100_000, restic.DataBlob))
	handles := make([]restic.BlobHandle, 1000)
	for i := range handles {
		handles[i] = handle(i*100, restic.DataBlob)
	}
	var dst []restic.PackedBlob
	for i := 0; b.Loop(); i++ {
		dst = x.Lookup(handles[i%1000], dst[:0])
	}
}
