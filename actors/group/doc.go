// SPDX-License-Identifier: MPL-2.0

// Package group is the group chats of an account. The account starts one actor for all of
// them ([NewSpec]), which keeps a connection to each mediator (actors/mediatorlink), stores
// invites, and starts an actor for each group. That one subscribes, reads the history,
// sends the outbox in order, carries out what our user wants of the mediator, and keeps
// members and their profiles.
//
// Nothing is true because a mediator says so. Messages are stored before the position in
// the history moves, and it moves only along messages that follow each other; a push that
// does not follow makes the actor ask. What arrives is bounded: by the link, by the number
// of large answers under way for each mediator, and by what the store has not written yet.
// A mediator that lies, stalls or floods costs its own groups time, and no others.
//
// The actors read the store and write through the store actor. [Table] is for the node's
// status. Start reading at group.go, the state machine of one group, then account.go, which
// has what its groups share.
package group
