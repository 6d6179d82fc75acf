// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog" //nolint:depguard // only slog.Value, the form in which a key hides itself; nothing is logged here
	"slices"
)

// SeedSize is the length in bytes of a private key as it is stored.
const SeedSize = ed25519.SeedSize

const (
	redacted = "[redacted]"
	pemType  = "PRIVATE KEY"
	// maxPEM bounds a key file; real ones have 119 bytes. Ours.
	maxPEM = 4 << 10
)

// PrivateKey signs as an identity. The zero value is not a key; using it panics.
//
// It is small and safe to copy and to share between goroutines. Printing,
// logging and marshalling it give "[redacted]"; only [PrivateKey.Seed] and
// [PrivateKey.MarshalPEM] give the secret away.
type PrivateKey struct{ secret }

// NodePrivateKey is the private key of a Yggdrasil node. It never signs as an
// identity. The zero value is not a key; using it panics. It prints as
// "[redacted]".
type NodePrivateKey struct{ secret }

// NewPrivateKey makes a key from its seed.
func NewPrivateKey(seed [SeedSize]byte) PrivateKey { return PrivateKey{newSecret(seed)} }

// NewNodePrivateKey makes a node key from its seed.
func NewNodePrivateKey(seed [SeedSize]byte) NodePrivateKey { return NodePrivateKey{newSecret(seed)} }

// GeneratePrivateKey draws a new key from random, which is crypto/rand.Reader
// outside of tests.
func GeneratePrivateKey(random io.Reader) (PrivateKey, error) {
	s, err := generateSecret(random)
	return PrivateKey{s}, err
}

// GenerateNodePrivateKey draws a new node key from random, which is
// crypto/rand.Reader outside of tests.
func GenerateNodePrivateKey(random io.Reader) (NodePrivateKey, error) {
	s, err := generateSecret(random)
	return NodePrivateKey{s}, err
}

// ParsePEM reads a file written by [PrivateKey.MarshalPEM], or by any other
// program that writes Ed25519 keys as PKCS#8 PEM. Its errors are [ErrInvalidPEM]
// and never quote the file.
func ParsePEM(file []byte) (PrivateKey, error) {
	s, err := parseSecret(file)
	return PrivateKey{s}, err
}

// ParseNodePEM reads a file written by [NodePrivateKey.MarshalPEM]; see
// [ParsePEM].
func ParseNodePEM(file []byte) (NodePrivateKey, error) {
	s, err := parseSecret(file)
	return NodePrivateKey{s}, err
}

// Public returns the identity.
func (k PrivateKey) Public() PublicKey { return PublicKey(k.key()[SeedSize:]) }

// Equal compares in constant time.
func (k PrivateKey) Equal(other PrivateKey) bool { return k.equal(other.secret) }

// Key returns the node key.
func (k NodePrivateKey) Key() NodeKey { return NodeKey(k.key()[SeedSize:]) }

// Equal compares in constant time.
func (k NodePrivateKey) Equal(other NodePrivateKey) bool { return k.equal(other.secret) }

// Ed25519 returns a copy of the key in the form that Yggdrasil wants.
func (k NodePrivateKey) Ed25519() ed25519.PrivateKey { return slices.Clone(k.key()) }

// secret is what both private keys have in common: the key, and hiding it.
//
// The key sits behind two pointers because fmt prints unexported fields of other
// structs without asking their methods. It follows no pointer inside a struct,
// except one when the verb does not fit (%s); the second it shows as an address.
type secret struct{ box *box }

type box struct{ key *[ed25519.PrivateKeySize]byte }

func newSecret(seed [SeedSize]byte) secret {
	return secret{&box{(*[ed25519.PrivateKeySize]byte)(ed25519.NewKeyFromSeed(seed[:]))}}
}

// key returns the key itself, not a copy.
func (s secret) key() ed25519.PrivateKey { return s.box.key[:] }

func generateSecret(random io.Reader) (secret, error) {
	var seed [SeedSize]byte
	if _, err := io.ReadFull(random, seed[:]); err != nil {
		return secret{}, fmt.Errorf("draw a key: %w", err)
	}
	return newSecret(seed), nil
}

func parseSecret(file []byte) (secret, error) {
	if len(file) > maxPEM {
		return secret{}, fmt.Errorf("%w: larger than %d bytes", ErrInvalidPEM, maxPEM)
	}
	block, rest := pem.Decode(file)
	if block == nil || block.Type != pemType || len(block.Headers) > 0 {
		return secret{}, fmt.Errorf("%w: no %q block without headers", ErrInvalidPEM, pemType)
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return secret{}, fmt.Errorf("%w: something follows the key", ErrInvalidPEM)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		// The parser's text can name what it found, so it is left out.
		return secret{}, fmt.Errorf("%w: the block does not parse", ErrInvalidPEM)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return secret{}, fmt.Errorf("%w: another kind of key", ErrInvalidPEM)
	}
	return newSecret([SeedSize]byte(key.Seed())), nil
}

// IsZero reports whether the key was never set.
func (s secret) IsZero() bool { return s.box == nil }

// Seed returns the secret itself. It is for storage and for nothing else.
func (s secret) Seed() [SeedSize]byte { return [SeedSize]byte(s.key().Seed()) }

// MarshalPEM returns the key as a PKCS#8 PEM file, for storage.
func (s secret) MarshalPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(s.key())
	if err != nil {
		panic("identity: " + err.Error()) // only for kinds of keys that do not exist here
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemType, Bytes: der})
}

func (s secret) equal(other secret) bool {
	if s.IsZero() || other.IsZero() {
		return s.IsZero() && other.IsZero()
	}
	return subtle.ConstantTimeCompare(s.key(), other.key()) == 1
}

// String returns "[redacted]".
func (secret) String() string { return redacted }

// GoString returns "[redacted]".
func (secret) GoString() string { return redacted }

// Format writes "[redacted]" for every verb.
func (secret) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// LogValue returns "[redacted]".
func (secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText writes "[redacted]". There is no way back.
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON writes "[redacted]". There is no way back.
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
