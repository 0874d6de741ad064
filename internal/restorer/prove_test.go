package restorer_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/mem"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/restorer"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// counting counts the bytes that are read from packs.
type counting struct {
	*repository.Repository
	mu    sync.Mutex
	bytes int64
}

func (c *counting) LoadPackRange(ctx context.Context, pack restic.ID, offset, length int64, buf []byte) ([]byte, error) {
	c.mu.Lock()
	c.bytes += length
	c.mu.Unlock()
	return c.Repository.LoadPackRange(ctx, pack, offset, length, buf)
}

func (c *counting) read() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// S14: a proof reads each piece of content once, however many files hold it,
// and writes nothing. One that was interrupted goes on where it was.
func TestProveReadsEachPieceOnceAndGoesOn(t *testing.T) {
	t.Parallel()
	same := random(1, 4<<20)
	root := fill(t, map[string]string{"a": same, "b": same, "sub/c": same, "d": random(2, 8<<20), "e": "", "f": "x"})
	plain := newRepo(t)
	sn := backup(t, plain, nil, root)

	repo := &counting{Repository: plain}
	var last restorer.Progress
	report, err := restorer.Prove(t.Context(), repo, sn, &restorer.Proven{}, restorer.Options{Progress: func(p restorer.Progress) { last = p }})
	if err != nil || report.FailedCount+report.WarningCount != 0 || report.Files != 6 || report.Bytes != 20<<20+1 {
		t.Fatalf("Prove() = %+v, %v", report, err)
	}
	if last.Files != 6 || last.Bytes != last.TotalBytes || last.TotalBytes != 20<<20+1 {
		t.Errorf("last progress = %+v", last)
	}
	if whole := repo.read(); whole < 12<<20 || whole > 13<<20 {
		t.Errorf("read %d bytes, want each of 12 MiB once", whole)
	}
	again := files(t, root)
	if len(again) != 6 {
		t.Errorf("the source changed: %v", again)
	}

	repo = &counting{Repository: plain}
	var proven restorer.Proven
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("made way")
	_, err = restorer.Prove(ctx, repo, sn, &proven, restorer.Options{Workers: 1, Progress: func(p restorer.Progress) {
		if p.Bytes > 0 {
			cancel(stop)
		}
	}})
	if !errors.Is(err, stop) || proven.Count() == 0 {
		t.Fatalf("interrupted: %v with %d pieces proven", err, proven.Count())
	}
	before := proven.Count()
	rest := &counting{Repository: plain}
	report, err = restorer.Prove(t.Context(), rest, sn, &proven, restorer.Options{})
	if err != nil || report.Files != 6 {
		t.Fatalf("going on: %+v, %v", report, err)
	}
	if rest.read() >= 12<<20 {
		t.Errorf("going on with %d of %d pieces proven read all %d bytes again", before, proven.Count(), rest.read())
	}
}

// S14: whatever single byte of a pack is wrong, if the snapshot needs it the
// proof names the files that it hurts, and the pack; and a file that is not
// hurt is not named. It sees what is stored, not what was read before.
func TestProveFindsEveryFlippedByte(t *testing.T) {
	t.Parallel()
	root := fill(t, map[string]string{"a": random(1, 3000), "b": random(2, 3000), "sub/c": random(3, 3000)})
	store := mem.New()
	repo, err := repository.Init(t.Context(), store, secret.New("password"), repository.InitOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = repo.Close() })
	sn := backup(t, repo, nil, root)
	if _, err := restorer.Prove(t.Context(), repo, sn, &restorer.Proven{}, restorer.Options{}); err != nil {
		t.Fatal(err)
	}
	packs := 0
	err = store.List(t.Context(), backend.KindData, func(name string, size int64, _ time.Time) error {
		packs++
		h := backend.Handle{Kind: backend.KindData, Name: name}
		whole := read(t, store, h)
		// The header at the end is not needed to restore.
		header := int(binary.LittleEndian.Uint32(whole[len(whole)-4:])) + 4
		for offset := 0; offset < len(whole)-header; offset += 97 {
			bad := bytes.Clone(whole)
			bad[offset] ^= 1
			put(t, store, h, bad)
			report, err := restorer.Prove(t.Context(), repo.Uncached(), sn, &restorer.Proven{}, restorer.Options{})
			if !errors.Is(err, restorer.ErrIncomplete) || report.FailedCount == 0 {
				t.Errorf("byte %d of pack %s: %v", offset, name[:8], err)
				continue
			}
			if text := err.Error(); !strings.Contains(text, name[:8]) {
				t.Errorf("byte %d of pack %s: not named in %s", offset, name[:8], text)
			}
		}
		put(t, store, h, whole)
		return nil
	})
	if err != nil || packs != 2 {
		t.Errorf("%d packs, %v; want one of content and one of directories", packs, err)
	}
	if _, err := restorer.Prove(t.Context(), repo.Uncached(), sn, &restorer.Proven{}, restorer.Options{}); err != nil {
		t.Errorf("mended: %v", err)
	}
}

// A file that shares its content with a damaged one is named too, in whichever
// batch it comes; others are not.
func TestProveNamesAllThatShareADamagedPiece(t *testing.T) {
	t.Parallel()
	shared := random(1, 3000)
	root := fill(t, map[string]string{"a": shared, "b": random(2, 3000), "z/c": shared})
	repo := newRepo(t)
	sn := backup(t, repo, nil, root)
	id := restic.Hash([]byte(shared))
	broken := &damagedBlob{Repository: repo, id: id}
	report, err := restorer.Prove(t.Context(), broken, sn, &restorer.Proven{}, restorer.Options{})
	if !errors.Is(err, restorer.ErrIncomplete) {
		t.Fatal(err)
	}
	var named []string
	for _, p := range report.Failed {
		named = append(named, strings.TrimPrefix("/"+p.Path, root+"/"))
	}
	slices.Sort(named)
	if !slices.Equal(named, []string{"a", "z/c"}) || report.Files != 1 {
		t.Errorf("named %v, %d files sound", named, report.Files)
	}
}

// damagedBlob has no sound copy of one blob.
type damagedBlob struct {
	*repository.Repository
	id restic.ID
}

func (d *damagedBlob) DecodeBlob(b restic.PackedBlob, h restic.BlobHandle, sealed, dst []byte) ([]byte, error) {
	if h.ID == d.id {
		return nil, repository.ErrDamaged
	}
	return d.Repository.DecodeBlob(b, h, sealed, dst)
}

func (d *damagedBlob) LoadBlob(ctx context.Context, h restic.BlobHandle, buf []byte) ([]byte, error) {
	if h.ID == d.id {
		return nil, repository.ErrDamaged
	}
	return d.Repository.LoadBlob(ctx, h, buf)
}

func read(t *testing.T, be backend.Backend, h backend.Handle) []byte {
	t.Helper()
	var data []byte
	err := be.Get(t.Context(), h, 0, 0, func(r io.Reader) (err error) { data, err = io.ReadAll(r); return err })
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t *testing.T, be backend.Backend, h backend.Handle, data []byte) {
	t.Helper()
	if err := be.Put(t.Context(), h, data, backend.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// A forged file that claims bytes and lists none would be restored empty.
func TestProveRefusesAFileWithoutItsContent(t *testing.T) {
	t.Parallel()
	repo := newRepo(t)
	tree := saveTree(t, repo, `{"name":"x","type":"file","mode":420,"size":5,"content":null}`)
	if err := repo.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	report, err := restorer.Prove(t.Context(), repo, &restic.Snapshot{Tree: &tree}, &restorer.Proven{}, restorer.Options{})
	if !errors.Is(err, restorer.ErrIncomplete) || report.FailedCount != 1 || !strings.Contains(err.Error(), "5 bytes") {
		t.Errorf("Prove() = %+v, %v", report, err)
	}
	if _, err := restorer.Prove(t.Context(), repo, &restic.Snapshot{}, &restorer.Proven{}, restorer.Options{}); err == nil {
		t.Error("a snapshot without a tree passes")
	}
}
