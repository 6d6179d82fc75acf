// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
)

// Key is the public key of an identity, the address that people give each other.
type Key [ed25519.PublicKeySize]byte

// String is the key in hex.
func (k Key) String() string { return hex.EncodeToString(k[:]) }

// Verify reports whether the identity has signed a message.
func (k Key) Verify(message, signature []byte) bool {
	return len(signature) == ed25519.SignatureSize && ed25519.Verify(k[:], message, signature)
}

// weakKeys are the keys of small order, without the sign bit: anybody can make a
// signature that Verify takes for theirs.
var weakKeys = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

// weak reports whether the key is nobody's.
func (k Key) weak() bool {
	k[len(k)-1] &= 0x7f
	return slices.Contains(weakKeys, k.String())
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
