// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/msgconv"
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

// nameOf returns a function that returns the shown name of a Matrix user.
func (c *Connector) nameOf(ctx context.Context) func(id.UserID) string {
	return func(user id.UserID) string {
		if ghost, err := c.br.GetGhostByMXID(ctx, user); err == nil && ghost != nil && ghost.Name != "" {
			return ghost.Name
		}
		return user.String()
	}
}
