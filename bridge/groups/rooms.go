// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"context"
	"log/slog"
	"sync"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/bridge/relay"
	"github.com/mimird/mimird/proto/identity"
)

// Deps is what [Rooms] use.
type Deps struct {
	Bridge *bridgev2.Bridge
	Matrix library.Matrix
	// Node takes part in groups; nil when it does not.
	Node nodeapi.GroupNode
	// Conversations are those of Node.
	Conversations *nodeapi.Conversations
	// Accounts has the accounts and the contacts.
	Accounts nodeapi.Node
	Names    *people.Names
	Ghosts   *people.Ghosts
	// Bindings knows which rooms existed before their group was bridged to them.
	Bindings *relay.Relay
	Log      *slog.Logger
	// Retry is the back-off of the members of a room that could not be set.
	Retry kernel.Backoff
	// AccountOf returns the account of a login, and false when the login has ended.
	AccountOf func(login *bridgev2.UserLogin) (identity.PublicKey, bool)
	// Attached returns the accounts that have a login.
	Attached func() []identity.PublicKey
	// IsOurs tells the bot and the ghosts from other users.
	IsOurs func(id.UserID) bool
	// PlaceLater has the user of an account brought into the room of a group, before its next
	// event.
	PlaceLater func(at store.Conversation)
}

// Rooms are the rooms of groups, one for each group, and the logins that share them. They may
// be used from any goroutine.
type Rooms struct {
	deps Deps
	// asked has the last request for a change of each group, from store.ConversationID to
	// groupRequest.
	asked sync.Map
	// placing is held while it is noted who was brought into the room of a group.
	placing sync.Mutex
}

// New returns the rooms of groups of a bridge.
func New(deps Deps) *Rooms { return &Rooms{deps: deps} }

// HoldGhost is [people.Ghosts.HoldForMember] for a member of a group, as an account knows them.
func (r *Rooms) HoldGhost(
	ctx context.Context, scope *homeserver.Scope, account identity.PublicKey, group store.ConversationID, member identity.PublicKey,
) (release func(), err error) {
	return r.deps.Ghosts.HoldForMember(ctx, scope, mimirid.User(member), func() (*bridgev2.UserInfo, error) {
		return r.MemberInfo(account, group, member)
	})
}
