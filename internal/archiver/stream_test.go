package archiver_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/trees"
)

func TestStreamsBecomeFiles(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1"})
	dump := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(dump)
	stream := func(p string, r io.Reader, closeErr error) archiver.Stream {
		return archiver.Stream{Path: p, Open: func(context.Context) (io.ReadCloser, error) { return &closer{r, closeErr}, nil }}
	}
	repo := newSpy(t)
	at := time.Date(2026, 3, 1, 2, 30, 0, 0, time.UTC)
	sn, report := mustBackup(t, repo, archiver.Request{
		Sources: one(root), Time: at,
		Streams: []archiver.Stream{
			stream("/postgresql/db/shop.dump", bytes.NewReader(dump), nil),
			stream(root+"/tiny.dump", strings.NewReader("x"), nil),
		},
	})
	if got := content(t, repo.Repository, sn, "/postgresql/db/shop.dump"); got != string(dump) {
		t.Errorf("the stream has %d bytes, want %d", len(got), len(dump))
	}
	if got := content(t, repo.Repository, sn, root+"/tiny.dump"); got != "x" {
		t.Errorf("the stream is %q, want x", got)
	}
	n, err := trees.Find(t.Context(), repo, *sn.Tree, "/postgresql/db")
	if err != nil || n.Mode != os.ModeDir|0o700 || !n.ModTime.Equal(at) {
		t.Errorf("the stream's directory is %+v, %v", n, err)
	}
	if report.Summary.TotalFilesProcessed != 3 || !slices.Contains(sn.Paths, "/postgresql/db/shop.dump") {
		t.Errorf("summary %+v, paths %q", report.Summary, sn.Paths)
	}

	broken := errors.New("dump failed")
	for name, s := range map[string]archiver.Stream{
		"does not open": {Path: "/x", Open: func(context.Context) (io.ReadCloser, error) { return nil, broken }},
		"ends early":    stream("/x", io.MultiReader(bytes.NewReader(dump), iotest.ErrReader(broken)), nil),
		"exits badly":   stream("/x", bytes.NewReader(dump), broken),
	} {
		_, _, err := archiver.Backup(t.Context(), repo, archiver.Request{Sources: one(root), Streams: []archiver.Stream{s}})
		var se *archiver.StreamError
		if !errors.Is(err, broken) || !errors.As(err, &se) || se.Path != "/x" {
			t.Errorf("Backup() of a stream that %s = %v, want the failure and the path", name, err)
		}
	}
	_, _, err = archiver.Backup(t.Context(), repo, archiver.Request{Streams: []archiver.Stream{stream("/x", strings.NewReader(""), nil)}})
	if !errors.Is(err, archiver.ErrStreamEmpty) {
		t.Errorf("Backup() of an empty stream = %v, want ErrStreamEmpty", err)
	}
	found, err := repo.Snapshots(t.Context(), nil)
	if err != nil || len(found) != 1 {
		t.Errorf("%d snapshots, %v; want the good one only", len(found), err)
	}
}

type closer struct {
	io.Reader
	err error
}

func (c *closer) Close() error { return c.err }

func TestHangingStreamIsInterrupted(t *testing.T) {
	t.Parallel()

	stop := errors.New("timed out")
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write([]byte("begin")) // and then nothing more
		cancel(stop)
	}()
	_, _, err := archiver.Backup(ctx, newSpy(t), archiver.Request{Streams: []archiver.Stream{
		{Path: "/hangs", Open: func(context.Context) (io.ReadCloser, error) { return r, nil }},
	}})
	if !errors.Is(err, stop) {
		t.Errorf("Backup() = %v, want the cause of the cancellation", err)
	}
}

func TestSealSetsTagsAndMayRefuse(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1"})
	repo := newSpy(t)
	sn, _ := mustBackup(t, repo, archiver.Request{
		Sources: one(root), Tags: restic.TagList{"envbackup"},
		Seal: func(sn *restic.Snapshot, r *archiver.Report) error {
			if r.Summary.FilesNew != 1 {
				t.Errorf("Seal sees %+v, want a finished report", r.Summary)
			}
			sn.Tags = sn.Tags.With("status", "complete")
			return nil
		},
	})
	loaded, err := repo.LoadSnapshot(t.Context(), sn.ID)
	if err != nil || !slices.Equal(loaded.Tags, restic.TagList{"envbackup", "status=complete"}) {
		t.Errorf("saved tags %v, %v", loaded, err)
	}
	refused := errors.New("suspicious")
	_, _, err = archiver.Backup(t.Context(), repo, archiver.Request{
		Sources: one(root), Seal: func(*restic.Snapshot, *archiver.Report) error { return refused },
	})
	if found, _ := repo.Snapshots(t.Context(), nil); !errors.Is(err, refused) || len(found) != 1 {
		t.Errorf("Backup() = %v with %d snapshots, want the refusal and one", err, len(found))
	}
}

func TestProgressEndsAtTheTotals(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	files := map[string]string{"big": strings.Repeat("x", 20<<20)}
	for i := range 600 {
		files["d/"+string(rune('a'+i%26))+strings.Repeat("n", i/26)] = "content"
	}
	write(t, root, files)
	repo := newSpy(t)
	var calls []archiver.Progress
	req := archiver.Request{Sources: one(root), Progress: func(p archiver.Progress) { calls = append(calls, p) }}
	check := func(report *archiver.Report) {
		t.Helper()
		if len(calls) < 2 {
			t.Fatalf("%d calls, want some on the way and one at the end", len(calls))
		}
		for i := range calls[1:] {
			if calls[i+1].Files < calls[i].Files || calls[i+1].Bytes < calls[i].Bytes {
				t.Errorf("progress goes back: %+v after %+v", calls[i+1], calls[i])
			}
		}
		want := archiver.Progress{Files: 601, Bytes: 20<<20 + 600*7, TotalFiles: 601, TotalBytes: 20<<20 + 600*7, Stored: report.Summary.DataAddedPacked}
		if last := calls[len(calls)-1]; last != want {
			t.Errorf("the last call says %+v, want %+v", last, want)
		}
	}
	sn, report := mustBackup(t, repo, req)
	check(report)
	if report.Summary.DataAddedPacked == 0 {
		t.Error("a first backup says that it stored nothing")
	}
	calls, req.Parent = nil, age(t, sn)
	_, report = mustBackup(t, repo, req)
	check(report)
}

func TestSocketsAreLeftOut(t *testing.T) {
	t.Parallel()

	root := newSource(t)
	write(t, root, map[string]string{"a": "1"})
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: root + "/socket"}); err != nil {
		t.Fatal(err)
	}
	repo := newSpy(t)
	sn, report := mustBackup(t, repo, archiver.Request{Sources: one(root)})
	if got := list(t, repo, sn, root); !slices.Equal(got, []string{"a"}) || report.Partial() {
		t.Errorf("snapshot has %q, report %+v; want the file alone", got, report)
	}
}
