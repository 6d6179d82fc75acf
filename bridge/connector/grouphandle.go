// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/relay"
)

var (
	errNotInGroup  = msgconv.Refusal("you are not a member of this group")
	errReadOnly    = msgconv.Refusal("you may only read in this group")
	errGroupKey    = msgconv.Refusal("the key of this group is missing on the node: ask for another invite")
	errTasksFull   = msgconv.Refusal("too much that you asked of this group waits for its mediator already")
	errNotDeleter  = msgconv.Refusal("only its author, or an owner, admin or moderator of the group, can delete it for everybody")
	errLeaveBefore = msgconv.Refusal("you are in this group, so the room is not deleted: delete-portal deletes only the room")
)

// groupID returns the conversation when it is that of a group, else zero: what an outgoing
// message has beside its contact.
func groupID(conversation store.ConversationID) store.ConversationID {
	if conversation.Kind() == store.KindGroup {
		return conversation
	}
	return store.ConversationID{}
}

// removeFromGroup cancels a message that is undelivered, and asks the mediator to delete
// others for everybody.
func (cl *client) removeFromGroup(ctx context.Context, msg *bridgev2.MatrixMessageRemove, group store.ConversationID) error {
	if msg.OrigSender != nil && msg.Event.Sender != msg.TargetMessage.SenderMXID {
		return nil // somebody without a login tidies up the room
	}
	_, id, _, err := mimirid.ParseMessage(msg.TargetMessage.ID)
	if err != nil {
		return nil //nolint:nilerr // a notice: it is gone from the room, and that is all that was wanted
	}
	m, err := cl.conversations.Message(cl.account, group, id)
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return cl.again(msg.Event, err)
	}
	g, err := cl.groups.Group(cl.account, group)
	if err != nil {
		return cl.sendError(msg.Event, err)
	}
	if m.ID.Dir != store.Out && !groupchat.MayModerate(g.Permissions) {
		return errNotDeleter
	}
	parts, err := cl.partsOf(group, m)
	if err != nil {
		return cl.again(msg.Event, err)
	}
	for _, part := range parts {
		if part.ID.Dir == store.Out && part.State == store.StatePending {
			given, err := cl.groups.CancelGroupMessage(ctx, cl.account, group, part.ID, "you have deleted it")
			if err != nil {
				return cl.again(msg.Event, err)
			}
			if given {
				continue
			}
		}
		if _, err := cl.groups.DeleteGroupMessage(ctx, cl.account, group, part.ID); err != nil && !nodeapi.IsGone(err) {
			return cl.sendError(msg.Event, err)
		}
	}
	// Before the library forgets the message.
	if err := cl.events.Bury(ctx, msg.TargetMessage); err != nil {
		return cl.again(msg.Event, err)
	}
	return nil
}

// partsPage is how many messages are read to find those.
const partsPage = 64

// partsOf returns the messages that one event has become, of which m is the last.
func (cl *client) partsOf(group store.ConversationID, m store.Message) ([]store.Message, error) {
	evt := msgconv.SourceEvent(m.Source)
	if evt == "" {
		return []store.Message{m}, nil
	}
	page, err := cl.conversations.Messages(cl.account, group, m.Order+1, partsPage)
	if err != nil {
		return nil, err
	}
	var parts []store.Message
	for _, other := range page {
		if msgconv.SourceEvent(other.Source) == evt {
			parts = append(parts, other)
		}
	}
	return parts, nil
}

// deleteGroupRoom declines an invite, which clients do by deleting its room. For a group
// that our user is in it refuses: the room would come back.
func (cl *client) deleteGroupRoom(ctx context.Context, msg *bridgev2.MatrixDeleteChat, group store.ConversationID) error {
	bound, err := cl.relay.IsBoundRoom(ctx, msg.Portal)
	if err != nil {
		return cl.again(msg.Event, err)
	}
	if bound {
		return msgconv.Refusal(relay.ErrBound.Error())
	}
	g, err := cl.groups.Group(cl.account, group)
	switch {
	case nodeapi.IsGone(err): // there is nothing but the room
	case err != nil:
		return cl.again(msg.Event, err)
	case g.State.IsActive(), g.State == store.GroupJoining:
		return errLeaveBefore
	case g.State == store.GroupInvited:
		if err := cl.groups.DeclineInvite(ctx, cl.account, group); err != nil && !nodeapi.IsGone(err) && !errors.Is(err, node.ErrNoInvite) {
			return cl.again(msg.Event, err)
		}
	}
	if shared, err := cl.groupRooms.IsShared(store.Conversation{Account: cl.account, ID: group}); err != nil || shared {
		if err != nil {
			return cl.again(msg.Event, err)
		}
		return nil // the room stays that of the others
	}
	if err := cl.rooms.GiveUp(ctx, msg.Portal.MXID); err != nil { // before the library leaves it
		return cl.again(msg.Event, err)
	}
	return nil
}

// errOtherLogin has an event handled again, through the login of its sender that is in the
// group.
var errOtherLogin = errors.New("another login of the sender is in the group")

// isForOther reports whether what a user has done in the room of a group is to be done through
// another login of theirs: the library takes the relay, or any login, for a user of whom the
// tables do not say yet that they are in the room. They say so afterwards.
func (cl *client) isForOther(ctx context.Context, user id.UserID, portal *bridgev2.Portal, group store.ConversationID) (bool, error) {
	if cl.login.UserMXID == user {
		if _, err := cl.groups.Group(cl.account, group); err == nil || !nodeapi.IsGone(err) {
			return false, err
		}
	}
	logins, err := cl.groupRooms.Logins(group)
	if err != nil {
		return false, err
	}
	for _, l := range logins {
		if l.UserMXID == user && l.Account != cl.account && l.Group.State.IsActive() {
			_, err := cl.br.DB.UserPortal.GetOrCreate(ctx, l.UserLogin.UserLogin, portal.PortalKey)
			return err == nil, err
		}
	}
	return false, nil
}

// checkLogin has an event in the room of a group handled again when it is for another login.
func (cl *client) checkLogin(ctx context.Context, evt *event.Event, portal *bridgev2.Portal, group store.ConversationID) error {
	if !cl.conversations.InGroups(group) {
		return nil
	}
	other, err := cl.isForOther(ctx, evt.Sender, portal, group)
	if err == nil && other {
		err = errOtherLogin
	}
	if err != nil {
		return cl.again(evt, err)
	}
	return nil
}
