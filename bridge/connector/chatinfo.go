// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"
)

// GetChatInfo returns the members of a room: the user and the contact.
func (cl *client) GetChatInfo(ctx context.Context, portal *bridgev2.Portal) (*bridgev2.ChatInfo, error) {
	_, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	key := conversation.Contact()
	if err != nil {
		return nil, err
	}
	if cl.conversations.InGroups(conversation) {
		return cl.groupRooms.Info(ctx, cl.account, portal, conversation)
	}
	contact := mimirid.User(key)
	info, err := cl.contactInfo(contact)
	if err != nil {
		return nil, err
	}
	kind := database.RoomTypeDM
	self := bridgev2.EventSender{IsFromMe: true, Sender: mimirid.User(cl.account), SenderLogin: cl.login.ID}
	info.Type = &kind
	info.Members = &bridgev2.ChatMemberList{
		IsFull:      true,
		OtherUserID: contact,
		MemberMap: map[networkid.UserID]bridgev2.ChatMember{
			self.Sender: {EventSender: self, Membership: event.MembershipJoin},
			contact:     {EventSender: bridgev2.EventSender{Sender: contact}, Membership: event.MembershipJoin},
		},
	}
	if cl.config.Bridge.PrivateChatPortalMeta { // our user may name the room, see contactname.go
		info.Members.PowerLevels = &bridgev2.PowerLevelOverrides{Events: map[event.Type]int{event.StateRoomName: 0}}
	}
	return info, nil
}

// contactInfo returns what the state of a contact says about the room.
func (cl *client) contactInfo(user networkid.UserID) (*bridgev2.ChatInfo, error) {
	key, err := mimirid.ParseUser(user)
	if err != nil {
		return nil, err
	}
	contact, err := cl.node.Contact(cl.account, key)
	if nodeapi.IsGone(err) {
		return &bridgev2.ChatInfo{}, nil
	}
	if err != nil {
		return nil, err
	}
	return cl.events.ContactRoom(contact), nil
}

// GetUserInfo returns the profile of an identity.
func (cl *client) GetUserInfo(_ context.Context, ghost *bridgev2.Ghost) (*bridgev2.UserInfo, error) {
	key, err := mimirid.ParseUser(ghost.ID)
	if err != nil {
		return nil, err
	}
	if key == cl.account {
		account, err := cl.node.Account(key)
		if err != nil {
			return nil, err
		}
		return people.Info(key, account.Name, account.Avatar), nil
	}
	contact, err := cl.node.Contact(cl.account, key)
	if nodeapi.IsGone(err) {
		group, err := cl.groupRooms.GroupOf(cl.account, key)
		if err != nil {
			return nil, err
		}
		return cl.groupRooms.MemberInfo(cl.account, group, key)
	}
	if err != nil {
		return nil, err
	}
	return cl.names.Info(contact), nil
}
