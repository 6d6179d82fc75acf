// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // sizes of pictures
	_ "image/jpeg" // sizes of pictures
	_ "image/png"  // sizes of pictures
	"io"
	"strings"

	"go.mau.fi/util/exmime"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
)

// A file comes after its message, or never. The room shows it when it is here, and
// says why when it does not come.

// file brings a message with a file into the room, if the file is here.
func (d *delivery) file(ctx context.Context, m store.Message) error {
	info, err := d.node.MediaState(d.at.Account, d.at.Contact(), m.ID)
	if errors.Is(err, actors.ErrNoMedia) || isGone(err) {
		return d.insteadOfFile(ctx, m, "A file is here that cannot be read.")
	}
	if err != nil {
		return err
	}
	switch info.State {
	case store.MediaStored, store.MediaUploading:
		return d.sendFile(ctx, m)
	case store.MediaDownloading:
		return nil // MediaChanged follows
	default:
		return d.fileMissing(ctx, m, info)
	}
}

// mediaChanged is the entry that says that a file has come, or does not.
func (d *delivery) mediaChanged(ctx context.Context) error {
	m, err := d.storedMessage()
	if err != nil || m == nil || isMatrixSource(m.Source) {
		return err
	}
	rows, err := d.br.DB.Message.GetAllPartsByID(ctx, d.at.login.ID, mimirid.Message(d.at.Contact(), m.ID, 0))
	if err != nil {
		return fmt.Errorf("look for what was shown: %w", err)
	}
	if len(rows) > 0 {
		return nil
	}
	return d.file(ctx, *m)
}

// fileMissing says why there is no file to see, once per entry.
func (d *delivery) fileMissing(ctx context.Context, m store.Message, info actors.MediaInfo) error {
	reason := "it was not fetched"
	switch info.State {
	case store.MediaFailed:
		reason = "it could not be fetched"
		if info.Reason != "" {
			reason += " (" + cleanName(info.Reason) + ")"
		}
	case store.MediaEvicted:
		reason = "there was no room left for it"
	}
	text := fmt.Sprintf("📎 %s: %s. Reply to this with `%s fetch` to try it now.",
		describe(info), reason, d.br.Config.CommandPrefix)
	sender := d.contactSender()
	if m.ID.Dir == store.Out {
		sender = d.ownSender()
	}
	return d.send(ctx, fileNotePart, mimirid.Notice(d.at.Contact(), d.ev.Seq, 0), sender, d.ev.Time.Time(), single(notice(text)))
}

// fileNotePart is the part of an entry that it is.
const fileNotePart = 1_000_020

// describe is a file's name and size for people.
func describe(info actors.MediaInfo) string {
	name := cleanName(info.Name)
	if name == "" {
		name = "a file"
	}
	if info.Size > 0 {
		name += " (" + bytesText(info.Size) + ")"
	}
	return name
}

func bytesText(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(unit.size), unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// sendFile uploads a file and shows it. When the entry is handled again, the file
// is uploaded again and the event is not sent again.
func (d *delivery) sendFile(ctx context.Context, m store.Message) error {
	portal, err := d.ensureRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	sender := d.contactSender()
	if m.ID.Dir == store.Out {
		sender = d.ownSender()
	}
	id := mimirid.Message(d.at.Contact(), m.ID, 0)
	if d.at.inDoubt { // before the upload
		if found, err := d.recover(ctx, portal, id, sender, shownTime(m)); err != nil || found {
			return err
		}
	}
	content, err := d.uploadOrNotice(ctx, portal, id, sender, m)
	switch {
	case errors.Is(err, bridgev2.ErrMediaTooLarge):
		return d.insteadOfFile(ctx, m, "is larger than your homeserver takes.")
	case errors.Is(err, actors.ErrMediaElsewhere), errors.Is(err, actors.ErrNoMedia):
		return nil // it went away just now; an entry says so
	case err != nil || content == nil:
		return err
	}
	converted := single(content)
	if converted.ReplyTo, err = d.reply(ctx, m.ReplyTo, content); err != nil {
		return err
	}
	if err := d.send(ctx, 0, id, sender, shownTime(m), converted); err != nil {
		return err
	}
	return d.reactionsTo(ctx, m.ID)
}

// uploadOrNotice uploads a file. It returns nil when a notice replaces the file in the
// room, because the homeserver refuses it.
func (d *delivery) uploadOrNotice(
	ctx context.Context, portal *bridgev2.Portal, id networkid.MessageID, sender bridgev2.EventSender, m store.Message,
) (content *event.MessageEventContent, err error) {
	err = d.unit(ctx, portal, unit{
		key: "upload " + string(id), sender: sender,
		send: func(ctx context.Context) (err error) {
			content, err = d.upload(ctx, portal, m)
			return classify(err)
		},
		replace: func(ctx context.Context, sender bridgev2.EventSender, why error) error {
			words := fmt.Sprintf("was refused by your homeserver (%s). Reply to this with `%s retry` to try it again.",
				reasonOf(why), d.br.Config.CommandPrefix)
			if errors.Is(why, mautrix.MTooLarge) {
				words = "is larger than your homeserver takes."
			}
			return d.putNotice(ctx, portal, id, sender, shownTime(m), d.fileText(m, words))
		},
	})
	return content, err
}

// fileText is what is said in a file's place.
func (d *delivery) fileText(m store.Message, words string) string {
	info, err := d.node.MediaState(d.at.Account, d.at.Contact(), m.ID)
	if err != nil {
		return "A file is here that " + words
	}
	return "📎 " + describe(info) + " " + words + " It is kept on the node: `mimird file` gets it."
}

// insteadOfFile shows words in a file's place.
func (d *delivery) insteadOfFile(ctx context.Context, m store.Message, words string) error {
	if info, err := d.node.MediaState(d.at.Account, d.at.Contact(), m.ID); err == nil {
		words = "📎 " + describe(info) + " " + words + " It is kept on the node: `mimird file` gets it."
	}
	sender := d.contactSender()
	if m.ID.Dir == store.Out {
		sender = d.ownSender()
	}
	return d.send(ctx, 0, mimirid.Message(d.at.Contact(), m.ID, 0), sender, shownTime(m), single(notice(words)))
}

func single(content *event.MessageEventContent) *bridgev2.ConvertedMessage {
	return &bridgev2.ConvertedMessage{Parts: []*bridgev2.ConvertedMessagePart{{Type: event.EventMessage, Content: content}}}
}

// upload brings a file to the homeserver, encrypted where the room is.
func (d *delivery) upload(ctx context.Context, portal *bridgev2.Portal, m store.Message) (*event.MessageEventContent, error) {
	body, info, err := d.node.OpenMedia(d.at.Account, d.at.Contact(), m.ID)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // it was only read
	content := fileContent(info)
	if content.MsgType == event.MsgImage {
		// The header alone says it; nothing is decoded.
		size, _, err := image.DecodeConfig(io.LimitReader(body, maxHeader))
		switch {
		case err == nil && int64(size.Width)*int64(size.Height) <= maxPixels:
			content.Info.Width, content.Info.Height = size.Width, size.Height
		case errors.Is(err, image.ErrFormat), errors.Is(err, io.ErrUnexpectedEOF): // one that only clients know, or with a long header
		default: // whoever decodes it may run out of memory
			content.MsgType = event.MsgFile
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("read a file: %w", err)
		}
	}
	scoped, cancel := newSendScope(d.ev, 0).with(d.br.BackgroundCtx, ctx)
	defer cancel()
	content.URL, content.File, err = d.br.Bot.UploadMediaStream(scoped, portal.MXID, info.Size, false, func(file io.Writer) (*bridgev2.FileStreamResult, error) {
		if _, err := io.Copy(file, body); err != nil {
			return nil, fmt.Errorf("read a file: %w", err)
		}
		return &bridgev2.FileStreamResult{FileName: content.GetFileName(), MimeType: content.Info.MimeType}, nil
	})
	if errors.Is(err, media.ErrDamaged) {
		return nil, actors.ErrMediaElsewhere // on our disk; it is fetched again, and an entry says what became of it
	}
	if err != nil {
		return nil, fmt.Errorf("upload a file: %w", err)
	}
	return content, nil
}

// maxPixels is how large a picture may be that is shown as one.
const maxPixels = 64_000_000

// maxHeader bounds what is read of a picture to find its size.
const maxHeader = 1 << 20

// fileContent describes a file as Matrix does.
func fileContent(info actors.MediaInfo) *event.MessageEventContent {
	content := &event.MessageEventContent{
		MsgType: event.MsgFile,
		Body:    fileName(info),
		Info:    &event.FileInfo{MimeType: info.MIMEType, Size: int(info.Size)},
	}
	switch kind, _, _ := strings.Cut(info.MIMEType, "/"); {
	case kind == "image" && info.MIMEType != "image/svg+xml": // that one is a program
		content.MsgType = event.MsgImage
	case kind == "video" && !info.Voice:
		content.MsgType = event.MsgVideo
	case kind == "audio", info.Voice:
		content.MsgType = event.MsgAudio
	}
	if info.Voice {
		content.MSC3245Voice = &event.MSC3245Voice{}
		content.MSC1767Audio = &event.MSC1767Audio{}
	}
	if caption := strings.TrimSpace(cleanText(info.Caption)); caption != "" {
		content.FileName, content.Body = content.Body, splitText(caption)[0]
	}
	return content
}

func fileName(info actors.MediaInfo) string {
	if name := cleanName(info.Name); name != "" {
		return name
	}
	return "file" + exmime.ExtensionFromMimetype(info.MIMEType)
}
