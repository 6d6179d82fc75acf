// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
)

// repairRoom repairs a room that does not accept what the tables allow. It reads the
// members, lifts bans, invites, and raises the power of the contact, as far as the bot
// may. A room that the bot has left is given up, so that the next attempt creates
// another.
func (d *delivery) repairRoom(ctx context.Context) {
	portal, err := d.br.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil || portal == nil || portal.MXID == "" {
		return
	}
	library, cancel := homeserver.Once(d.br.BackgroundCtx, ctx)
	defer cancel()
	members, err := d.matrix.Bot().Members(library, portal.MXID) // also replaces the table
	switch {
	case err == nil && !d.inRoom(members): // Dendrite answers users who have left
		d.giveUpLost(ctx, portal)
	case err == nil:
		d.log.Info("members of a broken room read again", "room_id", portal.MXID, "count", len(members.Chunk))
		if refused, err := d.resync(ctx, portal, false); err != nil || refused != nil {
			d.log.Warn("members of a room not repaired", "room_id", portal.MXID, "err", fault.OneLine(errors.Join(err, refused)))
		}
		d.repairPower(library, portal.MXID)
	case d.hasLost(library, portal.MXID):
		d.giveUpLost(ctx, portal)
	default:
		d.log.Warn("members of a room not read", "room_id", portal.MXID, "err", fault.OneLine(err))
	}
}

// repairPower gives the contact the power to write.
func (d *delivery) repairPower(ctx context.Context, room id.RoomID) {
	levels := &event.PowerLevelsEventContent{}
	client := d.matrix.Bot().Client // what our tables say may be wrong
	err := client.StateEvent(ctx, room, event.StatePowerLevels, "", levels)
	if err == nil {
		levels.CreateEvent, err = client.FullStateEvent(ctx, room, event.StateCreate, "")
	}
	if err != nil {
		d.log.Warn("power levels of a room not read", "room_id", room, "err", fault.OneLine(err))
		return
	}
	if d.isGroup() {
		return // see letWrite
	}
	bot, ghost := d.matrix.Bot().UserID, d.ghosts.UserOf(d.at.Contact())
	needed := max(levels.GetEventLevel(event.EventMessage), levels.GetEventLevel(event.EventReaction), levels.GetEventLevel(homeserver.BarrierEvent))
	if levels.GetUserLevel(ghost) >= needed || !levels.EnsureUserLevelAs(bot, ghost, needed) {
		return
	}
	if _, err := d.matrix.Bot().SetPowerLevels(ctx, room, levels); err != nil {
		d.log.Warn("power levels of a room not repaired", "room_id", room, "err", fault.OneLine(err))
	}
}

// giveUpLost gives up a room that the bot is not in any more.
func (d *delivery) giveUpLost(ctx context.Context, portal *bridgev2.Portal) {
	d.log.Warn("bot is not in the room any more, another will be created",
		"contact", d.at.ID.Short(), "room_id", portal.MXID)
	// With its rows, so that what was shown there is shown again.
	if err := portal.Delete(ctx); err != nil {
		d.log.Error("lost room not given up", "err", err)
	}
}

// inRoom reports whether the bot is among the members of a room.
func (d *delivery) inRoom(members *mautrix.RespMembers) bool {
	return slices.ContainsFunc(members.Chunk, func(evt *event.Event) bool {
		return evt.GetStateKey() == string(d.matrix.Bot().UserID) && evt.Content.AsMember().Membership == event.MembershipJoin
	})
}

// hasLost reports whether the homeserver says that the bot is not in a room.
func (d *delivery) hasLost(ctx context.Context, room id.RoomID) bool {
	joined, err := d.matrix.Bot().JoinedRooms(ctx)
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

// redoLater has the next delivery of a conversation show a message in place of its
// notice. It reports false when too many such jobs wait.
func (c *Connector) redoLater(conversation store.Conversation, job redoing) bool {
	job.stamp = uint64(time.Now().UnixNano())
	return c.deliver.Redo(conversation, func(ctx context.Context, at *deliver.Position) error { return c.showAgain(ctx, at, job) })
}

// showAgain shows a message in place of its notice, and takes the notice back. When the
// message is refused again there is a new notice.
func (c *Connector) showAgain(ctx context.Context, at *deliver.Position, job redoing) error {
	m, err := c.conversations.Message(at.Account, at.ID, job.message)
	if nodeapi.IsGone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	d := &delivery{Connector: c, at: at, old: true, ev: store.Event{
		Account: at.Account, Conversation: at.ID, Seq: job.stamp, Kind: redoEntry, Message: m.ID, Time: m.Created,
	}}
	rows, err := c.br.DB.Message.GetAllPartsByID(ctx, at.Login.ID, job.row)
	if err != nil {
		return fmt.Errorf("look for the notice: %w", err)
	}
	for _, row := range rows { // or the message would count as shown
		if err := c.br.DB.Message.Delete(ctx, row.RowID); err != nil {
			return fmt.Errorf("forget the notice: %w", err)
		}
	}
	err = fault.Guard(c.log, "show a message again", func() error { return d.showMessage(ctx, m) })
	if errors.Is(err, fault.ErrPanic) {
		err = d.insteadOf(ctx, err)
	}
	if err != nil {
		for _, row := range rows {
			err = errors.Join(err, c.br.DB.Message.Insert(ctx, row))
		}
		return err
	}
	library, cancel := homeserver.Once(d.br.BackgroundCtx, ctx)
	defer cancel()
	for _, row := range rows {
		portal, err := c.br.GetExistingPortalByKey(library, row.Room)
		if err != nil || portal == nil || row.HasFakeMXID() {
			continue
		}
		_, err = c.matrix.Bot().RedactEvent(library, portal.MXID, row.MXID, mautrix.ReqRedact{Reason: "The message is shown now"})
		if err != nil {
			c.log.Warn("notice not taken back", "event_id", row.MXID, "err", fault.OneLine(err))
		}
	}
	return nil
}

// commandRetry retries what has not reached its room.
func (c *Connector) commandRetry(ce *commands.Event) {
	if ce.ReplyTo != "" && ce.Portal != nil {
		if err := c.redo(ce); err != nil {
			replyError(ce, err)
		}
		return
	}
	if ce.Portal != nil || ce.RawArgs != "" {
		cl, conversation, err := c.conversationOf(ce)
		if err != nil {
			replyError(ce, err)
			return
		}
		cl.deliver.Retry(store.Conversation{Account: cl.account, ID: conversation})
		replyText(ce, "Trying again what does not reach the room.")
		return
	}
	_, _, rooms := c.deliver.Waiting()
	tried := 0
	for _, room := range rooms {
		if room.Error != "" && c.mayKnow(ce, room.Account) {
			c.deliver.Retry(room.Conversation())
			tried++
		}
	}
	if tried == 0 {
		replyText(ce, "There is nothing to try again: all messages have reached their rooms.")
		return
	}
	replyText(ce, fmt.Sprintf("Trying again: rooms of %d conversations.", tried))
}

// redo shows the message whose notice a command is a reply to.
func (c *Connector) redo(ce *commands.Event) error {
	cl, conversation, m, err := c.repliedTo(ce)
	if err != nil {
		return err
	}
	row, err := c.rowOf(ce.Ctx, ce.ReplyTo)
	if err != nil {
		return err
	}
	evt, err := c.matrix.Bot().GetEvent(ce.Ctx, ce.OrigRoomID, ce.ReplyTo)
	if err == nil && evt.Type == event.EventMessage {
		_ = evt.Content.ParseRaw(evt.Type) // or it is parsed already
		if evt.Content.AsMessage().MsgType != event.MsgNotice {
			return errors.New("this message is shown already")
		}
	}
	if row == nil || msgconv.IsMatrixSource(m.Source) {
		return errors.New("this is not a notice in place of a message")
	}
	if !cl.redoLater(store.Conversation{Account: cl.account, ID: conversation}, redoing{message: m.ID, row: row.ID}) {
		return errors.New("too many messages of this room are being retried already")
	}
	return nil
}

// commandHistory remakes a room: the one it is written in, or that of the contact or group
// which the argument names.
func (c *Connector) commandHistory(ce *commands.Event) {
	limit, name := 0, strings.TrimSpace(ce.RawArgs)
	if words := strings.Fields(name); len(words) > 0 && (ce.Portal != nil || len(words) > 1) {
		n, err := strconv.Atoi(words[len(words)-1])
		if err != nil && ce.Portal != nil || err == nil && n < 1 {
			replyError(ce, errors.New("say how many messages, or nothing for all"))
			return
		}
		if err == nil {
			limit, name = n, strings.TrimSpace(strings.TrimSuffix(name, words[len(words)-1]))
		}
	}
	if ce.RawArgs = name; ce.Portal != nil {
		ce.RawArgs = ""
	}
	cl, conversation, err := c.conversationOf(ce)
	if err == nil {
		err = c.mayRemake(ce.Ctx, mimirid.Portal(cl.account, conversation))
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	replyText(ce, "A new room is created, with the history.")
	cl.RemakeRoom(store.Conversation{Account: cl.account, ID: conversation}, limit)
}
