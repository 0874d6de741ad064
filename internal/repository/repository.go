package repository

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/index"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/localcache"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// VerifyMode says how much of what was just sealed is opened again and
// compared before it is stored.
type VerifyMode uint8

// The modes of verification. VerifySample takes the first blob of each encoder
// and one in sixteen; VerifyAll costs a third more CPU.
const (
	VerifySample VerifyMode = iota
	VerifyAll
	VerifyOff
)

const (
	// DefaultPackSize is the size from which a pack is full, in bytes.
	DefaultPackSize = 16 << 20
	// DefaultUploads is how many packs are in flight at once.
	DefaultUploads = 3
	// packSlack is the room in a pack buffer for the blob that fills it.
	packSlack = 5 << 20
)

// settings are what options change.
type settings struct {
	verify   VerifyMode
	packSize int
	uploads  int
	workers  int
	settle   time.Duration // see lockSettle
	// treeMemory bounds the kept directories, in bytes.
	treeMemory int
	noReadBack bool
	// cachePath is the file of WithCache; empty for none.
	cachePath  string
	cacheLimit int64 // in bytes
}

// Option changes a setting of a Repository.
type Option func(*settings)

// WithVerify sets how much of what is written is verified. The default is
// VerifySample.
func WithVerify(m VerifyMode) Option { return func(s *settings) { s.verify = m } }

// WithPackSize sets the size in bytes from which a pack is full: 4 to 128 MiB,
// the default is DefaultPackSize.
func WithPackSize(n int) Option {
	return func(s *settings) { s.packSize = min(max(n, 4<<20), 128<<20) }
}

// WithUploads sets how many packs may be in flight at once, at least one. The
// default is DefaultUploads.
func WithUploads(n int) Option { return func(s *settings) { s.uploads = max(n, 1) } }

// withSmallPacks lets tests fill many packs with little data.
func withSmallPacks(n int) Option { return func(s *settings) { s.packSize = n } }

// withQuickLocks lets tests that take hundreds of locks alone not wait for
// others.
func withQuickLocks() Option { return func(s *settings) { s.settle = 0 } }

// withoutReadBack lets tests store trees that are none.
func withoutReadBack() Option { return func(s *settings) { s.noReadBack = true } }

// InitOptions describes a new repository. The zero value will do.
type InitOptions struct {
	// RecoveryPassword, if it is not empty, is added as a second password.
	RecoveryPassword secret.String
}

// Repository is an open repository. Its methods may be called concurrently
// unless they say otherwise. Close it when it is no longer needed.
type Repository struct {
	be    backend.Backend
	key   *crypto.Key
	keyID restic.ID
	cfg   config
	set   settings
	who   identity

	zenc    *zstd.Encoder // for documents
	zdec    *decoder
	buffers *bufferPool
	w       *writeState
	trees   *windowCache
	kept    keptTrees
	gate    gate
	// snapshots are those of the last listing.
	snapshots snapshotCache
	scratch   scratchPool
	seenLocks seenLocks

	// local is the cache file, or nil.
	local    *localcache.File
	localErr error

	// idx is replaced as a whole when index files were removed.
	idxMu sync.RWMutex
	idx   *index.Index
	// stale is set when idx knows packs that no index file lists, so that the
	// next LoadIndex starts over.
	stale bool
}

// identity is who writes keys and locks.
type identity struct {
	hostname string
	username string
	uid, gid uint32
	pid      int
}

func currentIdentity() identity {
	who := identity{pid: os.Getpid()}
	// A host without a name still backs up; locks then name nobody.
	who.hostname, _ = os.Hostname()
	if u, err := user.Current(); err == nil {
		who.username = u.Username
		if n, err := strconv.ParseUint(u.Uid, 10, 32); err == nil {
			who.uid = uint32(n)
		}
		if n, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
			who.gid = uint32(n)
		}
	}
	return who
}

// Init makes a repository and opens it. A place that holds one already, or
// what is left of one, is refused with ErrExists and nothing is written.
func Init(ctx context.Context, be backend.Backend, password secret.String, init InitOptions, opts ...Option) (*Repository, error) {
	if password.IsEmpty() {
		return nil, errors.New("create repository: the password is empty")
	}
	_, err := be.Stat(ctx, configHandle)
	switch {
	case err == nil:
		return nil, fmt.Errorf("create repository in %s: %w", be.Location(), ErrExists)
	case !errors.Is(err, backend.ErrNotExist):
		return nil, fmt.Errorf("create repository in %s: %w", be.Location(), err)
	}
	// Keys without a config are what an Init that was interrupted leaves, and
	// also what a lost config leaves; the difference is whether there is data.
	for _, kind := range []backend.Kind{backend.KindSnapshot, backend.KindIndex} {
		ids, err := listIDs(ctx, be, kind)
		if err != nil {
			return nil, fmt.Errorf("create repository in %s: %w", be.Location(), err)
		}
		if len(ids) > 0 {
			return nil, fmt.Errorf("create repository in %s: %w: its config is missing", be.Location(), ErrExists)
		}
	}

	who := currentIdentity()
	master := crypto.NewRandomKey()
	keyID, err := putKey(ctx, be, master, password, who)
	if err != nil {
		return nil, fmt.Errorf("create repository in %s: %w", be.Location(), err)
	}
	if !init.RecoveryPassword.IsEmpty() {
		if _, err := putKey(ctx, be, master, init.RecoveryPassword, who); err != nil {
			return nil, fmt.Errorf("create repository in %s: recovery password: %w", be.Location(), err)
		}
	}
	cfg := newConfig()
	plain, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("encode config: %w", err)
	}
	// The config comes last and only if there is none: it makes the place a
	// repository, and of two Inits at once one wins.
	err = be.Put(ctx, configHandle, master.Seal(nil, plain), backend.PutOptions{CreateOnly: true})
	if errors.Is(err, backend.ErrExists) {
		err = ErrExists
	}
	if err != nil {
		return nil, fmt.Errorf("create repository in %s: %w", be.Location(), err)
	}
	// What is there is what counts, not what was sent.
	if cfg, err = readConfig(ctx, be, master); err != nil {
		return nil, fmt.Errorf("create repository in %s: %w", be.Location(), err)
	}
	return newRepository(be, keyID, master, cfg, who, opts), nil
}

// Open opens a repository. It writes nothing. Errors: ErrNoRepository,
// ErrWrongPassword, ErrUnsupported, ErrDamaged, or what the backend reports.
// The index is not loaded yet, see LoadIndex.
func Open(ctx context.Context, be backend.Backend, password secret.String, opts ...Option) (*Repository, error) {
	// The config and the keys do not depend on each other, and each costs a
	// round trip or two.
	octx, cancel := context.WithCancel(ctx)
	defer cancel()
	type opened struct {
		id  restic.ID
		key *crypto.Key
		err error
	}
	keys := make(chan opened, 1)
	go func() {
		id, key, err := openKeys(octx, be, password)
		keys <- opened{id, key, err}
	}()
	// Get and not Stat: an S3 store explains a refusal only in an answer with
	// a body.
	sealed, err := backend.ReadAll(ctx, be, configHandle, maxConfigSize)
	if err != nil {
		cancel()
	}
	k := <-keys
	switch {
	case errors.Is(err, backend.ErrNotExist):
		err = ErrNoRepository
	case err == nil:
		err = k.err
	}
	var cfg config
	if err == nil {
		cfg, err = openConfig(sealed, k.key)
	}
	if err != nil {
		return nil, fmt.Errorf("open repository in %s: %w", be.Location(), err)
	}
	return newRepository(be, k.id, k.key, cfg, currentIdentity(), opts), nil
}

func newRepository(be backend.Backend, keyID restic.ID, key *crypto.Key, cfg config, who identity, opts []Option) *Repository {
	set := settings{packSize: DefaultPackSize, uploads: DefaultUploads, workers: max(runtime.GOMAXPROCS(0), 2), settle: lockSettle, treeMemory: DefaultTreeMemory}
	for _, o := range opts {
		o(&set)
	}
	r := &Repository{
		be: be, key: key, keyID: keyID, cfg: cfg, set: set, who: who,
		zenc: newEncoder(), zdec: newDecoder(),
		// One open pack for each worker and one for trees, and those in flight:
		// with fewer, open packs could hold all buffers and nobody would move.
		buffers: newBufferPool(set.workers+1+set.uploads, set.packSize+packSlack),
		idx:     index.New(),
	}
	r.trees = newWindowCache(r)
	r.kept.limit = set.treeMemory
	r.openLocal()
	r.w = newWriteState(r)
	return r
}

// ID returns the repository's id, 64 hexadecimal digits that never change.
func (r *Repository) ID() string { return r.cfg.ID }

// Location returns the place of the repository; it holds no secret.
func (r *Repository) Location() string { return r.be.Location() }

// chunkerLabel must never change: it would cut every file anew.
const chunkerLabel = "envbackup content-defined chunking, version 1"

// ChunkerKey returns a key from which the chunker derives where it cuts. It is
// the same for the repository's life and says nothing about the master key;
// without it, the sizes of blobs do not tell which known file was stored.
func (r *Repository) ChunkerKey() [32]byte {
	encrypt, macK, macR := r.key.Parts()
	mac := hmac.New(sha256.New, append(append(encrypt, macK...), macR...))
	mac.Write([]byte(chunkerLabel))
	return [32]byte(mac.Sum(nil))
}

// Close aborts what is still being saved, frees the buffers and closes the
// backend. Nothing may be called after it.
func (r *Repository) Close() error {
	r.Abort()
	r.w.close()
	r.buffers.close()
	r.zdec.close()
	r.closeLocal()
	if err := r.be.Close(); err != nil {
		return fmt.Errorf("close repository: %w", err)
	}
	return nil
}

// index returns the current table.
func (r *Repository) index() *index.Index {
	r.idxMu.RLock()
	defer r.idxMu.RUnlock()
	return r.idx
}
