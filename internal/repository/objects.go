package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// put stores an object under its hash. Names are made of random nonces, so an
// object that is there already is this one, stored by an attempt whose answer
// was lost.
func put(ctx context.Context, be backend.Backend, kind backend.Kind, id restic.ID, data []byte) error {
	h := backend.Handle{Kind: kind, Name: id.String()}
	sum := [32]byte(id)
	err := be.Put(ctx, h, data, backend.PutOptions{SHA256: &sum, CreateOnly: true})
	if errors.Is(err, backend.ErrExists) {
		return nil
	}
	return err
}

// listIDs returns the names of a kind that are ids. Other names, left by other
// programs, are not ours to touch.
func listIDs(ctx context.Context, be backend.Backend, kind backend.Kind) ([]restic.ID, error) {
	var ids []restic.ID
	err := be.List(ctx, kind, func(name string, _ int64, _ time.Time) error {
		if id, err := restic.ParseID(name); err == nil {
			ids = append(ids, id)
		}
		return nil
	})
	return ids, err
}

// readNamed returns an object whose name is the hash of its bytes, and
// ErrDamaged if it is not.
func readNamed(ctx context.Context, be backend.Backend, kind backend.Kind, id restic.ID, limit int64) ([]byte, error) {
	h := backend.Handle{Kind: kind, Name: id.String()}
	data, err := backend.ReadAll(ctx, be, h, limit)
	if errors.Is(err, backend.ErrTooLarge) {
		return nil, damaged(h.String(), err)
	}
	if err != nil {
		return nil, err
	}
	if got := restic.Hash(data); got != id {
		return nil, mismatch(h.String(), got)
	}
	return data, nil
}

// versionByte precedes the compressed JSON of index, snapshot and lock. What
// other versions wrote raw begins with a brace or a bracket.
const versionByte = 2

// sealDocument compresses and seals the JSON of an index, snapshot or lock.
func (r *Repository) sealDocument(plain []byte) []byte {
	buf := make([]byte, 1, len(plain)/2+64)
	buf[0] = versionByte
	return r.key.Seal(nil, r.zenc.EncodeAll(plain, buf))
}

// saveDocument stores the JSON under the hash of its sealed form.
func (r *Repository) saveDocument(ctx context.Context, kind backend.Kind, plain []byte) (restic.ID, error) {
	sealed := r.sealDocument(plain)
	id := restic.Hash(sealed)
	if err := put(ctx, r.be, kind, id, sealed); err != nil {
		return restic.ID{}, err
	}
	return id, nil
}

const (
	// maxIndexRatio is by how much an index file may grow when decompressed,
	// if it becomes larger than smallDocument. It is made of ids, which do not
	// compress: real ones become four times as large.
	maxIndexRatio = 64
	smallDocument = 4 << 20
)

// loadDocument returns the JSON of an index, snapshot or lock. limit bounds
// its size in bytes.
func (r *Repository) loadDocument(ctx context.Context, kind backend.Kind, id restic.ID, limit int) ([]byte, error) {
	sealed, err := readNamed(ctx, r.be, kind, id, int64(limit)+crypto.Overhead+1)
	if err != nil {
		return nil, err
	}
	if kind == backend.KindIndex {
		limit = min(limit, max(smallDocument, maxIndexRatio*len(sealed)))
	}
	plain, err := r.openDocument(sealed, limit)
	if err != nil {
		return nil, damaged(kind.String()+" "+id.Short(), err)
	}
	return plain, nil
}

func (r *Repository) openDocument(sealed []byte, limit int) ([]byte, error) {
	plain, err := r.key.Open(nil, sealed)
	if err != nil {
		return nil, err
	}
	switch {
	case len(plain) == 0:
		return nil, errors.New("document is empty")
	case plain[0] == '{' || plain[0] == '[':
		return plain, nil
	case plain[0] != versionByte:
		return nil, fmt.Errorf("document has version %d", plain[0])
	}
	return r.zdec.documents(plain[1:], limit)
}
