// SPDX-License-Identifier: MPL-2.0

package group

import (
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/poly1305" //nolint:staticcheck // no library has the AEAD of gen2, see the package text

	"github.com/mimird/mimird/proto/identity"
)

// SealGen2 encrypts a text for the group's members of gen2. The nonce is
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

// OpenGen2 decrypts what a member of gen2 has sealed. Its error is
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
	return k.wrap(random, recipient, Key.SealGen2)
}

// UnwrapGen2 opens the data of an invite for one of our identities. Its errors are
// [ErrSealed] and [identity.ErrInvalidKey]: the invite is for somebody else, is of
// another generation, or was written before 16 November 2025 (about half of those, see
// the package text). Who made it is not to be seen from it.
func UnwrapGen2(own identity.PrivateKey, invite []byte) (Key, error) {
	return unwrap(own, invite, Key.OpenGen2)
}
