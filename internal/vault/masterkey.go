package vault

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/secrets"
	"gocloud.dev/secrets/localsecrets"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// checkSetting holds a sealed constant. It tells a wrong master key from a
// damaged row at the start, before anything is sealed with the wrong one.
const checkSetting = "vault.key_check"

const checkText = "envbackup master key"

// readMasterKey returns the key in path, which it makes (mode 0600) when there
// is none. A key that others can read is refused.
func readMasterKey(path string) ([32]byte, error) {
	var key [32]byte
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeMasterKey(path)
	}
	if err != nil {
		return key, fmt.Errorf("read master key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return key, &envbackup.Error{
			Code:    envbackup.CodeInvalid,
			Message: fmt.Sprintf("master key file %s may be read by others (mode %04o)", path, mode),
			Hint:    fmt.Sprintf("run: chmod 600 %s", path),
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return key, fmt.Errorf("read master key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(key) {
		return key, &envbackup.Error{
			Code:    envbackup.CodeInvalid,
			Message: fmt.Sprintf("master key file %s does not hold a key", path),
			Hint:    "restore the file from your copy: without it the stored passwords cannot be opened",
		}
	}
	copy(key[:], raw)
	return key, nil
}

// makeMasterKey writes a random key. The file appears whole or not at all,
// and never replaces another: of two daemons that start at once, both use the
// key that came first.
func makeMasterKey(path string) ([32]byte, error) {
	key, err := localsecrets.NewRandomKey()
	if err != nil {
		return key, fmt.Errorf("make master key: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".master-key-*") // mode 0600
	if err != nil {
		return key, fmt.Errorf("make master key: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.WriteString(base64.StdEncoding.EncodeToString(key[:]) + "\n")
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return key, fmt.Errorf("make master key: %w", err)
	}
	err = os.Link(temp.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return readMasterKey(path)
	}
	if err != nil {
		return key, fmt.Errorf("make master key: %w", err)
	}
	return key, nil
}

// Seal encrypts s with the master key. The result is safe to store.
func (v *Vault) Seal(ctx context.Context, s secret.String) ([]byte, error) {
	sealed, err := v.keeper.Encrypt(ctx, []byte(s.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("seal a secret: %w", err)
	}
	return sealed, nil
}

// Unseal decrypts what Seal made; nil gives the empty secret.
func (v *Vault) Unseal(ctx context.Context, sealed []byte) (secret.String, error) {
	if len(sealed) == 0 {
		return secret.String{}, nil
	}
	plain, err := v.keeper.Decrypt(ctx, sealed)
	if err != nil {
		return secret.String{}, &envbackup.Error{
			Code:    envbackup.CodeInternal,
			Message: "a stored secret does not open with the daemon's master key",
			Hint:    "restore the master key file that belongs to this state",
			Err:     err,
		}
	}
	return secret.New(string(plain)), nil
}

// checkKey refuses a master key that the state was not sealed with.
func checkKey(ctx context.Context, keeper *secrets.Keeper, store Store, path string) error {
	stored, ok, err := store.Setting(ctx, checkSetting)
	if err != nil {
		return fmt.Errorf("check master key: %w", err)
	}
	if !ok {
		sealed, err := keeper.Encrypt(ctx, []byte(checkText))
		if err != nil {
			return fmt.Errorf("check master key: %w", err)
		}
		if err := store.SetSetting(ctx, checkSetting, base64.StdEncoding.EncodeToString(sealed)); err != nil {
			return fmt.Errorf("check master key: %w", err)
		}
		return nil
	}
	sealed, err := base64.StdEncoding.DecodeString(stored)
	if err == nil {
		var plain []byte
		if plain, err = keeper.Decrypt(ctx, sealed); err == nil && string(plain) == checkText {
			return nil
		}
	}
	return &envbackup.Error{
		Code:    envbackup.CodeInvalid,
		Message: fmt.Sprintf("master key file %s is not the one that this state was sealed with", path),
		Hint:    "restore the right key file: with another key no stored password opens",
		Err:     err,
	}
}
