// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"fmt"
	"time"

	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
)

// A reply names its message when both sides know it, and quotes it otherwise.

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
		m, err := d.deps.Conversations.Message(d.at.Account, d.at.ID, store.MessageID{Dir: dir, GUID: guid})
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
		rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, d.at.Login.ID, id)
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

// shownAs returns the part that shows a message. An event that was written in a room may
// have become several messages: the last of them names it.
func (d *delivery) shownAs(ctx context.Context, m store.Message) (networkid.MessageID, error) {
	if evt := msgconv.SourceEvent(m.Source); evt != "" {
		row, err := d.deps.Bridge.DB.Message.GetPartByMXID(ctx, evt)
		if err != nil {
			return "", fmt.Errorf("look for what was shown: %w", err)
		}
		if row != nil {
			return row.ID, nil
		}
	}
	return mimirid.Message(d.at.ID, m.ID, 0), nil
}
