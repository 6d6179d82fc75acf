// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"context"
	"fmt"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// SetBackRoom makes what a change was about, name, topic or picture, what the group has. A
// later change of the room that is not handled yet stays. It runs where the library handles
// the events of the room.
func (r *Rooms) SetBackRoom(ctx context.Context, portal *bridgev2.Portal, group store.ConversationID, change groupchat.Change) error {
	g, _, err := r.Room(group)
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	kind := map[groupchat.ChangeKind]event.Type{
		groupchat.ChangeName: event.StateRoomName, groupchat.ChangeTopic: event.StateTopic, groupchat.ChangeAvatar: event.StateRoomAvatar,
	}[change.Kind]
	evt, err := homeserver.RoomState(ctx, r.deps.Matrix.Bot(), portal.MXID, kind, "")
	if err != nil {
		return err
	}
	if evt.ID != change.Event && evt.ID != "" && !r.deps.IsOurs(evt.Sender) {
		return nil
	}
	switch content := evt.Content.Parsed.(type) {
	case *event.RoomNameEventContent:
		portal.NameSet = portal.NameSet && content.Name == portal.Name
	case *event.TopicEventContent:
		portal.TopicSet = portal.TopicSet && content.Topic == portal.Topic
	case *event.RoomAvatarEventContent:
		portal.AvatarSet = portal.AvatarSet && content.URL == portal.AvatarMXC
	}
	info := RoomInfo(g)
	portal.UpdateInfo(ctx, info, nil, nil, time.Time{})
	if !portal.NameSet || !portal.TopicSet || !portal.AvatarSet {
		return fmt.Errorf("%w: name, topic or picture of the room was not set", homeserver.ErrProfile)
	}
	return nil
}

// SetBackMember undoes what a refused change has made of somebody who is not a member: an
// invite or a ban, or the end of a ban. Of members [Members] does it.
func (r *Rooms) SetBackMember(ctx context.Context, account identity.PublicKey, room id.RoomID, group store.ConversationID, change groupchat.Change) error {
	member, err := r.deps.Node.GroupMember(account, group, change.User)
	if err != nil && !nodeapi.IsGone(err) {
		return err
	}
	isMember := err == nil && member.Standing == store.StandingMember
	isBanned := err == nil && member.Standing == store.StandingBanned
	logins, err := r.Logins(group)
	if err != nil {
		return err
	}
	ghost := r.UserOf(logins, change.User)
	membership := event.MembershipLeave
	known, err := r.deps.Matrix.AppService().StateStore.GetMember(ctx, room, ghost)
	if err != nil {
		return fmt.Errorf("read a member of the room: %w", err)
	}
	if known != nil {
		membership = known.Membership
	}
	bot := r.deps.Matrix.Bot()
	switch {
	case change.Kind == groupchat.ChangeInvite && membership == event.MembershipInvite && !isMember:
		_, err = bot.KickUser(ctx, room, &mautrix.ReqKickUser{UserID: ghost, Reason: "Not invited to the group"})
	case change.Kind == groupchat.ChangeBan && membership == event.MembershipBan && !isMember && !isBanned:
		_, err = bot.UnbanUser(ctx, room, &mautrix.ReqUnbanUser{UserID: ghost})
	case change.Kind == groupchat.ChangeUnban && membership == event.MembershipLeave && isBanned:
		_, err = bot.BanUser(ctx, room, &mautrix.ReqBanUser{UserID: ghost, Reason: "Banned from the group"})
	}
	return homeserver.WithRetryAfter(err)
}
