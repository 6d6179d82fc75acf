// SPDX-License-Identifier: MPL-2.0

package group

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
)

// ErrSealed says that a text cannot be opened: another key, another cipher, cut or
// changed on its way.
var ErrSealed = errors.New("cannot decrypt what came from the group")

// KeySize is the length of a [Key] in bytes.
const KeySize = 32

// Key is the secret that the members of a group share. The zero value is not a key;
// using it panics. It prints as "[redacted]" in every format; only [Key.Bytes] gives
// the secret away.
//
// It sits behind two pointers because fmt prints unexported fields of other structs
// without asking their methods; see identity.PrivateKey.
type Key struct{ box *box }

type box struct{ key *[KeySize]byte }

// KeyOf makes a key of its bytes, for storage.
func KeyOf(raw [KeySize]byte) Key { return Key{&box{&raw}} }

// NewKey draws a key from random, which is crypto/rand.Reader outside of tests.
func NewKey(random io.Reader) (Key, error) {
	var raw [KeySize]byte
	if _, err := io.ReadFull(random, raw[:]); err != nil {
		return Key{}, fmt.Errorf("draw a group key: %w", err)
	}
	return KeyOf(raw), nil
}

// Bytes returns the secret itself. It is for storage and for nothing else.
func (k Key) Bytes() [KeySize]byte { return *k.box.key }

// raw returns the secret, not a copy.
func (k Key) raw() []byte { return k.box.key[:] }

// IsZero reports whether the key was never set.
func (k Key) IsZero() bool { return k.box == nil }

// Equal compares in constant time.
func (k Key) Equal(other Key) bool {
	if k.IsZero() || other.IsZero() {
		return k.IsZero() && other.IsZero()
	}
	return subtle.ConstantTimeCompare(k.raw(), other.raw()) == 1
}

// Format writes "[redacted]" for every verb.
func (Key) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// MarshalText writes "[redacted]", so that logs and JSON do not give it away. There
// is no way back.
func (Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }

const redacted = "[redacted]"
