// SPDX-License-Identifier: MPL-2.0

// Package connector is Mimir as bridgev2 sees it: the network connector, with the file
// names of other mautrix bridges.
//
// An account of the node is a login of one Matrix user. Every contact is a ghost, every
// conversation a direct room with the login as its receiver: two users of one node share
// no room. A group has one room for all of its logins. Package mimirid makes and reads the
// names.
//
//	connector.go, client.go     the network, and one login of it
//	login.go, startchat.go      how accounts and conversations begin
//	handlematrix.go, reply.go   Matrix to Mimir: a message goes into the outbox under its
//	                            event id, so that handling it twice is handling it once
//	grouphandle.go,             the same for groups: what users change in their rooms, and
//	groupmanage.go,             new groups
//	groupcreate.go
//	chatinfo.go                 who is in a room
//	contactname.go              what a user calls a contact
//	relaymode.go, readmarks.go  people without a login; receipts
//	adapters.go                 what packages rooms and restored use of the connector
//
// What goes from Mimir to Matrix is package show, called by package deliver; what users say to
// the bot is package botcommands. The connector builds them, and packages groups, notices,
// people, readmarks, relay, restored and rooms, and runs their background work. It uses the node through package nodeapi and bridgev2 through package library.
// The bridge builds it, and runs what it returns.
package connector
