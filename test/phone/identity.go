// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
)

// Key is the public key of an identity, the address that people give each other.
type Key [ed25519.PublicKeySize]byte

// String is the key in hex.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Verify reports whether the identity has signed a message.
func (k Key) Verify(message, signature []byte) bool {
	return len(signature) == ed25519.SignatureSize && ed25519.Verify(k[:], message, signature)
}

// Link is what people send each other to become contacts.
func (k Key) Link(name string) string {
	return "mimir://mm/u/" + k.String() + "/" + url.QueryEscape(name)
}

// Identity is a permanent key pair.
type Identity struct{ key ed25519.PrivateKey }

// NewIdentity makes the identity of a seed.
func NewIdentity(seed [ed25519.SeedSize]byte) Identity {
	return Identity{ed25519.NewKeyFromSeed(seed[:])}
}

// IdentityOf makes the identity of a name: the same name, the same identity.
func IdentityOf(name string) Identity {
	return NewIdentity(sha256.Sum256([]byte("phone: " + name)))
}

// Key is the public half.
func (i Identity) Key() Key { return Key(i.key[ed25519.SeedSize:]) }

// Sign signs whatever it is given; a phone does not ask what for.
func (i Identity) Sign(message []byte) []byte {
	return ed25519.Sign(i.key, message) //nolint:forbidigo // the phone shares no code with proto, also not the one that signs
}
