// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/bridgev2/simplevent"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
)

// barrierPart is the part of an entry that a barrier is.
const barrierPart = 1_000_030

// ensureRoom returns the portal with a room that the user is in, or invited to. It
// returns nil when the configuration wants no room.
func (d *delivery) ensureRoom(ctx context.Context) (*bridgev2.Portal, error) {
	key := d.portalKey()
	portal, err := d.deps.Bridge.GetPortalByKey(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("look for the room: %w", err)
	}
	if portal.MXID == "" {
		if !d.deps.Bridge.Config.PortalCreateFilter.ShouldAllow(d.at.Login.ID, key) {
			return nil, nil
		}
		if !d.deps.Deliver.MayCreateRoom(d.at.Conversation) {
			return nil, deliver.ErrAwaitTurn
		}
		if d.isGroup() {
			if err := d.placeAll(ctx, portal); err != nil {
				return nil, err
			}
		}
		if _, err := d.resync(ctx, portal, true); err != nil {
			return nil, homeserver.RoomError("create the room", err)
		}
		if portal.MXID == "" {
			return nil, errors.New("create the room: the library has created none")
		}
		d.at.Unlisted, d.at.Placed = false, "" // nothing is in a room that is new
		if err := d.deps.Relay.Reconcile(ctx, portal.PortalKey); err != nil {
			return nil, err
		}
	}
	// A crash may have come between the creation of the room and the invitation, or the
	// user has left and a new message invites them again.
	isIn := d.userIsIn(ctx, portal.MXID)
	wanted := true
	if !isIn {
		if wanted, err = d.isWanted(ctx, portal); err != nil {
			return nil, err
		}
	}
	if d.isGroup() && wanted {
		if err := d.place(ctx, portal); err != nil {
			return nil, err
		}
	}
	if !isIn && wanted {
		refused, err := d.resync(ctx, portal, false)
		if err == nil && !d.userIsIn(ctx, portal.MXID) {
			err = refused // the library does not report it
		}
		if err != nil {
			return nil, homeserver.RoomError("invite you into the room", err)
		}
	}
	if err := d.mayWrite(ctx, portal); err != nil {
		return nil, err
	}
	if !d.old {
		if err := d.history(ctx, portal); err != nil {
			return nil, err
		}
	}
	return portal, nil
}

// existingRoom returns the portal of the conversation, nil when it has no room.
func (d *delivery) existingRoom(ctx context.Context) (*bridgev2.Portal, error) {
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil {
		return nil, fmt.Errorf("look for the room: %w", err)
	}
	if portal == nil || portal.MXID == "" {
		return nil, nil
	}
	return portal, d.mayWrite(ctx, portal)
}

// mayWrite returns an error when the room is encrypted and the bridge does not
// encrypt.
func (d *delivery) mayWrite(ctx context.Context, portal *bridgev2.Portal) error {
	if d.deps.Matrix.Device() != nil {
		return nil
	}
	encrypted, err := d.deps.Matrix.IsEncrypted(ctx, portal.MXID)
	if err != nil {
		return fmt.Errorf("look whether the room is encrypted: %w", err)
	}
	if encrypted {
		return homeserver.ErrRoomEncrypted
	}
	return nil
}

// isWanted reports whether our user is to be brought into the room: not into that of others,
// and not into one whose people have banned them.
func (d *delivery) isWanted(ctx context.Context, portal *bridgev2.Portal) (bool, error) {
	wanted, err := d.belongs()
	if err != nil || !wanted {
		return false, err
	}
	bound, err := d.deps.Relay.IsBoundRoom(ctx, portal)
	if err != nil || !bound {
		return err == nil, err
	}
	return !d.deps.Matrix.AppService().StateStore.IsMembership(ctx, portal.MXID, d.at.Login.UserMXID, event.MembershipBan), nil
}

func (d *delivery) userIsIn(ctx context.Context, room id.RoomID) bool {
	return d.deps.Matrix.AppService().StateStore.IsInvited(ctx, room, d.at.Login.UserMXID) // or has joined
}

// resync creates the room, or makes its members what they should be. refused is the last
// failure of a request, which the library may not have reported.
func (d *delivery) resync(ctx context.Context, portal *bridgev2.Portal, create bool) (refused, err error) {
	meta := d.meta(bridgev2.RemoteEventChatResync, bridgev2.EventSender{}, time.Time{})
	meta.CreatePortal = create
	scope := homeserver.NewScope(d.ev, 0)
	err = d.queueIn(ctx, scope, &simplevent.ChatResync{
		EventMeta: meta,
		GetChatInfoFunc: func(ctx context.Context, _ *bridgev2.Portal) (*bridgev2.ChatInfo, error) {
			return d.at.Login.Client.GetChatInfo(ctx, portal)
		},
	})
	return homeserver.WithRetryAfter(scope.LastError()), err
}

// recover looks for an event that may have been sent without our knowing it: the process
// was killed, or the answer was lost. The transaction id alone does not help, because
// homeservers forget it. It reports whether the event is there, and inserts its row then.
// Duplicates are taken back.
func (d *delivery) recover(
	ctx context.Context, portal *bridgev2.Portal, message networkid.MessageID, sender bridgev2.EventSender, at time.Time,
) (found bool, err error) {
	rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, d.at.Login.ID, message)
	if err != nil {
		return false, fmt.Errorf("look for what was shown: %w", err)
	}
	if len(rows) > 0 {
		shown, err := d.findMarked(ctx, portal.MXID, message)
		if err != nil {
			return false, err
		}
		return true, d.deps.Deduper.KeepOnly(ctx, portal.MXID, rows[0], shown...)
	}
	shown, err := d.find(ctx, portal.MXID, message)
	if err != nil || len(shown) == 0 {
		return false, err
	}
	evt := shown[0]
	d.deps.Log.Info("event was in the room already", "contact", d.at.ID.Short(), "event_id", evt.ID)
	if sender.Sender != "" {
		if _, err := d.deps.Bridge.GetGhostByID(ctx, sender.Sender); err != nil { // the row refers to it
			return false, err
		}
	} else if _, err := d.deps.Bridge.GetGhostByID(ctx, ""); err != nil {
		return false, err
	}
	row := &database.Message{
		ID: message, MXID: evt.ID, Room: portal.PortalKey,
		SenderID: sender.Sender, SenderMXID: evt.Sender, Timestamp: at,
		IsDoublePuppeted: !d.deps.IsOurs(evt.Sender),
	}
	if err := d.deps.Bridge.DB.Message.Insert(ctx, row); err != nil {
		return false, fmt.Errorf("note what was in the room already: %w", err)
	}
	return true, d.deps.Deduper.KeepOnly(ctx, portal.MXID, row, shown[1:]...)
}

// find searches a room for the events with a marker, and once more behind a barrier when
// there is none and one may have been sent just now.
func (d *delivery) find(ctx context.Context, room id.RoomID, message networkid.MessageID) ([]*event.Event, error) {
	found, err := d.findMarked(ctx, room, message)
	if err == nil && len(found) == 0 && d.at.Unlisted {
		// The transaction is the same at every attempt: a homeserver that returns the old
		// event remembers transactions, and will recognise the message as well.
		if err = d.search().AwaitListing(ctx, homeserver.NewScope(d.ev, barrierPart), room); err == nil {
			d.at.Unlisted = false // once for all parts of a message
			found, err = d.findMarked(ctx, room, message)
		}
	}
	return found, err
}

func (d *delivery) findMarked(ctx context.Context, room id.RoomID, message networkid.MessageID) ([]*event.Event, error) {
	return d.search().FindMarked(ctx, room, mimirid.Marker(message), d.isOurs)
}

func (d *delivery) search() homeserver.Search {
	return homeserver.Search{Bot: d.deps.Matrix.Bot(), Pause: d.deps.Retry.Min / 2, Log: d.deps.Log}
}

// isOurs tells the senders of our events from members who copy the marker.
func (d *delivery) isOurs(sender id.UserID) bool {
	if d.deps.IsOurs(sender) || sender == d.at.Login.UserMXID {
		return true
	}
	return d.isGroup() && slices.ContainsFunc(d.deps.Bridge.GetAllCachedUserLogins(), func(login *bridgev2.UserLogin) bool {
		return login.UserMXID == sender
	})
}

// isHidden reports whether a message is not shown, because the people of a bound room have
// banned its author.
func (d *delivery) isHidden(ctx context.Context, m store.Message) (bool, error) {
	sender := d.senderOf(m)
	if !d.isGroup() || sender.Sender == "" {
		return false, nil
	}
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil {
		return false, err
	}
	bound, err := d.deps.Relay.IsBoundRoom(ctx, portal)
	if err != nil || !bound {
		return false, err
	}
	return d.deps.Matrix.AppService().StateStore.IsMembership(ctx, portal.MXID, d.deps.Ghosts.UserOf(m.Author), event.MembershipBan), nil
}
