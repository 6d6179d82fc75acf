// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.mau.fi/util/variationselector"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
)

// An event of a group may be in the room although the tables do not say so: the process was
// killed, or the answer was lost. In the room of a contact that is the next event of its
// conversation, see deliver.Position. In the room of a group it may be the event of another
// account, which is delivered much later or has logged out: so before anything else is sent,
// the end of the room is compared with the tables. Deliveries to one group follow each other,
// so no more than one event of each failure is unknown.

// roomDoubts knows the rooms of groups in which the tables have everything that was sent.
// The zero value knows none.
type roomDoubts struct {
	mu   sync.Mutex
	sure map[store.ConversationID]id.RoomID
	// failed are the groups in whose room an attempt of this process failed: what it sent
	// may not be listed yet.
	failed map[store.ConversationID]bool
}

// isSure reports whether everything that was sent into a room is known.
func (r *roomDoubts) isSure(group store.ConversationID, room id.RoomID) (sure, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sure[group] == room, r.failed[group]
}

// begin notes that something is being sent, end that it is known what became of it.
func (r *roomDoubts) begin(group store.ConversationID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed == nil {
		r.sure, r.failed = make(map[store.ConversationID]id.RoomID), make(map[store.ConversationID]bool)
	}
	delete(r.sure, group)
	r.failed[group] = true
}

func (r *roomDoubts) end(group store.ConversationID, room id.RoomID) {
	r.begin(group)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sure[group] = room
	delete(r.failed, group)
}

// settleRoom has the tables know everything of the group that was sent into its room.
func (d *delivery) settleRoom(ctx context.Context, portal *bridgev2.Portal) error {
	sure, failed := d.doubts.isSure(d.at.ID, portal.MXID)
	if sure {
		return nil
	}
	if failed || d.at.Unlisted {
		if err := d.search().AwaitListing(ctx, homeserver.NewScope(d.ev, barrierPart), portal.MXID); err != nil {
			return err
		}
	}
	shown, err := d.search().LastMarked(ctx, portal.MXID, d.isOurs)
	if err != nil {
		return err
	}
	for _, evt := range shown {
		if evt.Type == event.EventReaction {
			err = d.noteReaction(ctx, portal, evt)
		} else {
			err = d.noteMessage(ctx, portal, evt)
		}
		if err != nil {
			return err
		}
	}
	d.at.Unlisted = false
	d.doubts.end(d.at.ID, portal.MXID)
	return nil
}

// noteMessage inserts the row of an event that is in the room, unless there is one.
func (d *delivery) noteMessage(ctx context.Context, portal *bridgev2.Portal, evt *event.Event) error {
	marker, _ := evt.Content.Raw[mimirid.MarkerKey].(string)
	message := mimirid.MarkedMessage(d.at.ID, marker)
	rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, portal.Receiver, message)
	if err != nil {
		return fmt.Errorf("look for what was shown: %w", err)
	}
	if len(rows) > 0 {
		return d.deps.Deduper.KeepOnly(ctx, portal.MXID, rows[0], evt)
	}
	sender, err := d.senderOfEvent(ctx, evt.Sender)
	if err != nil {
		return err
	}
	d.deps.Log.Info("event was in the room already", "contact", d.at.ID.Short(), "event_id", evt.ID)
	row := &database.Message{
		ID: message, MXID: evt.ID, Room: portal.PortalKey, SenderID: sender, SenderMXID: evt.Sender,
		Timestamp: time.UnixMilli(evt.Timestamp), IsDoublePuppeted: !d.deps.IsOurs(evt.Sender),
	}
	if err := d.deps.Bridge.DB.Message.Insert(ctx, row); err != nil {
		return fmt.Errorf("note what was in the room already: %w", err)
	}
	return d.deps.Deduper.KeepOnly(ctx, portal.MXID, row)
}

// noteReaction is noteMessage for a reaction.
func (d *delivery) noteReaction(ctx context.Context, portal *bridgev2.Portal, evt *event.Event) error {
	content, ok := evt.Content.Parsed.(*event.ReactionEventContent)
	if !ok {
		return nil
	}
	known, err := d.deps.Bridge.DB.Reaction.GetByMXID(ctx, evt.ID)
	if err != nil || known != nil {
		return err
	}
	target, err := d.deps.Bridge.DB.Message.GetPartByMXID(ctx, content.RelatesTo.EventID)
	if err != nil || target == nil {
		return err
	}
	sender, err := d.senderOfEvent(ctx, evt.Sender)
	if err != nil {
		return err
	}
	other, err := d.deps.Bridge.DB.Reaction.GetByID(ctx, portal.Receiver, target.ID, target.PartID, sender, "")
	if err != nil {
		return err
	}
	if other != nil { // which the room shows instead
		return d.deps.Deduper.Redact(ctx, evt, other.MXID)
	}
	err = d.deps.Bridge.DB.Reaction.Upsert(ctx, &database.Reaction{
		Room: portal.PortalKey, MessageID: target.ID, MessagePartID: target.PartID, SenderID: sender, SenderMXID: evt.Sender,
		MXID: evt.ID, Timestamp: time.UnixMilli(evt.Timestamp), Emoji: variationselector.FullyQualify(content.RelatesTo.Key),
	})
	if err != nil {
		return fmt.Errorf("note the reaction that was in the room already: %w", err)
	}
	return nil
}

// senderOfEvent returns the member whom a sender of ours speaks for, "" for the bot. The ghost
// exists then: rows refer to it.
func (d *delivery) senderOfEvent(ctx context.Context, user id.UserID) (sender networkid.UserID, err error) {
	if ghost, isGhost := d.deps.Matrix.ParseGhostMXID(user); isGhost {
		sender = ghost
	} else if user != d.deps.Matrix.Bot().UserID {
		logins, err := d.deps.GroupRooms.Logins(d.at.ID)
		if err != nil {
			return "", err
		}
		for _, l := range logins {
			if l.UserMXID == user {
				sender = mimirid.User(l.Account)
				break
			}
		}
	}
	_, err = d.deps.Bridge.GetGhostByID(ctx, sender)
	return sender, err
}

// A message that was deleted keeps a row without an event, a tombstone: another account may
// not know of the deletion yet, and must not show the message again.

// tombstonePart is the part of a message that its tombstone is.
const tombstonePart networkid.PartID = "deleted"

// Bury leaves a tombstone of a message, of which row is one part.
func (e *Events) Bury(ctx context.Context, row *database.Message) error {
	known, err := e.deps.Bridge.DB.Message.GetPartByID(ctx, row.Room.Receiver, row.ID, tombstonePart)
	if err != nil || known != nil {
		return err
	}
	stone := *row
	stone.RowID, stone.PartID, stone.SendTxnID = 0, tombstonePart, ""
	stone.SetFakeMXID()
	if err := e.deps.Bridge.DB.Message.Insert(ctx, &stone); err != nil {
		return fmt.Errorf("note that a message was deleted: %w", err)
	}
	return nil
}

// visible returns the rows that have an event in the room.
func visible(rows []*database.Message) []*database.Message {
	var found []*database.Message
	for _, row := range rows {
		if !row.HasFakeMXID() {
			found = append(found, row)
		}
	}
	return found
}

// isShown reports whether a message of a group is in its room, or was, whatever account has
// brought it.
func (d *delivery) isShown(ctx context.Context, message networkid.MessageID) (bool, error) {
	if !d.isGroup() || d.at.InDoubt {
		return false, nil
	}
	rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, "", message)
	if err != nil {
		return false, fmt.Errorf("look for what was shown: %w", err)
	}
	return len(rows) > 0, nil
}
