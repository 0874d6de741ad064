package repository

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// donorSnapshots is in how many snapshots of a donor a file is looked for,
// those nearest in time first: the backups of one run are minutes apart.
const donorSnapshots = 5

// fromDonors returns the content of a blob from the first donor that has it,
// nil if none has. The blob itself is looked for first. Large files are cut
// elsewhere in every repository, so then the stretch of the file is: what
// comes is compared with the blob's name, whatever the donor holds.
func (m *mender) fromDonors(ctx context.Context, h restic.BlobHandle) ([]byte, error) {
	for _, d := range m.donors {
		plain, err := d.blob(ctx, h)
		if err == nil && plain == nil && h.Type == restic.DataBlob {
			plain, err = m.stretch(ctx, d, h)
		}
		if err != nil || plain != nil {
			return plain, err
		}
	}
	return nil, nil
}

// donor is a repository that may have what ours lost.
type donor struct {
	*Repository
	snapshots []*restic.Snapshot
}

func (d *donor) blob(ctx context.Context, h restic.BlobHandle) ([]byte, error) {
	if !d.Has(h) {
		return nil, nil
	}
	plain, err := d.LoadBlob(ctx, h, nil)
	if err != nil && isDamage(err) {
		return nil, nil
	}
	return plain, err
}

// stretch finds the blob in a file of the donor, at the place where it lies in
// one of ours.
func (m *mender) stretch(ctx context.Context, d *donor, h restic.BlobHandle) ([]byte, error) {
	places := m.c.r.idx.Lookup(h, nil)
	if len(places) == 0 {
		return nil, nil // how long it is nobody knows
	}
	length := int64(places[0].PlaintextLength())
	for _, a := range m.c.affected[h] {
		own := m.c.snapshot(a.Snapshot)
		if own == nil {
			continue
		}
		from, err := m.offset(ctx, own, a.Path, h.ID)
		if err != nil || from < 0 {
			if err != nil && !isDamage(err) {
				return nil, err
			}
			continue
		}
		for _, sn := range d.nearest(own.Time) {
			plain, err := d.read(ctx, sn, a.Path, from, length)
			if err != nil && !isDamage(err) {
				return nil, err
			}
			if err == nil && restic.Hash(plain) == h.ID {
				return plain, nil
			}
		}
	}
	return nil, nil
}

func (c *checker) snapshot(id restic.ID) *restic.Snapshot {
	if i := slices.IndexFunc(c.snapshots, func(s *restic.Snapshot) bool { return s.ID == id }); i >= 0 {
		return c.snapshots[i]
	}
	return nil
}

// offset returns where the blob begins in the file, -1 if that is not known.
func (m *mender) offset(ctx context.Context, sn *restic.Snapshot, path string, blob restic.ID) (int64, error) {
	n, err := m.c.r.fileAt(ctx, sn, path)
	if err != nil || n == nil {
		return -1, err
	}
	var at int64
	for _, id := range n.Content {
		if id == blob {
			return at, nil
		}
		places := m.c.r.idx.Lookup(restic.BlobHandle{ID: id, Type: restic.DataBlob}, nil)
		if len(places) == 0 {
			return -1, nil
		}
		at += int64(places[0].PlaintextLength())
	}
	return -1, nil
}

// nearest returns the snapshots nearest in time.
func (d *donor) nearest(at time.Time) []*restic.Snapshot {
	list := slices.Clone(d.snapshots)
	slices.SortStableFunc(list, func(a, b *restic.Snapshot) int {
		return cmp.Compare(a.Time.Sub(at).Abs(), b.Time.Sub(at).Abs())
	})
	return list[:min(donorSnapshots, len(list))]
}

// read returns a stretch of a file, or what there is of it.
func (d *donor) read(ctx context.Context, sn *restic.Snapshot, path string, from, length int64) ([]byte, error) {
	n, err := d.fileAt(ctx, sn, path)
	if err != nil || n == nil {
		return nil, err
	}
	var out []byte
	var at int64
	for _, id := range n.Content {
		h := restic.BlobHandle{ID: id, Type: restic.DataBlob}
		places := d.LookupBlob(h)
		if len(places) == 0 {
			return nil, nil
		}
		end := at + int64(places[0].PlaintextLength())
		if end > from && at < from+length {
			plain, err := d.LoadBlob(ctx, h, nil)
			if err != nil {
				return nil, err
			}
			if int64(len(plain)) != end-at {
				return nil, nil
			}
			out = append(out, plain[max(from-at, 0):min(from+length, end)-at]...)
		}
		at = end
	}
	return out, nil
}

// fileAt returns the node of a file of a snapshot, nil if there is none. path
// begins with a slash.
func (r *Repository) fileAt(ctx context.Context, sn *restic.Snapshot, path string) (*restic.Node, error) {
	tree := *sn.Tree
	names := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, name := range names {
		t, err := r.LoadTree(ctx, tree)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(t.Nodes, func(n *restic.Node) bool { return n.Name == name })
		switch {
		case at < 0:
			return nil, nil
		case i == len(names)-1 && t.Nodes[at].Type == restic.TypeFile:
			return t.Nodes[at], nil
		case t.Nodes[at].Subtree == nil:
			return nil, nil
		}
		tree = *t.Nodes[at].Subtree
	}
	return nil, nil
}
