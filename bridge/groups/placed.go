// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/proto/identity"
)

// placed are the users whom the bridge has brought into the room of a group, by the accounts
// that they use. They are taken out of it when they do not belong there any more; others,
// whom people have invited, are not.
type placed map[string]id.UserID

func placedKey(group store.ConversationID) database.Key {
	return database.Key("im.mimir.placed." + group.String())
}

func (r *Rooms) placedIn(ctx context.Context, group store.ConversationID) (users placed) {
	_ = json.Unmarshal([]byte(r.deps.Bridge.DB.KV.Get(ctx, placedKey(group))), &users) // none yet
	return users
}

// notePlaced changes what is known of the users who were brought into a room, unless change
// reports false.
func (r *Rooms) notePlaced(ctx context.Context, group store.ConversationID, change func(placed) (bool, error)) error {
	r.placing.Lock()
	defer r.placing.Unlock()
	users := r.placedIn(ctx, group)
	if users == nil {
		users = make(placed)
	}
	if changed, err := change(users); err != nil || !changed {
		return err
	}
	text, err := json.Marshal(users)
	if err != nil {
		panic(fmt.Sprintf("bridge: %v", err)) // a map of texts
	}
	r.deps.Bridge.DB.KV.Set(ctx, placedKey(group), string(text))
	return nil
}

// Enroll makes a user one who writes in the room of a group through a login, and notes that the
// bridge has brought them there.
func (r *Rooms) Enroll(ctx context.Context, portal *bridgev2.Portal, group store.ConversationID, account identity.PublicKey, login *bridgev2.UserLogin) error {
	if _, err := r.deps.Bridge.DB.UserPortal.GetOrCreate(ctx, login.UserLogin, portal.PortalKey); err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	bound, err := r.deps.Bindings.IsBoundRoom(ctx, portal)
	if err != nil || bound {
		return err
	}
	key, user := account.String(), login.UserMXID
	return r.notePlaced(ctx, group, func(users placed) (bool, error) {
		before := users[key]
		if before == user {
			return false, nil
		}
		if before != "" { // who used the account before is still to be taken out
			users[key+"/"+string(before)] = before
		}
		users[key] = user
		return true, nil
	})
}

// removePlaced takes users out of the room of a group who do not belong there any more.
func (r *memberRoom) removePlaced(work context.Context, portal *bridgev2.Portal) error {
	for key, user := range r.placedIn(work, r.group) {
		stay, err := r.whyThere(key, user) // as it is now: others may have become members since
		if err != nil {
			return err
		}
		if stay.asPlaced {
			continue
		}
		if stay.login != nil {
			row := database.UserPortalFor(stay.login.UserLogin, portal.PortalKey)
			if err := r.deps.Bridge.DB.UserPortal.Delete(work, row); err != nil {
				return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
			}
		}
		if !stay.otherwise {
			if err := r.removeUser(work, user); err != nil {
				return err
			}
		}
		err = r.notePlaced(work, r.group, func(users placed) (bool, error) {
			stay, err := r.whyThere(key, user)
			if err != nil || stay.asPlaced || users[key] != user {
				return false, err
			}
			delete(users, key)
			return true, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// presence says why a user is in the room of a group.
type presence struct {
	asPlaced, otherwise bool                // through the account of their record, or another one
	login               *bridgev2.UserLogin // of the account, nil when they have no such login
}

// whyThere returns why a user belongs into the room who was brought there under a key of placed.
func (r *memberRoom) whyThere(key string, user id.UserID) (why presence, err error) {
	logins, err := r.Logins(r.group)
	for _, l := range logins {
		switch {
		case l.UserMXID != user:
		case l.Account.String() == key:
			why.asPlaced, why.login = l.Belongs, l.UserLogin
		default:
			why.otherwise = why.otherwise || l.Belongs
		}
	}
	return why, err
}

func (r *memberRoom) removeUser(work context.Context, user id.UserID) error {
	member, err := r.deps.Matrix.AppService().StateStore.GetMember(work, r.room, user)
	if err != nil {
		return fmt.Errorf("read a member of the room: %w", err)
	}
	if !member.Membership.IsInviteOrJoin() {
		return nil
	}
	ctx, cancel := context.WithTimeout(work, memberTime)
	defer cancel()
	library, end := homeserver.Once(r.deps.Bridge.BackgroundCtx, ctx)
	defer end()
	_, err = r.deps.Matrix.Bot().KickUser(library, r.room, &mautrix.ReqKickUser{UserID: user, Reason: "Not in the group through this bridge any more"})
	if errors.Is(err, mautrix.MForbidden) || errors.Is(err, mautrix.MNotFound) { // has left meanwhile
		return nil
	}
	return homeserver.WithRetryAfter(err)
}

// setUser makes the user of a login a member of the room, with the power of their role. The
// ghost of the account is not in the room beside them.
func (r *memberRoom) setUser(work context.Context, m store.Member, l *Login, levels map[id.UserID]int) error {
	user := l.UserMXID
	if m.Standing == store.StandingMember {
		if level, known := levels[user]; !known || groupchat.Level(m.Permissions) > level {
			levels[user] = groupchat.Level(m.Permissions)
		}
	}
	member, ghost := r.current[user], r.current[r.deps.Ghosts.UserOf(l.Account)]
	isIn := member != nil && member.Membership.IsInviteOrJoin()
	ctx, cancel := context.WithTimeout(work, memberTime)
	defer cancel()
	library, end := homeserver.Once(r.deps.Bridge.BackgroundCtx, ctx)
	defer end()
	if isIn && ghost != nil && ghost.Membership == event.MembershipJoin && l.User.DoublePuppet(library) != nil {
		_, err := r.deps.Matrix.AppService().Intent(r.deps.Ghosts.UserOf(l.Account)).LeaveRoom(library, r.room)
		return homeserver.WithRetryAfter(err)
	}
	if isIn || m.Standing != store.StandingMember || r.bound && member != nil {
		return nil
	}
	evt, err := homeserver.RoomState(library, r.deps.Matrix.Bot(), r.room, event.StateMember, user.String())
	if err != nil {
		return err
	}
	if r.isUnhandled(evt) {
		return errUnhandled // see HandleMatrixMembership
	}
	if evt.Sender == user { // has left, and comes back with the next message
		return nil
	}
	if member != nil && member.Membership == event.MembershipBan {
		if _, err := r.deps.Matrix.Bot().UnbanUser(library, r.room, &mautrix.ReqUnbanUser{UserID: user}); err != nil {
			return homeserver.WithRetryAfter(err)
		}
	}
	r.deps.PlaceLater(store.Conversation{Account: l.Account, ID: r.group})
	return nil
}

// preferWriters makes the login with the most power the one through which a user of several
// logins writes in the room.
func (r *memberRoom) preferWriters(ctx context.Context, portal *bridgev2.Portal) error {
	best := make(map[id.UserID]*Login)
	several := make(map[id.UserID]bool)
	for i := range r.logins {
		l := &r.logins[i]
		before := best[l.UserMXID]
		several[l.UserMXID] = before != nil
		if before == nil || l.Belongs && (!before.Belongs || groupchat.Level(l.Group.Permissions) > groupchat.Level(before.Group.Permissions)) {
			best[l.UserMXID] = l
		}
	}
	for user, l := range best {
		if !several[user] {
			continue
		}
		rows, err := r.deps.Bridge.DB.UserPortal.GetAllForUserInPortal(ctx, user, portal.PortalKey)
		if err == nil && len(rows) > 1 && rows[0].LoginID != l.ID {
			err = l.MarkAsPreferredIn(ctx, portal)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
	}
	return nil
}
