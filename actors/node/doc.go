// SPDX-License-Identifier: MPL-2.0

// Package node is the node as a whole: it opens the store, the keys and the files,
// builds what every other package below actors/ uses (wiring.go), starts and stops
// their actors in order, and is the API ([Node]) of the control API, of bots and of
// the Matrix bridge. It is the only package that knows all others; none of them knows
// it. Its callers are cmd, bridge and actors/control.
//
// Start reading at [Node] for the outside and at actor.go for the tree.
// docs/architecture.md has the tree and the path of a message.
//
// # Who tells whom
//
// Commands go down the tree, events go up, and what must not be lost goes through the
// store. A command is declared in the package of its receiver, an event in that of its
// sender:
//
//	session.Listener -> node -> account -> contact   session.Inbound: an authenticated stream
//	contact -> resolver                              resolver.Lookup, answered by resolver.Addresses
//	contact -> session                               Complete, Deliver, Probe and others
//	session -> contact                               Ready, Live, Acked and others
//	session, contact -> store                        store.Write, answered by store.Written
//	store's event log -> account -> contact          contact.Look
//
// Nothing waits for an answer inside Receive.
package node
