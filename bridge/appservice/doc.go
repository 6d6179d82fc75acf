// SPDX-License-Identifier: MPL-2.0

// Package appservice takes in what happens on the homeserver, as an application service
// of Matrix, and hands it to bridgev2. A transaction that got its 200 is on the disk, and
// every event in it is handled, however often this process or the network fails.
//
//	listener.go      the HTTP server: stores the events of a transaction, then answers 200
//	connections.go   keeps callers without the token from shutting the homeserver out
//	transactions.go  makes one journal entry of each event
//	inbound.go       whether the homeserver reaches the listener
//	dispatch.go      hands the events of a room to bridgev2, one at a time, and removes
//	                 each from the journal when it has been handled
//	lanes.go         lets rooms not wait for each other
//	deferred.go      keeps events that cannot be handled soon in journals of their own
//	downloads.go     downloads the file of a message before the message is handled
//	encryption.go    decrypts events, and keeps those whose keys are late
//	invitations.go   joins the rooms that the bot is invited to
//	sidesync.go      fetches what the homeserver does not push: redactions, receipts, keys
//
// It uses the node's journal, the homeserver through package homeserver, and bridgev2
// through package library. It knows no connector: what only the connector can decide it
// asks through [Rooms], and files are given to it through [Attachments]. The bridge
// builds and runs all of it.
package appservice
