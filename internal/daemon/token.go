package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// adminTokenFile lies in the data directory: whoever may read the state may
// also ask the API, and the first token needs no token to make it.
const adminTokenFile = "admin.token"

// tokenStore is where tokens are kept.
type tokenStore interface {
	TokenByHash(ctx context.Context, hash [32]byte) (envbackup.Token, error)
	AddToken(ctx context.Context, t *envbackup.Token) error
}

// ensureAdminToken makes the admin token's file (mode 0600) where it is
// missing, and sees to it that the state knows the token. It returns the
// token.
func ensureAdminToken(ctx context.Context, path string, store tokenStore) (secret.String, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text, err = makeTokenFile(path)
	}
	if err != nil {
		return secret.String{}, fmt.Errorf("read admin token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return secret.String{}, &envbackup.Error{
			Code:    envbackup.CodeInvalid,
			Message: fmt.Sprintf("the admin token file %s is empty", path),
			Hint:    "remove the file; the daemon makes a new one at its next start",
		}
	}
	hash := api.HashToken(token)
	_, err = store.TokenByHash(ctx, hash)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound {
		// Names are unique; a token of an earlier file keeps its own.
		name := "admin-" + fmt.Sprintf("%x", hash[:4])
		err = store.AddToken(ctx, &envbackup.Token{Name: name, Role: envbackup.RoleAdmin, Hash: hash})
	}
	if err != nil {
		return secret.String{}, fmt.Errorf("enter admin token: %w", err)
	}
	return secret.New(token), nil
}

func makeTokenFile(path string) ([]byte, error) {
	_, token := api.NewToken("", envbackup.RoleAdmin) // its hash is entered by the caller
	text := []byte(token.Reveal() + "\n")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = file.Write(text)
	return text, errors.Join(err, file.Sync(), file.Close())
}
