package vault_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/vault"
)

// fixture is a vault on a real store with one environment and one destination.
type fixture struct {
	store   *store.Store
	vault   *vault.Vault
	keyFile string
	env     envbackup.Environment
	dest    envbackup.Destination
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{keyFile: filepath.Join(t.TempDir(), "master.key")}
	var err error
	if f.store, err = store.Open(t.Context(), filepath.Join(t.TempDir(), "state.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.store.Close() })
	f.vault = f.open(t)
	f.env = envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{Name: "shop"}}
	f.dest = envbackup.Destination{DestinationSpec: envbackup.DestinationSpec{
		Name: "disk", Local: &envbackup.LocalPlace{Path: filepath.Join(t.TempDir(), "disk")},
	}}
	if err := f.store.CreateEnvironment(t.Context(), &f.env); err != nil {
		t.Fatal(err)
	}
	if err := f.store.CreateDestination(t.Context(), &f.dest); err != nil {
		t.Fatal(err)
	}
	return f
}

// open opens the vault as a start of the daemon does.
func (f *fixture) open(t *testing.T) *vault.Vault {
	t.Helper()
	v, err := vault.Open(f.keyFile, f.store, vault.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Close(); err != nil {
			t.Errorf("close vault: %v", err)
		}
	})
	return v
}

func TestSealedSecretsOpenAfterARestartAndOnlyWithTheirKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	sealed, err := f.vault.Seal(t.Context(), secret.New("s3cr3t"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sealed), "s3cr3t") {
		t.Error("the sealed secret can be read")
	}
	if info, err := os.Stat(f.keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file is %v (%v), want mode 0600", info, err)
	}
	got, err := f.open(t).Unseal(t.Context(), sealed)
	if err != nil || got.Reveal() != "s3cr3t" {
		t.Errorf("after a restart: %v, %v", got.Reveal() == "s3cr3t", err)
	}
	if got, err := f.vault.Unseal(t.Context(), nil); err != nil || !got.IsEmpty() {
		t.Errorf("nothing sealed gives %v, want the empty secret", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := f.vault.Unseal(t.Context(), sealed); err == nil {
		t.Error("a changed secret opens")
	}

	// Another key must be noticed before anything is sealed with it.
	if err := os.Remove(f.keyFile); err != nil {
		t.Fatal(err)
	}
	_, err = vault.Open(f.keyFile, f.store, vault.Config{})
	if envbackup.CodeOf(err) != envbackup.CodeInvalid || !strings.Contains(err.Error(), "not the one") {
		t.Errorf("a new key on an old state: got %v, want a refusal", err)
	}
}

func TestAKeyFileThatOthersMayReadIsRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := os.Chmod(f.keyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(f.keyFile, f.store, vault.Config{}); envbackup.CodeOf(err) != envbackup.CodeInvalid {
		t.Errorf("got %v, want a refusal", err)
	}
	if err := os.WriteFile(f.keyFile, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.keyFile, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := vault.Open(f.keyFile, f.store, vault.Config{}); envbackup.CodeOf(err) != envbackup.CodeInvalid {
		t.Errorf("got %v for a file without a key, want a refusal", err)
	}
}

// saves watches what the vault stores and when.
type saves struct {
	vault.Store
	saved func(r envbackup.Repository)
}

func (s saves) SaveRepository(ctx context.Context, r *envbackup.Repository) error {
	s.saved(*r)
	return s.Store.SaveRepository(ctx, r)
}

// A repository is never initialised before its sealed password is stored: a
// crash in between would leave one that nobody can open.
func TestThePasswordIsStoredBeforeTheRepositoryExists(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	config := filepath.Join(f.dest.Local.Path, "shop", "config")
	first := true
	v, err := vault.Open(f.keyFile, saves{f.store, func(r envbackup.Repository) {
		if !first {
			return
		}
		first = false
		if _, err := os.Stat(config); !os.IsNotExist(err) {
			t.Errorf("the repository exists (%v) before its password is stored", err)
		}
		if len(r.SealedPassword) == 0 {
			t.Error("what is stored first has no password")
		}
	}}, vault.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	if _, err := v.Repository(t.Context(), f.env.ID, f.dest.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(config); err != nil || first {
		t.Errorf("no repository was made: %v", err)
	}
}

// Whoever comes first opens; the others get the same repository.
func TestRepositoriesAreOpenedOnceAndStayWarm(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var wg sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wg.Go(func() {
			repo, err := f.vault.Repository(t.Context(), f.env.ID, f.dest.ID)
			if err != nil {
				t.Error(err)
				return
			}
			got[i] = repo.ID()
		})
	}
	wg.Wait()
	for _, id := range got {
		if id != got[0] || id == "" {
			t.Fatalf("repositories %v, want one", got)
		}
	}
	warm, err := f.vault.Repository(t.Context(), f.env.ID, f.dest.ID)
	if err != nil {
		t.Fatal(err)
	}
	// Another limit or another secret needs another backend; the repository is
	// the same one.
	f.dest.VerifyWrites = "full"
	if err := f.store.UpdateDestination(t.Context(), &f.dest, 0); err != nil {
		t.Fatal(err)
	}
	again, err := f.vault.Repository(t.Context(), f.env.ID, f.dest.ID)
	if err != nil {
		t.Fatal(err)
	}
	if again == warm || again.ID() != warm.ID() {
		t.Errorf("after a change of the destination: same handle %t, ids %s and %s", again == warm, warm.ID(), again.ID())
	}
}

// A repository that is gone from where it was is missed, not made anew: the
// disk may not be mounted. At a new place it is made with the same password.
func TestARepositoryThatIsGoneIsMissed(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, err := f.vault.Repository(t.Context(), f.env.ID, f.dest.ID); err != nil {
		t.Fatal(err)
	}
	password, err := f.vault.Password(t.Context(), f.env.ID, f.dest.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(f.dest.Local.Path); err != nil {
		t.Fatal(err)
	}
	_, err = f.open(t).Repository(t.Context(), f.env.ID, f.dest.ID)
	if envbackup.CodeOf(err) != envbackup.CodeDamaged || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("got %v, want it missed", err)
	}
	if _, err := os.Stat(filepath.Join(f.dest.Local.Path, "shop", "config")); !os.IsNotExist(err) {
		t.Errorf("a repository was made anew: %v", err)
	}

	f.dest.Local = &envbackup.LocalPlace{Path: filepath.Join(t.TempDir(), "other")}
	if err := f.store.UpdateDestination(t.Context(), &f.dest, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.open(t).Repository(t.Context(), f.env.ID, f.dest.ID); err != nil {
		t.Fatalf("at another place: %v", err)
	}
	moved, err := f.vault.Password(t.Context(), f.env.ID, f.dest.ID)
	if err != nil || !moved.Equal(password) {
		t.Errorf("the password changed with the place (%v)", err)
	}
}

// A local destination's directory is made at its first use; its parent never
// is, nor a directory that was in use before: the disk may not be mounted.
func TestALocalDirectoryIsMadeOnceAndItsParentNever(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	mount := filepath.Join(t.TempDir(), "not-mounted")
	f.dest.Local = &envbackup.LocalPlace{Path: filepath.Join(mount, "backups")}
	if err := f.store.UpdateDestination(t.Context(), &f.dest, 0); err != nil {
		t.Fatal(err)
	}
	_, err := f.vault.Repository(t.Context(), f.env.ID, f.dest.ID)
	if envbackup.CodeOf(err) != envbackup.CodeBucketMissing || !strings.Contains(err.Error(), mount) {
		t.Errorf("got %v, want the missing directory named", err)
	}
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.vault.Repository(t.Context(), f.env.ID, f.dest.ID); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(f.dest.Local.Path); err != nil {
		t.Fatal(err)
	}
	other := envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{Name: "other"}}
	if err := f.store.CreateEnvironment(t.Context(), &other); err != nil {
		t.Fatal(err)
	}
	if _, err := f.vault.Repository(t.Context(), other.ID, f.dest.ID); envbackup.CodeOf(err) != envbackup.CodeBucketMissing {
		t.Errorf("a new environment on the unmounted disk: got %v, want it refused", err)
	}
	if _, err := os.Stat(f.dest.Local.Path); !os.IsNotExist(err) {
		t.Errorf("the directory was made again: %v", err)
	}
}

func TestPasswordIsNotFoundBeforeTheFirstBackupAndRecordsThatItWasShown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, err := f.vault.Password(t.Context(), f.env.ID, f.dest.ID); envbackup.CodeOf(err) != envbackup.CodeNotFound {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := f.vault.Repository(t.Context(), f.env.ID, f.dest.ID); err != nil {
		t.Fatal(err)
	}
	password, err := f.vault.Password(t.Context(), f.env.ID, f.dest.ID)
	if err != nil || len(password.Reveal()) != 64 {
		t.Errorf("got %d characters (%v), want 256 bits in hexadecimal", len(password.Reveal()), err)
	}
	row, err := f.store.Repository(t.Context(), f.dest.ID, f.env.ID)
	if err != nil || row.KeyShownAt.IsZero() {
		t.Errorf("it is not recorded that the key was shown: %+v, %v", row, err)
	}
}

func TestAddressIsWhatResticTakes(t *testing.T) {
	t.Parallel()
	env := envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{Name: "shop"}}
	tests := map[string]struct {
		spec envbackup.DestinationSpec
		want string
	}{
		"AWS by region": {
			envbackup.DestinationSpec{S3: &envbackup.S3Place{Bucket: "b", Region: "eu-central-1", Prefix: "p/q"}},
			"s3:https://s3.eu-central-1.amazonaws.com/b/p/q/shop",
		},
		"another store, no prefix": {
			envbackup.DestinationSpec{S3: &envbackup.S3Place{Bucket: "b", Endpoint: "http://127.0.0.1:9000/"}},
			"s3:http://127.0.0.1:9000/b/shop",
		},
		"slashes around the prefix": {
			envbackup.DestinationSpec{S3: &envbackup.S3Place{Bucket: "b", Prefix: "/p/", Endpoint: "http://127.0.0.1:9000"}},
			"s3:http://127.0.0.1:9000/b/p/shop",
		},
		"credentials in the endpoint do not show": {
			envbackup.DestinationSpec{S3: &envbackup.S3Place{Bucket: "b", Endpoint: "http://user:secret@store:9000"}},
			"s3:http://store:9000/b/shop",
		},
		"a directory": {
			envbackup.DestinationSpec{Local: &envbackup.LocalPlace{Path: "/mnt/nas/"}},
			"/mnt/nas/shop",
		},
	}
	for name, tt := range tests {
		if got := vault.Address(envbackup.Destination{DestinationSpec: tt.spec}, env); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

// Issue 4, item 2: what was read survives a restart, in a file of its own for
// each repository. Without it everything works, only slower.
func TestRepositoriesHaveACacheFileWhereThereIsRoom(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "cache")
	blocked := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{dir: true, blocked: false, "": true} {
		v, err := vault.Open(f.keyFile, f.store, vault.Config{CacheDir: name})
		if err != nil {
			t.Fatal(err)
		}
		repo, err := v.Repository(t.Context(), f.env.ID, f.dest.ID)
		if err != nil {
			t.Fatalf("cache in %q: %v", name, err)
		}
		if err := repo.CacheError(); (err == nil) != want {
			t.Errorf("cache in %q: %v", name, err)
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("cache files: %v, %v, want one", files, err)
	}
}
