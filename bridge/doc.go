// SPDX-License-Identifier: MPL-2.0

// Package bridge shows a node's conversations as Matrix rooms. It is a bridge on
// bridgev2, the framework of the mautrix bridges, used as a library under an actor of the
// node. This package has the actor ([New]), the runner that starts, stops and restarts all
// other packages of the bridge, and the status. The command `mimird up` gives the actor
// to the node.
//
// # Promises
//
// A transaction that was answered with 200 is on disk, and every message in it reaches
// the contact's outbox. Every event of the event log reaches its room once, in order,
// however often the homeserver, this process or the network fails meanwhile. bridgev2
// promises neither, because it keeps both directions in memory. So the beginning and the
// end of both directions are ours:
//
//	from Matrix   appservice   stores the events of a transaction, answers 200, and hands
//	                           them to bridgev2, one of a room at a time, until each is
//	                           handled
//	              connector    handlematrix.go: queues a message under its event id, so
//	                           that handling it twice queues it once
//	to Matrix     deliver      reads the event log, with a cursor and a back-off per
//	                           conversation
//	              show         handlemimir.go: gives bridgev2 a remote event, and waits for
//	                           its result
//	              homeserver   gives requests transaction ids that depend on the event
//	                           alone, lets requests finish, and searches a room when the
//	                           homeserver may have forgotten a transaction id
//
// # Packages
//
// Imports point down this list:
//
//	doctor       the checks of mimird matrix doctor
//	bridge       this package
//	connector    accounts, contacts, what users write: Mimir as bridgev2 sees it
//	botcommands  what users say to the bot
//	show         one entry of the event log into its room, once
//	groups       the rooms of groups: their logins, their members, what was asked of a mediator
//	notices      what does not arrive: outboxes in their rooms, rooms in trouble to their user
//	people       what people are called, the profiles of ghosts, double puppets
//	nodeapi      what the bridge uses of the node; contacts and groups read in one way
//	restored     notices a homeserver restored from an older copy
//	appservice   what the homeserver pushes, and whether it reaches us
//	readmarks    read receipts and the node's read marks
//	rooms        whose a room is that the tables of bridgev2 do not know
//	deliver      the order and the retries of what goes to Matrix
//	relay        people without a login, and groups in rooms that existed before
//	library      how bridgev2 is used: Matrix connector, message statuses, logger
//	botcrypto    the bot's device, with which rooms are encrypted
//	homeserver   requests to a homeserver that fails and forgets
//	groupchat    roles as power levels, and the words about a group in its room, pure
//	msgconv      the conversion of messages, pure
//	config       configuration, registration files, the database
//	mimirid      the ids under which bridgev2 stores what is Mimir's
//	fault        errors for people, panics, errors of the database
//
// # Ownership
//
// The actor (actor.go) owns the runner (runner.go), which owns everything else. bridgev2
// is never called in an actor's Receive. Its database, SQLite as a rule, says which room
// is which conversation and which event which message, and nothing else: what must not be
// lost is in the node's store.
//
// An account of the node is a login of one Matrix user. Every contact is a ghost, and
// every conversation with one a direct room with the login as its receiver: two users of one
// node share no such room. A group is one room for all logins that are in it. Its members are
// ghosts, too, the same for a member and a contact with one key.
//
// Start reading at actor.go and runner.go, then follow a message along the promises
// above.
package bridge
