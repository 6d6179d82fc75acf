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
	// maxEarly bounds the events that are remembered because they came before it was
	// noted what they show. Each is for the moment between the two.
	maxEarly = 256
	// maxLate bounds those that are remembered because they were sent and have not
	// come yet, which spares a look into the table.
	maxLate = 64
)

// NewDeduper returns what takes back the second event of a message. reactions returns the
// reactions to a message that count, with emoji as rooms show them, and none of a
// conversation that is gone.
func NewDeduper(
	br *bridgev2.Bridge, bot *appservice.IntentAPI, log *slog.Logger,
	reactions func(account, contact identity.PublicKey, target peer.GUID) ([]store.Reaction, error),
) *Deduper {
	return &Deduper{br: br, bot: bot, log: log, reactions: reactions}
}

// Deduper takes back the second event of a message. One that was sent again because
// the homeserver did not have it may turn up all the same: what Dendrite v0.15.2 has
// in its hands when it is killed, it takes up again 30 seconds later when it was
// about to be listed, and after 5 minutes and 10 seconds when it was to be put into
// the room, and what comes meanwhile overtakes it. No look into the room, and no
// barrier, can know of it.
//
// The event that counts is the one in the bridge's table: replies and reactions
// refer to it.
type Deduper struct {
	br  *bridgev2.Bridge
	bot *appservice.IntentAPI
	log *slog.Logger
	// reactions returns the reactions to a message that count, with emoji as rooms show
	// them; none of a conversation that is gone.
	reactions func(account, contact identity.PublicKey, target peer.GUID) ([]store.Reaction, error)

	mu    sync.Mutex   // from the look into the table until it is noted what was seen
	early []earlyEvent // oldest first
	late  []id.EventID // the events that count, oldest first
}

// earlyEvent is an event that came before it was noted which one counts.
type earlyEvent struct {
	shownIn
	*event.Event
}

// shownIn is a message in a room.
type shownIn struct {
	room    id.RoomID
	message networkid.MessageID
}

// Observe looks at an event of a portal's room. An error means that it has to be
// looked at again.
func (c *Deduper) Observe(ctx context.Context, evt *event.Event) error {
	mark, ok := evt.Content.Raw[mimirid.MarkerKey].(string)
	if !ok || evt.Type != event.EventMessage && evt.Type != event.EventEncrypted && evt.Type != event.EventReaction {
		return nil
	}
	portal, err := c.br.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	if portal == nil || !c.isOurs(portal, evt) {
		return nil
	}
	if evt.Type == event.EventReaction {
		return c.reactionCame(ctx, portal, evt)
	}
	_, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	if err != nil {
		return nil //nolint:nilerr // a portal of no conversation
	}
	in := shownIn{evt.RoomID, mimirid.MarkedMessage(conversation, mark)}
	row, err := c.rowOrNote(ctx, portal, in, evt)
	if err != nil || row == nil {
		return err
	}
	return c.takeBack(ctx, row, evt)
}

// isOurs tells our events from those of members who copy the marker.
func (c *Deduper) isOurs(portal *bridgev2.Portal, evt *event.Event) bool {
	if evt.Sender == c.bot.UserID || c.br.IsGhostMXID(evt.Sender) {
		return true
	}
	login := c.br.GetCachedUserLoginByID(portal.Receiver)
	return login != nil && evt.Sender == login.UserMXID && evt.Content.Raw[appservice.DoublePuppetKey] != nil
}

// rowOrNote returns what the table says of a message, or remembers its event. It
// returns nothing for an event that is known to be the one that counts.
func (c *Deduper) rowOrNote(ctx context.Context, portal *bridgev2.Portal, in shownIn, evt *event.Event) (*database.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := slices.Index(c.late, evt.ID); at >= 0 {
		c.late = slices.Delete(c.late, at, at+1)
		return nil, nil
	}
	rows, err := c.br.DB.Message.GetAllPartsByID(ctx, portal.Receiver, in.message)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	if len(rows) > 0 {
		return rows[0], nil
	}
	if len(c.early) == maxEarly {
		c.early = slices.Delete(c.early, 0, 1)
	}
	c.early = append(c.early, earlyEvent{in, evt})
	return nil, nil
}

// KeepOnly is told of the row of an event that was sent, or found in the room, just
// now. It takes back the other events of the message: those that have come already,
// and those given. After an error it has to be told again.
func (c *Deduper) KeepOnly(ctx context.Context, room id.RoomID, row *database.Message, others ...*event.Event) error {
	in := shownIn{room, row.ID}
	c.mu.Lock()
	came := false
	for _, e := range c.early {
		if e.shownIn == in {
			came = came || e.ID == row.MXID
			others = append(others, e.Event)
		}
	}
	if !came && !slices.Contains(c.late, row.MXID) {
		if len(c.late) == maxLate {
			c.late = slices.Delete(c.late, 0, 1)
		}
		c.late = append(c.late, row.MXID)
	}
	c.mu.Unlock()
	for _, evt := range others {
		if err := c.takeBack(ctx, row, evt); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.early = slices.DeleteFunc(c.early, func(e earlyEvent) bool { return e.shownIn == in })
	c.mu.Unlock()
	return nil
}

// takeBack redacts an event when the table has another one for its message. Both
// have the time of the message: an event with another time is something else, such
// as a message that its user has forwarded.
func (c *Deduper) takeBack(ctx context.Context, row *database.Message, evt *event.Event) error {
	if row.MXID == evt.ID || row.HasFakeMXID() || row.Timestamp.UnixMilli() != evt.Timestamp {
		return nil
	}
	return c.Redact(ctx, evt, row.MXID)
}

// Redact takes back an event, of which another one shows what it shows.
func (c *Deduper) Redact(ctx context.Context, evt *event.Event, shown id.EventID) error {
	_, err := c.bot.RedactEvent(mautrix.WithMaxRetries(ctx, 0), evt.RoomID, evt.ID,
		mautrix.ReqRedact{Reason: "This was sent twice"})
	err = WithRetryAfter(err)
	if kind := AnswerOf(err); kind == AnswerRefused || kind == AnswerRoom || kind == AnswerDoubtful && !IsServerFault(err) {
		c.log.Warn("an event that is in a room twice cannot be taken back", "event_id", evt.ID, "error", fault.OneLine(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("take back an event that is there twice: %w", err)
	}
	c.log.Info("an event was taken back, what it shows was in the room already", "event_id", evt.ID, "shown_as", shown)
	return nil
}

// reactionCame takes back an event of ours that shows a reaction which does not count
// any more, or which another event shows. Nothing else would: what the contact takes
// back later is the event in the bridge's table.
//
// An event whose row is on its way is left alone. A copy that comes in that moment is
// not found; those of Dendrite come half a minute later.
func (c *Deduper) reactionCame(ctx context.Context, portal *bridgev2.Portal, evt *event.Event) error {
	content := evt.Content.AsReaction()
	key := variationselector.Remove(content.RelatesTo.Key)
	target, err := c.br.DB.Message.GetPartByMXID(ctx, content.RelatesTo.EventID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	if target == nil || key == "" {
		return nil
	}
	account, conversation, err := mimirid.ParsePortal(portal.PortalKey)
	contact := conversation.Contact()
	if err != nil {
		return nil //nolint:nilerr // a portal of no conversation
	}
	_, message, _, err := mimirid.ParseMessage(target.ID)
	if err != nil {
		return nil //nolint:nilerr // a notice
	}
	dir, sender := store.Out, mimirid.User(account)
	if ghost, ok := c.br.Matrix.ParseGhostMXID(evt.Sender); ok && ghost == mimirid.User(contact) {
		dir, sender = store.In, ghost
	}
	reactions, err := c.reactions(account, contact, peer.GUID(message.GUID))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDatabase, err)
	}
	counts := false
	for _, r := range reactions {
		counts = counts || r.Dir == dir && variationselector.Remove(r.Emoji) == key
	}
	shown := evt.ID
	if counts {
		row, err := c.br.DB.Reaction.GetByID(ctx, portal.Receiver, target.ID, "", sender, "")
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDatabase, err)
		}
		if row == nil || row.MXID == evt.ID || variationselector.Remove(row.Emoji) != key {
			return nil
		}
		shown = row.MXID
	}
	return c.Redact(ctx, evt, shown)
}
