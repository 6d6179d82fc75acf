// SPDX-License-Identifier: MPL-2.0

package show

import (
	"context"
	"errors"
	"fmt"
	_ "image/gif"  // sizes of pictures
	_ "image/jpeg" // sizes of pictures
	_ "image/png"  // sizes of pictures
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/notices"

	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/publicmedia"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
)

// A file comes after its message, or never. The room shows the file when it is here, and
// a notice with the reason when it does not come.

// file shows a message with a file, if the file is here.
func (d *delivery) file(ctx context.Context, m store.Message) error {
	if shown, err := d.isShown(ctx, mimirid.Message(d.at.ID, m.ID, 0)); shown || err != nil {
		if err == nil {
			_, err = d.ensureRoom(ctx) // our user may not be in it yet
		}
		return err
	}
	info, err := d.deps.Conversations.FileState(d.at.Account, d.at.ID, m.ID)
	if errors.Is(err, transfer.ErrNoMedia) || nodeapi.IsGone(err) {
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

// mediaChanged handles an entry that says that a file has come, or will not.
func (d *delivery) mediaChanged(ctx context.Context) error {
	m, err := d.storedMessage()
	if err != nil || m == nil || msgconv.IsMatrixSource(m.Source) {
		return err
	}
	rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, d.at.Login.ID, mimirid.Message(d.at.ID, m.ID, 0))
	if err != nil {
		return fmt.Errorf("look for what was shown: %w", err)
	}
	if len(rows) > 0 {
		return nil
	}
	return d.file(ctx, *m)
}

// fileMissing says why there is no file, once per entry; in a group when none of our accounts
// gets it, once for all of them.
func (d *delivery) fileMissing(ctx context.Context, m store.Message, info transfer.Info) error {
	id := d.notice(d.ev.Seq, 0)
	if d.isGroup() {
		id = mimirid.FileNotice(d.at.ID, m.ID)
		if comes, err := d.fileComes(m); comes || err != nil {
			return err
		}
	}
	reason := "it was not fetched"
	switch info.State {
	case store.MediaFailed:
		reason = "it could not be fetched"
		if info.Reason != "" {
			reason += " (" + msgconv.CleanName(info.Reason) + ")"
		}
	case store.MediaEvicted:
		reason = "there was no room left for it"
	}
	text := fmt.Sprintf("📎 %s: %s. Reply to this with `%s fetch` to try it now.",
		msgconv.DescribeFile(info.Name, info.Size), reason, d.deps.Bridge.Config.CommandPrefix)
	sender := d.senderOf(m)
	return d.send(ctx, fileNotePart, id, sender, d.ev.Time.Time(), msgconv.Single(msgconv.Notice(text)))
}

// fileComes reports whether one of our accounts has the file of a message in a group, or is
// fetching it.
func (d *delivery) fileComes(m store.Message) (bool, error) {
	accounts, err := d.deps.GroupRooms.Accounts(d.at.ID)
	if err != nil {
		return false, err
	}
	for _, account := range accounts {
		other, err := d.deps.Conversations.Message(account, d.at.ID, m.ID)
		if nodeapi.IsGone(err) {
			continue
		}
		if err != nil {
			return false, err
		}
		info, err := d.deps.Conversations.FileState(account, d.at.ID, other.ID)
		switch {
		case errors.Is(err, transfer.ErrNoMedia), nodeapi.IsGone(err):
		case err != nil:
			return false, err
		case info.State == store.MediaStored, info.State == store.MediaUploading, info.State == store.MediaDownloading:
			return true, nil
		}
	}
	return false, nil
}

// fileNotePart is the part of an entry that this notice is.
const fileNotePart = 1_000_020

// sendFile uploads a file and shows it. When the entry is shown again, the file is
// uploaded again and the event is not sent again.
func (d *delivery) sendFile(ctx context.Context, m store.Message) error {
	portal, err := d.ensureRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	sender := d.senderOf(m)
	id := mimirid.Message(d.at.ID, m.ID, 0)
	if d.at.InDoubt { // before the upload
		if found, err := d.recover(ctx, portal, id, sender, msgconv.ShownTime(m)); err != nil || found {
			return err
		}
	}
	content, err := d.uploadOrNotice(ctx, portal, id, sender, m)
	switch {
	case errors.Is(err, bridgev2.ErrMediaTooLarge):
		return d.send(ctx, 0, id, sender, msgconv.ShownTime(m), msgconv.Single(d.fileTooLarge(m)))
	case errors.Is(err, transfer.ErrNotHere), errors.Is(err, transfer.ErrNoMedia):
		return nil // it went away just now; an entry says so
	case err != nil || content == nil:
		return err
	}
	converted := msgconv.Single(content)
	if converted.ReplyTo, err = d.reply(ctx, m.ReplyTo, content); err != nil {
		return err
	}
	if err := d.send(ctx, 0, id, sender, msgconv.ShownTime(m), converted); err != nil {
		return err
	}
	return d.reactionsTo(ctx, m.ID)
}

// uploadOrNotice uploads a file. It returns nil when a notice replaces the file, because
// the homeserver refuses it.
func (d *delivery) uploadOrNotice(
	ctx context.Context, portal *bridgev2.Portal, id networkid.MessageID, sender bridgev2.EventSender, m store.Message,
) (content *event.MessageEventContent, err error) {
	err = d.unit(ctx, portal, unit{
		key: "upload " + string(id), sender: sender,
		send: func(ctx context.Context) (err error) {
			content, err = d.upload(ctx, portal, m)
			return homeserver.WithRetryAfter(err)
		},
		replace: func(ctx context.Context, sender bridgev2.EventSender, why error) error {
			words := fmt.Sprintf("was refused by your homeserver (%s). Reply to this with `%s retry` to try it again.",
				notices.ReasonOf(why), d.deps.Bridge.Config.CommandPrefix)
			content := msgconv.Notice(d.fileText(m, words))
			if d.isTooLarge(why) {
				content = d.fileTooLarge(m)
			}
			return d.put(ctx, portal, noticePart, id, sender, msgconv.ShownTime(m), msgconv.Single(content))
		},
	})
	return content, err
}

// fileText is the text of a notice in place of a file.
func (d *delivery) fileText(m store.Message, words string) string {
	info, err := d.deps.Conversations.FileState(d.at.Account, d.at.ID, m.ID)
	if err != nil {
		return "A file is here that " + words
	}
	return "📎 " + msgconv.DescribeFile(info.Name, info.Size) + " " + words + " It is kept on the node: `mimird file` gets it."
}

// isTooLarge reports whether the homeserver refuses a file for its size. A proxy before it
// may be refusing it, too, which its operator can change; with a link nobody has to.
func (d *delivery) isTooLarge(err error) bool {
	var failure mautrix.HTTPError
	return errors.Is(err, mautrix.MTooLarge) || d.deps.PublicMedia != nil &&
		errors.As(err, &failure) && failure.Response != nil && failure.Response.StatusCode == http.StatusRequestEntityTooLarge
}

// fileTooLarge is the notice in place of a file that the homeserver does not take: with a
// link to it where public media are configured.
func (d *delivery) fileTooLarge(m store.Message) *event.MessageEventContent {
	info, err := d.deps.Conversations.FileState(d.at.Account, d.at.ID, m.ID)
	if err != nil {
		return msgconv.Notice("A file is here that is larger than your homeserver takes.")
	}
	text := "📎 " + msgconv.DescribeFile(info.Name, info.Size) + " is larger than your homeserver takes."
	var link string
	if d.deps.PublicMedia == nil {
		text += " It is kept on the node: `mimird file` gets it."
	} else {
		var ends time.Time
		link, ends = d.deps.PublicMedia.Link(publicmedia.Ref{Account: d.at.Account, Conversation: d.at.ID, Message: m.ID}, msgconv.FileName(fileOf(info)))
		text += " Everybody with this link can fetch it with a browser"
		if !ends.IsZero() {
			text += fmt.Sprintf(", until %s; reply with `%s retry` for a new link", ends.UTC().Format(notices.MomentForm), d.deps.Bridge.Config.CommandPrefix)
		}
		text += ":\n" + link
	}
	if caption := strings.TrimSpace(msgconv.CleanText(info.Caption)); caption != "" {
		text += "\n" + msgconv.SplitText(caption)[0]
	}
	if link == "" {
		return msgconv.Notice(text)
	}
	return msgconv.NoticeWithLink(text, link)
}

// insteadOfFile shows a notice in place of a file.
func (d *delivery) insteadOfFile(ctx context.Context, m store.Message, words string) error {
	if info, err := d.deps.Conversations.FileState(d.at.Account, d.at.ID, m.ID); err == nil {
		words = "📎 " + msgconv.DescribeFile(info.Name, info.Size) + " " + words + " It is kept on the node: `mimird file` gets it."
	}
	sender := d.senderOf(m)
	return d.send(ctx, 0, mimirid.Message(d.at.ID, m.ID, 0), sender, msgconv.ShownTime(m), msgconv.Single(msgconv.Notice(words)))
}

// upload uploads a file, encrypted when the room is.
func (d *delivery) upload(ctx context.Context, portal *bridgev2.Portal, m store.Message) (*event.MessageEventContent, error) {
	body, info, err := d.deps.Conversations.OpenFile(d.at.Account, d.at.ID, m.ID)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }() // it was only read
	content := msgconv.FileToMatrix(fileOf(info))
	if err := msgconv.SetImageSize(content, body); err != nil {
		return nil, fmt.Errorf("read a file: %w", err)
	}
	scoped, cancel := homeserver.NewScope(d.ev, 0).With(d.deps.Bridge.BackgroundCtx, ctx)
	defer cancel()
	content.URL, content.File, err = d.deps.Bridge.Bot.UploadMediaStream(scoped, portal.MXID, info.Size, false, func(file io.Writer) (*bridgev2.FileStreamResult, error) {
		if _, err := io.Copy(file, body); err != nil {
			return nil, fmt.Errorf("read a file: %w", err)
		}
		return &bridgev2.FileStreamResult{FileName: content.GetFileName(), MimeType: content.Info.MimeType}, nil
	})
	if errors.Is(err, media.ErrDamaged) {
		return nil, transfer.ErrNotHere // on our disk; it is fetched again, and an entry says what became of it
	}
	if err != nil {
		return nil, fmt.Errorf("upload a file: %w", err)
	}
	return content, nil
}

// fileOf describes a file for a room.
func fileOf(info transfer.Info) msgconv.File {
	return msgconv.File{Name: info.Name, MIMEType: info.MIMEType, Size: info.Size, Caption: info.Caption, Voice: info.Voice}
}
