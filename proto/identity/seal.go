// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
)

// SealRole says which end of a stream has drawn a challenge.
type SealRole byte

// The roles.
const (
	// SealAcceptor is the end that was dialled.
	SealAcceptor SealRole = 1
	// SealInitiator is the end that dials.
	SealInitiator SealRole = 2
)

// Seal names the connection that a challenge is for. The wire has no channel
// binding, so a challenge can be handed on to somebody else and be signed there.
// A sealed challenge says where it belongs, to a reader who knows the form; for the
// apps it is 32 random bytes like any other:
//
//	offset  size  content
//	0       16    r, random
//	16      5     mark: SHA-256(label ∥ "mark" ∥ r)
//	21      11    seal: SHA-256(label ∥ "seal" ∥ r ∥ verifier's node ∥ verifier ∥ prover ∥ role)
//
// The mark lets a prover recognise a sealed challenge whatever it was sealed for, so
// that it need not know the nodes of everybody else. A random challenge carries it
// with a chance of 2^-40. The verifier is the end that draws the challenge, the
// prover the one that signs it. All fields are of fixed length.
type Seal struct {
	// VerifierNode is the node of the verifier, as both ends see it.
	VerifierNode NodeKey
	// Verifier is the identity of the verifier, Prover the one that has to sign.
	Verifier, Prover PublicKey
	// Role is the verifier's.
	Role SealRole
}

const (
	sealLabel  = "mimird sealed challenge 1: "
	sealRandom = 16
	sealMark   = 5
	// maxSealDraws bounds the search of Draw. Every second draw succeeds.
	maxSealDraws = 64
)

// Draw makes a sealed challenge, with random bytes from random. It never decodes
// as a point of the curve: a careful prover ([CurvePoints]) signs it.
func (s Seal) Draw(random io.Reader) (Challenge, error) {
	var c Challenge
	for range maxSealDraws {
		if _, err := io.ReadFull(random, c[:sealRandom]); err != nil {
			return Challenge{}, fmt.Errorf("draw a challenge: %w", err)
		}
		s.close(&c)
		if !IsCurvePoint(c) {
			return c, nil
		}
	}
	return Challenge{}, fmt.Errorf("draw a challenge: %d draws were all points of the curve", maxSealDraws)
}

// Fits reports whether a challenge was sealed for exactly this connection.
func (s Seal) Fits(c Challenge) bool {
	want := c
	s.close(&want)
	return subtle.ConstantTimeCompare(want[:], c[:]) == 1
}

// IsSealed reports whether a challenge was sealed, for any connection.
func IsSealed(c Challenge) bool {
	want := c
	Seal{}.close(&want)
	return subtle.ConstantTimeCompare(want[sealRandom:sealRandom+sealMark], c[sealRandom:sealRandom+sealMark]) == 1
}

// close writes mark and seal behind the random bytes.
func (s Seal) close(c *Challenge) {
	mark := sha256.New()
	mark.Write([]byte(sealLabel + "mark"))
	mark.Write(c[:sealRandom])
	copy(c[sealRandom:], mark.Sum(nil)[:sealMark])

	seal := sha256.New()
	seal.Write([]byte(sealLabel + "seal"))
	seal.Write(c[:sealRandom])
	seal.Write(s.VerifierNode[:])
	seal.Write(s.Verifier[:])
	seal.Write(s.Prover[:])
	seal.Write([]byte{byte(s.Role)})
	copy(c[sealRandom+sealMark:], seal.Sum(nil))
}
