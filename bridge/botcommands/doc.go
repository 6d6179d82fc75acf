// SPDX-License-Identifier: MPL-2.0

// Package botcommands has what users say to the bot, beyond the commands that bridgev2 has
// already, and those of the library that need something else here.
//
//	commands.go          the list, and which conversation a command means; contacts
//	messages.go          outbox, trace, files, retry, history
//	search.go            finds messages
//	groups.go, bind.go,  groups, rooms that existed before, and who is relayed
//	relay.go
//	general.go           version, ping
//	turns.go             the commands of a user run one after the other
//
// A command asks the node and the other packages of the bridge for what it does, and answers in
// the room that it was written in; it keeps nothing. Answers have at most 200 lines, and a user
// at most 16 commands that run or wait. The connector builds [Commands], the bridge calls
// [Serialize].
package botcommands

import (
	"log/slog"
	"slices"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/status"

	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/notices"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/bridge/relay"
	"github.com/mimird/mimird/bridge/rooms"
	"github.com/mimird/mimird/bridge/show"
	"github.com/mimird/mimird/proto/identity"
)

// Deps is what [Commands] use.
type Deps struct {
	Bridge  *bridgev2.Bridge
	Config  *config.Config
	Matrix  library.Matrix
	Log     *slog.Logger
	Version string // of the program

	Node          nodeapi.Node
	Groups        nodeapi.GroupNode // nil when the node takes part in no groups
	Conversations *nodeapi.Conversations
	Search        Search // nil without an index

	Deliver    *deliver.Deliverer
	Events     *show.Events
	Rooms      *rooms.Finder
	Relay      *relay.Relay
	Names      *people.Names
	Troubles   *notices.Troubles
	GroupRooms *groups.Rooms
	Members    *groups.Members
	Plans      *groups.Plans
	// State returns the bridge state of the login of an account.
	State func(account identity.PublicKey) status.BridgeState
}

// Commands are the commands of a bridge. They may be run from any goroutine.
type Commands struct{ deps Deps }

// New returns the commands of a bridge.
func New(deps Deps) *Commands { return &Commands{deps: deps} }

// Handlers returns the commands for the processor of the library. One with the name of a command
// of the library replaces it.
func (c *Commands) Handlers() []commands.CommandHandler {
	return slices.Concat(c.commandList(), c.roomEnds(), withoutMeaning(), c.relayCommands(), c.generalCommands())
}
