package crypto

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The first two examples of D. J. Bernstein, "The Poly1305-AES
// message-authentication code", appendix B.
func TestPoly1305AESKnownAnswers(t *testing.T) {
	t.Parallel()
	for _, v := range []struct{ message, r, k, nonce, tag string }{
		{"f3f6", "851fc40c3467ac0be05cc20404f3f700", "ec074c835580741701425b623235add6", "fb447350c4e868c52ac3275cf9d4327e", "f4c633c3044fc145f84f335cb81953de"},
		{"", "a0f3080000f46400d0c7e9076c834403", "75deaa25c09f208e1dc4ce6b5cad3fbf", "61ee09218d29b0aaed7e154a2c5509cc", "dd3fab2251f11ac759f0887129cc2ee7"},
	} {
		k, err := NewKey(bytes.Repeat([]byte{1}, 32), unhex(t, v.k), unhex(t, v.r))
		if err != nil {
			t.Fatal(err)
		}
		if tag := k.tag(unhex(t, v.nonce), unhex(t, v.message)); hex.EncodeToString(tag[:]) != v.tag {
			t.Errorf("tag %x, want %s", tag, v.tag)
		}
	}
}

// NIST SP 800-38A, F.5.5: AES-256 in counter mode.
func TestAESCTRKnownAnswer(t *testing.T) {
	t.Parallel()
	k, err := NewKey(unhex(t, "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"), bytes.Repeat([]byte{2}, 16), bytes.Repeat([]byte{3}, 16))
	if err != nil {
		t.Fatal(err)
	}
	nonce := unhex(t, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
	ciphertext := unhex(t, "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5")
	tag := k.tag(nonce, ciphertext)
	plain, err := k.Open(nil, append(append(nonce, ciphertext...), tag[:]...))
	if want := "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"; err != nil || hex.EncodeToString(plain) != want {
		t.Errorf("%x, %v", plain, err)
	}
}

// That the derivation is scrypt's is proven by stock restic opening our keys.
func TestDerivedKeysDependOnAllInputs(t *testing.T) {
	t.Parallel()
	p := Params{N: 16, R: 1, P: 1}
	salt := bytes.Repeat([]byte{9}, SaltSize)
	base, err := DeriveKey(p, salt, "password")
	if err != nil {
		t.Fatal(err)
	}
	sealed := base.Seal(nil, []byte("secret"))
	same, err := DeriveKey(p, salt, "password")
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := same.Open(nil, sealed); err != nil || string(plain) != "secret" {
		t.Errorf("%q, %v", plain, err)
	}
	otherSalt := bytes.Clone(salt)
	otherSalt[63] ^= 1
	for name, derive := range map[string]func() (*Key, error){
		"password": func() (*Key, error) { return DeriveKey(p, salt, "Password") },
		"salt":     func() (*Key, error) { return DeriveKey(p, otherSalt, "password") },
		"N":        func() (*Key, error) { return DeriveKey(Params{N: 32, R: 1, P: 1}, salt, "password") },
	} {
		k, err := derive()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Open(nil, sealed); !errors.Is(err, ErrUnauthenticated) {
			t.Errorf("another %s opens: %v", name, err)
		}
	}
	for _, bad := range []Params{{}, {N: 3, R: 8, P: 1}, {N: 1, R: 8, P: 1}, {N: -8, R: 8, P: 1}, {N: 1 << 15, R: 0, P: 1}, {N: 1 << 30, R: 8, P: 1}, {N: 1 << 20, R: 1 << 20, P: 1}, {N: 1 << 15, R: 8, P: 1 << 20}} {
		if _, err := DeriveKey(bad, salt, "password"); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	if _, err := DeriveKey(p, salt[1:], "password"); err == nil {
		t.Error("a short salt was accepted")
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	t.Parallel()
	k := NewRandomKey()
	for _, n := range []int{0, 1, 16, 33} {
		plain := bytes.Repeat([]byte{0x5a}, n)
		prefix := []byte("before")
		sealed := k.Seal(prefix, plain)[len(prefix):]
		if len(sealed) != n+Overhead {
			t.Fatalf("%d bytes sealed to %d", n, len(sealed))
		}
		if got, err := k.Open(prefix, sealed); err != nil || string(got) != string(prefix)+string(plain) {
			t.Fatalf("%q, %v", got, err)
		}
		for i := range len(sealed) * 8 {
			bad := bytes.Clone(sealed)
			bad[i/8] ^= 1 << (i % 8)
			if _, err := k.Open(nil, bad); !errors.Is(err, ErrUnauthenticated) {
				t.Errorf("%d bytes, bit %d flipped: %v", n, i, err)
			}
			if k.Verify(bad) == nil {
				t.Errorf("%d bytes, bit %d flipped: verified", n, i)
			}
		}
		for cut := range len(sealed) {
			if _, err := k.Open(nil, sealed[:cut]); err == nil {
				t.Errorf("%d bytes, cut to %d: opened", n, cut)
			}
		}
	}
}

func TestOpenInPlaceAndZeroKeys(t *testing.T) {
	t.Parallel()
	k := NewRandomKey()
	plain := []byte("in place")
	sealed := k.Seal(nil, plain)
	if got, err := k.Open(sealed[16:16], sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%q, %v", got, err)
	}
	one := bytes.Repeat([]byte{1}, 32)
	for name, parts := range map[string][3][]byte{
		"zero encryption": {make([]byte, 32), one[:16], one[:16]}, "zero k": {one, make([]byte, 16), one[:16]},
		"zero r": {one, one[:16], make([]byte, 16)}, "short": {one[1:], one[:16], one[:16]},
	} {
		if _, err := NewKey(parts[0], parts[1], parts[2]); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if a, b := k.Seal(nil, plain), k.Seal(nil, plain); bytes.Equal(a[:16], b[:16]) {
		t.Error("a nonce was used twice")
	}
}

func FuzzOpen(f *testing.F) {
	k := NewRandomKey()
	f.Add(k.Seal(nil, []byte("x")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		// Nothing that a fuzzer makes is authentic, save the seed itself.
		if plain, err := k.Open(nil, sealed); err == nil && string(plain) != "x" {
			t.Errorf("opened %x", sealed)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	k := NewRandomKey()
	plain := make([]byte, 1<<20)
	dst := make([]byte, 0, len(plain)+Overhead)
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		k.Seal(dst, plain)
	}
}
