// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/peer"
)

// A reply names its message where both sides know it. Where one does not, the
// words are quoted.

// maxQuote is how much of a message is quoted, in characters.
const maxQuote = 200

// quotationOf returns the quotation that a text begins with, as quote makes it.
func quotationOf(text string) string {
	head, _, found := strings.Cut(text, "\n\n")
	for line := range strings.SplitSeq(head, "\n") {
		if !strings.HasPrefix(line, "> ") {
			return ""
		}
	}
	if !found {
		return ""
	}
	return head + "\n\n"
}

// quote makes lines of a text that read as a quotation, with an empty line below.
func quote(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return ""
	}
	if runes := []rune(text); len(runes) > maxQuote {
		text = strings.TrimSpace(string(runes[:maxQuote])) + "…"
	}
	return "> " + strings.ReplaceAll(text, "\n", "\n> ") + "\n\n"
}

// quoteTime bounds the look for what is quoted.
var quoteTime = 5 * time.Second

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
	evt, err := cl.matrix.bot().GetEvent(mautrix.WithMaxRetries(ctx, 0), msg.Portal.MXID, target)
	if err != nil {
		cl.log.Debug("sending a reply without its quotation", "event_id", msg.Event.ID, "err", fault.OneLine(err))
		return ""
	}
	evt.Type.Class = event.MessageEventType
	_ = evt.Content.ParseRaw(evt.Type) // what cannot be parsed has no text
	if dev := cl.matrix.device(); dev != nil && evt.Type == event.EventEncrypted {
		evt.RoomID = msg.Portal.MXID
		if decrypted, err := dev.decrypt(ctx, evt); err == nil {
			evt = decrypted
		}
	}
	if evt.Type != event.EventMessage {
		return "" // nobody can read it any more, for example
	}
	return quote(outgoingText(evt.Content.AsMessage(), cl.nameOf(ctx)))
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
		rows, err := d.br.DB.Message.GetAllPartsByID(ctx, d.at.login.ID, id)
		if err != nil {
			return nil, fmt.Errorf("look for what was shown: %w", err)
		}
		evt := sourceEvent(m.Source)
		switch {
		case len(rows) > 0:
			return &networkid.MessageOptionalPartID{MessageID: id}, nil
		case evt != "" && time.Since(m.Created.Time()) < noteTime:
			content.GetRelatesTo().SetReplyTo(evt)
		default:
			addQuote(content, quote(cleanText(summary(m))))
		}
		return nil, nil
	}
	return nil, nil
}

// addQuote puts a quotation above a text, or above the caption of a file.
func addQuote(content *event.MessageEventContent, quoted string) {
	switch {
	case quoted == "":
	case content.MsgType.IsMedia():
		content.FileName, content.Body = content.GetFileName(), strings.TrimSpace(quoted+content.GetCaption())
	default:
		content.Body = quoted + content.Body
	}
}

// summary is a message in a line or two.
func summary(m store.Message) string {
	switch peer.MessageType(m.Type) {
	case peer.TypeImage, peer.TypeFile:
		if attachment, err := peer.ParseAttachment(m.Payload); err == nil {
			return attachment.DisplayText()
		}
		return "a file"
	case peer.TypeReaction, peer.TypeCall:
		return ""
	}
	return string(m.Payload)
}

// nameOf returns a function that names a Matrix user as people know them.
func (c *connector) nameOf(ctx context.Context) func(id.UserID) string {
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
	if evt := sourceEvent(m.Source); evt != "" {
		row, err := d.br.DB.Message.GetPartByMXID(ctx, evt)
		if err != nil {
			return "", fmt.Errorf("look for what was shown: %w", err)
		}
		if row != nil {
			return row.ID, nil
		}
	}
	return mimirid.Message(d.at.Contact(), m.ID, 0), nil
}

// replyGUID is how Mimir names the message that is replied to.
func replyGUID(target *database.Message) peer.GUID {
	if target == nil {
		return 0
	}
	_, id, _, err := mimirid.ParseMessage(target.ID)
	if err != nil { // a notice of the bridge
		return 0
	}
	return peer.GUID(id.GUID)
}
