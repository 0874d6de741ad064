package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver/chunker"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// stageBytes bounds what the measurement of the stages holds in memory.
const stageBytes = 512 << 20

// largeFile is the size from which a file is cut into chunks, as the archiver
// does it.
const largeFile = 512 << 10

// stageRate is how fast the stages of a backup are without any I/O.
type stageRate struct {
	Bytes int64         `json:"bytes"`
	Wall  time.Duration `json:"wall"`
	CPU   time.Duration `json:"cpu"`
}

// sink is a backend that keeps everything but the packs.
type sink struct{ *mem.Backend }

func (s sink) Put(ctx context.Context, h backend.Handle, data []byte, opt backend.PutOptions) error {
	if h.Kind == backend.KindData {
		return nil
	}
	return s.Backend.Put(ctx, h, data, opt)
}

// stages sends a share of the tree through cut, hash, compress, encrypt and
// pack on all processors, from memory into nothing, and prints the rate. No
// backup of these bytes with this engine can be faster.
func stages(ctx context.Context, dir string, stdout io.Writer) error {
	files, err := sampleTree(dir)
	if err != nil {
		return err
	}
	repo, err := repository.Init(ctx, sink{mem.New()}, secret.New(password), repository.InitOptions{})
	if err != nil {
		return err
	}
	rate, err := saveAll(ctx, repo, files)
	if err := errors.Join(err, repo.Close()); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(rate)
}

func saveAll(ctx context.Context, repo *repository.Repository, files [][]byte) (stageRate, error) {
	before, err := self()
	if err != nil {
		return stageRate{}, err
	}
	began := time.Now()
	table := chunker.NewTable(repo.ChunkerKey())
	var next, total atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error {
			cutter := chunker.NewReader(table, nil)
			buf := make([]byte, chunker.MaxSize)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(files) {
					return nil
				}
				total.Add(int64(len(files[i])))
				if err := saveFile(gctx, repo, cutter, buf, files[i]); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return stageRate{}, err
	}
	if err := repo.Flush(ctx); err != nil {
		return stageRate{}, err
	}
	wall := time.Since(began)
	after, err := self()
	return stageRate{Bytes: total.Load(), Wall: wall, CPU: after.CPU - before.CPU}, err
}

func saveFile(ctx context.Context, repo *repository.Repository, cutter *chunker.Reader, buf, data []byte) error {
	if len(data) <= largeFile {
		_, _, _, err := repo.SaveBlob(ctx, restic.DataBlob, data)
		return err
	}
	cutter.Reset(bytes.NewReader(data))
	for {
		chunk, err := cutter.Next(buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, _, _, err := repo.SaveBlob(ctx, restic.DataBlob, chunk); err != nil {
			return err
		}
	}
}

// sampleTree reads a share of the tree that fits into stageBytes: every k-th
// small file whole, and of large ones the first k-th part in pieces, so that
// both processors find work to the end.
func sampleTree(dir string) ([][]byte, error) {
	_, size, err := treeSize(dir)
	if err != nil {
		return nil, err
	}
	k := max(1, (size+stageBytes-1)/stageBytes)
	const piece = 8 << 20
	var files [][]byte
	n := int64(0)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		n++
		part := info.Size()
		switch {
		case part > largeFile:
			part /= k
		case n%k != 0:
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // only read from
		for part > 0 {
			data := make([]byte, min(part, piece))
			if _, err := io.ReadFull(f, data); err != nil {
				return fmt.Errorf("read %s: %w", path, err)
			}
			files = append(files, data)
			part -= int64(len(data))
		}
		return nil
	})
	return files, err
}
