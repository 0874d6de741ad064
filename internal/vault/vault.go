package vault

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/retry"
	"github.com/envbackup/terraform-provider-envbackup/internal/backend/s3"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// Store is what the vault keeps in the daemon's state.
type Store interface {
	Environment(ctx context.Context, idOrName string) (envbackup.Environment, error)
	Destination(ctx context.Context, idOrName string) (envbackup.Destination, error)
	// Repository returns CodeNotFound when the two have never met.
	Repository(ctx context.Context, destinationID, environmentID string) (envbackup.Repository, error)
	Repositories(ctx context.Context, destinationID string) ([]envbackup.Repository, error)
	SaveRepository(ctx context.Context, r *envbackup.Repository) error
	Setting(ctx context.Context, key string) (value string, ok bool, err error)
	SetSetting(ctx context.Context, key, value string) error
}

// Config is how the vault works; the zero value is usable.
type Config struct {
	Log *slog.Logger // default: nothing is logged
	// AllowEndpoint refuses an S3 endpoint that the operator does not allow;
	// nil allows all.
	AllowEndpoint func(endpoint string) error
	// CacheDir is where repositories keep what they read, a file each, so that
	// it need not be read again after a restart; empty for nowhere. It is made
	// when it is needed.
	CacheDir string
	// Retry bounds how long calls to a store are tried again; the zero value
	// takes package retry's defaults.
	Retry retry.Options
	// S3CAFile holds certificates, as PEM, of authorities that S3 endpoints may
	// be signed by besides the system's. It is read once.
	S3CAFile string
	// Observe is told of each request to an S3 destination, and Retried of each
	// call to a destination that is tried again; nil for nobody. Both are called
	// concurrently.
	Observe func(destination string, r s3.Request)
	Retried func(destination string)
}

// Vault opens repositories. All methods may be called concurrently.
type Vault struct {
	store  Store
	keeper *secrets.Keeper
	cfg    Config

	// transport holds the connections to all S3 destinations.
	transport func() (*http.Transport, error)

	mu      sync.Mutex
	open    map[key]*slot
	limits  map[string]*limiter      // by the destination's id
	retired []*repository.Repository // replaced, perhaps still used by a run; closed with the vault
}

// key names a repository.
type key struct{ environmentID, destinationID string }

// slot is one repository's place among the open ones. Its channel is a lock
// that can be waited for with a context: opening takes seconds on a slow store.
type slot struct {
	lock    chan struct{}
	repo    *repository.Repository
	backend backend.Backend
	version int64 // the destination's as of the opening
}

// Open reads the master key in keyFile, made at the first start, and checks it
// against the state.
func Open(keyFile string, store Store, cfg Config) (*Vault, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	master, err := readMasterKey(keyFile)
	if err != nil {
		return nil, err
	}
	keeper := localsecrets.NewKeeper(master)
	if err := checkKey(context.Background(), keeper, store, keyFile); err != nil {
		return nil, errors.Join(err, keeper.Close())
	}
	return &Vault{
		store: store, keeper: keeper, cfg: cfg, open: map[key]*slot{}, limits: map[string]*limiter{},
		transport: sync.OnceValues(func() (*http.Transport, error) { return s3.NewTransport(cfg.S3CAFile, 0) }),
	}, nil
}

// Close closes every repository. No repository may be used after it.
func (v *Vault) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	errs := []error{v.keeper.Close()}
	for _, s := range v.open {
		if s.repo != nil {
			errs = append(errs, s.repo.Close())
		}
	}
	for _, r := range v.retired {
		errs = append(errs, r.Close())
	}
	v.open, v.retired = map[key]*slot{}, nil
	if t, err := v.transport(); err == nil {
		t.CloseIdleConnections()
	}
	return errors.Join(errs...)
}

// Repository opens the repository of an environment at a destination, and
// creates it at their first meeting. A repository that is open stays so until
// the destination is changed; the returned one remains usable even then.
// Errors are *envbackup.Error with the code that says what is wrong.
func (v *Vault) Repository(ctx context.Context, environmentID, destinationID string) (*repository.Repository, error) {
	dest, err := v.store.Destination(ctx, destinationID)
	if err != nil {
		return nil, err
	}
	env, err := v.environment(ctx, environmentID, dest)
	if err != nil {
		return nil, err
	}
	s, unlock, err := v.acquire(ctx, key{env.ID, dest.ID})
	if err != nil {
		return nil, err
	}
	defer unlock()

	if s.repo != nil && s.version == dest.Version {
		return s.repo, nil
	}
	be, err := v.backend(ctx, dest, env.Name)
	if err != nil {
		return nil, err
	}
	repo, err := v.openRepository(ctx, be, env, dest)
	if err != nil {
		_ = be.Close() // the error that matters is the one above
		return nil, err
	}
	v.mu.Lock()
	if s.repo != nil {
		v.retired = append(v.retired, s.repo)
	}
	s.repo, s.backend, s.version = repo, be, dest.Version
	v.mu.Unlock()
	return repo, nil
}

// environment returns the environment, or what is left of one that was deleted
// and whose backups are still there: its id and name.
func (v *Vault) environment(ctx context.Context, id string, dest envbackup.Destination) (envbackup.Environment, error) {
	env, err := v.store.Environment(ctx, id)
	if envbackup.CodeOf(err) != envbackup.CodeNotFound {
		return env, err
	}
	row, rowErr := v.store.Repository(ctx, dest.ID, id)
	if rowErr != nil || row.Location == "" {
		return env, err
	}
	env.ID, env.Name = id, path.Base(row.Location)
	return env, nil
}

// acquire locks the slot of k.
func (v *Vault) acquire(ctx context.Context, k key) (*slot, func(), error) {
	v.mu.Lock()
	s, ok := v.open[k]
	if !ok {
		s = &slot{lock: make(chan struct{}, 1)}
		v.open[k] = s
	}
	v.mu.Unlock()
	select {
	case s.lock <- struct{}{}:
		return s, func() { <-s.lock }, nil
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
}

// openRepository opens what is there, or initialises it, and brings its keys
// up to date.
func (v *Vault) openRepository(ctx context.Context, be backend.Backend, env envbackup.Environment, dest envbackup.Destination) (*repository.Repository, error) {
	place := Address(dest, env)
	row, password, err := v.password(ctx, env, dest)
	if err != nil {
		return nil, err
	}
	options := []repository.Option{repository.WithVerify(verifyMode(dest.VerifyWrites)), v.cache(env, dest)}
	repo, err := repository.Open(ctx, be, password, options...)
	switch {
	case errors.Is(err, repository.ErrNoRepository):
		if row.Location == place && row.RepositoryID != "" {
			return nil, &envbackup.Error{
				Code:    envbackup.CodeDamaged,
				Message: fmt.Sprintf("the repository at %s is gone", place),
				Hint:    "mount or restore what was there; to begin anew, point the destination to another prefix or directory",
				Err:     err,
			}
		}
		if err := v.makeDirectory(ctx, dest); err != nil {
			return nil, err
		}
		repo, err = repository.Init(ctx, be, password, repository.InitOptions{}, options...)
		if err != nil {
			return nil, Explain(err, place)
		}
		v.cfg.Log.InfoContext(ctx, "created repository", "location", place, "repository", repo.ID())
		row.CreatedAt = time.Now().UTC()
	case err != nil:
		return nil, Explain(err, place)
	}
	if err := repo.CacheError(); err != nil {
		v.cfg.Log.WarnContext(ctx, "runs without a cache file: the first one after a restart takes longer", "location", place, "error", err)
	}
	if row.RepositoryID != repo.ID() || row.Location != place {
		row.RepositoryID, row.Location = repo.ID(), place
		if err := v.store.SaveRepository(ctx, &row); err != nil {
			return nil, err
		}
	}
	if err := v.updateRecoveryKey(ctx, repo, &row, dest); err != nil {
		return nil, err
	}
	// What a daemon that was killed left behind would keep prunes away for
	// half an hour.
	cleared, err := repo.ClearStaleLocks(ctx)
	if err != nil {
		return nil, Explain(err, place)
	}
	if len(cleared) > 0 {
		v.cfg.Log.InfoContext(ctx, "removed stale locks", "location", place, "count", len(cleared))
	}
	return repo, nil
}

// cache is where the repository of the two keeps what it read.
func (v *Vault) cache(env envbackup.Environment, dest envbackup.Destination) repository.Option {
	if v.cfg.CacheDir == "" {
		return repository.WithCache("", 0)
	}
	// Without the directory the file cannot be opened either, and that is told.
	_ = os.MkdirAll(v.cfg.CacheDir, 0o700)
	return repository.WithCache(filepath.Join(v.cfg.CacheDir, env.ID+"-"+dest.ID), repository.DefaultCacheSize)
}

// makeDirectory makes a local destination's directory at its first use, but
// never its parent. Once a repository was there, a missing directory is a disk
// that is not mounted, and must not become one on the disk below.
func (v *Vault) makeDirectory(ctx context.Context, dest envbackup.Destination) error {
	if dest.Local == nil {
		return nil
	}
	known, err := v.store.Repositories(ctx, dest.ID)
	if err != nil {
		return err
	}
	for _, r := range known {
		if filepath.Dir(r.Location) == filepath.Clean(dest.Local.Path) {
			return nil
		}
	}
	if err := os.Mkdir(dest.Local.Path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return &envbackup.Error{
			Code:    envbackup.CodeBucketMissing,
			Message: fmt.Sprintf("the directory %s cannot be made: %v", dest.Local.Path, err),
			Hint:    "mount the file system, or make the directory above it", Err: err,
		}
	}
	return nil
}

// verifyMode reads a destination's verify_writes.
func verifyMode(name string) repository.VerifyMode {
	switch name {
	case "full":
		return repository.VerifyAll
	case "off":
		return repository.VerifyOff
	default:
		return repository.VerifySample
	}
}

// password returns the row of the repository with its password, and makes
// both when there are none. The row is in the store before this returns, so
// that no repository can exist whose password nobody has.
func (v *Vault) password(ctx context.Context, env envbackup.Environment, dest envbackup.Destination) (envbackup.Repository, secret.String, error) {
	row, err := v.store.Repository(ctx, dest.ID, env.ID)
	if err == nil && len(row.SealedPassword) > 0 {
		password, err := v.Unseal(ctx, row.SealedPassword)
		return row, password, err
	}
	if err != nil && envbackup.CodeOf(err) != envbackup.CodeNotFound {
		return row, secret.String{}, err
	}
	var raw [32]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return row, secret.String{}, fmt.Errorf("make repository password: %w", err)
	}
	password := secret.New(hex.EncodeToString(raw[:]))
	sealed, err := v.Seal(ctx, password)
	if err != nil {
		return row, secret.String{}, err
	}
	row = envbackup.Repository{
		DestinationID: dest.ID, EnvironmentID: env.ID,
		SealedPassword: sealed, CreatedAt: time.Now().UTC(),
	}
	if err := v.store.SaveRepository(ctx, &row); err != nil {
		return row, secret.String{}, err
	}
	return row, password, nil
}

// updateRecoveryKey makes the destination's recovery password, and no earlier
// one, a key of the repository. The new key is there and recorded before the
// old one goes, so that a failure in between leaves one key too many.
func (v *Vault) updateRecoveryKey(ctx context.Context, repo *repository.Repository, row *envbackup.Repository, dest envbackup.Destination) error {
	wanted := dest.RecoveryVersion
	if len(dest.SealedRecoveryPassword) == 0 {
		wanted = 0
	}
	if row.RecoveryVersion == wanted {
		return nil
	}
	old, place := row.RecoveryKeyID, row.Location
	row.RecoveryKeyID, row.RecoveryVersion = "", wanted
	if wanted != 0 {
		password, err := v.Unseal(ctx, dest.SealedRecoveryPassword)
		if err != nil {
			return err
		}
		id, err := repo.AddKey(ctx, password)
		if err != nil {
			return Explain(err, place)
		}
		row.RecoveryKeyID = id.String()
	}
	if err := v.store.SaveRepository(ctx, row); err != nil {
		return err
	}
	if old == "" {
		return nil
	}
	id, err := restic.ParseID(old)
	if err != nil {
		return fmt.Errorf("remove earlier recovery key: %w", err)
	}
	return Explain(repo.RemoveKey(ctx, id), place)
}

// Password returns the password of an environment's repository and records
// that it was shown. It is CodeNotFound before the first backup.
func (v *Vault) Password(ctx context.Context, environmentID, destinationID string) (secret.String, error) {
	row, err := v.store.Repository(ctx, destinationID, environmentID)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound || err == nil && len(row.SealedPassword) == 0 {
		return secret.String{}, &envbackup.Error{
			Code:    envbackup.CodeNotFound,
			Message: "the environment has no repository at this destination yet",
			Hint:    "the first backup makes it; run the schedule once",
		}
	}
	if err != nil {
		return secret.String{}, err
	}
	password, err := v.Unseal(ctx, row.SealedPassword)
	if err != nil {
		return secret.String{}, err
	}
	row.KeyShownAt = time.Now().UTC()
	return password, v.store.SaveRepository(ctx, &row)
}

// Address is the function of this name, for those who know the vault only as
// an interface.
func (v *Vault) Address(dest envbackup.Destination, env envbackup.Environment) string {
	return Address(dest, env)
}
