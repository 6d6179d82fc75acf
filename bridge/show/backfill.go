// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/nodeapi"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/restored"
)

// A room that is created again, because it was deleted or because the user asks for it,
// gets the history of the conversation first, from the store: in order, each message with
// its time and once, however often that is interrupted. Matrix cannot insert events before
// others, so only empty rooms get history.

// historyEntry is the event kind of history, for transaction ids. The log has none of it.
const historyEntry store.EventKind = 255

// shownRoom says how much of the history of a conversation is in its room. It is stored
// with the bridge's tables. Begin and End are positions in the conversation: the messages
// from Begin up to, and without, End are still to be shown.
type shownRoom struct {
	Room       id.RoomID `json:"room"`
	Begin, End uint64
}

func historyKey(c store.Conversation) database.Key {
	return database.Key("im.mimir.history." + c.Account.String() + "." + c.ID.String())
}

func (d *delivery) shownRoom(ctx context.Context) (shown shownRoom, known bool) {
	text := d.deps.Bridge.DB.KV.Get(ctx, historyKey(d.at.Conversation))
	known = json.Unmarshal([]byte(text), &shown) == nil
	return shown, known
}

func (e *Events) noteShownRoom(ctx context.Context, conversation store.Conversation, shown shownRoom) {
	e.deps.Bridge.DB.KV.Set(ctx, historyKey(conversation), shown.text())
}

func (s shownRoom) text() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("bridge: %v", err)) // a struct of plain fields
	}
	return string(text)
}

// history shows what belongs into a room before the next event. The first room of a
// conversation has no history but the event log.
func (d *delivery) history(ctx context.Context, portal *bridgev2.Portal) error {
	if d.at.HistoryRoom == portal.MXID {
		return nil
	}
	shown, known := d.shownRoom(ctx)
	bound, err := d.deps.Relay.IsBoundRoom(ctx, portal)
	if err != nil {
		return err
	}
	switch {
	case !known, bound && shown.Room != portal.MXID: // the people of a bound room get no history
		d.noteShownRoom(ctx, d.at.Conversation, shownRoom{Room: portal.MXID})
	case shown.Room != portal.MXID:
		limit := max(d.deps.Config.Backfill.MaxCatchupMessages, 0)
		if !d.deps.Config.Backfill.Enabled {
			limit = 0
		}
		if d.at.HistoryLimit != nil {
			limit = *d.at.HistoryLimit
		}
		end, err := d.historyEnd()
		if err != nil {
			return err
		}
		begin := uint64(1)
		if d.at.HistoryLimit == nil || limit > 0 {
			if begin, err = d.historyBegin(end, limit); err != nil {
				return err
			}
		}
		shown = shownRoom{Room: portal.MXID, Begin: begin, End: end}
		d.noteShownRoom(ctx, d.at.Conversation, shown)
		fallthrough
	default:
		if err := d.showHistory(ctx, shown); err != nil {
			return err
		}
	}
	d.at.HistoryRoom, d.at.HistoryLimit = portal.MXID, nil
	d.deps.Marks.Want(d.at.Conversation) // a new room has no receipts
	return nil
}

// historyEnd returns the position of the first message that comes from the log.
func (d *delivery) historyEnd() (uint64, error) {
	for after := d.at.Cursor; ; {
		events, err := d.deps.Node.ConversationEvents(d.at.Account, d.at.ID, after, 0)
		if err != nil {
			return 0, err
		}
		for _, ev := range events {
			after = ev.Seq
			if ev.Kind == store.MessageReceived || ev.Kind == store.MessageQueued || ev.Kind == store.MessageSynced {
				return ev.Order, nil
			}
		}
		if len(events) == 0 {
			break
		}
	}
	newest, err := d.deps.Conversations.Messages(d.at.Account, d.at.ID, 0, 1)
	if err != nil || len(newest) == 0 {
		return 1, err
	}
	return newest[0].Order + 1, nil
}

// historyBegin returns the position of the first of the last limit messages before end,
// not counting reactions.
func (d *delivery) historyBegin(end uint64, limit int) (uint64, error) {
	begin := end
	for begin > 1 && limit > 0 {
		page, err := d.deps.Conversations.Messages(d.at.Account, d.at.ID, begin, historyPage)
		if err != nil {
			return 0, err
		}
		for _, m := range page {
			if limit == 0 {
				break
			}
			begin = m.Order
			if !eventlog.IsReaction(m) {
				limit--
			}
		}
		if len(page) == 0 {
			break
		}
	}
	return begin, nil
}

// historyPage is how many messages are read at once.
const historyPage = 64

func (d *delivery) showHistory(ctx context.Context, shown shownRoom) error {
	for begin := shown.Begin; begin < shown.End; begin += historyPage {
		page, err := d.deps.Conversations.Messages(d.at.Account, d.at.ID, min(begin+historyPage, shown.End), historyPage)
		if err != nil {
			return err
		}
		slices.Reverse(page) // oldest first
		for _, m := range page {
			if m.Order < begin || eventlog.IsReaction(m) {
				continue // reactions come with their messages
			}
			if err := d.showOld(ctx, m); err != nil {
				return err
			}
		}
	}
	if shown.Begin != shown.End {
		d.noteShownRoom(ctx, d.at.Conversation, shownRoom{Room: shown.Room})
	}
	return nil
}

// showOld shows a message of the history, unless it is in the room.
func (d *delivery) showOld(ctx context.Context, m store.Message) error {
	id := mimirid.Message(d.at.ID, m.ID, 0)
	rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, d.at.Login.ID, id)
	if err != nil || len(rows) > 0 {
		return err
	}
	old := &delivery{Events: d.Events, at: d.at, old: true, ev: store.Event{
		Account: d.at.Account, Conversation: d.at.ID, Seq: m.Order, Kind: historyEntry, Message: m.ID, Time: m.Created,
	}}
	err = fault.Guard(d.deps.Log, "show the history", func() error { return old.showMessage(ctx, m) })
	if errors.Is(err, fault.ErrPanic) {
		d.deps.Log.Error("message of the history cannot be converted, a notice replaces it",
			"contact", d.at.ID.Short(), "message", m.ID, "err", fault.OneLine(err))
		err = old.insteadOf(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("show the history: %w", err)
	}
	d.at.ClearDoubt() // what came after it is not in the room yet
	return nil
}

// RemakeRoom gives a conversation a new room with the latest limit messages of its
// history; 0 means all.
func (e *Events) RemakeRoom(conversation store.Conversation, limit int) {
	e.deps.Deliver.Rebuild(conversation, e.rebuildJob(&rebuilding{limit: limit}))
}

// ReplaceRoom gives a conversation a new room in place of one that the homeserver has lost, with
// as much of its history as the configuration says. It reports false when the conversation is
// being rebuilt already.
func (e *Events) ReplaceRoom(conversation store.Conversation, gone id.RoomID) bool {
	limit := max(e.deps.Config.Backfill.MaxCatchupMessages, 1)
	return e.deps.Deliver.OfferRebuild(conversation, e.rebuildJob(&rebuilding{gone: gone, limit: limit}))
}

// ShowMissing shows messages again that the homeserver has lost, and all after the first of
// them. It reports false when the conversation is being rebuilt already.
func (e *Events) ShowMissing(conversation store.Conversation, missing []restored.Row) bool {
	return e.deps.Deliver.OfferRebuild(conversation, e.rebuildJob(&rebuilding{missing: missing}))
}

// NoteRoom notes that a room has all of the history of conversations that it is to have.
func (e *Events) NoteRoom(ctx context.Context, room id.RoomID, conversations ...store.Conversation) error {
	for _, conversation := range conversations {
		_, err := e.deps.Bridge.DB.Exec(ctx, `INSERT INTO kv_store (bridge_id, key, value) VALUES ($1, $2, $3)
			ON CONFLICT (bridge_id, key) DO UPDATE SET value=excluded.value`, e.deps.Bridge.ID, historyKey(conversation), shownRoom{Room: room}.text())
		if err != nil {
			return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
	}
	return nil
}

func (e *Events) rebuildJob(job *rebuilding) deliver.Job {
	return func(ctx context.Context, at *deliver.Position) error { return e.rebuildRoom(ctx, at, job) }
}

// rebuilding is the job of a room that is remade.
type rebuilding struct {
	limit int  // how much of the history the new room gets; 0 is all
	given bool // the old room is given up
	// What a restored homeserver has lost, see package restored: the room, or the rows of
	// messages.
	gone    id.RoomID
	missing []restored.Row
}

// rebuildRoom gives up a room and creates another. Called again after an error, it gives
// up no second one.
func (e *Events) rebuildRoom(ctx context.Context, at *deliver.Position, job *rebuilding) error {
	if job.missing != nil {
		return e.showMissing(ctx, at, job)
	}
	d := &delivery{Events: e, at: at, ev: store.Event{Account: at.Account, Conversation: at.ID, Seq: at.Cursor, Kind: historyEntry}}
	portal, err := e.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil {
		return fmt.Errorf("look for the room: %w", err)
	}
	if job.gone != "" && !job.given && (portal == nil || portal.MXID != job.gone) {
		return nil // there is another one
	}
	if portal != nil && portal.MXID != "" && !job.given {
		old := portal.MXID
		bound, err := e.deps.Relay.IsBoundRoom(ctx, portal)
		if err != nil {
			return err
		}
		// First, so that no search adopts it again.
		if err := e.deps.Rooms.GiveUp(ctx, old); err != nil {
			return err
		}
		// Before the room, so that a crash leaves an old room and loses no message.
		if err := portal.Delete(ctx); err != nil {
			return fmt.Errorf("give up the room: %w", err)
		}
		job.given = true
		scoped, cancel := homeserver.NewScope(d.ev, 0).With(e.deps.Bridge.BackgroundCtx, ctx)
		defer cancel()
		if err := e.deps.Bridge.Bot.DeleteRoom(scoped, old, bound); err != nil {
			e.deps.Log.Warn("old room not deleted", "room_id", old, "err", fault.OneLine(err))
		}
	}
	job.given = true // or there was none
	at.HistoryLimit = &job.limit
	if _, err = d.ensureRoom(ctx); err != nil || !d.isGroup() {
		return err
	}
	accounts, err := e.deps.GroupRooms.Accounts(at.ID)
	for _, account := range accounts { // what they alone have
		if other := (store.Conversation{Account: account, ID: at.ID}); other != at.Conversation {
			e.deps.Deliver.Redo(other, e.historyJob(job.limit))
		}
	}
	return err
}

// historyJob shows in the room of a group what of the history of an account is not there yet.
func (e *Events) historyJob(limit int) deliver.Job {
	return func(ctx context.Context, at *deliver.Position) error {
		d := &delivery{Events: e, at: at, ev: store.Event{Account: at.Account, Conversation: at.ID, Seq: at.Cursor, Kind: historyEntry}}
		at.HistoryLimit = &limit
		portal, err := d.existingRoom(ctx)
		if err == nil && portal != nil {
			_, err = d.ensureRoom(ctx)
		}
		return err
	}
}

// showMissing stores which part of the history is missing, and shows it. Called again
// after an error it goes on.
func (e *Events) showMissing(ctx context.Context, at *deliver.Position, job *rebuilding) error {
	d := &delivery{Events: e, at: at, ev: store.Event{Account: at.Account, Conversation: at.ID, Seq: at.Cursor, Kind: historyEntry}}
	portal, err := e.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil {
		return fmt.Errorf("look for the room: %w", err)
	}
	if portal == nil || portal.MXID == "" {
		return nil
	}
	if !job.given {
		end, err := d.historyEnd()
		if err != nil {
			return err
		}
		begin := end
		for _, row := range job.missing {
			_, id, _, err := mimirid.ParseMessage(row.Message)
			if err != nil {
				continue
			}
			m, err := e.deps.Conversations.Message(at.Account, at.ID, id)
			if err == nil {
				begin = min(begin, m.Order)
			} else if !nodeapi.IsGone(err) {
				return err
			}
		}
		if shown, known := d.shownRoom(ctx); known && shown.Room == portal.MXID && shown.Begin < shown.End {
			begin = min(begin, shown.Begin) // what an earlier attempt has not finished
		}
		// First, so that the next start notices a crash before the rows are deleted.
		d.noteShownRoom(ctx, d.at.Conversation, shownRoom{Room: portal.MXID, Begin: begin, End: end})
		for _, row := range job.missing {
			if err := e.deps.Bridge.DB.Message.Delete(ctx, row.Number); err != nil {
				return fmt.Errorf("forget what the homeserver has lost: %w", err)
			}
		}
		at.HistoryRoom = ""
		job.given = true
	}
	_, err = d.ensureRoom(ctx)
	return err
}
