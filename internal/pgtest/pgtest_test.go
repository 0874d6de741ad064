package pgtest_test

import (
	"context"
	"errors"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/envbackup/terraform-provider-envbackup/internal/pgtest"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestEachDatabaseIsEmptyAndApart(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	one, two := connect(t, pgtest.Database(t)), connect(t, pgtest.Database(t))
	if _, err := one.Exec(ctx, "CREATE TABLE t (x text); INSERT INTO t VALUES ('ä')"); err != nil {
		t.Fatal(err)
	}
	var x string
	if err := one.QueryRow(ctx, "SELECT x FROM t").Scan(&x); err != nil || x != "ä" {
		t.Errorf("read back %q, %v", x, err)
	}
	var tables int
	err := two.QueryRow(ctx, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").Scan(&tables)
	if err != nil || tables != 0 {
		t.Errorf("the other database has %d tables, %v, want none", tables, err)
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	t.Parallel()
	dsn, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	dsn.User = url.UserPassword("postgres", "wrong")
	_, err = pgx.Connect(context.Background(), dsn.String())
	if refusal := new(pgconn.PgError); !errors.As(err, &refusal) || refusal.Code != "28P01" {
		t.Errorf("connect with a wrong password: %v, want SQLSTATE 28P01", err)
	}
}

func TestOwnClusterCanBeStoppedInTheMiddle(t *testing.T) {
	t.Parallel()
	cluster, stop := pgtest.StartOwn(t)
	dsn := cluster.Database(t)
	conn := connect(t, dsn)
	stop()
	if err := conn.Ping(context.Background()); err == nil {
		t.Error("ping after stop succeeded")
	}
	if cluster == pgtest.Start(t) {
		t.Error("the test's own cluster is the shared one")
	}
}
