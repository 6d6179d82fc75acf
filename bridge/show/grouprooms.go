// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"fmt"
	"maps"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/identity"
)

// own returns the login of the delivery among those of its group, nil for none.
func (d *delivery) own(logins []groups.Login) *groups.Login {
	for i := range logins {
		if logins[i].Account == d.at.Account {
			return &logins[i]
		}
	}
	return nil
}

// belongs reports whether our user belongs into the room.
func (d *delivery) belongs() (bool, error) {
	if !d.isGroup() {
		return true, nil
	}
	logins, err := d.deps.GroupRooms.Logins(d.at.ID)
	if err != nil {
		return false, err
	}
	own := d.own(logins)
	return own != nil && own.Belongs || len(logins) == 0, nil
}

// source returns the login through which the library handles an event of the room: it brings
// the user of that login into the room. In a group it is another one when our user does not
// belong there.
func (d *delivery) source(ctx context.Context) (*bridgev2.UserLogin, error) {
	if !d.isGroup() {
		return d.at.Login, nil
	}
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil {
		return nil, err
	}
	if portal != nil && portal.MXID != "" && d.userIsIn(ctx, portal.MXID) {
		return d.at.Login, nil
	}
	logins, err := d.deps.GroupRooms.Logins(d.at.ID)
	if err != nil {
		return nil, err
	}
	if own := d.own(logins); own != nil && own.Belongs {
		return d.at.Login, nil
	}
	for _, l := range logins {
		if l.Belongs {
			return l.UserLogin, nil
		}
	}
	return d.at.Login, nil
}

// memberSender is the sender of events for what a member of the group has said: the user of
// their login, if the bridge may act as them and they are in the room, else their ghost. It
// is the same whatever account has brought the event.
func (d *delivery) memberSender(member identity.PublicKey) bridgev2.EventSender {
	sender := bridgev2.EventSender{Sender: mimirid.User(member)}
	login := d.deps.GroupRooms.LoginOf(member)
	if login == nil {
		return sender
	}
	ctx := d.deps.Bridge.BackgroundCtx
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil || portal == nil || portal.MXID == "" || !d.deps.Matrix.AppService().StateStore.IsInvited(ctx, portal.MXID, login.UserMXID) {
		return sender
	}
	sender.SenderLogin = login.ID
	return sender
}

// isReadableByOthers reports whether another login can read a message that ours cannot.
func (d *delivery) isReadableByOthers(m store.Message) (bool, error) {
	accounts, err := d.deps.GroupRooms.Accounts(d.at.ID)
	if err != nil {
		return false, err
	}
	for _, account := range accounts {
		for _, dir := range []store.Direction{store.In, store.Out} {
			other, err := d.deps.Groups.ConversationMessage(account, d.at.ID, store.MessageID{Dir: dir, GUID: m.ID.GUID})
			if nodeapi.IsGone(err) {
				continue
			}
			if err != nil || other.Number == m.Number {
				return err == nil, err
			}
		}
	}
	return false, nil
}

// placeAll has the tables say of everybody who belongs there that they are in the room that is
// about to be created.
func (d *delivery) placeAll(ctx context.Context, portal *bridgev2.Portal) error {
	logins, err := d.deps.GroupRooms.Logins(d.at.ID)
	for _, l := range logins {
		if err == nil && l.Belongs {
			err = d.deps.GroupRooms.Enroll(ctx, portal, d.at.ID, l.Account, l.UserLogin)
		}
	}
	return err
}

// place has the tables say that our user is in the room of the group, before they are.
func (d *delivery) place(ctx context.Context, portal *bridgev2.Portal) error {
	if d.at.Placed == portal.MXID {
		return nil
	}
	if err := d.deps.GroupRooms.Enroll(ctx, portal, d.at.ID, d.at.Account, d.at.Login); err != nil {
		return err
	}
	d.at.Placed = portal.MXID
	d.deps.Members.Want(d.at.Conversation) // the ghost of the account leaves, for example
	return nil
}

// PlaceLater has a login brought into the room of a group, before its next event.
func (e *Events) PlaceLater(at store.Conversation) {
	e.placing.Lock()
	defer e.placing.Unlock()
	if e.placements[at] {
		return
	}
	e.placements[at] = e.deps.Deliver.Redo(at, func(ctx context.Context, at *deliver.Position) error {
		d := &delivery{Events: e, at: at, ev: store.Event{Account: at.Account, Conversation: at.ID, Seq: at.Cursor, Kind: historyEntry}}
		portal, err := d.existingRoom(ctx)
		if err == nil && portal != nil {
			at.Placed = ""
			_, err = d.ensureRoom(ctx)
		}
		if err == nil {
			e.placing.Lock()
			delete(e.placements, at.Conversation)
			e.placing.Unlock()
		}
		return err
	})
}

// ForgetPlacements forgets what was begun for an earlier login of an account.
func (e *Events) ForgetPlacements(account identity.PublicKey) {
	e.placing.Lock()
	defer e.placing.Unlock()
	maps.DeleteFunc(e.placements, func(at store.Conversation, _ bool) bool { return at.Account == account })
}

// tellApart tells our user something about a group in the room with the bot, because the
// room of the group is that of others. key names it, and it is told once.
func (d *delivery) tellApart(ctx context.Context, key, text string) error {
	stored := database.Key("im.mimir.group_told." + d.at.Account.String() + "." + d.at.ID.String())
	if d.deps.Bridge.DB.KV.Get(ctx, stored) == key {
		return nil
	}
	scope := homeserver.NewNamedScope("group told/" + d.at.Account.String() + "/" + d.at.ID.String() + "/" + key)
	if err := d.deps.Teller.Tell(ctx, scope, d.at.Login.User, text); err != nil {
		return fmt.Errorf("tell of a group: %w", err)
	}
	d.deps.Bridge.DB.KV.Set(ctx, stored, key)
	return nil
}
