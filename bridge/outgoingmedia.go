// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"strings"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/msgconv"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

var (
	errEmptyFile   = msgconv.Refusal("the file is empty")
	errMediaFull   = msgconv.Refusal("the node has no room left for files")
	errLongCaption = msgconv.Refusal("the text of the file is too long: send it by itself")
)

// sendMedia puts a file into the outbox, with its caption.
func (cl *client) sendMedia(ctx context.Context, msg *bridgev2.MatrixMessage, contact identity.PublicKey) (store.Message, error) {
	content := msg.Content
	caption := ""
	if content.MsgType != event.CapMsgSticker && content.GetCaption() != "" {
		caption = msgconv.TextFromMatrix(&event.MessageEventContent{
			MsgType: event.MsgText, Body: content.GetCaption(), Format: content.Format, FormattedBody: content.FormattedBody,
		}, cl.nameOf(ctx))
	}
	if len(caption) > wire.MaxCaption {
		return store.Message{}, errLongCaption
	}
	file, err := cl.fetched.Get(msg.Event.ID)
	switch {
	case err != nil:
		return store.Message{}, err
	case file == nil: // the event is handled again with it
		return store.Message{}, cl.again(msg.Event, &appservice.NeededFile{Event: msg.Event.ID, Room: msg.Event.RoomID, URL: content.URL, File: content.File})
	}
	replyTo := msgconv.ReplyGUID(msg.ReplyTo)
	if replyTo == 0 {
		if quoted := strings.TrimSpace(cl.quoteEvent(ctx, msg) + caption); len(quoted) <= wire.MaxCaption {
			caption = quoted
		}
	}
	stored, sendErr := cl.node.SendFile(ctx, actors.OutgoingFile{
		Account: cl.account, Contact: contact, Source: string(msg.Event.ID),
		Body: file, Name: msgconv.FileNameFromMatrix(content), MIMEType: content.GetInfo().MimeType, Caption: caption,
		Voice: content.MSC3245Voice != nil, ReplyTo: replyTo, SendTime: msgconv.SendTime(msg.Event),
	})
	switch {
	case sendErr == nil:
		return stored, nil
	case errors.Is(sendErr, transfer.ErrFileEmpty):
		return store.Message{}, errEmptyFile
	case errors.Is(sendErr, transfer.ErrFileTooLarge):
		return store.Message{}, appservice.ErrLargeFile
	case errors.Is(sendErr, media.ErrFull):
		return store.Message{}, errMediaFull
	default:
		return store.Message{}, cl.sendError(msg.Event, sendErr)
	}
}
