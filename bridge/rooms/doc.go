// SPDX-License-Identifier: MPL-2.0

// Package rooms finds out which Matrix room belongs to which conversation when the
// tables of bridgev2 do not say so.
//
// The [Finder] reads the rooms of the bot and their state (claim.go), and adopts those
// that are the bridge's: rooms of conversations, Matrix spaces of logins and management
// rooms (finder.go). It decides about events in rooms that the tables do not know
// (events.go), moves a conversation to the room that replaces its own after an upgrade
// (upgrade.go), binds one to a room that existed before (bind.go), and remembers the rooms
// that the bridge has given up. selftest.go has the room that only the bot is in.
//
// What it needs of conversations it gets through [Conversations]; it shows no events. The
// connector builds it and runs it. Package appservice asks it about events, the
// transport, through the connector, whether a room exists before it creates one, and
// package restored which rooms there are.
package rooms
