package store_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/pgtest"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
	"github.com/envbackup/terraform-provider-envbackup/internal/store/storetest"
)

func open(t *testing.T, dsn string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store { return open(t, "sqlite:"+filepath.Join(t.TempDir(), "state.db")) })
}

func TestPostgreSQL(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store { return open(t, pgtest.Database(t)) })
}

func TestFilesWithAnyNameReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?&#%41ü.db")
	first, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	e := envbackup.Environment{EnvironmentSpec: envbackup.EnvironmentSpec{Name: "shop"}}
	if err := first.CreateEnvironment(t.Context(), &e); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the file is elsewhere: %v", err)
	}
	if got, err := open(t, path).Environment(t.Context(), "shop"); err != nil || got.ID != e.ID {
		t.Errorf("after reopening: %+v, %v", got, err)
	}
}

func TestADatabaseOfANewerProgramIsRefused(t *testing.T) { // issue 5.3
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.db")
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.ExecContext(t.Context(), `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = store.Open(t.Context(), path); err == nil {
		_ = s.Close()
		t.Fatal("opened")
	}
	if envbackup.CodeOf(err) != envbackup.CodeUnavailable || !strings.Contains(err.Error(), "99999") {
		t.Errorf("Open() = %v, want the versions", err)
	}
}

func TestErrorsNeverHoldThePassword(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://u:hunter2@127.0.0.1:1/db?connect_timeout=1", "postgres://u:hunter2@[::bad/db", "postgres://u:hunter2@127.0.0.1:1/db?sslmode=what",
	} {
		s, err := store.Open(context.Background(), dsn)
		if err == nil {
			_ = s.Close()
			t.Errorf("%s opened", dsn)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
}
