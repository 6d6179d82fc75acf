// SPDX-License-Identifier: MPL-2.0

package group

import (
	"errors"
	"fmt"
	"io"
)

// ErrSealed says that a text cannot be opened: another key, another cipher, cut or
// changed on its way.
var ErrSealed = errors.New("cannot decrypt what came from the group")

// KeySize is the length of a [Key] in bytes.
const KeySize = 32

// Key is the secret that the members of a group share. It prints as "[redacted]".
type Key [KeySize]byte

// NewKey draws a key from random, which is crypto/rand.Reader outside of tests.
func NewKey(random io.Reader) (Key, error) {
	var k Key
	if _, err := io.ReadFull(random, k[:]); err != nil {
		return Key{}, fmt.Errorf("draw a group key: %w", err)
	}
	return k, nil
}

// IsZero reports whether the key was never set.
func (k Key) IsZero() bool { return k == Key{} }

// Format writes "[redacted]" for every verb.
func (Key) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// MarshalText writes "[redacted]", so that logs and JSON do not give it away. There
// is no way back.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const redacted = "[redacted]"
