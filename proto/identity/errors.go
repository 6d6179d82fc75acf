// SPDX-License-Identifier: MPL-2.0

package identity

import "errors"

var (
	// ErrRefusedToSign says that a value from outside must not be signed with an
	// identity key, see [Guard].
	ErrRefusedToSign = errors.New("refused to sign")
	// ErrRelayed says that a challenge was sealed for another connection: somebody
	// hands on a handshake, see [Seal].
	ErrRelayed = errors.New("the challenge is sealed for another connection")
	// ErrInvalidKey says that a public key is invalid: zero, of small order, not a
	// point or not canonically encoded.
	ErrInvalidKey = errors.New("invalid public key")
	// ErrInvalidSignature says that a signature does not verify.
	ErrInvalidSignature = errors.New("invalid signature")
	// ErrInvalidPEM says that a key file does not hold exactly one unencrypted
	// Ed25519 private key in PKCS#8 form.
	ErrInvalidPEM = errors.New("not a PKCS#8 PEM file with one Ed25519 key")
	// ErrInvalidLink says that a text is not a contact link.
	ErrInvalidLink = errors.New("not a contact link")
)
