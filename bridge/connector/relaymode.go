// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/relay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Relay mode lets users without a login write into a conversation, as its owner. Mimir knows
// one sender, so the name of the user is in the text. Package relay decides what the other side
// is told of it.

// setRelayEvent is the state event by whose power level a room says who may change its relay,
// as in the library.
var setRelayEvent = event.Type{Type: "fi.mau.bridge.set_relay", Class: event.StateEventType}

var (
	errMayNotRelay  = errors.New("you may not change who is relayed in this room")
	errRelayEnded   = msgconv.Refusal("people without a login are not relayed in this conversation any more")
	errRelayNotTold = errors.New("nobody is relayed any more, and the people on Mimir could not be told yet: the bridge goes on trying")
)

// tellAboutRelay queues what package relay tells the other side of a conversation.
func (c *Connector) tellAboutRelay(ctx context.Context, account string, portal networkid.PortalKey, source, text string) error {
	_, conversation, err := mimirid.ParsePortal(portal)
	if err != nil {
		return err
	}
	from, err := identity.ParsePublicKey(account)
	if err != nil {
		return err
	}
	_, err = c.node.Send(ctx, node.Outgoing{
		Account: from, Contact: conversation.Contact(), Group: groupID(conversation), Source: source,
		Type: peer.TypeText, Payload: []byte(text),
	})
	if nodeapi.IsGone(err) || errors.Is(err, node.ErrNotInGroup) || errors.Is(err, node.ErrGroupReadOnly) || errors.Is(err, node.ErrBlocked) {
		return fmt.Errorf("%w: %w", relay.ErrMayNotWrite, err)
	}
	return err
}

// announceRelay has the other side told of the relay before the first relayed message.
func (cl *client) announceRelay(ctx context.Context, msg *bridgev2.MatrixMessage) error {
	err := cl.relay.Announce(ctx, msg.Portal, cl.account.String())
	if errors.Is(err, relay.ErrNotRelayed) {
		return errRelayEnded
	}
	if err != nil {
		return cl.sendError(msg.Event, err)
	}
	return nil
}

// relayCommands returns the library's commands about the relay of a room, as they have to be
// here: the people on Mimir are told, and somebody with several logins is relayed through the
// one that is in the group.
func (c *Connector) relayCommands() []commands.CommandHandler {
	set := *commands.CommandSetRelay
	set.Func = func(ce *commands.Event) {
		if err := c.chooseRelay(ce); err != nil {
			replyError(ce, err)
			return
		}
		commands.CommandSetRelay.Func(ce)
	}
	unset := *commands.CommandUnsetRelay
	unset.Func = func(ce *commands.Event) {
		if err := c.unsetRelay(ce); err != nil {
			replyError(ce, err)
		}
	}
	return []commands.CommandHandler{&set, &unset}
}

// chooseRelay names, in the room of a group, the login of the user that is a member of it, if
// the user has named none.
func (c *Connector) chooseRelay(ce *commands.Event) error {
	_, conversation, err := mimirid.ParsePortal(ce.Portal.PortalKey)
	relays := c.config.Bridge.Relay
	if err != nil || !c.conversations.InGroups(conversation) || len(ce.Args) > 0 ||
		relays.AdminOnly && !ce.User.Permissions.Admin || relays.PreferDefault && len(relays.DefaultRelays) > 0 {
		return err
	}
	cl, _, err := c.roomOf(ce)
	if errors.Is(err, errNotYourRoom) {
		return nil // the library knows whether another login is to be used
	}
	if err != nil {
		return err
	}
	g, err := c.groups.Group(cl.account, conversation)
	switch {
	case err != nil:
		return err
	case g.State == store.GroupReadOnly:
		return errMayNotWrite
	case !g.State.IsActive():
		return errNotMember
	}
	ce.Args = []string{string(cl.login.ID)}
	return nil
}

// unsetRelay ends that people without a login are relayed into the conversation of a room.
func (c *Connector) unsetRelay(ce *commands.Event) error {
	switch may, err := c.mayManageRelay(ce); {
	case err != nil:
		return err
	case !may:
		return errMayNotRelay
	}
	relayed, err := c.relay.Unset(ce.Ctx, ce.Portal)
	switch {
	case err != nil && ce.Portal.Relay == nil:
		c.log.Warn("people on Mimir not told about relaying", "err", err)
		return errRelayNotTold
	case err != nil:
		return err
	case !relayed:
		replyText(ce, "Nobody is relayed in this room.")
	default:
		replyText(ce, "People without a login are not relayed in this room any more, and the people on Mimir are told so.")
	}
	return nil
}

// mayManageRelay reports whether a user may change who is relayed, as in the library.
func (c *Connector) mayManageRelay(ce *commands.Event) (bool, error) {
	set := ce.Portal.Relay
	switch permissions := ce.User.Permissions; {
	case !permissions.ManageRelay:
		return false, nil
	case permissions.Admin, set != nil && set.UserMXID == ce.User.MXID:
		return true, nil
	}
	levels, err := c.matrix.GetPowerLevels(ce.Ctx, ce.RoomID)
	if err != nil {
		return false, err
	}
	return levels.GetUserLevel(ce.User.MXID) >= levels.GetEventLevel(setRelayEvent), nil
}
