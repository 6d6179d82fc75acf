// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

var (
	errEmpty     = msgconv.Refusal("there is nothing to send in it")
	errTooLong   = msgconv.Refusal("it is too long: send it as a file")
	errNoContact = msgconv.Refusal("this contact is not on the node any more")
	errBlocked   = msgconv.Refusal("you have blocked this contact")
	errNoRoom    = msgconv.Refusal("too many messages wait for being sent already")
)

// HandleMatrixMessage puts what was written in a room into the outbox, under the
// event's id: handling the event again changes nothing. When it returns, the
// message is on the disk, and the room is told that it waits; that the contact has
// it comes later, from the event log.
func (cl *client) HandleMatrixMessage(ctx context.Context, msg *bridgev2.MatrixMessage) (*bridgev2.MatrixMessageResponse, error) {
	_, conversation, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	contact := conversation.Contact()
	if err != nil {
		return nil, err
	}
	if err := cl.announceRelay(ctx, msg, contact); err != nil {
		return nil, cl.sendError(msg.Event, err)
	}
	var stored store.Message
	switch msg.Content.MsgType {
	case event.MsgText, event.MsgNotice, event.MsgEmote:
		stored, err = cl.sendText(ctx, msg, contact, msgconv.TextFromMatrix(msgconv.WithoutEmote(msg.Content, msg.OrigSender), cl.nameOf(ctx)))
	case event.MsgLocation:
		stored, err = cl.sendText(ctx, msg, contact, msgconv.LocationFromMatrix(msg.Content))
	case event.MsgImage, event.MsgAudio, event.MsgVideo, event.MsgFile, event.CapMsgSticker:
		stored, err = cl.sendMedia(ctx, msg, contact)
	default:
		return nil, bridgev2.ErrUnsupportedMessageType
	}
	if err != nil {
		return nil, err
	}
	crashpoint.At(crashpoint.AfterEnqueue)
	row := &database.Message{
		ID:         mimirid.Message(store.ContactConversation(contact), stored.ID, 0),
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
		cl.status.Send(ctx, pending, bridgev2.StatusEventInfoFromEvent(msg.Event))
	}
	// Pending keeps the library from telling the room that all is done, and from
	// making the row, whose failing it would only log.
	return &bridgev2.MatrixMessageResponse{Pending: true}, nil
}

// sendText puts a text into the outbox, in as many messages as it takes. It
// returns the last of them: when the contact has that one, the contact has all.
func (cl *client) sendText(
	ctx context.Context, msg *bridgev2.MatrixMessage, contact identity.PublicKey, text string,
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
		stored, err := cl.node.Send(ctx, actors.Outgoing{
			Account:  cl.account,
			Contact:  contact,
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
			// It was queued before, with a quotation that the homeserver does not give out
			// now, or the other way round: the other parts have to go on from there.
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

// note makes the row that ties the event to the message, unless it is there.
func (cl *client) note(ctx context.Context, row *database.Message) error {
	existing, err := cl.br.DB.Message.GetPartByMXID(ctx, row.MXID)
	if err != nil || existing != nil {
		return err
	}
	// The room was made anew meanwhile, and another event shows the message.
	shown, err := cl.br.DB.Message.GetAllPartsByID(ctx, row.Room.Receiver, row.ID)
	if err != nil || len(shown) > 0 {
		return err
	}
	if _, err := cl.br.GetGhostByID(ctx, row.SenderID); err != nil { // the row refers to it
		return err
	}
	return cl.br.DB.Message.Insert(ctx, row)
}

// sendError tells what can never succeed from what has to be tried again.
func (cl *client) sendError(evt *event.Event, err error) error {
	switch {
	case isGone(err):
		return errNoContact
	case errors.Is(err, actors.ErrBlocked):
		return errBlocked
	case errors.Is(err, store.ErrOutboxFull):
		return errNoRoom
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrGUIDTaken):
		cl.log.Error("a message from Matrix cannot be sent", "event_id", evt.ID, "error", err)
		return msgconv.Refusal("the node does not take it")
	default:
		return cl.again(evt, err)
	}
}

// again has the event handled again later, without telling the room that it has
// failed: it has not.
func (cl *client) again(evt *event.Event, err error) error {
	cl.status.Retry(evt.ID, err)
	return bridgev2.MessageStatus{
		Status: event.MessageStatusPending, InternalError: fmt.Errorf("not yet: %w", err), DisableMSS: true,
	}
}
