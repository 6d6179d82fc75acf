// SPDX-License-Identifier: MPL-2.0

// Package group is the encryption of group chats: of messages, of what members
// tell about themselves, and of invites. Mediators (package mediator) carry the
// results and cannot read them.
//
// All members of a group share one [Key], which never changes: who has left the
// group can still read what they get hold of. Nothing is signed, so a mediator, or a member
// with its help, can attribute any message to any member.
//
// This is the cipher of generation 2. It is ChaCha20-Poly1305 as that generation
// calls it, which is not RFC 8439, and no program for the one reads the other:
//
//	keystream    ChaCha20 (96-bit nonce, counter 0), one continuous stream
//	bytes 0..31  the Poly1305 key, as in the RFC
//	bytes 32..   encrypt the text (RFC: bytes 64..)
//	tag          Poly1305 over the bare ciphertext (RFC: padded, with lengths)
//
//	offset  size  sealed text
//	0       12    nonce, random
//	12      n     ciphertext
//	12+n    16    tag
//
//	offset  size  invite, 92 bytes
//	0       32    ephemeral X25519 key
//	32      60    the group's key, sealed under the derived key
//
// The derived key of an invite is HKDF-SHA256 (no salt, info "group-invite-key")
// of the X25519 agreement between the ephemeral key and the recipient's identity.
// Until 16 November 2025 the apps turned identities whose top bit is set into
// another key, to which nobody has the secret: such an invite cannot be opened.
//
// A message is a whole frame of package legacy, header and all. A profile is a
// nickname and an info text (each with a length of two bytes) and a picture
// (length four bytes).
//
// Facts are those of the app at aef232c and of the Go mediator of November 2025,
// the cipher checked against BouncyCastle 1.72 as the app calls it. The package is
// pure.
package group
