package restorer

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// Proven remembers which pieces of content were found sound, so that each is
// read once however many files hold it, and a proof that was interrupted goes
// on where it was. It takes about 20 bytes a piece, less than the index that
// lists the piece. The zero Proven is empty and ready; it may be used by
// several goroutines.
type Proven struct {
	mu  sync.Mutex
	ids map[[16]byte]struct{} // half of a SHA-256: more than enough to tell pieces apart
}

func (p *Proven) add(id restic.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ids == nil {
		p.ids = map[[16]byte]struct{}{}
	}
	p.ids[[16]byte(id[:])] = struct{}{}
}

func (p *Proven) has(id restic.ID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.ids[[16]byte(id[:])]
	return ok
}

// Count returns how many pieces were found sound.
func (p *Proven) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ids)
}

// Prove reads everything that a restore of the snapshot would read, each
// directory and each piece of content once, and checks it against its hash. It
// writes nothing. What is in proven already is not read again; what is found
// sound is added to it. Of opts only Progress and Workers count.
//
// The report is never nil; with ErrIncomplete its Failed names the files that
// a restore would lack. Bytes that a cache of repo holds prove nothing about
// the store: give it one that has none.
func Prove(ctx context.Context, repo Repository, sn *restic.Snapshot, proven *Proven, opts Options) (*Report, error) {
	r := &run{repo: repo, opts: Options{DryRun: true, Progress: opts.Progress, Workers: opts.Workers}, proven: proven}
	r.stats.init(&r.opts, sn)
	if sn.Tree == nil {
		return r.stats.report(), errors.New("prove: the snapshot names no tree")
	}
	err := r.do(ctx, *sn.Tree)
	report := r.stats.report()
	switch {
	case err != nil && ctx.Err() != nil:
		return report, context.Cause(ctx)
	case err != nil:
		return report, err
	case report.FailedCount > 0:
		return report, incomplete(report)
	}
	return report, nil
}

// checkFile refuses what no restore could make sense of.
func checkFile(node *restic.Node) error {
	if node.Size > 0 && len(node.Content) == 0 {
		return fmt.Errorf("it has %d bytes and no list of content", node.Size)
	}
	return nil
}

// proveBatch reads what the files of a batch need and nobody has read yet.
func (r *run) proveBatch(ctx context.Context, b *batch) error {
	needs := make(map[restic.ID][]place, len(b.files))
	for _, f := range b.files {
		wanted := int64(0)
		for _, id := range f.node.Content {
			if !r.proven.has(id) {
				needs[id] = append(needs[id], place{file: f})
				wanted++
				continue
			}
			n, err := r.plainLength(id)
			if err != nil {
				return err // it was there a moment ago
			}
			r.stats.kept.Add(uint64(n)) //nolint:gosec // not negative
		}
		f.pending.Store(wanted)
		if wanted == 0 {
			r.stats.file(f)
		}
	}
	return r.fetch(ctx, needs)
}

// count is write for a proof: a piece of a file is sound.
func (r *run) count(p place, n int) {
	r.stats.wrote(n, p.file)
	if p.file.pending.Add(-1) == 0 {
		r.stats.file(p.file)
	}
}
