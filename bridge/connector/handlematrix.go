// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mau.fi/util/variationselector"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/groups"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

var (
	errEmpty     = msgconv.Refusal("there is nothing to send in it")
	errTooLong   = msgconv.Refusal("it is too long: send it as a file")
	errNoContact = msgconv.Refusal("this contact is not on the node any more")
	errBlocked   = msgconv.Refusal("you have blocked this contact")
	errNoRoom    = msgconv.Refusal("too many messages wait for being sent already")
)

// HandleMatrixMessage puts a message into the outbox under the id of its event, so that
// handling the event again changes nothing. When it returns, the message is on disk and
// the room was told that it is pending; the delivery comes later from the event log.
func (cl *client) HandleMatrixMessage(ctx context.Context, msg *bridgev2.MatrixMessage) (*bridgev2.MatrixMessageResponse, error) {
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	if err != nil {
		return nil, err
	}
	if err := cl.checkLogin(ctx, msg.Event, msg.Portal, conversation); err != nil {
		return nil, err
	}
	if msg.OrigSender != nil {
		if err := cl.announceRelay(ctx, msg); err != nil {
			return nil, err
		}
	}
	var stored store.Message
	switch msg.Content.MsgType {
	case event.MsgText, event.MsgNotice, event.MsgEmote:
		stored, err = cl.sendText(ctx, msg, conversation, msgconv.TextFromMatrix(msgconv.WithoutEmote(msg.Content, msg.OrigSender), cl.nameOf(ctx)))
	case event.MsgLocation:
		stored, err = cl.sendText(ctx, msg, conversation, msgconv.LocationFromMatrix(msg.Content))
	case event.MsgImage, event.MsgAudio, event.MsgVideo, event.MsgFile, event.CapMsgSticker:
		stored, err = cl.sendMedia(ctx, msg, conversation)
	default:
		return nil, bridgev2.ErrUnsupportedMessageType
	}
	if err != nil {
		return nil, err
	}
	crashpoint.At(crashpoint.AfterEnqueue)
	row := &database.Message{
		ID:         mimirid.Message(conversation, stored.ID, 0),
		MXID:       msg.Event.ID,
		Room:       msg.Portal.PortalKey,
		SenderID:   mimirid.User(cl.account),
		Timestamp:  msgconv.SendTime(msg.Event),
		SenderMXID: msg.Event.Sender,
	}
	if msg.ReplyTo != nil {
		row.ReplyTo.MessageID, row.ReplyTo.PartID = msg.ReplyTo.ID, &msg.ReplyTo.PartID
	}
	if err := cl.note(ctx, row); err != nil {
		return nil, cl.again(msg.Event, err)
	}
	if stored.State == store.StatePending {
		pending := &bridgev2.MessageStatus{Status: event.MessageStatusPending, Message: "waiting for the contact's device"}
		if conversation.Kind() == store.KindGroup {
			pending.Message = "waiting for the mediator of the group"
		}
		cl.status.Send(ctx, pending, bridgev2.StatusEventInfoFromEvent(msg.Event))
	}
	// Pending keeps the library from reporting success to the room, and from inserting the
	// row, whose failure it would only log.
	return &bridgev2.MatrixMessageResponse{Pending: true}, nil
}

// sendText puts a text into the outbox, as several messages when it is long. It returns
// the last of them: when that one is delivered, all are.
func (cl *client) sendText(
	ctx context.Context, msg *bridgev2.MatrixMessage, conversation store.ConversationID, text string,
) (store.Message, error) {
	if text == "" {
		return store.Message{}, errEmpty
	}
	replyTo := msgconv.ReplyGUID(msg.ReplyTo)
	quoted := ""
	if replyTo == 0 {
		quoted = cl.quoteEvent(ctx, msg)
	}
	parts := msgconv.SplitOutgoing(quoted + text)
	if len(parts) > msgconv.MaxParts {
		return store.Message{}, errTooLong
	}
	var last store.Message
	for i := 0; i < len(parts); i++ {
		stored, err := cl.node.Send(ctx, node.Outgoing{
			Account:  cl.account,
			Contact:  conversation.Contact(),
			Group:    groupID(conversation),
			Source:   msgconv.PartSource(msg.Event.ID, i),
			Type:     peer.TypeText,
			ReplyTo:  replyTo,
			Payload:  []byte(parts[i]),
			SendTime: msgconv.SendTime(msg.Event),
		})
		if err != nil {
			return store.Message{}, cl.sendError(msg.Event, err)
		}
		if i == 0 && replyTo == 0 && string(stored.Payload) != parts[0] {
			// The first part was queued before with a quotation that the homeserver does not
			// return now, or without one: the other parts have to follow that.
			if earlier := msgconv.SplitOutgoing(msgconv.Quotation(string(stored.Payload)) + text); earlier[0] == string(stored.Payload) {
				parts = earlier
			} else if plain := msgconv.SplitOutgoing(text); plain[0] == string(stored.Payload) {
				parts = plain
			}
		}
		last = stored
		replyTo = 0 // the first part answers
	}
	return last, nil
}

// note inserts the row that ties an event to its message, unless there is one.
func (cl *client) note(ctx context.Context, row *database.Message) error {
	existing, err := cl.br.DB.Message.GetPartByMXID(ctx, row.MXID)
	if err != nil || existing != nil {
		return err
	}
	// The room was remade meanwhile, and another event shows the message.
	shown, err := cl.br.DB.Message.GetAllPartsByID(ctx, row.Room.Receiver, row.ID)
	if err != nil || len(shown) > 0 {
		return err
	}
	if _, err := cl.br.GetGhostByID(ctx, row.SenderID); err != nil { // the row refers to it
		return err
	}
	return cl.br.DB.Message.Insert(ctx, row)
}

// sendError makes a refusal of an error that no retry can change, and has the event
// handled again after others.
func (cl *client) sendError(evt *event.Event, err error) error {
	switch {
	case errors.Is(err, node.ErrUnknownGroup):
		return groups.ErrGone
	case errors.Is(err, node.ErrNotInGroup):
		return errNotInGroup
	case errors.Is(err, node.ErrGroupReadOnly):
		return errReadOnly
	case errors.Is(err, node.ErrGroupKey):
		return errGroupKey
	case errors.Is(err, store.ErrTasksFull):
		return errTasksFull
	case errors.Is(err, node.ErrOwnMembership), errors.Is(err, node.ErrNotBanned), errors.Is(err, node.ErrSourceUsed):
		return msgconv.Refusal(err.Error())
	case nodeapi.IsGone(err):
		return errNoContact
	case errors.Is(err, node.ErrBlocked):
		return errBlocked
	case errors.Is(err, store.ErrOutboxFull):
		return errNoRoom
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrGUIDTaken):
		cl.log.Error("dropping an invalid message from Matrix", "event_id", evt.ID, "err", err)
		return msgconv.Refusal("the node refuses it")
	default:
		return cl.again(evt, err)
	}
}

// again has the event handled again later, without telling the room that it has failed.
func (cl *client) again(evt *event.Event, err error) error {
	cl.status.Retry(evt.ID, err)
	return bridgev2.MessageStatus{
		Status: event.MessageStatusPending, InternalError: fmt.Errorf("not yet: %w", err), DisableMSS: true,
	}
}

var (
	errEmptyFile   = msgconv.Refusal("the file is empty")
	errMediaFull   = msgconv.Refusal("the node has no room left for files")
	errLongCaption = msgconv.Refusal("the text of the file is too long: send it by itself")
)

// sendMedia puts a file into the outbox, with its caption.
func (cl *client) sendMedia(ctx context.Context, msg *bridgev2.MatrixMessage, conversation store.ConversationID) (store.Message, error) {
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
	file, err := cl.attachments.Get(msg.Event.ID)
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
	stored, sendErr := cl.node.SendFile(ctx, node.OutgoingFile{
		Account: cl.account, Contact: conversation.Contact(), Group: groupID(conversation), Source: string(msg.Event.ID),
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

// Mimir has neither edits nor deletions. A correction is sent as a message when the
// configuration says so, and an undelivered message can be deleted.

var (
	errNoDelete = msgconv.Refusal("Mimir has no deletions: the contact has the message and keeps it")
	errNotWhole = msgconv.Refusal("only the text of a message can be corrected")
)

// correctionSign begins a message that corrects another one.
const correctionSign = "✏️ "

// HandleMatrixEdit sends the new text of a message as a reply to the old one, when the
// configuration says so.
func (cl *client) HandleMatrixEdit(ctx context.Context, msg *bridgev2.MatrixEdit) error {
	if cl.config.Network.Edits != config.EditsCorrection {
		return msgconv.ErrNoEdits
	}
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	if err != nil {
		return err
	}
	switch msg.Content.MsgType {
	case event.MsgText, event.MsgNotice, event.MsgEmote:
	default:
		return errNotWhole
	}
	text := msgconv.TextFromMatrix(msgconv.WithoutEmote(msg.Content, msg.OrigSender), cl.nameOf(ctx))
	if text == "" {
		return errEmpty
	}
	_, err = cl.sendText(ctx, &bridgev2.MatrixMessage{
		MatrixEventBase: bridgev2.MatrixEventBase[*event.MessageEventContent]{
			Event: msg.Event, Content: msg.Content, Portal: msg.Portal, OrigSender: msg.OrigSender,
		},
		ReplyTo: msg.EditTarget,
	}, conversation, correctionSign+text)
	return err
}

// HandleMatrixMessageRemove cancels a message that is undelivered, and refuses for
// others.
func (cl *client) HandleMatrixMessageRemove(ctx context.Context, msg *bridgev2.MatrixMessageRemove) error {
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	if err != nil {
		return err
	}
	if cl.conversations.InGroups(conversation) {
		return cl.removeFromGroup(ctx, msg, conversation)
	}
	if _, ghost := cl.matrix.ParseGhostMXID(msg.TargetMessage.SenderMXID); ghost {
		return nil // it is gone from the room, and that is all that was wanted
	}
	if msg.Event.Sender != msg.TargetMessage.SenderMXID && msg.Event.Sender != cl.login.UserMXID {
		return nil // somebody tidies up
	}
	messages, err := cl.conversations.UndeliveredOf(cl.account, conversation, msg.TargetMessage.MXID)
	if err != nil {
		return cl.again(msg.Event, err)
	}
	switch given, err := cl.conversations.GiveUp(ctx, cl.account, conversation, messages, "you have deleted it"); {
	case err != nil:
		return cl.again(msg.Event, err)
	case given == 0:
		return errNoDelete
	}
	return nil
}

var _ bridgev2.DeleteChatHandlingNetworkAPI = (*client)(nil)

var errNotYourChat = msgconv.Refusal("only the owner of this conversation can do that")

// HandleMatrixDeleteChat declines a contact request, which clients do by deleting its
// room; the library deletes the room then. Of a contact the room alone is deleted: the
// node keeps contact and messages, and the next message makes a new room.
func (cl *client) HandleMatrixDeleteChat(ctx context.Context, msg *bridgev2.MatrixDeleteChat) error {
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	key := conversation.Contact()
	if err != nil {
		return err
	}
	if cl.conversations.InGroups(conversation) {
		return cl.deleteGroupRoom(ctx, msg, conversation)
	}
	if msg.OrigSender != nil {
		return errNotYourChat
	}
	contact, err := cl.node.Contact(cl.account, key)
	switch {
	case nodeapi.IsGone(err): // there is nothing but the room
	case err != nil:
		return cl.again(msg.Event, err)
	case contact.State == store.ContactRequested:
		if _, err := cl.node.DeclineContact(ctx, cl.account, key); err != nil && !nodeapi.IsGone(err) {
			return cl.again(msg.Event, err)
		}
	}
	if err := cl.rooms.GiveUp(ctx, msg.Portal.MXID); err != nil { // before the library leaves it
		return cl.again(msg.Event, err)
	}
	return nil
}

var (
	errOddReaction = msgconv.Refusal("only emoji can be reactions in Mimir")
	errNoTarget    = msgconv.Refusal("the contact does not have this message")
)

// PreHandleMatrixReaction returns whose reaction it is, and that there is one at a time.
func (cl *client) PreHandleMatrixReaction(_ context.Context, msg *bridgev2.MatrixReaction) (bridgev2.MatrixReactionPreResponse, error) {
	emoji := variationselector.FullyQualify(msgconv.CleanText(strings.TrimSpace(msg.Content.RelatesTo.Key)))
	if emoji == "" || len(emoji) > wire.MaxEmoji || strings.HasPrefix(emoji, "mxc://") {
		return bridgev2.MatrixReactionPreResponse{}, errOddReaction
	}
	return bridgev2.MatrixReactionPreResponse{SenderID: mimirid.User(cl.account), Emoji: emoji, MaxReactions: 1}, nil
}

// HandleMatrixReaction puts a reaction into the outbox, under its event's id.
func (cl *client) HandleMatrixReaction(ctx context.Context, msg *bridgev2.MatrixReaction) (*database.Reaction, error) {
	conversation, target, err := reactionTarget(msg.Portal, msg.TargetMessage.ID)
	if err != nil {
		return nil, err
	}
	if err := cl.checkLogin(ctx, msg.Event, msg.Portal, conversation); err != nil {
		return nil, err
	}
	if err := cl.react(ctx, msg.Event, conversation, target, msg.PreHandleResp.Emoji); err != nil {
		return nil, err
	}
	if _, err := cl.br.GetGhostByID(ctx, mimirid.User(cl.account)); err != nil { // the row refers to it
		return nil, cl.again(msg.Event, err)
	}
	return &database.Reaction{}, nil
}

// HandleMatrixReactionRemove takes back a reaction of the user.
func (cl *client) HandleMatrixReactionRemove(ctx context.Context, msg *bridgev2.MatrixReactionRemove) error {
	if msg.TargetReaction.SenderID != mimirid.User(cl.account) {
		return nil // somebody tidies up
	}
	conversation, target, err := reactionTarget(msg.Portal, msg.TargetReaction.MessageID)
	if err != nil {
		return err
	}
	return cl.react(ctx, msg.Event, conversation, target, "")
}

func (cl *client) react(ctx context.Context, evt *event.Event, conversation store.ConversationID, target peer.GUID, emoji string) error {
	_, err := cl.node.React(ctx, node.OutgoingReaction{
		Account: cl.account, Contact: conversation.Contact(), Group: groupID(conversation), Source: string(evt.ID), Target: target, Emoji: emoji,
		SendTime: msgconv.SendTime(evt),
	})
	if err != nil {
		return cl.sendError(evt, err)
	}
	return nil
}

// reactionTarget returns the conversation and the message of a reaction.
func reactionTarget(portal *bridgev2.Portal, message networkid.MessageID) (conversation store.ConversationID, target peer.GUID, err error) {
	_, conversation, err = mimirid.ParsePortal(portal.PortalKey)
	if err != nil {
		return conversation, 0, err
	}
	_, id, _, err := mimirid.ParseMessage(message)
	if err != nil { // a notice of the bridge
		return conversation, 0, errNoTarget
	}
	return conversation, peer.GUID(id.GUID), nil
}

// HandleMatrixAcceptMessageRequest accepts a contact request.
func (cl *client) HandleMatrixAcceptMessageRequest(ctx context.Context, msg *bridgev2.MatrixAcceptMessageRequest) error {
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	contact := conversation.Contact()
	if err != nil {
		return err
	}
	if msg.OrigSender != nil {
		return errNotYourRequest
	}
	if cl.conversations.InGroups(conversation) {
		if err := cl.groups.AcceptInvite(ctx, cl.account, conversation); err != nil && !nodeapi.IsGone(err) && !errors.Is(err, node.ErrNoInvite) {
			return cl.sendError(msg.Event, err)
		}
		return nil
	}
	_, err = cl.node.AcceptContact(ctx, cl.account, contact)
	if nodeapi.IsGone(err) {
		return nil // it was answered elsewhere
	}
	if err != nil {
		return cl.again(msg.Event, err)
	}
	return nil
}

var errNotYourRequest = msgconv.Refusal("only the user who was asked can accept")

// HandleMute mutes a conversation, or unmutes it.
func (cl *client) HandleMute(ctx context.Context, msg *bridgev2.MatrixMute) error {
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	contact := conversation.Contact()
	if err != nil {
		return err
	}
	if cl.conversations.InGroups(conversation) {
		return cl.groups.SetGroupMuted(ctx, cl.account, conversation, msg.Content.IsMuted())
	}
	_, err = cl.node.MuteContact(ctx, cl.account, contact, msg.Content.IsMuted())
	if nodeapi.IsGone(err) {
		return errors.New("this contact is not on the node any more")
	}
	return err
}
