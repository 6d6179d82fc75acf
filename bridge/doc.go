// SPDX-License-Identifier: MPL-2.0

// Package bridge shows a node's conversations as Matrix rooms. It is a bridge on
// bridgev2, the framework of the mautrix bridges, used as a library under an
// actor of the node.
//
// # What it promises
//
// A transaction that the homeserver got its 200 for is on the disk, and every
// message in it reaches the contact's outbox. An event of the node's log reaches
// its room, once, in order, however often the homeserver, this process or the
// network fails meanwhile. bridgev2 promises neither: it keeps both directions in
// memory. So here the beginnings and the ends are ours:
//
//	from Matrix   listener.go      stores the events of a transaction, then answers 200
//	              dispatch.go      hands the events of a room to bridgev2, one at a
//	                               time, and forgets each when it has been handled
//	              lanes.go         lets the rooms not wait for each other
//	              downloads.go     fetches files before their events are handled
//	              aside.go         keeps events that cannot be handled soon
//	              sidesync.go      fetches what the homeserver does not push
//	              encryption.go    reads encrypted events, and keeps those whose
//	                               keys are late
//	              handlematrix.go  puts a message into the outbox, under its
//	                               event id: twice is once
//	to Matrix     deliver.go       reads the event log, with a cursor and a back-off
//	                               per conversation (deliverpage.go)
//	              handlemimir.go   makes a remote event of an entry, hands it to
//	                               bridgev2, and waits for the real result
//	              transport.go     gives what is sent a transaction id that depends
//	                               on the entry alone
//	              roundtrip.go     lets what was written to the homeserver finish,
//	                               whoever leaves meanwhile
//	              room.go          looks into the room when a homeserver may have
//	                               forgotten the transaction id
//
// Rooms that are the bridge's and that its tables do not know are lostrooms.go's;
// createroom.go makes rooms, a few at a time, each once.
//
// What is sent into an encrypted room is encrypted by the bot's device
// (crypto_on.go); transport.go is the last gate, and lets nothing else through.
// Whether the homeserver reaches us is hearing.go's to know, and doctor.go finds out
// why not.
//
// # What belongs to whom
//
// The bridge actor (actor.go) owns one goroutine (runner.go) that starts bridgev2,
// stops it, and starts it again when it fails. bridgev2 is never called in an
// actor's turn. Its tables, SQLite as a rule, hold nothing but which room is which
// conversation and which event which message; everything that must not be lost is
// in the node's store.
//
// # Ghosts, rooms, logins
//
// An account of the node is a login of one Matrix user. Every contact is a ghost,
// every conversation a direct room with the login as its receiver: two users of
// one node share no room. Names are made and read by package mimirid.
//
// # What is where
//
// Content from Matrix is made in outgoingtext.go, plaintext.go (HTML to text) and
// outgoingmedia.go, content to Matrix in convert.go and media.go; reply.go,
// reactions.go and edits.go go both ways. People are in chatinfo.go, requests.go,
// startchat.go and relay.go, what users type to the bot in commands.go. history.go
// makes a room whole that was made again, waiting.go tells what waits for a contact.
//
// Files are named as in other mautrix bridges. Start reading at actor.go and
// runner.go, then follow a message along the list above.
package bridge
