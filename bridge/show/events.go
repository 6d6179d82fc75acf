// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"log/slog"
	"sync"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/keylock"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/notices"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/bridge/publicmedia"
	"github.com/mimird/mimird/bridge/readmarks"
	"github.com/mimird/mimird/bridge/relay"
	"github.com/mimird/mimird/bridge/rooms"
)

// Deps is what [Events] use.
type Deps struct {
	Bridge *bridgev2.Bridge
	Config *config.Config
	Matrix library.Matrix
	Status *library.StatusSender
	Log    *slog.Logger
	// Retry is the back-off of deliveries: a part of it is the pause of a search.
	Retry kernel.Backoff

	Node          nodeapi.Node
	Groups        nodeapi.GroupNode // nil when the node takes part in no groups
	Conversations *nodeapi.Conversations

	Deliver *deliver.Deliverer
	Deduper *homeserver.Deduper
	Rooms   *rooms.Finder
	Relay   *relay.Relay
	Marks   *readmarks.Marks
	Names   *people.Names
	Ghosts  *people.Ghosts
	Teller  *notices.Teller
	// PublicMedia makes links to files that the homeserver does not take, nil for none.
	PublicMedia *publicmedia.Files

	GroupRooms *groups.Rooms
	Members    *groups.Members
	Plans      *groups.Plans
	Changes    *groups.Changes

	// IsOurs tells the bot and the ghosts from other users.
	IsOurs func(id.UserID) bool
	// Prepare has the profile of the account of a login set, see [people.Own].
	Prepare func(ctx context.Context, login *bridgev2.UserLogin)
	// Rename gives a login the name of its account.
	Rename func(ctx context.Context, login *bridgev2.UserLogin, account store.Account) error
}

// Events shows the entries of event logs in the rooms of their conversations. Show and
// ShowProfile are called by the deliverer, which calls them for one entry of a conversation at
// a time; the other methods may be called from any goroutine.
type Events struct {
	deps Deps
	// uses is shared while something is brought into the room of a group, and held while
	// the group gives the room up: the library has no lock for that.
	uses keylock.Locks[networkid.PortalKey]
	// placements are the logins that are about to be brought into the room of a group.
	placing    sync.Mutex
	placements map[store.Conversation]bool
	doubts     roomDoubts
}

// New returns what shows the events of a bridge.
func New(deps Deps) *Events {
	return &Events{deps: deps, placements: make(map[store.Conversation]bool)}
}

// HoldRoom waits until nothing is brought into the room of a group, and keeps it so until
// release is called. It fails only when ctx ends.
func (e *Events) HoldRoom(ctx context.Context, room networkid.PortalKey) (release func(), err error) {
	return e.uses.Hold(ctx, room)
}
