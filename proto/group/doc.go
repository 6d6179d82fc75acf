// SPDX-License-Identifier: MPL-2.0

// Package group is the encryption of groups: of messages, of member profiles and of
// invites. Mediators (package mediator) carry the results and cannot read them.
//
// All members of a group share one [Key], which never changes: a former member can
// read whatever they get hold of. Nothing is signed, so a mediator, or a member with
// its help, can attribute any message to any member.
//
//	offset  size  sealed text: ChaCha20-Poly1305 (RFC 8439), no associated data
//	0       12    nonce, random
//	12      n     ciphertext
//	12+n    16    tag
//
//	offset  size  invite, 92 bytes
//	0       32    ephemeral X25519 key
//	32      60    the group's key, sealed under the derived key
//
// The derived key of an invite is HKDF-SHA256 (no salt, info "group-invite-key") of the
// X25519 agreement between the ephemeral key and the recipient's identity.
//
// A message is a whole MESSAGE frame of package peer. A profile is a nickname and an
// info text (each with a length of two bytes) and a picture (length of four bytes).
//
// The functions whose names end in Gen2 are the cipher of gen2. It is not RFC
// 8439, and neither generation reads the other:
//
//	keystream    ChaCha20 (96-bit nonce, counter 0), one continuous stream
//	bytes 0..31  the Poly1305 key, as in the RFC
//	bytes 32..   encrypt the text (RFC: bytes 64..)
//	tag          Poly1305 over the bare ciphertext (RFC: padded, with lengths)
//
// Until 16 November 2025 its apps converted identities whose top bit is set to a wrong
// key: such an invite cannot be opened by anybody.
//
// Facts are those of the core a31933f and the Android app 3.1.2, for gen2 those
// of the app at aef232c, its cipher checked against BouncyCastle 1.72. The package is
// pure.
package group
