// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"crypto/ecdh"
	"crypto/sha512"
	"fmt"

	"filippo.io/edwards25519"
)

// X25519 returns the key for which a secret is wrapped that only this identity can
// read: the same point on the Montgomery curve, so the sign of the Edwards point
// does not matter. It returns [ErrInvalidKey].
func (k PublicKey) X25519() (public [KeySize]byte, err error) {
	if err := k.Validate(); err != nil {
		return public, err
	}
	point, err := new(edwards25519.Point).SetBytes(k[:])
	if err != nil {
		return public, fmt.Errorf("%w: not a point", ErrInvalidKey)
	}
	return [KeySize]byte(point.BytesMontgomery()), nil
}

// Agree returns the secret that this identity shares with the owner of an X25519
// key, who knows us by [PublicKey.X25519]. It is not a key yet: a key is derived from
// it. Public keys of small order give [ErrInvalidKey].
func (k PrivateKey) Agree(public [KeySize]byte) (shared [KeySize]byte, err error) {
	seed := k.Seed()
	digest := sha512.Sum512(seed[:])
	scalar, err := ecdh.X25519().NewPrivateKey(digest[:KeySize])
	if err != nil {
		return shared, fmt.Errorf("X25519 key of the identity: %w", err)
	}
	return agree(scalar, public)
}

// AgreeEphemeral is the other side of [PrivateKey.Agree]: secret is an X25519 key
// that was drawn for one use, public is the key that belongs to it.
func (k PublicKey) AgreeEphemeral(secret [KeySize]byte) (public, shared [KeySize]byte, err error) {
	recipient, err := k.X25519()
	if err != nil {
		return public, shared, err
	}
	scalar, err := ecdh.X25519().NewPrivateKey(secret[:])
	if err != nil {
		return public, shared, fmt.Errorf("ephemeral X25519 key: %w", err)
	}
	shared, err = agree(scalar, recipient)
	return [KeySize]byte(scalar.PublicKey().Bytes()), shared, err
}

func agree(scalar *ecdh.PrivateKey, public [KeySize]byte) (shared [KeySize]byte, err error) {
	remote, err := ecdh.X25519().NewPublicKey(public[:])
	if err != nil {
		return shared, fmt.Errorf("%w: %w", ErrInvalidKey, err)
	}
	z, err := scalar.ECDH(remote)
	if err != nil {
		return shared, fmt.Errorf("%w: of small order", ErrInvalidKey)
	}
	return [KeySize]byte(z), nil
}
