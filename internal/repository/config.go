package repository

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/envbackup/terraform-provider-envbackup/internal/backend"
	"github.com/envbackup/terraform-provider-envbackup/internal/repository/crypto"
)

const (
	formatVersion = 2
	maxConfigSize = 1 << 20
	// polynomialDegree is the degree of the irreducible polynomial that stock
	// restic cuts files with.
	polynomialDegree = 53
)

var configHandle = backend.Handle{Kind: backend.KindConfig}

// config is the document of the object "config": sealed, never compressed.
type config struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	// Polynomial is what stock restic's chunker needs, in hexadecimal. Our own
	// chunker is keyed differently, but stock refuses a repository without it.
	Polynomial string `json:"chunker_polynomial"`
}

func newConfig() config {
	var id [32]byte
	_, _ = rand.Read(id[:]) // never fails
	return config{
		Version:    formatVersion,
		ID:         hex.EncodeToString(id[:]),
		Polynomial: strconv.FormatUint(randomPolynomial(), 16),
	}
}

func decodeConfig(plain []byte) (config, error) {
	var c config
	if err := json.Unmarshal(plain, &c); err != nil {
		return config{}, damaged("decode config", err)
	}
	if c.Version != formatVersion {
		return config{}, fmt.Errorf("%w: it has version %d, this program needs version %d; `restic migrate upgrade_repo_v2` brings an older one up to date",
			ErrUnsupported, c.Version, formatVersion)
	}
	if !backend.ValidName(c.ID) {
		return config{}, damaged("decode config", errors.New("its id is no id"))
	}
	p, err := strconv.ParseUint(c.Polynomial, 16, 64)
	if err != nil || !irreducible(p) {
		return config{}, damaged("decode config", errors.New("its chunker polynomial is not irreducible"))
	}
	return c, nil
}

func readConfig(ctx context.Context, be backend.Backend, key *crypto.Key) (config, error) {
	sealed, err := backend.ReadAll(ctx, be, configHandle, maxConfigSize)
	if err != nil {
		return config{}, fmt.Errorf("read config: %w", err)
	}
	return openConfig(sealed, key)
}

func openConfig(sealed []byte, key *crypto.Key) (config, error) {
	plain, err := key.Open(nil, sealed)
	if err != nil {
		return config{}, damaged("open config", err)
	}
	return decodeConfig(plain)
}

// randomPolynomial returns an irreducible polynomial over GF(2) of degree 53.
// About one in 53 candidates is, so a handful of tries suffices.
func randomPolynomial() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		var p uint64
		for i, c := range b {
			p |= uint64(c) << (8 * i)
		}
		p &= 1<<polynomialDegree - 1
		p |= 1<<polynomialDegree | 1 // of full degree, not divisible by x
		if irreducible(p) {
			return p
		}
	}
}

// irreducible applies Ben-Or's test: p of degree n has no factor of degree i
// if it shares none with x^(2^i) - x, for i up to n/2.
func irreducible(p uint64) bool {
	if degree(p) != polynomialDegree {
		return false
	}
	const x = 2
	power := uint64(x)
	for range polynomialDegree / 2 {
		power = polyMulMod(power, power, p)
		if polyGCD(p, power^x) != 1 {
			return false
		}
	}
	return true
}

func degree(p uint64) int { return bits.Len64(p) - 1 }

func polyMod(a, p uint64) uint64 {
	for d := degree(p); degree(a) >= d; {
		a ^= p << (degree(a) - d)
	}
	return a
}

func polyMulMod(a, b, p uint64) uint64 {
	var r uint64
	for ; b != 0; b >>= 1 {
		if b&1 != 0 {
			r ^= a
		}
		a = polyMod(a<<1, p)
	}
	return r
}

func polyGCD(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, polyMod(a, b)
	}
	return a
}
