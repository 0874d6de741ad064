// Package apitest starts the API over a real SQLite store for the tests of api
// and client. Scheduling goes through the store without a clock that ticks,
// runs are never executed, and the vault and the pruner keep notes instead of
// repositories: those rooms have tests of their own.
package apitest

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/api"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
	"github.com/envbackup/terraform-provider-envbackup/internal/store"
)

// Password is the password of every repository.
const Password = "PLANTED-repository-password"

// Server is a running API.
type Server struct {
	URL     string
	Handler http.Handler
	Store   *store.Store
	Vault   *Vault
	Pruner  *Pruner
	Clock   *Clock
	// The texts of one token for each role.
	Admin, Operator, Viewer string
	// Log is what the handlers logged.
	Log *strings.Builder
}

// Start starts an API that stops with the test. edit may change what it
// stands on.
func Start(t testing.TB, edit ...func(*api.Deps)) *Server {
	t.Helper()
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &Server{Store: st, Vault: &Vault{}, Pruner: &Pruner{store: st}, Clock: &Clock{}, Log: &strings.Builder{}}
	for role, text := range map[envbackup.Role]*string{
		envbackup.RoleAdmin: &s.Admin, envbackup.RoleOperator: &s.Operator, envbackup.RoleViewer: &s.Viewer,
	} {
		token, plain := api.NewToken("test "+string(role), role)
		if err := st.AddToken(t.Context(), &token); err != nil {
			t.Fatal(err)
		}
		*text = plain.Reveal()
	}
	scheduling := &scheduling{store: st}
	deps := api.Deps{
		Store: st, Scheduler: scheduling, Queue: scheduling, Vault: s.Vault, Pruner: s.Pruner,
		Limits:  envbackup.Limits{MaxRetention: "10y", MinInterval: "1m", MaxConcurrentRuns: 2, MaxRunsPerRepository: 1},
		Version: "test", Worker: "test-worker",
		Log: slog.New(slog.NewTextHandler(&lockedWriter{to: s.Log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now: s.Clock.Now,
	}
	for _, f := range edit {
		f(&deps)
	}
	s.Handler = api.New(deps)
	server := httptest.NewServer(s.Handler)
	t.Cleanup(server.Close)
	s.URL = server.URL
	return s
}

type lockedWriter struct {
	mu sync.Mutex
	to *strings.Builder
}

func (w *lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(b)
}

// Clock is the real one, moved by what the test says.
type Clock struct {
	mu    sync.Mutex
	ahead time.Duration
}

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// Vault seals by hashing, so that whatever is found later is a leak.
type Vault struct {
	mu       sync.Mutex
	findings []envbackup.Finding
	probed   []string
	Shown    []string // "environment id destination id"
}

// Unreachable makes every probe return the finding.
func (v *Vault) Unreachable(f envbackup.Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.findings = []envbackup.Finding{f}
}

// Seal returns a hash.
func (v *Vault) Seal(_ context.Context, plain secret.String) ([]byte, error) {
	sum := sha256.Sum256([]byte(plain.Reveal()))
	return sum[:], nil
}

// Probe returns what Unreachable said.
func (v *Vault) Probe(_ context.Context, d envbackup.Destination) []envbackup.Finding {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.probed = append(v.probed, d.Name)
	return v.findings
}

// Probed returns the names of the destinations that were probed.
func (v *Vault) Probed() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]string(nil), v.probed...)
}

// Password returns Password.
func (v *Vault) Password(_ context.Context, environmentID, destinationID string) (secret.String, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.Shown = append(v.Shown, environmentID+" "+destinationID)
	return secret.New(Password), nil
}

// Address names a place that does not exist.
func (v *Vault) Address(d envbackup.Destination, e envbackup.Environment) string {
	return "/repositories/" + d.Name + "/" + e.Name
}

// Pruner removes rows without a repository behind them.
type Pruner struct {
	store  *store.Store
	Report envbackup.PruneReport // what Prune returns, but for DryRun
	// Decided is what Decide was told; it returns the lists of Report.
	Decided []string
	// Missing is what ForgetMissing returns.
	Missing []envbackup.Backup
	// Retained are the ids that RemoveUnlocked leaves.
	Retained []string
}

// Reclaim returns Report, and that it was a window.
func (p *Pruner) Reclaim(context.Context, string, string) (envbackup.PruneReport, error) {
	r := p.Report
	r.Note = "window"
	return r, nil
}

// ForgetMissing drops Missing unless it is a dry run.
func (p *Pruner) ForgetMissing(ctx context.Context, _ string, dryRun bool, _ string) ([]envbackup.Backup, error) {
	if dryRun {
		return p.Missing, nil
	}
	var ids []string
	for _, b := range p.Missing {
		ids = append(ids, b.ID)
	}
	return p.Missing, p.store.DropBackups(ctx, ids)
}

// RemoveUnlocked removes all but Retained.
func (p *Pruner) RemoveUnlocked(ctx context.Context, ids []string, actor string) ([]envbackup.Backup, error) {
	var rest []string
	var retained []envbackup.Backup
	for _, id := range ids {
		if slices.Contains(p.Retained, id) {
			retained = append(retained, envbackup.Backup{ID: id})
			continue
		}
		rest = append(rest, id)
	}
	return retained, p.Remove(ctx, rest, actor)
}

// Decide notes what was decided.
func (p *Pruner) Decide(_ context.Context, scheduleID string, decision envbackup.Decision, actor string) ([]envbackup.SetAside, error) {
	if len(p.Report.Lists) == 0 {
		return nil, envbackup.NotFound("list", scheduleID)
	}
	p.Decided = append(p.Decided, scheduleID+" "+string(decision)+" by "+actor)
	return p.Report.Lists, nil
}

// Prune returns Report.
func (p *Pruner) Prune(_ context.Context, _ string, dryRun bool, _ string) (envbackup.PruneReport, error) {
	r := p.Report
	r.DryRun = dryRun
	return r, nil
}

// Remove marks and drops.
func (p *Pruner) Remove(ctx context.Context, ids []string, _ string) error {
	if err := p.store.MarkRemoval(ctx, ids, time.Now()); err != nil {
		return err
	}
	for _, id := range ids {
		if err := p.store.BeginRemoval(ctx, id, time.Now()); err != nil {
			return err
		}
	}
	return p.store.DropBackups(ctx, ids)
}
