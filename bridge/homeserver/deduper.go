// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"go.mau.fi/util/variationselector"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// maxEarly bounds the events that are remembered because they came before their row
	// was inserted. Each is remembered for the moment between the two.
	maxEarly = 256
	// maxLate bounds the events that are remembered because they were sent and have not
	// come yet, which spares a query.
	maxLate = 64
)

// NewDeduper returns what takes back the second event of a message. reactions returns the
// reactions to a message that count, with emoji as rooms show them, and none of a
// conversation that is gone. In a group they are those of all members, the account is zero,
// and the direction is store.In.
func NewDeduper(
	br *bridgev2.Bridge, bot *appservice.IntentAPI, log *slog.Logger,
	reactions func(account identity.PublicKey, conversation store.ConversationID, target peer.GUID) ([]store.Reaction, error),
) *Deduper {
	return &Deduper{br: br, bot: bot, log: log, reactions: reactions}
}

// Deduper takes back the second event of a message. An event that was sent again because
// the homeserver did not list it may appear all the same: Dendrite v0.15.2 resumes what it
// was processing when it was killed, 30 seconds later when the event was about to be
// listed, and after 5 minutes and 10 seconds when it was about to enter the room, and
// later events overtake it. Neither a search of the room nor a barrier can find it. The
// Deduper may go when Dendrite resumes at its start.
//
// The event that counts is the one in the bridge's table: replies and reactions
// refer to it.
type Deduper struct {
	br  *bridgev2.Bridge
	bot *appservice.IntentAPI
	log *slog.Logger
	// reactions returns the reactions to a message that count, with emoji as rooms show
	// them; none of a conversation that is gone.
	reactions func(account identity.PublicKey, conversation store.ConversationID, target peer.GUID) ([]store.Reaction, error)

	mu    sync.Mutex   // from the look into the table until it is noted what was seen
	early []earlyEvent // oldest first
	late  []id.EventID // the events that count, oldest first
}

// earlyEvent is an event that came before the row of its message was inserted.
type earlyEvent struct {
	shownIn
	*event.Event
}

// shownIn names a message in a room.
type shownIn struct {
	room    id.RoomID
	message networkid.MessageID
}

// Observe is called with every event of a portal's room, and takes back one that another
// event shows. After an error it has to be called again.
func (d *Deduper) Observe(ctx context.Context, evt *event.Event) error {
	mark, ok := evt.Content.Raw[mimirid.MarkerKey].(string)
	if !ok || evt.Type != event.EventMessage && evt.Type != event.EventEncrypted && evt.Type != event.EventReaction {
		return nil
	}
	portal, err := d.br.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	if portal == nil {
		return nil
	}
	if ours, err := d.isOurs(ctx, portal, evt); err != nil || !ours {
		return err
	}
	if evt.Type == event.EventReaction {
		return d.reactionCame(ctx, portal, evt)
	}
	_, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	if err != nil {
		return nil //nolint:nilerr // a portal of no conversation
	}
	in := shownIn{evt.RoomID, mimirid.MarkedMessage(conversation, mark)}
	row, err := d.rowOrNote(ctx, portal, in, evt)
	if err != nil || row == nil {
		return err
	}
	return d.takeBack(ctx, row, evt)
}

// isOurs tells the events of the bridge from those of members who copy the marker.
func (d *Deduper) isOurs(ctx context.Context, portal *bridgev2.Portal, evt *event.Event) (bool, error) {
	if evt.Sender == d.bot.UserID || d.br.IsGhostMXID(evt.Sender) {
		return true, nil
	}
	if evt.Content.Raw[appservice.DoublePuppetKey] == nil {
		return false, nil
	}
	login, err := d.loginOf(ctx, portal, evt.Sender)
	return login != nil, err
}

// loginOf returns a user's login whose room a portal's is, nil for none.
func (d *Deduper) loginOf(ctx context.Context, portal *bridgev2.Portal, user id.UserID) (*bridgev2.UserLogin, error) {
	logins, err := d.br.GetUserLoginsInPortal(ctx, portal.PortalKey)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	for _, login := range logins {
		if login.UserMXID == user {
			return login, nil
		}
	}
	return nil, nil
}

// rowOrNote returns the row of a message, or remembers its event when there is none. It
// returns nil for an event that is known to be the one that counts.
func (d *Deduper) rowOrNote(ctx context.Context, portal *bridgev2.Portal, in shownIn, evt *event.Event) (*database.Message, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := slices.Index(d.late, evt.ID); at >= 0 {
		d.late = slices.Delete(d.late, at, at+1)
		return nil, nil
	}
	rows, err := d.br.DB.Message.GetAllPartsByID(ctx, portal.Receiver, in.message)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	if len(rows) > 0 {
		return rows[0], nil
	}
	if len(d.early) == maxEarly {
		d.early = slices.Delete(d.early, 0, 1)
	}
	d.early = append(d.early, earlyEvent{in, evt})
	return nil, nil
}

// KeepOnly is called with the row of an event that was sent, or found in the room, just
// now. It takes back the other events of the message: those that were observed, and those
// given. After an error it has to be called again.
func (d *Deduper) KeepOnly(ctx context.Context, room id.RoomID, row *database.Message, others ...*event.Event) error {
	in := shownIn{room, row.ID}
	d.mu.Lock()
	came := false
	for _, e := range d.early {
		if e.shownIn == in {
			came = came || e.ID == row.MXID
			others = append(others, e.Event)
		}
	}
	if !came && !slices.Contains(d.late, row.MXID) {
		if len(d.late) == maxLate {
			d.late = slices.Delete(d.late, 0, 1)
		}
		d.late = append(d.late, row.MXID)
	}
	d.mu.Unlock()
	for _, evt := range others {
		if err := d.takeBack(ctx, row, evt); err != nil {
			return err
		}
	}
	d.mu.Lock()
	d.early = slices.DeleteFunc(d.early, func(e earlyEvent) bool { return e.shownIn == in })
	d.mu.Unlock()
	return nil
}

// takeBack redacts an event when the table has another one for its message. Both have the
// time of the message: an event with another time is something else, such as a message
// that its user has forwarded.
func (d *Deduper) takeBack(ctx context.Context, row *database.Message, evt *event.Event) error {
	if row.MXID == evt.ID || row.HasFakeMXID() || row.Timestamp.UnixMilli() != evt.Timestamp {
		return nil
	}
	return d.Redact(ctx, evt, row.MXID)
}

// Redact takes back an event, because the event shown shows the same.
func (d *Deduper) Redact(ctx context.Context, evt *event.Event, shown id.EventID) error {
	_, err := d.bot.RedactEvent(mautrix.WithMaxRetries(ctx, 0), evt.RoomID, evt.ID,
		mautrix.ReqRedact{Reason: "This was sent twice"})
	err = WithRetryAfter(err)
	if kind := AnswerOf(err); kind == AnswerRefused || kind == AnswerRoom || kind == AnswerDoubtful && !IsServerFault(err) {
		d.log.Warn("duplicate event not taken back", "event_id", evt.ID, "err", fault.OneLine(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("take back a duplicate event: %w", err)
	}
	d.log.Info("duplicate event taken back", "event_id", evt.ID)
	return nil
}

// reactionCame takes back an event of ours that shows a reaction which does not count any
// more, or which another event shows. Nothing else would: what the contact takes back
// later is the event in the bridge's table.
//
// An event whose row is about to be inserted stays. A duplicate that comes in that moment
// is not found; those of Dendrite come half a minute later.
func (d *Deduper) reactionCame(ctx context.Context, portal *bridgev2.Portal, evt *event.Event) error {
	content := evt.Content.AsReaction()
	key := variationselector.Remove(content.RelatesTo.Key)
	target, err := d.br.DB.Message.GetPartByMXID(ctx, content.RelatesTo.EventID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	if target == nil || key == "" {
		return nil
	}
	account, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	if err != nil {
		return nil //nolint:nilerr // a portal of no conversation
	}
	_, message, _, err := mimirid.ParseMessage(target.ID)
	if err != nil {
		return nil //nolint:nilerr // a notice
	}
	dir, sender := store.Out, mimirid.User(account)
	ghost, isGhost := d.br.Matrix.ParseGhostMXID(evt.Sender)
	switch {
	case conversation.Kind() == store.KindGroup && !isGhost: // as one of our users
		login, err := d.loginOf(ctx, portal, evt.Sender)
		if err != nil || login == nil {
			return err
		}
		dir, sender = store.In, networkid.UserID(login.ID)
	case isGhost && ghost != sender:
		dir, sender = store.In, ghost
	}
	reactions, err := d.reactions(account, conversation, peer.GUID(message.GUID))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	counts := false
	for _, r := range reactions {
		counts = counts || r.Dir == dir && (r.Author.IsZero() || mimirid.User(r.Author) == sender) && variationselector.Remove(r.Emoji) == key
	}
	shown := evt.ID
	if counts {
		row, err := d.br.DB.Reaction.GetByID(ctx, portal.Receiver, target.ID, "", sender, "")
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDatabase, err)
		}
		if row == nil || row.MXID == evt.ID || variationselector.Remove(row.Emoji) != key {
			return nil
		}
		shown = row.MXID
	}
	return d.Redact(ctx, evt, shown)
}
