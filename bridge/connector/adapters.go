// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/restored"
	"github.com/mimird/mimird/bridge/rooms"
	"github.com/mimird/mimird/proto/identity"
)

// roomConversations is the connector as package rooms uses it.
type roomConversations struct{ *Connector }

var _ rooms.Conversations = roomConversations{}

func (c roomConversations) Owner(ctx context.Context, account identity.PublicKey) id.UserID {
	return c.owner(ctx, account)
}

func (c roomConversations) SetOwner(ctx context.Context, account identity.PublicKey, user id.UserID) {
	c.br.DB.KV.Set(ctx, ownerKey(account), string(user))
}

func (c roomConversations) ShownIn(ctx context.Context, conversation store.Conversation, room id.RoomID) error {
	if err := c.moveBinding(ctx, conversation, room); err != nil {
		return err
	}
	all := []store.Conversation{conversation}
	if c.conversations.InGroups(conversation.ID) { // also for accounts whose users have logged out
		all = nil
		accounts, err := c.node.Accounts()
		if err != nil {
			return err
		}
		for _, account := range accounts {
			all = append(all, store.Conversation{Account: account.ID, ID: conversation.ID})
		}
	}
	return c.events.NoteRoom(ctx, room, all...)
}

func (c roomConversations) Retry(conversation store.Conversation) {
	if !c.conversations.InGroups(conversation.ID) {
		c.deliver.Retry(conversation)
		return
	}
	for _, login := range c.Logins(conversation.ID) {
		if account, err := mimirid.ParseLogin(login.ID); err == nil {
			c.deliver.Retry(store.Conversation{Account: account, ID: conversation.ID})
		}
	}
}

func (c roomConversations) HoldGhosts(ctx context.Context, login *bridgev2.UserLogin, contact identity.PublicKey) (release func(), err error) {
	if cl, ok := login.Client.(*client); ok {
		if err := cl.own.AwaitPrepared(ctx); err != nil {
			return nil, err
		}
	}
	return c.ghosts.Hold(ctx, mimirid.User(contact))
}

func (c roomConversations) Logins(group store.ConversationID) []*bridgev2.UserLogin {
	return c.groupRooms.LoginsIn(group)
}

// lostMessages is the connector as package restored uses it.
type lostMessages struct{ *Connector }

var _ restored.Conversations = lostMessages{}

func (c lostMessages) Accounts(group store.ConversationID) ([]identity.PublicKey, error) {
	return c.groupRooms.Accounts(group)
}

func (c lostMessages) Has(conversation store.Conversation, id store.MessageID) (bool, error) {
	_, err := c.conversations.Message(conversation.Account, conversation.ID, id)
	if nodeapi.IsGone(err) {
		return false, nil
	}
	return err == nil, err
}

func (c lostMessages) Remake(conversation store.Conversation, gone id.RoomID) bool {
	return c.events.ReplaceRoom(conversation, gone)
}

func (c lostMessages) ShowAgain(conversation store.Conversation, missing []restored.Row) bool {
	return c.events.ShowMissing(conversation, missing)
}

func (c lostMessages) Tell(stop context.Context, user *bridgev2.User, what, text string) {
	c.teller.Retry(stop, user, what, text)
}

// moveBinding has the binding of a conversation follow it to the room that replaces the one
// it was bound to.
func (c *Connector) moveBinding(ctx context.Context, conversation store.Conversation, room id.RoomID) error {
	key := mimirid.Portal(conversation.Account, conversation.ID)
	portal, err := c.br.GetExistingPortalByKey(ctx, key)
	if err != nil {
		return err
	}
	bound, err := c.relay.IsBoundRoom(ctx, portal)
	if err != nil || !bound {
		return err
	}
	binding, err := c.relay.Binding(ctx, key)
	if err != nil {
		return err
	}
	binding.Room, binding.Next = portal.MXID, room
	return c.relay.SetBinding(ctx, key, binding)
}
