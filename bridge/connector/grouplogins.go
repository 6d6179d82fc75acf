// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

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
	logins, err := d.groupRooms.Logins(d.at.ID)
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
	portal, err := d.br.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil {
		return nil, err
	}
	if portal != nil && portal.MXID != "" && d.userIsIn(ctx, portal.MXID) {
		return d.at.Login, nil
	}
	logins, err := d.groupRooms.Logins(d.at.ID)
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
	login := d.groupRooms.LoginOf(member)
	if login == nil {
		return sender
	}
	ctx := d.br.BackgroundCtx
	portal, err := d.br.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil || portal == nil || portal.MXID == "" || !d.matrix.AppService().StateStore.IsInvited(ctx, portal.MXID, login.UserMXID) {
		return sender
	}
	sender.SenderLogin = login.ID
	return sender
}

// isReadableByOthers reports whether another login can read a message that ours cannot.
func (d *delivery) isReadableByOthers(m store.Message) (bool, error) {
	accounts, err := d.groupRooms.Accounts(d.at.ID)
	if err != nil {
		return false, err
	}
	for _, account := range accounts {
		for _, dir := range []store.Direction{store.In, store.Out} {
			other, err := d.groups.ConversationMessage(account, d.at.ID, store.MessageID{Dir: dir, GUID: m.ID.GUID})
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
	logins, err := d.groupRooms.Logins(d.at.ID)
	for _, l := range logins {
		if err == nil && l.Belongs {
			err = d.groupRooms.Enroll(ctx, portal, d.at.ID, l.Account, l.UserLogin)
		}
	}
	return err
}

// place has the tables say that our user is in the room of the group, before they are.
func (d *delivery) place(ctx context.Context, portal *bridgev2.Portal) error {
	if d.at.Placed == portal.MXID {
		return nil
	}
	if err := d.groupRooms.Enroll(ctx, portal, d.at.ID, d.at.Account, d.at.Login); err != nil {
		return err
	}
	d.at.Placed = portal.MXID
	d.members.Want(d.at.Conversation) // the ghost of the account leaves, for example
	return nil
}

// placeLater has a login brought into the room of a group, before its next event.
func (c *Connector) placeLater(at store.Conversation) {
	c.placing.Lock()
	defer c.placing.Unlock()
	if c.placements[at] {
		return
	}
	c.placements[at] = c.deliver.Redo(at, func(ctx context.Context, at *deliver.Position) error {
		d := &delivery{Connector: c, at: at, ev: store.Event{Account: at.Account, Conversation: at.ID, Seq: at.Cursor, Kind: historyEntry}}
		portal, err := d.existingRoom(ctx)
		if err == nil && portal != nil {
			at.Placed = ""
			_, err = d.ensureRoom(ctx)
		}
		if err == nil {
			c.placing.Lock()
			delete(c.placements, at.Conversation)
			c.placing.Unlock()
		}
		return err
	})
}

// forgetPlacements forgets what was begun for an earlier login of an account.
func (c *Connector) forgetPlacements(account identity.PublicKey) {
	c.placing.Lock()
	defer c.placing.Unlock()
	maps.DeleteFunc(c.placements, func(at store.Conversation, _ bool) bool { return at.Account == account })
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

// tellApart tells our user something about a group in the room with the bot, because the
// room of the group is that of others. key names it, and it is told once.
func (d *delivery) tellApart(ctx context.Context, key, text string) error {
	stored := database.Key("im.mimir.group_told." + d.at.Account.String() + "." + d.at.ID.String())
	if d.br.DB.KV.Get(ctx, stored) == key {
		return nil
	}
	scope := homeserver.NewNamedScope("group told/" + d.at.Account.String() + "/" + d.at.ID.String() + "/" + key)
	if err := d.teller.Tell(ctx, scope, d.at.Login.User, text); err != nil {
		return fmt.Errorf("tell of a group: %w", err)
	}
	d.br.DB.KV.Set(ctx, stored, key)
	return nil
}
