// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"encoding/hex"
	"fmt"
)

// KeySize is the length in bytes of every public key on Mimir's wires.
const KeySize = 32

// PublicKey is a permanent Ed25519 identity key: a person's Mimir id.
// It says who somebody is; where they are is a [NodeKey].
type PublicKey [KeySize]byte

// NodeKey is the Ed25519 key of a Yggdrasil node: the address where one device
// of an identity is reachable now. It is never an identity, also when the bytes
// are equal.
type NodeKey [KeySize]byte

// ParsePublicKey reads 64 hex digits, upper or lower case.
func ParsePublicKey(s string) (PublicKey, error) {
	raw, err := parseHexKey(s)
	if err != nil {
		return PublicKey{}, fmt.Errorf("parse identity key: %w", err)
	}
	return PublicKey(raw), nil
}

// ParseNodeKey reads 64 hex digits, upper or lower case.
func ParseNodeKey(s string) (NodeKey, error) {
	raw, err := parseHexKey(s)
	if err != nil {
		return NodeKey{}, fmt.Errorf("parse node key: %w", err)
	}
	return NodeKey(raw), nil
}

// String returns the 64 hex digits that users see and copy.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// Short returns the first 8 hex digits, the form that logs use.
func (k PublicKey) Short() string { return hex.EncodeToString(k[:4]) }

// IsZero reports whether the key was never set.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// MarshalText writes the hex form, for JSON and YAML.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the hex form.
func (k *PublicKey) UnmarshalText(text []byte) error {
	parsed, err := ParsePublicKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// String returns the 64 hex digits that tracker and peer lists use.
func (k NodeKey) String() string { return hex.EncodeToString(k[:]) }

// Short returns the first 8 hex digits, the form that logs use.
func (k NodeKey) Short() string { return hex.EncodeToString(k[:4]) }

// IsZero reports whether the key was never set.
func (k NodeKey) IsZero() bool { return k == NodeKey{} }

// MarshalText writes the hex form, for JSON and YAML.
func (k NodeKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the hex form.
func (k *NodeKey) UnmarshalText(text []byte) error {
	parsed, err := ParseNodeKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

func parseHexKey(s string) ([KeySize]byte, error) {
	var key [KeySize]byte
	if len(s) != 2*KeySize {
		return key, fmt.Errorf("want %d hex digits, have %d characters", 2*KeySize, len(s))
	}
	if _, err := hex.Decode(key[:], []byte(s)); err != nil {
		return key, fmt.Errorf("want %d hex digits: %w", 2*KeySize, err)
	}
	return key, nil
}
