// SPDX-License-Identifier: MPL-2.0

package files

import (
	"encoding/hex"
	"fmt"
	"io"
)

// Hash is the SHA-256 of an encrypted file, and its name on a file server.
type Hash [32]byte

// ParseHash reads 64 hex digits, upper or lower case.
func ParseHash(s string) (Hash, error) {
	var h Hash
	if len(s) != 2*len(h) {
		return Hash{}, fmt.Errorf("parse file hash: want %d hex digits, have %d characters", 2*len(h), len(s))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("parse file hash: %w", err)
	}
	return h, nil
}

// String returns 64 hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether the hash was never set.
func (h Hash) IsZero() bool { return h == Hash{} }

// Key encrypts one file. It must never encrypt another one: the nonces are the
// numbers of the chunks. It prints as "[redacted]".
type Key [32]byte

// NewKey draws a key from random, which is crypto/rand.Reader outside of tests.
func NewKey(random io.Reader) (Key, error) {
	var k Key
	if _, err := io.ReadFull(random, k[:]); err != nil {
		return Key{}, fmt.Errorf("draw a file key: %w", err)
	}
	return k, nil
}

// IsZero reports whether the key was never set.
func (k Key) IsZero() bool { return k == Key{} }

// String returns "[redacted]".
func (Key) String() string { return redacted }

// GoString returns "[redacted]".
func (Key) GoString() string { return redacted }

// Format writes "[redacted]" for every verb.
func (Key) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

const redacted = "[redacted]"
