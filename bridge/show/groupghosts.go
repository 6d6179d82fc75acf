// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// holdAuthor prepares the ghost that an event of a group is sent as, and holds its lock
// for reading. For other events it does nothing.
func (d *delivery) holdAuthor(ctx context.Context, evt bridgev2.RemoteEvent) (release func(), err error) {
	sender := evt.GetSender()
	if !d.isGroup() || sender.IsFromMe || sender.Sender == "" {
		return func() {}, nil
	}
	key, err := mimirid.ParseUser(sender.Sender)
	if err != nil {
		return nil, err
	}
	if sender.SenderLogin != "" { // a user of the bridge, whose ghost speaks if the bridge may not act as them
		if other := d.deps.GroupRooms.LoginOf(key); other != nil {
			d.deps.Prepare(ctx, other)
			if other.User.DoublePuppet(ctx) != nil {
				return func() {}, nil
			}
		}
	}
	unlock, err := d.deps.GroupRooms.HoldGhost(ctx, homeserver.NewScope(d.ev, authorPart), d.at.Account, d.at.ID, key)
	if err != nil {
		return nil, fmt.Errorf("prepare the ghost of a member: %w", err)
	}
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	allowed := false
	if err == nil && portal != nil && portal.MXID != "" {
		allowed, err = d.letWrite(ctx, portal.MXID, sender.Sender)
	}
	isMember := true
	if err == nil {
		isMember, err = d.isMember(key)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return func() {
		unlock()
		if allowed || !isMember {
			d.deps.Members.WantAuthor(d.at.Conversation, key)
		}
	}, nil
}

// isMember reports whether somebody is a member of the group, as far as the store knows.
func (d *delivery) isMember(key identity.PublicKey) (bool, error) {
	member, err := d.deps.Groups.GroupMember(d.at.Account, d.at.ID, key)
	if nodeapi.IsGone(err) {
		return false, nil
	}
	return member.Standing == store.StandingMember, err
}

// authorPart is the part of an entry that the profile of its author is.
const authorPart = 1_000_060

// letWrite lets the ghost of an author write in the room of a group, although they may be
// banned or muted meanwhile: what they have said before that is shown. changed says that
// they were, and that memberSync has to look at the room again afterwards.
func (d *delivery) letWrite(ctx context.Context, room id.RoomID, user networkid.UserID) (changed bool, err error) {
	ghost := d.deps.Matrix.GhostIntent(user).GetMXID()
	states := d.deps.Matrix.AppService().StateStore
	library, cancel := homeserver.Once(d.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	if states.IsMembership(ctx, room, ghost, event.MembershipBan) {
		if _, err := d.deps.Matrix.Bot().UnbanUser(library, room, &mautrix.ReqUnbanUser{UserID: ghost}); err != nil {
			return false, homeserver.WithRetryAfter(err)
		}
		changed = true
	}
	levels, err := states.GetPowerLevels(ctx, room)
	if err != nil || levels == nil || levels.GetUserLevel(ghost) >= groupchat.LevelUser {
		return changed, nil // the homeserver says whether the ghost may write
	}
	levels = levels.Clone()
	if !levels.EnsureUserLevelAs(d.deps.Matrix.Bot().UserID, ghost, groupchat.LevelUser) {
		return changed, nil
	}
	if _, err := d.deps.Matrix.Bot().SetPowerLevels(library, room, levels); err != nil {
		return changed, homeserver.WithRetryAfter(err)
	}
	return true, nil
}
