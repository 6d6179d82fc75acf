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
	"github.com/mimird/mimird/bridge/nodeapi"
)

// A reply names its message when both sides know it, and quotes it otherwise.

// quoteTime bounds the request for a quoted event.
var quoteTime = 5 * time.Second

// SetQuoteTimeForTest changes how long a quoted event is waited for, and returns a
// function that undoes that.
func SetQuoteTimeForTest(limit time.Duration) (undo func()) {
	before := quoteTime
	quoteTime = limit
	return func() { quoteTime = before }
}

// quoteEvent quotes the event that a message replies to, if it is not a message of the
// conversation, such as a notice of the bridge. A message whose quotation the homeserver
// does not return soon is sent without it.
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
	if off, err := cl.relay.IsOff(ctx, msg.Portal.PortalKey, evt.Sender); err != nil || off && evt.Sender != cl.login.UserMXID {
		return "" // nothing that they write leaves the room
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

// noteTime is how long the row of a message from a room may not be inserted yet: the
// contact may be quick with an answer.
const noteTime = time.Minute

// reply makes content a reply to the message with a guid: to the event that shows it, or
// with a quotation when only the store has it. An unknown message is left out. The
// returned target is for the library.
func (d *delivery) reply(ctx context.Context, guid int64, content *event.MessageEventContent) (*networkid.MessageOptionalPartID, error) {
	if guid == 0 {
		return nil, nil
	}
	// A guid is unique only among the messages of one side.
	for _, dir := range []store.Direction{store.In, store.Out} {
		m, err := d.conversations.Message(d.at.Account, d.at.ID, store.MessageID{Dir: dir, GUID: guid})
		if nodeapi.IsGone(err) {
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
		case len(visible(rows)) > 0:
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

// nameOf returns a function that returns the shown name of a Matrix user.
func (c *Connector) nameOf(ctx context.Context) func(id.UserID) string {
	return func(user id.UserID) string {
		if ghost, err := c.br.GetGhostByMXID(ctx, user); err == nil && ghost != nil && ghost.Name != "" {
			return ghost.Name
		}
		return user.String()
	}
}

// shownAs returns the part that shows a message. An event that was written in a room may
// have become several messages: the last of them names it.
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
