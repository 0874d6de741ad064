package repository

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
	"github.com/envbackup/terraform-provider-envbackup/internal/restic"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

const (
	maxKeyFileSize = 1 << 20
	// maxKeysTried bounds how many keys Open tries: each costs a scrypt, and a
	// hostile place could hold any number of them.
	maxKeysTried = 32
)

// keyFile is the JSON of a key object, the one kind that is not sealed as a
// whole: Data is the sealed master key.
type keyFile struct {
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	KDF      string    `json:"kdf"`
	N        int       `json:"N"`
	R        int       `json:"r"`
	P        int       `json:"p"`
	Salt     []byte    `json:"salt"`
	Data     []byte    `json:"data"`
}

// masterKey is the JSON within a key file.
type masterKey struct {
	MAC struct {
		K []byte `json:"k"`
		R []byte `json:"r"`
	} `json:"mac"`
	Encrypt []byte `json:"encrypt"`
}

// KeyInfo describes one password of a repository.
type KeyInfo struct {
	ID       restic.ID
	Created  time.Time
	Username string
	Hostname string
	Current  bool // the key that this Repository was opened with
}

func decodeKeyFile(b []byte) (keyFile, error) {
	var k keyFile
	if err := json.Unmarshal(b, &k); err != nil {
		return keyFile{}, damaged("decode key", err)
	}
	if k.KDF != "scrypt" {
		return keyFile{}, fmt.Errorf("decode key: %w: key derivation %.20q", ErrUnsupported, k.KDF)
	}
	if err := (crypto.Params{N: k.N, R: k.R, P: k.P}).Check(); err != nil {
		return keyFile{}, damaged("decode key", err)
	}
	if len(k.Salt) != crypto.SaltSize {
		return keyFile{}, damaged("decode key", fmt.Errorf("salt of %d bytes", len(k.Salt)))
	}
	return k, nil
}

// open returns the master key, or crypto.ErrUnauthenticated for a password
// that is not this key's.
func (k keyFile) open(password secret.String) (*crypto.Key, error) {
	user, err := crypto.DeriveKey(crypto.Params{N: k.N, R: k.R, P: k.P}, k.Salt, password.Reveal())
	if err != nil {
		return nil, err
	}
	plain, err := user.Open(nil, k.Data)
	if err != nil {
		return nil, err
	}
	return decodeMasterKey(plain)
}

func decodeMasterKey(plain []byte) (*crypto.Key, error) {
	var m masterKey
	if err := json.Unmarshal(plain, &m); err != nil {
		return nil, damaged("decode master key", errors.New("it is not the JSON of a key"))
	}
	key, err := crypto.NewKey(m.Encrypt, m.MAC.K, m.MAC.R)
	if err != nil {
		return nil, damaged("decode master key", err)
	}
	return key, nil
}

func sealKeyFile(master *crypto.Key, password secret.String, who identity) ([]byte, error) {
	salt := make([]byte, crypto.SaltSize)
	_, _ = rand.Read(salt) // never fails
	p := crypto.DefaultParams
	user, err := crypto.DeriveKey(p, salt, password.Reveal())
	if err != nil {
		return nil, err
	}
	var m masterKey
	m.Encrypt, m.MAC.K, m.MAC.R = master.Parts()
	plain, err := json.Marshal(m)
	if err != nil {
		return nil, errors.New("encode master key: it cannot be written as JSON")
	}
	return json.Marshal(keyFile{
		Created: time.Now().UTC(), Username: who.username, Hostname: who.hostname,
		KDF: "scrypt", N: p.N, R: p.R, P: p.P, Salt: salt,
		Data: user.Seal(nil, plain),
	})
}

// putKey stores a key for the password and returns its id.
func putKey(ctx context.Context, be backend.Backend, master *crypto.Key, password secret.String, who identity) (restic.ID, error) {
	if password.IsEmpty() {
		return restic.ID{}, errors.New("add key: the password is empty")
	}
	data, err := sealKeyFile(master, password, who)
	if err != nil {
		return restic.ID{}, fmt.Errorf("add key: %w", err)
	}
	id := restic.Hash(data)
	if err := put(ctx, be, backend.KindKey, id, data); err != nil {
		return restic.ID{}, fmt.Errorf("add key: %w", err)
	}
	return id, nil
}

// openKeys tries the password on each key in the order of their names and
// returns the first that opens.
func openKeys(ctx context.Context, be backend.Backend, password secret.String) (restic.ID, *crypto.Key, error) {
	ids, err := listIDs(ctx, be, backend.KindKey)
	if err != nil {
		return restic.ID{}, nil, fmt.Errorf("list keys: %w", err)
	}
	if len(ids) == 0 {
		return restic.ID{}, nil, damaged("open repository", errors.New("it has no keys"))
	}
	ids = ids[:min(len(ids), maxKeysTried)]
	files := make([]fetched, len(ids))
	var fetching sync.WaitGroup
	defer fetching.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // the key that opens makes the others needless
	for i, id := range ids {
		files[i].done = make(chan struct{})
		fetching.Go(func() {
			defer close(files[i].done)
			files[i].data, files[i].err = readNamed(ctx, be, backend.KindKey, id, maxKeyFileSize)
		})
	}
	var broken error
	for i, id := range ids {
		<-files[i].done
		data, err := files[i].data, files[i].err
		if errors.Is(err, backend.ErrNotExist) {
			continue // removed since the listing
		}
		if err != nil && !errors.Is(err, ErrDamaged) {
			return restic.ID{}, nil, fmt.Errorf("open key %s: %w", id.Short(), err)
		}
		var key *crypto.Key
		if err == nil {
			var k keyFile
			if k, err = decodeKeyFile(data); err == nil {
				key, err = k.open(password)
			}
		}
		switch {
		case err == nil:
			return id, key, nil
		case !errors.Is(err, crypto.ErrUnauthenticated):
			// One damaged key must not lock out the owner of another.
			broken = fmt.Errorf("key %s: %w", id.Short(), err)
		}
	}
	return restic.ID{}, nil, errors.Join(ErrWrongPassword, broken)
}

// fetched is an object on its way here; data and err are set once done is
// closed.
type fetched struct {
	done chan struct{}
	data []byte
	err  error
}

// AddKey gives the repository one more password and returns the new key's id.
// The empty password is refused.
func (r *Repository) AddKey(ctx context.Context, password secret.String) (restic.ID, error) {
	return putKey(ctx, r.be, r.key, password, r.who)
}

// Keys lists the repository's keys, oldest first. Keys that cannot be read are
// listed with their id only.
func (r *Repository) Keys(ctx context.Context) ([]KeyInfo, error) {
	ids, err := listIDs(ctx, r.be, backend.KindKey)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	var out []KeyInfo
	for _, id := range ids {
		info := KeyInfo{ID: id, Current: id == r.keyID}
		data, err := readNamed(ctx, r.be, backend.KindKey, id, maxKeyFileSize)
		switch {
		case errors.Is(err, backend.ErrNotExist):
			continue
		case err != nil && !errors.Is(err, ErrDamaged):
			return nil, fmt.Errorf("read key %s: %w", id.Short(), err)
		case err == nil:
			if k, err := decodeKeyFile(data); err == nil {
				info.Created, info.Username, info.Hostname = k.Created, k.Username, k.Hostname
			}
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b KeyInfo) int {
		return cmp.Or(a.Created.Compare(b.Created), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return out, nil
}

// RemoveKey takes a password away. The key that this Repository was opened
// with is refused, so that the last way in cannot be removed from inside.
func (r *Repository) RemoveKey(ctx context.Context, id restic.ID) error {
	if id == r.keyID {
		return fmt.Errorf("remove key %s: the repository is open with this key; open it with another password first", id.Short())
	}
	if err := r.be.Delete(ctx, backend.Handle{Kind: backend.KindKey, Name: id.String()}); err != nil {
		return fmt.Errorf("remove key %s: %w", id.Short(), err)
	}
	return nil
}

// HasPassword reports whether one of the repository's keys opens with the
// password. It costs a key derivation for each key.
func (r *Repository) HasPassword(ctx context.Context, password secret.String) (bool, error) {
	_, _, err := openKeys(ctx, r.be, password)
	if errors.Is(err, ErrWrongPassword) {
		return false, nil
	}
	return err == nil, err
}
