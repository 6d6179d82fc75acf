// SPDX-License-Identifier: MPL-2.0

// Package chat is the terminal client: the conversations of an account on the left, one of
// them on the right, and below it a composer. Command mimird chat runs it over the control
// API of a running node.
//
// It is a state machine, [Model], with a screen around it. A key, an answer of the node or an
// event of its log is an [Input]; [Model.Update] changes the state and returns what is to be
// done as [Effect] values; [Model.View] draws the state into a [Canvas]. None of the three
// blocks, reads a clock or knows a terminal. [Run] has the terminal, carries out the effects,
// each in a goroutine with a deadline, and follows the event log, again and again when the
// node goes away.
//
// What others write never reaches the terminal as it is: a canvas takes printable characters
// only, see [Canvas.put]. Of a conversation at most maxWindow messages are in memory, each
// with at most maxShown bytes of its text.
//
// Start reading at model.go, then update.go.
package chat
