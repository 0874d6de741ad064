package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// generationFile names the generation of a tree, so that a restored tree says
// by itself what it must look like.
const generationFile = "generation"

// writeTree makes dir hold generation n of the test's tree, in place: every
// byte follows from n. About a third of the files change from one generation
// to the next, some appear and some go.
func writeTree(t *testing.T, dir string, n int) {
	t.Helper()
	if err := os.RemoveAll(filepath.Join(dir, "volatile")); err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		// An unchanged file keeps its inode and times: the next backup may
		// take it from its parent.
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
			return
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(generationFile, []byte(strconv.Itoa(n)))
	for i := range 120 {
		changes := i%3 == n%3
		age := 0
		if changes {
			age = n
		}
		write(fmt.Sprintf("stable/%02d/file-%d.txt", i%10, i), content(uint64(i), uint64(age), 2_000+i*10))
	}
	for i := range 20 {
		write(fmt.Sprintf("volatile/gen-%d/%d.bin", n, i), content(uint64(1000+i), uint64(n), 300_000))
	}
	// Several chunks, its middle changes each time.
	big := content(7, 7, 12<<20)
	copy(big[5<<20:], content(8, uint64(n), 1<<20))
	write("big.bin", big)
}

// content is n bytes that follow from two numbers.
func content(a, b uint64, n int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], a)
	binary.LittleEndian.PutUint64(seed[8:], b)
	data := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

// generationOf reads which generation a restored tree claims to be.
func generationOf(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, generationFile))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// fingerprint lists every entry below dir with its mode and content, but
// without times, for comparison with a tree that was made anew.
func fingerprint(t *testing.T, dir string) string {
	t.Helper()
	var lines strings.Builder
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fmt.Fprintf(&lines, "%s %v", name, info.Mode())
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&lines, " %d %x", len(data), sha256.Sum256(data))
		}
		lines.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines.String()
}

// firstDifference shows where two fingerprints part.
func firstDifference(want, got string) string {
	wantLines, gotLines := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(wantLines), len(gotLines)) {
		w, g := "(nothing)", "(nothing)"
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if w != g {
			return fmt.Sprintf("want %s\ngot  %s", w, g)
		}
	}
	return "(no difference)"
}
