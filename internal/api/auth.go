package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// tokenPrefix lets a person, and a scanner of leaked secrets, see what it is.
const tokenPrefix = "envb_"

// NewToken makes a token with 256 random bits. The text is shown once; the
// Token has its hash only. The store that it is added to gives it an id.
func NewToken(name string, role envbackup.Role) (envbackup.Token, secret.String) {
	text := tokenPrefix + rand.Text() + rand.Text()
	return envbackup.Token{Name: name, Role: role, Hash: HashToken(text)}, secret.New(text)
}

// HashToken is how a token is stored. A plain hash is enough: the text is
// random, so there is nothing to guess that a slow hash would slow down.
func HashToken(text string) [32]byte { return sha256.Sum256([]byte(text)) }

type actorKey struct{}
type trustKey struct{}

// actor is who sends a request.
type actor struct {
	id   string // of the token
	name string
	role envbackup.Role
}

// TrustConn marks every request of a connection as the local administrator's,
// for http.Server.ConnContext of a listener that only the operator can reach:
// a unix socket whose file mode is the lock.
func TrustConn(ctx context.Context) context.Context {
	return context.WithValue(ctx, trustKey{}, true)
}

func actorOf(ctx context.Context) actor {
	a, _ := ctx.Value(actorKey{}).(actor)
	return a
}

// authenticate finds out who asks and puts it into the request's context.
// Paths outside of the API are open, but for the metrics.
func (s *server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, root+"/") && (r.URL.Path != "/metrics" || s.OpenMetrics) {
			next.ServeHTTP(w, r)
			return
		}
		who, err := s.identify(r)
		if err != nil {
			p := s.problemOf(r.Context(), err)
			switch p.Status {
			case http.StatusUnauthorized:
				w.Header().Set("WWW-Authenticate", `Bearer realm="envbackup"`)
			case http.StatusTooManyRequests:
				w.Header().Set("Retry-After", strconv.Itoa(int(failureRefill/time.Second)))
			}
			writeProblem(w, p)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), actorKey{}, who)))
	})
}

func (s *server) identify(r *http.Request) (actor, error) {
	if trusted, _ := r.Context().Value(trustKey{}).(bool); trusted {
		return actor{id: "local", name: "local", role: envbackup.RoleAdmin}, nil
	}
	header := r.Header.Get("Authorization")
	scheme, text, _ := strings.Cut(header, " ")
	text = strings.TrimSpace(text)
	if header == "" || !strings.EqualFold(scheme, "Bearer") || text == "" {
		return actor{}, s.unauthenticated("this daemon wants a token")
	}
	hash := HashToken(text)
	token, err := s.Store.TokenByHash(r.Context(), hash)
	if envbackup.CodeOf(err) == envbackup.CodeNotFound ||
		err == nil && subtle.ConstantTimeCompare(token.Hash[:], hash[:]) != 1 {
		return actor{}, s.failed(r)
	}
	if err != nil {
		return actor{}, fmt.Errorf("look up token: %w", err)
	}
	return actor{id: token.ID, name: token.Name, role: token.Role}, nil
}

// failed counts a failed login and words its refusal. A token that is valid
// still opens while its peer is limited: 256 random bits are not guessed at any
// rate, and a script with a stale token must not keep the operators behind the
// same address from a restore. What the limit saves is the log and the work.
func (s *server) failed(r *http.Request) error {
	peer, now := peerOf(r), s.Now()
	if !s.failures.allow(peer, now) {
		return &envbackup.Error{
			Code: envbackup.CodeRateLimited, Message: "too many failed logins from " + peer,
			Hint: fmt.Sprintf("the token is not valid here; correct it, and wait %s", failureRefill),
		}
	}
	s.failures.add(peer, now)
	s.log.WarnContext(r.Context(), "login failed", "peer", peer)
	return s.unauthenticated("the token is not valid here")
}

func (s *server) unauthenticated(message string) error {
	hint := "the daemon's first token is in the file admin.token in its data directory; make others with: " +
		"envbackup token create --name NAME --role operator, and pass them as ENVBACKUP_TOKEN or ENVBACKUP_TOKEN_FILE"
	if s.DevMode {
		hint = "this daemon runs with --dev: its token is in the file admin.token in its data directory; pass it as ENVBACKUP_TOKEN_FILE"
	}
	return &envbackup.Error{Code: envbackup.CodeUnauthenticated, Message: message, Hint: hint}
}

// authorize compares the actor's role with the operation's.
func (s *server) authorize(ctx huma.Context, next func(huma.Context)) {
	needed, _ := ctx.Operation().Metadata["role"].(envbackup.Role)
	who := actorOf(ctx.Context())
	if who.role.Allows(needed) {
		next(ctx)
		return
	}
	_, w := humago.Unwrap(ctx)
	writeProblem(w, newProblem(http.StatusForbidden, &envbackup.Error{
		Code:    envbackup.CodeForbidden,
		Message: fmt.Sprintf("the token %q has the role %s, and this needs %s", who.name, who.role, needed),
		Hint:    fmt.Sprintf("use a token made with: envbackup token create --name NAME --role %s", needed),
	}))
}

// peerOf is the address that failures are counted by. Headers of proxies are
// not believed: whoever guesses could write them.
func peerOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

const (
	failureBurst  = 10              // failures that are free
	failureRefill = 6 * time.Second // each further one costs
	maxPeers      = 10_000
)

// failures counts failed logins by peer, in a bucket that leaks one each
// failureRefill. A request without a token is no guess and does not count.
type failures struct {
	mu    sync.Mutex
	peers map[string]bucket
}

type bucket struct {
	level float64
	at    time.Time
}

func newFailures() *failures { return &failures{peers: map[string]bucket{}} }

func (f *failures) allow(peer string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.level(peer, now) <= failureBurst-1
}

func (f *failures) add(peer string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.peers) >= maxPeers {
		for p := range f.peers {
			if f.level(p, now) == 0 {
				delete(f.peers, p)
			}
		}
	}
	if len(f.peers) >= maxPeers {
		return // under such an attack the firewall is the place to act
	}
	f.peers[peer] = bucket{level: f.level(peer, now) + 1, at: now}
}

// level is called with the lock held.
func (f *failures) level(peer string, now time.Time) float64 {
	b := f.peers[peer]
	return max(0, b.level-float64(now.Sub(b.at))/float64(failureRefill))
}
