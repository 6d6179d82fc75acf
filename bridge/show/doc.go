// SPDX-License-Identifier: MPL-2.0

// Package show brings one entry of an event log into the room of its conversation: a message, a
// change of one, a contact, the state of a group. [Events.Show] does it once however often it is
// called: before it sends again, it looks for what may be in the room without the tables of
// bridgev2 saying so.
//
//	handlemimir.go             what kind of entry it is; messages
//	media.go, reactions.go,    their parts
//	reply.go, requests.go
//	groups.go, grouprooms.go,  groups, whose rooms package groups knows
//	groupghosts.go
//	room.go, doubts.go         the room of a conversation, and what is in it without our knowing
//	refusal.go, repair.go      what to do when the homeserver, or the room, refuses an event
//	backfill.go                the history of a room that was created again
//	profiles.go                when the profiles of ghosts are set
//
// Package deliver calls it, with the entries of a conversation in order, and calls it again after
// an error: it keeps nothing that waits. The connector builds it, and calls it for commands
// and for what a homeserver has lost.
package show
