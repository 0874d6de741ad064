package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

func TestSecretNeverPrintsItself(t *testing.T) {
	t.Parallel()
	const value = "hunter2-very-secret"
	holder := struct {
		Exported secret.String
		hidden   secret.String
	}{secret.New(value), secret.New(value)}

	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "holder", holder, "bare", holder.hidden)
	encoded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	for name, printed := range map[string]string{
		"%v": fmt.Sprintf("%v", holder), "%+v": fmt.Sprintf("%+v", holder), "%#v": fmt.Sprintf("%#v", holder),
		"String": holder.hidden.String(), "slog": log.String(), "json": string(encoded),
	} {
		if strings.Contains(printed, value) {
			t.Errorf("%s prints the secret: %s", name, printed)
		}
	}
	if got := holder.hidden.Reveal(); got != value {
		t.Errorf("Reveal() = %q, want the value", got)
	}
}

func TestSecretEqual(t *testing.T) {
	t.Parallel()
	if !secret.New("a").Equal(secret.New("a")) || secret.New("a").Equal(secret.New("b")) || secret.New("a").Equal(secret.String{}) {
		t.Error("Equal does not compare the values")
	}
	if !(secret.String{}).IsEmpty() || !secret.New("").IsEmpty() || secret.New("a").IsEmpty() {
		t.Error("IsEmpty does not look at the value")
	}
}
