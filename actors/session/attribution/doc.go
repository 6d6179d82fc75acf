// SPDX-License-Identifier: MPL-2.0

// Package attribution says to which session a data stream belongs.
//
// A data stream names nobody: only the node at its other end is known. Several contacts
// may be at that node, with sessions to several of our accounts. [Table] has the sessions
// with each node; every session of a generation with data streams is entered there, and
// every stream that arrives asks it for its owner. When a stream could be for several
// conversations, the table ends their sessions and gives the node one conversation at a
// time.
//
// Package session alone calls it: the listener for the streams ([Table.Opened]), session
// actors for themselves ([Table.Enter]), actors of contacts through session.Table. It
// answers at once, and tells actors [Yield], [EndShared] and [TurnCame].
package attribution
