// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// GetChatInfo returns the members of a room: the user and the contact.
func (cl *client) GetChatInfo(ctx context.Context, portal *bridgev2.Portal) (*bridgev2.ChatInfo, error) {
	_, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	key := conversation.Contact()
	if err != nil {
		return nil, err
	}
	if cl.conversations.InGroups(conversation) {
		return cl.groupInfo(ctx, portal, conversation)
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
	return cl.contactRoom(contact), nil
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
		return userInfo(key, account.Name, account.Avatar), nil
	}
	contact, err := cl.node.Contact(cl.account, key)
	if nodeapi.IsGone(err) {
		group, err := cl.groupOf(key)
		if err != nil {
			return nil, err
		}
		return cl.memberInfo(group, key)
	}
	if err != nil {
		return nil, err
	}
	return cl.userInfo(contact), nil
}

func (c *Connector) userInfo(contact store.Contact) *bridgev2.UserInfo {
	return userInfo(contact.ID, c.displayName(contact), contact.Avatar)
}

// displayName is the name that our user has given the contact, else the one that the
// contact has chosen. A ghost is the same for all users of the homeserver, so with
// several users only the public name is shown.
func (c *Connector) displayName(contact store.Contact) string {
	if name := msgconv.CleanName(contact.LocalName); name != "" && c.oneUser() {
		return name
	}
	return c.unlessBot(contact.Nickname, contact.ID)
}

// oneUser reports whether all logins belong to the same Matrix user.
func (c *Connector) oneUser() bool {
	logins := c.br.GetAllCachedUserLogins()
	for _, login := range logins {
		if login.UserMXID != logins[0].UserMXID {
			return false
		}
	}
	return true
}

func userInfo(key identity.PublicKey, name string, avatar []byte) *bridgev2.UserInfo {
	name = nameOr(name, key)
	bot := false
	info := &bridgev2.UserInfo{Name: &name, IsBot: &bot, Identifiers: []string{"mimir:" + key.String()}}
	if len(avatar) > 0 {
		sum := sha256.Sum256(avatar)
		info.Avatar = &bridgev2.Avatar{
			ID:  networkid.AvatarID(hex.EncodeToString(sum[:])),
			Get: func(context.Context) ([]byte, error) { return avatar, nil },
		}
	}
	return info
}

func nameOr(name string, key identity.PublicKey) string {
	if name = msgconv.CleanName(name); name != "" {
		return name
	}
	return "Mimir " + key.Short()
}

func loginName(account store.Account) string {
	return nameOr(account.Name, account.ID)
}

// unlessBot returns a name, or the key when the name is empty or could be mistaken for
// that of the bot.
func (c *Connector) unlessBot(name string, key identity.PublicKey) string {
	if c.posesAsBot(name) {
		name = ""
	}
	return nameOr(name, key)
}

// posesAsBot reports whether a name contains the name of the bot, as eyes read it.
func (c *Connector) posesAsBot(name string) bool {
	shape := msgconv.Skeleton(name)
	bot := c.config.AppService.Bot
	for _, of := range []string{bot.Displayname, bot.Username} {
		if of := msgconv.Skeleton(of); len(of) >= minBotName && strings.Contains(shape, of) {
			return true
		}
	}
	return false
}

// minBotName is the least length of a bot name that is searched inside of others.
const minBotName = 4

// shownName is what the bot calls a contact when it talks to our user.
func (c *Connector) shownName(contact store.Contact) string {
	if name := msgconv.CleanName(contact.LocalName); name != "" {
		return name
	}
	return c.unlessBot(contact.Nickname, contact.ID)
}
