// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"errors"

	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
)

// setRelayEvent is the state event by whose power level a room says who may change its relay,
// as in the library.
var setRelayEvent = event.Type{Type: "fi.mau.bridge.set_relay", Class: event.StateEventType}

var (
	errMayNotRelay  = errors.New("you may not change who is relayed in this room")
	errRelayNotTold = errors.New("nobody is relayed any more, and the people on Mimir could not be told yet: the bridge goes on trying")
)

// relayCommands returns the library's commands about the relay of a room, as they have to be
// here: the people on Mimir are told, and somebody with several logins is relayed through the
// one that is in the group.
func (c *Commands) relayCommands() []commands.CommandHandler {
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
func (c *Commands) chooseRelay(ce *commands.Event) error {
	_, conversation, err := mimirid.ParsePortal(ce.Portal.PortalKey)
	relays := c.deps.Config.Bridge.Relay
	if err != nil || !c.deps.Conversations.InGroups(conversation) || len(ce.Args) > 0 ||
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
	g, err := c.deps.Groups.Group(cl.account, conversation)
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
func (c *Commands) unsetRelay(ce *commands.Event) error {
	switch may, err := c.mayManageRelay(ce); {
	case err != nil:
		return err
	case !may:
		return errMayNotRelay
	}
	relayed, err := c.deps.Relay.Unset(ce.Ctx, ce.Portal)
	switch {
	case err != nil && ce.Portal.Relay == nil:
		c.deps.Log.Warn("people on Mimir not told about relaying", "err", err)
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
func (c *Commands) mayManageRelay(ce *commands.Event) (bool, error) {
	set := ce.Portal.Relay
	switch permissions := ce.User.Permissions; {
	case !permissions.ManageRelay:
		return false, nil
	case permissions.Admin, set != nil && set.UserMXID == ce.User.MXID:
		return true, nil
	}
	levels, err := c.deps.Matrix.GetPowerLevels(ce.Ctx, ce.RoomID)
	if err != nil {
		return false, err
	}
	return levels.GetUserLevel(ce.User.MXID) >= levels.GetEventLevel(setRelayEvent), nil
}
