// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/relay"
	"github.com/mimird/mimird/bridge/rooms"
)

// A group can be bound to a Matrix room that exists already: the people of the room take part
// in it without Mimir, relayed through the login of the member who has bound it. The room
// stays theirs, see relay.Binding.

// roomUseTime is how long a room that is to be given up may still be in use.
const roomUseTime = time.Minute

var (
	errRelayOff     = errors.New("this bridge does not relay people without a login: its operator can set `bridge.relay.enabled`")
	errNotRelayer   = errors.New("only admins of this bridge may do that, unless its operator sets `bridge.relay.admin_only` to false")
	errNoGroupNamed = errors.New("say which group you mean: `bridge` and the name of a group that you are in")
	errManagement   = errors.New("this is the room where you talk with the bot; say it in the room that the group is to have")
	errOwnRoom      = errors.New("this room is the group's own: `set-relay` lets people without a login write in it")
	errOtherRoom    = errors.New("this room shows another conversation already")
	errBoundBefore  = errors.New("the group is bridged to another room: say `unbridge` there first")
	errMayNotWrite  = errors.New("you may only read in this group, so nobody can be relayed through you")
	errNotMember    = errors.New("you are not a member of this group")
	errRoomAdmin    = errors.New("only an admin of this room can do that: somebody who may change its power levels")
	errEncrypted    = errors.New("this room is encrypted, and this bridge does not encrypt: its operator can set `encryption.allow`")
)

// commandBridge binds the group that the argument names to the room of the command.
func (c *Commands) commandBridge(ce *commands.Event) {
	text, err := c.bindRoom(ce)
	if err != nil {
		replyError(ce, err)
		return
	}
	replyText(ce, text)
}

// bindRoom is commandBridge without the answer. Called again it finishes what an earlier call
// has begun.
func (c *Commands) bindRoom(ce *commands.Event) (answer string, err error) {
	switch config := c.deps.Config.Bridge.Relay; {
	case !config.Enabled:
		return "", errRelayOff
	case !ce.User.Permissions.ManageRelay, config.AdminOnly && !ce.User.Permissions.Admin:
		return "", errNotRelayer
	case ce.RawArgs == "":
		return "", errNoGroupNamed
	case ce.RoomID == ce.User.ManagementRoom:
		return "", errManagement
	}
	cl, g, err := c.groupNamed(ce, ce.RawArgs, node.GroupAny)
	switch {
	case errors.Is(err, node.ErrUnknownGroup):
		return "", errNoGroupNamed
	case err != nil:
		return "", err
	case g.State == store.GroupReadOnly:
		return "", errMayNotWrite
	case !g.State.IsActive():
		return "", errNotMember
	}
	portal, err := c.deps.Bridge.GetPortalByKey(ce.Ctx, mimirid.Portal(cl.account, g.ID))
	if err != nil {
		return "", err
	}
	binding, err := c.deps.Relay.Binding(ce.Ctx, portal.PortalKey)
	switch {
	case err != nil:
		return "", err
	case ce.Portal != nil && ce.Portal.PortalKey != portal.PortalKey:
		return "", errOtherRoom
	case ce.Portal != nil && !binding.IsRoom(ce.RoomID):
		return "", errOwnRoom
	case portal.MXID != "" && portal.MXID != ce.RoomID && binding.IsRoom(portal.MXID):
		return "", errBoundBefore
	}
	name, err := c.checkRoom(ce)
	if err != nil {
		return "", err
	}
	if name = msgconv.CleanName(name); name == "" {
		name = "without a name"
	}
	if !binding.IsRoom(ce.RoomID) {
		binding = relay.Binding{Room: ce.RoomID, Event: ce.EventID, Name: name, By: cl.account.String()}
		if err := c.deps.Relay.SetBinding(ce.Ctx, portal.PortalKey, binding); err != nil {
			return "", err
		}
	}
	if err := c.deps.Rooms.Bind(ce.Ctx, cl.login, portal, ce.RoomID); err != nil {
		if errors.Is(err, rooms.ErrOtherConversation) {
			err = errors.Join(errOtherRoom, c.deps.Relay.SetBinding(ce.Ctx, portal.PortalKey, relay.Binding{}))
		}
		return "", err
	}
	if err := c.deps.Relay.Begin(ce.Ctx, portal); err != nil {
		return "", err
	}
	c.deps.Members.Want(store.Conversation{Account: cl.account, ID: g.ID})
	return fmt.Sprintf("This room and the Mimir group %s are one now. What people write here is sent to the group with their name, through %s. "+
		"If you do not want that for what you write, say `%s relay off`.", groupchat.Name(g), ce.User.MXID, c.deps.Bridge.Config.CommandPrefix), nil
}

// checkRoom reports why a room cannot be bound by the user of a command, and returns its name.
func (c *Commands) checkRoom(ce *commands.Event) (name string, err error) {
	state, err := c.deps.Rooms.State(ce.Ctx, ce.RoomID)
	if err != nil {
		return "", err
	}
	levels, bot := state.Levels, c.deps.Matrix.Bot().UserID
	if levels.GetUserLevel(ce.User.MXID) < levels.GetEventLevel(event.StatePowerLevels) {
		return "", errRoomAdmin
	}
	if needed := max(levels.Invite(), levels.GetEventLevel(event.EventMessage)); levels.GetUserLevel(bot) < needed {
		return "", fmt.Errorf("the bot needs the power to invite people here: give %s the level %d", bot, needed)
	}
	if state.Encrypted && c.deps.Matrix.Device() == nil {
		return "", errEncrypted
	}
	return state.Name, nil
}

// commandUnbridge ends the binding of the room of a command: the ghosts and the bot leave it.
func (c *Commands) commandUnbridge(ce *commands.Event) error {
	portal, room := ce.Portal, ce.Portal.MXID
	binding, err := c.deps.Relay.Binding(ce.Ctx, portal.PortalKey)
	if err != nil {
		return err
	}
	login := c.deps.Bridge.GetCachedUserLoginByID(networkid.UserLoginID(binding.By))
	if isOwner := login != nil && login.UserMXID == ce.User.MXID; !isOwner && !ce.User.Permissions.Admin {
		state, err := c.deps.Rooms.State(ce.Ctx, room)
		if err != nil {
			return err
		}
		if state.Levels.GetUserLevel(ce.User.MXID) < state.Levels.GetEventLevel(event.StatePowerLevels) {
			return errRoomAdmin
		}
	}
	if err := c.giveUpRoom(ce.Ctx, portal); err != nil {
		return err
	}
	if err := c.deps.Relay.Reconcile(ce.Ctx, portal.PortalKey); err != nil {
		return err
	}
	if err := c.deps.Relay.SetBinding(ce.Ctx, portal.PortalKey, relay.Binding{}); err != nil {
		return err
	}
	replyText(ce, "This room and the Mimir group are not one any more. Nothing that is written here leaves it.")
	return c.deps.Bridge.Bot.DeleteRoom(ce.Ctx, room, true) // in which only the ghosts and the bot leave
}

// giveUpRoom takes the room from a group, while nothing is brought into it.
func (c *Commands) giveUpRoom(ctx context.Context, portal *bridgev2.Portal) error {
	waiting, cancel := context.WithTimeout(ctx, roomUseTime)
	defer cancel()
	release, err := c.deps.Events.HoldRoom(waiting, portal.PortalKey)
	if err != nil {
		return fmt.Errorf("wait for what is being brought into the room: %w", err)
	}
	defer release()
	if err := c.deps.Rooms.GiveUp(ctx, portal.MXID); err != nil {
		return err
	}
	return portal.RemoveMXID(ctx)
}

// mayRemake returns an error for a conversation whose room is not to be replaced by a command.
func (c *Commands) mayRemake(ctx context.Context, key networkid.PortalKey) error {
	portal, err := c.deps.Bridge.GetExistingPortalByKey(ctx, key)
	if err != nil {
		return err
	}
	bound, err := c.deps.Relay.IsBoundRoom(ctx, portal)
	if err == nil && bound {
		err = relay.ErrBound
	}
	return err
}
