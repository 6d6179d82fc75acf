// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/nodeapi"
)

// repairRoom repairs a room that does not accept what the tables allow. It reads the
// members, lifts bans, invites, and raises the power of the contact, as far as the bot
// may. A room that the bot has left is given up, so that the next attempt creates
// another.
func (d *delivery) repairRoom(ctx context.Context) {
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil || portal == nil || portal.MXID == "" {
		return
	}
	library, cancel := homeserver.Once(d.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	members, err := d.deps.Matrix.Bot().Members(library, portal.MXID) // also replaces the table
	switch {
	case err == nil && !d.inRoom(members): // Dendrite answers users who have left
		d.giveUpLost(ctx, portal)
	case err == nil:
		d.deps.Log.Info("members of a broken room read again", "room_id", portal.MXID, "count", len(members.Chunk))
		if refused, err := d.resync(ctx, portal, false); err != nil || refused != nil {
			d.deps.Log.Warn("members of a room not repaired", "room_id", portal.MXID, "err", fault.OneLine(errors.Join(err, refused)))
		}
		d.repairPower(library, portal.MXID)
	case d.hasLost(library, portal.MXID):
		d.giveUpLost(ctx, portal)
	default:
		d.deps.Log.Warn("members of a room not read", "room_id", portal.MXID, "err", fault.OneLine(err))
	}
}

// repairPower gives the contact the power to write.
func (d *delivery) repairPower(ctx context.Context, room id.RoomID) {
	levels := &event.PowerLevelsEventContent{}
	client := d.deps.Matrix.Bot().Client // what our tables say may be wrong
	err := client.StateEvent(ctx, room, event.StatePowerLevels, "", levels)
	if err == nil {
		levels.CreateEvent, err = client.FullStateEvent(ctx, room, event.StateCreate, "")
	}
	if err != nil {
		d.deps.Log.Warn("power levels of a room not read", "room_id", room, "err", fault.OneLine(err))
		return
	}
	if d.isGroup() {
		return // see letWrite
	}
	bot, ghost := d.deps.Matrix.Bot().UserID, d.deps.Ghosts.UserOf(d.at.Contact())
	needed := max(levels.GetEventLevel(event.EventMessage), levels.GetEventLevel(event.EventReaction), levels.GetEventLevel(homeserver.BarrierEvent))
	if levels.GetUserLevel(ghost) >= needed || !levels.EnsureUserLevelAs(bot, ghost, needed) {
		return
	}
	if _, err := d.deps.Matrix.Bot().SetPowerLevels(ctx, room, levels); err != nil {
		d.deps.Log.Warn("power levels of a room not repaired", "room_id", room, "err", fault.OneLine(err))
	}
}

// giveUpLost gives up a room that the bot is not in any more.
func (d *delivery) giveUpLost(ctx context.Context, portal *bridgev2.Portal) {
	d.deps.Log.Warn("bot is not in the room any more, another will be created",
		"contact", d.at.ID.Short(), "room_id", portal.MXID)
	// With its rows, so that what was shown there is shown again.
	if err := portal.Delete(ctx); err != nil {
		d.deps.Log.Error("lost room not given up", "err", err)
	}
}

// inRoom reports whether the bot is among the members of a room.
func (d *delivery) inRoom(members *mautrix.RespMembers) bool {
	return slices.ContainsFunc(members.Chunk, func(evt *event.Event) bool {
		return evt.GetStateKey() == string(d.deps.Matrix.Bot().UserID) && evt.Content.AsMember().Membership == event.MembershipJoin
	})
}

// hasLost reports whether the homeserver says that the bot is not in a room.
func (d *delivery) hasLost(ctx context.Context, room id.RoomID) bool {
	joined, err := d.deps.Matrix.Bot().JoinedRooms(ctx)
	return err == nil && !slices.Contains(joined.JoinedRooms, room)
}

const (
	// redoEntry is the event kind of messages that are shown in place of their notices,
	// for transaction ids. The log has none of it.
	redoEntry store.EventKind = 252
)

// redoing is the job to show a message in place of the notice that replaces it.
type redoing struct {
	message store.MessageID
	row     networkid.MessageID // the part of it that is replaced
	stamp   uint64              // names the attempt, for transaction ids
}

// Redo has the next delivery of a conversation show a message in place of its notice, which is
// the row of one part of it. It reports false when too many such jobs wait.
func (e *Events) Redo(conversation store.Conversation, message store.MessageID, row networkid.MessageID) bool {
	job := redoing{message: message, row: row, stamp: uint64(time.Now().UnixNano())}
	return e.deps.Deliver.Redo(conversation, func(ctx context.Context, at *deliver.Position) error { return e.showAgain(ctx, at, job) })
}

// showAgain shows a message in place of its notice, and takes the notice back. When the
// message is refused again there is a new notice.
func (e *Events) showAgain(ctx context.Context, at *deliver.Position, job redoing) error {
	m, err := e.deps.Conversations.Message(at.Account, at.ID, job.message)
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	d := &delivery{Events: e, at: at, old: true, ev: store.Event{
		Account: at.Account, Conversation: at.ID, Seq: job.stamp, Kind: redoEntry, Message: m.ID, Time: m.Created,
	}}
	rows, err := e.deps.Bridge.DB.Message.GetAllPartsByID(ctx, at.Login.ID, job.row)
	if err != nil {
		return fmt.Errorf("look for the notice: %w", err)
	}
	for _, row := range rows { // or the message would count as shown
		if err := e.deps.Bridge.DB.Message.Delete(ctx, row.RowID); err != nil {
			return fmt.Errorf("forget the notice: %w", err)
		}
	}
	err = fault.Guard(e.deps.Log, "show a message again", func() error { return d.showMessage(ctx, m) })
	if errors.Is(err, fault.ErrPanic) {
		err = d.insteadOf(ctx, err)
	}
	if err != nil {
		for _, row := range rows {
			err = errors.Join(err, e.deps.Bridge.DB.Message.Insert(ctx, row))
		}
		return err
	}
	library, cancel := homeserver.Once(d.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	for _, row := range rows {
		portal, err := e.deps.Bridge.GetExistingPortalByKey(library, row.Room)
		if err != nil || portal == nil || row.HasFakeMXID() {
			continue
		}
		_, err = e.deps.Matrix.Bot().RedactEvent(library, portal.MXID, row.MXID, mautrix.ReqRedact{Reason: "The message is shown now"})
		if err != nil {
			e.deps.Log.Warn("notice not taken back", "event_id", row.MXID, "err", fault.OneLine(err))
		}
	}
	return nil
}
