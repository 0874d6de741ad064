package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// extent says how much data the contenders get.
type extent struct {
	Rounds int `json:"rounds"`

	// The mixed tree: copies of the Go installation, an SQL dump, random bytes.
	GoCopies  int   `json:"go_copies"`
	DumpBytes int64 `json:"dump_bytes"`
	RandBytes int64 `json:"random_bytes"`

	SmallFiles int `json:"small_files"` // of the small tree
	PruneFiles int `json:"prune_files"` // of the tree behind the snapshots to prune
	Snapshots  int `json:"snapshots"`   // before the prune
	Keep       int `json:"keep"`        // after it
	Schedules  int `json:"schedules"`   // in a Terraform plan
	Backups    int `json:"backups"`     // of the schedule that is edited
}

// wholeExtent is what the bars were set for; reducedExtent fits the same
// shapes into a few minutes.
var (
	wholeExtent   = extent{Rounds: 3, GoCopies: 5, DumpBytes: 500 << 20, RandBytes: 350 << 20, SmallFiles: 100_000, PruneFiles: 10_000, Snapshots: 200, Keep: 20, Schedules: 1000, Backups: 100_000}
	reducedExtent = extent{Rounds: 3, GoCopies: 1, DumpBytes: 100 << 20, RandBytes: 70 << 20, SmallFiles: 20_000, PruneFiles: 2_000, Snapshots: 200, Keep: 20, Schedules: 1000, Backups: 100_000}
)

// seed is the same in every run: figures of different days are about the same
// bytes.
const seed = 20261125

// stamp is the modification time of all generated files, far enough in the
// past that no program takes one for a file which is still being written.
var stamp = time.Date(2026, 1, 2, 3, 4, 5, 678901234, time.UTC)

// The trees.
const (
	mixedTree = "mixed"
	smallTree = "small"
	pruneTree = "prune"
)

// generate makes the tree named kind in dir, which must not exist.
func generate(ctx context.Context, kind, dir, goroot string, x extent) error {
	switch kind {
	case mixedTree:
		for n := range x.GoCopies {
			if err := copyTree(ctx, goroot, filepath.Join(dir, fmt.Sprintf("go%d", n)), byte(n)); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := writeDump(filepath.Join(dir, "dump.sql"), x.DumpBytes); err != nil {
			return err
		}
		return writeRandom(filepath.Join(dir, "random.bin"), x.RandBytes)
	case smallTree:
		return writeSmall(ctx, dir, x.SmallFiles)
	case pruneTree:
		return writeSmall(ctx, dir, x.PruneFiles)
	default:
		return fmt.Errorf("there is no tree named %q", kind)
	}
}

// copyTree copies directories, regular files and links. With a mark other than
// 0 one byte in each 4 KiB differs, so that copies share no blob with each
// other and compress like the original.
func copyTree(ctx context.Context, from, to string, mark byte) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			return os.MkdirAll(target, info.Mode().Perm()|0o700)
		case entry.Type() == fs.ModeSymlink:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, target)
		case !entry.Type().IsRegular():
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i := 0; i < len(data); i += 4096 {
			data[i] ^= mark
		}
		return writeStamped(target, data, info.Mode().Perm())
	})
}

func writeStamped(path string, data []byte, mode fs.FileMode) error {
	if err := os.WriteFile(path, data, mode); err != nil {
		return err
	}
	return os.Chtimes(path, stamp, stamp)
}

// streamed writes a large file piece by piece, so that the process that
// generates stays small.
func streamed(path string, size int64, piece func(w *bufio.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // a second Close is harmless
	counted := &limited{w: f, left: size}
	w := bufio.NewWriterSize(counted, 1<<20)
	for counted.left > 0 {
		if err := piece(w); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chtimes(path, stamp, stamp)
}

// limited passes on the first left bytes and swallows the rest.
type limited struct {
	w    *os.File
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(int64(len(p)), l.left)
	l.left -= n
	if _, err := l.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

func writeRandom(path string, size int64) error {
	source := rand.NewChaCha8([32]byte{1: 1})
	buf := make([]byte, 64<<10)
	return streamed(path, size, func(w *bufio.Writer) error {
		_, _ = source.Read(buf) // it never fails
		_, err := w.Write(buf)
		return err
	})
}

// words is a vocabulary in which some words are far more frequent than others,
// as in any text.
type words struct {
	rng  *rand.Rand
	list []string
	zipf *rand.Zipf
}

func newWords(rng *rand.Rand) *words {
	syllables := strings.Fields("ka re to mi lan der po su vi ne ber ost al qui fer da mon tri sel gu ha")
	w := &words{rng: rng}
	for range 4000 {
		var word strings.Builder
		for range 1 + rng.IntN(4) {
			word.WriteString(syllables[rng.IntN(len(syllables))])
		}
		w.list = append(w.list, word.String())
	}
	w.zipf = rand.NewZipf(rng, 1.2, 4, uint64(len(w.list)-1))
	return w
}

func (w *words) text(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(w.list[w.zipf.Uint64()])
	}
	return b.String()
}

func (w *words) token(bytes int) string {
	raw := make([]byte, bytes)
	for i := range raw {
		raw[i] = byte(w.rng.Uint32())
	}
	return hex.EncodeToString(raw)
}

// writeDump writes what a dump of a shop's orders looks like.
func writeDump(path string, size int64) error {
	w := newWords(rand.New(rand.NewPCG(seed, 1)))
	row := 0
	return streamed(path, size, func(out *bufio.Writer) error { return w.insert(out, &row) })
}

// insert writes one statement of 100 rows.
func (w *words) insert(out *bufio.Writer, row *int) error {
	_, _ = out.WriteString("INSERT INTO `orders` VALUES ") // a failure stays in the writer
	for i := range 100 {
		if i > 0 {
			_, _ = out.WriteString(",")
		}
		*row++
		at := stamp.Add(time.Duration(*row) * 7 * time.Second)
		_, _ = fmt.Fprintf(out, "(%d,'%s','%s','%s',%d.%02d,'%s','%s')", *row, w.token(8), w.text(3), w.text(2+w.rng.IntN(12)),
			w.rng.IntN(900), w.rng.IntN(100), at.Format(time.DateTime), []string{"open", "paid", "sent", "returned"}[w.rng.IntN(4)])
	}
	_, err := out.WriteString(";\n")
	return err
}

// writeSmall writes n documents of about 3 KiB, a hundred in a directory.
func writeSmall(ctx context.Context, dir string, n int) error {
	w := newWords(rand.New(rand.NewPCG(seed, 2)))
	var doc bytes.Buffer
	for i := range n {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		folder := filepath.Join(dir, fmt.Sprintf("%03d", i/10_000), fmt.Sprintf("%03d", i/100%100))
		if i%100 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		doc.Reset()
		fmt.Fprintf(&doc, "{\n  \"id\": %d,\n  \"key\": %q,\n  \"title\": %q,\n  \"items\": [\n", i, w.token(16), w.text(6))
		for range 4 + w.rng.IntN(30) {
			fmt.Fprintf(&doc, "    {\"sku\": %q, \"name\": %q, \"count\": %d, \"price\": %d.%02d},\n",
				w.token(4), w.text(2+w.rng.IntN(8)), w.rng.IntN(20), w.rng.IntN(500), w.rng.IntN(100))
		}
		fmt.Fprintf(&doc, "    null\n  ],\n  \"note\": %q\n}\n", w.text(w.rng.IntN(60)))
		if err := writeStamped(filepath.Join(folder, fmt.Sprintf("%06d.json", i)), doc.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// change edits one regular file in a hundred, another hundredth each round,
// and appends half a percent to a dump. It is what happens to a tree between
// two backups.
func change(ctx context.Context, dir string, round int) (files int, err error) {
	rng := rand.New(rand.NewPCG(seed, 1000+uint64(round)))
	w := newWords(rng)
	n := 0
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !entry.Type().IsRegular():
			return nil
		}
		n++
		switch {
		case entry.Name() == "dump.sql":
			files++
			return appendRows(path, w, round)
		case n%100 == round%100:
			files++
			return edit(path, rng, w)
		}
		return nil
	})
	return files, err
}

func edit(path string, rng *rand.Rand, w *words) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // a second Close is harmless
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(w.text(12)), rng.Int64N(info.Size()+1)); err != nil {
		return err
	}
	return f.Close()
}

func appendRows(path string, w *words, round int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // a second Close is harmless
	info, err := f.Stat()
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	row := 100_000_000 * (1 + round)
	for end := row + int(info.Size()/200/150); row < end; {
		if err := w.insert(out, &row); err != nil {
			return err
		}
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// treeSize counts the regular files below dir and their bytes.
func treeSize(dir string) (files int, bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		files++
		bytes += info.Size()
		return nil
	})
	return files, bytes, err
}
