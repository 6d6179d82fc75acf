// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/skip2/go-qrcode"
	"maunium.net/go/mautrix/bridgev2/commands"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/notices"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/proto/identity"
)

// qrPixels is the size of a QR code: large enough for a phone in front of a screen.
const qrPixels = 512

func (c *Commands) commandMyLink(ce *commands.Event) {
	for _, cl := range c.clients(ce) {
		account, err := cl.deps.Node.Account(cl.account)
		if err != nil {
			replyError(ce, err)
			return
		}
		link := identity.Link{Key: account.ID, Name: account.Name}.String()
		replyText(ce, people.LoginName(account)+": "+link)
		if err := sendQR(ce, link); err != nil {
			replyError(ce, fmt.Errorf("show the QR code: %w", err))
			return
		}
		if ce.Portal != nil {
			return // that of the room
		}
	}
}

func sendQR(ce *commands.Event, link string) error {
	png, err := qrcode.Encode(link, qrcode.Low, qrPixels)
	if err != nil {
		return err
	}
	content := &event.MessageEventContent{
		MsgType: event.MsgImage, Body: link, FileName: "my-link.png", Mentions: &event.Mentions{},
		Info: &event.FileInfo{MimeType: "image/png", Size: len(png), Width: qrPixels, Height: qrPixels},
	}
	content.URL, content.File, err = ce.Bot.UploadMedia(ce.Ctx, ce.OrigRoomID, png, content.FileName, content.Info.MimeType)
	if err != nil {
		return err
	}
	_, err = ce.Bot.SendMessage(ce.Ctx, ce.OrigRoomID, event.EventMessage, &event.Content{Parsed: content}, nil)
	return err
}

func (c *Commands) commandQueue(ce *commands.Event) {
	var lines []string
	for _, cl := range c.clients(ce) {
		waiting, err := cl.outboxLines()
		if err != nil {
			replyError(ce, err)
			return
		}
		lines = append(lines, waiting...)
	}
	_, _, rooms := c.deps.Troubles.Waiting()
	for _, room := range rooms {
		if room.Error != "" && c.mayKnow(ce, room.Account) {
			lines = append(lines, fmt.Sprintf("%d events for the room of %s since %s: %s. %s",
				room.Events, room.Name, room.Since.UTC().Format(notices.MomentForm), room.Error, room.Remedy))
		}
	}
	if len(lines) == 0 {
		lines = []string{"Nothing waits: your contacts and groups have everything."}
	}
	replyLines(ce, lines)
}

// outboxLines lists what is undelivered for each contact and group.
func (cl *client) outboxLines() ([]string, error) {
	conversations, err := cl.deps.Conversations.Outboxes(cl.account)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, id := range conversations {
		size, err := cl.deps.Conversations.OutboxSize(cl.account, id)
		if err != nil {
			return nil, err
		}
		oldest, found, err := cl.deps.Conversations.OldestUndelivered(cl.account, id)
		if err != nil {
			return nil, err
		}
		name, reason, err := cl.whyUndelivered(id, oldest)
		if nodeapi.IsGone(err) || !found {
			continue // removed, or delivered meanwhile
		}
		if err != nil {
			return nil, err
		}
		lines = append(lines, fmt.Sprintf("%s: %s since %s; %s", name, notices.CountText(size.Messages), notices.Moment(oldest.Created), reason))
	}
	return lines, nil
}

// whyUndelivered returns the name of a conversation, and why a message to it is
// undelivered, as far as the store knows.
func (cl *client) whyUndelivered(conversation store.ConversationID, m store.Message) (name, reason string, err error) {
	if cl.deps.Conversations.InGroups(conversation) {
		g, err := cl.deps.Groups.Group(cl.account, conversation)
		return groupchat.Name(g), groupchat.WhyUndelivered(g, m), err
	}
	contact, err := cl.deps.Node.Contact(cl.account, conversation.Contact())
	return cl.deps.Names.ForUser(contact), why(contact, m), err
}

func (c *Commands) mayKnow(ce *commands.Event, account identity.PublicKey) bool {
	for _, cl := range c.clients(ce) {
		if cl.account == account {
			return true
		}
	}
	return false
}

// why says why a message to a contact is undelivered, as far as the store knows.
func why(contact store.Contact, m store.Message) string {
	switch {
	case contact.State == store.ContactBlocked:
		return "you have blocked the contact"
	case m.Held:
		return "a file is being uploaded"
	case contact.LastSeen.Time().IsZero():
		return "the contact's device was never reached"
	default:
		return "the contact's device was last seen " + notices.Moment(contact.LastSeen)
	}
}

// repliedTo returns the message that a command is a reply to.
func (c *Commands) repliedTo(ce *commands.Event) (cl *client, conversation store.ConversationID, m store.Message, err error) {
	if cl, conversation, err = c.roomOf(ce); err != nil {
		return cl, conversation, m, err
	}
	if ce.ReplyTo == "" {
		return cl, conversation, m, errors.New("write it as a reply to the message")
	}
	row, err := c.rowOf(ce.Ctx, ce.ReplyTo)
	if err != nil {
		return cl, conversation, m, err
	}
	if row == nil || row.Room != ce.Portal.PortalKey {
		return cl, conversation, m, errors.New("this is not a message of the conversation")
	}
	_, id, _, err := mimirid.ParseMessage(row.ID)
	if err != nil { // what the bridge says of a message
		if id, fileErr := mimirid.ParseFileNotice(row.ID); fileErr == nil {
			m, err = cl.deps.Conversations.Message(cl.account, conversation, id)
			return cl, conversation, m, err
		}
		account, seq, noticeErr := mimirid.ParseNotice(row.ID)
		if noticeErr != nil || seq == 0 {
			return cl, conversation, m, err
		}
		if account.IsZero() {
			account = cl.account
		}
		events, eventErr := cl.deps.Node.ConversationEvents(account, conversation, seq-1, 1)
		if eventErr != nil || len(events) == 0 || events[0].Seq != seq || events[0].Message.IsZero() {
			return cl, conversation, m, errors.Join(errNotMessage, eventErr)
		}
		id = events[0].Message
	}
	m, err = cl.deps.Conversations.Message(cl.account, conversation, id)
	return cl, conversation, m, err
}

// errNotMessage answers a command that needs a message and is a reply to another notice.
var errNotMessage = errors.New("this notice is about no message")

// An event is in the room a moment before it is in the table.
const (
	rowTime = 2 * time.Second
	rowPoll = 50 * time.Millisecond
)

// rowOf returns the row of an event, nil when there is none. Commands are not handled in
// the order of the room's events, so a reply to an event that was just shown may come
// before the library has inserted its row.
func (c *Commands) rowOf(ctx context.Context, evt id.EventID) (*database.Message, error) {
	patience, cancel := context.WithTimeout(ctx, rowTime)
	defer cancel()
	poll := time.NewTicker(rowPoll)
	defer poll.Stop()
	for {
		row, err := c.deps.Bridge.DB.Message.GetPartByMXID(ctx, evt)
		if row != nil || err != nil {
			return row, err
		}
		select {
		case <-poll.C:
		case <-patience.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Commands) commandCancel(ce *commands.Event) {
	// A login is begun in the management room; the next words would become its answer.
	if ce.Portal == nil {
		commands.CommandCancel.Func(ce)
		return
	}
	cl, conversation, err := c.roomOf(ce)
	if err != nil {
		replyError(ce, err)
		return
	}
	var messages []store.MessageID
	if ce.ReplyTo != "" {
		messages, err = cl.deps.Conversations.UndeliveredOf(cl.account, conversation, ce.ReplyTo)
	} else {
		messages, err = cl.deps.Conversations.UndeliveredIDs(cl.account, conversation)
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	given, err := cl.deps.Conversations.GiveUp(ce.Ctx, cl.account, conversation, messages, "you have cancelled it")
	switch {
	case err != nil:
		replyError(ce, err)
	case given == 0 && conversation.Kind() == store.KindGroup:
		replyText(ce, "There is nothing to cancel: the mediator of the group has it. Delete the message to delete it for everybody.")
	case given == 0:
		replyText(ce, "There is nothing to cancel: the contact has it.")
	default:
		replyText(ce, fmt.Sprintf("Not sent any more: %d.", given))
	}
}

// maxTraced bounds how much of a log is read for one message.
const maxTraced = 100_000

func (c *Commands) commandTrace(ce *commands.Event) {
	cl, conversation, m, err := c.repliedTo(ce)
	if err != nil {
		replyError(ce, err)
		return
	}
	lines := []string{fmt.Sprintf("Message %s, %s", m.ID, m.State)}
	for after, read := uint64(0), 0; read < maxTraced; {
		events, err := cl.deps.Node.ConversationEvents(cl.account, conversation, after, 0)
		if err != nil {
			replyError(ce, err)
			return
		}
		for _, ev := range events {
			after = ev.Seq
			read++
			if ev.Message == m.ID {
				lines = append(lines, strings.TrimSpace(fmt.Sprintf("%s  %s %s", notices.Moment(ev.Time), ev.Kind, ev.Reason)))
			}
		}
		if len(events) == 0 {
			break
		}
	}
	if m.State == store.StatePending {
		if _, reason, err := cl.whyUndelivered(conversation, m); err == nil {
			lines = append(lines, "Not delivered: "+reason+".")
		}
	}
	replyLines(ce, lines)
}

func (c *Commands) commandFetch(ce *commands.Event) {
	cl, conversation, m, err := c.repliedTo(ce)
	if err != nil {
		replyError(ce, err)
		return
	}
	// Or it would not be said again when the file does not come.
	if row, rowErr := c.rowOf(ce.Ctx, ce.ReplyTo); rowErr == nil && row != nil {
		if _, isNotice := mimirid.ParseFileNotice(row.ID); isNotice == nil {
			err = c.deps.Bridge.DB.Message.Delete(ce.Ctx, row.RowID)
		}
	}
	info, fetchErr := cl.deps.Conversations.FetchFile(ce.Ctx, cl.account, conversation, m.ID)
	if err = errors.Join(err, fetchErr); err != nil {
		replyError(ce, err)
		return
	}
	switch info.State {
	case store.MediaStored, store.MediaUploading:
		replyText(ce, "The file is here already.")
	default:
		replyText(ce, "The file is being fetched; it appears here when it has come.")
	}
}

// commandRetry retries what has not reached its room.
func (c *Commands) commandRetry(ce *commands.Event) {
	if ce.ReplyTo != "" && ce.Portal != nil {
		if err := c.redo(ce); err != nil {
			replyError(ce, err)
		}
		return
	}
	if ce.Portal != nil || ce.RawArgs != "" {
		cl, conversation, err := c.conversationOf(ce)
		if err != nil {
			replyError(ce, err)
			return
		}
		cl.deps.Deliver.Retry(store.Conversation{Account: cl.account, ID: conversation})
		replyText(ce, "Trying again what does not reach the room.")
		return
	}
	_, _, rooms := c.deps.Deliver.Waiting()
	tried := 0
	for _, room := range rooms {
		if room.Error != "" && c.mayKnow(ce, room.Account) {
			c.deps.Deliver.Retry(room.Conversation())
			tried++
		}
	}
	if tried == 0 {
		replyText(ce, "There is nothing to try again: all messages have reached their rooms.")
		return
	}
	replyText(ce, fmt.Sprintf("Trying again: rooms of %d conversations.", tried))
}

// redo shows the message whose notice a command is a reply to.
func (c *Commands) redo(ce *commands.Event) error {
	cl, conversation, m, err := c.repliedTo(ce)
	if err != nil {
		return err
	}
	row, err := c.rowOf(ce.Ctx, ce.ReplyTo)
	if err != nil {
		return err
	}
	evt, err := c.deps.Matrix.Bot().GetEvent(ce.Ctx, ce.OrigRoomID, ce.ReplyTo)
	if err == nil && evt.Type == event.EventMessage {
		_ = evt.Content.ParseRaw(evt.Type) // or it is parsed already
		if evt.Content.AsMessage().MsgType != event.MsgNotice {
			return errors.New("this message is shown already")
		}
	}
	if row == nil || msgconv.IsMatrixSource(m.Source) {
		return errors.New("this is not a notice in place of a message")
	}
	if !cl.deps.Events.Redo(store.Conversation{Account: cl.account, ID: conversation}, m.ID, row.ID) {
		return errors.New("too many messages of this room are being retried already")
	}
	return nil
}

// commandHistory remakes a room: the one it is written in, or that of the contact or group
// which the argument names.
func (c *Commands) commandHistory(ce *commands.Event) {
	limit, name := 0, strings.TrimSpace(ce.RawArgs)
	if words := strings.Fields(name); len(words) > 0 && (ce.Portal != nil || len(words) > 1) {
		n, err := strconv.Atoi(words[len(words)-1])
		if err != nil && ce.Portal != nil || err == nil && n < 1 {
			replyError(ce, errors.New("say how many messages, or nothing for all"))
			return
		}
		if err == nil {
			limit, name = n, strings.TrimSpace(strings.TrimSuffix(name, words[len(words)-1]))
		}
	}
	if ce.RawArgs = name; ce.Portal != nil {
		ce.RawArgs = ""
	}
	cl, conversation, err := c.conversationOf(ce)
	if err == nil {
		err = c.mayRemake(ce.Ctx, mimirid.Portal(cl.account, conversation))
	}
	if err != nil {
		replyError(ce, err)
		return
	}
	replyText(ce, "A new room is created, with the history.")
	cl.deps.Events.RemakeRoom(store.Conversation{Account: cl.account, ID: conversation}, limit)
}
