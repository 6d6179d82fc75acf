// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

var (
	errNoDownload  = refusal("the homeserver does not give out the file")
	errEmptyFile   = refusal("the file is empty")
	errLargeFile   = refusal("the file is larger than this node sends")
	errMediaFull   = refusal("the node has no room left for files")
	errLongCaption = refusal("the text of the file is too long: send it by itself")
)

// sendMedia puts a file into the outbox, with its caption.
func (cl *client) sendMedia(ctx context.Context, msg *bridgev2.MatrixMessage, contact identity.PublicKey) (store.Message, error) {
	content := msg.Content
	caption := ""
	if content.MsgType != event.CapMsgSticker && content.GetCaption() != "" {
		caption = outgoingText(&event.MessageEventContent{
			MsgType: event.MsgText, Body: content.GetCaption(), Format: content.Format, FormattedBody: content.FormattedBody,
		}, cl.nameOf(ctx))
	}
	replyTo := replyGUID(msg.ReplyTo)
	if replyTo == 0 {
		quoted, err := cl.quoteEvent(ctx, msg)
		if err != nil {
			return store.Message{}, cl.again(msg.Event, err)
		}
		caption = strings.TrimSpace(quoted + caption)
	}
	if len(caption) > wire.MaxCaption {
		return store.Message{}, errLongCaption
	}
	var stored store.Message
	var sendErr error
	err := cl.br.Bot.DownloadMediaToFile(mautrix.WithMaxRetries(ctx, 0), content.URL, content.File, false, func(file *os.File) error {
		stored, sendErr = cl.node.SendFile(ctx, actors.OutgoingFile{
			Account: cl.account, Contact: contact, Source: string(msg.Event.ID),
			Body: file, Name: outgoingName(content), MIMEType: content.GetInfo().MimeType, Caption: caption,
			Voice: content.MSC3245Voice != nil, ReplyTo: replyTo, SendTime: time.UnixMilli(msg.Event.Timestamp),
		})
		return nil
	})
	if err != nil {
		return store.Message{}, cl.downloadError(msg.Event, err)
	}
	cl.downloads.forget(msg.Event.ID)
	switch {
	case sendErr == nil:
		return stored, nil
	case errors.Is(sendErr, actors.ErrFileEmpty):
		return store.Message{}, errEmptyFile
	case errors.Is(sendErr, actors.ErrFileTooLarge):
		return store.Message{}, errLargeFile
	case errors.Is(sendErr, media.ErrFull):
		return store.Message{}, errMediaFull
	default:
		return store.Message{}, cl.sendError(msg.Event, sendErr)
	}
}

// stickerAsPicture makes a picture of a sticker, which is what Mimir has. The library
// would mark the event while another of its goroutines reads it.
func stickerAsPicture(evt *event.Event) {
	content, ok := evt.Content.Parsed.(*event.MessageEventContent)
	if !ok || evt.Type != event.EventSticker {
		return
	}
	evt.Type = event.EventMessage
	content.MsgType, content.Body, content.FileName = event.MsgImage, "sticker", "sticker"
}

// outgoingName is the name of a file for the contact.
func outgoingName(content *event.MessageEventContent) string {
	if content.MsgType == event.CapMsgSticker {
		return "sticker"
	}
	return cleanName(content.GetFileName())
}

// downloadError tells a homeserver that is not well from a file that is not there.
// One that never answers for a single file must not hold up all others for ever.
func (cl *client) downloadError(evt *event.Event, err error) error {
	var failure mautrix.HTTPError
	if errors.As(err, &failure) && failure.Response != nil {
		code := failure.Response.StatusCode
		if code >= http.StatusBadRequest && code < http.StatusInternalServerError && code != http.StatusTooManyRequests {
			return errNoDownload
		}
	}
	var urlErr interface{ Timeout() bool }
	if failure.Response == nil && !errors.As(err, &urlErr) {
		return errNoDownload // no address, or not what the event says it is
	}
	if cl.downloads.failed(evt.ID) >= maxDownloads {
		cl.log.Error("a file cannot be downloaded from the homeserver, it is refused", "event_id", evt.ID, "error", oneLine(err))
		cl.downloads.forget(evt.ID)
		return errNoDownload
	}
	return cl.again(evt, fmt.Errorf("download a file: %w", err))
}

// maxDownloads is how often the download of a file is tried while the homeserver
// answers nothing.
const maxDownloads = 20

// attempts counts how often something has failed. Events are handled one at a
// time, so it knows of one.
type attempts struct {
	mu  sync.Mutex
	evt id.EventID
	n   int
}

func (a *attempts) failed(evt id.EventID) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.evt != evt {
		a.evt, a.n = evt, 0
	}
	a.n++
	return a.n
}

func (a *attempts) forget(evt id.EventID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.evt == evt {
		a.evt, a.n = "", 0
	}
}
