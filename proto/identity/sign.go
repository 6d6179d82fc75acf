// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"

	"filippo.io/edwards25519"
)

// Challenge is the 32 random bytes of a handshake. A challenge of any other
// length is refused by its parser.
type Challenge [32]byte

// Signature is an Ed25519 signature.
type Signature [ed25519.SignatureSize]byte

// SignChallenge answers a challenge that somebody else chose, on the connection
// that the seal names. It returns [ErrRefusedToSign] when the guard is nil or
// refuses the value, when the value is this identity itself (which apps try as a
// node key), when it is zero, and, joined with [ErrRelayed], when it was sealed for
// another connection.
func (k PrivateKey) SignChallenge(c Challenge, here Seal, guard Guard) (Signature, error) {
	if IsSealed(c) && !here.Fits(c) {
		return Signature{}, fmt.Errorf("%w: challenge: %w", ErrRefusedToSign, ErrRelayed)
	}
	return k.signForeign("challenge", c, guard)
}

// SignServerNonce answers the login nonce of a mediator or file server. It
// refuses as [PrivateKey.SignChallenge] does, and whatever was sealed for a
// handshake.
func (k PrivateKey) SignServerNonce(nonce [32]byte, guard Guard) (Signature, error) {
	if IsSealed(nonce) {
		return Signature{}, fmt.Errorf("%w: server nonce: %w", ErrRefusedToSign, ErrRelayed)
	}
	return k.signForeign("server nonce", nonce, guard)
}

// SignAnnounce says that this identity can be reached at node. node is a key of
// our own; who signs another one gives the identity's address away.
func (k PrivateKey) SignAnnounce(node NodeKey) Signature { return k.sign(node[:]) }

// SignAnnounceAddress is SignAnnounce for gen1, where devices are reached
// at an IPv6 address. Its 16 bytes cannot be taken for a challenge.
func (k PrivateKey) SignAnnounceAddress(address [16]byte) Signature { return k.sign(address[:]) }

// SignChat searches the signature that a mediator demands from the creator of a group
// chat: one over its nonce and a counter that begins with two zero bytes, a proof
// of work. It tries counters from first on, at most tries of them, so that the
// caller can stop in between; 65,000 tries find one on average. Its 36 bytes cannot
// be taken for a challenge, so it needs no guard.
func (k PrivateKey) SignChat(nonce [32]byte, first, tries uint32) (counter uint32, sig Signature, found bool) {
	for ; tries > 0; tries-- {
		if sig = k.sign(chatProof(nonce, first)); isProofOfWork(sig) {
			return first, sig, true
		}
		if first++; first == 0 {
			break
		}
	}
	return 0, Signature{}, false
}

func chatProof(nonce [32]byte, counter uint32) []byte {
	return binary.BigEndian.AppendUint32(nonce[:], counter)
}

func isProofOfWork(sig Signature) bool { return sig[0] == 0 && sig[1] == 0 }

func (k PrivateKey) signForeign(use string, value [32]byte, guard Guard) (Signature, error) {
	switch {
	case guard == nil:
		return Signature{}, fmt.Errorf("%w: %s without a guard", ErrRefusedToSign, use)
	case value == [32]byte{}:
		return Signature{}, fmt.Errorf("%w: %s was never drawn", ErrRefusedToSign, use)
	case PublicKey(value) == k.Public():
		return Signature{}, fmt.Errorf("%w: %s is our own identity", ErrRefusedToSign, use)
	case guard.Refuses(value):
		return Signature{}, fmt.Errorf("%w: %s", ErrRefusedToSign, use)
	}
	return k.sign(value[:]), nil
}

// sign is the one place where an identity key signs.
func (k PrivateKey) sign(value []byte) Signature {
	return Signature(ed25519.Sign(k.key(), value))
}

// Validate returns [ErrInvalidKey] unless the key is a canonically encoded point
// that is not of small order. With a small-order key anybody could "sign"; the
// zero key is one of them.
func (k PublicKey) Validate() error {
	point, err := new(edwards25519.Point).SetBytes(k[:])
	switch {
	case err != nil:
		return fmt.Errorf("%w: not a point", ErrInvalidKey)
	case PublicKey(point.Bytes()) != k:
		return fmt.Errorf("%w: not in canonical form", ErrInvalidKey)
	case new(edwards25519.Point).MultByCofactor(point).Equal(edwards25519.NewIdentityPoint()) == 1:
		return fmt.Errorf("%w: of small order", ErrInvalidKey)
	}
	return nil
}

// VerifyChallenge checks the answer to a challenge that we chose. It returns
// [ErrInvalidKey] or [ErrInvalidSignature].
func (k PublicKey) VerifyChallenge(c Challenge, sig Signature) error { return k.verify(c[:], sig) }

// VerifyAnnounce checks the claim that this identity can be reached at node. It
// returns [ErrInvalidKey] or [ErrInvalidSignature]. The signature has no date: a
// valid one may be years old.
func (k PublicKey) VerifyAnnounce(node NodeKey, sig Signature) error { return k.verify(node[:], sig) }

// VerifyAnnounceAddress is VerifyAnnounce for gen1.
func (k PublicKey) VerifyAnnounceAddress(address [16]byte, sig Signature) error {
	return k.verify(address[:], sig)
}

// VerifyChat checks the proof of work that creating a group chat takes, see
// [PrivateKey.SignChat]. It returns [ErrInvalidKey] or [ErrInvalidSignature].
func (k PublicKey) VerifyChat(nonce [32]byte, counter uint32, sig Signature) error {
	if !isProofOfWork(sig) {
		return fmt.Errorf("%w: no proof of work", ErrInvalidSignature)
	}
	return k.verify(chatProof(nonce, counter), sig)
}

func (k PublicKey) verify(value []byte, sig Signature) error {
	if err := k.Validate(); err != nil {
		return err
	}
	if !ed25519.Verify(k[:], value, sig[:]) {
		return ErrInvalidSignature
	}
	return nil
}
