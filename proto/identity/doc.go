// SPDX-License-Identifier: MPL-2.0

// Package identity holds keys, signatures and contact links. It is the only
// package that signs.
//
// Two kinds of Ed25519 keys must never be confused: a [PublicKey] says who
// somebody is and lasts for ever, a [NodeKey] says where one device of theirs
// can be reached. Their private halves are [PrivateKey] and [NodePrivateKey];
// both print as "[redacted]" in every format.
//
// # What is signed
//
// The protocol signs bare 32-byte values with the identity key, without any
// prefix that says what for:
//
//	use                     value                       method
//	peer handshake          challenge of the other side PrivateKey.SignChallenge
//	tracker announcement    own node key                PrivateKey.SignAnnounce
//	mediator, file server   nonce of the server         PrivateKey.SignServerNonce
//
// So a signature made for one use is valid for the others: an attacker who gets us
// to sign their node key as a "challenge" can announce that node as ours. Hence the
// rules of this package: every use has its own method; values chosen by others
// are exactly 32 bytes and pass a [Guard] that knows which values are node keys
// or challenges of our own; without a guard nothing is signed.
//
// Nothing in the value says for which connection it is, so a handshake can be
// relayed. Challenges of our own are sealed for theirs ([Seal]), and one that
// is sealed for another connection is not signed.
//
// Two uses sign other lengths, which cannot be taken for these, and need no guard:
// the announcement of gen1 (16 bytes, PrivateKey.SignAnnounceAddress) and
// the making of a group chat (36 bytes, PrivateKey.SignChat).
//
// # Agreement
//
// Invites into group chats are encrypted for an identity: its public key is turned
// into an X25519 key ([PublicKey.X25519]), and in [PrivateKey.Agree] its private
// key. This says nothing about the sender.
//
// # Verification
//
// Verifying is stricter than crypto/ed25519 and than the reference: a key must
// be a canonically encoded point that is not of small order (so the zero key is
// none), see [PublicKey.Validate]. Signatures with S >= L are refused.
package identity
