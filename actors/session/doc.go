// SPDX-License-Identifier: MPL-2.0

// Package session is the connection to one device of a contact, and the listener that
// accepts such connections.
//
// [NewListener] returns the actor that accepts streams and runs the first half of the
// handshake: it tells its parent [Inbound]. [NewSpec] makes a session, a child of the
// contact's actor: it dials, or goes on with an accepted stream, then exchanges frames
// until one side ends it. It is never restarted. [Table] is what all of them share.
//
// Commands go down from the contact (Complete, Deliver, Probe, Permit, ...), events go
// up to it (Ready, Live, Acked, Requested, ...); messages.go has both. session.go has
// the state machine of a session, conn.go and data.go the goroutines that read and
// write its streams, generation.go all that the three generations of apps do differently.
//
// A session accepts a message when the store has committed it, and only then sends OK.
// It knows the files of messages as the interface [Files], and neither contacts nor
// accounts: when to connect, and which of two connections counts, its parent decides.
package session
