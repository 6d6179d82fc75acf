// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/proto/identity"
)

// MemberInfo returns the profile of somebody in a group, as an account knows them: that of the
// account itself or of another one of the node, of a contact, or of a member.
func (r *Rooms) MemberInfo(account identity.PublicKey, group store.ConversationID, key identity.PublicKey) (*bridgev2.UserInfo, error) {
	if key == account || r.LoginOf(key) != nil {
		own, err := r.deps.Accounts.Account(key)
		if err != nil {
			return nil, err
		}
		return people.Info(key, own.Name, own.Avatar), nil
	}
	contact, err := r.deps.Accounts.Contact(account, key)
	switch {
	case err == nil && contact.Nickname != "" || err == nil && contact.LocalName != "":
		return r.deps.Names.Info(contact), nil
	case err != nil && !nodeapi.IsGone(err):
		return nil, err
	case !r.deps.Conversations.InGroups(group):
		return people.Info(key, "", nil), nil
	}
	member, err := r.deps.Node.GroupMember(account, group, key)
	if nodeapi.IsGone(err) {
		return people.Info(key, "", nil), nil
	}
	if err != nil {
		return nil, err
	}
	avatar, err := r.deps.Node.GroupMemberAvatar(account, group, key)
	if err != nil && !nodeapi.IsGone(err) {
		return nil, err
	}
	return people.Info(key, r.deps.Names.UnlessBot(member.Name, key), avatar), nil
}

// GroupOf returns a group of an account whose members include somebody, the zero value for none.
func (r *Rooms) GroupOf(account, key identity.PublicKey) (store.ConversationID, error) {
	if r.deps.Node == nil {
		return store.ConversationID{}, nil
	}
	groups, err := r.deps.Node.Groups(account)
	if err != nil {
		return store.ConversationID{}, err
	}
	for _, g := range groups {
		if m, err := r.deps.Node.GroupMember(account, g.ID, key); err == nil && m.Name != "" {
			return g.ID, nil
		}
	}
	return store.ConversationID{}, nil
}

// Info returns what the room of a group is created with, or what a login needs to come
// into it. Of the members a new room has our users alone: the others join before what they
// say, or later, see Members. Our users are not there as ghosts, too.
func (r *Rooms) Info(ctx context.Context, account identity.PublicKey, portal *bridgev2.Portal, group store.ConversationID) (*bridgev2.ChatInfo, error) {
	g, logins, err := r.Room(group)
	if err != nil {
		return nil, err
	}
	bound, err := r.deps.Bindings.IsBoundRoom(ctx, portal)
	if err != nil {
		return nil, err
	}
	kind, users := database.RoomTypeDefault, make(bridgev2.ChatMemberMap)
	for _, l := range logins {
		if !l.Belongs || portal.MXID != "" && l.Account != account { // who is in the room is theirs to say
			continue
		}
		member := bridgev2.ChatMember{EventSender: bridgev2.EventSender{SenderLogin: l.ID}, Membership: event.MembershipJoin}
		if level := groupchat.Level(l.Group.Permissions); !bound {
			member.PowerLevel = &level
		}
		users[mimirid.User(l.Account)] = member
	}
	info := RoomInfo(g)
	request := IsRequest(logins)
	info.Type, info.MessageRequest = &kind, &request
	info.Members = &bridgev2.ChatMemberList{MemberMap: users, PowerLevels: groupchat.PowerLevels()}
	info.UserLocal = nil
	if own, err := r.deps.Node.Group(account, group); err == nil {
		info.UserLocal = Muted(own)
	}
	if bound { // the rest is not ours to change
		info = &bridgev2.ChatInfo{Type: &kind, UserLocal: info.UserLocal, Members: &bridgev2.ChatMemberList{MemberMap: users}}
	}
	return info, nil
}

// IsRequest reports whether the room of a group is an invite: none of our users is a member.
func IsRequest(logins []Login) bool {
	invited := false
	for _, l := range logins {
		if l.Group.State.IsActive() {
			return false
		}
		invited = invited || l.Group.State == store.GroupInvited
	}
	return invited
}

// Muted returns whether the room of a group is muted for our user.
func Muted(g store.Group) *bridgev2.UserLocalPortalInfo {
	muted := bridgev2.Unmuted
	if g.Muted {
		muted = event.MutedForever
	}
	return &bridgev2.UserLocalPortalInfo{MutedUntil: &muted}
}

// RoomInfo returns what a group says about its room.
func RoomInfo(g store.Group) *bridgev2.ChatInfo {
	name, topic := groupchat.Name(g), msgconv.CleanText(g.Description)
	return &bridgev2.ChatInfo{Name: &name, Topic: &topic, Avatar: roomAvatar(g.Avatar)}
}

// roomAvatar returns a picture for a room, or that there is none.
func roomAvatar(picture []byte) *bridgev2.Avatar {
	if len(picture) == 0 {
		return &bridgev2.Avatar{Remove: true}
	}
	sum := sha256.Sum256(picture)
	return &bridgev2.Avatar{
		ID:  networkid.AvatarID(hex.EncodeToString(sum[:])),
		Get: func(context.Context) ([]byte, error) { return picture, nil },
	}
}

// MemberName returns what somebody is called in a group.
func (r *Rooms) MemberName(account identity.PublicKey, group store.ConversationID, key identity.PublicKey) (string, error) {
	info, err := r.MemberInfo(account, group, key)
	if err != nil {
		return "", err
	}
	return *info.Name, nil
}
