// SPDX-License-Identifier: MPL-2.0

// Package connector is Mimir as bridgev2 sees it: the network connector, with the file
// names of other mautrix bridges.
//
// An account of the node is a login of one Matrix user. Every contact is a ghost, every
// conversation a direct room with the login as its receiver: two users of one node share
// no room. Package mimirid makes and reads the names.
//
//	connector.go, client.go     the network, and one login of it
//	login.go, startchat.go      how accounts and conversations begin
//	handlematrix.go             Matrix to Mimir: a message goes into the outbox under its
//	                            event id, so that handling it twice is handling it once
//	handlemimir.go              Mimir to Matrix: shows one event of the log, for package
//	                            deliver; media.go, reactions.go, reply.go and requests.go
//	                            are its parts
//	room.go, refusal.go         the room of a conversation, and what to do when it, or the
//	                            homeserver, refuses an event; repair.go
//	backfill.go                 the history of a room that was created again
//	chatinfo.go, ghosts.go      who is in a room, and when the profiles of ghosts are set
//	commands.go and others      what users say to the bot
//	groups.go, grouplogins.go   shows the events of groups, whose rooms package groups knows; the
//	                            files named group... beside them: changes, new groups, ghosts
//	bindroom.go                 groups that are bridged to rooms which existed before
//	adapters.go                 what packages rooms and restored use of the connector
//
// The package is larger than others, because bridgev2 wants one type to implement the
// network and one to implement a login, and every part above is a part of these two.
//
// It uses the node through package nodeapi, bridgev2 through package library, and packages
// deliver, appservice, groups, homeserver, notices, people, relay, rooms, restored and
// msgconv. The bridge builds it, and runs what it returns.
package connector
