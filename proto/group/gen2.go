// SPDX-License-Identifier: MPL-2.0

package group

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/poly1305" //nolint:staticcheck // the cipher of generation 2 is no AEAD that any library has, see the package text

	"github.com/mimird/mimird/proto/identity"
)

const (
	nonceSize = chacha20.NonceSize
	tagSize   = poly1305.TagSize
	// Overhead is how much longer than its text a sealed text is, in bytes.
	Overhead = nonceSize + tagSize
	// InviteSize is the length of an invite's data in bytes.
	InviteSize = identity.KeySize + KeySize + Overhead

	inviteInfo = "group-invite-key"
)

// SealGen2 encrypts a text for the group's members of generation 2. The nonce is
// drawn from random, which is crypto/rand.Reader outside of tests.
func (k Key) SealGen2(random io.Reader, text []byte) ([]byte, error) {
	sealed := make([]byte, nonceSize+len(text), Overhead+len(text))
	if _, err := io.ReadFull(random, sealed[:nonceSize]); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	stream, tagKey, err := k.keystream(sealed[:nonceSize])
	if err != nil {
		return nil, err
	}
	stream.XORKeyStream(sealed[nonceSize:], text)
	var tag [tagSize]byte
	poly1305.Sum(&tag, sealed[nonceSize:], &tagKey)
	return append(sealed, tag[:]...), nil
}

// OpenGen2 decrypts what a member of generation 2 has sealed. Its error is
// [ErrSealed].
func (k Key) OpenGen2(sealed []byte) (text []byte, err error) {
	if len(sealed) < Overhead {
		return nil, fmt.Errorf("%w: %d bytes, at least %d wanted", ErrSealed, len(sealed), Overhead)
	}
	end := len(sealed) - tagSize
	stream, tagKey, err := k.keystream(sealed[:nonceSize])
	if err != nil {
		return nil, err
	}
	ciphertext, tag := sealed[nonceSize:end], [tagSize]byte(sealed[end:])
	if !poly1305.Verify(&tag, ciphertext, &tagKey) {
		return nil, fmt.Errorf("%w: the tag is wrong", ErrSealed)
	}
	text = make([]byte, len(ciphertext))
	stream.XORKeyStream(text, ciphertext)
	return text, nil
}

// keystream returns the key of the tag and the stream behind it.
func (k Key) keystream(nonce []byte) (stream *chacha20.Cipher, tagKey [32]byte, err error) {
	stream, err = chacha20.NewUnauthenticatedCipher(k.raw(), nonce)
	if err != nil {
		return nil, tagKey, fmt.Errorf("start the keystream: %w", err)
	}
	stream.XORKeyStream(tagKey[:], tagKey[:])
	return stream, tagKey, nil
}

// WrapGen2 makes the data of an invite that only the recipient can open. What it
// needs is drawn from random, which is crypto/rand.Reader outside of tests. It
// returns [identity.ErrInvalidKey] when the recipient's key is none.
func (k Key) WrapGen2(random io.Reader, recipient identity.PublicKey) (invite [InviteSize]byte, err error) {
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
	sealed, err := wrapping.SealGen2(random, k.raw())
	if err != nil {
		return invite, err
	}
	copy(invite[copy(invite[:], public[:]):], sealed)
	return invite, nil
}

// UnwrapGen2 opens the data of an invite for one of our identities. Its errors are
// [ErrSealed] and [identity.ErrInvalidKey]: the invite is for somebody else, is of
// another generation, or was made before 16 November 2025 (about half of those, see
// the package text). Who made it is not to be seen from it.
func UnwrapGen2(own identity.PrivateKey, invite []byte) (Key, error) {
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
	key, err := wrapping.OpenGen2(invite[identity.KeySize:])
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
