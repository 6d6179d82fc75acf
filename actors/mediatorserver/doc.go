// SPDX-License-Identifier: MPL-2.0

// Package mediatorserver is the role of a mediator: a server that keeps groups, with
// their members and their history, and pushes messages to the members who are connected.
// It cannot read the messages. It owns a network under a key of its own, and everything it
// keeps is in the store. The node starts its actor, and asks it for its [Status] and for
// what an operator may do ([Operator]).
//
// The protocol is that of the reference mediator, with its texts, but for what no app can
// notice:
//
//   - who is banned, made read-only or leaves gets no further pushes, and when their role is
//     given back, those that they lack;
//   - only an owner changes an owner;
//   - a nonce belongs to the connection that asked for it, so nobody can break the login of
//     somebody else;
//   - pushes about a group come in the order of the history, and a subscription that begins
//     while a message is stored does not miss it;
//   - somebody is offline when the last of their connections ends, and presence is sent in
//     batches; in groups with many connections only GET_MEMBERS tells it.
//
// # How it works
//
// A connection has two goroutines. One reads requests: what only reads the store it answers
// itself, everything else it asks the actor. The actor owns who is logged in and who is
// subscribed; it sends operations to the store and hears of their commits in their order.
// Then it queues the pushes, and answers. A push is encoded once and its bytes are shared
// by the queues of all subscribers. One goroutine writes what is queued for all connections,
// as long as a stream takes it at once. What it does not take is left to the connection's
// second goroutine, which waits. A queue that is full ends its connection: nobody waits for a
// slow subscriber.
//
// Start reading at actor.go, then hub.go for what follows a commit, outbox.go and writer.go
// for the queues, client.go for a connection and handle.go for the requests.
package mediatorserver
