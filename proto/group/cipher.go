// SPDX-License-Identifier: MPL-2.0

package group

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mimird/mimird/proto/identity"
)

const (
	nonceSize = chacha20poly1305.NonceSize
	tagSize   = chacha20poly1305.Overhead
	// Overhead is how much longer than its text a sealed text is, in bytes.
	Overhead = nonceSize + tagSize
	// InviteSize is the length of an invite's data in bytes.
	InviteSize = identity.KeySize + KeySize + Overhead

	inviteInfo = "group-invite-key"
)

// Seal encrypts a text for the members of a group. The nonce is drawn from random,
// which is crypto/rand.Reader outside of tests.
func (k Key) Seal(random io.Reader, text []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(k.raw())
	if err != nil {
		return nil, fmt.Errorf("group cipher: %w", err)
	}
	sealed := make([]byte, nonceSize, Overhead+len(text))
	if _, err := io.ReadFull(random, sealed); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	return aead.Seal(sealed, sealed, text, nil), nil
}

// Open decrypts what a member has sealed. Its error is [ErrSealed].
func (k Key) Open(sealed []byte) (text []byte, err error) {
	if len(sealed) < Overhead {
		return nil, fmt.Errorf("%w: %d bytes, at least %d wanted", ErrSealed, len(sealed), Overhead)
	}
	aead, err := chacha20poly1305.New(k.raw())
	if err != nil {
		return nil, fmt.Errorf("group cipher: %w", err)
	}
	text, err = aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: wrong tag", ErrSealed)
	}
	return text, nil
}

// Wrap makes the data of an invite that only the recipient can open. What it needs is
// drawn from random, which is crypto/rand.Reader outside of tests. It returns
// [identity.ErrInvalidKey] when the recipient's key is not one.
//
// The data names neither group nor sender nor recipient: a mediator can deliver it
// with another group.
func (k Key) Wrap(random io.Reader, recipient identity.PublicKey) (invite [InviteSize]byte, err error) {
	return k.wrap(random, recipient, Key.Seal)
}

// Unwrap opens the data of an invite for one of our identities. Its errors are
// [ErrSealed] and [identity.ErrInvalidKey]: the invite is for somebody else, or of
// gen2.
func Unwrap(own identity.PrivateKey, invite []byte) (Key, error) {
	return unwrap(own, invite, Key.Open)
}

// wrap is [Key.Wrap] with the cipher of a generation.
func (k Key) wrap(random io.Reader, recipient identity.PublicKey, seal func(Key, io.Reader, []byte) ([]byte, error)) (invite [InviteSize]byte, err error) {
	var ephemeral [identity.KeySize]byte
	if _, err := io.ReadFull(random, ephemeral[:]); err != nil {
		return invite, fmt.Errorf("draw an ephemeral key: %w", err)
	}
	public, shared, err := recipient.AgreeEphemeral(ephemeral)
	if err != nil {
		return invite, fmt.Errorf("invite %s: %w", recipient.Short(), err)
	}
	wrapping, err := inviteKey(shared)
	if err != nil {
		return invite, err
	}
	sealed, err := seal(wrapping, random, k.raw())
	if err != nil {
		return invite, err
	}
	copy(invite[copy(invite[:], public[:]):], sealed)
	return invite, nil
}

// unwrap is [Unwrap] with the cipher of a generation.
func unwrap(own identity.PrivateKey, invite []byte, open func(Key, []byte) ([]byte, error)) (Key, error) {
	if len(invite) != InviteSize {
		return Key{}, fmt.Errorf("%w: an invite of %d bytes, must have %d", ErrSealed, len(invite), InviteSize)
	}
	shared, err := own.Agree([identity.KeySize]byte(invite))
	if err != nil {
		return Key{}, fmt.Errorf("open an invite: %w", err)
	}
	wrapping, err := inviteKey(shared)
	if err != nil {
		return Key{}, err
	}
	key, err := open(wrapping, invite[identity.KeySize:])
	if err != nil {
		return Key{}, fmt.Errorf("open an invite: %w", err)
	}
	return KeyOf([KeySize]byte(key)), nil
}

func inviteKey(shared [identity.KeySize]byte) (Key, error) {
	derived, err := hkdf.Key(sha256.New, shared[:], nil, inviteInfo, KeySize)
	if err != nil {
		return Key{}, fmt.Errorf("derive the key of an invite: %w", err)
	}
	return KeyOf([KeySize]byte(derived)), nil
}
