// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"fmt"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
)

// A reply names its message where both sides know it. Where one does not, the
// words are quoted.

// quoteTime bounds the look for what is quoted.
var quoteTime = 5 * time.Second

// SetQuoteTimeForTest changes how long a quoted message is looked for, and returns what
// undoes that.
func SetQuoteTimeForTest(limit time.Duration) (undo func()) {
	before := quoteTime
	quoteTime = limit
	return func() { quoteTime = before }
}

// quoteEvent quotes what a message replies to, if it replies to something that is
// no message of the conversation, such as a notice of the bridge. A quotation is a
// decoration: a message whose quotation the homeserver does not give out soon goes
// without it.
func (cl *client) quoteEvent(ctx context.Context, msg *bridgev2.MatrixMessage) string {
	target := msg.Content.RelatesTo.GetReplyTo()
	if target == "" || msg.Content.RelatesTo.GetNonFallbackReplyTo() == "" { // or only the thread's last message
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, quoteTime)
	defer cancel()
	evt, err := cl.matrix.Bot().GetEvent(mautrix.WithMaxRetries(ctx, 0), msg.Portal.MXID, target)
	if err != nil {
		cl.log.Debug("sending a reply without its quotation", "event_id", msg.Event.ID, "err", fault.OneLine(err))
		return ""
	}
	evt.Type.Class = event.MessageEventType
	_ = evt.Content.ParseRaw(evt.Type) // what cannot be parsed has no text
	if dev := cl.matrix.Device(); dev != nil && evt.Type == event.EventEncrypted {
		evt.RoomID = msg.Portal.MXID
		if decrypted, err := dev.Decrypt(ctx, evt); err == nil {
			evt = decrypted
		}
	}
	if evt.Type != event.EventMessage {
		return "" // nobody can read it any more, for example
	}
	return msgconv.Quote(msgconv.TextFromMatrix(evt.Content.AsMessage(), cl.nameOf(ctx)))
}

// noteTime is how long the row of a message from a room may be on its way: the
// contact may be quicker with an answer.
const noteTime = time.Minute

// reply makes content answer the message that a guid means: as a reply to the event
// that shows it, or else with its words above, when the store has it and the room
// does not. What nobody knows is left out. A target is for the library.
func (d *delivery) reply(ctx context.Context, guid int64, content *event.MessageEventContent) (*networkid.MessageOptionalPartID, error) {
	if guid == 0 {
		return nil, nil
	}
	// Both sides number their messages freely.
	for _, dir := range []store.Direction{store.In, store.Out} {
		m, err := d.node.Message(d.at.Account, d.at.Contact(), store.MessageID{Dir: dir, GUID: guid})
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		id, err := d.shownAs(ctx, m)
		if err != nil {
			return nil, err
		}
		rows, err := d.br.DB.Message.GetAllPartsByID(ctx, d.at.Login.ID, id)
		if err != nil {
			return nil, fmt.Errorf("look for what was shown: %w", err)
		}
		evt := msgconv.SourceEvent(m.Source)
		switch {
		case len(rows) > 0:
			return &networkid.MessageOptionalPartID{MessageID: id}, nil
		case evt != "" && time.Since(m.Created.Time()) < noteTime:
			content.GetRelatesTo().SetReplyTo(evt)
		default:
			msgconv.AddQuote(content, msgconv.Quote(msgconv.CleanText(msgconv.Summary(m))))
		}
		return nil, nil
	}
	return nil, nil
}

// nameOf returns a function that names a Matrix user as people know them.
func (c *Connector) nameOf(ctx context.Context) func(id.UserID) string {
	return func(user id.UserID) string {
		if ghost, err := c.br.GetGhostByMXID(ctx, user); err == nil && ghost != nil && ghost.Name != "" {
			return ghost.Name
		}
		return user.String()
	}
}

// shownAs names the event that shows a message. What was written in a room in one
// piece may have become several messages: the last of them names the event.
func (d *delivery) shownAs(ctx context.Context, m store.Message) (networkid.MessageID, error) {
	if evt := msgconv.SourceEvent(m.Source); evt != "" {
		row, err := d.br.DB.Message.GetPartByMXID(ctx, evt)
		if err != nil {
			return "", fmt.Errorf("look for what was shown: %w", err)
		}
		if row != nil {
			return row.ID, nil
		}
	}
	return mimirid.Message(d.at.ID, m.ID, 0), nil
}
