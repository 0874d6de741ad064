// Package crypto seals and opens the bytes of a repository: AES-256 in counter
// mode, authenticated by Poly1305-AES, and derives keys from passwords with
// scrypt. It follows the chapter "Keys, Encryption and MAC" of restic's design
// document. It decides nothing about where keys are kept.
package crypto

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/crypto/poly1305" //nolint:staticcheck // the format prescribes Poly1305 with a key of its own
	"golang.org/x/crypto/scrypt"
)

const (
	nonceSize = 16
	tagSize   = poly1305.TagSize
	// Overhead is what Seal adds to a plaintext, in bytes.
	Overhead = nonceSize + tagSize
	// SaltSize is the length of a key file's salt in bytes.
	SaltSize = 64
	// KeySize is the length of a key's three parts together, in bytes.
	KeySize = 32 + 16 + 16
)

// ErrUnauthenticated reports bytes that were not sealed with this key, or were
// changed since.
var ErrUnauthenticated = errors.New("authentication failed: wrong key or damaged data")

// Key seals and opens. It is safe for concurrent use and holds the secret in
// memory until it is collected.
type Key struct {
	encrypt [32]byte
	macK    [16]byte
	macR    [16]byte

	block cipher.Block // AES-256 of encrypt
	mac   cipher.Block // AES-128 of macK
}

// NewRandomKey makes a fresh key.
func NewRandomKey() *Key {
	var b [KeySize]byte
	// crypto/rand.Read never fails: the program ends if the system has no
	// randomness.
	_, _ = rand.Read(b[:])
	k, err := NewKey(b[:32], b[32:48], b[48:])
	if err != nil {
		panic(err)
	}
	return k
}

// NewKey returns the key with these parts. It refuses wrong lengths and parts
// that are all zero, which only damage can explain.
func NewKey(encrypt, macK, macR []byte) (*Key, error) {
	k := new(Key)
	for _, part := range []struct {
		name     string
		dst, src []byte
	}{{"encryption key", k.encrypt[:], encrypt}, {"authentication key k", k.macK[:], macK}, {"authentication key r", k.macR[:], macR}} {
		if len(part.src) != len(part.dst) {
			return nil, fmt.Errorf("%s has %d bytes, want %d", part.name, len(part.src), len(part.dst))
		}
		if allZero(part.src) {
			return nil, fmt.Errorf("%s is all zero", part.name)
		}
		copy(part.dst, part.src)
	}
	var err error
	if k.block, err = aes.NewCipher(k.encrypt[:]); err != nil {
		return nil, err
	}
	if k.mac, err = aes.NewCipher(k.macK[:]); err != nil {
		return nil, err
	}
	return k, nil
}

// Parts returns copies of the key's three parts.
func (k *Key) Parts() (encrypt, macK, macR []byte) {
	return append([]byte(nil), k.encrypt[:]...), append([]byte(nil), k.macK[:]...), append([]byte(nil), k.macR[:]...)
}

// Seal appends nonce, ciphertext and tag to dst and returns it; it is Overhead
// bytes longer than the plaintext. The plaintext must not overlap the part of
// dst that is written.
func (k *Key) Seal(dst, plaintext []byte) []byte {
	start := len(dst)
	dst = grow(dst, len(plaintext)+Overhead)
	out := dst[start:]
	nonce := out[:nonceSize]
	for {
		_, _ = rand.Read(nonce) // never fails, see NewRandomKey
		if !allZero(nonce) {
			break
		}
	}
	ciphertext := out[nonceSize : nonceSize+len(plaintext)]
	cipher.NewCTR(k.block, nonce).XORKeyStream(ciphertext, plaintext)
	tag := k.tag(nonce, ciphertext)
	copy(out[nonceSize+len(plaintext):], tag[:])
	return dst
}

// Open checks sealed and appends its plaintext to dst. dst's spare room may be
// exactly sealed[16:], so that a caller can decrypt in place; any other overlap
// is not allowed. On an error nothing has been written.
func (k *Key) Open(dst, sealed []byte) ([]byte, error) {
	if err := k.Verify(sealed); err != nil {
		return nil, err
	}
	nonce, ciphertext := sealed[:nonceSize], sealed[nonceSize:len(sealed)-tagSize]
	start := len(dst)
	dst = grow(dst, len(ciphertext))
	cipher.NewCTR(k.block, nonce).XORKeyStream(dst[start:], ciphertext)
	return dst, nil
}

// Verify checks the authenticity of sealed bytes without decrypting them.
func (k *Key) Verify(sealed []byte) error {
	if len(sealed) < Overhead {
		return fmt.Errorf("%d bytes are too short to be sealed: %w", len(sealed), ErrUnauthenticated)
	}
	nonce := sealed[:nonceSize]
	if allZero(nonce) {
		return fmt.Errorf("nonce is all zero: %w", ErrUnauthenticated)
	}
	split := len(sealed) - tagSize
	tag := k.tag(nonce, sealed[nonceSize:split])
	if subtle.ConstantTimeCompare(tag[:], sealed[split:]) != 1 {
		return ErrUnauthenticated
	}
	return nil
}

// tag computes Poly1305-AES: the one-time key is r followed by the nonce
// encrypted under k.
func (k *Key) tag(nonce, ciphertext []byte) (tag [tagSize]byte) {
	var once [32]byte
	copy(once[:16], k.macR[:])
	k.mac.Encrypt(once[16:], nonce)
	poly1305.Sum(&tag, ciphertext, &once)
	return tag
}

// Params are the costs of scrypt. Deriving takes 128*N*R bytes of memory.
type Params struct{ N, R, P int }

// DefaultParams cost 32 MiB and under a tenth of a second. The passwords of
// the daemon's repositories are random, so a costlier derivation would buy
// nothing.
var DefaultParams = Params{N: 1 << 15, R: 8, P: 1}

// maxKDFMemory bounds what a hostile key file can make us allocate. Stock
// restic's calibration stays below 256 MiB.
const maxKDFMemory = 1 << 30

// Check refuses costs that are invalid or would exhaust the machine.
func (p Params) Check() error {
	if p.N < 2 || bits.OnesCount(uint(p.N)) != 1 {
		return fmt.Errorf("scrypt parameter N is %d, want a power of two above 1", p.N)
	}
	if p.R < 1 || p.P < 1 || p.R > 1<<10 || p.P > 1<<10 || p.N > maxKDFMemory || 128*p.N*p.R > maxKDFMemory || p.P*p.N*p.R > maxKDFMemory {
		return fmt.Errorf("scrypt parameters N=%d r=%d p=%d are out of bounds", p.N, p.R, p.P)
	}
	return nil
}

// DeriveKey turns a password into a key. salt has SaltSize bytes.
func DeriveKey(p Params, salt []byte, password string) (*Key, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if len(salt) != SaltSize {
		return nil, fmt.Errorf("salt has %d bytes, want %d", len(salt), SaltSize)
	}
	b, err := scrypt.Key([]byte(password), salt, p.N, p.R, p.P, KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return NewKey(b[:32], b[32:48], b[48:])
}

func allZero(b []byte) bool {
	var or byte
	for _, c := range b {
		or |= c
	}
	return or == 0
}

// grow extends b by n bytes, reallocating only when it must.
func grow(b []byte, n int) []byte {
	if total := len(b) + n; total <= cap(b) {
		return b[:total]
	}
	out := make([]byte, len(b)+n)
	copy(out, b)
	return out
}
