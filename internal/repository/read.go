package repository

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
)

// maxDataBlob bounds a piece of a file, in bytes. Programs cut files into
// pieces of at most 8 MiB; no pack is larger than this.
const maxDataBlob = 128 << 20

// maxPlain is how long a blob can be, in bytes.
func maxPlain(t restic.BlobType) int {
	if t == restic.TreeBlob {
		return restic.MaxTreeSize
	}
	return maxDataBlob
}

// LoadPackRange reads length bytes from offset of a pack. It returns buf,
// grown if need be.
func (r *Repository) LoadPackRange(ctx context.Context, id restic.ID, offset, length int64, buf []byte) ([]byte, error) {
	if length <= 0 || length > restic.MaxTreeSize+crypto.Overhead {
		return nil, fmt.Errorf("load %d bytes of pack %s: not a possible length", length, id.Short())
	}
	h := backend.Handle{Kind: backend.KindData, Name: id.String()}
	err := r.be.Get(ctx, h, offset, length, func(rd io.Reader) error {
		read, err := readFull(rd, buf[:0], int(length))
		if err == nil {
			buf = read
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load pack %s: %w", id.Short(), err)
	}
	return buf, nil
}

// trusted is how many bytes are allocated because the index says that there
// are so many. What is longer has to arrive first.
const trusted = 16 << 20

// readFull reads n bytes into buf, which grows if need be.
func readFull(rd io.Reader, buf []byte, n int) ([]byte, error) {
	for len(buf) < n {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, min(n, max(trusted, 2*len(buf)))), buf...)
		}
		at := len(buf)
		buf = buf[:min(n, cap(buf))]
		if _, err := io.ReadFull(rd, buf[at:]); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// DecodeBlob opens the sealed bytes of blob h, which LookupBlob said lie at
// b, and appends the plaintext to dst. It returns ErrDamaged, wrapped, if they
// are not that blob. sealed is not changed; dst must not overlap it.
func (r *Repository) DecodeBlob(b PackedBlob, h restic.BlobHandle, sealed, dst []byte) ([]byte, error) {
	if int64(len(sealed)) != int64(b.Length) {
		return nil, fmt.Errorf("decode %s: %d sealed bytes, want %d", h, len(sealed), b.Length)
	}
	plain, err := r.decodeSealed(h, b.UncompressedLength, sealed, dst)
	if err != nil {
		return nil, damaged(fmt.Sprintf("%s in pack %s", h, b.Pack.Short()), err)
	}
	return plain, nil
}

func (r *Repository) decodeSealed(h restic.BlobHandle, plainLen uint32, sealed, dst []byte) ([]byte, error) {
	start := len(dst)
	var err error
	if plainLen == 0 {
		dst, err = r.key.Open(dst, sealed)
	} else {
		if limit := maxPlain(h.Type); int64(plainLen) > int64(limit) {
			return nil, fmt.Errorf("it claims to be %d bytes, more than the limit of %d", plainLen, limit)
		}
		body := r.scratch.get(len(sealed))
		defer r.scratch.put(body)
		if *body, err = r.key.Open((*body)[:0], sealed); err == nil {
			dst, err = r.zdec.blob(dst, *body, int(plainLen))
		}
	}
	if err != nil {
		return nil, err
	}
	if got := restic.Hash(dst[start:]); got != h.ID {
		return nil, fmt.Errorf("its content is %s", got.Short())
	}
	return dst, nil
}

// LoadBlob returns the plaintext of a blob in buf, grown if need be. If one
// copy is damaged or gone it tries the others. Errors: ErrUnknownBlob, or a
// *BlobError for each copy, with ErrDamaged or what the backend reports.
//
// Trees are read through a small cache of stretches of packs, because they are
// needed in about the order in which they lie.
func (r *Repository) LoadBlob(ctx context.Context, h restic.BlobHandle, buf []byte) ([]byte, error) {
	places := r.index().Lookup(h, nil)
	if len(places) == 0 {
		return nil, fmt.Errorf("load %s: %w", h, ErrUnknownBlob)
	}
	var errs []error
	for _, b := range places {
		plain, err := r.loadPlace(ctx, h, b, buf[:0])
		if err == nil {
			return plain, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		errs = append(errs, &BlobError{Blob: h, Pack: b.Pack, Err: err})
	}
	return nil, errors.Join(errs...)
}

func (r *Repository) loadPlace(ctx context.Context, h restic.BlobHandle, b PackedBlob, buf []byte) ([]byte, error) {
	if h.Type == restic.TreeBlob && b.Length <= windowStep {
		sealed, err := r.trees.load(ctx, b)
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", h, err)
		}
		plain, err := r.DecodeBlob(b, h, sealed, buf)
		if err == nil {
			return plain, nil
		}
		// What is damaged must not be remembered: the next read may be right.
		r.trees.forget(b.Pack)
		return nil, err
	}
	scratch := r.scratch.get(min(int(b.Length), trusted))
	defer r.scratch.put(scratch)
	sealed, err := r.LoadPackRange(ctx, b.Pack, int64(b.Offset), int64(b.Length), *scratch)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", h, err)
	}
	*scratch = sealed
	return r.DecodeBlob(b, h, sealed, buf)
}

// LoadTree returns the directory with this id.
func (r *Repository) LoadTree(ctx context.Context, id restic.ID) (*restic.Tree, error) {
	scratch := r.scratch.get(64 << 10)
	defer r.scratch.put(scratch)
	plain, err := r.LoadBlob(ctx, restic.BlobHandle{ID: id, Type: restic.TreeBlob}, *scratch)
	if err != nil {
		return nil, err
	}
	*scratch = plain
	tree, err := restic.DecodeTree(plain)
	if err != nil {
		return nil, damaged("tree "+id.Short(), err)
	}
	return tree, nil
}
