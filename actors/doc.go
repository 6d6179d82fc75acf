// SPDX-License-Identifier: MPL-2.0

// Package actors is the node: the supervised actors that speak Mimir's peer
// protocol, find contacts through trackers, keep what they receive in the store
// and deliver what is queued, and the API ([Node]) through which bots, the
// control API and the Matrix bridge use all that.
//
// Start reading at [Node] for the outside, at node.go for the tree, and at
// session.go for what happens to a frame. docs/architecture.md has the tree and
// the path of a message.
//
// # Who tells whom
//
// Commands go down the tree, events go up, and what must not be lost goes
// through the store:
//
//	listener -> node -> account -> contact      Inbound: an authenticated stream
//	contact  -> resolver                        Lookup, answered by Addresses
//	contact  -> session                         Complete, Deliver, Probe
//	session  -> contact                         SessionReady, SessionLive, Acked
//	session, contact -> store                   store.Write, answered by store.Written
//	store's event log -> account -> contact     lookAgain
//
// Nothing waits for an answer inside Receive.
package actors
