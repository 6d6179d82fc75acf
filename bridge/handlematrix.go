// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors"
	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/peer"
)

var (
	errEmpty     = refusal("there is nothing to send in it")
	errNoContact = refusal("this contact is not on the node any more")
	errBlocked   = refusal("you have blocked this contact")
	errNoRoom    = refusal("too many messages wait for being sent already")
)

// refusal is an error that the user is told, as it is.
func refusal(text string) error {
	return bridgev2.WrapErrorInStatus(errors.New(text)).WithStatus(event.MessageStatusFail).
		WithErrorReason(event.MessageStatusUnsupported).WithErrorAsMessage().WithIsCertain(true).WithSendNotice(true)
}

// HandleMatrixMessage puts what was written in a room into the outbox, under the
// event's id: handling the event again changes nothing. When it returns, the
// message is on the disk, and the room is told that it waits; that the contact has
// it comes later, from the event log.
func (cl *client) HandleMatrixMessage(ctx context.Context, msg *bridgev2.MatrixMessage) (*bridgev2.MatrixMessageResponse, error) {
	_, contact, err := mimirid.ParsePortal(msg.Portal.PortalKey)
	if err != nil {
		return nil, err
	}
	switch msg.Content.MsgType {
	case event.MsgText, event.MsgNotice, event.MsgEmote:
	default:
		return nil, bridgev2.ErrUnsupportedMessageType
	}
	text := convertFromMatrix(ctx, msg.Content)
	if text == "" {
		return nil, errEmpty
	}
	stored, err := cl.node.Send(ctx, actors.Outgoing{
		Account:  cl.account,
		Contact:  contact,
		Source:   string(msg.Event.ID),
		Type:     peer.TypeText,
		ReplyTo:  replyGUID(msg.ReplyTo),
		Payload:  []byte(text),
		SendTime: time.UnixMilli(msg.Event.Timestamp),
	})
	if err != nil {
		return nil, cl.sendError(msg, err)
	}
	crashpoint.At(crashpoint.AfterEnqueue)
	row := &database.Message{
		ID:         mimirid.Message(contact, stored.ID, 0),
		MXID:       msg.Event.ID,
		Room:       msg.Portal.PortalKey,
		SenderID:   mimirid.User(cl.account),
		Timestamp:  time.UnixMilli(msg.Event.Timestamp),
		SenderMXID: msg.Event.Sender,
	}
	if msg.ReplyTo != nil {
		row.ReplyTo.MessageID, row.ReplyTo.PartID = msg.ReplyTo.ID, &msg.ReplyTo.PartID
	}
	if err := cl.note(ctx, row); err != nil {
		return nil, cl.again(msg, err)
	}
	if stored.State == store.StatePending {
		pending := &bridgev2.MessageStatus{Status: event.MessageStatusPending, Message: "waiting for the contact's device"}
		cl.status.send(ctx, pending, bridgev2.StatusEventInfoFromEvent(msg.Event))
	}
	// Pending keeps the library from telling the room that all is done, and from
	// making the row, whose failing it would only log.
	return &bridgev2.MatrixMessageResponse{Pending: true}, nil
}

// note makes the row that ties the event to the message, unless it is there.
func (cl *client) note(ctx context.Context, row *database.Message) error {
	existing, err := cl.br.DB.Message.GetPartByMXID(ctx, row.MXID)
	if err != nil || existing != nil {
		return err
	}
	if _, err := cl.br.GetGhostByID(ctx, row.SenderID); err != nil { // the row refers to it
		return err
	}
	return cl.br.DB.Message.Insert(ctx, row)
}

// sendError tells what can never succeed from what has to be tried again.
func (cl *client) sendError(msg *bridgev2.MatrixMessage, err error) error {
	switch {
	case isGone(err):
		return errNoContact
	case errors.Is(err, actors.ErrBlocked):
		return errBlocked
	case errors.Is(err, store.ErrOutboxFull):
		return errNoRoom
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrGUIDTaken):
		cl.log.Error("a message from Matrix cannot be sent", "event_id", msg.Event.ID, "error", err)
		return refusal("the node does not take it")
	default:
		return cl.again(msg, err)
	}
}

// again has the event handled again later, without telling the room that it has
// failed: it has not.
func (cl *client) again(msg *bridgev2.MatrixMessage, err error) error {
	cl.status.retry(msg.Event.ID, err)
	return bridgev2.MessageStatus{
		Status: event.MessageStatusPending, InternalError: fmt.Errorf("not yet: %w", err), DisableMSS: true,
	}
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
