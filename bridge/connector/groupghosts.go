// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// The ghosts of a group's members are those of contacts with the same key, and of members
// of other groups. bridgev2 changes the profile of a ghost without a lock, while it
// handles a message of it. So in groups the connector sets the profile of a ghost itself,
// before its message, and holds a lock while the library uses the ghost: deliveries for
// contacts hold it, too. See deliver.Position for contacts alone.

// ghostTimes are the moments at which profiles of ghosts were set, or refused, by groups.
// It is bounded: a profile that is forgotten is only set earlier.
type ghostTimes struct {
	mu sync.Mutex
	at map[networkid.UserID]time.Time
}

// maxGhostTimes bounds the ghosts of ghostTimes.
const maxGhostTimes = 4096

// due reports whether the last change of a ghost is longer ago than pause.
func (g *ghostTimes) due(ghost networkid.UserID, pause time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, known := g.at[ghost]
	return !known || time.Since(at) >= pause
}

// changed notes a change of a ghost.
func (g *ghostTimes) changed(ghost networkid.UserID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.at) >= maxGhostTimes || g.at == nil {
		g.at = make(map[networkid.UserID]time.Time)
	}
	g.at[ghost] = time.Now()
}

// memberProfilePause is the least time between two changes of a member's profile, as long
// as the ghost has one.
const memberProfilePause = time.Minute

// holdGhost makes the library leave the profile of the ghost of a group's member alone, and
// returns with the lock of the ghost held for reading.
func (cl *client) holdGhost(
	ctx context.Context, scope *homeserver.Scope, group store.ConversationID, user networkid.UserID,
) (release func(), err error) {
	key, err := mimirid.ParseUser(user)
	if err != nil {
		return nil, err
	}
	if release, err = cl.ghostLocks.Share(ctx, user); err != nil {
		return nil, err
	}
	ghost, err := cl.br.GetGhostByID(ctx, user)
	if err != nil {
		release()
		return nil, err
	}
	info, err := cl.memberInfo(group, key)
	if err != nil {
		release()
		return nil, err
	}
	if !cl.needsProfile(ghost, info) {
		return release, nil
	}
	release()
	if release, err = cl.ghostLocks.Hold(ctx, user); err != nil {
		return nil, err
	}
	if cl.needsProfile(ghost, info) { // nobody has been quicker
		cl.setGhostProfile(ctx, scope, ghost, info)
	}
	release()
	return cl.ghostLocks.Share(ctx, user)
}

// needsProfile reports whether the profile of a ghost has to be set now. It is called with
// the lock of the ghost held.
func (cl *client) needsProfile(ghost *bridgev2.Ghost, info *bridgev2.UserInfo) bool {
	if _, missed := cl.missedGhosts.Load(ghost.ID); missed {
		return true
	}
	if ghost.Name == "" || !ghost.NameSet || !ghost.AvatarSet {
		return true
	}
	return ghostDiffers(ghost, info) && cl.ghostTimes.due(ghost.ID, memberProfilePause)
}

func ghostDiffers(ghost *bridgev2.Ghost, info *bridgev2.UserInfo) bool {
	return *info.Name != ghost.Name || info.Avatar == nil && ghost.AvatarID != "" || info.Avatar != nil && info.Avatar.ID != ghost.AvatarID
}

// setGhostProfile sets the profile of a ghost. When the homeserver refuses it, the library
// is told that it is set: the next change tries again. It is called with the lock of the
// ghost held for a change.
func (cl *client) setGhostProfile(ctx context.Context, scope *homeserver.Scope, ghost *bridgev2.Ghost, info *bridgev2.UserInfo) {
	if named, missed := cl.missedGhosts.Load(ghost.ID); missed && cl.missedGhosts.CompareAndDelete(ghost.ID, named) {
		ghost.NameSet, ghost.AvatarSet, ghost.ContactInfoSet, ghost.AvatarID = named.(bool), false, false, ""
	}
	library, cancel := scope.With(cl.br.BackgroundCtx, ctx)
	defer cancel()
	if info.Avatar == nil {
		info.Avatar = &bridgev2.Avatar{Remove: true}
	}
	ghost.UpdateInfo(library, info)
	cl.ghostTimes.changed(ghost.ID)
	if !ghost.NameSet || !ghost.AvatarSet {
		cl.log.Warn("name or picture of a member not changed, retrying with a later message",
			"contact", ghost.ID, "err", fault.OneLine(scope.LastError()))
		ghost.NameSet, ghost.AvatarSet = true, true
	}
}

// holdAuthor prepares the ghost that an event of a group is sent as, and holds its lock
// for reading. For other events it does nothing.
func (d *delivery) holdAuthor(ctx context.Context, evt bridgev2.RemoteEvent) (release func(), err error) {
	sender := evt.GetSender()
	cl, ok := d.at.Login.Client.(*client)
	if !ok || !d.isGroup() || sender.IsFromMe || sender.Sender == "" {
		return func() {}, nil
	}
	key, err := mimirid.ParseUser(sender.Sender)
	if err != nil {
		return nil, err
	}
	if sender.SenderLogin != "" { // a user of the bridge, whose ghost speaks if the bridge may not act as them
		if other := d.loginOf(key); other != nil {
			other.prepare(ctx)
			if other.login.User.DoublePuppet(ctx) != nil {
				return func() {}, nil
			}
		}
	}
	unlock, err := cl.holdGhost(ctx, homeserver.NewScope(d.ev, authorPart), d.at.ID, sender.Sender)
	if err != nil {
		return nil, fmt.Errorf("prepare the ghost of a member: %w", err)
	}
	portal, err := d.br.GetExistingPortalByKey(ctx, d.portalKey())
	allowed := false
	if err == nil && portal != nil && portal.MXID != "" {
		allowed, err = d.letWrite(ctx, portal.MXID, sender.Sender)
	}
	isMember := true
	if err == nil {
		isMember, err = cl.isMember(d.at.ID, key)
	}
	if err != nil {
		unlock()
		return nil, err
	}
	return func() {
		unlock()
		if allowed || !isMember {
			d.members.wantAuthor(d.at.Conversation, key)
		}
	}, nil
}

// isMember reports whether somebody is a member of a group, as far as the store knows.
func (cl *client) isMember(group store.ConversationID, key identity.PublicKey) (bool, error) {
	if !cl.conversations.InGroups(group) {
		return false, nil
	}
	member, err := cl.groups.GroupMember(cl.account, group, key)
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
	ghost := d.matrix.GhostIntent(user).GetMXID()
	states := d.matrix.AppService().StateStore
	library, cancel := d.libraryContext(ctx)
	defer cancel()
	if states.IsMembership(ctx, room, ghost, event.MembershipBan) {
		if _, err := d.matrix.Bot().UnbanUser(library, room, &mautrix.ReqUnbanUser{UserID: ghost}); err != nil {
			return false, homeserver.WithRetryAfter(err)
		}
		changed = true
	}
	levels, err := states.GetPowerLevels(ctx, room)
	if err != nil || levels == nil || levels.GetUserLevel(ghost) >= groupchat.LevelUser {
		return changed, nil // the homeserver says whether the ghost may write
	}
	levels = levels.Clone()
	if !levels.EnsureUserLevelAs(d.matrix.Bot().UserID, ghost, groupchat.LevelUser) {
		return changed, nil
	}
	if _, err := d.matrix.Bot().SetPowerLevels(library, room, levels); err != nil {
		return changed, homeserver.WithRetryAfter(err)
	}
	return true, nil
}
