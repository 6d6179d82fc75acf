// SPDX-License-Identifier: MPL-2.0

// Package groups has the rooms of groups: one room for each group, which the logins share whose
// accounts are in it. [Rooms] says which logins these are, and what the room is like: it follows
// the account that knows most. [Members] makes the members of a group members of its room.
// [Changes] and [Plans] remember what our users have asked of a mediator, a change of a group or
// a new one, until it has answered.
//
//	rooms.go, logins.go  the type, and the logins of a group
//	info.go              name, topic, picture and profiles
//	members.go           the members of rooms: a state machine with retries
//	placed.go            the users whom the bridge has brought into a room, and takes out of it
//	setback.go           sets a room back after a change that was refused
//	changes.go, plans.go what was asked
//
// It shows no events and asks nothing of a mediator but for a new group; package groupchat has
// the roles and words. The connector builds all of it, runs Members, and calls the rest from the
// deliveries and from what handles the events of Matrix. Everything may be called from any
// goroutine. What is stored has a bound for each group or account, and the rooms whose members
// are to be set are at most one entry for each group.
package groups
